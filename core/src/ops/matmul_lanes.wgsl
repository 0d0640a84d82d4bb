// C[M, N] = scale * A[M, K] * B[K, N] (+ bias[N]) for adapters that compute on the processor and whose
// subgroups have LANES threads. There a load costs as much as some twenty multiplications of vectors,
// whether threads read the same element or not, and one of four elements little more than one of one. So
// each thread of a subgroup loads other blocks of A, and hands them to the others.
//
// A thread computes ROWS rows of two times four columns, which lie 4 * LANES apart, in blocks of 4 x 4:
// column r of a matrix here is row r of a block of C. Workgroup (x, y, z) takes 8 * LANES columns and the
// ROWS rows from ROWS * (first_tile_row + y) on, of matrix z. Every row of A, B and C begins at a multiple
// of four elements.

override LANES: u32 = 8u;

const ROWS: u32 = 32u;

fn load_a_at(at: vec4<u32>) -> mat4x4<f32> {
    return mat4x4<f32>(vec4<f32>(a[at.x]), vec4<f32>(a[at.y]), vec4<f32>(a[at.z]), vec4<f32>(a[at.w]));
}

// The block of A of four rows and four k: column r is row r. Elements past the last k are zeros.
fn load_a(start: u32, row: u32, k: u32) -> mat4x4<f32> {
    let inside = vec4<u32>(k, k + 1u, k + 2u, k + 3u) < vec4<u32>(params.k);
    if (TRANS_A) {
        let at = (start + min(row, params.m - 1u)) / 4u + four(k, params.k - 1u) * (params.a_row / 4u);
        let columns = transpose(load_a_at(at));
        return zero_unless(inside, columns);
    }
    let at = (start + min(k, params.k - 1u)) / 4u + four(row, params.m - 1u) * (params.a_row / 4u);
    return zero_unless(inside, load_a_at(at));
}

// Element k of every row, or zero.
fn zero_unless(inside: vec4<bool>, rows: mat4x4<f32>) -> mat4x4<f32> {
    let zero = vec4<f32>();
    return mat4x4<f32>(
        select(zero, rows[0], inside),
        select(zero, rows[1], inside),
        select(zero, rows[2], inside),
        select(zero, rows[3], inside),
    );
}

// The block that a lane holds.
fn of_lane(x: mat4x4<f32>, lane: u32) -> mat4x4<f32> {
    return mat4x4<f32>(
        subgroupShuffle(x[0], lane),
        subgroupShuffle(x[1], lane),
        subgroupShuffle(x[2], lane),
        subgroupShuffle(x[3], lane),
    );
}

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let row = (params.first_tile_row + group.y) * ROWS;
    let col = group.x * 8u * LANES + 4u * lane;
    let other = col + 4u * LANES;
    let start = starts(group.z);
    var left0 = mat4x4<f32>();
    var left1 = mat4x4<f32>();
    var left2 = mat4x4<f32>();
    var left3 = mat4x4<f32>();
    var left4 = mat4x4<f32>();
    var left5 = mat4x4<f32>();
    var left6 = mat4x4<f32>();
    var left7 = mat4x4<f32>();
    var right0 = mat4x4<f32>();
    var right1 = mat4x4<f32>();
    var right2 = mat4x4<f32>();
    var right3 = mat4x4<f32>();
    var right4 = mat4x4<f32>();
    var right5 = mat4x4<f32>();
    var right6 = mat4x4<f32>();
    var right7 = mat4x4<f32>();
    for (var k0 = 0u; k0 < params.k; k0 += 4u * LANES) {
        let own_k = k0 + 4u * lane;
        let own0 = load_a(start.x, row, own_k);
        let own1 = load_a(start.x, row + 4u, own_k);
        let own2 = load_a(start.x, row + 8u, own_k);
        let own3 = load_a(start.x, row + 12u, own_k);
        let own4 = load_a(start.x, row + 16u, own_k);
        let own5 = load_a(start.x, row + 20u, own_k);
        let own6 = load_a(start.x, row + 24u, own_k);
        let own7 = load_a(start.x, row + 28u, own_k);
        let blocks = min(LANES, (params.k - k0 + 3u) / 4u);
        for (var j = 0u; j < blocks; j++) {
            let left = load_b(start.y, k0 + 4u * j, col);
            let right = load_b(start.y, k0 + 4u * j, other);
            let a0 = of_lane(own0, j);
            left0 += left * a0;
            right0 += right * a0;
            let a1 = of_lane(own1, j);
            left1 += left * a1;
            right1 += right * a1;
            let a2 = of_lane(own2, j);
            left2 += left * a2;
            right2 += right * a2;
            let a3 = of_lane(own3, j);
            left3 += left * a3;
            right3 += right * a3;
            let a4 = of_lane(own4, j);
            left4 += left * a4;
            right4 += right * a4;
            let a5 = of_lane(own5, j);
            left5 += left * a5;
            right5 += right * a5;
            let a6 = of_lane(own6, j);
            left6 += left * a6;
            right6 += right * a6;
            let a7 = of_lane(own7, j);
            left7 += left * a7;
            right7 += right * a7;
        }
    }
    let at = (start.z + row * params.c_row + col) / 4u;
    if (col < params.n) {
        let plus = bias_of(col);
        store_block(row + 0u, at + 0u * (params.c_row / 4u), left0, plus);
        store_block(row + 4u, at + 4u * (params.c_row / 4u), left1, plus);
        store_block(row + 8u, at + 8u * (params.c_row / 4u), left2, plus);
        store_block(row + 12u, at + 12u * (params.c_row / 4u), left3, plus);
        store_block(row + 16u, at + 16u * (params.c_row / 4u), left4, plus);
        store_block(row + 20u, at + 20u * (params.c_row / 4u), left5, plus);
        store_block(row + 24u, at + 24u * (params.c_row / 4u), left6, plus);
        store_block(row + 28u, at + 28u * (params.c_row / 4u), left7, plus);
    }
    if (other < params.n) {
        let plus = bias_of(other);
        store_block(row + 0u, at + 0u * (params.c_row / 4u) + LANES, right0, plus);
        store_block(row + 4u, at + 4u * (params.c_row / 4u) + LANES, right1, plus);
        store_block(row + 8u, at + 8u * (params.c_row / 4u) + LANES, right2, plus);
        store_block(row + 12u, at + 12u * (params.c_row / 4u) + LANES, right3, plus);
        store_block(row + 16u, at + 16u * (params.c_row / 4u) + LANES, right4, plus);
        store_block(row + 20u, at + 20u * (params.c_row / 4u) + LANES, right5, plus);
        store_block(row + 24u, at + 24u * (params.c_row / 4u) + LANES, right6, plus);
        store_block(row + 28u, at + 28u * (params.c_row / 4u) + LANES, right7, plus);
    }
}
