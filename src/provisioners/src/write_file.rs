//! `write_file`: a file of known content, as an output.

use async_trait::async_trait;
use imgbuild_cache::OutputFile;
use imgbuild_engine::{ActionContext, ActionError, Executor, Outcome};

/// The code behind `write_file`.
pub(crate) struct WriteFile;

#[async_trait]
impl Executor for WriteFile {
    async fn execute(&self, context: &ActionContext) -> Result<Outcome, ActionError> {
        let (digest, executable) = match (context.text("content"), context.files("src")?.as_slice()) {
            (Some(text), []) => (context.cache.put_bytes(text.as_bytes())?.digest, false),
            (None, [file]) if !file.is_directory => {
                (context.cache.put_file(&file.path)?.digest, file.executable)
            }
            (None, [_]) => return Err(ActionError::input("`src` is a folder")),
            _ => return Err(ActionError::input("`write_file` takes either `content` or one file in `src`")),
        };
        let [path] = context.node().action.outputs.as_slice() else {
            return Err(ActionError::input("`write_file` makes one file"));
        };
        let file = OutputFile { path: path.to_string(), digest, executable };
        Ok(Outcome { files: vec![file], ..Outcome::default() })
    }
}
