//! Numbers: binary floating point of up to 512 bits, rounded to nearest with ties to even, and their decimal text.
//!
//! A number remembers its precision as those of `cty` do: 512 bits when it was written in decimal, 64 when it came from
//! a machine integer, 53 when it came from an `f64`. A result has the larger precision of its operands. Unlike there,
//! exponents end at ±2^17, so that no short text can ask for gigabytes of digits.

use std::cmp::Ordering;
use std::fmt;

use num_bigint::{BigInt, BigUint, Sign};

/// The precision of a number written in decimal.
pub const PRECISION: u32 = 512;
/// The largest magnitude of a binary exponent.
const MAX_EXPONENT: i64 = 1 << 17;
/// The largest magnitude of a decimal exponent in a text.
const MAX_DECIMAL_EXPONENT: i64 = 39_000;

/// A number, or one of the infinities.
#[derive(Clone, Debug)]
pub struct Number {
    negative: bool,
    magnitude: Magnitude,
    precision: u32,
}

/// `mantissa * 2^exponent`, the mantissa odd or zero.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Magnitude {
    Finite { mantissa: BigUint, exponent: i64 },
    Infinite,
}

/// Why an operation has no result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NumberError {
    /// The text is no number.
    Syntax,
    /// The exponent is out of bounds.
    Range,
    /// A difference of infinities.
    InfinityMinusInfinity,
    /// Zero times infinity.
    ZeroTimesInfinity,
    /// Zero by zero, or infinity by infinity.
    ZeroByZero,
    /// A remainder of or by infinity.
    RemainderOfInfinity,
}

impl fmt::Display for NumberError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Syntax => "a number is required",
            Self::Range => "the number is too large or too close to zero",
            Self::InfinityMinusInfinity => "infinity cannot be subtracted from itself",
            Self::ZeroTimesInfinity => "zero cannot be multiplied by infinity",
            Self::ZeroByZero => "zero cannot be divided by zero, nor infinity by infinity",
            Self::RemainderOfInfinity => "there is no remainder of or by infinity",
        })
    }
}

impl std::error::Error for NumberError {}

impl Number {
    /// Positive infinity, as `1/0` gives it.
    #[must_use]
    pub fn infinity(negative: bool) -> Self {
        Self { negative, magnitude: Magnitude::Infinite, precision: PRECISION }
    }

    /// The number `mantissa * 2^exponent`, rounded to `precision` bits. `sticky` says that bits below were cut.
    fn rounded(negative: bool, mantissa: BigUint, exponent: i64, precision: u32, sticky: bool) -> Self {
        let (mut mantissa, mut exponent) = (mantissa, exponent);
        let excess = mantissa.bits().saturating_sub(u64::from(precision));
        if excess > 0 {
            let half = mantissa.bit(excess - 1);
            let below = sticky || mantissa.trailing_zeros().is_some_and(|zeros| zeros < excess - 1);
            mantissa >>= excess;
            exponent += excess as i64;
            if half && (below || mantissa.bit(0)) {
                mantissa += 1u32;
            }
        }
        match mantissa.trailing_zeros() {
            None => exponent = 0,
            Some(0) => {}
            Some(zeros) => {
                mantissa >>= zeros;
                exponent += zeros as i64;
            }
        }
        let top = exponent.saturating_add(mantissa.bits() as i64);
        let magnitude = if mantissa.bits() > 0 && top > MAX_EXPONENT {
            Magnitude::Infinite
        } else if top < -MAX_EXPONENT {
            Magnitude::Finite { mantissa: BigUint::ZERO, exponent: 0 }
        } else {
            Magnitude::Finite { mantissa, exponent }
        };
        Self { negative, magnitude, precision }
    }

