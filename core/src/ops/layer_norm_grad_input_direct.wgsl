// dx = rstd * (g - mean(g) - xhat * mean(g * xhat)), g = dy * gamma, xhat = (x - mean) * rstd; a thread a
// row: for adapters that compute on the processor.

struct Params {
    rows: u32,
    cols: u32,
    eps: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<S1>;
@group(0) @binding(2) var<storage, read> gamma: array<f32>;
@group(0) @binding(3) var<storage, read> dy: array<S3>;
@group(0) @binding(4) var<storage, read_write> dx: array<S4>;

const WORKGROUP: u32 = 16u;

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = (group.y * groups.x + group.x) * WORKGROUP + lane;
    if (row >= params.rows) {
        return;
    }
    let start = row * params.cols;
    let cols = f32(params.cols);
    var sum = 0.0;
    for (var i = 0u; i < params.cols; i++) {
        sum += f32(x[start + i]);
    }
    let mean = sum / cols;
    // Of x - mean: the squares, and what they and 1 weigh the gradient with.
    var squares = 0.0;
    var sum_g = 0.0;
    var sum_gd = 0.0;
    for (var i = 0u; i < params.cols; i++) {
        let d = f32(x[start + i]) - mean;
        let g = f32(dy[start + i]) * gamma[i];
        squares += d * d;
        sum_g += g;
        sum_gd += g * d;
    }
    let rstd = 1.0 / sqrt(squares / cols + params.eps);
    let mean_g = sum_g / cols;
    let slope = sum_gd * rstd * rstd / cols;
    for (var i = 0u; i < params.cols; i++) {
        let d = f32(x[start + i]) - mean;
        dx[start + i] = S4(rstd * (f32(dy[start + i]) * gamma[i] - mean_g - d * slope));
    }
}
