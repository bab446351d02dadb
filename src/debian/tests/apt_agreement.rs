//! The resolver against the real `apt-get -s install --no-install-recommends`, on the same index and the same dpkg status.

mod common;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{Archive, SUITE, native, stanza};
use imgbuild_debian::solve::{Base, Request, Universe, solve};
use imgbuild_debian::status::State;

/// A private apt: its own sources, lists, status and caches.
struct Apt {
    _folder: tempfile::TempDir,
    config: PathBuf,
}

impl Apt {
    fn new(archive: &Archive, status: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        for sub in ["lists/partial", "cache/archives/partial", "etc", "dpkg"] {
            fs_err::create_dir_all(root.join(sub)).unwrap();
        }
        let mirror = archive.mirrors.primary[0].as_str().trim_end_matches('/');
        let name = mirror.split_once("://").unwrap().1.replace('/', "_");
        let list = |end: &str| root.join(format!("lists/{name}_dists_{SUITE}_{end}"));
        fs_err::write(list("InRelease"), &archive.in_release).unwrap();
        fs_err::write(list(&format!("main_binary-{}_Packages", native())), &archive.packages_text).unwrap();
        fs_err::write(root.join("etc/sources.list"), format!("deb [trusted=yes] {mirror} {SUITE} main\n"))
            .unwrap();
        fs_err::write(root.join("dpkg/status"), status).unwrap();
        let root = root.display();
        let text = format!(
            "APT::Architecture \"{arch}\";\nAPT::Architectures {{ \"{arch}\"; }};\nDir::Etc \"{root}/etc/\";\n\
             Dir::Etc::sourcelist \"{root}/etc/sources.list\";\nDir::Etc::sourceparts \"/dev/null\";\n\
             Dir::Etc::parts \"/dev/null\";\nDir::Etc::main \"/dev/null\";\nDir::Etc::preferencesparts \"/dev/null\";\n\
             Dir::State \"{root}\";\nDir::State::Lists \"{root}/lists\";\nDir::State::status \"{root}/dpkg/status\";\n\
             Dir::Cache \"{root}/cache\";\nDir::Cache::pkgcache \"pkgcache.bin\";\nDir::Cache::srcpkgcache \"srcpkgcache.bin\";\n\
             APT::Install-Recommends \"false\";\nDir::Log \"{root}\";\nDebug::NoLocking \"true\";\n",
            arch = native()
        );
        let config = folder.path().join("apt.conf");
        fs_err::write(&config, text).unwrap();
        Self { _folder: folder, config }
    }

    /// What apt would install and remove; `None` when it refuses.
    fn simulate(&self, packages: &[String]) -> Option<(BTreeSet<String>, BTreeSet<String>)> {
        let output = Command::new("apt-get")
            .env("APT_CONFIG", &self.config)
            .env("LC_ALL", "C")
            .args(["-s", "-y", "--no-install-recommends", "install"])
            .args(packages)
            .output()
            .unwrap();
        if !output.status.success() {
            return None;
        }
        let text = String::from_utf8(output.stdout).unwrap();
        let (mut install, mut remove) = (BTreeSet::new(), BTreeSet::new());
        for line in text.lines() {
            let mut words = line.split_whitespace();
            match (words.next(), words.next()) {
                (Some("Inst"), Some(name)) => {
                    let version = words.find(|word| word.starts_with('(')).unwrap().trim_start_matches('(');
                    install.insert(format!("{name}={version}"));
                }
                (Some("Remv"), Some(name)) => {
                    remove.insert(name.to_owned());
                }
                _ => {}
            }
        }
        Some((install, remove))
    }
}

fn ours(
    universe: &Universe<'_>,
    state: &State,
    packages: &[String],
) -> Result<(BTreeSet<String>, BTreeSet<String>), String> {
    let request =
        Request { install: packages.iter().map(|p| p.parse().unwrap()).collect(), ..Request::default() };
    let solution = solve(universe, state, &request).map_err(|error| error.to_string())?;
    let install = solution.install().map(|p| format!("{}={}", p.name, p.version)).collect();
    let remove = solution.remove.iter().map(|r| r.id.split(':').next().unwrap().to_owned()).collect();
    Ok((install, remove))
}

