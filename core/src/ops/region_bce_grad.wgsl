// dlogits = dloss * factor * weight * (sigmoid(x) - target) on removed patches, 0 on visible ones.

struct Params {
    len: u32,
    cols: u32, // elements of a patch
    regions: u32,
    patches: u32,
    visible: u32,
    background_weight: f32,
    factor: f32, // 1 / (elements of all removed patches of all regions)
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> logits: array<S1>;
@group(0) @binding(2) var<storage, read> label: array<f32>;
@group(0) @binding(3) var<storage, read> restore: array<u32>; // [B, L]
@group(0) @binding(4) var<storage, read> dloss: array<f32>;
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
    if (i >= params.len) {
        return;
    }
    let row = i / params.cols;
    let image = row / params.patches / params.regions;
    var grad = 0.0;
    if (restore[image * params.patches + row % params.patches] >= params.visible) {
        let t = label[i];
        let weight = select(1.0, params.background_weight, t == 0.0);
        grad = dloss[0] * params.factor * weight * (sigmoid(f32(logits[i])) - t);
    }
    dlogits[i] = S5(grad);
}
