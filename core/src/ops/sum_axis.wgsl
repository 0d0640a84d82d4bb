// y[o, c, i] = scale * (sum of x[o, j, i] over the c-th chunk of j).
//
// A long axis is summed twice: in chunks first, then, with one chunk, the sums of the chunks.

struct Params {
    len: u32, // elements of y
    n: u32,
    inner: u32,
    chunk: u32,
    chunks: u32,
    scale: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<S1>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

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
    let i = index % params.inner;
    let c = index / params.inner % params.chunks;
    let o = index / params.inner / params.chunks;
    let begin = c * params.chunk;
    let end = min(params.n, begin + params.chunk);
    var sum = 0.0;
    for (var j = begin; j < end; j++) {
        sum += f32(x[(o * params.n + j) * params.inner + i]);
    }
    y[index] = params.scale * sum;
}