    /// Reads decimal text: an optional sign, digits with an optional point, an optional exponent (`e` of ten, `p` of
    /// two), or `Inf`.
    pub fn parse(text: &str) -> Result<Self, NumberError> {
        let (negative, rest) = match text.as_bytes().first() {
            Some(b'-') => (true, &text[1..]),
            Some(b'+') => (false, &text[1..]),
            _ => (false, text),
        };
        if rest == "Inf" || rest == "inf" {
            return Ok(Self::infinity(negative));
        }
        let end = rest.find(['e', 'E', 'p', 'P']).unwrap_or(rest.len());
        let (digits, exponent) = rest.split_at(end);
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let all: String = [whole, fraction].concat();
        if all.is_empty() || !all.bytes().all(|b| b.is_ascii_digit()) {
            return Err(NumberError::Syntax);
        }
        let (mut ten, mut two) = (-(fraction.len() as i64), 0);
        if let Some(letter) = exponent.chars().next() {
            let value = exponent[1..].strip_prefix('+').unwrap_or(&exponent[1..]);
            let bare = value.strip_prefix('-').unwrap_or(value);
            if bare.is_empty() || !bare.bytes().all(|b| b.is_ascii_digit()) {
                return Err(NumberError::Syntax);
            }
            let value: i64 = value.parse().map_err(|_| NumberError::Range)?;
            if letter.eq_ignore_ascii_case(&'e') { ten = ten.saturating_add(value) } else { two = value }
        }
        let size = all.len() as i64;
        if size > MAX_DECIMAL_EXPONENT {
            return Err(NumberError::Range);
        }
        let mantissa: BigUint = all.parse().map_err(|_| NumberError::Syntax)?;
        if mantissa == BigUint::ZERO {
            return Ok(Self::rounded(negative, mantissa, 0, PRECISION, false));
        }
        if ten.saturating_add(size).unsigned_abs() > MAX_DECIMAL_EXPONENT.unsigned_abs()
            || two.unsigned_abs() > MAX_EXPONENT.unsigned_abs()
        {
            return Err(NumberError::Range);
        }
        let power = BigUint::from(5u32).pow(ten.unsigned_abs() as u32);
        let exponent = ten + two;
        Ok(if ten >= 0 {
            Self::rounded(negative, mantissa * power, exponent, PRECISION, false)
        } else {
            Self::quotient(negative, mantissa, power, exponent, PRECISION)
        })
    }

    /// `numerator / denominator * 2^exponent`, rounded once.
    fn quotient(
        negative: bool,
        numerator: BigUint,
        denominator: BigUint,
        exponent: i64,
        precision: u32,
    ) -> Self {
        let shift = (i64::from(precision) + 2 + denominator.bits() as i64 - numerator.bits() as i64).max(0);
        let numerator = numerator << shift;
        let quotient = &numerator / &denominator;
        let sticky = &quotient * &denominator != numerator;
        Self::rounded(negative, quotient, exponent - shift, precision, sticky)
    }

    /// The nearest number to an `f64`; `None` for a NaN.
    #[must_use]
    pub fn from_f64(value: f64) -> Option<Self> {
        if value.is_nan() {
            return None;
        }
        if value.is_infinite() {
            return Some(Self::infinity(value.is_sign_negative()));
        }
        let bits = value.to_bits();
        let field = ((bits >> 52) & 0x7ff) as i64;
        let fraction = bits & ((1 << 52) - 1);
        let (mantissa, exponent) =
            if field == 0 { (fraction, -1074) } else { (fraction | (1 << 52), field - 1075) };
        Some(Self::rounded(value.is_sign_negative(), mantissa.into(), exponent, 53, false))
    }

    /// A whole number of any size, at full precision.
    #[must_use]
    pub fn from_bigint(value: &BigInt) -> Self {
        Self::rounded(value.sign() == Sign::Minus, value.magnitude().clone(), 0, PRECISION, false)
    }

    /// The nearest `f64`.
    #[must_use]
    pub fn to_f64(&self) -> f64 {
        let Magnitude::Finite { mantissa, exponent } = &self.magnitude else {
            return if self.negative { f64::NEG_INFINITY } else { f64::INFINITY };
        };
        let magnitude = if mantissa.bits() <= 53 && exponent.abs() < 900 {
            u64::try_from(mantissa).unwrap_or(0) as f64 * 2f64.powi(*exponent as i32)
        } else {
            self.abs().to_string().parse().unwrap_or(f64::INFINITY)
        };
        if self.negative { -magnitude } else { magnitude }
    }

    /// The whole number, if it is one and fits.
    #[must_use]
    pub fn to_i64(&self) -> Option<i64> {
        i64::try_from(self.to_bigint()?).ok()
    }

