// dx = dy * (Phi(x) + x * phi(x)), the gradient of the exact GELU (erf.wgsl).

struct Params {
    len: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<S1>;
@group(0) @binding(2) var<storage, read> dy: array<S2>;
@group(0) @binding(3) var<storage, read_write> dx: array<S3>;

const WORKGROUP: u32 = 256u;
const INV_SQRT_2PI: f32 = 0.39894228;

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = (group.y * groups.x + group.x) * WORKGROUP + lane;
    if (i < params.len) {
        let v = f32(x[i]);
        let cdf = 0.5 + 0.5 * erf(v * SQRT_HALF);
        let pdf = INV_SQRT_2PI * exp(-0.5 * v * v);
        dx[i] = S3(f32(dy[i]) * (cdf + v * pdf));
    }
}
