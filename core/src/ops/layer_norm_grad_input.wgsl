// dx = rstd * (g - mean(g) - xhat * mean(g * xhat)), g = dy * gamma, xhat = (x - mean) * rstd;
// one workgroup a row, which computes the statistics of x again.

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

const WORKGROUP: u32 = 64u;

var<workgroup> partial: array<vec2<f32>, WORKGROUP>;

// The sums of two numbers a thread, known to all of them.
fn sum_over_workgroup(lane: u32, value: vec2<f32>) -> vec2<f32> {
    workgroupBarrier();
    partial[lane] = value;
    workgroupBarrier();
    for (var half = WORKGROUP / 2u; half > 0u; half /= 2u) {
        if (lane < half) {
            partial[lane] += partial[lane + half];
        }
        workgroupBarrier();
    }
    return partial[0];
}

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = group.y * groups.x + group.x;
    if (row >= params.rows) {
        return;
    }
    let start = row * params.cols;
    let cols = f32(params.cols);
    var sum = 0.0;
    for (var i = lane; i < params.cols; i += WORKGROUP) {
        sum += f32(x[start + i]);
    }
    let mean = sum_over_workgroup(lane, vec2<f32>(sum, 0.0)).x / cols;
    var squares = 0.0;
    for (var i = lane; i < params.cols; i += WORKGROUP) {
        let d = f32(x[start + i]) - mean;
        squares += d * d;
    }
    let rstd = 1.0 / sqrt(sum_over_workgroup(lane, vec2<f32>(squares, 0.0)).x / cols + params.eps);
    var sums = vec2<f32>();
    for (var i = lane; i < params.cols; i += WORKGROUP) {
        let g = f32(dy[start + i]) * gamma[i];
        sums += vec2<f32>(g, g * (f32(x[start + i]) - mean) * rstd);
    }
    let means = sum_over_workgroup(lane, sums) / cols;
    for (var i = lane; i < params.cols; i += WORKGROUP) {
        let xhat = (f32(x[start + i]) - mean) * rstd;
        dx[start + i] = S4(rstd * (f32(dy[start + i]) * gamma[i] - means.x - xhat * means.y));
    }
}
