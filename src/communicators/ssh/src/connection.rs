//! A connection to a machine: commands, reboots, reconnecting. How files are moved is in `transfer`.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use imgbuild_model::Stream;
use russh::client::Msg;
use russh::{Channel, Disconnect};
use tokio::sync::{Mutex, OnceCell};
use tokio::time::{Instant, sleep};

use crate::client::reason_of;
use crate::connect::{Link, Prepared, wait_for_link};
use crate::exec::{Lines, Running};
use crate::sftp::Sftp;
use crate::tunnel::LocalTunnels;
use crate::{Error, Exit, OnLine, Settings, Stdin};

/// Where Linux says which start of the machine this is.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// How long a machine may take to do what it owes.
const SETTLED: Duration = Duration::from_secs(60);

/// How long a farewell may take.
const FAREWELL: Duration = Duration::from_secs(2);

/// A connection to a machine. It is made anew, once, when a command or transfer finds that it is gone; what was under way when
/// it went is not repeated. Several tasks may use it at once.
pub struct Connection {
    pub(crate) core: Arc<Core>,
    tunnels: LocalTunnels,
}

/// What commands and tunnels share.
pub(crate) struct Core {
    pub(crate) prepared: Prepared,
    live: Mutex<Option<Arc<Live>>>,
    /// What the machine is to do before anything else; locked while it does.
    pub(crate) owed: Mutex<Option<Owed>>,
}

/// Gives the line that is owed, as it is at that moment.
pub(crate) type Owed = Box<dyn Fn() -> String + Send + Sync>;

/// One link and what hangs on it.
pub(crate) struct Live {
    pub(crate) link: Link,
    sftp: OnceCell<Option<Arc<Sftp>>>,
    tools: OnceCell<Tools>,
    address: String,
    busy: AtomicUsize,
}

/// Connects, waiting until the machine answers: it may be starting yet. The future can be dropped at any time.
///
/// # Errors
/// Why not: what is wrong with the settings at once, what a starting machine shows as well ([`Error::TimedOut`]) when the time
/// is up, a refused log-in after as many attempts as [`crate::Patience`] allows.
pub async fn connect(settings: Settings) -> Result<Connection, Error> {
    let core = Arc::new(Core {
        prepared: Prepared::load(settings)?,
        live: Mutex::new(None),
        owed: Mutex::default(),
    });
    core.renew(None).await?;
    let tunnels = LocalTunnels::open(&core).await?;
    Ok(Connection { core, tunnels })
}

/// As [`connect`], and once more after a pause (`pause_before_connecting`), as Packer: what answered first may be a system that
/// is about to restart.
///
/// # Errors
/// As [`connect`].
pub async fn connect_after(settings: Settings, pause: Option<Duration>) -> Result<Connection, Error> {
    let Some(pause) = pause.filter(|pause| !pause.is_zero()) else { return connect(settings).await };
    connect(settings.clone()).await?.disconnect().await;
    tokio::time::sleep(pause).await;
    connect(settings).await
}

impl Core {
    pub(crate) fn settings(&self) -> &Settings {
        &self.prepared.settings
    }

    /// The link, made anew if it is `gone` or there is none.
    async fn renew(&self, gone: Option<&Arc<Live>>) -> Result<Arc<Live>, Error> {
        let mut live = self.live.lock().await;
        if let Some(live) = &*live
            && !live.link.is_lost()
            && !gone.is_some_and(|gone| Arc::ptr_eq(gone, live))
        {
            return Ok(live.clone());
        }
        *live = None;
        let link = wait_for_link(&self.prepared).await?;
        crate::tunnel::open_remote(&link, self.settings()).await?;
        let fresh = Arc::new(Live {
            link,
            sftp: OnceCell::new(),
            tools: OnceCell::new(),
            address: self.settings().address(),
            busy: AtomicUsize::new(0),
        });
        *live = Some(fresh.clone());
        Ok(fresh)
    }

    /// The link as it is.
    pub(crate) async fn live(&self) -> Result<Arc<Live>, Error> {
        self.renew(None).await
    }

