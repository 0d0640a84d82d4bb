// dpred = dloss * factor * (pred - target) on removed patches, 0 on visible ones.

struct Params {
    len: u32,
    cols: u32, // elements of a patch
    visible: u32,
    factor: f32, // 2 / (elements of all removed patches)
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> pred: array<S1>;
@group(0) @binding(2) var<storage, read> label: array<f32>;
@group(0) @binding(3) var<storage, read> restore: array<u32>; // [B, L]
@group(0) @binding(4) var<storage, read> dloss: array<f32>;
@group(0) @binding(5) var<storage, read_write> dpred: array<S5>;

const WORKGROUP: u32 = 256u;

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
    var grad = 0.0;
    if (restore[i / params.cols] >= params.visible) {
        grad = dloss[0] * params.factor * (f32(pred[i]) - label[i]);
    }
    dpred[i] = S5(grad);
}
