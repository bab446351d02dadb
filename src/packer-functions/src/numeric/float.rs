//! Logarithm and power of `f64` to the last bit as Go has them.
//!
//! Those of the system's library are a little better, but then `floor(log(27, 3))` could differ.

use std::f64::consts::FRAC_1_SQRT_2;

/// A fraction from 0.5 up to 1, and the power of two to multiply it by. Neither zero nor infinite.
fn split(x: f64) -> (f64, i32) {
    const HIDDEN: i32 = 1022;
    if x.abs() < f64::MIN_POSITIVE {
        let (fraction, exponent) = split(x * 2f64.powi(54));
        return (fraction, exponent - 54);
    }
    let bits = x.to_bits();
    let exponent = ((bits >> 52) & 0x7ff) as i32 - HIDDEN;
    (f64::from_bits(bits & !(0x7ff << 52) | ((HIDDEN as u64) << 52)), exponent)
}

/// `fraction * 2^exponent`, in steps that stay in range.
fn scaled(mut fraction: f64, mut exponent: i32) -> f64 {
    while exponent > 1000 && fraction.is_finite() && fraction != 0.0 {
        fraction *= 2f64.powi(1000);
        exponent -= 1000;
    }
    while exponent < -1000 && fraction != 0.0 {
        fraction *= 2f64.powi(-1000);
        exponent += 1000;
    }
    fraction * 2f64.powi(exponent.clamp(-1000, 1000))
}

/// The natural logarithm: the number is brought near 1, where a polynomial (that of FDLIBM's `e_log.c`) is enough.
pub(super) fn ln(x: f64) -> f64 {
    const LN_2_HIGH: f64 = f64::from_bits(0x3fe6_2e42_fee0_0000);
    const LN_2_LOW: f64 = f64::from_bits(0x3dea_39ef_3579_3c76);
    const L: [f64; 7] = [
        f64::from_bits(0x3fe5_5555_5555_5593),
        f64::from_bits(0x3fd9_9999_9997_fa04),
        f64::from_bits(0x3fd2_4924_9422_9359),
        f64::from_bits(0x3fcc_71c5_1d8e_78af),
        f64::from_bits(0x3fc7_4664_96cb_03de),
        f64::from_bits(0x3fc3_9a09_d078_c69f),
        f64::from_bits(0x3fc2_f112_df3e_5244),
    ];
    if x.is_nan() || x <= 0.0 || x.is_infinite() {
        return x.ln();
    }
    let (mut fraction, mut exponent) = split(x);
    if fraction < FRAC_1_SQRT_2 {
        fraction *= 2.0;
        exponent -= 1;
    }
    let (f, k) = (fraction - 1.0, f64::from(exponent));
    let s = f / (2.0 + f);
    let s2 = s * s;
    let s4 = s2 * s2;
    let odd = s2 * (L[0] + s4 * (L[2] + s4 * (L[4] + s4 * L[6])));
    let even = s4 * (L[1] + s4 * (L[3] + s4 * L[5]));
    let half = 0.5 * f * f;
    k * LN_2_HIGH - ((half - (s * (half + (odd + even)) + k * LN_2_LOW)) - f)
}

/// A power: the whole part of the exponent by squaring, the rest by `e^(y ln x)`.
pub(super) fn pow(x: f64, y: f64) -> f64 {
    if y == 0.5 {
        return x.sqrt();
    }
    if y == -0.5 {
        return 1.0 / x.sqrt();
    }
    let (mut whole, mut rest) = (y.abs().trunc(), y.abs().fract());
    let plain = x == 0.0 || x == 1.0 || y == 0.0 || y == 1.0 || !x.is_finite() || !y.is_finite();
    if plain || (rest != 0.0 && x < 0.0) || whole >= 2f64.powi(63) {
        return x.powf(y);
    }
    let (mut result, mut power) = (1.0, 0i32);
    if rest != 0.0 {
        if rest > 0.5 {
            rest -= 1.0;
            whole += 1.0;
        }
        result = (rest * ln(x)).exp();
    }
    let (mut square, mut exponent) = split(x);
    let mut left = whole as u64;
    while left != 0 {
        if exponent.abs() > 1 << 12 {
            power += exponent;
            break;
        }
        if left & 1 == 1 {
            result *= square;
            power += exponent;
        }
        square *= square;
        exponent *= 2;
        if square < 0.5 {
            square += square;
            exponent -= 1;
        }
        left >>= 1;
    }
    if y < 0.0 { scaled(1.0 / result, -power) } else { scaled(result, power) }
}

#[cfg(test)]
mod tests {
    use std::f64::consts::LN_2;

    use super::{ln, pow, scaled, split};

    #[test]
    fn numbers_are_taken_apart_and_put_together() {
        for x in [1.0, -3.5, 1e300, 5e-324, f64::MIN_POSITIVE, f64::MAX] {
            let (fraction, exponent) = split(x);
            assert!((0.5..1.0).contains(&fraction.abs()), "{x}");
            assert_eq!(scaled(fraction, exponent), x);
        }
    }

    #[test]
    fn results_are_those_of_go() {
        assert_eq!(ln(2.0), LN_2);
        assert_eq!(ln(27.0) / ln(3.0), 3.000_000_000_000_000_4);
        assert_eq!(ln(1000.0) / ln(10.0), 2.999_999_999_999_999_6);
        assert_eq!(ln(0.0), f64::NEG_INFINITY);
        assert!(ln(-1.0).is_nan());
        assert_eq!(pow(2.0, 10.0), 1024.0);
        assert_eq!(pow(10.0, -2.0), 0.01);
        assert_eq!(pow(2.0, 1024.0), f64::INFINITY);
        assert_eq!(pow(2.0, -1080.0), 0.0);
        assert_eq!(pow(-2.0, 3.0), -8.0);
        assert!(pow(-2.0, 0.3).is_nan());
    }
}
