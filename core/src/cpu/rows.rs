//! Loops over rows, compiled for the vector instructions of the processor at hand.

use super::math::{Real, Series};

/// Which vector instructions the processor has.
#[cfg(target_arch = "x86_64")]
fn level() -> u8 {
    if is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512bw")
    {
        2
    } else {
        u8::from(is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"))
    }
}

/// Functions over slices of `T: Real`, each compiled once for every level of instructions and chosen
/// at run time. (ARM's vector instructions are there at compile time.)
macro_rules! versions {
    ($($(#[$doc:meta])* pub fn $name:ident($($arg:ident: $ty:ty),* $(,)?) $(-> $ret:ty)? $body:block)*) => {$(
        $(#[$doc])*
        pub fn $name<T: Real>($($arg: $ty),*) $(-> $ret)? {
            #[inline(always)]
            fn plain<T: Real>($($arg: $ty),*) $(-> $ret)? $body

            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512vl,avx512dq,avx512bw,avx2,fma")]
                fn avx512<T: Real>($($arg: $ty),*) $(-> $ret)? {
                    plain($($arg),*)
                }
                #[target_feature(enable = "avx2,fma")]
                fn avx2<T: Real>($($arg: $ty),*) $(-> $ret)? {
                    plain($($arg),*)
                }
                match level() {
                    // SAFETY: the processor has these instructions.
                    2 => return unsafe { avx512($($arg),*) },
                    // SAFETY: as above.
                    1 => return unsafe { avx2($($arg),*) },
                    _ => {}
                }
            }
            // The whole module is validated on loading: where it runs at all, these can be called.
            #[cfg(target_arch = "wasm32")]
            {
                #[target_feature(enable = "simd128")]
                fn simd128<T: Real>($($arg: $ty),*) $(-> $ret)? {
                    plain($($arg),*)
                }
                simd128($($arg),*)
            }
            #[cfg(not(target_arch = "wasm32"))]
            plain($($arg),*)
        }
    )*};
}

/// Parts that a sum is taken in, so that it vectorises: always the same.
const PARTS: usize = 16;

/// `Σ f(x)` in [`PARTS`] interleaved parts.
#[inline(always)]
fn sum_of<T: Real>(x: &[T], f: impl Fn(T) -> T) -> T {
    let mut parts = [T::ZERO; PARTS];
    let (chunks, rest) = x.as_chunks::<PARTS>();
    for chunk in chunks {
        for (part, &x) in parts.iter_mut().zip(chunk) {
            *part += f(x);
        }
    }
    for (part, &x) in parts.iter_mut().zip(rest) {
        *part += f(x);
    }
    total(parts)
}

/// `Σ f(x, y)` in [`PARTS`] interleaved parts.
#[inline(always)]
fn sum_of_pairs<T: Real>(x: &[T], y: &[T], f: impl Fn(T, T) -> T) -> T {
    let mut parts = [T::ZERO; PARTS];
    let ((x_chunks, x_rest), (y_chunks, y_rest)) = (x.as_chunks::<PARTS>(), y.as_chunks::<PARTS>());
    for (x, y) in x_chunks.iter().zip(y_chunks) {
        for ((part, &x), &y) in parts.iter_mut().zip(x).zip(y) {
            *part += f(x, y);
        }
    }
    for ((part, &x), &y) in parts.iter_mut().zip(x_rest).zip(y_rest) {
        *part += f(x, y);
    }
    total(parts)
}

/// The parts together, in halves: an order that vectorises.
#[inline(always)]
fn total<T: Real>(mut parts: [T; PARTS]) -> T {
    let mut width = PARTS / 2;
    while width > 0 {
        for j in 0..width {
            parts[j] += parts[j + width];
        }
        width /= 2;
    }
    parts[0]
}

/// The largest of a row, and of its first element where there is no order (NaN).
#[inline(always)]
fn largest<T: Real>(row: &[T]) -> T {
    let mut tops = [row[0]; PARTS];
    let (chunks, rest) = row.as_chunks::<PARTS>();
    for chunk in chunks {
        for (top, &x) in tops.iter_mut().zip(chunk) {
            *top = top.larger(x);
        }
    }
    for (top, &x) in tops.iter_mut().zip(rest) {
        *top = top.larger(x);
    }
    tops.iter().copied().fold(row[0], T::larger)
}

/// A row to the exponentials of how far it is below its largest element; their sum.
#[inline(always)]
fn exponentials_of<T: Real>(row: &mut [T], series: &Series) -> T {
    let top = largest(row);
    let mut parts = [T::ZERO; PARTS];
    let (chunks, rest) = row.as_chunks_mut::<PARTS>();
    for chunk in chunks {
        for (part, x) in parts.iter_mut().zip(chunk) {
            *x = (*x - top).exponential_of_negative(series);
            *part += *x;
        }
    }
    for (part, x) in parts.iter_mut().zip(rest) {
        *x = (*x - top).exponential_of_negative(series);
        *part += *x;
    }
    total(parts)
}

/// Mean, and one over the standard deviation, of a row.
#[inline(always)]
fn moments<T: Real>(x: &[T], eps: f64) -> (T, T) {
    let n = T::from_real(1.0 / x.len() as f64);
    let mean = sum_of(x, |x| x) * n;
    let var = sum_of(x, |x| (x - mean) * (x - mean)) * n;
    (mean, T::from_real(1.0) / (var + T::from_real(eps)).square_root())
}

/// `1/√(2π)`.
const INV_SQRT_2PI: f64 = 0.398_942_280_401_432_7;

/// What AdamW multiplies by, the same for all elements of a weight.
#[derive(Clone, Copy, Debug)]
pub struct Coefficients<T> {
    /// On the gradient: scaling and clipping.
    pub factor: T,
    /// Decay of the moments, and one less that.
    pub beta1: T,
    pub beta2: T,
    pub rest1: T,
    pub rest2: T,
    /// What weight decay leaves of a weight.
    pub keep: T,
    /// Learning rate, with the correction of the first moment's bias.
    pub rate: T,
    /// Correction of the second moment's bias, on its root.
    pub root: T,
    /// Added to the root.
    pub eps: T,
}

versions! {
    /// One AdamW step: weights, gradients, and both moments.
    pub fn adamw(w: &mut [T], g: &[T], m: &mut [T], v: &mut [T], by: &Coefficients<T>) {
        for (((w, &g), m), v) in w.iter_mut().zip(g).zip(m).zip(v) {
            let g = g * by.factor;
            *m = by.beta1 * *m + by.rest1 * g;
            *v = by.beta2 * *v + by.rest2 * g * g;
            *w = by.keep * *w - by.rate * *m / (v.square_root() * by.root + by.eps);
        }
    }

    /// `y = x·Φ(x)`.
    pub fn gelu(x: &[T], y: &mut [T]) {
        let series = Series::for_loop();
        for (y, &x) in y.iter_mut().zip(x) {
            *y = x * x.normal_distribution(&series);
        }
    }

    /// `dx = dy·(Φ(x) + x·φ(x))`.
    pub fn gelu_grad(x: &[T], dy: &[T], dx: &mut [T]) {
        let half = T::from_real(0.5);
        let density = T::from_real(INV_SQRT_2PI);
        let series = Series::for_loop();
        for ((dx, &x), &dy) in dx.iter_mut().zip(x).zip(dy) {
            let cdf = x.normal_distribution(&series);
            let pdf = density * (-half * x * x).exponential();
            *dx = dy * (cdf + x * pdf);
        }
    }

    /// `y = a + b`.
    pub fn add(a: &[T], b: &[T], y: &mut [T]) {
        for ((y, &a), &b) in y.iter_mut().zip(a).zip(b) {
            *y = a + b;
        }
    }

    /// `y += x`.
    pub fn add_assign(y: &mut [T], x: &[T]) {
        for (y, &x) in y.iter_mut().zip(x) {
            *y += x;
        }
    }

    /// `y = factor·x`.
    pub fn scale(x: &[T], factor: T, y: &mut [T]) {
        for (y, &x) in y.iter_mut().zip(x) {
            *y = factor * x;
        }
    }

    /// `y` in place times `factor`.
    pub fn rescale(y: &mut [T], factor: T) {
        for y in y {
            *y *= factor;
        }
    }

    /// `sum += Σ` of the rows of `x`, each as long as `sum`, one after the other.
    pub fn sum_rows(x: &[T], sum: &mut [T]) {
        let width = sum.len();
        let mut fours = x.chunks_exact(4 * width);
        for rows in &mut fours {
            let (a, b) = rows.split_at(2 * width);
            let ((a, b), (c, d)) = (a.split_at(width), b.split_at(width));
            for ((((sum, &a), &b), &c), &d) in sum.iter_mut().zip(a).zip(b).zip(c).zip(d) {
                *sum = (((*sum + a) + b) + c) + d;
            }
        }
        for row in fours.remainder().chunks_exact(width) {
            for (sum, &x) in sum.iter_mut().zip(row) {
                *sum += x;
            }
        }
    }

    /// Each row of `y` is a row of `memory` plus `query`.
    pub fn add_to_each(query: &[T], memory: &[T], y: &mut [T]) {
        let width = query.len();
        for (y, memory) in y.chunks_exact_mut(width).zip(memory.chunks_exact(width)) {
            for ((y, &q), &m) in y.iter_mut().zip(query).zip(memory) {
                *y = q + m;
            }
        }
    }

    /// Softmax of each row of `width`, in place.
    pub fn softmax(p: &mut [T], width: usize) {
        let series = Series::for_loop();
        for row in p.chunks_exact_mut(width) {
            let factor = T::from_real(1.0) / exponentials_of(row, &series);
            for x in row.iter_mut() {
                *x *= factor;
            }
        }
    }

    /// Rows of `width` to softmax but for a factor, which is written to `factors`, one a row.
    pub fn exponentials(p: &mut [T], width: usize, factors: &mut [T]) {
        let series = Series::for_loop();
        for (row, factor) in p.chunks_exact_mut(width).zip(factors) {
            *factor = T::from_real(1.0) / exponentials_of(row, &series);
        }
    }

    /// `dp ← p·(dp − Σ dp·p)` for each row of `width`.
    pub fn softmax_grad(p: &[T], dp: &mut [T], width: usize) {
        for (p, dp) in p.chunks_exact(width).zip(dp.chunks_exact_mut(width)) {
            let dot = sum_of_pairs(p, dp, |p, dp| p * dp);
            for (dp, &p) in dp.iter_mut().zip(p) {
                *dp = p * (*dp - dot);
            }
        }
    }

    /// `y = (x − mean)/√(var + eps)·γ + β` for each row as long as `γ`.
    pub fn layer_norm(x: &[T], gamma: &[T], beta: &[T], eps: f64, y: &mut [T]) {
        let width = gamma.len();
        for (x, y) in x.chunks_exact(width).zip(y.chunks_exact_mut(width)) {
            let (mean, rstd) = moments(x, eps);
            for (((y, &x), &gamma), &beta) in y.iter_mut().zip(x).zip(gamma).zip(beta) {
                *y = (x - mean) * rstd * gamma + beta;
            }
        }
    }

    /// `dx = rstd·(g − mean(g) − x̂·mean(g·x̂))` with `g = dy·γ` and `x̂ = (x − mean)·rstd`.
    pub fn layer_norm_grad(x: &[T], gamma: &[T], dy: &[T], eps: f64, dx: &mut [T]) {
        let width = gamma.len();
        let n = T::from_real(1.0 / width as f64);
        let rows = x.chunks_exact(width).zip(dy.chunks_exact(width)).zip(dx.chunks_exact_mut(width));
        for ((x, dy), dx) in rows {
            let (mean, rstd) = moments(x, eps);
            for ((dx, &dy), &gamma) in dx.iter_mut().zip(dy).zip(gamma) {
                *dx = dy * gamma;
            }
            let mean_g = sum_of(dx, |g| g) * n;
            let slope = sum_of_pairs(dx, x, |g, x| g * (x - mean)) * rstd * n * rstd;
            for (dx, &x) in dx.iter_mut().zip(x) {
                *dx = rstd * (*dx - mean_g - (x - mean) * slope);
            }
        }
    }

    /// `sum += Σ dy·x̂` over rows as long as `sum`.
    pub fn layer_norm_grad_gamma(x: &[T], dy: &[T], eps: f64, sum: &mut [T]) {
        let width = sum.len();
        for (x, dy) in x.chunks_exact(width).zip(dy.chunks_exact(width)) {
            let (mean, rstd) = moments(x, eps);
            for ((sum, &x), &dy) in sum.iter_mut().zip(x).zip(dy) {
                *sum += dy * ((x - mean) * rstd);
            }
        }
    }

    /// `Σ max(x, 0) − x·y + ln(1 + e^(−|x|))`, weighted where `y` is 0.
    pub fn cross_entropy(x: &[T], y: &[T], background: T) -> T {
        let (one, series) = (T::from_real(1.0), Series::for_loop());
        sum_of_pairs(x, y, |x, y| {
            let size = x.larger(-x);
            let loss = x.larger(T::ZERO) - x * y + (-size).exponential_of_negative(&series).ln_1p_of_unit();
            let weight = if y > T::ZERO { one } else { background };
            weight * loss
        })
    }

    /// `d = weight·(σ(x) − y)`, where `weight` is `inside` where `y` is not 0 and else `outside`.
    pub fn cross_entropy_grad(x: &[T], y: &[T], inside: T, outside: T, d: &mut [T]) {
        let one = T::from_real(1.0);
        for ((d, &x), &y) in d.iter_mut().zip(x).zip(y) {
            let sigmoid = one / (one + (-x).exponential());
            let weight = if y > T::ZERO { inside } else { outside };
            *d = weight * (sigmoid - y);
        }
    }
}
