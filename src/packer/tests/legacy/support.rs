//! A host without a world, and the real program to compare with.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Arc;

use imgbuild_packer::interpolate::{Context, Host, Lookup, Place, Run};

/// Its environment is given, its stores know one thing each, and its random bytes count from 0.
#[derive(Default)]
pub struct FakeHost {
    pub environment: BTreeMap<String, String>,
}

impl Host for FakeHost {
    fn environment(&self, name: &str) -> Option<String> {
        self.environment.get(name).cloned()
    }

    fn look_up(&self, lookup: &Lookup) -> Result<String, String> {
        match lookup {
            Lookup::Consul { key } if key == "app/name" => Ok("web".to_owned()),
            Lookup::Vault { path, key } if path == "secret/db" && key == "password" => {
                Ok("s3cret".to_owned())
            }
            Lookup::AwsSecret { name, key } if name == "db" => Ok(key.clone().unwrap_or("whole".to_owned())),
            Lookup::AwsSecretRaw { name } if name == "db" => Ok("{}".to_owned()),
            _ => Err("the store does not answer".to_owned()),
        }
    }

    fn random(&self) -> [u8; 12] {
        std::array::from_fn(|index| u8::try_from(index).unwrap_or_default())
    }
}

pub fn run() -> Run {
    let environment = [("HOME", "/home/ada"), ("EMPTY", ""), ("BRACES", "{{user `a`}}")];
    let environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    Run {
        started: "2024-03-05T07:08:09Z".parse().expect("a time"),
        folder: "/work".to_owned(),
        template_folder: Some("/work/templates".to_owned()),
        packer_version: "1.16.0".to_owned(),
        host: Arc::new(FakeHost { environment }),
    }
}

pub fn context(place: Place) -> Context {
    let user = [("x", "ex"), ("list", "a,b,c"), ("templated", "{{.Vars}}")];
    let user = user.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    Context::new(run(), place, Some(user))
}

/// The real program, or why a test is skipped.
pub fn packer() -> Option<Command> {
    let program = ["packer", "/usr/bin/packer"].into_iter().find(|program| {
        let version = Command::new(program).arg("version").env("CHECKPOINT_DISABLE", "1").output();
        version.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).starts_with("Packer v"))
    });
    let Some(program) = program else {
        eprintln!("skipped: there is no `packer` on this machine to compare with");
        return None;
    };
    let mut command = Command::new(program);
    command.env("CHECKPOINT_DISABLE", "1").env("PACKER_NO_COLOR", "1");
    Some(command)
}
