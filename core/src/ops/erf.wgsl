// What GELU and its gradient are made of.

const SQRT_HALF: f32 = 0.70710678;

// The error function, to a few units in the last place: a Taylor-like fit in x^2 below 1, and above
// it 1 - exp(-x^2) * t * P(t) with t = 1/(1 + ERF_T |x|).
const ERF_T: f32 = 0.3275911;

fn erf(x: f32) -> f32 {
    let a = abs(x);
    if (a < 1.0) {
        let s = x * x;
        var p = -9.673590284e-06;
        p = fma(p, s, 1.126825373e-04);
        p = fma(p, s, -8.484396385e-04);
        p = fma(p, s, 5.221053492e-03);
        p = fma(p, s, -2.686543763e-02);
        p = fma(p, s, 1.128378287e-01);
        p = fma(p, s, -3.761263788e-01);
        return x * fma(p, s, 1.128379226e+00);
    }
    let t = 1.0 / (1.0 + ERF_T * a);
    var p = -1.392747313e-01;
    p = fma(p, t, 4.944050312e-01);
    p = fma(p, t, -4.101840854e-01);
    p = fma(p, t, 4.641050994e-01);
    p = fma(p, t, 1.612734981e-02);
    p = fma(p, t, 2.098284364e-01);
    p = fma(p, t, 1.798989028e-01);
    p = fma(p, t, 1.851226389e-01);
    let y = 1.0 - t * p * exp(-a * a);
    return select(y, -y, x < 0.0);
}

// x * Phi(x), the exact Gaussian error linear unit.
fn gelu(x: f32) -> f32 {
    return x * (0.5 + 0.5 * erf(x * SQRT_HALF));
}
