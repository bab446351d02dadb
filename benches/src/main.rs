//! Benchmarks: each measures imgbuild and a peer in the same run on the same file system, and prints the ratio.
//!
//!     cargo run --release -p imgbuild-benches -- [NAME…]
//!
//! Nothing is asserted: machines differ and are busy. A peer that is not installed is said to be missing.

mod chunks;
mod compare;
mod machines;
mod measure;
mod seed;
mod templates;
mod workspaces;

use std::path::{Path, PathBuf};
use std::process::Command;

use measure::{Sample, measure, pair, ratio};

type Bench = fn(&Setup) -> Result<(), String>;

/// Steps of each image of a generated workspace.
const STEPS: usize = 10;

const BENCHES: &[(&str, Bench)] = &[
    ("nothing-to-do", nothing_to_do),
    ("workspace", workspace),
    ("debian-base", debian_base),
    ("last-step", last_step),
    ("hashing", hashing),
    ("chunks", chunks::chunks),
    ("diff", compare::diff),
    ("templates", templates::templates),
    ("machines", machines::machines),
];

/// What every benchmark needs.
struct Setup {
    imgbuild: PathBuf,
    folder: tempfile::TempDir,
}

impl Setup {
    fn imgbuild(&self, workspace: &Path, cache: &Path, words: &[&str]) -> Command {
        let mut command = Command::new(&self.imgbuild);
        command.args(words).current_dir(workspace).env("IMGBUILD_CACHE_DIR", cache);
        command
    }
}

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let own = std::env::current_exe().ok().and_then(|path| Some(path.parent()?.join("imgbuild")));
    let Some(imgbuild) = own.filter(|path| path.exists()) else {
        eprintln!("build the program first: cargo build --release");
        std::process::exit(2);
    };
    let folder = tempfile::Builder::new().prefix("imgbuild-bench-").tempdir().expect("a temporary folder");
    let setup = Setup { imgbuild, folder };
    for (name, bench) in BENCHES {
        if !wanted.is_empty() && !wanted.iter().any(|word| word == name) {
            continue;
        }
        println!("{name}");
        if let Err(error) = bench(&setup) {
            println!("  not measured: {error}");
        }
    }
}

/// One image, everything there: what a user waits for who changed nothing.
fn nothing_to_do(setup: &Setup) -> Result<(), String> {
    let workspace = setup.folder.path().join("one");
    workspaces::images(&workspace, 1, STEPS)?;
    let cache = setup.folder.path().join("one-cache");
    run(setup.imgbuild(&workspace, &cache, &["-q", "//..."]))?;
    let sample = measure(20, || setup.imgbuild(&workspace, &cache, &["-q", "//..."]))?;
    println!("  1 image of 10 steps, nothing to do   {sample}");
    println!(
        "  the same, against `true`             {}",
        ratio(&pair(20, || setup.imgbuild(&workspace, &cache, &["-q", "//..."]), || Command::new("true"))?)
    );
    Ok(())
}

/// Generated workspaces in which everything is there, of several sizes: what an image costs must not grow with their
/// number.
fn workspace(setup: &Setup) -> Result<(), String> {
    let mut per_image = Vec::new();
    for images in [500, 2_000, 10_000] {
        let workspace = setup.folder.path().join(format!("workspace-{images}"));
        workspaces::images(&workspace, images, STEPS)?;
        let cache = setup.folder.path().join(format!("workspace-{images}-cache"));
        // One image with a base and one without, whose results are the patterns of all others.
        let patterns = ["//packages/p0:image0", "//packages/p0:image1"];
        run(setup.imgbuild(&workspace, &cache, &[&["-q", "build", "--no-write"], &patterns[..]].concat()))?;
        let (actions, seeded) = seed::seed(&workspace, &cache)?;
        let json = || setup.imgbuild(&workspace, &cache, &["build", "--no-write", "--json", "//..."]);
        let there = measure::output(json())?;
        if !there.contains(&format!("\"actions\":{actions},\"hits\":{actions}"))
            || !there.contains("\"built\":0")
        {
            return Err(format!("not everything is there: {there}"));
        }
        let sample = measure(if images > 1000 { 5 } else { 15 }, || {
            setup.imgbuild(&workspace, &cache, &["-q", "build", "--no-write", "//..."])
        })?;
        println!("  {images} images of {STEPS} steps ({actions} actions, {seeded} seeded)   {sample}");
        moves(setup, &workspace, &cache, images / 2)?;
        per_image.push(sample.seconds() / images as f64);
        let _ = fs_err::remove_dir_all(&workspace);
        let _ = fs_err::remove_dir_all(&cache);
    }
    let ratios: Vec<String> = per_image.iter().map(|one| format!("{:.2}", one / per_image[0])).collect();
    println!("  time of one image, against that of one among 500   {}", ratios.join(" : "));
    Ok(())
}

