// dlogits = dloss * factor * distance * p (1 - p), with p the sigmoid of the logits.

struct Params {
    count: u32,
    factor: f32, // 1 / elements
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> logits: array<S1>;
@group(0) @binding(2) var<storage, read> distance_to_border: array<f32>;
@group(0) @binding(3) var<storage, read> dloss: array<f32>;
@group(0) @binding(4) var<storage, read_write> dlogits: array<S4>;

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
    let x = f32(logits[i]);
    dlogits[i] = S4(dloss[0] * params.factor * distance_to_border[i] * sigmoid(x) * sigmoid(-x));
}
