// out[n] = token, then the tokens of x[n]

struct Params {
    len: u32,
    dim: u32,
    tokens: u32, // of the result, the new one included
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> token: array<S1>;
@group(0) @binding(2) var<storage, read> x: array<S2>;
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
    let t = i / params.dim % params.tokens;
    let n = i / params.dim / params.tokens;
    if (t == 0u) {
        out[i] = S3(f32(token[d]));
    } else {
        out[i] = S3(f32(x[(n * (params.tokens - 1u) + t - 1u) * params.dim + d]));
    }
}
