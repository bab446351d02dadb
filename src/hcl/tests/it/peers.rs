//! `hcl-edit` as a peer: what it reads, we read too.

use imgbuild_hcl::syntax;

use crate::tables;

/// What it reads and HashiCorp's parser does not.
const ITS_OWN: [&str; 6] = [
    "a \"x\ny\" {\n}\n",
    "a \"x\ny\" {}\n",
    "a = \"x\r\ny\"\n",
    "a = <<EOT\nx\nEOT",
    "b {\na={l[0]=1}\nbcd = 1\n}\n",
    "b {\na=a.*.tags.*\nbcd = 1\n}\n",
];

#[test]
fn what_hcl_edit_reads_is_read() {
    let mut read = 0;
    let mut different = Vec::new();
    for kind in ["file", "body", "fmt"] {
        for text in tables::of_kind(kind) {
            let theirs = hcl_edit::parser::parse_body(text).is_ok();
            let ours = syntax::parse("x", text).into_result();
            read += usize::from(theirs);
            if theirs && ours.is_err() != ITS_OWN.contains(&text) {
                different.push(format!(
                    "{text:?}: {}",
                    ours.map_or_else(|errors| errors.to_string(), |_| "read".to_owned())
                ));
            }
        }
    }
    assert!(read > 300, "{read} texts are read");
    assert!(different.is_empty(), "{}", different.join("\n"));
}
