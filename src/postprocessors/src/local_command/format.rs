//! `env_var_format`: how a variable is written, in the form of Go's `Sprintf` with the name and the value.

use imgbuild_model::Diagnostic;

/// A format that writes a name and a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct EnvFormat(Vec<Piece>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Name,
    Value,
}

impl EnvFormat {
    /// # Errors
    ///
    /// If there is anything else than `%s`, `%v`, `%[1]s`, `%[2]s` and `%%`, or if the name or the value is written by
    /// none of them.
    pub(super) fn new(format: &str) -> Result<Self, Diagnostic> {
        let bad = || {
            Diagnostic::error(format!("`env_var_format` is `{format}`"))
                .hint("write `%s` twice, first for the name and then for the value, and `%%` for a `%`")
        };
        let mut pieces = Vec::new();
        let mut text = String::new();
        let mut next = 1;
        let mut rest = format;
        while let Some((before, after)) = rest.split_once('%') {
            text.push_str(before);
            if let Some(after) = after.strip_prefix('%') {
                text.push('%');
                rest = after;
                continue;
            }
            let (which, after) = match after.strip_prefix('[') {
                Some(after) => {
                    let (index, after) = after.split_once(']').ok_or_else(bad)?;
                    (index.parse().map_err(|_| bad())?, after)
                }
                None => (next, after),
            };
            rest = after.strip_prefix(['s', 'v']).ok_or_else(bad)?;
            pieces.push(Piece::Text(std::mem::take(&mut text)));
            pieces.push(match which {
                1 => Piece::Name,
                2 => Piece::Value,
                _ => return Err(bad()),
            });
            next = which + 1;
        }
        text.push_str(rest);
        pieces.push(Piece::Text(text));
        if !pieces.contains(&Piece::Name) || !pieces.contains(&Piece::Value) {
            return Err(bad());
        }
        Ok(Self(pieces))
    }

    pub(super) fn write(&self, name: &str, value: &str) -> String {
        let pieces = self.0.iter().map(|piece| match piece {
            Piece::Text(text) => text,
            Piece::Name => name,
            Piece::Value => value,
        });
        pieces.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_those_of_go() {
        for (format, written) in [
            ("%s='%s' ", "A='b' "),
            ("export %s=%v\n", "export A=b\n"),
            ("set %s=%s && ", "set A=b && "),
            ("%[2]s is %[1]s's %%", "b is A's %"),
            ("-e %[1]s -v %[2]s -e %[1]s", "-e A -v b -e A"),
        ] {
            assert_eq!(EnvFormat::new(format).unwrap().write("A", "b"), written);
        }
    }

    #[test]
    fn other_formats_are_refused() {
        for format in ["", "%s", "%s=%d", "%s=%s%s", "%[3]s", "%[x]s", "%[1", "%s=%"] {
            let error = EnvFormat::new(format).unwrap_err();
            assert_eq!(error.message, format!("`env_var_format` is `{format}`"));
            assert!(error.hint.unwrap().starts_with("write `%s` twice"));
        }
    }
}
