// stats[row] = (mean, 1 / sqrt(var + eps)) of each row of x, a thread a row: for adapters that compute on the
// processor.

struct Params {
    rows: u32,
    cols: u32,
    eps: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<S1>;
@group(0) @binding(2) var<storage, read_write> stats: array<f32>;

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
    stats[2u * row] = mean;
    stats[2u * row + 1u] = 1.0 / sqrt(squares / f32(params.cols) + params.eps);
}
