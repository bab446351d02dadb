//! A host without a world, and the real program to compare with.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::sync::Arc;

use imgbuild_model::Diagnostics;
use imgbuild_packer::interpolate::{Build, Context, Generated, Host, Place, Renderer, Run};
use imgbuild_packer::legacy::{Given, Template, render};
use imgbuild_packer_functions::{SecretError, SecretRequest};

/// Its environment is given, its stores know one thing each, and its random bytes count from 0.
#[derive(Default)]
pub struct FakeHost {
    pub environment: BTreeMap<String, String>,
}

impl Host for FakeHost {
    fn environment(&self, name: &str) -> Option<String> {
        self.environment.get(name).cloned()
    }

    fn secret(&self, request: &SecretRequest) -> Result<String, SecretError> {
        match request {
            SecretRequest::Consul { key } if key == "app/name" => Ok("web".to_owned()),
            SecretRequest::Vault { path, key } if path == "secret/db" && key == "password" => {
                Ok("s3cret".to_owned())
            }
            SecretRequest::Aws { name, key } if name == "db" => Ok(key.clone().unwrap_or("whole".to_owned())),
            SecretRequest::AwsRaw { name } if name == "db" => Ok("{}".to_owned()),
            _ => Err(SecretError::Failed {
                reason: "the store does not answer".to_owned(),
                hint: Some("wake the store".to_owned()),
            }),
        }
    }

    fn random(&self) -> [u8; 12] {
        std::array::from_fn(|index| u8::try_from(index).unwrap_or_default())
    }
}

pub fn run() -> Run {
    let environment = [("HOME", "/home/ada"), ("BROKEN", "{{"), ("BRACES", "{{user `a`}}")];
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

/// What a program prints of this input.
pub fn with_input(command: &mut Command, line: &str) -> String {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    writeln!(child.stdin.take().expect("piped"), "{line}").expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub fn given(values: &[(&str, &str)]) -> Vec<Given> {
    let given = |&(name, value): &(&str, &str)| Given {
        name: name.to_owned(),
        value: value.to_owned(),
        location: None,
    };
    values.iter().map(given).collect()
}

/// Whether the real program's verb accepts a template, and what it says.
pub fn packer_says(verb: &str, text: &str, given: &[&str]) -> Option<(bool, String)> {
    let mut command = packer()?;
    let folder = tempfile::tempdir().expect("a folder");
    fs_err::write(folder.path().join("t.json"), text).expect("a template");
    command.arg(verb).args(given.iter().flat_map(|given| ["-var", given])).arg("t.json");
    let output = command.current_dir(folder.path()).output().expect("it runs");
    Some((output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned()))
}

/// Everything up to the rendering of each component, as `validate` does it but for the components' own attributes.
pub fn check(text: &str, values: &[&str]) -> Result<(), String> {
    let values: Vec<_> = values.iter().filter_map(|value| value.split_once('=')).collect();
    let template = Template::parse("t.json", text).map_err(|errors| errors.to_string())?;
    let errors = Diagnostics(template.validate("1.16.0"));
    if !errors.0.is_empty() {
        return Err(errors.to_string());
    }
    let resolved = template.resolve(&run(), &given(&values)).map_err(|errors| errors.to_string())?;
    let builds = template.builds(&run(), &resolved, &[], &[]).map_err(|errors| errors.to_string())?;
    for build in &builds {
        let component = |generated| Context {
            build: Some(Build { name: build.name.clone(), kind: build.builder.kind.text.to_string() }),
            generated,
            ..Context::new(run(), Place::Elsewhere, Some(resolved.values.clone()))
        };
        let mut builder = Renderer::new(component(Generated::Nothing));
        render(&template.source, &build.builder.config, &mut builder, &[])
            .map_err(|errors| errors.to_string())?;
        let mut inner = Renderer::new(component(Generated::Late(["ID".to_owned()].into())));
        let provisioners =
            build.provisioners.iter().chain(&build.error_cleanup).map(|one| &one.provisioner.config);
        let post_processors = build.post_processors.iter().flatten().map(|one| &one.config);
        for config in provisioners.chain(post_processors) {
            render(&template.source, config, &mut inner, &[]).map_err(|errors| errors.to_string())?;
        }
    }
    Ok(())
}
