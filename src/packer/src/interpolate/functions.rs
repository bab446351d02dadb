//! The functions themselves.

use std::sync::Arc;

use imgbuild_gotemplate::{Function, Functions, Param, Value};
use imgbuild_packer_functions::SecretRequest;

use super::{Cleaner, Context, Generated, Place, Shared, State};
use crate::go_time;

type Outcome = Result<Value, String>;

/// All of them, for one place.
pub(super) fn table(shared: &Arc<Shared>) -> Functions {
    let mut table = Table { shared, functions: Functions::new() };
    table.texts();
    table.of_the_run();
    table.of_the_build();
    table.stores();
    table.functions
}

struct Table<'a> {
    shared: &'a Arc<Shared>,
    functions: Functions,
}

impl Table<'_> {
    fn pure(&mut self, name: &str, params: &[Param], body: fn(&[Value]) -> Outcome) {
        self.functions.insert(name, Function::new(params, body));
    }

    fn function(&mut self, params: &[Param], body: fn(&Shared, &[Value]) -> Outcome) -> Function {
        let shared = self.shared.clone();
        Function::new(params, move |arguments| body(&shared, arguments))
    }

    fn add(&mut self, name: &str, params: &[Param], body: fn(&Shared, &[Value]) -> Outcome) {
        let function = self.function(params, body);
        self.functions.insert(name, function);
    }

    fn texts(&mut self) {
        use Param::{Int, String};
        self.pure("upper", &[String], |a| Ok(upper(text(&a[0])).into()));
        self.pure("lower", &[String], |a| Ok(lower(text(&a[0])).into()));
        self.pure("split", &[String, String, Int], |a| split(text(&a[0]), text(&a[1]), int(&a[2])));
        self.pure("replace_all", &[String, String, String], |a| {
            Ok(text(&a[2]).replace(text(&a[0]), text(&a[1])).into())
        });
        self.pure("replace", &[String, String, Int, String], |a| {
            let (old, new, source) = (text(&a[0]), text(&a[1]), text(&a[3]));
            Ok(match usize::try_from(int(&a[2])) {
                Ok(count) => source.replacen(old, new, count).into(),
                Err(_) => source.replace(old, new).into(),
            })
        });
        self.pure("sed", &[String, String], |_| Err("this function was removed from Packer".to_owned()));
        if let Some(cleaner) = self.shared.context.cleaner {
            let body = move |a: &[Value]| Ok(cleaner.clean(text(&a[0])).into());
            self.functions.insert("clean_resource_name", Function::new([String], body));
        }
    }

    fn of_the_run(&mut self) {
        use Param::String;
        self.add("timestamp", &[], |shared, _| {
            shared.state().reads.clock = true;
            Ok(shared.context.run.started.as_second().to_string().into())
        });
        self.add("strftime", &[String], |shared, a| {
            shared.state().reads.clock = true;
            Ok(go_time::strftime(shared.context.run.started, text(&a[0])).into())
        });
        let isotime = self.function(&[], |shared, a| {
            shared.state().reads.clock = true;
            let layout = match a {
                [] => go_time::RFC3339,
                [layout] => text(layout),
                more => return Err(format!("it takes one layout at most, not {}", more.len())),
            };
            Ok(go_time::format(shared.context.run.started, layout).into())
        });
        self.functions.insert("isotime", isotime.variadic(String));
        self.add("uuid", &[], |shared, _| {
            let mut state = shared.state();
            state.reads.random = true;
            state.reads.clock = true;
            Ok(time_ordered_uuid(shared.context.run.started.as_second(), shared.context.run.host.random())
                .into())
        });
        self.add("pwd", &[], |shared, _| {
            shared.state().reads.folder = true;
            Ok(shared.context.run.folder.as_str().into())
        });
        self.add("template_dir", &[], |shared, _| {
            shared.state().reads.folder = true;
            let folder = shared.context.run.template_folder.as_deref();
            folder.map(Value::from).ok_or_else(|| "the template is not in a folder".to_owned())
        });
        self.add("packer_version", &[], |shared, _| Ok(shared.context.run.packer_version.as_str().into()));
    }

    fn of_the_build(&mut self) {
        use Param::String;
        self.add("build_name", &[], |shared, _| {
            shared.context.build.as_ref().map(|build| build.name.as_str().into()).ok_or_else(no_build)
        });
        self.add("build_type", &[], |shared, _| {
            shared.context.build.as_ref().map(|build| build.kind.as_str().into()).ok_or_else(no_build)
        });
        self.add("user", &[String], |shared, a| user(shared, text(&a[0])));
        match &self.shared.context.generated {
            Generated::Late(_) => self.functions.insert("build", Function::late([String])),
            _ => self.add("build", &[String], |shared, a| match &shared.context.generated {
                Generated::Known(values) => {
                    let value = values.get(text(&a[0])).map(|value| value.as_str().into());
                    value.ok_or_else(|| no_generated_value(text(&a[0])))
                }
                _ => Err("nothing of the machine is known here".to_owned()),
            }),
        }
    }

    fn stores(&mut self) {
        use Param::String;
        self.add("env", &[String], |shared, a| {
            only_in_variables(shared)?;
            let name = text(&a[0]);
            let value = shared.context.run.host.environment(name);
            shared.state().reads.environment.insert(name.to_owned(), value.clone());
            Ok(value.unwrap_or_default().into())
        });
        self.add("consul_key", &[String], |shared, a| {
            secret(shared, SecretRequest::Consul { key: text(&a[0]).to_owned() })
        });
        self.add("vault", &[String, String], |shared, a| {
            secret(shared, SecretRequest::Vault { path: text(&a[0]).to_owned(), key: text(&a[1]).to_owned() })
        });
        let aws = self.function(&[String], |shared, a| match a {
            [name] => secret(shared, SecretRequest::Aws { name: text(name).to_owned(), key: None }),
            [name, key] => {
                let key = Some(text(key)).filter(|key| !key.is_empty()).map(str::to_owned);
                secret(shared, SecretRequest::Aws { name: text(name).to_owned(), key })
            }
            more => Err(format!("it takes a name and at most one key, not {} texts", more.len())),
        });
        self.functions.insert("aws_secretsmanager", aws.variadic(String));
        self.add("aws_secretsmanager_raw", &[String], |shared, a| {
            secret(shared, SecretRequest::AwsRaw { name: text(&a[0]).to_owned() })
        });
    }
}

