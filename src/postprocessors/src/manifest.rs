//! `manifest`: a JSON file with an entry for each artifact, which grows with every run.
//!
//! The file is Packer's to the byte. The runs of other programs take part: Packer makes `<output>.lock` while it writes, and
//! so it is waited for, and made.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use imgbuild_model::Diagnostic;
use serde_json::{Map, Value};

use crate::context::in_field;
use crate::files::{lock_folder_of, make_folder_of, read_existing, replace, unusable};
use crate::{Artifact, PostContext, PostProcessor, Processed, go_json};

/// How often and how far apart the lock of a running Packer is tried. Packer itself gives up after 0.6 s.
const LOCK_ATTEMPTS: u32 = 40;
const LOCK_PAUSE: Duration = Duration::from_millis(50);

/// The settings of `manifest`.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ManifestSettings {
    /// The file.
    pub output: String,
    /// Whether files are written without their folders.
    pub strip_path: bool,
    /// Whether the time is left out.
    pub strip_time: bool,
    /// What the user adds to the entry.
    pub custom_data: Option<BTreeMap<String, String>>,
}

impl Default for ManifestSettings {
    fn default() -> Self {
        Self {
            output: "packer-manifest.json".to_owned(),
            strip_path: false,
            strip_time: false,
            custom_data: None,
        }
    }
}

/// The post-processor `manifest`. It keeps its input, whatever the user says, and passes it on.
#[derive(Clone, Debug)]
pub struct Manifest(ManifestSettings);

impl Manifest {
    /// # Errors
    ///
    /// If `output` is empty.
    pub fn new(settings: ManifestSettings) -> Result<Self, Diagnostic> {
        if settings.output.is_empty() {
            return Err(Diagnostic::error("`output` of `manifest` is empty").hint("name a file"));
        }
        Ok(Self(settings))
    }

    fn run(&self, context: &PostContext, input: Artifact) -> Result<Processed, Diagnostic> {
        let entry = self.entry(context, &input)?;
        let output = PathBuf::from(&self.0.output);
        let path = context.resolve(&output);
        make_folder_of(&path)?;
        {
            let _folder = lock_folder_of(&path, context)?;
            let _packer = PackerLock::take(context, &path)?;
            let contents = read_existing(&path)?.unwrap_or_default();
            let mut manifest = parse(&contents, &output)?;
            let last_run = manifest.get("last_run_uuid").and_then(Value::as_str).unwrap_or_default();
            if context.force && last_run != context.run_uuid {
                manifest = Map::new();
            }
            append(&mut manifest, entry, &context.run_uuid);
            replace(&path, 0o664, go_json::to_string(&Value::Object(manifest)).as_bytes())?;
        }
        Ok(Processed { artifact: Some(input), keep_input: true, force_keep: true, written: vec![output] })
    }

    fn entry(&self, context: &PostContext, input: &Artifact) -> Result<Value, Diagnostic> {
        let ManifestSettings { output: _, strip_path, strip_time, custom_data } = &self.0;
        let files = input.files.iter().map(|file| {
            let name =
                if *strip_path { file.file_name().unwrap_or(file.as_os_str()) } else { file.as_os_str() };
            // As in Packer, a file that another chain has removed has no size.
            let size = fs_err::metadata(context.resolve(file)).map_or(0, |status| status.len());
            object([("name", name.to_string_lossy().into()), ("size", size.into())])
        });
        let files = if input.files.is_empty() { Value::Null } else { files.collect() };
        let custom_data = match custom_data {
            None => Value::Null,
            Some(data) => {
                let render = |(name, text): (&String, &String)| {
                    let rendered = context.late.render(text, &context.generated);
                    Ok((name.clone(), rendered.map_err(|error| in_field(error, "custom_data"))?.into()))
                };
                Value::Object(data.iter().map(render).collect::<Result<_, Diagnostic>>()?)
            }
        };
        let time = (!strip_time && context.time != 0).then(|| ("build_time", context.time.into()));
        let fields = [
            ("name", context.build_name.clone().into()),
            ("builder_type", context.builder_type.clone().into()),
        ]
        .into_iter()
        .chain(time)
        .chain([
            ("files", files),
            ("artifact_id", input.id.clone().into()),
            ("packer_run_uuid", context.run_uuid.clone().into()),
            ("custom_data", custom_data),
        ]);
        Ok(object(fields))
    }
}

#[async_trait]
impl PostProcessor for Manifest {
    fn kind(&self) -> &'static str {
        "manifest"
    }

    async fn process(&self, context: &PostContext, input: &Artifact) -> Result<Processed, Diagnostic> {
        let (this, input) = (self.clone(), input.clone());
        context.blocking(move |context| this.run(context, input)).await
    }
}

fn object<'a>(fields: impl IntoIterator<Item = (&'a str, Value)>) -> Value {
    Value::Object(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

/// The object in a manifest; an empty one if the file is empty.
fn parse(contents: &[u8], path: &Path) -> Result<Map<String, Value>, Diagnostic> {
    let damaged = |reason: &str| {
        Diagnostic::error(format!("`{}` is not a manifest: {reason}", path.display()))
            .hint("remove the file, or name another one with `output`")
    };
    if contents.is_empty() {
        return Ok(Map::new());
    }
    let manifest = match serde_json::from_slice(contents).map_err(|error| damaged(&error.to_string()))? {
        Value::Object(manifest) => manifest,
        Value::Null => Map::new(),
        _ => return Err(damaged("it holds no object")),
    };
    match manifest.get("builds") {
        None | Some(Value::Null | Value::Array(_)) => Ok(manifest),
        Some(_) => Err(damaged("its `builds` is no list")),
    }
}

/// Adds an entry, and makes the run the last one. Other fields of the file stay.
fn append(manifest: &mut Map<String, Value>, entry: Value, run: &str) {
    let builds = manifest.entry("builds").or_insert(Value::Null);
    match builds {
        Value::Array(entries) => entries.push(entry),
        builds => *builds = Value::Array(vec![entry]),
    }
    manifest.insert("last_run_uuid".to_owned(), run.into());
}

/// The lock file of Packer, while this program writes.
struct PackerLock(PathBuf);

impl PackerLock {
    /// Waits for a Packer that writes. One that was killed leaves its lock behind: as Packer does, it is taken over in the
    /// end.
    fn take(context: &PostContext, path: &Path) -> Result<Self, Diagnostic> {
        let mut name = path.as_os_str().to_owned();
        name.push(".lock");
        let lock = PathBuf::from(name);
        for _ in 0..LOCK_ATTEMPTS {
            context.check_cancelled()?;
            match std::fs::File::options().write(true).create_new(true).open(&lock) {
                Ok(_) => return Ok(Self(lock)),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => std::thread::sleep(LOCK_PAUSE),
                Err(error) => return Err(unusable("make the lock", &lock, &error)),
            }
        }
        context.warn(&format!("Warning: `{}` was left behind and is removed", lock.display()));
        Ok(Self(lock))
    }
}

impl Drop for PackerLock {
    fn drop(&mut self) {
        if let Err(error) = fs_err::remove_file(&self.0) {
            tracing::debug!(%error, "the lock of a manifest was not removed");
        }
    }
}
