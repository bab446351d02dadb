//! Paths into JSON, the part of gjson's language that checks use: `a.b`, `a.0`, `a.#`, `a.#.b`, `@this`, `\.` for a dot.

use crate::datum::Datum;

/// What stands at a path.
///
/// # Errors
/// If nothing does, or the path uses what is not supported.
pub(crate) fn get(value: &Datum, path: &str) -> Result<Datum, String> {
    let parts = parts(path)?;
    at(value, &parts).ok_or_else(|| format!("nothing is at `{path}`"))
}

fn parts(path: &str) -> Result<Vec<String>, String> {
    let mut parts = vec![String::new()];
    let mut letters = path.chars();
    while let Some(letter) = letters.next() {
        let last = parts.len() - 1;
        match letter {
            '\\' => parts[last].extend(letters.next()),
            '.' | '|' => parts.push(String::new()),
            '*' | '?' | '{' | '[' | '(' | '!' => {
                return Err(format!("`{letter}` in the path `{path}` is not supported")
                    + "; keys, numbers, `#` and `@this` are");
            }
            letter => parts[last].push(letter),
        }
    }
    match parts.iter().find(|part| part.starts_with('@') && *part != "@this") {
        Some(modifier) => Err(format!("`{modifier}` in the path `{path}` is not supported")),
        None => Ok(parts),
    }
}

fn at(value: &Datum, parts: &[String]) -> Option<Datum> {
    let Some((first, rest)) = parts.split_first() else { return Some(value.clone()) };
    match (value, first.as_str()) {
        (_, "@this") => at(value, rest),
        (Datum::List(items), "#") if rest.is_empty() => {
            Some(Datum::Int(i64::try_from(items.len()).unwrap_or(i64::MAX)))
        }
        (Datum::List(items), "#") => {
            Some(Datum::List(items.iter().filter_map(|item| at(item, rest)).collect()))
        }
        (Datum::List(items), place) => at(items.get(place.parse::<usize>().ok()?)?, rest),
        (Datum::Map(entries), key) => at(entries.get(key)?, rest),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lead_somewhere() {
        let value = serde_json::json!({"a": {"b": [1, {"c": "d"}]}, "x.y": true, "n": null});
        let value = Datum::from_json(&value);
        for (path, expected) in [
            ("a.b.0", "1"),
            ("a.b.1.c", "\"d\""),
            ("a.b.#", "2"),
            ("a.b.#.c", "[\"d\"]"),
            ("x\\.y", "true"),
            ("n", "null"),
            ("@this.a.b.0", "1"),
        ] {
            assert_eq!(get(&value, path).unwrap().to_string(), expected, "{path}");
        }
        assert!(get(&value, "a.z").unwrap_err().contains("nothing is at"));
        assert!(get(&value, "a.b.#(c==d)").unwrap_err().contains("not supported"));
        assert!(get(&value, "@reverse").unwrap_err().contains("not supported"));
    }
}
