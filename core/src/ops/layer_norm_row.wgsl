// Layer norm and its gradient by a thread a row, for adapters that compute on the processor: what the
// kernels have in common, put before them.

struct Params {
    rows: u32,
    cols: u32,
    eps: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<S1>;

const WORKGROUP: u32 = 16u;

// Mean and 1 / sqrt(var + eps) of the row of x that begins at `start`.
fn stats_of(start: u32) -> vec2<f32> {
    var sum = 0.0;
    for (var i = 0u; i < params.cols; i++) {
        sum += f32(x[start + i]);
    }
    let mean = sum / f32(params.cols);
    var squares = 0.0;
    for (var i = 0u; i < params.cols; i++) {
        let d = f32(x[start + i]) - mean;
        squares += d * d;
    }
    return vec2<f32>(mean, 1.0 / sqrt(squares / f32(params.cols) + params.eps));
}
