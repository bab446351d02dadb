//! A folder to work in, a cache, and everything that was said and journaled.

use std::io;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use imgbuild_cache::Cache;
use imgbuild_model::Diagnostic;
use imgbuild_postprocessors::local_command::{JournaledProcess, ProcessJournal};
use imgbuild_postprocessors::{
    Artifact, Destroy, LateTemplate, OutputSink, PostContext, PostProcessor, Processed, Speaker,
    TemplateData, Voice,
};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

pub struct World {
    pub folder: TempDir,
    pub context: PostContext,
    pub said: Arc<Said>,
    pub journal: Arc<Recorder>,
    _cache: TempDir,
}

/// `{{.Name}}` and nothing else.
struct Dots;

impl LateTemplate for Dots {
    fn render(&self, text: &str, data: &TemplateData) -> Result<String, Diagnostic> {
        let mut rendered = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("{{") {
            let (name, after) = after.split_once("}}").ok_or_else(|| Diagnostic::error("unclosed action"))?;
            let name = name.trim().trim_start_matches('.');
            let value = data.get(name).and_then(|value| value.as_str());
            rendered.push_str(before);
            rendered.push_str(value.ok_or_else(|| Diagnostic::error(format!("no `{name}` here")))?);
            rest = after;
        }
        Ok(rendered + rest)
    }
}

#[derive(Default)]
pub struct Said(Mutex<Vec<(String, Voice, String)>>);

impl OutputSink for Said {
    fn line(&self, speaker: Speaker<'_>, voice: Voice, text: &str) {
        let speaker = match speaker {
            Speaker::Build => String::new(),
            Speaker::PostProcessor(kind) => kind.to_owned(),
        };
        self.0.lock().unwrap().push((speaker, voice, text.to_owned()));
    }
}

impl Said {
    /// All texts since the last call.
    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap()).into_iter().map(|(_, _, text)| text).collect()
    }

    pub fn has(&self, voice: Voice, text: &str) -> bool {
        self.0.lock().unwrap().iter().any(|line| line.1 == voice && line.2 == text)
    }

    pub fn all(&self) -> Vec<(String, Voice, String)> {
        self.0.lock().unwrap().clone()
    }
}

/// Remembers what is told to the journal.
#[derive(Default)]
pub struct Recorder(Arc<Mutex<Vec<String>>>);

struct Entry(Arc<Mutex<Vec<String>>>);

impl Recorder {
    pub fn events(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

impl ProcessJournal for Recorder {
    fn intend(
        &self,
        command: &mut tokio::process::Command,
        description: &str,
    ) -> io::Result<Box<dyn JournaledProcess>> {
        command.env("TEST_MARK", "marked");
        self.0.lock().unwrap().push(format!("intend {description}"));
        Ok(Box::new(Entry(Arc::clone(&self.0))))
    }
}

#[async_trait]
impl JournaledProcess for Entry {
    fn started(&mut self, id: u32) -> io::Result<()> {
        assert!(Path::new(&format!("/proc/{id}")).exists());
        self.0.lock().unwrap().push("started".to_owned());
        Ok(())
    }

    async fn ended(self: Box<Self>) -> io::Result<()> {
        self.0.lock().unwrap().push("ended".to_owned());
        Ok(())
    }
}

impl World {
    pub fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let cache_folder = TempDir::new().unwrap();
        let cache = Cache::open(cache_folder.path().join("cache")).unwrap();
        let said = Arc::new(Said::default());
        let journal = Arc::new(Recorder::default());
        let mut context = PostContext::new(
            folder.path().to_owned(),
            cache,
            Arc::new(Dots),
            said.clone(),
            journal.clone(),
            CancellationToken::new(),
        );
        context.build_name = "web".to_owned();
        context.builder_type = "file".to_owned();
        context.run_uuid = "9dbfe30d-e0eb-df91-50ca-69e7190ba629".to_owned();
        context.time = 1_795_278_681;
        Self { folder, context, said, journal, _cache: cache_folder }
    }

    pub fn write(&self, name: &str, contents: impl AsRef<[u8]>) {
        let path = self.folder.path().join(name);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::write(path, contents).unwrap();
    }

    /// A script that can be executed at once, whatever other threads start at this moment: a process that is about to
    /// become another program holds every open file, and what is open for writing cannot be executed.
    pub fn write_script(&self, name: &str, text: &str) {
        use std::os::unix::fs::PermissionsExt as _;
        let path = self.folder.path().join(name);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        let mut file = fs_err::File::create(&path).unwrap();
        io::Write::write_all(&mut file, text.as_bytes()).unwrap();
        file.file().lock().unwrap();
        drop(file);
        fs_err::File::open(&path).unwrap().file().lock_shared().unwrap();
        fs_err::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }

    pub fn read(&self, name: &str) -> Vec<u8> {
        fs_err::read(self.folder.path().join(name)).unwrap()
    }

    pub fn text(&self, name: &str) -> String {
        String::from_utf8(self.read(name)).unwrap()
    }

    pub fn exists(&self, name: &str) -> bool {
        self.folder.path().join(name).exists()
    }

    /// The names in the folder, hidden ones too.
    pub fn names(&self) -> Vec<String> {
        let entries = fs_err::read_dir(self.folder.path()).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    pub async fn process(
        &self,
        processor: &dyn PostProcessor,
        input: &Artifact,
    ) -> Result<Processed, Diagnostic> {
        processor.process(&self.context, input).await
    }
}

/// What the builder `file` makes of these files.
pub fn built(files: &[&str]) -> Artifact {
    Artifact {
        builder_id: "packer.file".to_owned(),
        id: "File".to_owned(),
        description: format!("Stored file: {}", files.join(", ")),
        files: files.iter().map(Into::into).collect(),
        destroy: Destroy::Files,
        ..Artifact::default()
    }
}

/// Whether a program is installed; says so if it is not.
pub fn installed(program: &str) -> bool {
    let found = std::process::Command::new("sh")
        .args(["-c", "command -v \"$1\"", "sh", program])
        .stdout(std::process::Stdio::null())
        .status()
        .unwrap()
        .success();
    if !found {
        eprintln!("skipped: `{program}` is not installed");
    }
    found
}

/// What a program writes, which must succeed.
pub fn output(program: &str, arguments: &[&str], folder: &Path) -> Vec<u8> {
    let output = Command::new(program).args(arguments).current_dir(folder).output().unwrap();
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output.stdout
}
