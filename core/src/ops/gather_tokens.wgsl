// out[n, j] = x[n, ids[b, j]] for the first `keep` ids of a permutation; b = n / groups. A class
// token stays in front.

struct Params {
    len: u32,
    dim: u32,
    keep: u32,
    patches: u32, // ids an image
    cls: u32, // 1 with a class token, else 0
    groups: u32,
    image_stride: u32, // elements of x from one n to the next; 0 where all share one
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<S1>;
@group(0) @binding(2) var<storage, read> ids: array<u32>;
@group(0) @binding(3) var<storage, read_write> out: array<S3>;

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
    let d = i % params.dim;
    let j = i / params.dim % (params.keep + params.cls);
    let n = i / params.dim / (params.keep + params.cls);
    var token = 0u;
    if (j >= params.cls) {
        token = params.cls + ids[n / params.groups * params.patches + j - params.cls];
    }
    out[i] = S3(f32(x[n * params.image_stride + token * params.dim + d]));
}
