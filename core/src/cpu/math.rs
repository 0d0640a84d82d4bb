//! Scalar functions that the compiler can vectorise, in f32 and f64.
#![allow(clippy::excessive_precision, reason = "coefficients stand as they were fitted, to be compared")]

use std::iter::Sum;
use std::ops::{Add, AddAssign, Div, Mul, MulAssign, Neg, Sub, SubAssign};

use super::gemm::{Job, Mat};
use super::packed::{Kept, Packed};
use super::pool::{Pool, Shelf};

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
    /// `e^x` of an `x` of at most 0, to a few units in the last place; tiny instead of 0 far below.
    fn exponential_of_negative(self, series: &Series) -> Self;
    /// `ln(1 + x)` of an `x` between 0 and 1, to a few units in the last place of 1.
    fn ln_1p_of_unit(self) -> Self;
    /// `Φ(x)`, the share of a standard normal distribution below `x`, to a few units in the last place of 1.
    fn normal_distribution(self, series: &Series) -> Self;
    /// The larger of two numbers.
    fn larger(self, other: Self) -> Self;
    /// The smaller of two numbers.
    fn smaller(self, other: Self) -> Self;
    /// A matrix product by kernels of our own, with a bias in each row where nothing is accumulated; false
    /// where there are none for this type, this processor, or a bias.
    ///
    /// # Safety
    /// As `gemm::run_raw`, with factors and a bias that hold what the product reads.
    unsafe fn own_product(
        job: &Job<Self>, c: *mut Self, stride: usize, factors: [Mat<Self>; 2], bias: Option<&[Self]>,
    ) -> bool {
        let _ = (job, c, stride, factors, bias);
        false
    }
    /// The `k × n` right factor of products as this type's own kernel reads it; none where it has none.
    fn pack(b: Mat<Self>, k: usize, n: usize) -> Option<Vec<Self>> {
        let _ = (b, k, n);
        None
    }
    /// Weights that [`Real::pack`] has laid out; none where it never does.
    fn packed(packed: &mut Packed) -> Option<&mut Kept<Self>> {
        let _ = packed;
        None
    }
    /// Freed vectors of this type.
    fn shelf(pool: &mut Pool) -> &mut Shelf<Self>;
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
    fn exponential_of_negative(self, _: &Series) -> Self {
        self.exp()
    }
    fn ln_1p_of_unit(self) -> Self {
        self.ln_1p()
    }
    fn normal_distribution(self, _: &Series) -> Self {
        0.5 * libm::erfc(-self * std::f64::consts::FRAC_1_SQRT_2)
    }
    fn larger(self, other: Self) -> Self {
        self.max(other)
    }
    fn smaller(self, other: Self) -> Self {
        self.min(other)
    }
    fn shelf(pool: &mut Pool) -> &mut Shelf<Self> {
        &mut pool.f64
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
    fn exponential_of_negative(self, series: &Series) -> Self {
        exp_negative_by(self, series)
    }
    #[inline(always)]
    fn ln_1p_of_unit(self) -> Self {
        self * poly(&LN_1P, self)
    }
    #[inline(always)]
    fn normal_distribution(self, series: &Series) -> Self {
        normal_by(self, series)
    }
    #[inline(always)]
    fn larger(self, other: Self) -> Self {
        // Written out, as `f32::max` keeps the compiler from a single vector instruction, and is a call
        // into a library in WebAssembly.
        if self > other { self } else { other }
    }
    #[inline(always)]
    fn smaller(self, other: Self) -> Self {
        if self < other { self } else { other }
    }
    #[cfg(target_arch = "wasm32")]
    unsafe fn own_product(
        job: &Job<Self>, c: *mut Self, stride: usize, factors: [Mat<Self>; 2], bias: Option<&[Self]>,
    ) -> bool {
        // SAFETY: the caller's promises.
        unsafe { super::matmul::run(job, c, stride, factors, bias) };
        true
    }
    #[cfg(target_arch = "x86_64")]
    unsafe fn own_product(
        job: &Job<Self>, c: *mut Self, stride: usize, factors: [Mat<Self>; 2], bias: Option<&[Self]>,
    ) -> bool {
        // SAFETY: the caller's promises.
        unsafe { super::x86::run(job, c, stride, factors, bias) }
    }
    #[cfg(target_arch = "x86_64")]
    fn pack(b: Mat<Self>, k: usize, n: usize) -> Option<Vec<Self>> {
        super::x86::pack(b, k, n)
    }
    #[cfg(target_arch = "wasm32")]
    fn pack(b: Mat<Self>, k: usize, n: usize) -> Option<Vec<Self>> {
        Some(super::matmul::pack(b, k, n))
    }
    #[cfg(any(target_arch = "x86_64", target_arch = "wasm32"))]
    fn packed(packed: &mut Packed) -> Option<&mut Kept<Self>> {
        Some(&mut packed.f32)
    }
    fn shelf(pool: &mut Pool) -> &mut Shelf<Self> {
        &mut pool.f32
    }
}

