//! The builder as the engine knows it: a machine is an overlay mount over a snapshot's layers, and its session works
//! on that mount.

use std::collections::BTreeSet;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use imgbuild_cache::{Cache, Run, Staged};
use imgbuild_digest::{ContentHash as _, Hash};
use imgbuild_engine::secrets::{NamedSecret, SecretFinder};
use imgbuild_engine::{
    ActionError, Bind, Builder, Command, Exit, FileOperation, Machine, MachineSpec, OnLine, Session,
    Snapshot, Stat, UnitState,
};
use imgbuild_model::{Class, Diagnostic, Platform, Stream, with_causes};
use imgbuild_tree::{
    CaptureOptions, DeltaId, DeltaManifest, EmptyView, Exclusion, MergedView, TreePath, XattrNamespace,
    capture, prepare_root,
};

use crate::binfmt::Emulator;
use crate::files::accounts::{NewGroup, NewUser};
use crate::files::{Attributes, Contents, FilesError, Kind, Modes, Root, TreeOptions};
use crate::leaks;
use crate::overlay::{self, MAX_LOWERS, OverlayError, OverlayOptions};
use crate::sandbox::{self, Network, Sandbox, SandboxError, SandboxSpec, Stdin};
use crate::seal;

/// The builder's name and version, as it enters keys.
pub const KEY: &str = "rootfs/1";

/// Where squashed stacks are remembered.
const SQUASH_MEMO: &str = "rootfs-squash";

/// Makes layers of root file systems, in namespaces.
#[derive(Clone)]
pub struct RootfsBuilder {
    cache: Cache,
}

impl RootfsBuilder {
    /// A builder over a cache. To start machines, the process must have called [`crate::userns::enter`].
    #[must_use]
    pub fn new(cache: Cache) -> Self {
        Self { cache }
    }

    /// The folders to mount for a stack of layers: one for each, or a squashed one in place of the lowest where the
    /// kernel would not take so many.
    fn lowers(&self, layers: &[DeltaId], run: &Run) -> Result<Vec<PathBuf>, ActionError> {
        if layers.len() <= MAX_LOWERS {
            return Ok(layers.iter().map(|delta| self.cache.layer_tree(delta)).collect());
        }
        // Cut at a fixed place, so that the chain's next layers find the same squashed stack.
        let cut = layers.len() - layers.len() % (MAX_LOWERS / 2);
        let cut = if cut == layers.len() { cut - MAX_LOWERS / 2 } else { cut };
        let (below, above) = layers.split_at(cut);
        let squashed = self.squashed(below, run)?;
        Ok(std::iter::once(squashed)
            .chain(above.iter().copied())
            .map(|delta| self.cache.layer_tree(&delta))
            .collect())
    }

    fn squashed(&self, layers: &[DeltaId], run: &Run) -> Result<DeltaId, ActionError> {
        let key: Hash = layers.hash_as("imgbuild squashed stack");
        if let Some(bytes) = self.cache.memo_get(SQUASH_MEMO, &key)?
            && let Some(delta) =
                std::str::from_utf8(&bytes).ok().and_then(|text| text.parse::<DeltaId>().ok())
            && self.cache.has_layer(&delta)
        {
            return Ok(delta);
        }
        let lowers = self.lowers(layers, run)?;
        let lowers: Vec<&Path> = lowers.iter().map(PathBuf::as_path).collect();
        let staged = self.cache.stage(run)?;
        overlay::squash_tree(&lowers, staged.upper()).map_err(failed)?;
        let options = CaptureOptions {
            exclude: Vec::new(),
            ..CaptureOptions::new(i64::MAX, XattrNamespace::of_process())
        };
        let manifest = capture(staged.upper(), &EmptyView, &options).map_err(failed)?;
        let delta = self.cache.commit_layer(staged, &manifest)?;
        self.cache.memo_put(SQUASH_MEMO, &key, delta.to_string().as_bytes())?;
        Ok(delta)
    }

    fn mount_read_only(&self, layers: &[DeltaId], run: &Run) -> Result<OwnedFd, ActionError> {
        let lowers = self.lowers(layers, run)?;
        let lowers: Vec<&Path> = lowers.iter().map(PathBuf::as_path).collect();
        overlay::mount(&lowers, None, OverlayOptions::default()).map_err(overlay_error)
    }

