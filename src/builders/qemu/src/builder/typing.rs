//! What is done at the screen of a machine that boots first, while files are served to it.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use imgbuild_engine::ActionError;

use super::access::Access;
use super::attributes::Source;
use super::console::shows;
use super::disks::failed;
use super::start::{CONSOLE_LINES, with_console};
use super::words::Words;
use crate::boot_command::{BootCommand, BootCommandError};
use crate::http::{HttpError, HttpServer, Served};
use crate::process::Machine;
use crate::vnc::{Pace, Vnc, VncError};

/// How long VNC may take to answer.
const ANSWER: Duration = Duration::from_secs(30);
/// How long is waited for a text of the console, unless SSH may take longer.
const LIMIT: Duration = Duration::from_secs(15 * 60);

/// What is typed at the screen of a machine that boots first.
pub(crate) struct Typing {
    /// One after the other, each with what it is for, where that is said.
    commands: Vec<(BootCommand, Option<String>)>,
    pace: Pace,
    /// Serves as long as the machine boots.
    http: Option<HttpServer>,
}

impl Typing {
    /// Serves files and reads what is to be typed; nothing where there is neither. Also what templates of the machine may name.
    ///
    /// # Errors
    /// If the files or the keys are none.
    pub(crate) async fn new(
        source: Source<'_>,
        access: &Access,
    ) -> Result<(Option<Self>, Words), ActionError> {
        let http = serve(source).await?;
        let words = Words {
            http_port: http.as_ref().map(HttpServer::port).unwrap_or_default(),
            public_key: public_key(source, access)?,
        };
        let mut commands = Vec::new();
        let text = source.texts("boot_command").concat();
        if !text.is_empty() {
            let text = words.fill(source, "boot_command", &text)?;
            commands.push((BootCommand::parse(&text).map_err(|error| of("boot_command", &error))?, None));
        }
        for row in source.rows("boot_steps") {
            let Some(text) = row.first() else { continue };
            let text = words.fill(source, "boot_steps", text)?;
            let command = BootCommand::parse(&text).map_err(|error| of("boot_steps", &error))?;
            commands.push((command, row.get(1).cloned()));
        }
        if commands.is_empty() && http.is_none() {
            return Ok((None, words));
        }
        if !commands.is_empty() && source.flag("disable_vnc") {
            return Err(ActionError::input(
                "keys are to be typed, and `disable_vnc` leaves nothing to type at",
            )
            .hint("take out one of them"));
        }
        let usual = Pace::default();
        let pace = Pace {
            key: source.duration("boot_key_interval").unwrap_or(usual.key),
            group: source.duration("boot_keygroup_interval").unwrap_or(usual.group),
        };
        Ok((Some(Self { commands, pace, http }), words))
    }

    /// Waits, and types.
    ///
    /// # Errors
    /// If the machine's screen is gone, or does not say what is waited for.
    pub(crate) async fn carry_out(
        self,
        machine: &mut Machine,
        source: Source<'_>,
    ) -> Result<Option<HttpServer>, ActionError> {
        if self.commands.is_empty() {
            return Ok(self.http);
        }
        let told = &source.wanted.told;
        for warning in self.commands.iter().flat_map(|(command, _)| command.warnings()) {
            told.line(&format!("Warning: {warning}"));
        }
        match source.text("boot_wait_for") {
            Some(text) => wait_for(machine, source, text).await?,
            None => {
                let wait = source.duration("boot_wait").unwrap_or(Duration::from_secs(10));
                told.line(&format!("Waiting {} s for boot...", wait.as_secs()));
                tokio::time::sleep(wait).await;
            }
        }
        told.line("Typing the boot command...");
        let mut vnc = Vnc::connect(&machine.wiring().vnc_socket, ANSWER).await?;
        for (command, description) in &self.commands {
            if let Some(description) = description {
                told.line(&format!("Typing: {description}"));
            }
            vnc.type_command(command, self.pace).await?;
        }
        Ok(self.http)
    }
}

/// The key that the machine is to let in: the one that was made for it, or the one that is given.
fn public_key(source: Source<'_>, access: &Access) -> Result<String, ActionError> {
    access.public_key().map_or_else(|| Words::given_key(source), |made| Ok(made.to_owned()))
}

/// Serves what the machine is to fetch.
async fn serve(source: Source<'_>) -> Result<Option<HttpServer>, ActionError> {
    let texts = source.pairs("http_content");
    let served = match source.files("http").into_iter().next() {
        Some(folder) => Served::Folder(folder),
        None if texts.is_empty() => return Ok(None),
        None => Served::Texts(texts.into_iter().collect()),
    };
    if !source.flag("network") {
        return Err(ActionError::input("the machine has no network, and could fetch nothing that is served")
            .hint("say `network = True`, or give it the files on a CD"));
    }
    Ok(Some(HttpServer::start(served, IpAddr::V4(Ipv4Addr::LOCALHOST), 0, 0).await?))
}

/// Waits until a text is on the machine's first serial port.
async fn wait_for(machine: &mut Machine, source: Source<'_>, text: &str) -> Result<(), ActionError> {
    source.wanted.told.line(&format!("Waiting for `{text}` on the console..."));
    let limit = source.duration("ssh_timeout").unwrap_or_default().max(LIMIT);
    if shows(machine, |console| console.contains(text), limit).await? {
        return Ok(());
    }
    let what = format!("the console did not say `{text}` (`boot_wait_for`) in {} s", limit.as_secs());
    let error = ActionError::input(what).hint("does the installer use the first serial port?");
    Err(with_console(error, &machine.console(CONSOLE_LINES)))
}

fn of(name: &str, error: &BootCommandError) -> ActionError {
    ActionError::input(format!("`{name}`: {error}"))
}

impl From<HttpError> for ActionError {
    fn from(error: HttpError) -> Self {
        Self::input(error.to_string())
    }
}

impl From<VncError> for ActionError {
    fn from(error: VncError) -> Self {
        failed(error)
    }
}
