//! Evaluates the resources of goss files in a machine.

use std::time::Duration;

use imgbuild_engine::{ActionError, Exit};
use md5::Md5;
use sha2::{Digest as _, Sha256, Sha512};

use crate::datum::Datum;
use crate::gossfile::{GossFile, Resource};
use crate::machine::{Fact, Machine, Problem, Ran, Request, Response};
use crate::matcher::{Actual, Matcher};
use crate::report::{Outcome, TestResult};
use crate::yaml::{Data, Node};

/// What becomes of what only a booted system knows, in an image whose system does not run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NotBooted {
    /// It fails: what was asked for was not checked.
    #[default]
    Fail,
    /// It is passed over, which is said.
    Skip,
}

/// Checks all resources, in the order of the file.
///
/// # Errors
/// If the machine cannot be worked with any more; what a check finds is no error here.
pub async fn check(
    file: &GossFile,
    machine: &mut Machine<'_>,
    not_booted: NotBooted,
) -> Result<Vec<TestResult>, ActionError> {
    let mut results = Vec::new();
    for resource in &file.resources {
        let mut asked = Asked { resource, ran: None, answered: None };
        resource_results(&mut asked, machine, not_booted, &mut results).await?;
    }
    Ok(results)
}

/// A resource with what was found out for all its attributes at once.
struct Asked<'r> {
    resource: &'r Resource,
    ran: Option<Result<Ran, String>>,
    answered: Option<Result<Response, String>>,
}

async fn resource_results(
    asked: &mut Asked<'_>,
    machine: &mut Machine<'_>,
    not_booted: NotBooted,
    results: &mut Vec<TestResult>,
) -> Result<(), ActionError> {
    let resource = asked.resource;
    let mut skip = resource.flag("skip");
    let goes_on = matches!(resource.kind.name, "service" | "command");
    for (place, (attribute, shown)) in resource.kind.properties.iter().enumerate() {
        let node = resource.attribute(attribute);
        let is_first = place == 0;
        let first_required = is_first && resource.kind.first_required;
        // `resolvable` has an old spelling.
        let other =
            resource.kind.properties.iter().any(|(name, other)| {
                other == shown && name != attribute && resource.attribute(name).is_some()
            });
        if node.is_none() && (!first_required || other)
            || node.is_some_and(|node| is_no_pattern(attribute, node))
        {
            continue;
        }
        let mut result = TestResult {
            resource: resource.kind.shown,
            id: resource.id(),
            property: shown,
            title: resource.text("title").unwrap_or_default(),
            meta: resource.attribute("meta").map(Node::datum).unwrap_or_default(),
            location: node.map_or(&resource.key.location, |node| &node.location).clone(),
            expected: node.map(Node::datum).unwrap_or_default(),
            outcome: Outcome::Skipped(None),
        };
        if !skip {
            let (outcome, found) = match node.map(Matcher::of) {
                None => {
                    let message = format!("`{attribute}` is required and is not there");
                    (Outcome::Error(message), None)
                }
                Some(Err(message)) => (Outcome::Error(message), None),
                Some(Ok(matcher)) => {
                    let fact = asked.fact(attribute, machine).await;
                    compared(&matcher, fact, not_booted)?
                }
            };
            let ends = matches!(outcome, Outcome::Error(_) | Outcome::Skipped(_))
                || found == Some(Actual::Value(Datum::Bool(false)));
            skip = (is_first || other) && ends && !goes_on;
            result.outcome = outcome;
        }
        results.push(result);
    }
    Ok(())
}

/// Whether it is an empty list of patterns, which says nothing.
fn is_no_pattern(attribute: &str, node: &Node) -> bool {
    let searched = ["contents", "contains", "stdout", "stderr", "headers", "body"].contains(&attribute);
    searched && matches!(&node.data, Data::List(items) if items.is_empty())
}

fn compared(
    matcher: &Matcher,
    fact: Fact<Actual>,
    not_booted: NotBooted,
) -> Result<(Outcome, Option<Actual>), ActionError> {
    Ok(match fact {
        Ok(actual) => {
            let outcome = match matcher.check(&actual) {
                Ok(None) => Outcome::Passed,
                Ok(Some(mismatch)) => Outcome::Failed(Box::new(mismatch)),
                Err(message) => Outcome::Error(message),
            };
            (outcome, Some(actual))
        }
        Err(Problem::Machine(error)) => return Err(error),
        Err(Problem::Unknown(message)) => (Outcome::Error(message), None),
        Err(Problem::NotBooted(message)) => match not_booted {
            NotBooted::Fail => (Outcome::Error(message), None),
            NotBooted::Skip => (Outcome::Skipped(Some(message)), None),
        },
    })
}

fn value(datum: impl Into<Datum>) -> Fact<Actual> {
    Ok(Actual::Value(datum.into()))
}

fn text(text: impl Into<String>) -> Fact<Actual> {
    value(Datum::text(text))
}

