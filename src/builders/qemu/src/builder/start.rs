//! How a machine comes to be: from memory, from the disks of layers, or for the first time.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use imgbuild_cache::{Staged, WarmSnapshot};
use imgbuild_digest::Digest;
use imgbuild_engine::{ActionError, MachineSpec as Wanted, Results};
use imgbuild_ssh::{SshSession, connect_after};
use imgbuild_tree::DeltaId;
use tokio::task::{JoinHandle, block_in_place, spawn_blocking};

use super::access::Access;
use super::attributes::{Source, flash};
use super::disks::{self, Chain, VARIABLES, failed, file_name};
use super::host::Host;
use super::machine::Live;
use super::typing::Typing;
use super::warm::{About, MEMORY, Measured, STATE, has_disks, is_whole_beside_memory};
use super::{QemuBuilder, console, guest};
use crate::media::{FatSize, Files, MediaError, fat_image, iso_image};
use crate::memory::GuestMemory;
use crate::process::{Died, Halt, Launch, Machine, StartError};
use crate::qmp::QmpError;
use crate::seed::HostKeyError;
use crate::spec::{Disk, Firmware, Host as SnapshotHost, MachineSpec, MemoryFingerprint};
use crate::tpm::TpmEmulator;

/// How long QEMU may take to answer.
pub(crate) const ANSWER: Duration = Duration::from_secs(60);
/// How long memory may take to be loaded or kept.
pub(crate) const MEMORY_LIMIT: Duration = Duration::from_secs(10 * 60);
/// How long is waited for QEMU's end where it is about to end, as over memory that it does not take.
const END: Duration = Duration::from_secs(30);
/// How many lines of the console an error has.
pub(crate) const CONSOLE_LINES: usize = 20;

/// What a machine is started with.
pub(crate) struct Parts {
    pub(crate) host: Arc<Host>,
    pub(crate) spec: MachineSpec,
    pub(crate) staged: Staged,
    pub(crate) media: tempfile::TempDir,
    pub(crate) sizes: Vec<u64>,
    pub(crate) variables: Option<PathBuf>,
    pub(crate) tpm: Option<TpmEmulator>,
}

impl QemuBuilder {
    /// A machine that goes on from layers.
    ///
    /// # Errors
    /// If it does not come up.
    pub(crate) async fn go_on(&self, layers: &[DeltaId], wanted: &Wanted) -> Result<Live, ActionError> {
        let source = Source { wanted };
        if self.0.from_memory
            && wanted.results == Results::Kept
            && let Some(warm) = self.0.cache.warm_snapshot(layers)
        {
            match self.wake(layers, wanted, &warm).await {
                Ok(mut live) => {
                    warm.touch();
                    live.woken = Some(warm);
                    return Ok(live);
                }
                Err(NotWoken { why, lasting }) => {
                    wanted.told.line(&format!("The machine cannot go on from memory, and is started: {why}"));
                    if lasting {
                        self.0.cache.remove_warm_snapshot(warm);
                    }
                }
            }
        }
        let access = Access::new(source)?;
        let parts = self.parts(layers, wanted, Some(&access), None).await?;
        wanted.told.line("Starting the machine...");
        self.boot(parts, layers, wanted, access, None).await
    }

    /// A machine that goes on from memory.
    async fn wake(&self, layers: &[DeltaId], wanted: &Wanted, warm: &WarmSnapshot) -> Result<Live, NotWoken> {
        let began = Instant::now();
        let source = Source { wanted };
        let About { fingerprint, access } = warm
            .about()
            .ok_or_else(|| NotWoken::lasting("what is known of it was written by another imgbuild"))?;
        let access = Access::again(source, access.as_ref()).map_err(NotWoken::now)?;
        if !has_disks(warm, Chain::new(&wanted.run, layers).disks()) {
            return Err(NotWoken::lasting("it is another machine: it has other disks"));
        }
        // While all else is made ready.
        let memory = warm.files().contains_key(MEMORY).then(|| MemoryRead::begin(warm.file(MEMORY)));
        let parts = self.parts(layers, wanted, Some(&access), Some(warm)).await.map_err(NotWoken::now)?;
        let fits = block_in_place(|| fingerprint_of(&parts.spec, &parts.host)).map_err(NotWoken::now)?;
        let differences = fingerprint.differences(&fits);
        if let Some(difference) = differences.first() {
            return Err(NotWoken::lasting(format!("it is another machine: {difference}")));
        }
        if !block_in_place(|| is_whole_beside_memory(warm)).map_err(NotWoken::now)? {
            return Err(NotWoken::lasting("what lies beside its memory is damaged"));
        }
        let memory = match memory {
            None => None,
            Some(memory) => Some(Arc::new(taken(memory.done().await, warm)?)),
        };
        if memory.is_some() != parts.spec.has_memory_beside() {
            return Err(NotWoken::lasting("it is another machine: its memory lies elsewhere"));
        }
        let launch = Launch { paused: true, incoming: true, memory, ..self.launch(&parts) };
        let mut machine = launch.start(ANSWER).await.map_err(NotWoken::now)?;
        load(&mut machine, warm).await?;
        // Asked now, since QEMU is slow to answer while the processors begin.
        let port = ssh_port(&machine, source).await.map_err(NotWoken::now)?;
        machine.qmp().resume().await.map_err(NotWoken::now)?;
        // One that lets nobody in now is not waited for again.
        let seen = |why| NotWoken { why, lasting: true };
        let live = self.connected(machine, port, parts, layers, wanted, access).await.map_err(seen)?;
        guest::woken(&live.session).await;
        wanted
            .told
            .line(&format!("The machine goes on from memory ({:.1} s)", began.elapsed().as_secs_f32()));
        Ok(live)
    }