    /// The whole number, if it is one.
    #[must_use]
    pub fn to_bigint(&self) -> Option<BigInt> {
        match &self.magnitude {
            Magnitude::Finite { mantissa, exponent } if *exponent >= 0 => {
                let sign = if self.negative { Sign::Minus } else { Sign::Plus };
                Some(BigInt::from_biguint(sign, mantissa.clone() << *exponent))
            }
            _ => None,
        }
    }

    /// Its magnitude as `mantissa * 2^exponent`, with an odd mantissa or zero; `None` for an infinity.
    #[must_use]
    pub fn parts(&self) -> Option<(&BigUint, i64)> {
        match &self.magnitude {
            Magnitude::Finite { mantissa, exponent } => Some((mantissa, *exponent)),
            Magnitude::Infinite => None,
        }
    }

    /// Whether it is finite and has no fraction.
    #[must_use]
    pub fn is_integer(&self) -> bool {
        matches!(&self.magnitude, Magnitude::Finite { exponent, .. } if *exponent >= 0)
    }

    /// Whether it is zero, of either sign.
    #[must_use]
    pub fn is_zero(&self) -> bool {
        matches!(&self.magnitude, Magnitude::Finite { mantissa, .. } if *mantissa == BigUint::ZERO)
    }

    /// Whether it is an infinity.
    #[must_use]
    pub fn is_infinite(&self) -> bool {
        self.magnitude == Magnitude::Infinite
    }

    /// Whether its sign is minus; `-0` has one.
    #[must_use]
    pub fn is_negative(&self) -> bool {
        self.negative
    }

    /// Without its sign.
    #[must_use]
    pub fn abs(&self) -> Self {
        Self { negative: false, ..self.clone() }
    }

    /// With the other sign.
    #[must_use]
    pub fn neg(&self) -> Self {
        Self { negative: !self.negative, ..self.clone() }
    }

    /// The whole number towards zero, which has no sign if it is zero; infinities stay.
    #[must_use]
    pub fn trunc(&self) -> Self {
        let whole = match &self.magnitude {
            Magnitude::Finite { mantissa, exponent } if *exponent < 0 => {
                let whole = mantissa >> exponent.unsigned_abs();
                Self::rounded(self.negative, whole, 0, self.precision, false)
            }
            _ => self.clone(),
        };
        if whole.is_zero() { whole.abs() } else { whole }
    }

    /// The largest whole number that is not above.
    #[must_use]
    pub fn floor(&self) -> Self {
        let whole = self.trunc();
        if self.negative && whole != *self {
            whole.add_finite(&Self::from(-1), self.precision)
        } else {
            whole
        }
    }

    /// The smallest whole number that is not below.
    #[must_use]
    pub fn ceil(&self) -> Self {
        let whole = self.trunc();
        if !self.negative && whole != *self {
            whole.add_finite(&Self::from(1), self.precision)
        } else {
            whole
        }
    }

    /// The sum.
    pub fn add(&self, other: &Self) -> Result<Self, NumberError> {
        match (self.is_infinite(), other.is_infinite()) {
            (true, true) if self.negative != other.negative => Err(NumberError::InfinityMinusInfinity),
            (true, _) => Ok(self.clone()),
            (_, true) => Ok(other.clone()),
            _ => Ok(self.add_finite(other, self.precision.max(other.precision))),
        }
    }

    /// The sum, rounded to a precision.
    fn add_finite(&self, other: &Self, precision: u32) -> Self {
        let (Magnitude::Finite { mantissa: a, exponent: x }, Magnitude::Finite { mantissa: b, exponent: y }) =
            (&self.magnitude, &other.magnitude)
        else {
            return self.clone();
        };
        let exponent = *x.min(y);
        let (a, b) = (a.clone() << (x - exponent), b.clone() << (y - exponent));
        if self.negative == other.negative {
            return Self::rounded(self.negative, a + b, exponent, precision, false);
        }
        match a.cmp(&b) {
            Ordering::Equal => Self::rounded(false, BigUint::ZERO, 0, precision, false),
            Ordering::Greater => Self::rounded(self.negative, a - b, exponent, precision, false),
            Ordering::Less => Self::rounded(other.negative, b - a, exponent, precision, false),
        }
    }