fn unknown<T>(message: impl Into<String>) -> Fact<T> {
    Err(Problem::Unknown(message.into()))
}

impl Asked<'_> {
    /// The milliseconds that `timeout` says.
    fn timeout(&self, usual: u64) -> u64 {
        let given = self.resource.attribute("timeout").and_then(|node| node.datum().number());
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a number of milliseconds that is positive"
        )]
        given.filter(|given| *given >= 1.0).map_or(usual, |given| given as u64)
    }

    /// What an attribute is in the machine.
    async fn fact(&mut self, attribute: &str, machine: &mut Machine<'_>) -> Fact<Actual> {
        let target = self.resource.target();
        match self.resource.kind.name {
            "file" => file(&target, attribute, machine).await,
            "package" => {
                let versions = machine.versions(&target).await?;
                match attribute {
                    "installed" => value(!versions.is_empty()),
                    _ => value(Datum::texts(versions)),
                }
            }
            "service" => match attribute {
                "enabled" => value(machine.is_enabled(&target, &self.runlevels()).await?),
                "running" => value(machine.is_running(&target).await?),
                _ => value(Datum::texts(machine.runlevels(&target).await?)),
            },
            "user" => user(&target, attribute, machine).await,
            "group" => match (machine.group(&target).await?, attribute) {
                (found, "exists") => value(found.is_some()),
                (Some(gid), _) => value(gid),
                (None, _) => unknown(format!("there is no group `{target}`")),
            },
            "command" => {
                let limit = Duration::from_millis(self.timeout(10_000));
                let ran = self.ran(&target, limit, machine).await?;
                match (attribute, ran.exit) {
                    ("stdout", _) => Ok(Actual::Lines(ran.stdout.clone())),
                    ("stderr", _) => Ok(Actual::Lines(ran.stderr.clone())),
                    (_, Exit::Code(code)) => value(i64::from(code)),
                    (_, Exit::Signal(signal)) => value(i64::from(128 + signal)),
                }
            }
            "process" => value(machine.has_process(&target).await?),
            "kernel-param" => text(machine.kernel_param(&target).await?),
            "port" => {
                let listeners = machine.listeners(&target).await?;
                match attribute {
                    "listening" => value(!listeners.is_empty()),
                    _ => value(Datum::texts(listeners)),
                }
            }
            "mount" => mount(&target, attribute, machine).await,
            "interface" => match (machine.interface(&target).await?, attribute) {
                (found, "exists") => value(found.is_some()),
                (None, _) => unknown(format!("there is no interface `{target}`")),
                (Some((mtu, _)), "mtu") => value(mtu),
                (Some((_, addresses)), _) => value(Datum::texts(addresses)),
            },
            "addr" => {
                if self.resource.attribute("local-address").is_some() {
                    return unknown("`local-address` is not supported");
                }
                value(machine.is_reachable(&target, self.timeout(500)).await?)
            }
            "dns" => self.dns(&target, attribute, machine).await,
            "http" => {
                let response = self.answered(&target, machine).await?;
                Ok(match attribute {
                    "status" => Actual::Value(Datum::Int(response.status)),
                    "headers" => Actual::Lines(response.headers.join("\n")),
                    _ => Actual::Lines(response.body.clone()),
                })
            }
            "matching" => {
                let content = self.resource.attribute("content").map(Node::datum).unwrap_or_default();
                match (self.resource.flag("as-reader"), content) {
                    (true, Datum::Text(content)) => Ok(Actual::Lines(content)),
                    (true, other) => Ok(Actual::Lines(other.plain())),
                    (false, content) => Ok(Actual::Value(content)),
                }
            }
            other => unknown(format!("`{other}` is not supported")),
        }
    }

    fn runlevels(&self) -> Vec<String> {
        match self.resource.attribute("runlevels").map(Node::datum) {
            Some(Datum::List(items)) => items.iter().map(Datum::plain).collect(),
            _ => Vec::new(),
        }
    }

    async fn ran(&mut self, line: &str, limit: Duration, machine: &mut Machine<'_>) -> Fact<&Ran> {
        if self.ran.is_none() {
            self.ran = Some(kept(machine.shell(line, limit).await)?);
        }
        known(self.ran.as_ref())
    }

    async fn answered(&mut self, url: &str, machine: &mut Machine<'_>) -> Fact<&Response> {
        if self.answered.is_none() {
            let request = self.request(url);
            self.answered = Some(kept(machine.request(&request).await)?);
        }
        known(self.answered.as_ref())
    }

    fn request(&self, url: &str) -> Request {
        let resource = self.resource;
        let list = |name: &str| match resource.attribute(name).map(Node::datum) {
            Some(Datum::List(items)) => items.iter().map(Datum::plain).collect(),
            _ => Vec::new(),
        };
        let file = |name: &str, option: &'static str| resource.text(name).map(|path| (option, path));
        Request {
            url: url.to_owned(),
            method: resource.text("method"),
            headers: list("request-headers"),
            body: resource.text("request-body"),
            insecure: resource.flag("allow-insecure"),
            stay: resource.flag("no-follow-redirects"),
            timeout: self.timeout(5000),
            login: resource
                .text("username")
                .map(|name| (name, resource.text("password").unwrap_or_default())),
            files: [file("ca-file", "--cacert"), file("cert-file", "--cert"), file("key-file", "--key")]
                .into_iter()
                .flatten()
                .collect(),
            proxy: resource.text("proxy"),
        }
    }

    async fn dns(&self, target: &str, attribute: &str, machine: &mut Machine<'_>) -> Fact<Actual> {
        const KINDS: [&str; 9] = ["A", "AAAA", "CAA", "CNAME", "MX", "NS", "PTR", "SRV", "TXT"];
        let typed = target.split_once(':').filter(|(kind, _)| KINDS.contains(kind));
        let addresses = match (self.resource.text("server"), typed) {
            (None, None) => machine.addresses(target).await?,
            (None, Some(_)) => {
                return unknown("records of a kind are asked of a `server`, and there is none");
            }
            (Some(server), Some((kind, name))) => {
                machine.records(kind, name, &server, self.timeout(500)).await?
            }
            (Some(server), None) => {
                let mut all = machine.records("A", target, &server, self.timeout(500)).await?;
                all.extend(machine.records("AAAA", target, &server, self.timeout(500)).await?);
                all
            }
        };
        match attribute {
            "addrs" => value(Datum::texts(addresses)),
            _ => value(!addresses.is_empty()),
        }
    }
}

