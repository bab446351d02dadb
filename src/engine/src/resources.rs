//! What the machine has to give, and who may have how much of it at a time.
//!
//! For: finding the limits of this machine (or of the container around it), and a fair pool from which tasks
//! take CPUs, memory and a job slot together. Not for: enforcing what a task then really uses (the sandbox
//! sets its limits), or deciding which task is next (the scheduler does).
//!
//! The rules of the pool: who asks first is served first; a large demand is never overtaken for ever by small
//! ones; a demand beyond the whole pool waits until everything is free and then runs alone; what was taken is
//! given back by dropping the [`Permit`], also when a task panics or is aborted.

use std::collections::VecDeque;
use std::fmt;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, futures::Notified, oneshot};

/// An amount of CPU, in thousandths of one CPU, so that sums are exact.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cpus(u64);

impl Cpus {
    /// None: for a task that only waits for the network or another machine.
    pub const ZERO: Self = Self(0);
    /// One CPU.
    pub const ONE: Self = Self(1000);

    /// `count` whole CPUs.
    pub const fn whole(count: u32) -> Self {
        Self(count as u64 * 1000)
    }

    /// `milli` thousandths of a CPU.
    pub const fn from_milli(milli: u64) -> Self {
        Self(milli)
    }

    /// The amount in thousandths.
    pub const fn as_milli(self) -> u64 {
        self.0
    }

    /// A fraction such as `1.5`, rounded to thousandths; `None` if it is negative, not a number or beyond a
    /// million CPUs.
    pub fn from_fraction(cpus: f64) -> Option<Self> {
        (0.0..=1e6).contains(&cpus).then(|| Self((cpus * 1000.0).round() as u64))
    }
}

impl fmt::Display for Cpus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, milli) = (self.0 / 1000, self.0 % 1000);
        if milli == 0 {
            write!(f, "{whole}")
        } else {
            write!(f, "{whole}.{}", format!("{milli:03}").trim_end_matches('0'))
        }
    }
}

/// What one task needs while it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Demand {
    /// CPUs kept busy.
    pub cpus: Cpus,
    /// Memory at its peak, in bytes.
    pub memory_bytes: u64,
}

impl Demand {
    /// Neither CPU nor memory: only a job slot.
    pub const NOTHING: Self = Self { cpus: Cpus::ZERO, memory_bytes: 0 };
    /// One CPU and no memory worth counting.
    pub const ONE_CPU: Self = Self { cpus: Cpus::ONE, memory_bytes: 0 };
}

impl Default for Demand {
    fn default() -> Self {
        Self::ONE_CPU
    }
}

/// What all tasks together may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// CPUs.
    pub cpus: Cpus,
    /// Memory in bytes.
    pub memory_bytes: u64,
    /// Tasks at a time, whatever they need (`--jobs`).
    pub jobs: NonZeroUsize,
}

impl Limits {
    /// The number of jobs a detected limit allows for each CPU: tasks that wait for a network need no CPU but
    /// a slot.
    const JOBS_PER_CPU: usize = 4;

    /// What this process may use right now.
    ///
    /// CPUs: the affinity mask and the cgroup's quota (version 1 and 2), which the standard library knows.
    /// Memory: what the kernel calls available, or less if a cgroup above this process leaves less. A machine
    /// that does not say counts as one CPU and as memory without limit.
    pub fn detect() -> Self {
        let cpus = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        Self {
            cpus: Cpus::whole(u32::try_from(cpus.get()).unwrap_or(u32::MAX)),
            memory_bytes: available_memory(Path::new("/")),
            jobs: cpus.saturating_mul(NonZeroUsize::MIN.saturating_add(Self::JOBS_PER_CPU - 1)),
        }
    }

    /// As many tasks at a time as `--jobs` says: the CPUs are raised to as many, since the user has decided.
    pub fn with_jobs(self, jobs: NonZeroUsize) -> Self {
        Self { jobs, cpus: Cpus::whole(u32::try_from(jobs.get()).unwrap_or(u32::MAX)), ..self }
    }

    fn exceeded_by(&self, demand: Demand) -> bool {
        demand.cpus > self.cpus || demand.memory_bytes > self.memory_bytes
    }
}

