//! Runs one command over a channel: feeds it, hands its output on line by line, and says how it ended.

use std::fmt;
use std::pin::pin;
use std::sync::Arc;

use imgbuild_model::Stream;
use russh::client::Msg;
use russh::{Channel, ChannelMsg, ChannelReadHalf, ChannelWriteHalf, Pty, Sig};
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::Error;
use crate::client::reason_of;
use crate::error::io_reason;
use crate::wire::WireState;

/// A line longer than this is handed on in parts, so that what has no lines does not fill the memory.
const LINE_LIMIT: usize = 256 * 1024;

/// How much of the input is read at once.
const STEP: usize = 64 * 1024;

/// Takes each line of a command's output, without its end; what is no UTF-8 is replaced.
pub type OnLine<'a> = &'a mut (dyn FnMut(Stream, &str) + Send);

/// What a command reads.
#[derive(Default)]
pub enum Stdin<'a> {
    /// Nothing: it is at its end at once.
    #[default]
    Empty,
    /// These bytes.
    Bytes(&'a [u8]),
    /// What is read here, to its end.
    Reader(&'a mut (dyn AsyncRead + Send + Unpin)),
}

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exit {
    /// With this code.
    Code(u32),
    /// By a signal.
    Signal(Signal),
}

impl Exit {
    /// Whether it is code 0.
    #[must_use]
    pub fn is_success(&self) -> bool {
        *self == Self::Code(0)
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit code {code}"),
            Self::Signal(signal) => write!(f, "signal {signal}"),
        }
    }
}

/// A signal by its name, without `SIG`, as SSH says it (RFC 4254, section 6.10).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signal(String);

impl Signal {
    /// As the library names it.
    pub(crate) fn named(name: &Sig) -> Self {
        Self(signal(name))
    }

    /// Its number on Linux, for those that SSH has a name for.
    #[must_use]
    pub fn number(&self) -> Option<i32> {
        const NAMES: [(&str, i32); 16] = [
            ("HUP", 1),
            ("INT", 2),
            ("QUIT", 3),
            ("ILL", 4),
            ("TRAP", 5),
            ("ABRT", 6),
            ("BUS", 7),
            ("FPE", 8),
            ("KILL", 9),
            ("USR1", 10),
            ("SEGV", 11),
            ("USR2", 12),
            ("PIPE", 13),
            ("ALRM", 14),
            ("TERM", 15),
            ("SYS", 31),
        ];
        NAMES.iter().find(|(name, _)| *name == self.0).map(|&(_, number)| number)
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A channel and what is known of the connection below it.
pub(crate) struct Running<'a> {
    pub(crate) reader: ChannelReadHalf,
    pub(crate) writer: ChannelWriteHalf<Msg>,
    pub(crate) state: Arc<WireState>,
    pub(crate) address: &'a str,
}

impl<'a> Running<'a> {
    /// Starts a command.
    pub(crate) async fn start(
        channel: Channel<Msg>,
        command: &[u8],
        pty: bool,
        forward_agent: bool,
        state: Arc<WireState>,
        address: &'a str,
    ) -> Result<Self, Error> {
        let (reader, writer) = channel.split();
        let mut running = Self { reader, writer, state, address };
        if forward_agent {
            // A server that does not allow it says no, and the command goes without.
            running.writer.agent_forward(false).await.map_err(|error| running.lost(&error))?;
        }
        if pty {
            // The terminal that Packer asks for.
            let modes = [(Pty::ECHO, 0), (Pty::TTY_OP_ISPEED, 14_400), (Pty::TTY_OP_OSPEED, 14_400)];
            let asked = running.writer.request_pty(true, "xterm", 80, 40, 0, 0, &modes).await;
            asked.map_err(|error| running.lost(&error))?;
            running.granted("a terminal").await?;
        }
        running.writer.exec(true, command).await.map_err(|error| running.lost(&error))?;
        running.granted("to run a command").await?;
        Ok(running)
    }

    async fn granted(&mut self, what: &str) -> Result<(), Error> {
        loop {
            match self.reader.wait().await {
                Some(ChannelMsg::Success) => return Ok(()),
                Some(ChannelMsg::Failure | ChannelMsg::Close) => {
                    return Err(Error::ChannelRefused {
                        address: self.address.to_owned(),
                        what: what.to_owned(),
                        reason: "the server does not allow it".to_owned(),
                    });
                }
                Some(_) => {}
                None => return Err(self.gone()),
            }
        }
    }

    /// The error of a connection that is gone, from an error of the library.
    pub(crate) fn lost(&self, error: &russh::Error) -> Error {
        let reason = if self.state.ended() { self.state.reason() } else { reason_of(error) };
        Error::Lost { address: self.address.to_owned(), reason }
    }

    /// The error of a channel that ended without an exit code.
    fn gone(&self) -> Error {
        if self.state.ended() {
            Error::Lost { address: self.address.to_owned(), reason: self.state.reason() }
        } else {
            Error::NoExit(self.address.to_owned())
        }
    }