/// A fact to be kept: only the end of the machine is an error.
fn kept<T>(fact: Fact<T>) -> Fact<Result<T, String>> {
    match fact {
        Ok(found) => Ok(Ok(found)),
        Err(Problem::Unknown(message)) => Ok(Err(message)),
        Err(other) => Err(other),
    }
}

fn known<T>(kept: Option<&Result<T, String>>) -> Fact<&T> {
    match kept {
        Some(Ok(found)) => Ok(found),
        Some(Err(message)) => unknown(message),
        None => unknown("it was not looked at"),
    }
}

async fn file(target: &str, attribute: &str, machine: &mut Machine<'_>) -> Fact<Actual> {
    let path = machine.path(target).await?;
    if !path.starts_with('/') {
        return unknown(format!("`{target}` is no absolute path"));
    }
    let entry = machine.entry(&path).await?;
    let Some(entry) = entry else {
        return match attribute {
            "exists" => value(false),
            _ => unknown("it is not there"),
        };
    };
    match attribute {
        "exists" => value(true),
        "mode" => text(entry.mode),
        "owner" => text(machine.name("/etc/passwd", entry.uid).await?),
        "group" => text(machine.name("/etc/group", entry.gid).await?),
        "uid" => value(entry.uid),
        "gid" => value(entry.gid),
        "filetype" => text(entry.kind),
        "size" => value(i64::try_from(entry.size).unwrap_or(i64::MAX)),
        "linked-to" => match entry.target {
            Some(target) => text(target),
            None => unknown("it is no symbolic link"),
        },
        _ if entry.kind == "directory" => unknown("it is a directory"),
        _ => {
            let Some(bytes) = machine.bytes(&path).await? else {
                return unknown("what it links to is not there");
            };
            match attribute {
                "md5" => text(hex::encode(Md5::digest(&bytes))),
                "sha256" => text(hex::encode(Sha256::digest(&bytes))),
                "sha512" => text(hex::encode(Sha512::digest(&bytes))),
                _ => Ok(Actual::Lines(String::from_utf8_lossy(&bytes).into_owned())),
            }
        }
    }
}

async fn user(target: &str, attribute: &str, machine: &mut Machine<'_>) -> Fact<Actual> {
    let account = machine.account(target).await?;
    let Some(account) = account else {
        return match attribute {
            "exists" => value(false),
            _ => unknown(format!("there is no user `{target}`")),
        };
    };
    match attribute {
        "exists" => value(true),
        "uid" => value(account.uid),
        "gid" => value(account.gid),
        "home" => text(account.home),
        "shell" => text(account.shell),
        _ => value(Datum::texts(machine.groups_of(target, account.gid).await?)),
    }
}

async fn mount(target: &str, attribute: &str, machine: &mut Machine<'_>) -> Fact<Actual> {
    let Some(mount) = machine.mount(target).await? else {
        return match attribute {
            "exists" => value(false),
            _ => unknown("nothing is mounted there"),
        };
    };
    match attribute {
        "exists" => value(true),
        "opts" => value(Datum::texts(mount.options)),
        "vfs-opts" => value(Datum::texts(mount.super_options)),
        "source" => text(mount.source),
        "filesystem" => text(mount.filesystem),
        _ => value(machine.usage(target).await?),
    }
}
