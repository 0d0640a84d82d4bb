// C[M, N] = scale * A[M, K] * B[K, N] (+ bias[N]) for adapters that compute on the processor and whose
// subgroups have four threads, SwiftShader's. What a load costs there grows with what is loaded, and its
// compiler takes long over large kernels: fewer rows than `matmul_lanes`, and each thread loads four k of a
// row of its own, or four rows of a k, which it hands to the others by a number that the compiler knows.
//
// A thread computes ROWS rows of two times four columns, which lie 16 apart, in blocks of 4 x 4: column r of
// a matrix here is row r of a block of C. Workgroup (x, y, z) takes 32 columns and the ROWS rows from
// ROWS * (first_tile_row + y) on, of matrix z.

const ROWS: u32 = 16u;

// What this thread loads of the block of A of four rows and four k. Elements past the last k are zeros.
fn load_a(start: u32, row: u32, k: u32, lane: u32) -> vec4<f32> {
    if (TRANS_A) {
        let own = k + lane;
        let at = (start + min(row, params.m - 1u) + min(own, params.k - 1u) * params.a_row) / 4u;
        return select(vec4<f32>(), vec4<f32>(a[at]), own < params.k);
    }
    let inside = vec4<u32>(k, k + 1u, k + 2u, k + 3u) < vec4<u32>(params.k);
    let at = (start + k + min(row + lane, params.m - 1u) * params.a_row) / 4u;
    return select(vec4<f32>(), vec4<f32>(a[at]), inside);
}

// The whole block, of which every thread has loaded a part: column r is row r.
fn of_all(own: vec4<f32>) -> mat4x4<f32> {
    let parts = mat4x4<f32>(
        subgroupBroadcast(own, 0u),
        subgroupBroadcast(own, 1u),
        subgroupBroadcast(own, 2u),
        subgroupBroadcast(own, 3u),
    );
    if (TRANS_A) {
        return transpose(parts);
    }
    return parts;
}

@compute @workgroup_size(4)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let row = (params.first_tile_row + group.y) * ROWS;
    let col = group.x * 32u + 4u * lane;
    let other = col + 16u;
    let start = starts(group.z);
    var left0 = mat4x4<f32>();
    var left1 = mat4x4<f32>();
    var left2 = mat4x4<f32>();
    var left3 = mat4x4<f32>();
    var right0 = mat4x4<f32>();
    var right1 = mat4x4<f32>();
    var right2 = mat4x4<f32>();
    var right3 = mat4x4<f32>();
    for (var k = 0u; k < params.k; k += 4u) {
        let left = load_b(start.y, k, col);
        let right = load_b(start.y, k, other);
        let a0 = of_all(load_a(start.x, row, k, lane));
        left0 += left * a0;
        right0 += right * a0;
        let a1 = of_all(load_a(start.x, row + 4u, k, lane));
        left1 += left * a1;
        right1 += right * a1;
        let a2 = of_all(load_a(start.x, row + 8u, k, lane));
        left2 += left * a2;
        right2 += right * a2;
        let a3 = of_all(load_a(start.x, row + 12u, k, lane));
        left3 += left * a3;
        right3 += right * a3;
    }
    let at = (start.z + row * params.c_row + col) / 4u;
    let step = params.c_row;
    if (col < params.n) {
        let plus = bias_of(col);
        store_block(row, at, left0, plus);
        store_block(row + 4u, at + step, left1, plus);
        store_block(row + 8u, at + 2u * step, left2, plus);
        store_block(row + 12u, at + 3u * step, left3, plus);
    }
    if (other < params.n) {
        let plus = bias_of(other);
        store_block(row, at + 4u, right0, plus);
        store_block(row + 4u, at + 4u + step, right1, plus);
        store_block(row + 8u, at + 4u + 2u * step, right2, plus);
        store_block(row + 12u, at + 4u + 3u * step, right3, plus);
    }
}
