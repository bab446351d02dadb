//! `download`: files out of the machine to the host, in the middle of a chain.
//!
//! They are kept with the result; the engine writes them where they belong before the next step, which may be a command on
//! the host that needs them, also in a build in which the step is skipped.

use async_trait::async_trait;
use imgbuild_engine::{ActionContext, ActionError, Executor, Outcome};

use crate::genrule::keep;

/// The code behind `download`.
pub(crate) struct Download;

#[async_trait]
impl Executor for Download {
    async fn execute(&self, context: &ActionContext) -> Result<Outcome, ActionError> {
        let source = context.text("src").unwrap_or_default();
        let folder = context.temporary.join("files");
        fs_err::create_dir_all(&folder)?;
        let parent = context.parent();
        let mut machine = context.machine(&parent).await?;
        let copied = machine.session().download(&source, &folder).await;
        machine.discard().await?;
        if copied?.is_empty() {
            let place = if context.node().logs_in() { "on the machine" } else { "in the image" };
            return Err(ActionError::input(format!("`{source}` matches nothing {place}")));
        }
        let mut files = Vec::new();
        let output = context.node().action.outputs.first().map_or("files", |name| &**name);
        keep(context, &folder, output, &mut files)?;
        Ok(Outcome { layers: parent.layers, files, ..Outcome::default() })
    }
}
