// dlogits = dloss · factor · (both / all − 2t) / all · p (1 − p), with both sums of the region.

struct Params {
    count: u32,
    len: u32, // elements of a region
    factor: f32, // 1 / regions
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> logits: array<S1>;
@group(0) @binding(2) var<storage, read> label: array<f32>;
@group(0) @binding(3) var<storage, read> dloss: array<f32>;
@group(0) @binding(4) var<storage, read> facts: array<f32>; // [regions] losses, [regions, 2]
@group(0) @binding(5) var<storage, read_write> dlogits: array<S5>;

const WORKGROUP: u32 = 256u;

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
    let i = (group.y * groups.x + group.x) * WORKGROUP + lane;
    if (i >= params.count) {
        return;
    }
    let region = i / params.len;
    let place = params.count / params.len + 2u * region;
    let both = facts[place];
    let all = facts[place + 1u];
    let x = f32(logits[i]);
    // Of the two factors, the smaller one is exact where the other rounds to 1.
    let slope = sigmoid(x) * sigmoid(-x);
    dlogits[i] = S5(dloss[0] * params.factor * (both / all - 2.0 * label[i]) / all * slope);
}
