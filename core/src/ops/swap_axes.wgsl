// y[o, b, a, i] = x[o, a, b, i]

struct Params {
    len: u32,
    a: u32, // of x
    b: u32,
    inner: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<S1>;
@group(0) @binding(2) var<storage, read_write> y: array<S2>;

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
    let inside = i % params.inner;
    let a = i / params.inner % params.a;
    let b = i / params.inner / params.a % params.b;
    let outer = i / params.inner / params.a / params.b;
    y[i] = S2(f32(x[((outer * params.a + a) * params.b + b) * params.inner + inside]));
}
