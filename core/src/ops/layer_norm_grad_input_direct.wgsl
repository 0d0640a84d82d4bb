// dx = rstd * (g - mean(g) - xhat * mean(g * xhat)), g = dy * gamma, xhat = (x - mean) * rstd; a thread a
// row (layer_norm_row.wgsl).

@group(0) @binding(2) var<storage, read> gamma: array<f32>;
@group(0) @binding(3) var<storage, read> dy: array<S3>;
@group(0) @binding(4) var<storage, read_write> dx: array<S4>;

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
    var sums = vec2<f32>();
    for (var i = 0u; i < params.cols; i++) {
        let g = f32(dy[start + i]) * gamma[i];
        sums += vec2<f32>(g, g * (f32(x[start + i]) - mean) * rstd);
    }
    let means = sums / f32(params.cols);
    for (var i = 0u; i < params.cols; i++) {
        let xhat = (f32(x[start + i]) - mean) * rstd;
        dx[start + i] = S4(rstd * (f32(dy[start + i]) * gamma[i] - means.x - xhat * means.y));
    }
}
