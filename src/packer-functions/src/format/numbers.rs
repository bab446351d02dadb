//! Numbers as `format` writes them: exactly, at any precision.

use imgbuild_hcl::value::Number;

use super::verb::Verb;

/// Decimal digits without sign, and where in them the point is, counted from the left.
struct Digits {
    digits: Vec<u8>,
    point: i64,
}

impl Digits {
    /// The fewest that read back as the same number.
    fn shortest(number: &Number) -> Self {
        let text = number.abs().to_string();
        let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
        let all = [whole, fraction].concat();
        let significant = all.trim_start_matches('0');
        let point = whole.len() as i64 - (all.len() - significant.len()) as i64;
        Self::trimmed(significant, point)
    }

    /// All of them.
    fn exact(number: &Number) -> Self {
        let Some((mantissa, exponent)) = number.parts() else { return Self::trimmed("", 0) };
        let places = u32::try_from(exponent.min(0).unsigned_abs()).unwrap_or(u32::MAX);
        let scaled = if exponent >= 0 {
            mantissa << exponent
        } else {
            mantissa * num_bigint::BigUint::from(5u32).pow(places)
        };
        let digits = scaled.to_string();
        let point = digits.len() as i64 - i64::from(places);
        Self::trimmed(&digits, point)
    }

    fn trimmed(digits: &str, point: i64) -> Self {
        let digits = digits.trim_end_matches('0').as_bytes().to_vec();
        let point = if digits.is_empty() { 0 } else { point };
        Self { digits, point }
    }

    /// At most `count` digits, rounded to nearest, from the middle to an even one.
    fn rounded(mut self, count: i64) -> Self {
        let Ok(count) = usize::try_from(count) else { return Self { digits: Vec::new(), point: 0 } };
        if count >= self.digits.len() {
            return self;
        }
        let middle = self.digits[count] == b'5' && count + 1 == self.digits.len();
        let up = if middle {
            count > 0 && (self.digits[count - 1] - b'0') % 2 == 1
        } else {
            self.digits[count] >= b'5'
        };
        self.digits.truncate(count);
        if up {
            while self.digits.last() == Some(&b'9') {
                self.digits.pop();
            }
            match self.digits.last_mut() {
                Some(last) => *last += 1,
                None => {
                    self.digits.push(b'1');
                    self.point += 1;
                }
            }
        }
        while self.digits.last() == Some(&b'0') {
            self.digits.pop();
        }
        if self.digits.is_empty() {
            self.point = 0;
        }
        self
    }

    fn digit(&self, index: i64) -> char {
        let digit = usize::try_from(index).ok().and_then(|index| self.digits.get(index));
        char::from(*digit.unwrap_or(&b'0'))
    }

    /// `123.450`
    fn plain(&self, places: i64) -> String {
        let mut text: String = (0..self.point).map(|index| self.digit(index)).collect();
        if self.point <= 0 {
            text.push('0');
        }
        if places > 0 {
            text.push('.');
            text.extend((0..places).map(|place| self.digit(self.point + place)));
        }
        text
    }

    /// `1.2345e+02`
    fn scientific(&self, places: i64, letter: char) -> String {
        let mut text = self.digit(0).to_string();
        if places > 0 {
            text.push('.');
            text.extend((1..=places).map(|place| self.digit(place)));
        }
        let exponent = if self.digits.is_empty() { 0 } else { self.point - 1 };
        let sign = if exponent < 0 { '-' } else { '+' };
        text.push_str(&format!("{letter}{sign}{:02}", exponent.abs()));
        text
    }

    /// Whichever of both fits, for a precision of significant digits or the fewest.
    fn general(&self, precision: Option<i64>, letter: char) -> String {
        let count = self.digits.len() as i64;
        let limit = match precision {
            None => 6,
            Some(precision) if precision > count && count >= self.point => count,
            Some(precision) => precision,
        };
        let exponent = self.point - 1;
        if exponent < -4 || exponent >= limit {
            self.scientific(precision.unwrap_or(count).min(count) - 1, letter)
        } else {
            let precision = precision.unwrap_or(count);
            let precision = if precision > self.point { count } else { precision };
            self.plain((precision - self.point).max(0))
        }
    }
}