/// Sets that people ask for, chosen for alternatives, virtual packages, conflicts and size.
const CHOSEN: &[&[&str]] = &[
    &["nginx"],
    &["apache2"],
    &["nginx", "apache2"],
    &["python3"],
    &["man-db"],
    &["build-essential"],
    &["default-jdk-headless"],
    &["default-jre"],
    &["postgresql"],
    &["mariadb-server"],
    &["php"],
    &["php-fpm", "nginx"],
    &["libapache2-mod-php"],
    &["systemd"],
    &["systemd-sysv"],
    &["sysvinit-core"],
    &["systemd-sysv", "openssh-server"],
    &["sysvinit-core", "openssh-server"],
    &["openssh-server", "sysvinit-core"],
    &["openssh-server"],
    &["exim4"],
    &["postfix"],
    &["postfix", "mailutils"],
    &["bsd-mailx"],
    &["cron", "logrotate"],
    &["git"],
    &["git-all"],
    &["gcc-multilib"],
    &["clang"],
    &["cmake", "ninja-build"],
    &["golang"],
    &["rustc", "cargo"],
    &["nodejs", "npm"],
    &["ruby", "bundler"],
    &["docker.io"],
    &["podman"],
    &["buildah", "skopeo"],
    &["qemu-system-x86"],
    &["libvirt-daemon-system"],
    &["gnome-core"],
    &["kde-plasma-desktop"],
    &["xfce4"],
    &["lxde"],
    &["task-desktop"],
    &["xserver-xorg"],
    &["firefox-esr"],
    &["chromium"],
    &["libreoffice"],
    &["gimp"],
    &["vlc"],
    &["ffmpeg"],
    &["texlive"],
    &["texlive-full"],
    &["r-base"],
    &["octave"],
    &["sagemath"],
    &["emacs"],
    &["emacs-nox"],
    &["vim"],
    &["vim-nox", "vim-gtk3"],
    &["mail-transport-agent"],
    &["default-mta"],
    &["debhelper"],
    &["dpkg-dev"],
    &["devscripts"],
    &["linux-image-amd64"],
    &["grub-pc"],
    &["grub-efi-amd64"],
    &["usrmerge"],
    &["usr-is-merged"],
    &["busybox-static"],
    &["busybox", "busybox-static"],
    &["dbus"],
    &["policykit-1"],
    &["pipewire", "wireplumber"],
    &["pulseaudio"],
    &["network-manager"],
    &["ifupdown"],
    &["isc-dhcp-client"],
    &["mysql-server"],
    &["default-mysql-server"],
    &["redis-server"],
    &["rabbitmq-server"],
    &["tomcat10"],
    &["wordpress"],
    &["ansible"],
    &["samba"],
    &["bind9"],
    &["mutt"],
    &["apt", "aptitude"],
    &["locales"],
    &["locales-all"],
    &["tzdata"],
    &["ca-certificates", "curl", "gnupg"],
    &["lsb-release", "sudo"],
    &["libgl1-mesa-dev"],
    &["libcurl4-gnutls-dev"],
    &["libcurl4-openssl-dev"],
    &["libcurl4-openssl-dev", "libcurl4-gnutls-dev"],
    &["python3-dev", "python3-venv", "python3-pip"],
    &["perl", "cpanminus"],
];

/// Package sets picked from the whole index, the same for one index on every run.
fn sampled(archive: &Archive, count: usize) -> Vec<Vec<String>> {
    let names: Vec<&str> =
        archive.packages_text.lines().filter_map(|l| l.strip_prefix("Package: ")).collect();
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = move || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        usize::try_from(seed >> 33).unwrap()
    };
    (0..count)
        .map(|number| (0..=number % 4).map(|_| names[next() % names.len()].to_owned()).collect())
        .collect()
}