    /// The difference.
    pub fn sub(&self, other: &Self) -> Result<Self, NumberError> {
        self.add(&other.neg())
    }

    /// The product; it is exact up to 512 bits.
    pub fn mul(&self, other: &Self) -> Result<Self, NumberError> {
        let negative = self.negative != other.negative;
        match (&self.magnitude, &other.magnitude) {
            (
                Magnitude::Finite { mantissa: a, exponent: x },
                Magnitude::Finite { mantissa: b, exponent: y },
            ) => {
                let mut product = Self::rounded(negative, a * b, x + y, PRECISION, false);
                product.precision = self.precision.max(other.precision).max(product.needed());
                Ok(product)
            }
            _ if self.is_zero() || other.is_zero() => Err(NumberError::ZeroTimesInfinity),
            _ => Ok(Self::infinity(negative)),
        }
    }

    fn needed(&self) -> u32 {
        match &self.magnitude {
            Magnitude::Finite { mantissa, .. } => mantissa.bits() as u32,
            Magnitude::Infinite => 0,
        }
    }

    /// The quotient. A number by zero is an infinity.
    pub fn div(&self, other: &Self) -> Result<Self, NumberError> {
        let negative = self.negative != other.negative;
        let precision = self.precision.max(other.precision);
        match (&self.magnitude, &other.magnitude) {
            (Magnitude::Infinite, Magnitude::Infinite) => Err(NumberError::ZeroByZero),
            (Magnitude::Infinite, _) => Ok(Self::infinity(negative)),
            (_, Magnitude::Infinite) => Ok(Self::rounded(negative, BigUint::ZERO, 0, precision, false)),
            _ if other.is_zero() && self.is_zero() => Err(NumberError::ZeroByZero),
            _ if other.is_zero() => Ok(Self::infinity(negative)),
            (
                Magnitude::Finite { mantissa: a, exponent: x },
                Magnitude::Finite { mantissa: b, exponent: y },
            ) => Ok(Self::quotient(negative, a.clone(), b.clone(), x - y, precision)),
        }
    }

    /// The remainder of the division towards zero; of a division by zero it is the dividend.
    pub fn rem(&self, other: &Self) -> Result<Self, NumberError> {
        if self.is_infinite() || other.is_infinite() {
            return Err(NumberError::RemainderOfInfinity);
        }
        if other.is_zero() {
            return Ok(self.clone());
        }
        // Each step is rounded to the precision of the dividend, as `cty` does it.
        let exactly = self.div(other)?.trunc();
        let round = |number: &Self| Self::rounded_to(number, self.precision);
        let multiple = round(&other.mul(&round(&exactly))?);
        Ok(self.add_finite(&multiple.neg(), self.precision))
    }

    fn rounded_to(number: &Self, precision: u32) -> Self {
        match &number.magnitude {
            Magnitude::Finite { mantissa, exponent } => {
                Self::rounded(number.negative, mantissa.clone(), *exponent, precision, false)
            }
            Magnitude::Infinite => number.clone(),
        }
    }

    /// The value is the same whatever the precision; infinities are ordered, and `-0` equals `0`.
    fn order(&self, other: &Self) -> Ordering {
        let sign = |number: &Self| match (number.is_zero(), number.negative) {
            (true, _) => 0,
            (_, true) => -1,
            _ => 1,
        };
        let order = sign(self).cmp(&sign(other));
        if order != Ordering::Equal || sign(self) == 0 {
            return order;
        }
        let magnitudes = match (&self.magnitude, &other.magnitude) {
            (Magnitude::Infinite, Magnitude::Infinite) => Ordering::Equal,
            (Magnitude::Infinite, _) => Ordering::Greater,
            (_, Magnitude::Infinite) => Ordering::Less,
            (
                Magnitude::Finite { mantissa: a, exponent: x },
                Magnitude::Finite { mantissa: b, exponent: y },
            ) => {
                let (top, other_top) = (x + a.bits() as i64, y + b.bits() as i64);
                top.cmp(&other_top).then_with(|| {
                    let exponent = *x.min(y);
                    (a << (x - exponent)).cmp(&(b << (y - exponent)))
                })
            }
        };
        if self.negative { magnitudes.reverse() } else { magnitudes }
    }