    /// Starts a machine and waits until it lets us in; types at its screen before, if there is something to be typed.
    ///
    /// # Errors
    /// If it dies, or does not come up; with the last lines of its console.
    pub(crate) async fn boot(
        &self,
        parts: Parts,
        layers: &[DeltaId],
        wanted: &Wanted,
        access: Access,
        typing: Option<Typing>,
    ) -> Result<Live, ActionError> {
        let began = Instant::now();
        let is_typed = typing.is_some();
        let mut machine = self.launch(&parts).start(ANSWER).await?;
        // Files are served until the machine is up.
        let _served = match typing {
            Some(typing) => typing.carry_out(&mut machine, Source { wanted }).await?,
            None => None,
        };
        let source = Source { wanted };
        if source.text("console").is_some() {
            console::shown(&mut machine, source).await?;
        }
        wanted.told.line("Waiting for SSH to become available...");
        let port = ssh_port(&machine, source).await?;
        let live = self.connected(machine, port, parts, layers, wanted, access).await?;
        wanted.told.line("Connected to SSH!");
        guest::started(&live.session, &live.access).await?;
        // One that is installed is no boot.
        if !is_typed {
            Measured::of(&self.0.cache, wanted).booted_in(began.elapsed())?;
        }
        Ok(live)
    }

    pub(crate) fn launch(&self, parts: &Parts) -> Launch {
        // Sockets have short names, which those below the cache need not have.
        Launch::new(&parts.host.emulator.program, parts.spec.clone())
    }

    /// Logs in by a port of this host, while it is watched whether the machine lives.
    async fn connected(
        &self,
        mut machine: Machine,
        port: u16,
        parts: Parts,
        layers: &[DeltaId],
        wanted: &Wanted,
        access: Access,
    ) -> Result<Live, ActionError> {
        let source = Source { wanted };
        let settings = access.settings(source, &self.0.surroundings, port)?;
        let connecting = connect_after(settings, source.duration("pause_before_connecting"));
        let connection = tokio::select! {
            connected = connecting => connected.map_err(|error| with_console(error.into(), &machine.console(CONSOLE_LINES)))?,
            ended = machine.wait_or_halt() => {
                let problem = match ended? {
                    None => ActionError::environment("the machine switched itself off before SSH was there"),
                    Some(halt) => halted(&halt),
                };
                return Err(with_console(problem, &machine.console(CONSOLE_LINES)));
            }
        };
        let Parts { host, spec, staged, media, sizes, variables, tpm } = parts;
        Ok(Live {
            machine,
            session: SshSession::new(connection),
            access,
            host,
            spec,
            layers: layers.to_vec(),
            staged,
            _media: media,
            sizes,
            variables,
            tpm,
            generation: 0,
            sensitive: false,
            keeps_memory: true,
            woken: None,
        })
    }

