//! JSON in the form of Go's `json.MarshalIndent` with two spaces, which files of Packer have.

use serde_json::Value;

/// Writes a value; no line end follows it.
pub(crate) fn to_string(value: &Value) -> String {
    let mut text = String::new();
    write(value, 0, &mut text);
    text
}

fn write(value: &Value, depth: usize, text: &mut String) {
    match value {
        Value::Null => text.push_str("null"),
        Value::Bool(value) => text.push_str(if *value { "true" } else { "false" }),
        Value::Number(number) => text.push_str(&number.to_string()),
        Value::String(string) => write_string(string, text),
        Value::Array(items) => {
            let items = items.iter().map(|item| (None, item));
            write_all(['[', ']'], items, depth, text);
        }
        Value::Object(fields) => {
            let fields = fields.iter().map(|(name, field)| (Some(name.as_str()), field));
            write_all(['{', '}'], fields, depth, text);
        }
    }
}

fn write_all<'a>(
    [open, close]: [char; 2],
    items: impl ExactSizeIterator<Item = (Option<&'a str>, &'a Value)>,
    depth: usize,
    text: &mut String,
) {
    text.push(open);
    let is_empty = items.len() == 0;
    for (index, (name, item)) in items.enumerate() {
        if index > 0 {
            text.push(',');
        }
        new_line(depth + 1, text);
        if let Some(name) = name {
            write_string(name, text);
            text.push_str(": ");
        }
        write(item, depth + 1, text);
    }
    if !is_empty {
        new_line(depth, text);
    }
    text.push(close);
}

fn new_line(depth: usize, text: &mut String) {
    text.push('\n');
    for _ in 0..depth {
        text.push_str("  ");
    }
}

fn write_string(string: &str, text: &mut String) {
    text.push('"');
    for character in string.chars() {
        match character {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\t' => text.push_str("\\t"),
            '\u{8}' => text.push_str("\\b"),
            '\u{c}' => text.push_str("\\f"),
            // Go keeps JSON safe inside of HTML and JavaScript.
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' | '\0'..'\u{20}' => {
                text.push_str(&format!("\\u{:04x}", u32::from(character)));
            }
            character => text.push(character),
        }
    }
    text.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_have_the_form_of_go() {
        let value = serde_json::json!({
            "b": [], "a": {}, "c": [1, {"x": null, "y": true}], "d": "<a href=\"x\">&\u{2028}\u{1}\u{7f}é\t",
        });
        assert_eq!(
            to_string(&value),
            r#"{
  "b": [],
  "a": {},
  "c": [
    1,
    {
      "x": null,
      "y": true
    }
  ],
  "d": "\u003ca href=\"x\"\u003e\u0026\u2028\u0001é\t"
}"#
            .replace("\\u0001é", "\\u0001\u{7f}é")
        );
    }
}
