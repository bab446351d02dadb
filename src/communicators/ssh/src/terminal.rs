//! A shell in the machine for who sits at this program's terminal.
//!
//! The terminal is raw meanwhile, so that each key goes to the machine, and is as before however it ends.

use std::io::{self, Write as _};
use std::os::fd::OwnedFd;

use russh::client::Msg;
use russh::{ChannelMsg, ChannelReadHalf, ChannelWriteHalf};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::pipe::PipeFlags;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use crate::connection::Session;
use crate::error::io_reason;
use crate::exec::Signal;
use crate::{Connection, Error, Exit};

/// How much is read of the terminal at once.
const STEP: usize = 4096;

/// A terminal that is raw for as long as this lives.
struct Raw(Termios);

impl Raw {
    fn new() -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(io::stdin(), OptionalActions::Now, &raw)?;
        Ok(Self(before))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // A terminal that is gone needs nothing.
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.0);
    }
}

/// Columns and rows.
fn size() -> (u32, u32) {
    tcgetwinsize(io::stdin()).map_or((80, 24), |size| (size.ws_col.max(1).into(), size.ws_row.max(1).into()))
}

impl Connection {
    /// A shell in the machine, or a command line, with this program's terminal, until it ends.
    ///
    /// # Errors
    /// If standard input is no terminal, or the server gives none; [`Error::Lost`] if the connection ends.
    pub async fn enter(&self, command: Option<&str>) -> Result<Exit, Error> {
        let unusable = |error: io::Error| Error::Stdin(io_reason(&error));
        if !rustix::termios::isatty(io::stdin()) {
            return Err(Error::Stdin("it is no terminal".to_owned()));
        }
        let Session { channel, live, _busy } = self.core.session().await?;
        let lost = |_| live.lost();
        let (mut reader, writer) = channel.split();
        let (columns, rows) = size();
        writer.request_pty(true, "xterm-256color", columns, rows, 0, 0, &[]).await.map_err(lost)?;
        match command {
            Some(line) => writer.exec(true, line).await.map_err(lost)?,
            None => writer.request_shell(true).await.map_err(lost)?,
        }
        let raw = Raw::new().map_err(unusable)?;
        let ended = talk(&mut reader, &writer).await.map_err(unusable);
        drop(raw);
        // The server closed its side or has nothing to close.
        let _ = writer.close().await;
        ended?.ok_or_else(|| live.lost())
    }
}

/// The keys that are pressed. None is taken of the terminal once this is dropped.
struct Keys {
    pressed: mpsc::Receiver<Vec<u8>>,
    /// Closed, it ends the thread that reads.
    _stop: OwnedFd,
}

impl Keys {
    fn listen() -> io::Result<Self> {
        let (stopped, stop) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
        let (sender, pressed) = mpsc::channel(16);
        std::thread::spawn(move || {
            let stdin = io::stdin();
            while wait(&stdin, &stopped) {
                let mut step = [0; STEP];
                match rustix::io::read(&stdin, &mut step) {
                    Err(rustix::io::Errno::INTR) => {}
                    Err(_) | Ok(0) => return,
                    Ok(count) => {
                        if sender.blocking_send(step[..count].to_vec()).is_err() {
                            return;
                        }
                    }
                }
            }
        });
        Ok(Self { pressed, _stop: stop })
    }
}

/// Waits for a key; false if none is wanted any more.
fn wait(stdin: &io::Stdin, stopped: &OwnedFd) -> bool {
    loop {
        let mut both = [PollFd::new(stdin, PollFlags::IN), PollFd::new(stopped, PollFlags::IN)];
        match poll(&mut both, None) {
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return false,
            Ok(_) => return both[1].revents().is_empty(),
        }
    }
}

/// Hands on keys and output until the command ended.
async fn talk(reader: &mut ChannelReadHalf, writer: &ChannelWriteHalf<Msg>) -> io::Result<Option<Exit>> {
    let mut keys = Keys::listen()?;
    let mut resized = signal(SignalKind::window_change())?;
    let mut exit = None;
    let mut at_end = false;
    loop {
        tokio::select! {
            pressed = keys.pressed.recv(), if !at_end => {
                at_end = match pressed {
                    Some(bytes) => writer.data_bytes(bytes).await.is_err(),
                    None => true,
                };
                if at_end {
                    let _ = writer.eof().await;
                }
            }
            _ = resized.recv() => {
                let (columns, rows) = size();
                // Only the look of it suffers.
                let _ = writer.window_change(columns, rows, 0, 0).await;
            }
            message = reader.wait() => match message {
                Some(ChannelMsg::Data { data } | ChannelMsg::ExtendedData { data, .. }) => {
                    let mut out = io::stdout().lock();
                    out.write_all(&data)?;
                    out.flush()?;
                }
                Some(ChannelMsg::ExitStatus { exit_status }) => exit = Some(Exit::Code(exit_status)),
                Some(ChannelMsg::ExitSignal { signal_name, .. }) => {
                    exit = Some(Exit::Signal(Signal::named(&signal_name)));
                }
                Some(ChannelMsg::Close) | None => return Ok(exit),
                Some(_) => {}
            },
        }
    }
}
