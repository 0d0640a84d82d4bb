// x[b, k, l, d] = q[b, k, d] + m[b, l, d]: every query meets every memory token.

struct Params {
    len: u32,
    queries: u32,
    tokens: u32,
    dim: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> q: array<S1>;
@group(0) @binding(2) var<storage, read> m: array<S2>;
@group(0) @binding(3) var<storage, read_write> x: array<S3>;

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
    let l = i / params.dim % params.tokens;
    let bk = i / params.dim / params.tokens;
    let b = bk / params.queries;
    x[i] = S3(f32(q[bk * params.dim + d]) + f32(m[(b * params.tokens + l) * params.dim + d]));
}
