// y[o, j, i] = a[o, j, i] + b[o, i]: `b` is repeated n times between its outer and inner parts.

struct Params {
    len: u32,
    n: u32,
    inner: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<S1>;
@group(0) @binding(2) var<storage, read> b: array<S2>;
@group(0) @binding(3) var<storage, read_write> y: array<S3>;

const WORKGROUP: u32 = 256u;

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = (group.y * groups.x + group.x) * WORKGROUP + lane;
    if (i < params.len) {
        let outer = i / (params.n * params.inner);
        y[i] = S3(f32(a[i]) + f32(b[outer * params.inner + i % params.inner]));
    }
}
