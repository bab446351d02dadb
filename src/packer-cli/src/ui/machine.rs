//! The lines for programs: `seconds,target,type,data…`, one an event.

/// A line with its end. The data must hold no secrets any more.
pub(crate) fn line(seconds: i64, target: &str, kind: &str, data: &[&str]) -> String {
    let data: Vec<String> = data.iter().map(|field| escaped(field)).collect();
    format!("{seconds},{target},{kind},{}\n", data.join(","))
}

/// A comma would begin the next field, and a line's end the next event.
fn escaped(field: &str) -> String {
    field.replace(',', "%!(PACKER_COMMA)").replace('\r', "\\r").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_escaped() {
        assert_eq!(line(7, "a.b", "error", &["x,y", "1\r\n2"]), "7,a.b,error,x%!(PACKER_COMMA)y,1\\r\\n2\n");
        assert_eq!(line(7, "", "version-commit", &[""]), "7,,version-commit,\n");
    }
}