    /// What a machine over layers is started with: new images, firmware variables of its own, a seed for who is to log in.
    pub(crate) async fn parts(
        &self,
        layers: &[DeltaId],
        wanted: &Wanted,
        access: Option<&Access>,
        warm: Option<&WarmSnapshot>,
    ) -> Result<Parts, ActionError> {
        let source = Source { wanted };
        let host = self.host(source, &wanted.told).await?;
        let accelerator = source.accelerator().unwrap_or_else(|| host.accelerator.clone());
        let mut spec = source.machine(&host.emulator, accelerator)?;
        spec.memory_beside = match warm {
            Some(warm) => warm.files().contains_key(MEMORY),
            // Where it will not be kept, it lies where the host has large pages for it.
            None => {
                let is_kept = source.warm() && !source.flag("installer") && !wanted.sensitive;
                is_kept && wanted.results == Results::Kept
            }
        };
        let chain = Chain::new(&wanted.run, layers);
        let staged = self.0.cache.stage(&wanted.run)?;
        let media = tempfile::Builder::new().prefix("media-").tempdir_in(wanted.run.temporary())?;
        let mut sizes = Vec::new();
        for disk in 0..chain.disks() {
            let below = chain.disk(disk)?;
            let size = disks::virtual_size(&host.images, &below[0]).await?;
            let path = staged.upper().join(file_name(disk));
            match warm {
                None => disks::create(&host.images, &path, size).await?,
                Some(warm) => {
                    block_in_place(|| fs_err::copy(warm.file(&file_name(disk)), &path))?;
                }
            }
            sizes.push(size);
            spec.disks.push(source.disk(path, below));
        }
        let variables = match source.efi()? {
            None => None,
            Some((code, vars)) => {
                let path = media.path().join(VARIABLES);
                let from =
                    warm.filter(|warm| warm.files().contains_key(VARIABLES)).map(|warm| warm.file(VARIABLES));
                let from = from.unwrap_or_else(|| chain.variables().unwrap_or(vars));
                block_in_place(|| fs_err::copy(from, &path))?;
                make_writable(&path)?;
                spec.firmware = flash(code, path.clone());
                boot_from_disk(&mut spec);
                Some(path)
            }
        };
        add_media(&mut spec, source, access, media.path())?;
        let tpm = self.tpm(source, &chain).await?;
        spec.tpm = tpm.as_ref().map(|tpm| source.tpm(tpm.socket()));
        Ok(Parts { host, spec, staged, media, sizes, variables, tpm })
    }
}

/// Has UEFI boot from the first disk: the places of devices are others where a machine has a medium that a later one lacks, and
/// what the variables say of them holds no more. A template's own devices would take the place of a disk with an order.
fn boot_from_disk(spec: &mut MachineSpec) {
    let has_devices = spec.overrides.iter().any(|one| one.switch().name == "-device");
    if let Some(disk) = spec.disks.first_mut().filter(|_| !has_devices) {
        disk.boot_index = Some(0);
    }
}

/// The port of this host that leads to the machine's SSH.
async fn ssh_port(machine: &Machine, source: Source<'_>) -> Result<u16, ActionError> {
    let forwards = machine.forwards().await?;
    let forward = forwards.iter().find(|forward| forward.guest == source.ssh_port()).ok_or_else(|| {
        ActionError::input("no port of this host leads to the machine's SSH")
            .hint("is there a `-netdev` among the `qemuargs`? It must be named `user.0`")
    })?;
    Ok(forward.host)
}

/// Why a machine does not go on from memory.
#[derive(Debug)]
struct NotWoken {
    why: ActionError,
    /// Whether what is kept is to blame, which then is of no use another time either; else it is this host as it is now.
    lasting: bool,
}

impl NotWoken {
    fn now(why: impl Into<ActionError>) -> Self {
        Self { why: why.into(), lasting: false }
    }

    fn lasting(why: impl Into<String>) -> Self {
        Self { why: ActionError::environment(why), lasting: true }
    }
}

/// Memory that is being read, for as long as it is wanted.
struct MemoryRead {
    reading: JoinHandle<std::io::Result<(GuestMemory, Digest)>>,
    stop: Arc<AtomicBool>,
}

impl MemoryRead {
    fn begin(file: PathBuf) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let reading = spawn_blocking({
            let stop = stop.clone();
            move || GuestMemory::load(&file, &stop)
        });
        Self { reading, stop }
    }

    async fn done(mut self) -> std::io::Result<(GuestMemory, Digest)> {
        (&mut self.reading).await?
    }
}