/// `e^x` by reduction to `[-ln2/2, ln2/2]` and a polynomial, without branches or tables.
///
/// Inputs below -87.3 give 0 (no denormals), above 88.7 infinity; NaN stays NaN.
#[inline(always)]
#[must_use]
pub fn exp_f32(x: f32) -> f32 {
    let clamped = if x > 88.8 { 88.8 } else { x };
    let clamped = if clamped < -87.4 { -87.4 } else { clamped };
    let (p, exponent) = exp_parts(clamped, &SERIES);
    // 2ⁿ in two factors, as n may be 128 at the top.
    let half = exponent >> 1;
    let y = p * power_of_two(half) * power_of_two(exponent.wrapping_sub(half));
    let y = if x < -87.3 { 0.0 } else { y };
    let y = if x > 88.72 { f32::INFINITY } else { y };
    if x.is_nan() { x } else { y }
}

/// [`exp_f32`] for `x` of at most 0; below -87 it stays at `e^(-87)`, some 1e-38. NaN stays NaN.
#[inline(always)]
#[must_use]
pub fn exp_negative_f32(x: f32) -> f32 {
    exp_negative_by(x, &SERIES)
}

#[inline(always)]
fn exp_negative_by(x: f32, series: &Series) -> f32 {
    let clamped = if x < series.least { series.least } else { x };
    let (p, exponent) = exp_parts(clamped, series);
    p * power_of_two(exponent)
}

/// `e^x` as `p·2ⁿ`; NaN gives NaN as `p`.
#[inline(always)]
fn exp_parts(x: f32, series: &Series) -> (f32, i32) {
    let shifted = x * series.log2_e + series.round;
    let n = shifted - series.round;
    // The low bits of the shifted number are n as an integer: no conversion, which would not vectorise.
    let exponent = (shifted.to_bits() as i32).wrapping_sub(series.round.to_bits() as i32);
    let r = (x - n * series.ln2[0]) - n * series.ln2[1];
    (poly(&series.exp, r), exponent)
}

/// The numbers that the functions of f32 are made of.
#[derive(Clone, Copy, Debug)]
pub struct Series {
    /// `eʳ` in powers of `r` on |r| ≤ ln 2 / 2 (fit of least largest relative error, 9.2e-8).
    exp: [f32; 6],
    log2_e: f32,
    /// ln 2 in two parts, the first exact in few bits, so that its multiples by small integers are exact.
    ln2: [f32; 2],
    /// 1.5·2²³: adding it and taking it away rounds to the nearest integer.
    round: f32,
    /// Where the exponential of negative numbers ends.
    least: f32,
    /// `(1 − erf(x/√2))^(1/4)` in powers of `x` on 0 ≤ x ≤ 5.5 (fit of least largest error of its fourth power).
    tail: [f32; 11],
    /// From here on the tail is 0.
    no_tail: f32,
}

