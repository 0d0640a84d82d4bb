// out[n, l] = x[n, restore[b, l]] where that token is visible, else `fill` (or zeros); b = n / groups.
// A class token stays in front.

override HAS_FILL: bool = false;

struct Params {
    len: u32,
    dim: u32,
    visible: u32,
    patches: u32,
    cls: u32, // 1 with a class token, else 0
    groups: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<S1>;
@group(0) @binding(2) var<storage, read> restore: array<u32>;
@group(0) @binding(3) var<storage, read> fill: array<S3>;
@group(0) @binding(4) var<storage, read_write> out: array<S4>;

const WORKGROUP: u32 = 256u;

fn filling(d: u32) -> f32 {
    if (HAS_FILL) {
        return f32(fill[d]);
    }
    return 0.0;
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
    let d = i % params.dim;
    let l = i / params.dim % (params.patches + params.cls);
    let n = i / params.dim / (params.patches + params.cls);
    var token = 0u;
    if (l >= params.cls) {
        let place = restore[n / params.groups * params.patches + l - params.cls];
        if (place >= params.visible) {
            out[i] = S4(filling(d));
            return;
        }
        token = params.cls + place;
    }
    out[i] = S4(f32(x[(n * (params.visible + params.cls) + token) * params.dim + d]));
}
