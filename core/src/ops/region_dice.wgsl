// both = 2·Σ p·t + smooth and all = Σ p + Σ t + smooth of every region, with p the sigmoid of the logits:
// facts holds 1 − both / all of each region, then both and all of each. One workgroup a region.

struct Params {
    regions: u32,
    len: u32, // elements of a region
    smooth_by: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> logits: array<S1>;
@group(0) @binding(2) var<storage, read> label: array<f32>;
@group(0) @binding(3) var<storage, read_write> facts: array<f32>; // [regions], [regions, 2]

const WORKGROUP: u32 = 64u;

var<workgroup> partial: array<vec2<f32>, WORKGROUP>;

// The sum of two numbers a thread, known to all of them.
fn sum_over_workgroup(lane: u32, value: vec2<f32>) -> vec2<f32> {
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
    var sum = vec2<f32>(0.0);
    for (var i = lane; i < params.len; i += WORKGROUP) {
        let p = sigmoid(f32(logits[region * params.len + i]));
        let t = label[region * params.len + i];
        sum += vec2<f32>(2.0 * p * t, p + t);
    }
    let total = sum_over_workgroup(lane, sum) + params.smooth_by;
    if (lane == 0u) {
        facts[region] = 1.0 - total.x / total.y;
        facts[params.regions + 2u * region] = total.x;
        facts[params.regions + 2u * region + 1u] = total.y;
    }
}
