// y = (x - mean) * rstd * gamma + beta over each row, a thread a row (layer_norm_row.wgsl).

@group(0) @binding(2) var<storage, read> gamma: array<f32>;
@group(0) @binding(3) var<storage, read> beta: array<f32>;
@group(0) @binding(4) var<storage, read_write> y: array<S4>;

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
    let stats_of_row = stats_of(start);
    let mean = stats_of_row.x;
    let rstd = stats_of_row.y;
    for (var i = 0u; i < params.cols; i++) {
        y[start + i] = S4((f32(x[start + i]) - mean) * rstd * gamma[i] + beta[i]);
    }
}