    /// Has the machine do what it owes, which whoever else comes meanwhile waits for.
    pub(crate) async fn settle(&self) -> Result<(), Error> {
        let mut owed = self.owed.lock().await;
        let Some(line) = &*owed else { return Ok(()) };
        let session = self.next_session().await?;
        let line = line();
        let mut unheard = |_, _: &[u8]| {};
        let done = self.run_in(session, b"exec sh", Stdin::Bytes(line.as_bytes()), false, &mut unheard);
        match tokio::time::timeout(SETTLED, done).await {
            // A server that gives files only does without.
            Ok(Ok(_) | Err(Error::ChannelRefused { .. } | Error::NoExit(_))) => {
                *owed = None;
                Ok(())
            }
            Ok(Err(error)) => Err(error),
            Err(_) => {
                let reason = format!("nothing came of a command in {} s", SETTLED.as_secs());
                Err(Error::Lost { address: self.settings().address(), reason })
            }
        }
    }

    /// A channel for a session, once the machine has done what it owes.
    pub(crate) async fn session(&self) -> Result<Session, Error> {
        self.settle().await?;
        self.next_session().await
    }

    /// A channel for a session, over a new connection if the present one gives none (as Packer does), unless something else is
    /// under way in it.
    pub(crate) async fn next_session(&self) -> Result<Session, Error> {
        let live = self.live().await?;
        let busy = Busy::new(&live);
        let error = match live.link.handle.channel_open_session().await {
            Ok(channel) => return Ok(Session { channel, live, _busy: busy }),
            Err(error) => error,
        };
        drop(busy);
        if !live.link.is_lost() && live.busy.load(Ordering::Acquire) > 0 {
            return Err(self.refused("another session", &error));
        }
        let live = self.renew(Some(&live)).await?;
        let busy = Busy::new(&live);
        match live.link.handle.channel_open_session().await {
            Ok(channel) => Ok(Session { channel, live, _busy: busy }),
            Err(error) => Err(self.refused("a session", &error)),
        }
    }

    /// The SFTP session of a link, started if it is not yet; `None` if the server has no SFTP.
    pub(crate) async fn sftp(&self) -> Result<(Arc<Live>, Option<Arc<Sftp>>), Error> {
        self.settle().await?;
        let live = self.live().await?;
        if let Some(sftp) = live.sftp.get() {
            return Ok((live.clone(), sftp.clone()));
        }
        let session = self.session().await?;
        let live = session.live.clone();
        let start = async || Sftp::start(session).await.map(|sftp| sftp.map(Arc::new));
        let sftp = live.sftp.get_or_try_init(start).await?.clone();
        Ok((live, sftp))
    }

    /// Which programs the machine has; asked once a link.
    pub(crate) async fn tools(&self) -> Result<Tools, Error> {
        let live = self.live().await?;
        let ask = async || {
            let command = "for one in tar sha256sum xargs stat; do command -v $one >/dev/null 2>&1 && echo $one; done; :";
            let text = match self.output(command.as_bytes(), Stdin::Empty).await {
                Ok(said) => String::from_utf8_lossy(&said.stdout).into_owned(),
                // A server that gives files only.
                Err(Error::ChannelRefused { .. } | Error::NoExit(_)) => String::new(),
                Err(error) => return Err(error),
            };
            let has = |name: &str| text.lines().any(|line| line.trim() == name);
            Ok(Tools { tar: has("tar"), hashes: has("sha256sum") && has("xargs") && has("stat") })
        };
        live.tools.get_or_try_init(ask).await.copied()
    }

    pub(crate) fn refused(&self, what: &str, error: &russh::Error) -> Error {
        let address = self.settings().address();
        Error::ChannelRefused { address, what: what.to_owned(), reason: reason_of(error) }
    }

    /// Runs a command and hands on its output as it comes.
    pub(crate) async fn run(
        &self,
        command: &[u8],
        stdin: Stdin<'_>,
        pty: bool,
        on_output: &mut (dyn FnMut(Stream, &[u8]) + Send),
    ) -> Result<Exit, Error> {
        let session = self.session().await?;
        self.run_in(session, command, stdin, pty, on_output).await
    }