impl Series {
    /// For a loop: in WebAssembly as numbers that the compiler does not know, or it would write them into
    /// every step, where browsers build each anew from three or four instructions.
    #[inline(always)]
    #[must_use]
    pub fn for_loop() -> Self {
        if cfg!(target_arch = "wasm32") { std::hint::black_box(SERIES) } else { SERIES }
    }
}

const SERIES: Series = Series {
    exp: [1.0, 9.999997063e-1, 4.999914784e-1, 1.666763813e-1, 4.189816034e-2, 8.290272130e-3],
    log2_e: std::f32::consts::LOG2_E,
    ln2: [0.693_359_4, -2.121_944_4e-4],
    round: 12_582_912.0,
    least: -87.0,
    tail: [
        1.0,
        -1.994710177e-1,
        -5.968484052e-2,
        5.474885845e-3,
        4.638642105e-3,
        -1.949329185e-4,
        -2.568951999e-4,
        2.359865706e-5,
        7.246349558e-6,
        -1.490201924e-6,
        8.119180450e-8,
    ],
    no_tail: 5.5,
};

/// `ln(1 + x)/x` in powers of `x` on 0 ≤ x ≤ 1 (Chebyshev fit; see the test for its error).
const LN_1P: [f32; 10] = [
    1.0,
    -0.499_999_05,
    0.333_300_05,
    -0.249_545_59,
    0.196_781_17,
    -0.153_118_63,
    0.106_142_65,
    -0.057_064_2,
    0.019_907_162,
    -0.003_256_378_5,
];

/// `2ⁿ` of a whole number between -126 and 127.
#[inline(always)]
fn power_of_two(n: i32) -> f32 {
    f32::from_bits((n.wrapping_add(127) as u32) << 23)
}

/// `Φ(x)`: the share above |x| is half the fourth power of a polynomial, which needs neither an exponential
/// nor a division, and is as exact in relation to 1 as f32 is.
#[inline(always)]
fn normal_by(x: f32, series: &Series) -> f32 {
    let a = x.abs();
    let root = poly(&series.tail, a);
    let square = root * root;
    let tail = if a > series.no_tail { 0.0 } else { 0.5 * (square * square) };
    if x < 0.0 { tail } else { 1.0 - tail }
}

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
    fn exp_of_negatives_is_accurate() {
        let mut x = -86.9f32;
        while x <= 0.0 {
            let want = f64::from(x).exp();
            let err = (f64::from(exp_negative_f32(x)) - want).abs() / want;
            assert!(err < 4e-7, "exp({x}): relative error {err:e}");
            x += 0.003_7;
        }
        assert_eq!(exp_negative_f32(0.0), 1.0);
        for x in [-88.0, -1e30, f32::NEG_INFINITY] {
            assert!((0.0..2e-38).contains(&exp_negative_f32(x)), "exp({x})");
        }
        assert!(exp_negative_f32(f32::NAN).is_nan());
    }

    #[test]
    fn ln_1p_is_accurate_between_0_and_1() {
        for i in 0..=10_000 {
            let x = i as f32 / 10_000.0;
            let err = f64::from(x.ln_1p_of_unit()) - f64::from(x).ln_1p();
            assert!(err.abs() < 1.5e-7, "ln(1 + {x}): error {err:e}");
        }
        assert!(f32::NAN.ln_1p_of_unit().is_nan());
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
    fn the_normal_distribution_is_accurate_everywhere() {
        let phi = |x: f32| x.normal_distribution(&Series::for_loop());
        let mut x = -9.0f32;
        while x < 9.0 {
            let want = f64::from(x).normal_distribution(&SERIES);
            let err = (f64::from(phi(x)) - want).abs();
            assert!(err < 1.5e-7, "Φ({x}): error {err:e}");
            x += 0.000_91;
        }
        assert_eq!((phi(0.0), phi(f32::INFINITY), phi(f32::NEG_INFINITY)), (0.5, 1.0, 0.0));
        assert_eq!((phi(1e30), phi(-1e30)), (1.0, 0.0));
        assert!(phi(f32::NAN).is_nan());
    }
}