/// What to do about the failure of a function.
pub(super) fn hint(function: &str, context: &Context) -> Option<String> {
    let hint = match function {
        "env" | "consul_key" | "vault" | "aws_secretsmanager" | "aws_secretsmanager_raw"
            if context.place != Place::Variables =>
        {
            "use it as the default of a variable, and `{{user}}` here"
        }
        "user" if context.user.is_none() => "templates in HCL write `${var.NAME}`",
        "template_dir" if context.user.is_none() => "templates in HCL write `${path.root}`",
        "sed" => "use `replace` or `replace_all`",
        "build" if context.generated == Generated::Nothing => {
            "it can be used in provisioners and post-processors"
        }
        "build_name" | "build_type" => "they can be used in builders, provisioners and post-processors",
        _ => return None,
    };
    Some(hint.to_owned())
}

pub(super) fn no_generated_value(name: &str) -> String {
    format!("the builder gives no value `{name}`")
}

fn no_build() -> String {
    "there is no build here".to_owned()
}

fn only_in_variables(shared: &Shared) -> Result<(), String> {
    match shared.context.place {
        Place::Variables => Ok(()),
        Place::Elsewhere => Err("it can only be used in the variables of a template in JSON".to_owned()),
    }
}

fn secret(shared: &Shared, request: SecretRequest) -> Outcome {
    only_in_variables(shared)?;
    let answer = shared.context.run.host.secret(&request);
    let mut state = shared.state();
    let answer = answer.map_err(|error| {
        state.hint = error.hint().map(str::to_owned);
        format!("{} gave no value: {error}", request.store())
    });
    state.reads.secrets.insert(request);
    answer.map(Value::from)
}

fn user(shared: &Shared, name: &str) -> Outcome {
    let mut state = shared.state();
    let State { user, reads, missing, .. } = &mut *state;
    let Some(variables) = user else {
        return Err("there are no user variables here".to_owned());
    };
    reads.user.insert(name.to_owned());
    match (variables.get(name), shared.context.place) {
        (Some(value), _) => Ok(value.as_str().into()),
        (None, Place::Elsewhere) => Ok("".into()),
        (None, Place::Variables) => {
            *missing = Some(name.to_owned());
            Err(format!("the variable `{name}` has no value"))
        }
    }
}

/// Four bytes of the time in seconds, then random ones.
fn time_ordered_uuid(seconds: i64, random: [u8; 12]) -> String {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let [a, b, c, d] = [&random[..2], &random[2..4], &random[4..6], &random[6..]].map(hex);
    format!("{:08x}-{a}-{b}-{c}-{d}", seconds & 0xffff_ffff)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn int(value: &Value) -> i64 {
    if let Value::Int(number) = value { *number } else { 0 }
}

/// Character by character, as Go does it: one that has no capital of its own stays.
fn upper(text: &str) -> String {
    let one = |c: char| {
        let mut upper = c.to_uppercase();
        upper.next().filter(|_| upper.next().is_none()).unwrap_or(c)
    };
    text.chars().map(one).collect()
}

fn lower(text: &str) -> String {
    text.chars().filter_map(|c| c.to_lowercase().next()).collect()
}

fn split(text: &str, separator: &str, index: i64) -> Outcome {
    let parts: Vec<String> = match separator {
        "" => text.chars().map(String::from).collect(),
        _ => text.split(separator).map(str::to_owned).collect(),
    };
    let part = usize::try_from(index).ok().and_then(|index| parts.get(index));
    part.map(|part| part.as_str().into()).ok_or_else(|| {
        format!(
            "there is no part {index}: `{separator}` makes {} part{} of the text",
            parts.len(),
            if parts.len() == 1 { "" } else { "s" }
        )
    })
}

impl Cleaner {
    /// The name with `-` for every byte that cannot be in it.
    fn clean(self, name: &str) -> String {
        let (name, allowed) = match self {
            Self::Amazon => (name.to_owned(), "()[] ./-'@_"),
            Self::Azure => (name.to_owned(), "._-"),
            Self::Google => (lower(name), ""),
        };
        let clean = |byte: u8| {
            let good = byte.is_ascii_alphanumeric() || allowed.as_bytes().contains(&byte);
            if good { char::from(byte) } else { '-' }
        };
        let cleaned: String = name.bytes().map(clean).collect();
        match self {
            Self::Azure => cleaned.trim_end_matches(['-', '_', '.']).to_owned(),
            _ => cleaned,
        }
    }
}
