//! Questions on the terminal while a run goes on.

use std::io::{BufRead as _, IsTerminal as _};
use std::sync::Arc;

use async_trait::async_trait;
use imgbuild::ui::Shell;
use imgbuild_engine::{ActionError, Prompt};

/// Asks on standard error and reads standard input, if that is a terminal.
pub(crate) struct Terminal {
    pub(crate) shell: Arc<Shell>,
}

#[async_trait]
impl Prompt for Terminal {
    async fn ask(&self, question: &str) -> Result<String, ActionError> {
        if !can_answer() {
            return imgbuild_engine::Nobody.ask(question).await;
        }
        self.shell.say(question);
        line().await
    }
}

/// Whether somebody sits at standard input.
pub(crate) fn can_answer() -> bool {
    std::io::stdin().is_terminal()
}

/// Waits for a line of standard input, given without its end.
///
/// # Errors
/// If it cannot be read.
pub(crate) async fn line() -> Result<String, ActionError> {
    // A thread of its own: one that waits for a line can be stopped by nothing, and must not keep a cancelled run.
    let (sender, receiver) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let mut line = String::new();
        let read = std::io::stdin().lock().read_line(&mut line);
        // Who asked may have gone.
        let _ = sender.send(read.map(|_| line));
    });
    let line = receiver.await.map_err(|error| ActionError::environment(error.to_string()))??;
    Ok(line.trim_end_matches(['\n', '\r']).to_owned())
}
