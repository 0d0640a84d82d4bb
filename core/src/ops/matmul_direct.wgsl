// C[M, N] = scale * A[M, K] * B[K, N] (+ bias[N]) for adapters that compute on the processor: without
// workgroup memory and barriers, which cost such adapters more than they save. One matrix, or as many
// as `heads` times a batch.
//
// A thread computes ROWS rows of COLUMNS columns, which lie LANES apart, so that neighbouring threads
// have neighbouring columns. Workgroup (x, y, z) takes COLUMNS * LANES columns and the ROWS rows from
// ROWS * (first_tile_row + y) on, of matrix z.

override TRANS_A: bool = false; // A is stored [K, M]
override TRANS_B: bool = false; // B is stored [N, K]
override HAS_BIAS: bool = false;

struct Params {
    m: u32,
    n: u32,
    k: u32,
    first_tile_row: u32,
    heads: u32,
    scale: f32,
    // Where the first matrix begins, how far apart those of the heads and of the batch are, and how
    // far apart the rows of a matrix are, as it is stored.
    a_start: u32,
    a_head: u32,
    a_batch: u32,
    a_row: u32,
    b_start: u32,
    b_head: u32,
    b_batch: u32,
    b_row: u32,
    c_head: u32,
    c_batch: u32,
    c_row: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read> b: array<f32>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read_write> c: array<f32>;

const LANES: u32 = 16u;
const ROWS: u32 = 12u;
const COLUMNS: u32 = 4u;

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

fn load_a(at: vec4<u32>) -> vec4<f32> {
    return vec4<f32>(a[at.x], a[at.y], a[at.z], a[at.w]);
}

fn load_b(at: vec4<u32>) -> vec4<f32> {
    return vec4<f32>(b[at.x], b[at.y], b[at.z], b[at.w]);
}

// Row i of the result is a[i] * b.
fn outer(a: vec4<f32>, b: vec4<f32>) -> mat4x4<f32> {
    return mat4x4<f32>(a.x * b, a.y * b, a.z * b, a.w * b);
}

fn store(row: u32, col: u32, base: u32, sums: vec4<f32>) {
    if (row >= params.m) {
        return;
    }
    for (var j = 0u; j < 4u; j++) {
        let column = col + j * LANES;
        if (column < params.n) {
            var y = params.scale * sums[j];
            if (HAS_BIAS) {
                y += bias[column];
            }
            c[base + row * params.c_row + column] = y;
        }
    }
}

fn store_block(row: u32, col: u32, base: u32, block: mat4x4<f32>) {
    store(row, col, base, block[0]);
    store(row + 1u, col, base, block[1]);
    store(row + 2u, col, base, block[2]);
    store(row + 3u, col, base, block[3]);
}

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let row = (params.first_tile_row + group.y) * ROWS;
    let col = group.x * COLUMNS * LANES + lane;
    let head = group.z % params.heads;
    let image = group.z / params.heads;
    let start_a = params.a_start + head * params.a_head + image * params.a_batch;
    let start_b = params.b_start + head * params.b_head + image * params.b_batch;
    let step_a = vec4<u32>(select(1u, params.a_row, TRANS_A));
    let step_b = vec4<u32>(select(params.b_row, 1u, TRANS_B));
    var at_a0 = start_a + starts_of_rows(row);
    var at_a1 = start_a + starts_of_rows(row + 4u);
    var at_a2 = start_a + starts_of_rows(row + 8u);
    var at_b = start_b + starts_of_columns(col);
    var block0 = mat4x4<f32>();
    var block1 = mat4x4<f32>();
    var block2 = mat4x4<f32>();
    for (var k = 0u; k < params.k; k++) {
        let b = load_b(at_b);
        block0 += outer(load_a(at_a0), b);
        block1 += outer(load_a(at_a1), b);
        block2 += outer(load_a(at_a2), b);
        at_a0 += step_a;
        at_a1 += step_a;
        at_a2 += step_a;
        at_b += step_b;
    }
    let base = head * params.c_head + image * params.c_batch;
    store_block(row, col, base, block0);
    store_block(row + 4u, col, base, block1);
    store_block(row + 8u, col, base, block2);
}
