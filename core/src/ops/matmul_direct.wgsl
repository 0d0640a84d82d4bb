// C[M, N] = scale * A[M, K] * B[K, N] (+ bias[N]) for adapters that compute on the processor: without
// workgroup memory and barriers, which cost such adapters more than they save. One matrix, or as many
// as `heads` times a batch.
//
// A thread computes ROWS rows of COLUMNS columns, which lie LANES apart, so that neighbouring threads
// have neighbouring columns. Workgroup (x, y, z) takes COLUMNS * LANES columns and the ROWS rows from
// ROWS * (first_tile_row + y) on, of matrix z.

@group(0) @binding(1) var<storage, read> a: array<S1>;
@group(0) @binding(2) var<storage, read> b: array<S2>;
@group(0) @binding(3) var<storage, read> bias: array<S3>;
@group(0) @binding(4) var<storage, read_write> c: array<S4>;

const LANES: u32 = 16u;
const ROWS: u32 = 8u;
const COLUMNS: u32 = 8u;

// Where four rows of A begin; a row past the end reads the last one, and is not written.
fn starts_of_rows(row: u32) -> vec4<u32> {
    let rows = min(vec4<u32>(row, row + 1u, row + 2u, row + 3u), vec4<u32>(params.m - 1u));
    return select(rows * params.a_row, rows, TRANS_A);
}

// Where four columns of B begin.
fn starts_of_columns(col: u32) -> vec4<u32> {
    let cols = min(vec4<u32>(col, col + LANES, col + 2u * LANES, col + 3u * LANES), vec4<u32>(params.n - 1u));
    return select(cols, cols * params.b_row, TRANS_B);
}

fn load_b(at: vec4<u32>) -> vec4<f32> {
    return vec4<f32>(f32(b[at.x]), f32(b[at.y]), f32(b[at.z]), f32(b[at.w]));
}

fn store_four(start: u32, col: u32, sums: vec4<f32>) {
    for (var j = 0u; j < 4u; j++) {
        let column = col + j * LANES;
        if (column < params.n) {
            var y = params.scale * sums[j];
            if (params.has_bias != 0u) {
                y += f32(bias[column]);
            }
            c[start + column] = S4(y);
        }
    }
}

fn store(row: u32, col: u32, base: u32, left: vec4<f32>, right: vec4<f32>) {
    if (row < params.m) {
        store_four(base + row * params.c_row, col, left);
        store_four(base + row * params.c_row, col + 4u * LANES, right);
    }
}

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let row = (params.first_tile_row + group.y) * ROWS;
    let col = group.x * COLUMNS * LANES + lane;
    let start = starts(group.z);
    let step_a = select(1u, params.a_row, TRANS_A);
    let step_b = select(params.b_row, 1u, TRANS_B);
    let at_a0 = start.x + starts_of_rows(row);
    let at_a4 = start.x + starts_of_rows(row + 4u);
    let at_b0 = start.y + starts_of_columns(col);
    let at_b4 = start.y + starts_of_columns(col + 4u * LANES);
    var left0 = vec4<f32>();
    var right0 = vec4<f32>();
    var left1 = vec4<f32>();
    var right1 = vec4<f32>();
    var left2 = vec4<f32>();
    var right2 = vec4<f32>();
    var left3 = vec4<f32>();
    var right3 = vec4<f32>();
    var left4 = vec4<f32>();
    var right4 = vec4<f32>();
    var left5 = vec4<f32>();
    var right5 = vec4<f32>();
    var left6 = vec4<f32>();
    var right6 = vec4<f32>();
    var left7 = vec4<f32>();
    var right7 = vec4<f32>();
    for (var k = 0u; k < params.k; k++) {
        let step = k * step_b;
        let left = load_b(at_b0 + step);
        let right = load_b(at_b4 + step);
        let along = k * step_a;
        let a0 = f32(a[at_a0.x + along]);
        left0 += a0 * left;
        right0 += a0 * right;
        let a1 = f32(a[at_a0.y + along]);
        left1 += a1 * left;
        right1 += a1 * right;
        let a2 = f32(a[at_a0.z + along]);
        left2 += a2 * left;
        right2 += a2 * right;
        let a3 = f32(a[at_a0.w + along]);
        left3 += a3 * left;
        right3 += a3 * right;
        let a4 = f32(a[at_a4.x + along]);
        left4 += a4 * left;
        right4 += a4 * right;
        let a5 = f32(a[at_a4.y + along]);
        left5 += a5 * left;
        right5 += a5 * right;
        let a6 = f32(a[at_a4.z + along]);
        left6 += a6 * left;
        right6 += a6 * right;
        let a7 = f32(a[at_a4.w + along]);
        left7 += a7 * left;
        right7 += a7 * right;
    }
    store(row, col, start.z, left0, right0);
    store(row + 1u, col, start.z, left1, right1);
    store(row + 2u, col, start.z, left2, right2);
    store(row + 3u, col, start.z, left3, right3);
    store(row + 4u, col, start.z, left4, right4);
    store(row + 5u, col, start.z, left5, right5);
    store(row + 6u, col, start.z, left6, right6);
    store(row + 7u, col, start.z, left7, right7);
}
