//! Scalar functions that the compiler can vectorise, in f32 and f64.

use std::iter::Sum;
use std::ops::{Add, AddAssign, Div, Mul, MulAssign, Neg, Sub, SubAssign};

/// The real numbers an executor computes with.
pub trait Real:
    candle_core::WithDType
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
    + AddAssign
    + SubAssign
    + MulAssign
    + Sum
    + PartialOrd
    + Send
    + Sync
    + 'static
{
    /// Zero.
    const ZERO: Self;
    /// Rounds to this type.
    fn from_real(x: f64) -> Self;
    /// Widens.
    fn to_real(self) -> f64;
    /// Square root.
    fn square_root(self) -> Self;
    /// `e^x`, to a few units in the last place.
    fn exponential(self) -> Self;
    /// The error function, to a few units in the last place.
    fn error_function(self) -> Self;
    /// The larger of two numbers.
    fn larger(self, other: Self) -> Self;
}

impl Real for f64 {
    const ZERO: Self = 0.0;
    fn from_real(x: f64) -> Self {
        x
    }
    fn to_real(self) -> f64 {
        self
    }
    fn square_root(self) -> Self {
        self.sqrt()
    }
    fn exponential(self) -> Self {
        self.exp()
    }
    fn error_function(self) -> Self {
        libm::erf(self)
    }
    fn larger(self, other: Self) -> Self {
        self.max(other)
    }
}

impl Real for f32 {
    const ZERO: Self = 0.0;
    #[inline(always)]
    fn from_real(x: f64) -> Self {
        x as f32
    }
    #[inline(always)]
    fn to_real(self) -> f64 {
        f64::from(self)
    }
    #[inline(always)]
    fn square_root(self) -> Self {
        self.sqrt()
    }
    #[inline(always)]
    fn exponential(self) -> Self {
        exp_f32(self)
    }
    #[inline(always)]
    fn error_function(self) -> Self {
        erf_f32(self)
    }
    #[inline(always)]
    fn larger(self, other: Self) -> Self {
        // Written out, as `f32::max` keeps the compiler from a single vector instruction.
        if self > other { self } else { other }
    }
}

/// `e^x` by reduction to `[-ln2/2, ln2/2]` and a polynomial, without branches or tables.
///
/// Inputs below -87.3 give 0 (no denormals), above 88.7 infinity; NaN stays NaN.
#[inline(always)]
#[must_use]
pub fn exp_f32(x: f32) -> f32 {
    const LOG2_E: f32 = std::f32::consts::LOG2_E;
    // ln 2 in two parts, the first exact in few bits, so that n·LN2_HI is exact.
    const LN2_HI: f32 = 0.693_359_4;
    const LN2_LO: f32 = -2.121_944_4e-4;
    // Adding and taking away 1.5·2²³ rounds to the nearest integer.
    const ROUND: f32 = 12_582_912.0;
    let clamped = if x > 88.8 { 88.8 } else { x };
    let clamped = if clamped < -87.4 { -87.4 } else { clamped };
    let shifted = clamped * LOG2_E + ROUND;
    let n = shifted - ROUND;
    // The low bits of the shifted number are n as an integer: no conversion, which would not vectorise.
    let exponent = (shifted.to_bits() as i32).wrapping_sub(ROUND.to_bits() as i32);
    let r = (clamped - n * LN2_HI) - n * LN2_LO;
    // Taylor series to r⁷: at |r| ≤ 0.347 the rest is below 6e-9 relative.
    let p = 1.0 / 5040.0;
    let p = p * r + 1.0 / 720.0;
    let p = p * r + 1.0 / 120.0;
    let p = p * r + 1.0 / 24.0;
    let p = p * r + 1.0 / 6.0;
    let p = p * r + 0.5;
    let p = p * r + 1.0;
    let p = p * r + 1.0;
    // 2ⁿ in two factors, as n may be 128 at the top.
    let half = exponent >> 1;
    let y = p * power_of_two(half) * power_of_two(exponent.wrapping_sub(half));
    let y = if x < -87.3 { 0.0 } else { y };
    let y = if x > 88.72 { f32::INFINITY } else { y };
    if x.is_nan() { x } else { y }
}

