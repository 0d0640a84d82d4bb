// sums[row] = sum of the weighted binary cross-entropy over one patch of one region where that patch
// is removed, else 0; one workgroup a row (b, region, patch).

struct Params {
    rows: u32,
    cols: u32,
    regions: u32,
    patches: u32,
    visible: u32,
    background_weight: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> logits: array<S1>;
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

// log(1 + e) without losing a small e.
fn log1p(e: f32) -> f32 {
    if (e < 1.0e-3) {
        return e * (1.0 - e * (0.5 - e * 0.33333333));
    }
    return log(1.0 + e);
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
    let image = row / params.patches / params.regions;
    var sum = 0.0;
    if (restore[image * params.patches + row % params.patches] >= params.visible) {
        for (var i = lane; i < params.cols; i += WORKGROUP) {
            let x = f32(logits[row * params.cols + i]);
            let t = label[row * params.cols + i];
            let weight = select(1.0, params.background_weight, t == 0.0);
            sum += weight * (max(x, 0.0) - x * t + log1p(exp(-abs(x))));
        }
    }
    let total = sum_over_workgroup(lane, sum);
    if (lane == 0u) {
        sums[row] = total;
    }
}