/// A shared, fair pool of CPUs, memory and job slots. Clones are the same pool.
#[derive(Clone, Debug)]
pub struct Pool {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    limits: Limits,
    state: Mutex<State>,
    released: Notify,
}

#[derive(Debug, Default)]
struct State {
    in_use: Usage,
    /// Someone with a demand beyond the whole is running alone.
    alone: bool,
    waiting: VecDeque<Waiter>,
}

#[derive(Debug)]
struct Waiter {
    demand: Demand,
    grant: oneshot::Sender<Permit>,
}

/// What is taken from a pool at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// CPUs taken. A demand beyond the whole counts as the whole.
    pub cpus: Cpus,
    /// Bytes of memory taken.
    pub memory_bytes: u64,
    /// Permits that are held.
    pub jobs: usize,
}

impl Pool {
    /// An unused pool.
    pub fn new(limits: Limits) -> Self {
        Self { inner: Arc::new(Inner { limits, state: Mutex::default(), released: Notify::new() }) }
    }

    /// What it was made with.
    pub fn limits(&self) -> Limits {
        self.inner.limits
    }

    /// What is taken now.
    pub fn usage(&self) -> Usage {
        self.inner.lock().in_use
    }

    /// Whether a job slot is free and nobody waits in line or runs alone. `false` means that
    /// [`Pool::try_acquire`] fails for any demand.
    pub fn has_free_slot(&self) -> bool {
        let mut state = self.inner.lock();
        state.forget_those_who_left();
        state.waiting.is_empty() && !state.alone && state.in_use.jobs < self.inner.limits.jobs.get()
    }

    /// Takes `demand` if it is free at once and nobody waits in line.
    pub fn try_acquire(&self, demand: Demand) -> Option<Permit> {
        let mut state = self.inner.lock();
        state.forget_those_who_left();
        (state.waiting.is_empty() && state.fits(&self.inner.limits, demand))
            .then(|| state.take(&self.inner, demand))
    }

    /// Waits in line until `demand` is free. Dropping the future leaves the line.
    pub async fn acquire(&self, demand: Demand) -> Permit {
        let (grant, granted) = oneshot::channel();
        {
            let mut state = self.inner.lock();
            state.forget_those_who_left();
            if state.waiting.is_empty() && state.fits(&self.inner.limits, demand) {
                return state.take(&self.inner, demand);
            }
            state.waiting.push_back(Waiter { demand, grant });
        }
        // If this future is dropped while it is first in line, those behind it must get their chance.
        let in_line = InLine { pool: self, granted };
        in_line.wait().await
    }

    /// Resolves after the next release of a permit that comes after this call, whether or not it has been
    /// polled.
    pub fn released(&self) -> Notified<'_> {
        self.inner.released.notified()
    }
}

struct InLine<'a> {
    pool: &'a Pool,
    granted: oneshot::Receiver<Permit>,
}

impl InLine<'_> {
    async fn wait(mut self) -> Permit {
        (&mut self.granted)
            .await
            .expect("a waiter in line is granted or leaves by itself, and the pool lives")
    }
}

impl Drop for InLine<'_> {
    fn drop(&mut self) {
        self.granted.close();
        self.pool.inner.serve();
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing under this lock can panic half way; a poisoned lock says nothing about the counts.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Grants to the front of the line whatever fits.
    fn serve(self: &Arc<Self>) {
        let mut grants = Vec::new();
        {
            let mut state = self.lock();
            state.forget_those_who_left();
            while let Some(first) = state.waiting.front()
                && state.fits(&self.limits, first.demand)
                && let Some(waiter) = state.waiting.pop_front()
            {
                let permit = state.take(self, waiter.demand);
                grants.push((waiter.grant, permit));
                state.forget_those_who_left();
            }
        }
        // Outside the lock: a waiter who left in between hands the permit back by dropping it, which locks
        // again.
        for (grant, permit) in grants {
            drop(grant.send(permit));
        }
    }
}

impl State {
    fn fits(&self, limits: &Limits, demand: Demand) -> bool {
        if self.alone || self.in_use.jobs >= limits.jobs.get() {
            return false;
        }
        if limits.exceeded_by(demand) {
            return self.in_use.jobs == 0;
        }
        // Neither sum can overflow in a way that matters: both parts are at most the limit.
        self.in_use.cpus.0.saturating_add(demand.cpus.0) <= limits.cpus.0
            && self.in_use.memory_bytes.saturating_add(demand.memory_bytes) <= limits.memory_bytes
    }

