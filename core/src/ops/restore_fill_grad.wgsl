// sums[c, d] = sum of dy[n, l, d] over the removed patches in the c-th chunk of (n, l); sum_axis adds
// the chunks.

struct Params {
    len: u32, // elements of sums
    dim: u32,
    visible: u32,
    patches: u32,
    cls: u32, // 1 with a class token, else 0
    groups: u32,
    rows: u32, // all (n, l), class tokens left out
    chunk: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> dy: array<S1>;
@group(0) @binding(2) var<storage, read> restore: array<u32>;
@group(0) @binding(3) var<storage, read_write> sums: array<f32>;

const WORKGROUP: u32 = 64u;

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let index = (group.y * groups.x + group.x) * WORKGROUP + lane;
    if (index >= params.len) {
        return;
    }
    let d = index % params.dim;
    let begin = index / params.dim * params.chunk;
    let end = min(params.rows, begin + params.chunk);
    var sum = 0.0;
    for (var row = begin; row < end; row++) {
        let n = row / params.patches;
        let l = row % params.patches;
        if (restore[n / params.groups * params.patches + l] >= params.visible) {
            sum += f32(dy[(n * (params.patches + params.cls) + params.cls + l) * params.dim + d]);
        }
    }
    sums[index] = sum;
}
