//! Floating point numbers as Go writes them.

/// No number has more digits than this that are not zero, before its point or after it.
const EXACT: usize = 1100;

/// `verb` is one of `b e E f F g G x X`; without a precision as many digits as are needed to read the number back.
pub(crate) fn format(value: f64, verb: char, precision: Option<usize>, sharp: bool) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let text = match verb {
        'e' | 'E' => scientific(value, precision),
        'f' | 'F' => match precision {
            Some(precision) => {
                let exact = precision.min(EXACT);
                let zeros = "0".repeat(precision - exact);
                format!("{value:.exact$}{zeros}")
            }
            None => format!("{value}"),
        },
        'b' => binary(value),
        'x' | 'X' => hexadecimal(value, precision),
        _ => general(value, precision),
    };
    let text = if sharp { with_point(text, verb, precision) } else { text };
    if verb.is_uppercase() && verb != 'F' { text.to_uppercase() } else { text }
}

/// `d.ddde±dd`
fn scientific(value: f64, precision: Option<usize>) -> String {
    let exact = precision.map(|precision| precision.min(EXACT));
    let zeros = "0".repeat(precision.unwrap_or(0) - exact.unwrap_or(0));
    let text = match exact {
        Some(exact) => format!("{value:.exact$e}"),
        None => format!("{value:e}"),
    };
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, digits) = match exponent.strip_prefix('-') {
        Some(digits) => ('-', digits),
        None => ('+', exponent),
    };
    format!("{mantissa}{zeros}e{sign}{digits:0>2}")
}

fn general(value: f64, precision: Option<usize>) -> String {
    let significant = precision.map(|precision| precision.max(1));
    let text = scientific(value, significant.map(|digits| digits - 1));
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let digits: String = mantissa.chars().filter(char::is_ascii_digit).collect();
    let digits = digits.trim_end_matches('0');
    let digits = if digits.is_empty() { "0" } else { digits };
    let count = i32::try_from(digits.len()).unwrap_or(i32::MAX);
    let sign = if mantissa.starts_with('-') { "-" } else { "" };
    let limit = match significant {
        None => 6,
        Some(wanted) => {
            let wanted = i32::try_from(wanted).unwrap_or(i32::MAX);
            if wanted > count && count > exponent { count } else { wanted }
        }
    };
    if exponent < -4 || exponent >= limit {
        let point = if digits.len() > 1 { "." } else { "" };
        let exponent_sign = if exponent < 0 { '-' } else { '+' };
        return format!("{sign}{}{point}{}e{exponent_sign}{:02}", &digits[..1], &digits[1..], exponent.abs());
    }
    if exponent < 0 {
        let zeros = "0".repeat(exponent.unsigned_abs() as usize - 1);
        return format!("{sign}0.{zeros}{digits}");
    }
    let whole = exponent as usize + 1;
    if digits.len() <= whole {
        return format!("{sign}{digits}{}", "0".repeat(whole - digits.len()));
    }
    format!("{sign}{}.{}", &digits[..whole], &digits[whole..])
}

/// The mantissa as an integer and the exponent of two.
fn parts(value: f64) -> (&'static str, u64, i64) {
    let bits = value.to_bits();
    let exponent = (bits >> 52 & 0x7ff) as i64;
    let fraction = bits & ((1 << 52) - 1);
    let sign = if value.is_sign_negative() { "-" } else { "" };
    if exponent == 0 { (sign, fraction, -1074) } else { (sign, fraction | 1 << 52, exponent - 1075) }
}

fn binary(value: f64) -> String {
    let (sign, mantissa, exponent) = parts(value);
    format!("{sign}{mantissa}p{exponent:+}")
}

/// `0x1.8p+00`
fn hexadecimal(value: f64, precision: Option<usize>) -> String {
    let (sign, mut mantissa, mut exponent) = parts(value);
    if mantissa == 0 {
        let zeros = precision.filter(|&count| count > 0).map(|count| format!(".{}", "0".repeat(count)));
        return format!("{sign}0x0{}p+00", zeros.unwrap_or_default());
    }
    let shift = mantissa.leading_zeros() - 3;
    mantissa <<= shift;
    exponent += 60 - i64::from(shift);
    if let Some(count) = precision.filter(|&count| count < 15) {
        let cut = 60 - 4 * count as u32;
        let (half, rest) = (1 << (cut - 1), mantissa & ((1 << cut) - 1));
        mantissa >>= cut;
        mantissa += u64::from(rest > half || rest == half && mantissa & 1 == 1);
        mantissa <<= cut;
        if mantissa >> 61 != 0 {
            mantissa >>= 1;
            exponent += 1;
        }
    }
    let digits = format!("{:015x}", mantissa & ((1 << 60) - 1));
    let digits = match precision {
        None => digits.trim_end_matches('0').to_owned(),
        Some(count) if count < digits.len() => digits[..count].to_owned(),
        Some(count) => digits.clone() + &"0".repeat(count - digits.len()),
    };
    let point = if digits.is_empty() { "" } else { "." };
    let exponent_sign = if exponent < 0 { '-' } else { '+' };
    format!("{sign}0x1{point}{digits}p{exponent_sign}{:02}", exponent.abs())
}

/// What `#` adds: a point always, and for `g` the zeros at the end.
fn with_point(text: String, verb: char, precision: Option<usize>) -> String {
    let (mantissa, exponent) = match text.find(['e', 'E']) {
        Some(at) => text.split_at(at),
        None => (text.as_str(), ""),
    };
    let mut mantissa = mantissa.to_owned();
    if !mantissa.contains('.') {
        mantissa.push('.');
    }
    if matches!(verb, 'g' | 'G') {
        let wanted = precision.unwrap_or(6);
        let shown = mantissa.trim_start_matches(['-', '0', '.']).chars().filter(char::is_ascii_digit).count();
        let shown = if shown == 0 { 1 } else { shown };
        mantissa.push_str(&"0".repeat(wanted.saturating_sub(shown)));
    }
    mantissa + exponent
}
