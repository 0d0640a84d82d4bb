// C[M, N] = A[M, K] * B[K, N] (+ bias[N]), in tiles of 64 x 64 that a workgroup of 16 x 16 threads
// shares; each thread keeps a 4 x 4 block of C in registers.
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
@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read> b: array<f32>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read_write> c: array<f32>;

const TILE: u32 = 64u; // rows and columns of C in a workgroup
const STEP: u32 = 16u; // depth of K loaded at a time
const SIDE: u32 = 16u; // threads along each side of the tile
const STRIDE: u32 = SIDE + 1u; // of a tile row in vec4, padded against bank conflicts

var<workgroup> a_tile: array<vec4<f32>, STEP * STRIDE>;
var<workgroup> b_tile: array<vec4<f32>, STEP * STRIDE>;

fn load_a(row: u32, k: u32, k_end: u32) -> f32 {
    if (row >= params.m || k >= k_end) {
        return 0.0;
    }
    if (TRANS_A) {
        return a[k * params.m + row];
    }
    return a[row * params.k + k];
}

fn load_b(k: u32, col: u32, k_end: u32) -> f32 {
    if (col >= params.n || k >= k_end) {
        return 0.0;
    }
    if (TRANS_B) {
        return b[col * params.k + k];
    }
    return b[k * params.n + col];
}

// Which (k, group of four) of a tile a thread loads, so that neighbours read neighbouring memory.
fn load_place(lane: u32, k_contiguous: bool) -> vec2<u32> {
    let place = vec2<u32>(lane % SIDE, lane / SIDE);
    return select(place.yx, place, k_contiguous);
}

fn store(row: u32, col: u32, base: u32, sum: vec4<f32>) {
    if (row >= params.m) {
        return;
    }
    for (var j = 0u; j < 4u; j++) {
        if (col + j < params.n) {
            var y = sum[j];
            if (HAS_BIAS) {
                y += bias[col + j];
            }
            c[base + row * params.n + col + j] = y;
        }
    }
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let row0 = (params.first_tile_row + group.y) * TILE;
    let col0 = group.x * TILE;
    let k_begin = group.z * params.k_per_split;
    let k_end = min(params.k, k_begin + params.k_per_split);
    let a_place = load_place(lane, !TRANS_A);
    let b_place = load_place(lane, TRANS_B);
    let ty = lane / SIDE;
    let tx = lane % SIDE;
    var sum0 = vec4<f32>();
    var sum1 = vec4<f32>();
    var sum2 = vec4<f32>();
    var sum3 = vec4<f32>();
    for (var k0 = k_begin; k0 < k_end; k0 += STEP) {
        let ar = row0 + 4u * a_place.y;
        let ak = k0 + a_place.x;
        a_tile[a_place.x * STRIDE + a_place.y] = vec4<f32>(
            load_a(ar, ak, k_end),
            load_a(ar + 1u, ak, k_end),
            load_a(ar + 2u, ak, k_end),
            load_a(ar + 3u, ak, k_end),
        );
        let bc = col0 + 4u * b_place.y;
        let bk = k0 + b_place.x;
        b_tile[b_place.x * STRIDE + b_place.y] = vec4<f32>(
            load_b(bk, bc, k_end),
            load_b(bk, bc + 1u, k_end),
            load_b(bk, bc + 2u, k_end),
            load_b(bk, bc + 3u, k_end),
        );
        workgroupBarrier();
        for (var k = 0u; k < STEP; k++) {
            let av = a_tile[k * STRIDE + ty];
            let bv = b_tile[k * STRIDE + tx];
            sum0 = fma(vec4<f32>(av.x), bv, sum0);
            sum1 = fma(vec4<f32>(av.y), bv, sum1);
            sum2 = fma(vec4<f32>(av.z), bv, sum2);
            sum3 = fma(vec4<f32>(av.w), bv, sum3);
        }
        workgroupBarrier();
    }
    let base = group.z * params.m * params.n;
    let row = row0 + 4u * ty;
    let col = col0 + 4u * tx;
    store(row, col, base, sum0);
    store(row + 1u, col, base, sum1);
    store(row + 2u, col, base, sum2);
    store(row + 3u, col, base, sum3);
}
