// stats[row] = (mean, 1 / sqrt(var + eps)) of each row of x; one workgroup a row.

struct Params {
    rows: u32,
    cols: u32,
    eps: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<S1>;
@group(0) @binding(2) var<storage, read_write> stats: array<f32>;

const WORKGROUP: u32 = 64u;

var<workgroup> partial: array<f32, WORKGROUP>;

// The sum of one number a thread, known to all of them.
fn sum_over_workgroup(lane: u32, value: f32) -> f32 {
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
    var sum = 0.0;
    for (var i = lane; i < params.cols; i += WORKGROUP) {
        sum += f32(x[start + i]);
    }
    let mean = sum_over_workgroup(lane, sum) / f32(params.cols);
    var squares = 0.0;
    for (var i = lane; i < params.cols; i += WORKGROUP) {
        let d = f32(x[start + i]) - mean;
        squares += d * d;
    }
    let variance = sum_over_workgroup(lane, squares) / f32(params.cols);
    if (lane == 0u) {
        stats[2u * row] = mean;
        stats[2u * row + 1u] = 1.0 / sqrt(variance + params.eps);
    }
}