fn compare(archive: &Archive, status: &str, sets: &[Vec<String>]) {
    let apt = Apt::new(archive, status);
    let state = State::parse(status).unwrap();
    let indexes = std::slice::from_ref(&archive.index);
    let universe = Universe::new(indexes, native(), &[]);
    let mut differences = Vec::new();
    let mut refused = 0;
    for set in sets {
        let theirs = apt.simulate(set);
        let own = ours(&universe, &state, set);
        match (theirs, own) {
            (None, Err(_)) => refused += 1,
            (Some(theirs), Ok(own)) if theirs == own => {}
            (Some(theirs), Ok(own)) => {
                let more: Vec<_> = own.0.difference(&theirs.0).chain(own.1.difference(&theirs.1)).collect();
                let less: Vec<_> = theirs.0.difference(&own.0).chain(theirs.1.difference(&own.1)).collect();
                differences.push(format!("{set:?}: only here {more:?}, only apt {less:?}"));
            }
            (Some(_), Err(error)) => differences.push(format!("{set:?}: refused here: {error}")),
            (None, Ok(_)) => differences.push(format!("{set:?}: refused by apt")),
        }
    }
    eprintln!("{} sets, {refused} refused by both, {} differ", sets.len(), differences.len());
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

fn chosen() -> Vec<Vec<String>> {
    CHOSEN.iter().map(|set| set.iter().map(|name| (*name).to_owned()).collect()).collect()
}

fn status_of(archive: &Archive, base: Base) -> String {
    let universe = Universe::new(std::slice::from_ref(&archive.index), native(), &[]);
    let request = Request { base: Some(base), merged_usr: true, ..Request::default() };
    let solution = solve(&universe, &State::empty(), &request).unwrap();
    let mut status = String::new();
    for package in solution.install() {
        status.push_str(stanza(archive, &package.name));
        status.push_str("\nStatus: install ok installed\n\n");
    }
    status
}

fn has_apt() -> bool {
    let found = Path::new("/usr/bin/apt-get").exists();
    if !found {
        eprintln!("skipped: there is no apt-get to compare with");
    }
    found
}

#[test]
fn agrees_with_apt_on_an_empty_root() {
    let Some(archive) = common::archive().filter(|_| has_apt()) else { return };
    let mut sets = chosen();
    sets.retain(|set| set.len() > 1);
    sets.extend(sampled(archive, 110));
    compare(archive, "", &sets);
}

#[test]
fn agrees_with_apt_on_a_base() {
    let Some(archive) = common::archive().filter(|_| has_apt()) else { return };
    let status = status_of(archive, Base::Required);
    compare(archive, &status, &chosen());
}

#[test]
fn orders_versions_as_dpkg_does() {
    if !Path::new("/usr/bin/dpkg").exists() {
        eprintln!("skipped: there is no dpkg to compare with");
        return;
    }
    let parts = ["", "0", "1", "01", "10", "a", "~", "+", "-1", ".", "~rc1", "+b1", "1:", "z9", ".0", "-0~x"];
    let mut versions = Vec::new();
    for first in ["0", "1", "1.2", "1:1", "2-1"] {
        for second in parts {
            versions.push(format!("{first}{second}"));
        }
    }
    versions.retain(|v| v.matches(':').count() < 2 && !v.ends_with(':') && !v.ends_with('-'));
    let is_valid =
        |v: &String| Command::new("dpkg").args(["--validate-version", v]).output().unwrap().status.success();
    versions.retain(is_valid);
    let mut pairs = 0;
    for (number, a) in versions.iter().enumerate() {
        for b in versions.iter().skip(number % 7).step_by(7) {
            let less =
                Command::new("dpkg").args(["--compare-versions", a, "lt", b]).status().unwrap().success();
            let ours = imgbuild_debian::version::compare(a, b).is_lt();
            assert_eq!(ours, less, "{a} < {b}");
            pairs += 1;
        }
    }
    assert!(pairs > 300, "{pairs}");
}

/// Prints what reading and resolving cost; the figures are only worth something in an optimized build.
#[test]
fn time_of_reading_and_resolving() {
    let Some(archive) = common::archive() else { return };
    let path = format!("main/binary-{}/Packages.xz", native());
    let bytes =
        fs_err::read(common::cache().join(format!("{}.xz", archive.release.files[&path].sha256))).unwrap();
    let start = std::time::Instant::now();
    let index = imgbuild_debian::index::Index::decode(&bytes, &path, None).unwrap();
    let decode = start.elapsed();
    let start = std::time::Instant::now();
    assert_eq!(imgbuild_debian::index::Index::parse(&archive.packages_text, None).len(), index.len());
    let parse = start.elapsed();
    let start = std::time::Instant::now();
    let universe = Universe::new(std::slice::from_ref(&index), native(), &[]);
    let graph = start.elapsed();
    let request = Request { base: Some(Base::Required), merged_usr: true, ..Request::default() };
    let solution = solve(&universe, &State::empty(), &request).unwrap();
    let first = start.elapsed();
    let start = std::time::Instant::now();
    assert_eq!(solve(&universe, &State::empty(), &request).unwrap(), solution);
    eprintln!(
        "{} packages: decompress and parse {decode:.2?}, parse alone {parse:.2?}, universe {graph:.2?}, with the first solve of \
         a base {first:.2?}, another solve {:.2?}",
        index.len(),
        start.elapsed()
    );
}