    /// Feeds the command and hands its output on until it ended.
    pub(crate) async fn finish(
        self,
        stdin: Stdin<'_>,
        on_output: &mut (dyn FnMut(Stream, &[u8]) + Send),
    ) -> Result<Exit, Error> {
        let Self { mut reader, writer, state, address } = self;
        let mut abandoned = Abandoned(Some(writer));
        let mut exit = None;
        {
            let mut feeding = pin!(feed(abandoned.0.as_ref(), stdin));
            let mut fed = false;
            loop {
                tokio::select! {
                    read = &mut feeding, if !fed => {
                        read?;
                        fed = true;
                    }
                    message = reader.wait() => match message {
                        Some(ChannelMsg::Data { data }) => on_output(Stream::Stdout, &data),
                        Some(ChannelMsg::ExtendedData { data, ext: 1 }) => on_output(Stream::Stderr, &data),
                        Some(ChannelMsg::ExitStatus { exit_status }) => exit = Some(Exit::Code(exit_status)),
                        Some(ChannelMsg::ExitSignal { signal_name, .. }) => {
                            exit = Some(Exit::Signal(Signal::named(&signal_name)));
                        }
                        Some(ChannelMsg::Close) | None => break,
                        Some(_) => {}
                    },
                }
            }
        }
        if let Some(writer) = abandoned.0.take() {
            // The server closed its side or has nothing to close.
            let _ = writer.close().await;
        }
        exit.ok_or_else(|| {
            if state.ended() {
                Error::Lost { address: address.to_owned(), reason: state.reason() }
            } else {
                Error::NoExit(address.to_owned())
            }
        })
    }
}

/// The sending side of a command: ends the command if it is dropped before the command ended by itself.
struct Abandoned(Option<ChannelWriteHalf<Msg>>);

impl Drop for Abandoned {
    fn drop(&mut self) {
        if let (Some(writer), Ok(runtime)) = (self.0.take(), tokio::runtime::Handle::try_current()) {
            runtime.spawn(async move {
                // OpenSSH hands the signal on since 8.1, but not to what root runs: that notices the end of its pipes or, with
                // a terminal, is hung up.
                let _ = writer.signal(Sig::TERM).await;
                let _ = writer.close().await;
            });
        }
    }
}

/// Feeds a command. An error is one of reading; that the channel or the connection is gone is seen where its output is read.
async fn feed(writer: Option<&ChannelWriteHalf<Msg>>, stdin: Stdin<'_>) -> Result<(), Error> {
    let Some(writer) = writer else { return Ok(()) };
    match stdin {
        Stdin::Empty => {}
        Stdin::Bytes(bytes) => {
            let _ = writer.data_bytes(bytes.to_vec()).await;
        }
        Stdin::Reader(reader) => loop {
            let mut step = Vec::with_capacity(STEP);
            let count = reader.read_buf(&mut step).await.map_err(|error| Error::Stdin(io_reason(&error)))?;
            if count == 0 || writer.data_bytes(step).await.is_err() {
                break;
            }
        },
    }
    let _ = writer.eof().await;
    Ok(())
}

fn signal(signal: &Sig) -> String {
    match signal {
        Sig::ABRT => "ABRT",
        Sig::ALRM => "ALRM",
        Sig::FPE => "FPE",
        Sig::HUP => "HUP",
        Sig::ILL => "ILL",
        Sig::INT => "INT",
        Sig::KILL => "KILL",
        Sig::PIPE => "PIPE",
        Sig::QUIT => "QUIT",
        Sig::SEGV => "SEGV",
        Sig::TERM => "TERM",
        Sig::USR1 => "USR1",
        Sig::Custom(name) => name,
    }
    .to_owned()
}

/// Makes lines of what comes in parts: one for each of the two streams.
#[derive(Default)]
pub(crate) struct Lines {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

impl Lines {
    pub(crate) fn push(
        &mut self,
        stream: Stream,
        mut bytes: &[u8],
        on_line: &mut (dyn FnMut(Stream, &str) + Send),
    ) {
        let rest = match stream {
            Stream::Stdout => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
        };
        while let Some(end) = bytes.iter().position(|&byte| byte == b'\n') {
            rest.extend_from_slice(&bytes[..end]);
            line(stream, rest, on_line);
            rest.clear();
            bytes = &bytes[end + 1..];
        }
        rest.extend_from_slice(bytes);
        if rest.len() > LINE_LIMIT {
            line(stream, rest, on_line);
            rest.clear();
        }
    }

    /// Hands on what has no end of line.
    pub(crate) fn end(self, on_line: &mut (dyn FnMut(Stream, &str) + Send)) {
        for (stream, rest) in [(Stream::Stdout, self.stdout), (Stream::Stderr, self.stderr)] {
            if !rest.is_empty() {
                line(stream, &rest, on_line);
            }
        }
    }
}

fn line(stream: Stream, bytes: &[u8], on_line: &mut (dyn FnMut(Stream, &str) + Send)) {
    let bytes = bytes.strip_suffix(b"\r").unwrap_or(bytes);
    on_line(stream, &String::from_utf8_lossy(bytes));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_made_of_parts() {
        let mut lines = Lines::default();
        let mut seen = Vec::new();
        let mut on_line = |stream, line: &str| seen.push((stream, line.to_owned()));
        lines.push(Stream::Stdout, b"one\ntw", &mut on_line);
        lines.push(Stream::Stderr, b"err\r\n\n", &mut on_line);
        lines.push(Stream::Stdout, b"o\nrest \xff", &mut on_line);
        lines.end(&mut on_line);
        let seen: Vec<_> = seen.iter().map(|(stream, line)| (*stream, line.as_str())).collect();
        assert_eq!(
            seen,
            [
                (Stream::Stdout, "one"),
                (Stream::Stderr, "err"),
                (Stream::Stderr, ""),
                (Stream::Stdout, "two"),
                (Stream::Stdout, "rest \u{fffd}"),
            ]
        );
    }

    #[test]
    fn what_has_no_lines_is_handed_on() {
        let mut lines = Lines::default();
        let mut count = 0;
        lines.push(Stream::Stdout, &vec![b'x'; LINE_LIMIT + 1], &mut |_, line| count += line.len());
        assert_eq!(count, LINE_LIMIT + 1);
    }
}