    fn start_now(&self, from: &Snapshot, spec: &MachineSpec) -> Result<RootfsMachine, ActionError> {
        let emulator = Emulator::for_architecture(kernel_name(spec.platform))
            .map_err(|error| environment(error.to_string()))?;
        let parents = from
            .layers
            .iter()
            .map(|delta| self.cache.layer_manifest(delta))
            .collect::<Result<Vec<Arc<DeltaManifest>>, _>>()?;
        let lowers = self.lowers(&from.layers, &spec.run)?;
        let lowers: Vec<&Path> = lowers.iter().map(PathBuf::as_path).collect();
        let staged = self.cache.stage(&spec.run)?;
        prepare_root(staged.upper(), &MergedView::new(&parents)).map_err(failed)?;
        let upper = Some((staged.upper(), staged.work()));
        let mount = overlay::mount(&lowers, upper, OverlayOptions::default()).map_err(overlay_error)?;
        let session = RootfsSession {
            builder: self.clone(),
            run: spec.run.clone(),
            mount,
            source_date: spec.source_date,
            emulator,
            mount_targets: BTreeSet::new(),
            secrets: Vec::new(),
        };
        Ok(RootfsMachine { cache: self.cache.clone(), from: from.clone(), parents, staged, session })
    }
}

#[async_trait]
impl Builder for RootfsBuilder {
    fn key(&self) -> &str {
        KEY
    }

    async fn start(&self, from: &Snapshot, spec: &MachineSpec) -> Result<Box<dyn Machine>, ActionError> {
        let machine = tokio::task::block_in_place(|| self.start_now(from, spec))?;
        Ok(Box::new(machine))
    }
}

/// A mounted copy of a snapshot.
struct RootfsMachine {
    cache: Cache,
    from: Snapshot,
    parents: Vec<Arc<DeltaManifest>>,
    staged: Staged,
    session: RootfsSession,
}

#[async_trait]
impl Machine for RootfsMachine {
    fn session(&mut self) -> &mut dyn Session {
        &mut self.session
    }

    async fn finish(self: Box<Self>) -> Result<Snapshot, ActionError> {
        tokio::task::block_in_place(|| {
            let Self { cache, from, parents, staged, session } = *self;
            let RootfsSession { mount, source_date, mount_targets, secrets, .. } = session;
            // What was written goes to the upper folder at the latest when the mount does.
            drop(mount);
            let mut options = CaptureOptions::new(source_date, XattrNamespace::of_process());
            options.exclude.extend(mount_targets.iter().filter_map(|path| {
                Some(Exclusion { path: TreePath::new(path.as_bytes())?, contents_only: false })
            }));
            let manifest = capture(staged.upper(), &MergedView::new(&parents), &options).map_err(failed)?;
            if let Some(finder) = SecretFinder::new(&secrets) {
                leaks::refuse(staged.upper(), &manifest, &finder)?;
            }
            let mut layers = from.layers;
            if !manifest.entries.is_empty() {
                layers.push(cache.commit_layer(staged, &manifest)?);
            }
            Ok(Snapshot::of(layers))
        })
    }

    async fn discard(self: Box<Self>) -> Result<(), ActionError> {
        tokio::task::block_in_place(|| drop(self));
        Ok(())
    }
}

/// What can be done on the mount.
struct RootfsSession {
    builder: RootfsBuilder,
    run: Arc<Run>,
    mount: OwnedFd,
    source_date: i64,
    emulator: Option<Emulator>,
    /// What the sandbox mounted over and so is none of the step's work.
    mount_targets: BTreeSet<String>,
    /// What commands were given, and no layer may hold.
    secrets: Vec<NamedSecret>,
}

#[async_trait]
impl Session for RootfsSession {
    async fn exec(&mut self, command: &Command, on_line: OnLine<'_>) -> Result<Exit, ActionError> {
        let spec = SandboxSpec {
            environment: command.env.clone(),
            source_date_epoch: Some(self.source_date),
            workdir: command.workdir.clone().unwrap_or_else(|| "/".to_owned()),
            user: command.user.clone().unwrap_or_else(|| "0:0".to_owned()),
            network: match command.network {
                true => Network::Host { metadata: command.metadata },
                false => Network::None,
            },
            stdin: command.stdin.clone().map_or(Stdin::Null, Stdin::Bytes),
            interactive: command.interactive,
            allow_new_privileges: command.new_privileges,
            binds: command.binds.iter().map(bind).collect(),
            secrets: command.secrets.clone(),
            secret_environment: command.secret_env.clone(),
            emulator: self.emulator.clone(),
            ..SandboxSpec::new(command.argv.clone())
        };
        self.secrets.extend_from_slice(&command.secrets);
        let step = Sandbox::new().spawn(&spec, self.mount.as_fd()).map_err(sandbox_error)?;
        let outcome = step
            .wait_with(|line| {
                let stream = match line.stream {
                    sandbox::Stream::Stdout => Stream::Stdout,
                    sandbox::Stream::Stderr => Stream::Stderr,
                };
                on_line(stream, &String::from_utf8_lossy(&line.bytes));
            })
            .await
            .map_err(sandbox_error)?;
        self.mount_targets.extend(outcome.mount_targets);
        Ok(match outcome.exit {
            sandbox::Exit::Code(code) => Exit::Code(code),
            sandbox::Exit::Signal(signal) => Exit::Signal(signal),
        })
    }

