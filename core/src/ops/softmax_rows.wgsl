// Softmax of each row in place, a thread a row: for adapters that compute on the processor, whose loads
// of four elements cost little more than those of one. Rows are padded to vectors; the padding becomes 0.

struct Params {
    rows: u32,
    cols: u32,
    vecs: u32, // vectors of a row
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> x: array<vec4<f32>>;

const WORKGROUP: u32 = 64u;
const LOWEST: f32 = -3.4e38;

// Which elements of vector i of a row are not padding.
fn inside(i: u32) -> vec4<bool> {
    return vec4<u32>(4u * i, 4u * i + 1u, 4u * i + 2u, 4u * i + 3u) < vec4<u32>(params.cols);
}

fn max4(v: vec4<f32>) -> f32 {
    return max(max(v.x, v.y), max(v.z, v.w));
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
    var highest = vec4<f32>(LOWEST);
    for (var i = 0u; i < params.vecs; i++) {
        highest = max(highest, select(vec4<f32>(LOWEST), x[start + i], inside(i)));
    }
    let top = vec4<f32>(max4(highest));
    var totals = vec4<f32>();
    for (var i = 0u; i < params.vecs; i++) {
        let weights = select(vec4<f32>(), exp(x[start + i] - top), inside(i));
        totals += weights;
        x[start + i] = weights;
    }
    let factor = 1.0 / ((totals.x + totals.y) + (totals.z + totals.w));
    for (var i = 0u; i < params.vecs; i++) {
        x[start + i] *= factor;
    }
}
