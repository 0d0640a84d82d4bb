// stats[row] = (mean, rstd) of each row of x, a thread a row (layer_norm_row.wgsl).

@group(0) @binding(2) var<storage, read_write> stats: array<f32>;

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
    stats[2u * row] = mean;
    stats[2u * row + 1u] = rstd;
}