fn infinite(number: &Number) -> Option<&'static str> {
    number.is_infinite().then(|| if number.is_negative() { "-Inf" } else { "+Inf" })
}

/// What `%v` writes: `1e+06`, `0.5`.
pub(super) fn shortest(number: &Number) -> String {
    if let Some(text) = infinite(number) {
        return text.to_owned();
    }
    let sign = if number.is_negative() { "-" } else { "" };
    format!("{sign}{}", Digits::shortest(number).general(None, 'e'))
}

/// What a verb of numbers writes; `None` if it needs a whole number and this is none.
pub(super) fn written(verb: &Verb<'_>, number: &Number) -> Option<String> {
    match verb.mode {
        'b' | 'd' | 'o' | 'x' | 'X' => whole(verb, number),
        _ => Some(fractional(verb, number)),
    }
}

fn sign(verb: &Verb<'_>, negative: bool) -> &'static str {
    match (negative, verb.plus, verb.space) {
        (true, ..) => "-",
        (_, true, _) => "+",
        (_, _, true) => " ",
        _ => "",
    }
}

fn whole(verb: &Verb<'_>, number: &Number) -> Option<String> {
    let value = number.to_bigint()?;
    let (radix, prefix) = match verb.mode {
        'b' => (2, "0b"),
        'o' => (8, "0"),
        'x' => (16, "0x"),
        'X' => (16, "0X"),
        _ => (10, ""),
    };
    let mut digits = value.magnitude().to_str_radix(radix);
    if verb.mode == 'X' {
        digits.make_ascii_uppercase();
    }
    if digits == "0" && verb.precision == Some(0) {
        return Some(String::new());
    }
    let start = format!(
        "{}{}",
        sign(verb, number.is_negative() && digits != "0"),
        if verb.sharp { prefix } else { "" }
    );
    let zeros = verb.precision.unwrap_or(0).saturating_sub(digits.len());
    let missing = verb.width.unwrap_or(0).saturating_sub(start.len() + zeros + digits.len());
    let (left, zeros, right) = match () {
        () if verb.minus => (0, zeros, missing),
        () if verb.zero && verb.precision.is_none() => (0, missing, 0),
        () => (missing, zeros, 0),
    };
    Some(format!("{}{start}{}{digits}{}", " ".repeat(left), "0".repeat(zeros), " ".repeat(right)))
}

fn fractional(verb: &Verb<'_>, number: &Number) -> String {
    let precision = verb.precision.map(|precision| precision as i64);
    let (sign, body) = match infinite(number) {
        Some("+Inf") => (if verb.space { " " } else { "+" }, "Inf".to_owned()),
        Some(_) => ("-", "Inf".to_owned()),
        None => (sign(verb, number.is_negative()), finite(verb.mode, precision, number)),
    };
    let missing = verb.width.unwrap_or(0).saturating_sub(sign.len() + body.len());
    if verb.zero && !number.is_infinite() {
        format!("{sign}{}{body}", "0".repeat(missing))
    } else if verb.minus {
        format!("{sign}{body}{}", " ".repeat(missing))
    } else {
        format!("{}{sign}{body}", " ".repeat(missing))
    }
}

fn finite(mode: char, precision: Option<i64>, number: &Number) -> String {
    let places = precision.unwrap_or(6);
    match mode {
        'f' => {
            let digits = Digits::exact(number);
            let count = digits.point + places;
            digits.rounded(count).plain(places)
        }
        'e' | 'E' => Digits::exact(number).rounded(places + 1).scientific(places, mode),
        _ => {
            let letter = if mode == 'g' { 'e' } else { 'E' };
            match precision.map(|precision| precision.max(1)) {
                None => Digits::shortest(number).general(None, letter),
                Some(precision) => Digits::exact(number).rounded(precision).general(Some(precision), letter),
            }
        }
    }
}
