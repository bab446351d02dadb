//! From the text of a configuration file to [`Layer`], with every mistake at its place. The table of keys says which
//! there are; here is what each may hold.

use std::collections::BTreeMap;
use std::num::NonZero;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use imgbuild_model::{Diagnostic, Diagnostics, Location, did_you_mean, is_secret_name};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{Downloads, KEYS, Keyrings, Layer, Mirrors, Providers};
use crate::args::Age;

/// The providers that need no configuration.
const BUILT_IN_PROVIDERS: [&str; 2] = ["env", "file"];

type Value<'a> = Spanned<DeValue<'a>>;

pub(super) fn read(text: &str, name: &str, folder: &Path, home: Option<&Path>) -> Result<Layer, Diagnostics> {
    let mut reader = Reader { text, name, folder, home, problems: Vec::new() };
    let (table, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        // What a broken file means is a guess: its syntax is mended first.
        for error in &errors {
            let message = error.message().split_whitespace().collect::<Vec<_>>().join(" ");
            let diagnostic = Diagnostic::error(message);
            reader.problems.push(match error.span() {
                Some(span) => diagnostic.at(reader.location(&span)),
                None => diagnostic.at(Location::file(name)),
            });
        }
        return Err(Diagnostics(reader.problems));
    }
    let table = table.get_ref();
    reader.refuse_unknown(table);
    let proxy = reader.value(table, "downloads", "proxy", Reader::proxy);
    let layer = Layer {
        mirrors: Mirrors {
            debian: reader.value(table, "mirrors", "debian", Reader::address),
            debian_security: reader.value(table, "mirrors", "debian_security", Reader::address),
            ubuntu: reader.value(table, "mirrors", "ubuntu", Reader::address),
            snapshot: reader.value(table, "mirrors", "snapshot", Reader::address),
        },
        keyrings: Keyrings {
            debian: reader.value(table, "keyrings", "debian", Reader::path),
            ubuntu: reader.value(table, "keyrings", "ubuntu", Reader::path),
        },
        downloads: Downloads {
            parallel: reader.value(table, "downloads", "parallel", Reader::number),
            attempts: reader.value(table, "downloads", "attempts", Reader::number),
            timeout: reader.value(table, "downloads", "timeout", Reader::span),
            http_proxy: proxy.clone(),
            https_proxy: proxy,
            no_proxy: reader.value(table, "downloads", "no_proxy", Reader::text),
        },
        cache_dir: reader.value(table, "cache", "dir", Reader::path),
        cache_max_size: reader.value(table, "cache", "max_size", Reader::parsed),
        cache_max_age: reader.value(table, "cache", "max_age", Reader::parsed),
        jobs: reader.value(table, "build", "jobs", Reader::number),
        output_dir: reader.value(table, "build", "output_dir", Reader::path),
        default_platform: reader.value(table, "build", "default_platform", Reader::parsed),
        salt: reader.value(table, "build", "salt", Reader::text),
        secret_providers: reader.value(table, "secrets", "providers", Reader::providers),
    };
    if reader.problems.is_empty() { Ok(layer) } else { Err(Diagnostics(reader.problems)) }
}

/// The address of a mirror, or why a text is none.
pub(super) fn mirror_address(text: &str) -> Result<String, String> {
    if has_scheme(text, &["http://", "https://", "file://"]) {
        Ok(text.to_owned())
    } else {
        Err(format!("`{text}` is not an address; it begins with `http://`, `https://` or `file://`"))
    }
}

/// The address of a proxy, or why a text is none. Other programs take one without a scheme too.
pub(super) fn proxy_address(text: &str) -> Result<String, String> {
    let address = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
    if has_scheme(&address, &["http://", "https://"]) {
        Ok(address)
    } else {
        Err(format!("`{text}` is not the address of a proxy; it begins with `http://` or `https://`"))
    }
}

fn has_scheme(text: &str, schemes: &[&str]) -> bool {
    let rest = schemes.iter().find_map(|scheme| text.strip_prefix(scheme));
    rest.is_some_and(|rest| !rest.is_empty() && !rest.contains(char::is_whitespace))
}