    async fn apply(&mut self, operations: Vec<FileOperation>) -> Result<(), ActionError> {
        tokio::task::block_in_place(|| {
            let root = self.files()?;
            operations.into_iter().try_for_each(|operation| self.apply_one(&root, operation))
        })
    }

    async fn read(&mut self, path: &str) -> Result<Option<Vec<u8>>, ActionError> {
        match self.files()?.read_file(path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(FilesError::NotFound { .. }) => Ok(None),
            Err(error) => Err(files_error(error)),
        }
    }

    async fn stat(&mut self, path: &str) -> Result<Option<Stat>, ActionError> {
        let status = match self.files()?.status(path) {
            Ok(status) => status,
            Err(FilesError::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(files_error(error)),
        };
        let Attributes { mode, uid, gid } = status.attributes;
        Ok(Some(Stat {
            mode,
            uid,
            gid,
            size: status.size,
            is_directory: status.kind == Kind::Directory,
            link_target: match status.kind {
                Kind::SymbolicLink(target) => Some(String::from_utf8_lossy(&target).into_owned()),
                _ => None,
            },
        }))
    }

    async fn list(&mut self, path: &str) -> Result<Vec<String>, ActionError> {
        match self.files()?.list(path) {
            Ok(names) => Ok(names.iter().map(|name| String::from_utf8_lossy(name).into_owned()).collect()),
            Err(FilesError::NotFound { .. }) => Ok(Vec::new()),
            Err(error) => Err(files_error(error)),
        }
    }

    async fn download(&mut self, pattern: &str, folder: &Path) -> Result<Vec<String>, ActionError> {
        tokio::task::block_in_place(|| {
            let root = self.files()?;
            let mut names = Vec::new();
            for path in root.matching(pattern).map_err(files_error)? {
                let name = path.rsplit('/').next().unwrap_or_default().to_owned();
                root.copy_to_host(&path, &folder.join(&name)).map_err(files_error)?;
                names.push(name);
            }
            Ok(names)
        })
    }

    async fn identity(&mut self, owner: &str) -> Result<(u32, u32), ActionError> {
        let identity = self.files()?.owner(owner).map_err(files_error)?;
        Ok((identity.uid, identity.gid))
    }

    fn root(&mut self) -> Option<BorrowedFd<'_>> {
        Some(self.mount.as_fd())
    }
}

impl RootfsSession {
    fn files(&self) -> Result<Root, ActionError> {
        Root::open(self.mount.as_fd(), self.source_date).map_err(files_error)
    }