/// A change of one file of one image must be seen: the image's layers from there on, its seal and its export run, and
/// nothing else. Otherwise the time above would be that of not looking.
fn moves(setup: &Setup, workspace: &Path, cache: &Path, image: usize) -> Result<(), String> {
    fs_err::write(workspace.join(workspaces::input(image)), "changed\n")
        .map_err(|error| error.to_string())?;
    let plan = measure::output(setup.imgbuild(workspace, cache, &["plan", "--json", "//..."]))?;
    let plan: serde_json::Value = serde_json::from_str(&plan).map_err(|error| error.to_string())?;
    let actions = plan["actions"].as_array().ok_or("the plan has no actions")?;
    let running: Vec<&str> = actions
        .iter()
        .filter(|action| action["status"] == "run")
        .filter_map(|action| action["target"].as_str())
        .collect();
    let label = format!("//packages/p{}:image{image}", image / 10);
    if running.len() != STEPS + 2 || running.iter().any(|target| *target != label) {
        return Err(format!("after a change of `{label}`, these run: {running:?}"));
    }
    Ok(())
}

/// A minimal Debian from a warm package cache, on tmpfs and on the disk, against mmdebstrap.
fn debian_base(setup: &Setup) -> Result<(), String> {
    let mirror = workspaces::mirror();
    let mut places = vec![("disk", setup.folder.path().to_path_buf())];
    let shared = tempfile::Builder::new().prefix("imgbuild-bench-").tempdir_in("/dev/shm");
    if let Ok(shared) = &shared {
        places.push(("tmpfs", shared.path().to_path_buf()));
    }
    for (name, place) in places {
        let workspace = place.join("debian");
        workspaces::debian(&workspace)?;
        let cache = place.join("debian-cache");
        run(setup.imgbuild(&workspace, &cache, &["-q", "build", "--no-write", "//:base"]))?;
        let ours =
            || setup.imgbuild(&workspace, &cache, &["-q", "build", "--no-write", "--force", "//:base"]);
        if which("mmdebstrap").is_none() {
            println!("  {name}: {}; mmdebstrap is not installed", measure(3, ours)?);
            continue;
        }
        let out = place.join("mmdebstrap");
        let theirs = || {
            let _ = fs_err::remove_dir_all(&out);
            let mut command = Command::new("mmdebstrap");
            command.args(["-q", "--variant=minbase", "stable"]).arg(&out).args(mirror.as_deref());
            command.env("TMPDIR", &place);
            command
        };
        println!("  minbase on {name}, against mmdebstrap   {}", ratio(&pair(3, ours, theirs)?));
    }
    Ok(())
}

/// A change of the last of ten steps: what it costs beyond the step itself, and against buildah's layers.
fn last_step(setup: &Setup) -> Result<(), String> {
    let workspace = setup.folder.path().join("last");
    let cache = setup.folder.path().join("last-cache");
    workspaces::busybox_steps(&workspace, 0)?;
    run(setup.imgbuild(&workspace, &cache, &["-q", "build", "--no-write", "//..."]))?;
    let mut change = 0;
    let mut next = || {
        change += 1;
        // A failure to write shows as a build that does nothing.
        let _ = workspaces::busybox_steps(&workspace, change);
        setup.imgbuild(&workspace, &cache, &["-q", "build", "--no-write", "//..."])
    };
    let ours = measure(10, &mut next)?;
    println!("  last of 10 steps (`true`)   {ours}");
    if which("buildah").is_none() {
        println!("  buildah is not installed");
        return Ok(());
    }
    let storage = setup.folder.path().join("buildah");
    let mut counter = 1000;
    let file = workspaces::containerfile(&workspace, 0)?;
    let buildah = || {
        let mut command = Command::new("buildah");
        command
            .arg("--root")
            .arg(storage.join("root"))
            .arg("--runroot")
            .arg(storage.join("run"))
            .args(["bud", "--layers", "--isolation", "chroot", "--network", "host", "-q", "-f"])
            .arg(&file)
            .arg(&workspace);
        command
    };
    run(buildah())?;
    let both = pair(5, &mut next, || {
        counter += 1;
        let _ = workspaces::containerfile(&workspace, counter);
        buildah()
    })?;
    println!("  the same, against `buildah bud --layers`   {}", ratio(&both));
    Ok(())
}

/// Hashing of a large input that has changed, against b3sum.
fn hashing(setup: &Setup) -> Result<(), String> {
    let workspace = setup.folder.path().join("hash");
    workspaces::large_input(&workspace, 512 << 20)?;
    let cache = setup.folder.path().join("hash-cache");
    let file = workspace.join("large.bin");
    let plan = || {
        let _ = fs_err::remove_dir_all(&cache);
        setup.imgbuild(&workspace, &cache, &["-q", "plan", "//..."])
    };
    if which("b3sum").is_none() {
        println!("  512 MiB input   {}; b3sum is not installed", measure(5, plan)?);
        return Ok(());
    }
    let theirs = || {
        let mut command = Command::new("b3sum");
        command.arg(&file);
        command
    };
    println!("  plan with a new input of 512 MiB, against b3sum   {}", ratio(&pair(5, plan, theirs)?));
    Ok(())
}

fn run(mut command: Command) -> Result<Sample, String> {
    measure::once(&mut command)
}

fn which(name: &str) -> Option<PathBuf> {
    ["/usr/bin", "/usr/sbin", "/bin"]
        .map(|folder| Path::new(folder).join(name))
        .into_iter()
        .find(|path| path.exists())
}