/// `2ⁿ` of a whole number between -126 and 127.
#[inline(always)]
fn power_of_two(n: i32) -> f32 {
    f32::from_bits((n.wrapping_add(127) as u32) << 23)
}

/// The error function: Taylor series below 1 in absolute value, and above it `1 − e^(−x²)·P(t)`.
#[inline(always)]
#[must_use]
pub fn erf_f32(x: f32) -> f32 {
    let a = x.abs();
    let small = x * poly(&ERF_SMALL, x * x);
    let t = 1.0 / (1.0 + ERF_T * a);
    let large = 1.0 - t * poly(&ERF_LARGE, t) * exp_f32(-a * a);
    let large = if x < 0.0 { -large } else { large };
    if a < 1.0 { small } else { large }
}

/// `erf(x)/x` in powers of `x²` on |x| < 1 (Chebyshev fit; see the test for its error).
const ERF_SMALL: [f32; 8] = [
    1.128379226e+00,
    -3.761263788e-01,
    1.128378287e-01,
    -2.686543763e-02,
    5.221053492e-03,
    -8.484396385e-04,
    1.126825373e-04,
    -9.673590284e-06,
];

/// `(1 − erf(x))·e^(x²)/t` in powers of `t = 1/(1 + ERF_T·x)` on 1 ≤ x ≤ 6 (Chebyshev fit).
const ERF_LARGE: [f32; 8] = [
    1.851226389e-01,
    1.798989028e-01,
    2.098284364e-01,
    1.612734981e-02,
    4.641050994e-01,
    -4.101840854e-01,
    4.944050312e-01,
    -1.392747313e-01,
];

const ERF_T: f32 = 0.3275911;

#[inline(always)]
fn poly<const N: usize>(coefficients: &[f32; N], x: f32) -> f32 {
    let mut sum = coefficients[N - 1];
    let mut i = N - 1;
    while i > 0 {
        i -= 1;
        sum = sum * x + coefficients[i];
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_accurate_over_its_range() {
        let mut x = -87.2f32;
        while x < 88.6 {
            let want = f64::from(x).exp();
            let err = (f64::from(exp_f32(x)) - want).abs() / want;
            assert!(err < 4e-7, "exp({x}): relative error {err:e}");
            x += 0.013_7;
        }
    }

    #[test]
    fn exp_of_extremes() {
        assert_eq!(exp_f32(-1e30), 0.0);
        assert_eq!(exp_f32(f32::NEG_INFINITY), 0.0);
        assert_eq!(exp_f32(f32::INFINITY), f32::INFINITY);
        assert_eq!(exp_f32(100.0), f32::INFINITY);
        assert_eq!(exp_f32(0.0), 1.0);
        assert!(exp_f32(f32::NAN).is_nan());
    }

    #[test]
    fn erf_is_accurate_everywhere() {
        let mut x = -6.0f32;
        while x < 6.0 {
            let want = libm::erf(f64::from(x));
            let err = (f64::from(erf_f32(x)) - want).abs();
            assert!(err < 2e-7, "erf({x}): error {err:e}");
            x += 0.000_91;
        }
        assert_eq!(erf_f32(f32::INFINITY), 1.0);
        assert_eq!(erf_f32(f32::NEG_INFINITY), -1.0);
        assert!(erf_f32(f32::NAN).is_nan());
    }

    #[test]
    fn erf_keeps_relative_accuracy_near_zero() {
        for x in [1e-30f32, 1e-8, 1e-4, 0.01] {
            let want = libm::erf(f64::from(x));
            assert!((f64::from(erf_f32(x)) / want - 1.0).abs() < 3e-7);
        }
    }
}
