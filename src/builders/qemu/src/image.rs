//! Disk images by `qemu-img`: made, looked at, converted, checked (QEMU: `docs/tools/qemu-img`).
//!
//! Formats are always said and never guessed: a guest that writes a qcow2 header to its raw disk could otherwise name a file of
//! the host as backing file. For the same reason an image from elsewhere is looked at with [`ImageTool::info`] before
//! it is used. Not for: images of a machine that runs; those are changed by QEMU itself.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};

use serde::Deserialize;
use tokio::process::Command;

use crate::probe::ImageTool;
use crate::process::leash;
use crate::spec::{DiskFormat, doubled_commas};

/// Why an image was not made or read.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// `qemu-img` did not start.
    #[error("cannot run `{}`: {source}", .program.display())]
    Run {
        /// Where it is.
        program: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// `qemu-img` refused.
    #[error("`qemu-img {verb}` of `{}` failed ({status}): {said}", .path.display())]
    Refused {
        /// What was asked.
        verb: &'static str,
        /// Of which image.
        path: PathBuf,
        /// How it ended.
        status: ExitStatus,
        /// What it said.
        said: String,
    },
    /// Another process has the image open.
    #[error("`{}` is used by another process; end the machine that runs from it", .path.display())]
    InUse {
        /// The image.
        path: PathBuf,
    },
    /// Its answer is not of the known form.
    #[error("`qemu-img {verb}` of `{}` answers in an unknown form: {source}", .path.display())]
    Answer {
        /// What was asked.
        verb: &'static str,
        /// Of which image.
        path: PathBuf,
        /// What is wrong with the answer.
        source: serde_json::Error,
    },
    /// A path that options cannot hold.
    #[error("the path `{}` of an image is no UTF-8; name it in UTF-8", .0.display())]
    NotText(PathBuf),
}

/// What is below an overlay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backing {
    /// The image below: absolute, or relative to the overlay's folder, which is what is written into the overlay.
    pub path: PathBuf,
    /// Its format.
    pub format: DiskFormat,
}

/// What an image is.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ImageInfo {
    /// QEMU's name of its format: `qcow2`, `raw`, `vmdk`.
    pub format: String,
    /// The size that a guest sees, in bytes.
    pub virtual_size: u64,
    /// What it takes on the host's disk, in bytes.
    #[serde(default)]
    pub actual_size: u64,
    /// The backing file as it is written in the image.
    #[serde(default)]
    pub backing_filename: Option<PathBuf>,
    /// The backing file, where it is.
    #[serde(default)]
    pub full_backing_filename: Option<PathBuf>,
    /// The backing file's format, if it is said.
    #[serde(default)]
    pub backing_filename_format: Option<String>,
    /// Whether it was not closed as it should be.
    #[serde(default)]
    pub dirty_flag: bool,
    /// Whether its contents are encrypted.
    #[serde(default)]
    pub encrypted: bool,
    /// Its internal snapshots.
    #[serde(default)]
    pub snapshots: Vec<ImageSnapshot>,
    /// What is special of the format.
    #[serde(default)]
    format_specific: Option<FormatSpecific>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
struct FormatSpecific {
    #[serde(default)]
    data: SpecificData,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct SpecificData {
    #[serde(default)]
    data_file: Option<PathBuf>,
}

impl ImageInfo {
    /// The files besides its own that the image says it is made of. Of an image from elsewhere there should be none.
    pub fn other_files(&self) -> Vec<&Path> {
        let data = self.format_specific.as_ref().and_then(|format| format.data.data_file.as_deref());
        self.backing_filename.as_deref().into_iter().chain(data).collect()
    }
}

/// An internal snapshot of an image.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ImageSnapshot {
    /// Its name.
    pub name: String,
    /// How large the memory in it is, in bytes; 0 for one of the disk alone.
    pub vm_state_size: u64,
}

/// A part of an image.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Extent {
    /// Where it starts, in bytes, as the guest sees it.
    pub start: u64,
    /// Its length in bytes.
    pub length: u64,
    /// How many images below it is: 0 in the image itself.
    pub depth: u32,
    /// Whether something is stored for it, in this image or one below.
    #[serde(default = "yes")]
    pub present: bool,
    /// Whether it reads as zeros.
    pub zero: bool,
    /// Whether data are stored for it.
    pub data: bool,
    /// Where in its file the data are, if they lie there as they are.
    #[serde(default)]
    pub offset: Option<u64>,
}

/// Older versions say nothing of it.
fn yes() -> bool {
    true
}

