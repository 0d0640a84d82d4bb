enable f16;
enable wgpu_cooperative_matrix;

// C[M, N] = A[M, K] * B[K, N] (+ bias[N]) by a GPU's units for products of small matrices ("cooperative
// matrices", tensor cores, simdgroup matrices), which take f16 and sum in f32. The threads of a subgroup
// hold such a matrix together. A workgroup computes a tile: its subgroups stand in SUBGROUPS_DOWN rows of
// SUBGROUPS_ACROSS, and each keeps DOWN times ACROSS matrices of sums, SIDE x SIDE each. K is taken STEP at
// a time. These constants, and the types MatrixA, MatrixB and Sums, are put before this text
// (ops/variant.rs).
//
// Where A and B are contiguous, along K or across it, their lengths are multiples of four.
//
// Workgroup (x, y, z) computes tile column x, tile row first_tile_row + y, and the z-th part of the
// sum over K, as in matmul.wgsl.

override TRANS_A: bool = false; // A is stored [K, M]
override TRANS_B: bool = false; // B is stored [N, K]
override HAS_BIAS: bool = false;
override LANES: u32 = 32u; // threads of a subgroup

struct Params {
    m: u32,
    n: u32,
    k: u32,
    first_tile_row: u32,
    k_per_split: u32, // a multiple of STEP
    epilogue: u32, // NOTHING, GELU or RESIDUAL
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<vec4<S1>>;
@group(0) @binding(2) var<storage, read> b: array<vec4<S2>>;
@group(0) @binding(3) var<storage, read> bias: array<S3>;
@group(0) @binding(4) var<storage, read> residual: array<S4>;
@group(0) @binding(5) var<storage, read_write> c: array<S5>;

// What becomes of a product before it is stored.
const GELU: u32 = 1u;
const RESIDUAL: u32 = 2u; // another matrix like C is added

const SUBGROUPS: u32 = SUBGROUPS_DOWN * SUBGROUPS_ACROSS;
const ROWS: u32 = SUBGROUPS_DOWN * DOWN * SIDE;
const COLUMNS: u32 = SUBGROUPS_ACROSS * ACROSS * SIDE;
// The tiles keep the order of memory, so that neighbours copy neighbours. Rows are padded against bank
// conflicts, by 16 bytes, to which the units' loads are aligned.
const PAD: u32 = 8u;
const A_TILE: u32 = max(ROWS * (STEP + PAD), STEP * (ROWS + PAD));
const B_TILE: u32 = max(COLUMNS * (STEP + PAD), STEP * (COLUMNS + PAD));
const BLOCK: u32 = SIDE * SIDE;

var<workgroup> a_tile: array<f16, A_TILE>;
var<workgroup> b_tile: array<f16, B_TILE>;
var<workgroup> results: array<f32, SUBGROUPS * BLOCK>;

// Four elements of A from (row, k) on, along memory; zeros beyond the matrix.
fn load_a(row: u32, k: u32, k_end: u32) -> vec4<f16> {
    if (row >= params.m || k >= k_end) {
        return vec4<f16>();
    }
    if (TRANS_A) {
        return vec4<f16>(a[(k * params.m + row) / 4u]);
    }
    return vec4<f16>(a[(row * params.k + k) / 4u]);
}

fn load_b(k: u32, column: u32, k_end: u32) -> vec4<f16> {
    if (column >= params.n || k >= k_end) {
        return vec4<f16>();
    }
    if (TRANS_B) {
        return vec4<f16>(b[(column * params.k + k) / 4u]);
    }
    return vec4<f16>(b[(k * params.n + column) / 4u]);
}

fn fill_a(lane: u32, row0: u32, k0: u32, k_end: u32) {
    let across = select(STEP, ROWS, TRANS_A);
    for (var i = 4u * lane; i < ROWS * STEP; i += 4u * LANES * SUBGROUPS) {
        let line = i / across;
        let along = i % across;
        var four: vec4<f16>;
        if (TRANS_A) {
            four = load_a(row0 + along, k0 + line, k_end);
        } else {
            four = load_a(row0 + line, k0 + along, k_end);
        }
        let at = line * (across + PAD) + along;
        a_tile[at] = four.x;
        a_tile[at + 1u] = four.y;
        a_tile[at + 2u] = four.z;
        a_tile[at + 3u] = four.w;
    }
}

fn fill_b(lane: u32, column0: u32, k0: u32, k_end: u32) {
    let across = select(COLUMNS, STEP, TRANS_B);
    for (var i = 4u * lane; i < COLUMNS * STEP; i += 4u * LANES * SUBGROUPS) {
        let line = i / across;
        let along = i % across;
        var four: vec4<f16>;
        if (TRANS_B) {
            four = load_b(k0 + along, column0 + line, k_end);
        } else {
            four = load_b(k0 + line, column0 + along, k_end);
        }
        let at = line * (across + PAD) + along;
        b_tile[at] = four.x;
        b_tile[at + 1u] = four.y;
        b_tile[at + 2u] = four.z;
        b_tile[at + 3u] = four.w;
    }
}

// The matrix of A's tile from (row, k) on.
fn matrix_a(row: u32, k: u32) -> MatrixA {
    if (TRANS_A) {
        let stride = ROWS + PAD;
        return coopLoad<MatrixA>(&a_tile[k * stride + row], stride);
    }
    let stride = STEP + PAD;
    return coopLoadT<MatrixA>(&a_tile[row * stride + k], stride);
}

fn matrix_b(k: u32, column: u32) -> MatrixB {
    if (TRANS_B) {
        let stride = STEP + PAD;
        return coopLoad<MatrixB>(&b_tile[column * stride + k], stride);
    }
    let stride = COLUMNS + PAD;
    return coopLoadT<MatrixB>(&b_tile[k * stride + column], stride);
}

// The matrices of B that a subgroup needs at depth k.
fn matrices_b(k: u32, column: u32) -> array<MatrixB, ACROSS> {
    var found: array<MatrixB, ACROSS>;
    found[0] = matrix_b(k, column);
    if (ACROSS > 1u) {
        found[1u % ACROSS] = matrix_b(k, column + SIDE);
    }
    if (ACROSS > 2u) {
        found[2u % ACROSS] = matrix_b(k, column + 2u * SIDE);
        found[3u % ACROSS] = matrix_b(k, column + 3u * SIDE);
    }
    return found;
}

// Written out: arrays whose places are constants stay in registers.
fn multiply(sums: ptr<function, array<Sums, ACROSS>>, left: MatrixA, right: array<MatrixB, ACROSS>) {
    (*sums)[0] = coopMultiplyAdd(left, right[0], (*sums)[0]);
    if (ACROSS > 1u) {
        (*sums)[1u % ACROSS] = coopMultiplyAdd(left, right[1u % ACROSS], (*sums)[1u % ACROSS]);
    }
    if (ACROSS > 2u) {
        (*sums)[2u % ACROSS] = coopMultiplyAdd(left, right[2u % ACROSS], (*sums)[2u % ACROSS]);
        (*sums)[3u % ACROSS] = coopMultiplyAdd(left, right[3u % ACROSS], (*sums)[3u % ACROSS]);
    }
}

// Where a thread stands, and its subgroup's part of the result.
struct Place {
    subgroup: u32,
    lane: u32,
    row: u32,
    column: u32,
    base: u32,
}

fn store(sums: Sums, at: Place) {
    let stride = SIDE;
    let first = at.subgroup * BLOCK;
    coopStoreT(sums, &results[first], stride);
    workgroupBarrier();
    for (var i = at.lane; i < BLOCK; i += LANES) {
        let row = at.row + i / SIDE;
        let column = at.column + i % SIDE;
        if (row < params.m && column < params.n) {
            var y = results[first + i];
            if (HAS_BIAS) {
                y += f32(bias[column]);
            }
            let place = at.base + row * params.n + column;
            if (params.epilogue == GELU) {
                y = gelu(y);
            } else if (params.epilogue == RESIDUAL) {
                y += f32(residual[place]);
            }
            c[place] = S5(y);
        }
    }
    workgroupBarrier();
}

fn store_row(sums: array<Sums, ACROSS>, down: u32, at: Place) {
    var place = at;
    place.row += down * SIDE;
    store(sums[0], place);
    if (ACROSS > 1u) {
        place.column = at.column + SIDE;
        store(sums[1u % ACROSS], place);
    }
    if (ACROSS > 2u) {
        place.column = at.column + 2u * SIDE;
        store(sums[2u % ACROSS], place);
        place.column = at.column + 3u * SIDE;
        store(sums[3u % ACROSS], place);
    }
}

@compute @workgroup_size(LANES * SUBGROUPS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
    @builtin(subgroup_id) subgroup: u32,
    @builtin(subgroup_invocation_id) lane_of_subgroup: u32,
) {
    let row0 = (params.first_tile_row + group.y) * ROWS;
    let column0 = group.x * COLUMNS;
    let k_begin = group.z * params.k_per_split;
    let k_end = min(params.k, k_begin + params.k_per_split);
    let row = subgroup / SUBGROUPS_ACROSS * DOWN * SIDE;
    let column = subgroup % SUBGROUPS_ACROSS * ACROSS * SIDE;
    var sums0: array<Sums, ACROSS>;
    var sums1: array<Sums, ACROSS>;
    var sums2: array<Sums, ACROSS>;
    var sums3: array<Sums, ACROSS>;
    for (var k0 = k_begin; k0 < k_end; k0 += STEP) {
        workgroupBarrier();
        fill_a(lane, row0, k0, k_end);
        fill_b(lane, column0, k0, k_end);
        workgroupBarrier();
        for (var k = 0u; k < STEP; k += SIDE) {
            let right = matrices_b(k, column);
            multiply(&sums0, matrix_a(row, k), right);
            if (DOWN > 1u) {
                multiply(&sums1, matrix_a(row + SIDE, k), right);
            }
            if (DOWN > 2u) {
                multiply(&sums2, matrix_a(row + 2u * SIDE, k), right);
                multiply(&sums3, matrix_a(row + 3u * SIDE, k), right);
            }
        }
    }
    let base = group.z * params.m * params.n;
    let at = Place(subgroup, lane_of_subgroup, row0 + row, column0 + column, base);
    store_row(sums0, 0u, at);
    if (DOWN > 1u) {
        store_row(sums1, 1u, at);
    }
    if (DOWN > 2u) {
        store_row(sums2, 2u, at);
        store_row(sums3, 3u, at);
    }
}
