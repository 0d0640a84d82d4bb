// sums[region] = sum over one region of |distance| times the share of each pixel that is predicted wrong;
// distances are negative inside. One workgroup a region.

struct Params {
    regions: u32,
    len: u32, // elements of a region
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> logits: array<S1>;
@group(0) @binding(2) var<storage, read> distance_to_border: array<f32>;
@group(0) @binding(3) var<storage, read_write> sums: array<f32>;

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

// 1 / (1 + exp(-x)), without overflow.
fn sigmoid(x: f32) -> f32 {
    let e = exp(-abs(x));
    return select(e, 1.0, x >= 0.0) / (1.0 + e);
}

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let region = group.y * groups.x + group.x;
    if (region >= params.regions) {
        return;
    }
    var sum = 0.0;
    for (var i = lane; i < params.len; i += WORKGROUP) {
        let x = f32(logits[region * params.len + i]);
        let d = distance_to_border[region * params.len + i];
        sum += abs(d) * sigmoid(select(x, -x, d < 0.0));
    }
    let total = sum_over_workgroup(lane, sum);
    if (lane == 0u) {
        sums[region] = total;
    }
}
