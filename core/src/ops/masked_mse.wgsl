// sums[row] = sum of (pred - target)^2 over a removed patch, 0 for a visible one; one workgroup a patch.

struct Params {
    rows: u32,
    cols: u32,
    visible: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> pred: array<S1>;
@group(0) @binding(2) var<storage, read> label: array<f32>;
@group(0) @binding(3) var<storage, read> restore: array<u32>; // [B, L]
@group(0) @binding(4) var<storage, read_write> sums: array<f32>;

const WORKGROUP: u32 = 64u;

var<workgroup> partial: array<f32, WORKGROUP>;

// The sum of one number a thread, known to all of them.
fn sum_over_workgroup(lane: u32, value: f32) -> f32 {
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
    var sum = 0.0;
    if (restore[row] >= params.visible) {
        for (var i = lane; i < params.cols; i += WORKGROUP) {
            let d = f32(pred[row * params.cols + i]) - label[row * params.cols + i];
            sum += d * d;
        }
    }
    let total = sum_over_workgroup(lane, sum);
    if (lane == 0u) {
        sums[row] = total;
    }
}
