// What matmul.wgsl and matmul_fours.wgsl have in common, put before them: C[M, N] = A[M, K] * B[K, N]
// (+ bias[N]), in tiles that a workgroup shares. Its threads stand in THREADS_DOWN rows of THREADS_ACROSS;
// each keeps one or two (DOWN) times one or two (ACROSS) 4 x 4 matrices of C in registers, half a tile
// apart. K is taken STEP at a time. These five constants are put before this text (ops/variant.rs). The files
// bind A and B and bring their tiles to workgroup memory (load_tiles).
//
// The four matrices have names, and no array and no loop: in a loop, which translations to other languages
// guard against running for ever, compilers would keep an array in memory.
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
    epilogue: u32, // NOTHING, GELU or RESIDUAL
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(3) var<storage, read> bias: array<S3>;
@group(0) @binding(4) var<storage, read> residual: array<S4>;
@group(0) @binding(5) var<storage, read_write> c: array<S5>;

// What becomes of a product before it is stored.
const GELU: u32 = 1u;
const RESIDUAL: u32 = 2u; // another matrix like C is added

const THREADS: u32 = THREADS_DOWN * THREADS_ACROSS;
const A_GROUPS: u32 = DOWN * THREADS_DOWN; // vec4s along the rows of a tile
const B_GROUPS: u32 = ACROSS * THREADS_ACROSS; // vec4s across a tile
const A_STRIDE: u32 = A_GROUPS + 1u; // padded against bank conflicts
const B_STRIDE: u32 = B_GROUPS + 1u;

var<workgroup> a_tile: array<vec4<f32>, STEP * A_STRIDE>;
var<workgroup> b_tile: array<vec4<f32>, STEP * B_STRIDE>;

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
            if (params.epilogue == GELU) {
                y = gelu(y);
            } else if (params.epilogue == RESIDUAL) {
                y += f32(residual[at + j]);
            }
            c[at + j] = S5(y);
        }
    }
}

fn store_block(row: u32, col: u32, base: u32, block: mat4x4<f32>) {
    store(row, col, base, block[0]);
    store(row + 1u, col, base, block[1]);
    store(row + 2u, col, base, block[2]);
    store(row + 3u, col, base, block[3]);
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let row0 = (params.first_tile_row + group.y) * 4u * A_GROUPS;
    let col0 = group.x * 4u * B_GROUPS;
    let k_begin = group.z * params.k_per_split;
    let k_end = min(params.k, k_begin + params.k_per_split);
    let ty = lane / THREADS_ACROSS;
    let tx = lane % THREADS_ACROSS;
    var block00 = mat4x4<f32>();
    var block01 = mat4x4<f32>();
    var block10 = mat4x4<f32>();
    var block11 = mat4x4<f32>();
    for (var k0 = k_begin; k0 < k_end; k0 += STEP) {
        workgroupBarrier();
        load_tiles(lane, row0, col0, k0, k_end);
        workgroupBarrier();
        for (var k = 0u; k < STEP; k++) {
            let a0 = a_tile[k * A_STRIDE + ty];
            let b0 = b_tile[k * B_STRIDE + tx];
            var a1 = vec4<f32>();
            var b1 = vec4<f32>();
            block00 += outer(a0, b0);
            if (ACROSS == 2u) {
                b1 = b_tile[k * B_STRIDE + tx + THREADS_ACROSS];
                block01 += outer(a0, b1);
            }
            if (DOWN == 2u) {
                a1 = a_tile[k * A_STRIDE + ty + THREADS_DOWN];
                block10 += outer(a1, b0);
            }
            if (DOWN == 2u && ACROSS == 2u) {
                block11 += outer(a1, b1);
            }
        }
    }
    let base = group.z * params.m * params.n;
    let row = row0 + 4u * ty;
    let col = col0 + 4u * tx;
    let below = row + 4u * THREADS_DOWN;
    let beside = col + 4u * THREADS_ACROSS;
    store_block(row, col, base, block00);
    if (ACROSS == 2u) {
        store_block(row, beside, base, block01);
    }
    if (DOWN == 2u) {
        store_block(below, col, base, block10);
    }
    if (DOWN == 2u && ACROSS == 2u) {
        store_block(below, beside, base, block11);
    }
}
