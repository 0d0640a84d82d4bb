// ds = p * (ds - sum over the row of p * ds), in place: the gradient of a softmax of rows with respect to
// what it was taken of, from its result p and the gradient of that. A thread a row, as in `softmax_rows`.

struct Params {
    rows: u32,
    cols: u32,
    vecs: u32, // vectors of a row
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> p: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> ds: array<vec4<f32>>;

const WORKGROUP: u32 = 64u;

// The gradient in vector i of a row that begins at `start`, zeros in its padding.
fn gradient(start: u32, i: u32) -> vec4<f32> {
    let inside = vec4<u32>(4u * i, 4u * i + 1u, 4u * i + 2u, 4u * i + 3u) < vec4<u32>(params.cols);
    return select(vec4<f32>(), ds[start + i], inside);
}

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = (group.y * groups.x + group.x) * WORKGROUP + lane;
    if (row >= params.rows) {
        return;
    }
    let start = row * params.vecs;
    var totals = vec4<f32>();
    for (var i = 0u; i < params.vecs; i++) {
        totals += p[start + i] * gradient(start, i);
    }
    let total = vec4<f32>((totals.x + totals.y) + (totals.z + totals.w));
    for (var i = 0u; i < params.vecs; i++) {
        ds[start + i] = p[start + i] * (gradient(start, i) - total);
    }
}