/// What is wrong with an image's own tables.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct CheckReport {
    /// What makes it unusable.
    #[serde(default)]
    pub corruptions: u64,
    /// What only takes space.
    #[serde(default)]
    pub leaks: u64,
    /// What could not be checked.
    #[serde(default)]
    pub check_errors: u64,
}

impl CheckReport {
    /// Whether the image can be used. Leaks do no harm.
    pub fn is_sound(&self) -> bool {
        self.corruptions == 0 && self.check_errors == 0
    }
}

/// How an image becomes another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conversion {
    /// What it is.
    pub from: DiskFormat,
    /// QEMU's name of what it becomes: `qcow2`, `raw`, `vmdk`, `vpc`, `vhdx`.
    pub to: String,
    /// Whether it is compressed, where the format can.
    pub compress: bool,
    /// What stays below it, so that only the difference is written.
    pub backing: Option<Backing>,
    /// Further arguments, as a template has them.
    pub arguments: Vec<String>,
}

impl ImageTool {
    /// Makes an empty image of `size` bytes; of an overlay, that which is below gives the size if none is said. What is at
    /// `path` is replaced. `arguments` are further ones of `qemu-img create`.
    ///
    /// # Errors
    /// If `qemu-img` refuses, as it does for a backing file that is not there.
    pub async fn create(
        &self,
        path: &Path,
        format: DiskFormat,
        size: Option<u64>,
        backing: Option<&Backing>,
        arguments: &[String],
    ) -> Result<(), ImageError> {
        let mut command = self.command("create", &["-q", "-f", format.name()]);
        if let Some(backing) = backing {
            command.arg("-b").arg(named(&backing.path)).args(["-F", backing.format.name()]);
        }
        command.args(arguments).arg(named(path));
        command.args(size.map(|size| size.to_string()));
        self.answer(command, "create", path).await.map(drop)
    }

    /// What an image is, also one that a machine is using. Without a format it is guessed, which is right only for looking at
    /// what comes from elsewhere.
    ///
    /// # Errors
    /// If there is none.
    pub async fn info(&self, path: &Path, format: Option<DiskFormat>) -> Result<ImageInfo, ImageError> {
        let mut command = self.command("info", &["-U", "--output=json"]);
        if let Some(format) = format {
            command.args(["-f", format.name()]);
        }
        command.arg(named(path));
        parse(&self.answer(command, "info", path).await?, "info", path)
    }

    /// Makes an image `size` bytes large. It becomes smaller only if `shrink`, which cuts off what is behind.
    /// `arguments` are further ones of `qemu-img resize`.
    ///
    /// # Errors
    /// If `qemu-img` refuses.
    pub async fn resize(
        &self,
        path: &Path,
        format: DiskFormat,
        size: u64,
        shrink: bool,
        arguments: &[String],
    ) -> Result<(), ImageError> {
        let mut command = self.command("resize", &["-q", "-f", format.name()]);
        if shrink {
            command.arg("--shrink");
        }
        command.args(arguments).arg(named(path)).arg(size.to_string());
        self.answer(command, "resize", path).await.map(drop)
    }

    /// Writes an image anew: without what is not used, compressed, in another format. Internal snapshots do not come along.
    ///
    /// # Errors
    /// If `qemu-img` refuses; what is then at `target` is of no use.
    pub async fn convert(
        &self,
        source: &Path,
        target: &Path,
        conversion: &Conversion,
    ) -> Result<(), ImageError> {
        let Conversion { from, to, compress, backing, arguments } = conversion;
        let mut command = self.command("convert", &["-q", "-f", from.name(), "-O", to]);
        if *compress {
            command.arg("-c");
        }
        if let Some(backing) = backing {
            let path = backing.path.to_str().ok_or_else(|| ImageError::NotText(backing.path.clone()))?;
            // `-o` is a list, unlike `-b` of other verbs.
            let options =
                format!("backing_file={},backing_fmt={}", doubled_commas(path), backing.format.name());
            command.args(["-o", &options]);
        }
        command.args(arguments).arg(named(source)).arg(named(target));
        self.answer(command, "convert", source).await.map(drop)
    }