    /// The same, over a channel that is there.
    pub(crate) async fn run_in(
        &self,
        session: Session,
        command: &[u8],
        stdin: Stdin<'_>,
        pty: bool,
        on_output: &mut (dyn FnMut(Stream, &[u8]) + Send),
    ) -> Result<Exit, Error> {
        let address = self.settings().address();
        let Session { channel, live, _busy } = session;
        let forward = self.settings().forward_agent.is_some();
        let running =
            Running::start(channel, command, pty, forward, live.link.state.clone(), &address).await?;
        running.finish(stdin, on_output).await
    }

    /// Runs a command of this crate's own and gives what it says: how it ended, standard output, standard error.
    pub(crate) async fn output(&self, command: &[u8], stdin: Stdin<'_>) -> Result<Output, Error> {
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let exit = self
            .run(command, stdin, false, &mut |stream, bytes| match stream {
                Stream::Stdout => stdout.extend_from_slice(bytes),
                Stream::Stderr => stderr.extend_from_slice(bytes),
            })
            .await?;
        Ok(Output { exit, stdout, stderr: String::from_utf8_lossy(&stderr).trim().to_owned() })
    }
}

/// What a command said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// How it ended.
    pub exit: Exit,
    /// Standard output, as it came.
    pub stdout: Vec<u8>,
    /// Standard error, without spaces at either end; what is no UTF-8 is replaced.
    pub stderr: String,
}

/// A channel, which keeps its connection.
pub(crate) struct Session {
    pub(crate) channel: Channel<Msg>,
    pub(crate) live: Arc<Live>,
    pub(crate) _busy: Busy,
}

impl Live {
    /// The error of a link that ended.
    pub(crate) fn lost(&self) -> Error {
        Error::Lost { address: self.address.clone(), reason: self.link.state.reason() }
    }
}

/// Which programs a machine has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tools {
    pub(crate) tar: bool,
    pub(crate) hashes: bool,
}

/// Counts what is under way over a link.
pub(crate) struct Busy(Arc<Live>);

