//! Small `.deb` files, byte for byte the same for the same description.

use crate::Sha256;

/// A package to be made.
#[derive(Clone, Debug)]
pub struct TestPackage {
    /// Name.
    pub name: String,
    /// Version.
    pub version: String,
    /// Architecture, `all` included.
    pub architecture: String,
    fields: Vec<(String, String)>,
    entries: Vec<(String, Content, u32)>,
    control_files: Vec<(String, Vec<u8>, u32)>,
}

#[derive(Clone, Debug)]
enum Content {
    File(Vec<u8>),
    Symlink(String),
    HardLink(String),
    Folder,
}

/// The time of every entry.
const MTIME: u64 = 1_700_000_000;

impl TestPackage {
    /// A package for `amd64` without files.
    #[must_use]
    pub fn new(name: &str, version: &str) -> Self {
        Self {
            name: name.to_owned(),
            version: version.to_owned(),
            architecture: "amd64".to_owned(),
            fields: Vec::new(),
            entries: Vec::new(),
            control_files: Vec::new(),
        }
    }

    /// For another architecture.
    #[must_use]
    pub fn architecture(mut self, architecture: &str) -> Self {
        architecture.clone_into(&mut self.architecture);
        self
    }

    /// With a control field.
    #[must_use]
    pub fn field(mut self, name: &str, value: &str) -> Self {
        self.fields.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With `Depends`.
    #[must_use]
    pub fn depends(self, value: &str) -> Self {
        self.field("Depends", value)
    }

    /// With `Essential: yes` and `Priority: required`.
    #[must_use]
    pub fn essential(self) -> Self {
        self.field("Essential", "yes").field("Priority", "required")
    }

    /// With a file at a path relative to the root.
    #[must_use]
    pub fn file(mut self, path: &str, content: &[u8], mode: u32) -> Self {
        self.entries.push((path.to_owned(), Content::File(content.to_owned()), mode));
        self
    }

    /// With a symbolic link.
    #[must_use]
    pub fn symlink(mut self, path: &str, target: &str) -> Self {
        self.entries.push((path.to_owned(), Content::Symlink(target.to_owned()), 0o777));
        self
    }

    /// With a hard link to a file that was added before.
    #[must_use]
    pub fn hard_link(mut self, path: &str, target: &str) -> Self {
        self.entries.push((path.to_owned(), Content::HardLink(target.to_owned()), 0o644));
        self
    }

    /// With an explicit folder; the folders of files are made without being asked for, mode 0755.
    #[must_use]
    pub fn folder(mut self, path: &str, mode: u32) -> Self {
        self.entries.push((path.to_owned(), Content::Folder, mode));
        self
    }

    /// With a maintainer script, for example `postinst`.
    #[must_use]
    pub fn script(mut self, name: &str, content: &str) -> Self {
        self.control_files.push((name.to_owned(), content.as_bytes().to_owned(), 0o755));
        self
    }

    /// With another control file, for example `conffiles` or `triggers`.
    #[must_use]
    pub fn control_file(mut self, name: &str, content: &str) -> Self {
        self.control_files.push((name.to_owned(), content.as_bytes().to_owned(), 0o644));
        self
    }

    /// `name_version_arch.deb`, the epoch left out as archives do.
    #[must_use]
    pub fn file_name(&self) -> String {
        let version = self.version.split_once(':').map_or(self.version.as_str(), |(_, rest)| rest);
        format!("{}_{version}_{}.deb", self.name, self.architecture)
    }

    /// The path under the archive's folder.
    #[must_use]
    pub fn pool_path(&self) -> String {
        format!("pool/main/{}/{}/{}", &self.name[..1], self.name, self.file_name())
    }

    fn control(&self) -> String {
        let mut text = format!(
            "Package: {}\nVersion: {}\nArchitecture: {}\nMaintainer: Nobody <nobody@example.invalid>\n",
            self.name, self.version, self.architecture
        );
        for (name, value) in &self.fields {
            text.push_str(&format!("{name}: {value}\n"));
        }
        if !self.fields.iter().any(|(name, _)| name == "Priority") {
            text.push_str("Priority: optional\n");
        }
        text.push_str("Description: made for a test\n");
        text
    }

    /// The paragraph of the index.
    #[must_use]
    pub fn stanza(&self, deb: &[u8]) -> String {
        let digest = Sha256::of(deb);
        format!("{}Filename: {}\nSize: {}\nSHA256: {digest}\n", self.control(), self.pool_path(), deb.len())
    }

    /// The package file.
    #[must_use]
    pub fn build(&self) -> Vec<u8> {
        let mut control = Tar::new();
        control.add("control", &Content::File(self.control().into_bytes()), 0o644);
        for (name, content, mode) in &self.control_files {
            control.add(name, &Content::File(content.clone()), *mode);
        }
        let mut data = Tar::new();
        let mut folders = Vec::new();
        for (path, content, mode) in &self.entries {
            for (end, _) in path.match_indices('/') {
                let folder = &path[..end];
                if !folders.contains(&folder) {
                    folders.push(folder);
                    data.add(folder, &Content::Folder, 0o755);
                }
            }
            if matches!(content, Content::Folder) {
                folders.push(path);
            }
            data.add(path, content, *mode);
        }
        let mut archive = ar::Builder::new(Vec::new());
        let compress = |bytes: Vec<u8>| zstd::encode_all(&bytes[..], 1).expect("memory takes every byte");
        let members = [
            ("debian-binary", b"2.0\n".to_vec()),
            ("control.tar.zst", compress(control.finish())),
            ("data.tar.zst", compress(data.finish())),
        ];
        for (name, bytes) in members {
            let mut header = ar::Header::new(name.as_bytes().to_owned(), bytes.len() as u64);
            header.set_mode(0o100_644);
            archive.append(&header, &bytes[..]).expect("memory takes every byte");
        }
        archive.into_inner().expect("memory takes every byte")
    }
}

struct Tar(tar::Builder<Vec<u8>>);

impl Tar {
    fn new() -> Self {
        let mut tar = Self(tar::Builder::new(Vec::new()));
        tar.add("", &Content::Folder, 0o755);
        tar
    }

    fn add(&mut self, path: &str, content: &Content, mode: u32) {
        let mut header = tar::Header::new_gnu();
        header.set_mode(mode);
        header.set_mtime(MTIME);
        header.set_uid(0);
        header.set_gid(0);
        header.set_size(0);
        let path = format!("./{path}");
        let done = match content {
            Content::File(bytes) => {
                header.set_size(bytes.len() as u64);
                self.0.append_data(&mut header, path, &bytes[..])
            }
            Content::Folder => {
                header.set_entry_type(tar::EntryType::Directory);
                self.0.append_data(&mut header, format!("{}/", path.trim_end_matches('/')), &b""[..])
            }
            Content::Symlink(target) => {
                header.set_entry_type(tar::EntryType::Symlink);
                self.0.append_link(&mut header, path, target)
            }
            Content::HardLink(target) => {
                header.set_entry_type(tar::EntryType::Link);
                self.0.append_link(&mut header, path, format!("./{target}"))
            }
        };
        done.expect("memory takes every byte");
    }

    fn finish(self) -> Vec<u8> {
        self.0.into_inner().expect("memory takes every byte")
    }
}