    /// The shortest decimal digits that read back as the same number at this precision, without sign; and the place of
    /// the decimal point in them, counted from the left.
    fn shortest(&self) -> (String, i64) {
        let Magnitude::Finite { mantissa, exponent } = &self.magnitude else {
            return (String::new(), 0);
        };
        if *exponent >= 0 && mantissa.bits() as i64 + exponent <= i64::from(self.precision) {
            let digits = (mantissa << *exponent).to_string();
            let point = digits.len() as i64;
            return (digits, point);
        }
        // One bit more than the precision, so that a step of one is half a unit in the last place.
        let shift = i64::from(self.precision) + 1 - mantissa.bits() as i64;
        let (middle, exponent) = (mantissa << shift, exponent - shift);
        let even = !middle.bit(1);
        let scale = if exponent >= 0 {
            BigUint::from(1u32) << exponent
        } else {
            BigUint::from(5u32).pow(exponent.unsigned_abs() as u32)
        };
        let (low, high) = ((&middle - 1u32) * &scale, (&middle + 1u32) * &scale);
        let middle = middle * scale;
        let length = middle.to_string().len();
        let point = length as i64 + exponent.min(0);
        let reaches = |down: &BigUint, up: &BigUint| {
            let below = if even { *down >= low } else { *down > low };
            (below || *down == middle, if even { *up <= high } else { *up < high })
        };
        // The unit only shrinks, and what is inside the interval stays inside: so the length is found by bisection.
        let candidates = |count: usize| {
            let unit = BigUint::from(10u32).pow((length - count) as u32);
            let down = &middle / &unit * &unit;
            let up = &down + &unit;
            (down, up, unit)
        };
        let (mut from, mut to) = (1, length);
        while from < to {
            let count = usize::midpoint(from, to);
            let (down, up, _) = candidates(count);
            let (below, above) = reaches(&down, &up);
            if below || above { to = count } else { from = count + 1 }
        }
        let (down, up, unit) = candidates(from);
        let chosen = match reaches(&down, &up) {
            (true, true) => {
                let twice: BigUint = (&middle - &down) * 2u32;
                let odd = (&down / &unit).bit(0);
                if twice > unit || (twice == unit && odd) { up } else { down }
            }
            (_, true) => up,
            _ => down,
        };
        let digits = chosen.to_string();
        let carried = digits.len() - length;
        (digits, point + carried as i64)
    }
}

impl fmt::Display for Number {
    /// Decimal digits without exponent, the fewest that read back as the same number.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_infinite() {
            return f.write_str(if self.negative { "-Inf" } else { "+Inf" });
        }
        if self.negative {
            f.write_str("-")?;
        }
        if self.is_zero() {
            return f.write_str("0");
        }
        let (digits, point) = self.shortest();
        let (whole, fraction) = if point <= 0 {
            ("0".to_owned(), format!("{}{digits}", "0".repeat(point.unsigned_abs() as usize)))
        } else if point as usize >= digits.len() {
            (format!("{digits}{}", "0".repeat(point as usize - digits.len())), String::new())
        } else {
            (digits[..point as usize].to_owned(), digits[point as usize..].to_owned())
        };
        let fraction = fraction.trim_end_matches('0');
        f.write_str(&whole)?;
        if fraction.is_empty() { Ok(()) } else { write!(f, ".{fraction}") }
    }
}

impl PartialEq for Number {
    fn eq(&self, other: &Self) -> bool {
        self.order(other) == Ordering::Equal
    }
}

impl Eq for Number {}

impl PartialOrd for Number {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Number {
    fn cmp(&self, other: &Self) -> Ordering {
        self.order(other)
    }
}

macro_rules! from_integer {
    ($($integer:ty)*) => {$(
        impl From<$integer> for Number {
            /// Exact, with a precision of 64 bits.
            fn from(value: $integer) -> Self {
                let value = i128::from(value);
                Self::rounded(value < 0, value.unsigned_abs().into(), 0, 64, false)
            }
        }
    )*};
}
from_integer!(i32 i64 u32 u64);
