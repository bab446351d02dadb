//! Texts into other forms and back: base64, gzip, URL, CSV, JSON, character encodings.

mod csv;
mod pages;
mod text;

use std::io::Write;

use base64::engine::{GeneralPurpose, GeneralPurposeConfig};
use base64::{DecodeError, Engine, alphabet};
use flate2::{Compression, GzBuilder};
use imgbuild_hcl::eval::{Arguments, CallError, Function, Functions};
use imgbuild_hcl::value::{Type, Value, from_json, to_json};

use crate::{Returned, any, wrong};

/// Base64 as Go's `encoding/base64` takes it: padded, whatever the last bits are.
pub(crate) const STANDARD: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true),
);

/// Base64 may be broken into lines.
pub(crate) fn unbroken(text: &str) -> String {
    text.chars().filter(|c| !matches!(c, '\r' | '\n')).collect()
}

pub(crate) fn add(functions: &mut Functions) {
    let of_text =
        |description| Function::new(description).parameter(crate::text("str")).returns(Type::String);
    functions.add(
        "base64encode",
        of_text("The text in base64.").runs(|a| Ok(Value::string(STANDARD.encode(a.str(0))))),
    );
    functions.add("base64decode", of_text("The text that base64 stands for.").runs(base64decode));
    functions.add("base64gzip", of_text("The text, compressed with gzip, in base64.").runs(base64gzip));
    functions.add(
        "urlencode",
        of_text("The text as it is written in the query of a URL.")
            .runs(|a| Ok(Value::string(urlencode(a.str(0))))),
    );
    let decodes = |description| Function::new(description).parameter(crate::text("str"));
    functions
        .add("csvdecode", decodes("A table in CSV as a list of objects.").runs(|a| csv::decode(a.str(0))));
    let jsondecode = decodes("The value that JSON stands for.")
        .runs(|a| from_json(a.str(0)).map_err(|error| wrong(0, error.to_string())));
    functions.add("jsondecode", jsondecode);
    let jsonencode = Function::new("A value in JSON.")
        .parameter(any("val").allow_null().allow_dynamic().wholly_known())
        .returns(Type::String)
        .runs(|a| to_json(&a.get(0)).map(Value::string).map_err(|error| wrong(0, error.to_string())));
    functions.add("jsonencode", jsonencode);
    let with_encoding = |description, name| {
        Function::new(description)
            .parameter(crate::text(name))
            .parameter(crate::text("encoding"))
            .returns(Type::String)
    };
    functions.add(
        "textencodebase64",
        with_encoding("The text in a character encoding, in base64.", "string").runs(text::encode),
    );
    functions.add(
        "textdecodebase64",
        with_encoding("The text that base64 in a character encoding stands for.", "source")
            .runs(text::decode),
    );
}

/// The bytes that the first argument stands for in base64.
pub(crate) fn base64(arguments: &Arguments<'_>) -> Result<Vec<u8>, CallError> {
    let text = unbroken(arguments.str(0));
    STANDARD.decode(&text).map_err(|error| {
        let reason = match error {
            DecodeError::InvalidByte(at, _) | DecodeError::InvalidLastSymbol(at, _) => {
                let found = text.get(at..).and_then(|rest| rest.chars().next()).unwrap_or_default();
                format!("`{found}` at {at} has no place in it")
            }
            DecodeError::InvalidLength(_) | DecodeError::InvalidPadding => {
                "its length is no multiple of 4; `=` at the end fills it up".to_owned()
            }
        };
        wrong(0, format!("it is not base64: {reason}"))
    })
}

fn base64decode(arguments: &Arguments<'_>) -> Returned {
    let text = String::from_utf8(base64(arguments)?)
        .map_err(|_| wrong(0, "what it decodes to is not text in UTF-8"))?;
    Ok(Value::string(text))
}

/// The stream has no name and no time, so that equal texts give equal results. Those of Packer hold the same text but
/// differ in their bytes.
fn base64gzip(arguments: &Arguments<'_>) -> Returned {
    let failed = |error: std::io::Error| CallError::new(error.to_string());
    let mut encoder = GzBuilder::new().operating_system(255).write(Vec::new(), Compression::default());
    encoder.write_all(arguments.str(0).as_bytes()).map_err(failed)?;
    Ok(Value::string(STANDARD.encode(encoder.finish().map_err(failed)?)))
}

fn urlencode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(char::from(byte)),
            b' ' => out.push('+'),
            byte => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}
