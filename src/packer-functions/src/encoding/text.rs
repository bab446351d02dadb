//! Character encodings by their IANA names: `textencodebase64` and `textdecodebase64`.
//!
//! Most come from `encoding_rs`, which has those of the web. Where IANA means something else by a name (Latin-1, ASCII,
//! UTF-16), it is done here.

use base64::Engine;
use encoding_rs::Encoding;
use imgbuild_hcl::eval::{Arguments, CallError};
use imgbuild_hcl::value::Value;

use super::pages::Page;
use super::{STANDARD, base64};
use crate::{Returned, wrong};

enum Charset {
    Ascii,
    /// The upper half without the characters that Windows puts at 0x80 to 0x9f.
    Iso(&'static Encoding),
    Utf16 {
        big: bool,
        mark: bool,
    },
    Web(&'static Encoding),
    Page(Page),
}

fn charset(arguments: &Arguments<'_>) -> Result<Charset, CallError> {
    let name = arguments.str(1);
    let lower = name.to_ascii_lowercase();
    if let Some(page) = Page::named(&lower) {
        return Ok(Charset::Page(page));
    }
    Ok(match lower.as_str() {
        "us-ascii" | "ascii" | "us" | "iso-ir-6" | "ansi_x3.4-1968" | "ansi_x3.4-1986"
        | "iso_646.irv:1991" | "iso646-us" | "ibm367" | "cp367" | "csascii" => Charset::Ascii,
        "iso-8859-1" | "iso_8859-1" | "iso_8859-1:1987" | "iso-ir-100" | "latin1" | "l1" | "ibm819"
        | "cp819" | "csisolatin1" => Charset::Iso(encoding_rs::WINDOWS_1252),
        "iso-8859-9" | "iso_8859-9" | "iso_8859-9:1989" | "iso-ir-148" | "latin5" | "l5" | "csisolatin5" => {
            Charset::Iso(encoding_rs::WINDOWS_1254)
        }
        "utf-16" | "csutf16" => Charset::Utf16 { big: true, mark: true },
        "utf-16be" | "csutf16be" => Charset::Utf16 { big: true, mark: false },
        "utf-16le" | "csutf16le" => Charset::Utf16 { big: false, mark: false },
        _ => {
            let unknown = || {
                wrong(1, format!("`{name}` is no known encoding"))
                    .hint("use a name that IANA lists, for example `UTF-16LE`, `ISO-8859-1` or `Shift_JIS`")
            };
            let web = Encoding::for_label(name.as_bytes()).ok_or_else(unknown)?;
            if web == encoding_rs::REPLACEMENT || web == encoding_rs::X_USER_DEFINED {
                return Err(unknown());
            }
            Charset::Web(web)
        }
    })
}

/// The characters of Latin-1's kind stand where they do in a table of Windows, but those below 0xa0 for themselves.
fn iso_byte(table: &'static Encoding, c: char) -> Option<u8> {
    if let Ok(byte @ 0..=0x9f) = u8::try_from(u32::from(c)) {
        return Some(byte);
    }
    let mut buffer = [0; 4];
    let (bytes, _, failed) = table.encode(c.encode_utf8(&mut buffer));
    bytes.first().copied().filter(|byte| !failed && *byte >= 0xa0)
}

pub(super) fn encode(arguments: &Arguments<'_>) -> Returned {
    let text = arguments.str(0);
    let unfit = |c: char| wrong(0, format!("`{c}` has no place in the encoding `{}`", arguments.str(1)));
    let each = |byte: &dyn Fn(char) -> Option<u8>| -> Result<Vec<u8>, CallError> {
        text.chars().map(|c| byte(c).ok_or_else(|| unfit(c))).collect()
    };
    let bytes = match charset(arguments)? {
        Charset::Ascii => each(&|c| c.is_ascii().then_some(c as u8))?,
        Charset::Iso(table) => each(&|c| iso_byte(table, c))?,
        Charset::Page(page) => each(&|c| page.byte(c))?,
        Charset::Utf16 { big, mark } => {
            let units = mark.then_some(0xfeff).into_iter().chain(text.encode_utf16());
            units.flat_map(|unit| if big { unit.to_be_bytes() } else { unit.to_le_bytes() }).collect()
        }
        Charset::Web(table) => {
            let (bytes, _, failed) = table.encode(text);
            if failed {
                let mut buffer = [0; 4];
                let first = text.chars().find(|c| table.encode(c.encode_utf8(&mut buffer)).2);
                return Err(unfit(first.unwrap_or(char::REPLACEMENT_CHARACTER)));
            }
            bytes.into_owned()
        }
    };
    Ok(Value::string(STANDARD.encode(bytes)))
}

pub(super) fn decode(arguments: &Arguments<'_>) -> Returned {
    let bytes = base64(arguments)?;
    let invalid = || wrong(0, format!("what it decodes to is not text in `{}`", arguments.str(1)));
    let text = match charset(arguments)? {
        Charset::Ascii => bytes.is_ascii().then(|| bytes.iter().map(|byte| char::from(*byte)).collect()),
        Charset::Iso(table) => Some(
            bytes
                .iter()
                .flat_map(|byte| {
                    match byte {
                        0..=0x9f => char::from(*byte).to_string(),
                        byte => table.decode_without_bom_handling(&[*byte]).0.into_owned(),
                    }
                    .chars()
                    .collect::<Vec<_>>()
                })
                .collect(),
        ),
        Charset::Page(page) => bytes.iter().map(|byte| page.character(*byte)).collect(),
        Charset::Utf16 { big, mark } => from_utf16(&bytes, big, mark),
        Charset::Web(table) => {
            table.decode_without_bom_handling_and_without_replacement(&bytes).map(|text| text.into_owned())
        }
    };
    Ok(Value::string(text.ok_or_else(invalid)?))
}

fn from_utf16(bytes: &[u8], big: bool, mark: bool) -> Option<String> {
    if bytes.len() % 2 == 1 {
        return None;
    }
    let (bytes, big) = match bytes {
        [0xfe, 0xff, rest @ ..] if mark => (rest, true),
        [0xff, 0xfe, rest @ ..] if mark => (rest, false),
        _ => (bytes, big),
    };
    let unit = |pair: &[u8]| {
        let pair = [pair[0], pair[1]];
        if big { u16::from_be_bytes(pair) } else { u16::from_le_bytes(pair) }
    };
    let units: Vec<u16> = bytes.chunks(2).map(unit).collect();
    String::from_utf16(&units).ok()
}
