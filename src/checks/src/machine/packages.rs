//! Which versions of a package are installed, from the package manager's own files where they are texts.

use globset::Glob;
use imgbuild_engine::Exit;

use super::{Fact, Machine, Problem};

/// How a system keeps its packages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PackageManager {
    /// Debian's.
    Dpkg,
    /// Alpine's.
    Apk,
    /// Red Hat's.
    Rpm,
    /// Arch's.
    Pacman,
}

impl PackageManager {
    /// By its name, as `goss --package` takes it.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "dpkg" => Self::Dpkg,
            "apk" => Self::Apk,
            "rpm" => Self::Rpm,
            "pacman" => Self::Pacman,
            _ => return None,
        })
    }
}

/// Where each keeps its packages.
const DATABASES: [(&str, PackageManager); 8] = [
    ("/var/lib/dpkg/status", PackageManager::Dpkg),
    ("/var/lib/dpkg/status.d", PackageManager::Dpkg),
    ("/lib/apk/db/installed", PackageManager::Apk),
    ("/usr/lib/apk/db/installed", PackageManager::Apk),
    ("/var/lib/pacman/local", PackageManager::Pacman),
    ("/usr/lib/sysimage/rpm", PackageManager::Rpm),
    ("/usr/share/rpm", PackageManager::Rpm),
    ("/var/lib/rpm", PackageManager::Rpm),
];

impl Machine<'_> {
    async fn package_manager(&mut self) -> Fact<PackageManager> {
        if let Some(known) = self.packages {
            return Ok(known);
        }
        for (path, manager) in DATABASES {
            if self.session.stat(path).await?.is_some() {
                self.packages = Some(manager);
                return Ok(manager);
            }
        }
        Err(Problem::Unknown("no database of packages is there: dpkg's, apk's, rpm's or pacman's".to_owned()))
    }

    /// The versions of a package that are installed.
    pub(crate) async fn versions(&mut self, name: &str) -> Fact<Vec<String>> {
        match self.package_manager().await? {
            PackageManager::Dpkg => self.dpkg(name).await,
            PackageManager::Apk => self.apk(name).await,
            PackageManager::Pacman => self.pacman(name).await,
            PackageManager::Rpm => self.rpm(name).await,
        }
    }

    async fn dpkg(&mut self, name: &str) -> Fact<Vec<String>> {
        let mut text = self.text("/var/lib/dpkg/status").await?;
        for file in self.list("/var/lib/dpkg/status.d").await? {
            if !file.ends_with(".md5sums") {
                text.push_str("\n\n");
                text.push_str(&self.text(&format!("/var/lib/dpkg/status.d/{file}")).await?);
            }
        }
        dpkg_versions(&text, name).map_err(Problem::Unknown)
    }

    async fn apk(&mut self, name: &str) -> Fact<Vec<String>> {
        let mut text = self.text("/lib/apk/db/installed").await?;
        if text.is_empty() {
            text = self.text("/usr/lib/apk/db/installed").await?;
        }
        Ok(apk_versions(&text, name))
    }

    async fn pacman(&mut self, name: &str) -> Fact<Vec<String>> {
        let entries = self.list("/var/lib/pacman/local").await?;
        let version = |entry: &String| {
            let (start, release) = entry.rsplit_once('-')?;
            let (package, version) = start.rsplit_once('-')?;
            (package == name).then(|| format!("{version}-{release}"))
        };
        Ok(entries.iter().filter_map(version).collect())
    }

    async fn rpm(&mut self, name: &str) -> Fact<Vec<String>> {
        const FORMAT: &str = "%|EPOCH?{%{EPOCH}:}:{}|%{VERSION}-%{RELEASE}\\n";
        let words = ["rpm", "-q", "--nosignature", "--nodigest", "--queryformat", FORMAT, "--", name];
        let ran = self.run(&words).await?;
        Ok(match ran.exit {
            Exit::Code(0) => ran.stdout.lines().map(str::to_owned).collect(),
            _ => Vec::new(),
        })
    }
}

/// The versions of the packages of that name, with an architecture (`libc6:amd64`) or as a pattern, as `dpkg-query`
/// takes it.
fn dpkg_versions(status: &str, name: &str) -> Result<Vec<String>, String> {
    let (name, architecture) = match name.split_once(':') {
        Some((name, architecture)) => (name, Some(architecture)),
        None => (name, None),
    };
    let pattern = Glob::new(name).map_err(|error| format!("`{name}` is no name of a package: {error}"))?;
    let pattern = pattern.compile_matcher();
    let mut versions = Vec::new();
    for paragraph in status.split("\n\n") {
        let field = |wanted: &str| {
            paragraph.lines().find_map(|line| line.strip_prefix(wanted)?.strip_prefix(": ").map(str::trim))
        };
        let (Some(package), Some(version)) = (field("Package"), field("Version")) else { continue };
        // Packages of `status.d` have no status: what is listed is there.
        let installed = field("Status").is_none_or(|status| status.ends_with(" ok installed"));
        let same = architecture.is_none_or(|wanted| field("Architecture") == Some(wanted));
        if installed && same && pattern.is_match(package) {
            versions.push(version.to_owned());
        }
    }
    Ok(versions)
}

fn apk_versions(installed: &str, name: &str) -> Vec<String> {
    let mut versions = Vec::new();
    for paragraph in installed.split("\n\n") {
        let field = |letter: &str| paragraph.lines().find_map(|line| line.strip_prefix(letter));
        if field("P:") == Some(name)
            && let Some(version) = field("V:")
        {
            versions.push(version.to_owned());
        }
    }
    versions
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn databases_are_read() {
        let status = "Package: a\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1\n\n\
                      Package: a\nStatus: install ok installed\nArchitecture: i386\nVersion: 2\n\n\
                      Package: b\nStatus: deinstall ok config-files\nVersion: 3\n\n\
                      Package: c\nStatus: hold ok installed\nVersion: 4\n\nPackage: d\nVersion: 5\n";
        for (name, expected) in [
            ("a", vec!["1", "2"]),
            ("a:i386", vec!["2"]),
            ("b", vec![]),
            ("c", vec!["4"]),
            ("d", vec!["5"]),
            ("[ab]", vec!["1", "2"]),
        ] {
            assert_eq!(dpkg_versions(status, name).unwrap(), expected, "{name}");
        }
        let apk = "C:Q1\nP:musl\nV:1.2.5-r0\nA:x86_64\n\nC:Q2\nP:zlib\nV:1.3\n";
        assert_eq!(apk_versions(apk, "musl"), ["1.2.5-r0"]);
        assert!(apk_versions(apk, "mus").is_empty());
    }
}
