//! What a post-processor is given besides its settings and its input.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use imgbuild_cache::Cache;
use imgbuild_model::{Class, Diagnostic};
use serde_json::{Map, Value};
use tokio_util::sync::CancellationToken;

use crate::local_command::{LocalContext, ProcessJournal};

/// What a late template may refer to, by name.
pub type TemplateData = Map<String, Value>;

/// The template language of fields that are rendered when they are used.
pub trait LateTemplate: Send + Sync {
    /// Renders `text` with `data` as the dot.
    ///
    /// # Errors
    ///
    /// If the text is no template, or if it refers to what is not there.
    fn render(&self, text: &str, data: &TemplateData) -> Result<String, Diagnostic>;
}

/// Who says a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speaker<'a> {
    /// The build itself: `==> name: …`.
    Build,
    /// A post-processor by its kind: `==> name (kind): …`.
    PostProcessor(&'a str),
}

/// How a line is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Voice {
    /// As usual.
    Say,
    /// As something that went wrong, or that a program wrote to its standard error.
    Error,
}

/// Where lines for people go. It masks secrets.
pub trait OutputSink: Send + Sync {
    /// Takes one line or several.
    fn line(&self, speaker: Speaker<'_>, voice: Voice, text: &str);
}

/// The surroundings of all post-processors of one build. Cheap to clone.
#[derive(Clone)]
pub struct PostContext {
    /// The name that Packer gives the build: in templates `{{.BuildName}}`.
    pub build_name: String,
    /// The type of its builder: in templates `{{.BuilderType}}`.
    pub builder_type: String,
    /// What names this run, a UUID.
    pub run_uuid: String,
    /// Whether the user asked to overwrite (`-force`).
    pub force: bool,
    /// When this run started, in seconds since 1970.
    pub time: i64,
    /// The folder that the run started in, absolute: what relative paths are relative to.
    pub folder: PathBuf,
    /// What templates see as `build.*` and late templates as `{{.Name}}`.
    pub generated: TemplateData,
    /// The language of late templates.
    pub late: Arc<dyn LateTemplate>,
    /// Where lines go.
    pub sink: Arc<dyn OutputSink>,
    /// What knows the processes on the host before they start.
    pub journal: Arc<dyn ProcessJournal>,
    /// Cancelled when the run is to end.
    pub cancel: CancellationToken,
    /// Where results are kept.
    pub cache: Cache,
    /// Who speaks, if it is not the build itself.
    speaker: Option<&'static str>,
}

impl PostContext {
    /// A context in which everything but what is named here is empty: no name, no generated data, no force, time 0.
    #[must_use]
    pub fn new(
        folder: PathBuf,
        cache: Cache,
        late: Arc<dyn LateTemplate>,
        sink: Arc<dyn OutputSink>,
        journal: Arc<dyn ProcessJournal>,
        cancel: CancellationToken,
    ) -> Self {
        Self {
            build_name: String::new(),
            builder_type: String::new(),
            run_uuid: String::new(),
            force: false,
            time: 0,
            folder,
            generated: TemplateData::new(),
            late,
            sink,
            journal,
            cancel,
            cache,
            speaker: None,
        }
    }

    /// The same, with a post-processor as the one who speaks.
    #[must_use]
    pub fn for_post_processor(&self, kind: &'static str) -> Self {
        Self { speaker: Some(kind), ..self.clone() }
    }

    /// Says a line.
    pub fn say(&self, text: &str) {
        self.line(Voice::Say, text);
    }

    /// Says a line that tells of something wrong.
    pub fn warn(&self, text: &str) {
        self.line(Voice::Error, text);
    }

    fn line(&self, voice: Voice, text: &str) {
        self.sink.line(self.speaker.map_or(Speaker::Build, Speaker::PostProcessor), voice, text);
    }

    /// A path of the settings or of an artifact as one that can be opened wherever this process stands.
    #[must_use]
    pub fn resolve(&self, path: impl AsRef<Path>) -> PathBuf {
        self.folder.join(path)
    }

    /// The generated data with the names that every field `output` knows.
    #[must_use]
    pub fn output_data(&self) -> TemplateData {
        let mut data = self.generated.clone();
        data.insert("BuildName".to_owned(), self.build_name.clone().into());
        data.insert("BuilderType".to_owned(), self.builder_type.clone().into());
        data
    }

    /// Renders the field `output`, which must come to a path.
    pub(crate) fn render_output(&self, text: &str, data: &TemplateData) -> Result<PathBuf, Diagnostic> {
        let rendered = self.late.render(text, data).map_err(|error| in_field(error, "output"))?;
        if rendered.is_empty() {
            return Err(
                Diagnostic::error(format!("`output` is empty once `{text}` is rendered")).hint("name a file")
            );
        }
        Ok(rendered.into())
    }

    /// # Errors
    ///
    /// If the run is to end.
    pub(crate) fn check_cancelled(&self) -> Result<(), Diagnostic> {
        if self.cancel.is_cancelled() { Err(cancelled()) } else { Ok(()) }
    }

    /// What a command on the host is given.
    #[must_use]
    pub fn local(&self) -> LocalContext {
        let context = self.clone();
        LocalContext {
            build_name: self.build_name.clone(),
            builder_type: self.builder_type.clone(),
            run_uuid: self.run_uuid.clone(),
            folder: self.folder.clone(),
            generated: self.generated.clone(),
            late: Arc::clone(&self.late),
            journal: Arc::clone(&self.journal),
            cancel: self.cancel.clone(),
            output: Arc::new(move |voice, text| context.line(voice, text)),
        }
    }

    /// Runs what blocks where it may.
    pub(crate) async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> Result<T, Diagnostic> + Send + 'static,
    ) -> Result<T, Diagnostic> {
        let context = self.clone();
        tokio::task::spawn_blocking(move || work(&context)).await.map_err(|error| {
            Diagnostic::error(format!("a post-processor ended early: {error}")).class(Class::Bug)
        })?
    }
}

/// The same error, with the field whose late template it is about.
pub(crate) fn in_field(error: Diagnostic, field: &str) -> Diagnostic {
    error.note(format!("in `{field}`"), None)
}

/// The run was to end, and so this did.
pub(crate) fn cancelled() -> Diagnostic {
    Diagnostic::error("cancelled").class(Class::Environment)
}
