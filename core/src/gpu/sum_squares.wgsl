// partials[first + w] = sum of x^2 over the w-th run of SPAN elements: one workgroup each, always in
// the same order, so that the norm is the same in every run.

struct Params {
    len: u32,
    first: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> partials: array<f32>;

const WORKGROUP: u32 = 256u;
const SPAN: u32 = 4096u;

var<workgroup> partial: array<f32, WORKGROUP>;

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let run = group.y * groups.x + group.x;
    if (run * SPAN >= params.len) {
        return;
    }
    let end = min(params.len, (run + 1u) * SPAN);
    var sum = 0.0;
    for (var i = run * SPAN + lane; i < end; i += WORKGROUP) {
        sum += x[i] * x[i];
    }
    partial[lane] = sum;
    workgroupBarrier();
    for (var half = WORKGROUP / 2u; half > 0u; half /= 2u) {
        if (lane < half) {
            partial[lane] += partial[lane + half];
        }
        workgroupBarrier();
    }
    if (lane == 0u) {
        partials[params.first + run] = partial[0];
    }
}
