//! How long loading and analysis of a generated workspace take, and how much memory.
//!
//!     cargo run --release -p imgbuild-starlark --example load_bench -- [images] [packages] [threads]
//!
//! Each image has ten steps; one in ten stands on a source, the others on it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use imgbuild_model::{
    Analysis, AnalysisRequest, AttributeValue, Attributes, Configuration, Dependency, Diagnostics, EntryKind,
    Files, FrontEnd, Label, LoadedPackage, PackagePath, Platform, Target, WorkspacePath,
};
use imgbuild_starlark::Starlark;
use rayon::prelude::*;

struct Generated(BTreeMap<String, Arc<str>>);

impl Files for Generated {
    fn read(&self, path: &WorkspacePath) -> io::Result<Arc<str>> {
        self.0.get(path.as_str()).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn list(&self, _path: &WorkspacePath) -> io::Result<Vec<(String, EntryKind)>> {
        Ok(Vec::new())
    }

    fn kind(&self, path: &WorkspacePath) -> Option<EntryKind> {
        self.0.contains_key(path.as_str()).then_some(EntryKind::File)
    }
}

fn generate(images: usize, packages: usize) -> Generated {
    let mut files = BTreeMap::new();
    files.insert(
        "lib/common.star".to_owned(),
        Arc::from("def tools(*names):\n    return [apt_install(list(names)), remove(\"/usr/share/doc\")]\n"),
    );
    for package in 0..packages {
        let mut text = String::from(
            "load(\"//lib/common.star\", \"tools\")\n\npackage(default_visibility = [\"//visibility:public\"])\n",
        );
        for image in 0..images / packages {
            let start = if image % 10 == 0 {
                "source = debian(\"bookworm\")".to_owned()
            } else {
                format!("base = \":image{}\"", image - image % 10)
            };
            write!(
                text,
                r#"
image(
    name = "image{image}",
    {start},
    steps = tools("nginx", "curl") + [
        env(SERVICE = "service-{package}-{image}", LANG = "C.UTF-8"),
        user("app", uid = 1000),
        mkdir("/srv/app", mode = "0750", owner = "app:app"),
        file("conf/{image}.conf", "/etc/app/app.conf"),
        file(["a.txt", "b.txt"], "/srv/app/", owner = "app:app"),
        shell(["echo {package} {image} > /srv/app/id", "chmod 0644 /srv/app/id"], env = {{"A": "b"}}),
        workdir("/srv/app"),
        entrypoint(["/usr/bin/app", "--id={image}"]),
    ],
)
"#
            )
            .expect("a string takes everything");
        }
        files.insert(format!("services/s{package}/BUILD.star"), Arc::from(text));
    }
    Generated(files)
}

fn analyze(
    starlark: &Starlark,
    target: &Target,
    configuration: &Configuration,
    known: &BTreeMap<Label, Dependency>,
) -> Result<Analysis, Diagnostics> {
    let attributes: Attributes = target
        .attributes
        .iter()
        .map(|(name, value)| match value {
            AttributeValue::Concrete(value) => (name.clone(), value.clone()),
            AttributeValue::Sum(_) | AttributeValue::Select(_) => {
                unreachable!("the workspace has no choices")
            }
        })
        .collect();
    let mut dependencies = BTreeMap::new();
    attributes.visit_labels(&mut |label| {
        dependencies
            .entry(label.clone())
            .or_insert_with(|| known.get(label).cloned().unwrap_or_else(|| starlark.source_file(label)));
    });
    starlark.analyze(&AnalysisRequest {
        target,
        configuration,
        attributes,
        dependencies: &dependencies,
        combine: None,
    })
}

/// Analyzes the targets of a package, those that others stand on first.
fn analyze_package(
    starlark: &Starlark,
    loaded: &LoadedPackage,
    configuration: &Configuration,
) -> Vec<Analysis> {
    let mut known = BTreeMap::new();
    let mut analyses = Vec::new();
    let is_root = |target: &Target| {
        !matches!(target.attribute("base"), Some(AttributeValue::Concrete(imgbuild_model::Value::Label(_))))
    };
    let (roots, others): (Vec<_>, Vec<_>) =
        loaded.package.targets.values().partition(|target| is_root(target));
    for target in roots.into_iter().chain(others) {
        let analysis =
            analyze(starlark, target, configuration, &known).unwrap_or_else(|error| panic!("{error}"));
        known.insert(
            target.label.clone(),
            Dependency { label: target.label.clone(), providers: analysis.providers.clone() },
        );
        analyses.push(analysis);
    }
    analyses
}

/// Wall time, and the processor time of all threads, which says more on a machine that is shared.
struct Stopwatch(Instant, Duration);

impl Stopwatch {
    fn start() -> Self {
        Self(Instant::now(), processor_time())
    }

    fn stop(self, what: &str) {
        let (wall, processor) = (self.0.elapsed(), processor_time() - self.1);
        println!(
            "{what:9} {:8.2} ms, processor {:8.2} ms",
            wall.as_secs_f64() * 1e3,
            processor.as_secs_f64() * 1e3
        );
    }
}

fn processor_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

fn peak_memory() -> String {
    let status = fs_err::read_to_string("/proc/self/status").unwrap_or_default();
    status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or("unknown").trim().to_owned()
}

fn main() {
    let mut numbers = std::env::args().skip(1).filter_map(|argument| argument.parse::<usize>().ok());
    let images = numbers.next().unwrap_or(500);
    let packages = numbers.next().unwrap_or(50);
    let threads = numbers.next().unwrap_or(1);
    rayon::ThreadPoolBuilder::new().num_threads(threads).build_global().expect("the pool is built once");

    let mut files = generate(images, packages);
    files.0.insert("empty/BUILD.star".to_owned(), Arc::from(""));
    let configuration = Configuration { platform: Platform::host(), flags: Arc::default() };

    let begin = Stopwatch::start();
    let starlark = Starlark::default();
    let empty = PackagePath::new("empty").expect("a valid path");
    starlark.load(&empty, &files).unwrap_or_else(|error| panic!("{error}"));
    begin.stop("prelude");

    let begin = Stopwatch::start();
    let loaded: Vec<LoadedPackage> = (0..packages)
        .into_par_iter()
        .map(|package| {
            let path = PackagePath::new(&format!("services/s{package}")).expect("a valid path");
            starlark.load(&path, &files).unwrap_or_else(|error| panic!("{error}"))
        })
        .collect();
    begin.stop("load");

    let begin = Stopwatch::start();
    let analyses: Vec<Vec<Analysis>> =
        loaded.par_iter().map(|package| analyze_package(&starlark, package, &configuration)).collect();
    begin.stop("analysis");

    let actions: usize = analyses.iter().flatten().map(|analysis| analysis.actions.len()).sum();
    println!("{images} images in {packages} packages, {threads} threads, {actions} actions");
    println!("peak      {}", peak_memory());
}
