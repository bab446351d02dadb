//! Which number a key has on the wire (X11: `keysymdef.h`), and which keys need shift on a keyboard of the United States, which is
//! what QEMU's VNC server has unless told otherwise.

/// A key's number, as VNC knows it (RFC 6143, 7.5.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeySymbol(pub u32);

/// Names in small letters.
const NAMES: [(&str, u32); 45] = [
    ("bs", 0xff08),
    ("del", 0xffff),
    ("down", 0xff54),
    ("end", 0xff57),
    ("enter", 0xff0d),
    ("esc", 0xff1b),
    ("f1", 0xffbe),
    ("f2", 0xffbf),
    ("f3", 0xffc0),
    ("f4", 0xffc1),
    ("f5", 0xffc2),
    ("f6", 0xffc3),
    ("f7", 0xffc4),
    ("f8", 0xffc5),
    ("f9", 0xffc6),
    ("f10", 0xffc7),
    ("f11", 0xffc8),
    ("f12", 0xffc9),
    ("home", 0xff50),
    ("insert", 0xff63),
    ("left", 0xff51),
    ("leftalt", 0xffe9),
    ("leftcommand", 0xffeb),
    ("leftctrl", 0xffe3),
    ("leftoption", 0xffe9),
    ("leftshift", 0xffe1),
    ("leftsuper", 0xffeb),
    ("menu", 0xff67),
    ("pagedown", 0xff56),
    ("pageup", 0xff55),
    ("return", 0xff0d),
    ("right", 0xff53),
    ("rightalt", 0xffea),
    ("rightcommand", 0xffec),
    ("rightctrl", 0xffe4),
    ("rightoption", 0xffea),
    ("rightshift", 0xffe2),
    ("rightsuper", 0xffec),
    ("spacebar", 0x20),
    ("tab", 0xff09),
    ("up", 0xff52),
    ("alt", 0xffe9),
    ("ctrl", 0xffe3),
    ("shift", 0xffe1),
    ("super", 0xffeb),
];

/// What is on the upper half of a key.
const SHIFTED: &str = "~!@#$%^&*()_+{}|:\"<>?";

impl KeySymbol {
    /// The left shift key.
    pub const LEFT_SHIFT: Self = Self(0xffe1);

    /// Whether it is one of the shift keys.
    pub fn is_shift(self) -> bool {
        matches!(self.0, 0xffe1 | 0xffe2)
    }

    /// The capital letter of a small one, and any other key as it is.
    #[must_use]
    pub fn capital(self) -> Self {
        match self.0 {
            letter @ 0x61..=0x7a => Self(letter - 0x20),
            other => Self(other),
        }
    }

    /// The key of a name, in any case.
    pub fn of_name(name: &str) -> Option<Self> {
        let lower = name.to_ascii_lowercase();
        NAMES.iter().find(|(one, _)| *one == lower).map(|(_, symbol)| Self(*symbol))
    }

    /// The key of a character, and whether shift is needed; `None` for a control character.
    pub fn of_character(character: char) -> Option<(Self, bool)> {
        if character.is_control() {
            return None;
        }
        let shift = character.is_ascii_uppercase() || SHIFTED.contains(character);
        let number = u32::from(character);
        // The first 256 are those of Latin-1.
        Some((Self(if number < 0x100 { number } else { 0x0100_0000 + number }), shift))
    }
}

/// A name that differs in one letter or in the order of two.
pub(super) fn similar(name: &str) -> Option<&'static str> {
    let lower = name.to_ascii_lowercase();
    let base = super::strip_end(&lower, "off").or_else(|| super::strip_end(&lower, "on")).unwrap_or(&lower);
    let close =
        |one: &&(&'static str, u32)| base.len() > 2 && distance(base.as_bytes(), one.0.as_bytes()) <= 1;
    NAMES.iter().find(close).map(|(one, _)| *one)
}

/// How many letters are other, too many, missing or changed places, from the ends inward: 0, 1 or more.
fn distance(one: &[u8], other: &[u8]) -> usize {
    let start = one.iter().zip(other).take_while(|(a, b)| a == b).count();
    let (one, other) = (&one[start..], &other[start..]);
    let end = one.iter().rev().zip(other.iter().rev()).take_while(|(a, b)| a == b).count();
    let (one, other) = (&one[..one.len() - end], &other[..other.len() - end]);
    match (one, other) {
        ([a, b], [c, d]) if a == d && b == c => 1,
        _ => one.len().max(other.len()),
    }
}