impl Busy {
    fn new(live: &Arc<Live>) -> Self {
        live.busy.fetch_add(1, Ordering::AcqRel);
        Self(live.clone())
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.busy.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Connection {
    /// What it was made of.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        self.core.settings()
    }

    /// Runs a command line by the user's login shell, in a terminal if [`Settings::pty`] says so. In a terminal everything is
    /// standard output. `on_line` is called for each line as it comes. Whoever puts words of others into the line quotes them
    /// ([`crate::quote`]). If the future is dropped, the server is asked to end the
    /// command with `TERM` and its pipes are closed; OpenSSH does the former for other users than root only, who needs a
    /// terminal for it.
    ///
    /// # Errors
    /// If it cannot be started, [`Error::Lost`] if the connection ends before it does, [`Error::NoExit`] if the server does not
    /// say how it ended. How it ended is no error.
    pub async fn exec(&self, command: &str, stdin: Stdin<'_>, on_line: OnLine<'_>) -> Result<Exit, Error> {
        self.exec_with(command, stdin, self.settings().pty, on_line).await
    }

    /// Runs a command line without a terminal and gives all that it writes, which must fit into memory.
    ///
    /// # Errors
    /// As [`Connection::exec`].
    pub async fn output(&self, command: &str, stdin: Stdin<'_>) -> Result<Output, Error> {
        self.core.output(command.as_bytes(), stdin).await
    }

    /// The same as [`Connection::exec`], with or without a terminal.
    ///
    /// # Errors
    /// As [`Connection::exec`].
    pub async fn exec_with(
        &self,
        command: &str,
        stdin: Stdin<'_>,
        pty: bool,
        on_line: OnLine<'_>,
    ) -> Result<Exit, Error> {
        let mut lines = Lines::default();
        let ended = self
            .core
            .run(command.as_bytes(), stdin, pty, &mut |stream, bytes| lines.push(stream, bytes, on_line))
            .await;
        lines.end(on_line);
        ended
    }

    /// Has the machine run a line for `sh` before whatever comes next over this connection, together with that where it can be: on a machine
    /// that is emulated each command takes long to begin. `line` gives it at that moment, perhaps more than once. What it says and how it
    /// ends is not told. It takes the place of what was owed before.
    pub async fn owe(&self, line: impl Fn() -> String + Send + Sync + 'static) {
        *self.core.owed.lock().await = Some(Box::new(line));
    }

    /// Has it run now, where others than this connection are about to use the machine.
    ///
    /// # Errors
    /// If the machine gives no session; [`Error::Lost`] if it is gone, or nothing comes of the line in a minute.
    pub async fn settle(&self) -> Result<(), Error> {
        self.core.settle().await
    }

    /// Whether the connection is known to be gone. One that was cut without a word is seen by the next sign of life only.
    pub async fn is_lost(&self) -> bool {
        self.core.live.lock().await.as_ref().is_none_or(|live| live.link.is_lost())
    }

    /// Ends the connection and makes another, waiting until the machine answers.
    ///
    /// # Errors
    /// As [`connect`].
    pub async fn reconnect(&self) -> Result<(), Error> {
        let gone = self.core.live.lock().await.clone();
        self.core.renew(gone.as_ref()).await.map(drop)
    }

    /// Which start of the machine this is: another text after each. `None` where the machine is not Linux.
    ///
    /// # Errors
    /// As [`Connection::exec`].
    pub async fn boot_id(&self) -> Result<Option<String>, Error> {
        let said = self.core.output(format!("cat {BOOT_ID}").as_bytes(), Stdin::Empty).await?;
        let text = String::from_utf8_lossy(&said.stdout).trim().to_owned();
        Ok((said.exit.is_success() && !text.is_empty()).then_some(text))
    }

    /// Waits until the machine has started anew, which it was told to before: until its boot id is another than `before`
    /// ([`Connection::boot_id`]), or for one without boot ids until the connection ended and another was made. It takes at most
    /// `limit`.
    ///
    /// # Errors
    /// [`Error::NoReboot`] when the time is up, or why the machine cannot be reached any more.
    pub async fn wait_for_reboot(&self, before: Option<&str>, limit: Duration) -> Result<(), Error> {
        let waiting = async {
            loop {
                let was_lost = self.is_lost().await;
                let now = match self.boot_id().await {
                    Ok(now) => now,
                    // It goes down while it is asked, or lets nobody in while it does.
                    Err(
                        Error::Lost { .. }
                        | Error::NoExit(_)
                        | Error::ChannelRefused { .. }
                        | Error::TimedOut { .. }
                        | Error::Denied { .. },
                    ) => {
                        sleep(Duration::from_millis(200)).await;
                        continue;
                    }
                    Err(error) => return Err(error),
                };
                let is_another = match before {
                    Some(before) => now.as_deref().is_some_and(|now| now != before),
                    None => was_lost,
                };
                if is_another {
                    return Ok(());
                }
                sleep(Duration::from_millis(500)).await;
            }
        };
        tokio::time::timeout_at(Instant::now() + limit, waiting).await.map_err(|_| Error::NoReboot(limit))?
    }

    /// Where the local tunnels listen, in the order of the settings.
    #[must_use]
    pub fn local_tunnels(&self) -> &[std::net::SocketAddr] {
        self.tunnels.addresses()
    }

    /// The ports of the machine that lead here, in the order of the settings, as its server gave them.
    ///
    /// # Errors
    /// If the connection is gone and cannot be made again.
    pub async fn remote_tunnels(&self) -> Result<Vec<u16>, Error> {
        let live = self.core.live().await?;
        let open = live.link.tunnels.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let port = |tunnel| {
            open.iter().find(|(_, one)| *one == tunnel).and_then(|(&port, _)| u16::try_from(port).ok())
        };
        Ok(self.settings().remote_tunnels.iter().filter_map(port).collect())
    }

    /// Says goodbye. Dropping the connection ends it as well, without a word.
    pub async fn disconnect(self) {
        if let Some(live) = self.core.live.lock().await.take() {
            let farewell = async {
                // Whoever is gone already needs none.
                let _ = live.link.handle.disconnect(Disconnect::ByApplication, "", "").await;
                while !live.link.handle.is_closed() {
                    sleep(Duration::from_millis(5)).await;
                }
            };
            let _ = tokio::time::timeout(FAREWELL, farewell).await;
        }
    }
}