struct Reader<'t> {
    text: &'t str,
    name: &'t str,
    folder: &'t Path,
    home: Option<&'t Path>,
    problems: Vec<Diagnostic>,
}

impl Reader<'_> {
    fn location(&self, span: &Range<usize>) -> Location {
        let place = |byte: usize| {
            let before = self.text.get(..byte.min(self.text.len())).unwrap_or(self.text);
            let line = before.matches('\n').count() + 1;
            let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
            (u32::try_from(line).unwrap_or(0), u32::try_from(column).unwrap_or(0))
        };
        let ((line, column), (end_line, end_column)) = (place(span.start), place(span.end));
        Location { file: self.name.into(), line, column, end_line, end_column }
    }

    fn problem(&mut self, span: &Range<usize>, message: String) -> &mut Diagnostic {
        let location = self.location(span);
        self.problems.push(Diagnostic::error(message).at(location));
        self.problems.last_mut().expect("it was pushed")
    }

    fn refuse_unknown(&mut self, table: &DeTable<'_>) {
        let mut sections: Vec<&str> = KEYS.iter().map(|key| key.section).collect();
        sections.dedup();
        for (section, content) in table {
            let (span, section) = (section.span(), section.get_ref().as_ref());
            if !sections.contains(&section) {
                let hint = match KEYS.iter().find(|key| key.name == section) {
                    Some(key) => format!("it belongs into `[{}]`", key.section),
                    None => match did_you_mean(section, sections.iter().copied()) {
                        Some(meant) => format!("did you mean `[{meant}]`?"),
                        None => {
                            format!("there are {}", listed(sections.iter().map(|name| format!("[{name}]"))))
                        }
                    },
                };
                self.problem(&span, format!("there is no table `{section}` in the configuration")).hint =
                    Some(hint);
                continue;
            }
            let Some(content_table) = content.get_ref().as_table() else {
                let found = article(content.get_ref().type_str());
                self.problem(&content.span(), format!("`{section}` is a table, not {found}")).hint =
                    Some(format!("write `[{section}]` in a line of its own"));
                continue;
            };
            let names: Vec<&str> =
                KEYS.iter().filter(|key| key.section == section).map(|key| key.name).collect();
            for name in content_table.keys() {
                let (span, name) = (name.span(), name.get_ref().as_ref());
                if names.contains(&name) {
                    continue;
                }
                let elsewhere = KEYS.iter().find(|key| key.name == name);
                let hint = match (did_you_mean(name, names.iter().copied()), elsewhere) {
                    (Some(meant), _) => format!("did you mean `{meant}`?"),
                    (None, Some(key)) => format!("it belongs into `[{}]`", key.section),
                    (None, None) => format!("there are {}", listed(names.iter().map(ToString::to_string))),
                };
                self.problem(&span, format!("there is no key `{name}` in `[{section}]`")).hint = Some(hint);
            }
        }
    }

    fn value<T>(
        &mut self,
        table: &DeTable<'_>,
        section: &str,
        name: &str,
        read: impl Fn(&Self, &Value<'_>) -> Result<T, Mistake>,
    ) -> Option<T> {
        let value = table.get(section)?.get_ref().as_table()?.get(name)?;
        match read(self, value) {
            Ok(read) => Some(read),
            Err(Mistake { span, message }) => {
                let key = KEYS.iter().find(|key| key.section == section && key.name == name);
                let example = key.map(|key| format!("for example `{name} = {}`", key.example));
                self.problem(&span, format!("`{section}.{name}`: {message}")).hint = example;
                None
            }
        }
    }

    #[expect(clippy::unused_self, reason = "one shape for all readers of values")]
    fn text(&self, value: &Value<'_>) -> Result<String, Mistake> {
        match value.get_ref().as_str() {
            Some(text) => Ok(text.to_owned()),
            None => Err(Mistake::kind(value, "a text")),
        }
    }

    fn parsed<T: std::str::FromStr<Err: std::fmt::Display>>(&self, value: &Value<'_>) -> Result<T, Mistake> {
        self.text(value)?.parse().map_err(|error: T::Err| Mistake::new(value, error.to_string()))
    }

    fn path(&self, value: &Value<'_>) -> Result<PathBuf, Mistake> {
        let text = self.text(value)?;
        if text.is_empty() {
            return Err(Mistake::new(value, "the path is empty"));
        }
        match (text.strip_prefix("~/"), self.home) {
            (Some(rest), Some(home)) => Ok(home.join(rest)),
            (Some(_), None) => {
                Err(Mistake::new(value, "`~` stands for the home folder, and `HOME` is not set"))
            }
            (None, _) => Ok(self.folder.join(text)),
        }
    }

    /// `{ name = { command = ["program", "argument"] } }`.
    fn providers(&self, value: &Value<'_>) -> Result<Providers, Mistake> {
        let table = value.get_ref().as_table().ok_or_else(|| Mistake::kind(value, "a table"))?;
        let mut commands = BTreeMap::new();
        for (name, provider) in table {
            let (span, name) = (name.span(), name.get_ref().as_ref());
            if !is_secret_name(name) || BUILT_IN_PROVIDERS.contains(&name) {
                let message = match BUILT_IN_PROVIDERS.contains(&name) {
                    true => format!("`{name}` is a provider of imgbuild's own"),
                    false => format!("`{name}` is not the name of a provider"),
                };
                return Err(Mistake { span, message });
            }
            commands.insert(name.to_owned(), Self::command(provider)?);
        }
        Ok(Providers { commands, location: self.location(&value.span()) })
    }

    fn command(provider: &Value<'_>) -> Result<Vec<String>, Mistake> {
        let table = provider.get_ref().as_table().ok_or_else(|| Mistake::kind(provider, "a table"))?;
        if let Some(other) = table.keys().find(|key| key.get_ref() != "command") {
            return Err(Mistake {
                span: other.span(),
                message: format!("a provider has no `{}`, only a `command`", other.get_ref()),
            });
        }
        let command =
            table.get("command").ok_or_else(|| Mistake::new(provider, "a provider has a `command`"))?;
        let words = command.get_ref().as_array().ok_or_else(|| Mistake::kind(command, "a list of texts"))?;
        let words: Vec<String> = words
            .iter()
            .map(|word| {
                word.get_ref().as_str().map(str::to_owned).ok_or_else(|| Mistake::kind(word, "a text"))
            })
            .collect::<Result<_, _>>()?;
        match words.first() {
            Some(program) if !program.is_empty() => Ok(words),
            _ => Err(Mistake::new(command, "the command is empty")),
        }
    }

    fn address(&self, value: &Value<'_>) -> Result<String, Mistake> {
        mirror_address(&self.text(value)?).map_err(|reason| Mistake::new(value, reason))
    }

    fn proxy(&self, value: &Value<'_>) -> Result<String, Mistake> {
        proxy_address(&self.text(value)?).map_err(|reason| Mistake::new(value, reason))
    }

    fn span(&self, value: &Value<'_>) -> Result<Duration, Mistake> {
        let Age(span) = self.parsed(value)?;
        if span.is_zero() { Err(Mistake::new(value, "it is zero")) } else { Ok(span) }
    }

    #[expect(clippy::unused_self, reason = "one shape for all readers of values")]
    fn number(&self, value: &Value<'_>) -> Result<NonZero<usize>, Mistake> {
        let Some(integer) = value.get_ref().as_integer() else {
            return Err(Mistake::kind(value, "a number"));
        };
        usize::from_str_radix(integer.as_str(), integer.radix())
            .ok()
            .and_then(NonZero::new)
            .ok_or_else(|| Mistake::new(value, format!("`{integer}` is not a number from 1 on")))
    }
}

struct Mistake {
    span: Range<usize>,
    message: String,
}

impl Mistake {
    fn new(value: &Value<'_>, message: impl Into<String>) -> Self {
        Self { span: value.span(), message: message.into() }
    }

    fn kind(value: &Value<'_>, wanted: &str) -> Self {
        Self::new(value, format!("{wanted} is needed here, not {}", article(value.get_ref().type_str())))
    }
}

fn article(noun: &str) -> String {
    let article = if noun.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" };
    format!("{article} {noun}")
}

fn listed(names: impl Iterator<Item = String>) -> String {
    names.map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}
