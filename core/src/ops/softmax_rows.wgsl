// Softmax of each row in place, a thread a row: for adapters that compute on the processor.

struct Params {
    rows: u32,
    cols: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> x: array<f32>;

const WORKGROUP: u32 = 64u;

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
    let start = row * params.cols;
    let end = start + params.cols;
    var highest = x[start];
    for (var i = start + 1u; i < end; i++) {
        highest = max(highest, x[i]);
    }
    var total = 0.0;
    for (var i = start; i < end; i++) {
        let weight = exp(x[i] - highest);
        total += weight;
        x[i] = weight;
    }
    let factor = 1.0 / total;
    for (var i = start; i < end; i++) {
        x[i] *= factor;
    }
}
