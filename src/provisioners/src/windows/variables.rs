//! The variables of a script, and how they are written.

use std::collections::BTreeMap;

use imgbuild_engine::ActionError;

use super::{Build, Moment};

/// The variables of a script: those of `environment_vars`, over them those of `env`, over them what Packer tells each
/// script. `PACKER_HTTP_…` are there where the build has a server for files.
pub(super) fn all(
    environment_vars: &[String],
    env: &BTreeMap<String, String>,
    build: &Build,
    moment: &Moment,
) -> Result<BTreeMap<String, String>, ActionError> {
    let mut all = BTreeMap::new();
    for text in environment_vars {
        let Some((name, value)) = text.split_once('=').filter(|(name, _)| !name.is_empty()) else {
            return Err(ActionError::input(format!("`{text}` in `environment_vars` is no `NAME=value`")));
        };
        all.insert(name.to_owned(), value.to_owned());
    }
    all.extend(env.clone());
    let mut tell = |name: &str, value: String| drop(all.insert(name.to_owned(), value));
    tell("PACKER_BUILD_NAME", build.name.clone());
    tell("PACKER_BUILDER_TYPE", build.builder_type.clone());
    if let Some(http) = &moment.http {
        tell("PACKER_HTTP_ADDR", format!("{}:{}", http.ip, http.port));
        tell("PACKER_HTTP_IP", http.ip.clone());
        tell("PACKER_HTTP_PORT", http.port.to_string());
    }
    Ok(all)
}

/// A text as it stands between PowerShell's double quotes, escaped as Packer does: backticks before what is special there.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        if matches!(character, '$' | '"' | '`' | '\'') {
            escaped.push('`');
        }
        escaped.push(character);
    }
    escaped
}