    /// As [`ImageTool::convert`], of a qcow2 image over others, the highest first; what they say of backing files themselves does
    /// not count.
    ///
    /// # Errors
    /// As [`ImageTool::convert`]; if there is no image.
    pub async fn flatten(
        &self,
        images: &[PathBuf],
        target: &Path,
        conversion: &Conversion,
    ) -> Result<(), ImageError> {
        let Conversion { to, compress, arguments, .. } = conversion;
        let mut options = String::new();
        let mut place = String::new();
        for path in images {
            let path = path.to_str().ok_or_else(|| ImageError::NotText(path.clone()))?;
            let comma = if options.is_empty() { "" } else { "," };
            options += &format!(
                "{comma}{place}driver=qcow2,{place}file.driver=file,{place}file.filename={}",
                doubled_commas(path)
            );
            place += "backing.";
        }
        let mut command = self.command("convert", &["-q", "-O", to]);
        if *compress {
            command.arg("-c");
        }
        command.args(arguments).args(["--image-opts", &options]).arg(named(target));
        self.answer(command, "convert", target).await.map(drop)
    }

    /// Looks for errors in an image's own tables; nothing is repaired. A raw image has none.
    ///
    /// # Errors
    /// If it cannot be read. What is wrong with it is no error but the answer.
    pub async fn check(&self, path: &Path, format: DiskFormat) -> Result<CheckReport, ImageError> {
        if format == DiskFormat::Raw {
            fs_err::metadata(path)
                .map_err(|source| ImageError::Run { program: self.program.clone(), source })?;
            return Ok(CheckReport::default());
        }
        let mut command = self.command("check", &["--output=json", "-f", format.name()]);
        command.arg(named(path));
        // 2 and 3 are for corruptions and leaks.
        match self.run(command, "check", path, &[2, 3]).await {
            Ok(said) => parse(&said, "check", path),
            Err(error) => Err(error),
        }
    }

    /// Which parts of an image hold data, and where.
    ///
    /// # Errors
    /// If it cannot be read.
    pub async fn map(&self, path: &Path, format: DiskFormat) -> Result<Vec<Extent>, ImageError> {
        let mut command = self.command("map", &["-U", "--output=json", "-f", format.name()]);
        command.arg(named(path));
        parse(&self.answer(command, "map", path).await?, "map", path)
    }

