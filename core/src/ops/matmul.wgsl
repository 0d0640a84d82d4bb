// C[M, N] = A[M, K] * B[K, N] (+ bias[N]), in tiles of 64 x 64 that a workgroup of 8 x 8 threads
// shares; each thread keeps an 8 x 8 block of C in registers, as four 4 x 4 matrices 32 apart.
//
// Workgroup (x, y, z) computes tile column x, tile row first_tile_row + y, and the z-th part of the
// sum over K, which it writes to the z-th matrix in `c` (split-K; another kernel adds the parts).

override TRANS_A: bool = false; // A is stored [K, M]
override TRANS_B: bool = false; // B is stored [N, K]
override HAS_BIAS: bool = false;

struct Params {
    m: u32,
    n: u32,
    k: u32,
    first_tile_row: u32,
    k_per_split: u32, // a multiple of STEP
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<S1>;
@group(0) @binding(2) var<storage, read> b: array<S2>;
@group(0) @binding(3) var<storage, read> bias: array<S3>;
@group(0) @binding(4) var<storage, read_write> c: array<S4>;

const TILE: u32 = 64u; // rows and columns of C in a workgroup
const STEP: u32 = 16u; // depth of K loaded at a time
const SIDE: u32 = 8u; // threads along each side of the tile
const GROUPS: u32 = TILE / 4u; // vec4s across a tile
const STRIDE: u32 = GROUPS + 1u; // of a tile row in vec4, padded against bank conflicts

var<workgroup> a_tile: array<vec4<f32>, STEP * STRIDE>;
var<workgroup> b_tile: array<vec4<f32>, STEP * STRIDE>;

fn load_a(row: u32, k: u32, k_end: u32) -> f32 {
    if (row >= params.m || k >= k_end) {
        return 0.0;
    }
    if (TRANS_A) {
        return f32(a[k * params.m + row]);
    }
    return f32(a[row * params.k + k]);
}

fn load_b(k: u32, col: u32, k_end: u32) -> f32 {
    if (col >= params.n || k >= k_end) {
        return 0.0;
    }
    if (TRANS_B) {
        return f32(b[col * params.k + k]);
    }
    return f32(b[k * params.n + col]);
}

// Which (k, group of four) of a tile is the i-th to load, so that neighbours read neighbouring memory.
fn load_place(i: u32, k_contiguous: bool) -> vec2<u32> {
    if (k_contiguous) {
        return vec2<u32>(i % STEP, i / STEP);
    }
    return vec2<u32>(i / GROUPS, i % GROUPS);
}

fn load_tiles(lane: u32, row0: u32, col0: u32, k0: u32, k_end: u32) {
    for (var i = lane; i < STEP * GROUPS; i += SIDE * SIDE) {
        let at = load_place(i, !TRANS_A);
        let row = row0 + 4u * at.y;
        let k = k0 + at.x;
        a_tile[at.x * STRIDE + at.y] = vec4<f32>(
            load_a(row, k, k_end),
            load_a(row + 1u, k, k_end),
            load_a(row + 2u, k, k_end),
            load_a(row + 3u, k, k_end),
        );
    }
    for (var i = lane; i < STEP * GROUPS; i += SIDE * SIDE) {
        let at = load_place(i, TRANS_B);
        let col = col0 + 4u * at.y;
        let k = k0 + at.x;
        b_tile[at.x * STRIDE + at.y] = vec4<f32>(
            load_b(k, col, k_end),
            load_b(k, col + 1u, k_end),
            load_b(k, col + 2u, k_end),
            load_b(k, col + 3u, k_end),
        );
    }
}

// Row i of the result is a[i] * b.
fn outer(a: vec4<f32>, b: vec4<f32>) -> mat4x4<f32> {
    return mat4x4<f32>(a.x * b, a.y * b, a.z * b, a.w * b);
}

fn store(row: u32, col: u32, base: u32, sums: vec4<f32>) {
    if (row >= params.m) {
        return;
    }
    let at = base + row * params.n + col;
    for (var j = 0u; j < 4u; j++) {
        if (col + j < params.n) {
            var y = sums[j];
            if (HAS_BIAS) {
                y += f32(bias[col + j]);
            }
            c[at + j] = S4(y);
        }
    }
}

fn store_block(row: u32, col: u32, base: u32, block: mat4x4<f32>) {
    store(row, col, base, block[0]);
    store(row + 1u, col, base, block[1]);
    store(row + 2u, col, base, block[2]);
    store(row + 3u, col, base, block[3]);
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let row0 = (params.first_tile_row + group.y) * TILE;
    let col0 = group.x * TILE;
    let k_begin = group.z * params.k_per_split;
    let k_end = min(params.k, k_begin + params.k_per_split);
    let ty = lane / SIDE;
    let tx = lane % SIDE;
    var block00 = mat4x4<f32>();
    var block01 = mat4x4<f32>();
    var block10 = mat4x4<f32>();
    var block11 = mat4x4<f32>();
    for (var k0 = k_begin; k0 < k_end; k0 += STEP) {
        workgroupBarrier();
        load_tiles(lane, row0, col0, k0, k_end);
        workgroupBarrier();
        for (var k = 0u; k < STEP; k++) {
            let a0 = a_tile[k * STRIDE + ty];
            let a1 = a_tile[k * STRIDE + ty + SIDE];
            let b0 = b_tile[k * STRIDE + tx];
            let b1 = b_tile[k * STRIDE + tx + SIDE];
            block00 += outer(a0, b0);
            block01 += outer(a0, b1);
            block10 += outer(a1, b0);
            block11 += outer(a1, b1);
        }
    }
    let base = group.z * params.m * params.n;
    let row = row0 + 4u * ty;
    let col = col0 + 4u * tx;
    let half = TILE / 2u;
    store_block(row, col, base, block00);
    store_block(row, col + half, base, block01);
    store_block(row + half, col, base, block10);
    store_block(row + half, col + half, base, block11);
}