impl Drop for MemoryRead {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// Memory that was read, if it is what was written.
fn taken(read: std::io::Result<(GuestMemory, Digest)>, warm: &WarmSnapshot) -> Result<GuestMemory, NotWoken> {
    match read {
        Ok((memory, digest)) if warm.files().get(MEMORY) == Some(&digest) => Ok(memory),
        Err(error) if block_in_place(|| warm.is_whole(MEMORY)).map_err(NotWoken::now)? => {
            // That the host gives no memory is its own.
            Err(NotWoken { lasting: error.kind() == ErrorKind::InvalidData, why: error.into() })
        }
        _ => Err(NotWoken::lasting("its memory is damaged")),
    }
}

/// Reads what a machine was into one that was started for it.
async fn load(machine: &mut Machine, warm: &WarmSnapshot) -> Result<(), NotWoken> {
    let loaded = machine.load_state(&warm.file(STATE), MEMORY_LIMIT).await;
    let is_whole = match &loaded {
        Ok(digest) => warm.files().get(STATE) == Some(digest),
        // QEMU may end over what makes no sense to it, and over much else.
        Err(_) => block_in_place(|| warm.is_whole(STATE)).map_err(NotWoken::now)?,
    };
    match loaded {
        _ if !is_whole => Err(NotWoken::lasting("its memory is damaged")),
        Ok(_) => Ok(()),
        Err(error @ QmpError::Refused { .. }) => Err(NotWoken { why: error.into(), lasting: true }),
        Err(error @ (QmpError::Closed { .. } | QmpError::Io(_))) => {
            match tokio::time::timeout(END, machine.wait()).await {
                // It takes no memory of this kind; one that a signal has ended may take it another time.
                Ok(Err(died)) => Err(NotWoken { lasting: died.status.code().is_some(), why: died.into() }),
                _ => Err(NotWoken::now(error)),
            }
        }
        Err(error) => Err(NotWoken::now(error)),
    }
}

/// Copies of files of a distribution may be read-only.
fn make_writable(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    fs_err::set_permissions(path, std::fs::Permissions::from_mode(0o600))
}

/// What a machine's memory depends on.
pub(crate) fn fingerprint_of(spec: &MachineSpec, host: &Host) -> Result<MemoryFingerprint, ActionError> {
    let firmware = match &spec.firmware {
        Firmware::Default => host.emulator.build.clone(),
        Firmware::Bios(path) | Firmware::Flash { code: crate::spec::FlashFile { path, .. }, .. } => {
            imgbuild_digest::Hash::of(&fs_err::read(path)?).to_string()
        }
    };
    let host = SnapshotHost {
        emulator: &host.emulator.build,
        machine: &spec.machine,
        firmware: &firmware,
        processor: &host.processor,
    };
    spec.memory_fingerprint(&host).map_err(|error| ActionError::input(error.to_string()))
}

/// Seeds, floppy disks and CDs.
fn add_media(
    spec: &mut MachineSpec,
    source: Source<'_>,
    access: Option<&Access>,
    folder: &Path,
) -> Result<(), ActionError> {
    let floppy = files(source, "floppy")?;
    if !floppy.is_empty() {
        let path = folder.join("floppy.img");
        fs_err::write(
            &path,
            fat_image(source.text("floppy_label").unwrap_or("imgbuild"), &floppy, FatSize::Floppy)?,
        )?;
        spec.floppies.push(path);
    }
    let cd = files(source, "cd")?;
    if !cd.is_empty() {
        let path = folder.join("cd.iso");
        fs_err::write(&path, iso_image(source.text("cd_label").unwrap_or("imgbuild"), &cd)?)?;
        spec.cds.push(source.cd(path));
    }
    // Not the target's own name, which is in no key.
    let hostname = source.text("hostname").unwrap_or("machine");
    if let Some(seed) = access.and_then(|access| access.seed(hostname)) {
        let path = folder.join("seed.img");
        fs_err::write(&path, seed.image()?)?;
        make_writable(&path)?;
        spec.disks.push(Disk::read_only(path));
    }
    Ok(())
}

/// What is to lie on a medium, from files of the host and from texts.
fn files(source: Source<'_>, name: &str) -> Result<Files, ActionError> {
    let mut files = Files::new();
    let found = source.files(name);
    if found.is_empty() && source.names_files(name) {
        // A machine without them would be another.
        let what = format!("the files of `{name}` are made by another target, and a step has none of them");
        return Err(ActionError::input(what).hint("take files of the workspace, or give them as texts"));
    }
    for path in found {
        files.add_from_host(&path)?;
    }
    for (path, text) in source.pairs(&format!("{name}_content")) {
        files.add(&path, text)?;
    }
    Ok(files)
}

/// Why a machine stands still.
pub(crate) fn halted(halt: &Halt) -> ActionError {
    let hint = match halt {
        Halt::Disk(_) => "is there no space left where the cache is?",
        Halt::Panic => {
            "its last words tell why; where they are of a timer, the host is too busy to emulate it: \
             `no_timer_check` on the kernel's command line leaves that test out"
        }
    };
    ActionError::environment(halt.to_string()).hint(hint)
}

/// An error with what the machine said last.
pub(crate) fn with_console(error: ActionError, console: &str) -> ActionError {
    match error {
        ActionError::Other(mut diagnostic) => {
            diagnostic.message += &last_lines(console);
            ActionError::Other(diagnostic)
        }
        ActionError::MachineLost(mut diagnostic) => {
            diagnostic.message += &last_lines(console);
            ActionError::MachineLost(diagnostic)
        }
        other => other,
    }
}

fn last_lines(console: &str) -> String {
    if console.trim().is_empty() {
        return "; its console is empty".to_owned();
    }
    format!("; its console ends with:\n{console}")
}

macro_rules! of_this_host {
    ($($error:ty),*) => {$(
        impl From<$error> for ActionError {
            fn from(error: $error) -> Self {
                failed(error)
            }
        }
    )*};
}
of_this_host!(QmpError, Died, StartError, HostKeyError);

impl From<MediaError> for ActionError {
    fn from(error: MediaError) -> Self {
        match error {
            MediaError::Read(error) => error.into(),
            error => Self::input(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use imgbuild_cache::{Cache, Run};

    use super::*;
    use crate::probe::Emulator;

    #[tokio::test(flavor = "multi_thread")]
    async fn memory_beside_qemu_that_is_not_what_was_written_is_of_no_use_any_more() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(folder.path()).unwrap();
        let run = Run::begin(&cache).unwrap();
        let kept = |memory: &dyn Fn(&Path) -> Digest| {
            let mut staged = cache.stage_warm(&run).unwrap();
            let digest = memory(&staged.file(MEMORY));
            staged.add(MEMORY, digest);
            staged.commit(&[], &()).unwrap();
            cache.warm_snapshot(&[]).unwrap()
        };
        let load = |warm: &WarmSnapshot| GuestMemory::load(&warm.file(MEMORY), &AtomicBool::new(false));
        let why = |warm: &WarmSnapshot| {
            let NotWoken { why, lasting } = taken(load(warm), warm).unwrap_err();
            (why.to_string(), lasting)
        };
        let warm = kept(&|file| GuestMemory::new(1 << 20).unwrap().save(file).unwrap());
        assert_eq!(taken(load(&warm), &warm).unwrap().size(), 1 << 20);
        // A size that no host has, and another one.
        for byte in [23, 18] {
            let mut bytes = fs_err::read(warm.file(MEMORY)).unwrap();
            bytes[byte] ^= 1;
            fs_err::write(warm.file(MEMORY), bytes).unwrap();
            assert_eq!(why(&warm), ("its memory is damaged".to_owned(), true));
        }
        // It is whole, and was not written so.
        let other = kept(&|file| {
            fs_err::write(file, "QEVM").unwrap();
            Digest::of(b"QEVM")
        });
        assert_eq!(why(&other), ("this is not the memory of a guest".to_owned(), true));
        fs_err::remove_file(other.file(MEMORY)).unwrap();
        assert!(!why(&other).1, "another program may be about to put it there");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn memory_that_qemu_does_not_take_is_told_in_its_words_and_of_no_use_any_more() {
        let emulator =
            match Emulator::find("qemu-system-x86_64", &["/usr/bin".into(), "/usr/local/bin".into()]).await {
                Ok(emulator) => emulator,
                Err(error) => return eprintln!("SKIPPED: {error}"),
            };
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(folder.path()).unwrap();
        let run = Run::begin(&cache).unwrap();
        // More than a socket holds, so that the end of who reads is seen by who writes.
        let memory = b"no memory of a machine".repeat(1 << 19);
        let mut staged = cache.stage_warm(&run).unwrap();
        fs_err::write(staged.file(STATE), &memory).unwrap();
        staged.add(STATE, Digest::of(&memory));
        staged.commit(&[], &()).unwrap();
        let warm = cache.warm_snapshot(&[]).unwrap();

        let spec = MachineSpec { memory: 32, ..MachineSpec::default() };
        let launch = Launch { paused: true, incoming: true, ..Launch::new(&emulator.program, spec) };
        let mut machine = launch.start(ANSWER).await.unwrap();
        let NotWoken { why, lasting } = load(&mut machine, &warm).await.unwrap_err();
        let why = why.to_string();
        assert!(lasting && why.contains("Not a migration stream"), "{why}");

        // What is damaged is that, whatever QEMU says of it.
        fs_err::write(warm.file(STATE), &memory[1..]).unwrap();
        let mut machine = launch.start(ANSWER).await.unwrap();
        let NotWoken { why, lasting } = load(&mut machine, &warm).await.unwrap_err();
        assert!(lasting && why.to_string() == "its memory is damaged", "{why}");
    }
}
