//! Paragraphs of control files, with every value kept byte for byte, because a dpkg database is written back from them.
//!
//! Not for package indexes, which are too large for owned paragraphs: see `index`.

/// One paragraph: fields in the order of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Paragraph {
    fields: Vec<(String, String)>,
}

impl Paragraph {
    /// The value of a field, whose name is compared without regard to case. Continuation lines keep their newline
    /// and indentation; the first line is trimmed.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// Sets a field, in place if it exists, at the end otherwise.
    pub fn set(&mut self, name: &str, value: impl Into<String>) {
        match self.fields.iter_mut().find(|(key, _)| key.eq_ignore_ascii_case(name)) {
            Some((_, old)) => *old = value.into(),
            None => self.fields.push((name.to_owned(), value.into())),
        }
    }

    /// Removes a field.
    pub fn remove(&mut self, name: &str) {
        self.fields.retain(|(key, _)| !key.eq_ignore_ascii_case(name));
    }

    /// All fields in order.
    pub fn fields(&self) -> impl Iterator<Item = (&str, &str)> {
        self.fields.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// Whether there is no field.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// Writes the paragraph without the empty line that ends it.
    pub fn write(&self, out: &mut String) {
        for (key, value) in &self.fields {
            out.push_str(key);
            out.push(':');
            if !value.is_empty() && !value.starts_with('\n') {
                out.push(' ');
            }
            out.push_str(value);
            out.push('\n');
        }
    }
}

/// A line that is neither a field, a continuation, a comment nor empty.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("line {line} is not a control field: `{text}`")]
pub struct ControlError {
    /// The line's number, from 1.
    pub line: usize,
    /// The line, shortened.
    pub text: String,
}

/// Splits a control file into paragraphs.
pub fn parse(text: &str) -> Result<Vec<Paragraph>, ControlError> {
    let mut paragraphs = Vec::new();
    let mut current = Paragraph::default();
    for (number, line) in text.split('\n').enumerate() {
        let line = line.strip_suffix('\r').unwrap_or(line);
        if line.trim().is_empty() {
            if !current.is_empty() {
                paragraphs.push(std::mem::take(&mut current));
            }
        } else if line.starts_with([' ', '\t']) {
            let Some((_, value)) = current.fields.last_mut() else {
                return Err(error(number, line));
            };
            value.push('\n');
            value.push_str(line);
        } else if line.starts_with('#') {
            // Comments are allowed in sources files; packages carry none.
        } else {
            let (key, value) = line.split_once(':').ok_or_else(|| error(number, line))?;
            current.fields.push((key.to_owned(), value.trim().to_owned()));
        }
    }
    if !current.is_empty() {
        paragraphs.push(current);
    }
    Ok(paragraphs)
}

fn error(index: usize, line: &str) -> ControlError {
    ControlError { line: index + 1, text: line.chars().take(60).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_values_exactly() {
        let text = "Package: a\nConffiles:\n /etc/a 123\n /etc/b 456\nDescription: short\n long\n .\n more\n\n\nPackage: b\n";
        let paragraphs = parse(text).unwrap();
        assert_eq!(paragraphs.len(), 2);
        assert_eq!(paragraphs[0].get("conffiles"), Some("\n /etc/a 123\n /etc/b 456"));
        let mut out = String::new();
        paragraphs[0].write(&mut out);
        assert_eq!(
            out,
            "Package: a\nConffiles:\n /etc/a 123\n /etc/b 456\nDescription: short\n long\n .\n more\n"
        );
    }

    #[test]
    fn names_the_bad_line() {
        let error = parse("Package: a\nnonsense\n").unwrap_err();
        assert_eq!(error.to_string(), "line 2 is not a control field: `nonsense`");
        assert_eq!(parse(" continued").unwrap_err().line, 1);
    }
}
