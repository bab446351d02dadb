//! Runs commands as whole processes and says how long they took and how much memory they had.

use std::fmt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Of several runs.
#[derive(Clone, Debug, Default)]
pub struct Sample {
    wall: Vec<Duration>,
    peak_kib: u64,
}

impl Sample {
    fn median(&self) -> Duration {
        let mut sorted = self.wall.clone();
        sorted.sort();
        sorted.get(sorted.len() / 2).copied().unwrap_or_default()
    }
}

impl Sample {
    /// The median, in seconds.
    pub fn seconds(&self) -> f64 {
        self.median().as_secs_f64()
    }
}

impl From<Vec<Duration>> for Sample {
    fn from(wall: Vec<Duration>) -> Self {
        Self { wall, peak_kib: 0 }
    }
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let least = self.wall.iter().min().copied().unwrap_or_default();
        write!(f, "median {} (least {}, {} runs", show(self.median()), show(least), self.wall.len())?;
        if self.peak_kib > 0 {
            write!(f, ", {} MiB at the peak", self.peak_kib / 1024)?;
        }
        f.write_str(")")
    }
}

fn show(duration: Duration) -> String {
    if duration < Duration::from_secs(1) {
        format!("{:.1} ms", duration.as_secs_f64() * 1e3)
    } else {
        format!("{:.2} s", duration.as_secs_f64())
    }
}

/// Runs a command once; it must succeed.
pub fn once(command: &mut Command) -> Result<Sample, String> {
    let started = Instant::now();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("{command:?}: {error}"))?;
    let peak_kib = watch(&mut child);
    let output = child.wait_with_output().map_err(|error| error.to_string())?;
    if !output.status.success() {
        return Err(format!("{command:?} failed: {}", String::from_utf8_lossy(&output.stderr)));
    }
    Ok(Sample { wall: vec![started.elapsed()], peak_kib })
}

/// What a command writes to standard output; it must succeed.
pub fn output(mut command: Command) -> Result<String, String> {
    let output = command.stdin(Stdio::null()).output().map_err(|error| format!("{command:?}: {error}"))?;
    if !output.status.success() {
        return Err(format!("{command:?} failed: {}", String::from_utf8_lossy(&output.stderr)));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The highest resident set of the process that `/proc` shows until it ends, in KiB; 0 where it ends too soon to be seen.
fn watch(child: &mut std::process::Child) -> u64 {
    let path = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    while let Ok(None) = child.try_wait() {
        let status = fs_err::read_to_string(&path).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let seen = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        peak = peak.max(seen.unwrap_or(0));
        std::thread::sleep(Duration::from_micros(500));
    }
    peak
}

/// Several runs after one that is not counted.
pub fn measure(runs: usize, mut command: impl FnMut() -> Command) -> Result<Sample, String> {
    once(&mut command())?;
    let mut sample = Sample::default();
    for _ in 0..runs {
        let one = once(&mut command())?;
        sample.wall.extend(one.wall);
        sample.peak_kib = sample.peak_kib.max(one.peak_kib);
    }
    Ok(sample)
}

/// Two commands in turn, so that a machine whose speed drifts is fair to both.
pub fn pair(
    runs: usize,
    mut one: impl FnMut() -> Command,
    mut other: impl FnMut() -> Command,
) -> Result<(Sample, Sample), String> {
    let (mut ours, mut theirs) = (Sample::default(), Sample::default());
    for _ in 0..runs {
        ours.wall.extend(once(&mut one())?.wall);
        theirs.wall.extend(once(&mut other())?.wall);
    }
    Ok((ours, theirs))
}

/// The medians and their ratio.
pub fn ratio((ours, theirs): &(Sample, Sample)) -> String {
    let (one, other) = (ours.median(), theirs.median());
    let ratio = one.as_secs_f64() / other.as_secs_f64().max(1e-9);
    let digits = if ratio < 0.1 { 4 } else { 2 };
    format!("{} : {} = {ratio:.digits$}", show(one), show(other))
}
