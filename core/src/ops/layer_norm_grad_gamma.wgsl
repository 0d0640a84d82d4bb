// sums[c, i] = sum of dy[r, i] * xhat[r, i] over the c-th chunk of rows r; sum_axis adds the chunks.

struct Params {
    rows: u32,
    cols: u32,
    chunk: u32,
    chunks: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<S1>;
@group(0) @binding(2) var<storage, read> dy: array<S2>;
@group(0) @binding(3) var<storage, read> stats: array<f32>; // (mean, rstd) of each row
@group(0) @binding(4) var<storage, read_write> sums: array<f32>;

const WORKGROUP: u32 = 64u;

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let index = (group.y * groups.x + group.x) * WORKGROUP + lane;
    if (index >= params.chunks * params.cols) {
        return;
    }
    let i = index % params.cols;
    let begin = index / params.cols * params.chunk;
    let end = min(params.rows, begin + params.chunk);
    var sum = 0.0;
    for (var r = begin; r < end; r++) {
        let xhat = (f32(x[r * params.cols + i]) - stats[2u * r]) * stats[2u * r + 1u];
        sum += f32(dy[r * params.cols + i]) * xhat;
    }
    sums[index] = sum;
}
