//! Debian version numbers and their order (Debian Policy 5.6.12). Not dependencies: those are in `relation`.

use std::cmp::Ordering;
use std::fmt;

use serde::{Deserialize, Serialize};

/// A version as written, `[epoch:]upstream[-revision]`, ordered as dpkg orders versions.
///
/// Two texts may be equal as versions (`1.0` and `0:1.0`); equality and order follow the versions, the text is kept.
#[derive(Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Version(String);

impl Version {
    /// Wraps a text; every text has a place in the order.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text as written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl PartialEq for Version {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Version {}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Version {
    fn cmp(&self, other: &Self) -> Ordering {
        compare(&self.0, &other.0)
    }
}

/// Compares two version texts as `dpkg --compare-versions` does.
#[must_use]
pub fn compare(a: &str, b: &str) -> Ordering {
    if a == b {
        return Ordering::Equal;
    }
    let (a_epoch, a_upstream, a_revision) = split(a);
    let (b_epoch, b_upstream, b_revision) = split(b);
    compare_numbers(a_epoch.as_bytes(), b_epoch.as_bytes())
        .then_with(|| compare_part(a_upstream.as_bytes(), b_upstream.as_bytes()))
        .then_with(|| compare_part(a_revision.as_bytes(), b_revision.as_bytes()))
}

/// Epoch, upstream version, revision; what is absent is empty, which compares like `0`.
fn split(version: &str) -> (&str, &str, &str) {
    let (epoch, rest) = version.split_once(':').unwrap_or(("", version));
    let (upstream, revision) = rest.rsplit_once('-').unwrap_or((rest, ""));
    (epoch, upstream, revision)
}

/// Where a byte stands in the order of non-digit parts: `~` before the end, letters before everything else.
fn weight(byte: Option<&u8>) -> i32 {
    match byte {
        None => 0,
        Some(b'~') => -1,
        Some(b) if b.is_ascii_digit() => 0,
        Some(b) if b.is_ascii_alphabetic() => i32::from(*b),
        Some(b) => i32::from(*b) + 256,
    }
}

fn compare_part(mut a: &[u8], mut b: &[u8]) -> Ordering {
    while !a.is_empty() || !b.is_empty() {
        while a.first().is_some_and(|c| !c.is_ascii_digit()) || b.first().is_some_and(|c| !c.is_ascii_digit())
        {
            match weight(a.first()).cmp(&weight(b.first())) {
                Ordering::Equal => {}
                unequal => return unequal,
            }
            a = a.get(1..).unwrap_or_default();
            b = b.get(1..).unwrap_or_default();
        }
        let (a_number, a_rest) = a.split_at(digits(a));
        let (b_number, b_rest) = b.split_at(digits(b));
        match compare_numbers(a_number, b_number) {
            Ordering::Equal => {}
            unequal => return unequal,
        }
        (a, b) = (a_rest, b_rest);
    }
    Ordering::Equal
}

fn digits(text: &[u8]) -> usize {
    text.iter().take_while(|b| b.is_ascii_digit()).count()
}

/// Compares decimal numbers of any length.
fn compare_numbers(a: &[u8], b: &[u8]) -> Ordering {
    let strip = |n: &[u8]| n.iter().take_while(|d| **d == b'0').count();
    let (a, b) = (&a[strip(a)..], &b[strip(b)..]);
    a.len().cmp(&b.len()).then_with(|| a.cmp(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_as_policy_says() {
        let ascending = [
            "0~~",
            "0~~a",
            "0~",
            "0",
            "0a",
            "0.1~rc1-1",
            "0.1-1~bpo1",
            "0.1-1",
            "0.1-1+b1",
            "0.1.1",
            "1.0~beta1~svn1245",
            "1.0~beta1",
            "1.0",
            "1.0-1",
            "1.0+dfsg",
            "1.9",
            "1.10",
            "1:0.1",
            "2:0~",
        ];
        for pair in ascending.windows(2) {
            assert_eq!(compare(pair[0], pair[1]), Ordering::Less, "{} < {}", pair[0], pair[1]);
            assert_eq!(compare(pair[1], pair[0]), Ordering::Greater, "{} > {}", pair[1], pair[0]);
        }
    }

    #[test]
    fn equal_versions_may_differ_in_text() {
        assert_eq!(Version::new("1.0"), Version::new("0:1.00-0"));
        assert_eq!(Version::new("01:1.2-01"), Version::new("1:1.2-1"));
    }
}