    fn apply_one(&self, root: &Root, operation: FileOperation) -> Result<(), ActionError> {
        let attributes = |owner: &str, mode: u32| -> Result<Attributes, ActionError> {
            let identity = root.owner(owner).map_err(files_error)?;
            Ok(Attributes { mode, uid: identity.uid, gid: identity.gid })
        };
        match operation {
            FileOperation::Write { path, content, mode, owner } => root
                .write_file(&path, Contents::Bytes(&content), attributes(&owner, mode)?)
                .map_err(files_error),
            FileOperation::CopyFile { source, path, mode, owner } => root
                .write_file(&path, Contents::HostFile(&source), attributes(&owner, mode)?)
                .map_err(files_error),
            FileOperation::CopyTree { source, path, mode, owner } => {
                let Attributes { uid, gid, .. } = attributes(&owner, 0)?;
                let modes = match mode {
                    Some(file) => Modes::Fixed { file, directory: 0o755 },
                    None => Modes::Normal,
                };
                let options = TreeOptions { owner: Some((uid, gid)), modes, attributes: false };
                root.copy_from_host(&source, &path, options).map_err(files_error)
            }
            FileOperation::MakeDirectory { path, mode, owner } => {
                root.make_directory(&path, Some(attributes(&owner, mode)?)).map_err(files_error)
            }
            FileOperation::Symlink { target, path, owner } => {
                if owner != "root:root" {
                    return Err(ActionError::input(format!("the link `{path}` can only be root's"))
                        .hint("leave `owner` out: a link's owner has no effect"));
                }
                root.symlink(&target, &path).map_err(files_error)
            }
            FileOperation::Remove { path, missing_ok } => {
                let removed = root.remove_matching(&path, true).map_err(files_error)?;
                if removed.is_empty() && !missing_ok {
                    return Err(ActionError::input(format!("`{path}` matches nothing in the image"))
                        .hint("`missing_ok = True` allows it"));
                }
                Ok(())
            }
            FileOperation::CopyFrom { from, source, path, owner } => {
                self.copy_from(root, &from, &source, &path, owner.as_deref())
            }
            FileOperation::AddUser(user) => {
                let create_home = user.create_home.unwrap_or(!user.system);
                let new = NewUser {
                    name: user.name,
                    uid: user.uid,
                    system: user.system,
                    comment: user.comment,
                    home: user.home,
                    create_home,
                    shell: user.shell,
                    group: user.group,
                    groups: user.groups,
                };
                root.add_user(&new).map(|_| ()).map_err(files_error)
            }
            FileOperation::AddGroup { name, gid, members, system } => {
                root.add_group(&NewGroup { name: name.clone(), gid, system }).map_err(files_error)?;
                if members.is_empty() {
                    Ok(())
                } else {
                    root.add_members(&name, &members).map_err(files_error)
                }
            }
            FileOperation::Unit { name, content, state } => {
                if let Some(content) = content {
                    let attributes = Attributes { mode: 0o644, uid: 0, gid: 0 };
                    root.write_file(
                        &format!("/etc/systemd/system/{name}"),
                        Contents::Bytes(&content),
                        attributes,
                    )
                    .map_err(files_error)?;
                }
                match state {
                    UnitState::Enabled => root.enable_unit(&name).map(|_| ()),
                    UnitState::Disabled => root.disable_unit(&name).map(|_| ()),
                    UnitState::Masked => root.mask_unit(&name),
                }
                .map_err(files_error)
            }
            FileOperation::PowerOff => {
                Err(ActionError::input("an image's tree does not run, and cannot be switched off"))
            }
            FileOperation::Seal => seal::seal(root).map_err(files_error),
        }
    }

    fn copy_from(
        &self,
        root: &Root,
        from: &Snapshot,
        source: &str,
        path: &str,
        owner: Option<&str>,
    ) -> Result<(), ActionError> {
        let mount = self.builder.mount_read_only(&from.layers, &self.run)?;
        let other = Root::open(mount.as_fd(), self.source_date).map_err(files_error)?;
        let owner = match owner {
            Some(owner) => {
                let identity = root.owner(owner).map_err(files_error)?;
                Some((identity.uid, identity.gid))
            }
            None => None,
        };
        let options = TreeOptions { owner, modes: Modes::Keep, attributes: true };
        let matched = other.matching(source).map_err(files_error)?;
        if matched.is_empty() {
            return Err(ActionError::input(format!("`{source}` matches nothing in the other image")));
        }
        let several = matched.len() > 1;
        for found in matched {
            let target = if several || path.ends_with('/') {
                let name = found.rsplit('/').next().unwrap_or_default();
                format!("{}/{name}", path.trim_end_matches('/'))
            } else {
                path.to_owned()
            };
            root.copy_from(&other, &found, &target, options).map_err(files_error)?;
        }
        Ok(())
    }
}

fn bind(bind: &Bind) -> sandbox::Bind {
    sandbox::Bind { source: bind.source.clone(), target: bind.target.clone(), writable: bind.writable }
}

/// The kernel's name of an architecture.
fn kernel_name(platform: Platform) -> &'static str {
    match platform.architecture.oci_name() {
        "amd64" => "x86_64",
        "arm64" => "aarch64",
        "386" => "i386",
        other => other,
    }
}

fn environment(message: String) -> ActionError {
    Diagnostic::error(message).class(Class::Environment).into()
}

fn failed(error: impl std::error::Error) -> ActionError {
    environment(with_causes(&error))
}

fn overlay_error(error: OverlayError) -> ActionError {
    environment(with_causes(&error))
}

fn files_error(error: FilesError) -> ActionError {
    let text = with_causes(&error);
    match error {
        FilesError::Host { .. } | FilesError::Copy { .. } => environment(text),
        _ => ActionError::input(text),
    }
}

fn sandbox_error(error: SandboxError) -> ActionError {
    let text = with_causes(&error);
    match error {
        SandboxError::Step(_) => ActionError::input(text),
        _ => environment(text),
    }
}
