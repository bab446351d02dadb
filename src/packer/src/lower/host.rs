//! The builder `null` on a machine that is there already: its connection is what starts the chain. And how any machine's
//! connection is read.

use imgbuild_kinds::find;
use imgbuild_model::{AttributeSchema, AttributeType, Attributes, ChainState, Diagnostic, Value};

use super::chain::{Chain, Machine};
use super::config::Config;
use crate::go_time;

/// The attributes that name files of this host.
const FILES: [&str; 7] = [
    "ssh_private_key_file",
    "ssh_certificate_file",
    "ssh_bastion_private_key_file",
    "ssh_bastion_certificate_file",
    "firmware",
    "efi_firmware_code",
    "efi_firmware_vars",
];

/// The attributes of key pairs that Packer makes for the connection, or that a cloud has.
const KEY_PAIRS: [&str; 4] =
    ["ssh_keypair_name", "temporary_key_pair_name", "temporary_key_pair_type", "temporary_key_pair_bits"];

/// Declares the whole build.
pub(super) fn lower(config: &Config<'_>, chain: &mut Chain<'_>) {
    let attributes = machine("host", config, chain);
    chain.machine = Machine::Host;
    chain.start("host", attributes, ChainState::default());
    chain.provision();
}

/// The attributes of a kind of machine that a template's source gives under the same names.
pub(super) fn machine(kind: &str, config: &Config<'_>, chain: &mut Chain<'_>) -> Attributes {
    for name in FILES {
        let Some(path) = config.text(name).filter(|path| !path.starts_with('~')) else { continue };
        if chain.around.files.kind(&chain.absolute(&path)).is_none() {
            let error = Diagnostic::error(format!("there is no file `{path}`"));
            chain.problem(error.at(config.location(name)));
        }
    }
    for name in KEY_PAIRS.into_iter().filter(|name| config.get(name).is_some()) {
        let message = format!("`{name}` has no effect: no key pair is made for the connection");
        let warning = Diagnostic::warning(message).at(config.location(name));
        chain.problem(warning.hint(
            "the machine is logged in to by `ssh_private_key_file`, `ssh_agent_auth` or `ssh_password`",
        ));
    }
    find(kind).map(|schema| attributes(config, chain, schema.table().all_attributes())).unwrap_or_default()
}

fn attributes(
    config: &Config<'_>,
    chain: &Chain<'_>,
    schemas: impl Iterator<Item = &'static AttributeSchema>,
) -> Attributes {
    schemas.filter_map(|schema| Some((schema.name.into(), value(config, chain, schema)?))).collect()
}

/// An attribute as the builder reads it: durations in milliseconds, 0 for one that is negative.
fn value(config: &Config<'_>, chain: &Chain<'_>, schema: &AttributeSchema) -> Option<Value> {
    let name = schema.name;
    Some(match schema.type_ {
        AttributeType::Bool => Value::Bool(config.flag(name)?),
        AttributeType::Int => Value::Int(config.text(name)?.parse().ok()?),
        AttributeType::GoDuration => {
            let duration = go_time::duration(&config.text(name)?).unwrap_or_default();
            Value::Int(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX))
        }
        // Of those the caller knows more.
        AttributeType::File | AttributeType::Files => return None,
        AttributeType::List(AttributeType::StringList) => Value::list(config.rows(name)?),
        AttributeType::StringDict => {
            config.get(name)?;
            let pairs = config.hidden_pairs(name).into_iter();
            Value::Dict(pairs.map(|(name, text)| (name.into(), Value::string(&text))).collect())
        }
        AttributeType::StringList => {
            config.get(name)?;
            Value::list(config.hidden_texts(name).iter().map(|text| Value::string(text)))
        }
        _ => {
            let text = config.hidden(name)?;
            let is_path = FILES.contains(&name) && !text.starts_with('~');
            Value::string(&if is_path { chain.absolute(&text) } else { text })
        }
    })
}