    fn take(&mut self, inner: &Arc<Inner>, demand: Demand) -> Permit {
        let alone = inner.limits.exceeded_by(demand);
        let taken = Demand {
            cpus: demand.cpus.min(inner.limits.cpus),
            memory_bytes: demand.memory_bytes.min(inner.limits.memory_bytes),
        };
        self.in_use.cpus.0 += taken.cpus.0;
        self.in_use.memory_bytes += taken.memory_bytes;
        self.in_use.jobs += 1;
        self.alone = alone;
        Permit { pool: inner.clone(), taken, alone }
    }

    fn forget_those_who_left(&mut self) {
        while self.waiting.front().is_some_and(|w| w.grant.is_closed()) {
            self.waiting.pop_front();
        }
    }
}

/// A share of a [`Pool`], given back when dropped.
#[must_use = "the share is given back at once when the permit is dropped"]
#[derive(Debug)]
pub struct Permit {
    pool: Arc<Inner>,
    taken: Demand,
    alone: bool,
}

impl Permit {
    /// What is held. A demand beyond the whole pool holds the whole.
    pub fn held(&self) -> Demand {
        self.taken
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let someone_waits = {
            let mut state = self.pool.lock();
            state.in_use.cpus.0 -= self.taken.cpus.0;
            state.in_use.memory_bytes -= self.taken.memory_bytes;
            state.in_use.jobs -= 1;
            if self.alone {
                state.alone = false;
            }
            !state.waiting.is_empty()
        };
        if someone_waits {
            self.pool.serve();
        }
        self.pool.released.notify_waiters();
    }
}

/// Bytes that this process can use before something is swapped out or killed, for a file system tree at
/// `root` that has `proc` and `sys`; `u64::MAX` if nothing there says.
fn available_memory(root: &Path) -> u64 {
    let of_machine = read(&root.join("proc/meminfo"))
        .and_then(|text| field(&text, "MemAvailable:"))
        .map(|kib| kib.saturating_mul(1024));
    let of_cgroup = read(&root.join("proc/self/cgroup"))
        .and_then(|membership| memory_left_by_cgroups(&root.join("sys/fs/cgroup"), &membership));
    of_machine.into_iter().chain(of_cgroup).min().unwrap_or(u64::MAX)
}

/// The names of one cgroup version's memory files.
struct MemoryFiles {
    limit: &'static str,
    usage: &'static str,
    /// The row of `memory.stat` with page cache that the kernel drops before it runs out.
    reclaimable: &'static str,
}

const MEMORY_V1: MemoryFiles = MemoryFiles {
    limit: "memory.limit_in_bytes",
    usage: "memory.usage_in_bytes",
    reclaimable: "total_inactive_file",
};
const MEMORY_V2: MemoryFiles =
    MemoryFiles { limit: "memory.max", usage: "memory.current", reclaimable: "inactive_file" };

/// The least that any cgroup from this process's up to the top leaves, if any has a limit. `membership` is
/// `/proc/self/cgroup`.
fn memory_left_by_cgroups(mount: &Path, membership: &str) -> Option<u64> {
    let mut left = None;
    for line in membership.lines() {
        // `hierarchy:controllers:path`; version 2 is hierarchy 0 without controllers.
        let mut parts = line.splitn(3, ':');
        let (Some(hierarchy), Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next())
        else {
            continue;
        };
        let (top, files) = if hierarchy == "0" && controllers.is_empty() {
            (mount.to_path_buf(), MEMORY_V2)
        } else if controllers.split(',').any(|c| c == "memory") {
            (mount.join("memory"), MEMORY_V1)
        } else {
            continue;
        };
        // In a container the path may be the one seen from outside: then its folders do not exist here and
        // only the top counts.
        let own: PathBuf = top.join(path.trim_start_matches('/'));
        for folder in own.ancestors().take_while(|f| f.starts_with(&top)) {
            left = [left, memory_left_by(folder, &files)].into_iter().flatten().min();
        }
    }
    left
}