    fn command(&self, verb: &str, arguments: &[&str]) -> Command {
        // One that writes for minutes ends with this program too.
        let mut command = leash::plain_command(&self.program);
        command.arg(verb).args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    async fn answer(&self, command: Command, verb: &'static str, path: &Path) -> Result<Vec<u8>, ImageError> {
        self.run(command, verb, path, &[]).await
    }

    /// What it writes, if it ends well or as is fine here.
    async fn run(
        &self,
        mut command: Command,
        verb: &'static str,
        path: &Path,
        fine: &[i32],
    ) -> Result<Vec<u8>, ImageError> {
        let failed = |source| ImageError::Run { program: self.program.clone(), source };
        // The shell that holds the leash would only say that there is no such file.
        fs_err::metadata(&self.program).map_err(failed)?;
        let mut child = command.spawn().map_err(failed)?;
        let leash = child.stdin.take();
        let output = child.wait_with_output().await.map_err(failed)?;
        drop(leash);
        if output.status.success() || output.status.code().is_some_and(|code| fine.contains(&code)) {
            return Ok(output.stdout);
        }
        let said = String::from_utf8_lossy(&output.stderr);
        if said.contains(" lock") && said.contains("another process") {
            return Err(ImageError::InUse { path: path.to_owned() });
        }
        let said = said.trim().trim_start_matches("qemu-img: ").to_owned();
        Err(ImageError::Refused { verb, path: path.to_owned(), status: output.status, said })
    }
}

/// A path that `qemu-img` takes as one: `nbd:x` and `-x` are names of files as well.
fn named(path: &Path) -> OsString {
    let bytes = path.as_os_str().as_encoded_bytes();
    if !bytes.contains(&b':') && !bytes.starts_with(b"-") || path.is_absolute() {
        return path.as_os_str().to_owned();
    }
    let mut name = OsString::from("./");
    name.push(path);
    name
}

fn parse<T: serde::de::DeserializeOwned>(
    said: &[u8],
    verb: &'static str,
    path: &Path,
) -> Result<T, ImageError> {
    serde_json::from_slice(said).map_err(|source| ImageError::Answer { verb, path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn tool() -> Option<ImageTool> {
        match ImageTool::find("qemu-img", &["/usr/bin".into(), "/usr/local/bin".into()]).await {
            Ok(tool) => Some(tool),
            Err(error) => {
                eprintln!("SKIPPED: {error}");
                None
            }
        }
    }

    #[test]
    fn names_are_paths() {
        assert_eq!(named(Path::new("/a:b")), "/a:b");
        assert_eq!(named(Path::new("nbd:b")), "./nbd:b");
        assert_eq!(named(Path::new("-a")), "./-a");
        assert_eq!(named(Path::new("base.raw")), "base.raw");
    }

    #[tokio::test]
    async fn an_overlay_knows_what_is_below() {
        let Some(tool) = tool().await else { return };
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let mut bytes = vec![0_u8; 4 << 20];
        bytes[1 << 20..(1 << 20) + 4].copy_from_slice(b"data");
        fs_err::write(at("base.raw"), &bytes).unwrap();

        let below = Backing { path: "base.raw".into(), format: DiskFormat::Raw };
        tool.create(&at("top,1.qcow2"), DiskFormat::Qcow2, Some(8 << 20), Some(&below), &[]).await.unwrap();
        let info = tool.info(&at("top,1.qcow2"), Some(DiskFormat::Qcow2)).await.unwrap();
        assert_eq!((info.format.as_str(), info.virtual_size, info.dirty_flag), ("qcow2", 8 << 20, false));
        assert_eq!(info.backing_filename.as_deref(), Some(Path::new("base.raw")));
        assert_eq!(info.full_backing_filename, Some(at("base.raw")));
        assert_eq!(info.backing_filename_format.as_deref(), Some("raw"));
        assert_eq!(info.other_files(), [Path::new("base.raw")]);

        let extents = tool.map(&at("top,1.qcow2"), DiskFormat::Qcow2).await.unwrap();
        assert_eq!(extents.iter().map(|extent| extent.length).sum::<u64>(), 8 << 20);
        assert!(extents.iter().any(|extent| extent.data && extent.depth == 1 && extent.start <= 1 << 20));
        assert!(tool.check(&at("top,1.qcow2"), DiskFormat::Qcow2).await.unwrap().is_sound());

        tool.resize(&at("top,1.qcow2"), DiskFormat::Qcow2, 16 << 20, false, &[]).await.unwrap();
        let small =
            tool.resize(&at("top,1.qcow2"), DiskFormat::Qcow2, 1 << 20, false, &[]).await.unwrap_err();
        assert!(small.to_string().contains("shrink"), "{small}");
        let flat = Conversion {
            from: DiskFormat::Qcow2,
            to: "qcow2".into(),
            compress: true,
            backing: None,
            arguments: vec![],
        };
        tool.convert(&at("top,1.qcow2"), &at("flat.qcow2"), &flat).await.unwrap();
        let info = tool.info(&at("flat.qcow2"), None).await.unwrap();
        assert_eq!(
            (info.virtual_size, info.backing_filename.clone(), info.other_files().len()),
            (16 << 20, None, 0)
        );
        let thin = Conversion { backing: Some(below), ..flat };
        tool.convert(&at("top,1.qcow2"), &at("thin.qcow2"), &thin).await.unwrap();
        let info = tool.info(&at("thin.qcow2"), Some(DiskFormat::Qcow2)).await.unwrap();
        assert_eq!(info.backing_filename.as_deref(), Some(Path::new("base.raw")));
        let back = Conversion {
            from: DiskFormat::Qcow2,
            to: "raw".into(),
            compress: false,
            backing: None,
            arguments: vec![],
        };
        tool.convert(&at("thin.qcow2"), &at("back.raw"), &back).await.unwrap();
        assert_eq!(fs_err::read(at("back.raw")).unwrap()[..4 << 20], bytes);
    }

    #[tokio::test]
    async fn what_is_wrong_is_told() {
        let Some(tool) = tool().await else { return };
        let folder = tempfile::tempdir().unwrap();
        let missing = folder.path().join("missing");
        let error = tool.info(&missing, None).await.unwrap_err().to_string();
        let start = format!("`qemu-img info` of `{}` failed (exit status: 1): ", missing.display());
        assert!(error.starts_with(&start) && error.contains("No such file"), "{error}");

        let broken = folder.path().join("broken.qcow2");
        tool.create(&broken, DiskFormat::Qcow2, Some(1 << 20), None, &[]).await.unwrap();
        let mut bytes = fs_err::read(&broken).unwrap();
        // The first entry of the first table, which then leads to nowhere (QEMU: `docs/interop/qcow2.txt`, `l1_table_offset`).
        let table = u64::from_be_bytes(bytes[40..48].try_into().unwrap()) as usize;
        bytes[table..table + 8].copy_from_slice(&0x8000_0000_0100_0000_u64.to_be_bytes());
        fs_err::write(&broken, bytes).unwrap();
        assert!(!tool.check(&broken, DiskFormat::Qcow2).await.unwrap().is_sound());
    }
}
