// C[M, N] = A[M, K] * B[K, N] as textbooks have it: a thread an element, tiles of 16 x 16 in workgroup
// memory. What the kernels that programs use are measured against, and tested against.

struct Params {
    m: u32,
    n: u32,
    k: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read> b: array<f32>;
@group(0) @binding(3) var<storage, read_write> c: array<f32>;

const TILE: u32 = 16u;

var<workgroup> a_tile: array<f32, TILE * TILE>;
var<workgroup> b_tile: array<f32, TILE * TILE>;

@compute @workgroup_size(TILE, TILE)
fn main(@builtin(global_invocation_id) at: vec3<u32>, @builtin(local_invocation_id) lane: vec3<u32>) {
    let own = lane.y * TILE + lane.x;
    var sum = 0.0;
    for (var k0 = 0u; k0 < params.k; k0 += TILE) {
        a_tile[own] = 0.0;
        b_tile[own] = 0.0;
        if (at.y < params.m && k0 + lane.x < params.k) {
            a_tile[own] = a[at.y * params.k + k0 + lane.x];
        }
        if (at.x < params.n && k0 + lane.y < params.k) {
            b_tile[own] = b[(k0 + lane.y) * params.n + at.x];
        }
        workgroupBarrier();
        for (var k = 0u; k < TILE; k++) {
            sum += a_tile[lane.y * TILE + k] * b_tile[k * TILE + lane.x];
        }
        workgroupBarrier();
    }
    if (at.y < params.m && at.x < params.n) {
        c[at.y * params.n + at.x] = sum;
    }
}