fn memory_left_by(folder: &Path, files: &MemoryFiles) -> Option<u64> {
    // `max` (version 2) does not parse; version 1 writes a number near 2^63, which is no limit to anyone.
    let limit: u64 = read(&folder.join(files.limit))?.trim().parse().ok()?;
    let usage: u64 = read(&folder.join(files.usage))?.trim().parse().ok()?;
    let reclaimable =
        read(&folder.join("memory.stat")).and_then(|text| field(&text, files.reclaimable)).unwrap_or(0);
    Some(limit.saturating_sub(usage.saturating_sub(reclaimable)))
}

fn read(path: &Path) -> Option<String> {
    fs_err::read_to_string(path).ok()
}

/// The number after `name` in a file of `name number …` rows.
fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        let mut words = line.split_ascii_whitespace();
        (words.next() == Some(name)).then(|| words.next()?.parse().ok()).flatten()
    })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use futures::FutureExt;

    use super::*;

    fn pool(cpus: u32, memory_bytes: u64, jobs: usize) -> Pool {
        Pool::new(Limits { cpus: Cpus::whole(cpus), memory_bytes, jobs: NonZeroUsize::new(jobs).unwrap() })
    }

    fn demand(milli: u64, memory_bytes: u64) -> Demand {
        Demand { cpus: Cpus::from_milli(milli), memory_bytes }
    }

    #[test]
    fn cpus_are_exact_and_print_short() {
        assert_eq!(Cpus::from_fraction(0.1).unwrap().as_milli(), 100);
        assert_eq!(Cpus::from_fraction(1.5).unwrap().to_string(), "1.5");
        assert_eq!(Cpus::from_milli(1050).to_string(), "1.05");
        assert_eq!(Cpus::whole(16).to_string(), "16");
        for wrong in [-1.0, f64::NAN, f64::INFINITY, 2e6] {
            assert_eq!(Cpus::from_fraction(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn each_dimension_limits() {
        let pool = pool(2, 100, 3);
        let a = pool.try_acquire(demand(1500, 10)).unwrap();
        assert!(pool.try_acquire(demand(501, 0)).is_none(), "cpus");
        assert!(pool.try_acquire(demand(0, 91)).is_none(), "memory");
        let b = pool.try_acquire(demand(500, 90)).unwrap();
        let c = pool.try_acquire(Demand::NOTHING).unwrap();
        assert!(pool.try_acquire(Demand::NOTHING).is_none(), "jobs");
        assert!(!pool.has_free_slot());
        assert_eq!(pool.usage(), Usage { cpus: Cpus::whole(2), memory_bytes: 100, jobs: 3 });
        drop((a, b, c));
        assert_eq!(pool.usage(), Usage::default());
    }

    #[test]
    fn more_than_the_whole_runs_alone() {
        let pool = pool(2, 100, 4);
        let small = pool.try_acquire(demand(100, 1)).unwrap();
        assert!(pool.try_acquire(demand(3000, 0)).is_none());
        drop(small);
        let huge = pool.try_acquire(demand(0, 101)).unwrap();
        assert_eq!(huge.held(), demand(0, 100));
        assert!(pool.try_acquire(Demand::NOTHING).is_none(), "alone means alone");
        drop(huge);
        assert!(pool.try_acquire(Demand::NOTHING).is_some());
    }

    #[tokio::test]
    async fn a_large_demand_is_not_overtaken() {
        let pool = pool(2, 100, 8);
        let first = pool.try_acquire(demand(1000, 0)).unwrap();
        let mut large = Box::pin(pool.acquire(demand(2000, 0)));
        assert!(large.as_mut().now_or_never().is_none());
        assert!(pool.try_acquire(demand(1000, 0)).is_none(), "someone is in line");
        let mut small = Box::pin(pool.acquire(demand(1000, 0)));
        assert!(small.as_mut().now_or_never().is_none());
        drop(first);
        let large = large.await;
        assert!(small.as_mut().now_or_never().is_none());
        drop(large);
        drop(small.await);
        assert_eq!(pool.usage(), Usage::default());
    }

    #[tokio::test]
    async fn leaving_the_line_lets_the_next_one_in() {
        let pool = pool(2, 100, 8);
        let first = pool.try_acquire(demand(1000, 0)).unwrap();
        let mut large = Box::pin(pool.acquire(demand(2000, 0)));
        assert!(large.as_mut().now_or_never().is_none());
        let mut small = Box::pin(pool.acquire(demand(1000, 0)));
        assert!(small.as_mut().now_or_never().is_none());
        drop(large);
        let small = small.as_mut().now_or_never().expect("the one before has left");
        drop((first, small));
        // Granted but never taken out: the share comes back.
        let all = pool.try_acquire(demand(2000, 0)).unwrap();
        let mut unread = Box::pin(pool.acquire(demand(2000, 0)));
        assert!(unread.as_mut().now_or_never().is_none());
        drop(all);
        assert_eq!(pool.usage().jobs, 1);
        drop(unread);
        assert_eq!(pool.usage(), Usage::default());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn many_tasks_never_exceed_the_limits() {
        let pool = pool(3, 1000, 5);
        let most = Arc::new(AtomicUsize::new(0));
        let tasks: Vec<_> = (0..400_u64)
            .map(|i| {
                let (pool, most) = (pool.clone(), most.clone());
                tokio::spawn(async move {
                    let _permit = pool.acquire(demand((i * 37) % 3500, (i * 101) % 1200)).await;
                    let usage = pool.usage();
                    assert!(usage.cpus <= Cpus::whole(3) && usage.memory_bytes <= 1000 && usage.jobs <= 5);
                    most.fetch_max(usage.jobs, Ordering::Relaxed);
                    assert!(i % 50 != 7, "a panic gives its share back");
                    tokio::task::yield_now().await;
                })
            })
            .collect();
        let mut panics = 0;
        for task in tasks {
            let ended = tokio::time::timeout(Duration::from_secs(20), task).await.expect("nobody starves");
            panics += usize::from(ended.is_err());
        }
        assert_eq!(panics, 8);
        assert!(most.load(Ordering::Relaxed) > 1, "some ran side by side");
        assert_eq!(pool.usage(), Usage::default());
    }

    fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs_err::create_dir_all(path.parent().unwrap()).unwrap();
            fs_err::write(path, text).unwrap();
        }
        root
    }

    const MEMINFO: (&str, &str) = ("proc/meminfo", "MemTotal:  9000 kB\nMemAvailable:  8000 kB\n");

    #[test]
    fn memory_of_a_machine_without_cgroups() {
        assert_eq!(available_memory(tree(&[MEMINFO]).path()), 8000 * 1024);
        assert_eq!(available_memory(tree(&[]).path()), u64::MAX);
    }

    #[test]
    fn memory_of_cgroup_v2_counts_every_level() {
        let root = tree(&[
            MEMINFO,
            ("proc/self/cgroup", "0::/user.slice/build.scope\n"),
            ("sys/fs/cgroup/user.slice/memory.max", "4000000\n"),
            ("sys/fs/cgroup/user.slice/memory.current", "1500000\n"),
            ("sys/fs/cgroup/user.slice/memory.stat", "anon 1\ninactive_file 500000\n"),
            ("sys/fs/cgroup/user.slice/build.scope/memory.max", "max\n"),
            ("sys/fs/cgroup/user.slice/build.scope/memory.current", "100\n"),
        ]);
        assert_eq!(available_memory(root.path()), 3_000_000);
    }

    #[test]
    fn memory_of_cgroup_v1_in_a_container_with_an_outer_path() {
        let root = tree(&[
            MEMINFO,
            ("proc/self/cgroup", "7:cpu,cpuacct:/docker/abc\n5:memory:/docker/abc\n0::/\n"),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "2000000\n"),
            ("sys/fs/cgroup/memory/memory.usage_in_bytes", "2500000\n"),
            ("sys/fs/cgroup/memory/memory.stat", "total_inactive_file 700000\n"),
        ]);
        assert_eq!(available_memory(root.path()), 200_000);
        fs_err::write(root.path().join("sys/fs/cgroup/memory/memory.limit_in_bytes"), "9223372036854771712")
            .unwrap();
        assert_eq!(available_memory(root.path()), 8000 * 1024);
    }

    #[test]
    fn this_machine_has_something() {
        let limits = Limits::detect();
        assert!(limits.cpus >= Cpus::ONE && limits.memory_bytes > 1 << 20 && limits.jobs.get() >= 4);
        let eight = limits.with_jobs(NonZeroUsize::new(8).unwrap());
        assert_eq!((eight.cpus, eight.jobs.get()), (Cpus::whole(8), 8));
    }
}
