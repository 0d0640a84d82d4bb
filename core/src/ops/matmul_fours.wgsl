// A and B in fours along memory, where their rows are multiples of four long (matmul_tile.wgsl).

@group(0) @binding(1) var<storage, read> a: array<vec4<S1>>;
@group(0) @binding(2) var<storage, read> b: array<vec4<S2>>;

// Four elements of A from (row, k) on, along memory; zeros beyond the matrix.
fn load_a(row: u32, k: u32, k_end: u32) -> vec4<f32> {
    if (row >= params.m || k >= k_end) {
        return vec4<f32>();
    }
    if (TRANS_A) {
        return vec4<f32>(a[(k * params.m + row) / 4u]);
    }
    return vec4<f32>(a[(row * params.k + k) / 4u]);
}

fn load_b(k: u32, col: u32, k_end: u32) -> vec4<f32> {
    if (col >= params.n || k >= k_end) {
        return vec4<f32>();
    }
    if (TRANS_B) {
        return vec4<f32>(b[(col * params.k + k) / 4u]);
    }
    return vec4<f32>(b[(k * params.n + col) / 4u]);
}

// Tiles hold fours across K: of those along K, a thread takes 4 x 4 elements and turns them round.
fn load_a_tile(lane: u32, row0: u32, k0: u32, k_end: u32) {
    if (TRANS_A) {
        for (var i = lane; i < STEP * A_GROUPS; i += THREADS) {
            let k = i / A_GROUPS;
            let group = i % A_GROUPS;
            a_tile[k * A_STRIDE + group] = load_a(row0 + 4u * group, k0 + k, k_end);
        }
        return;
    }
    for (var i = lane; i < STEP / 4u * A_GROUPS; i += THREADS) {
        let k = i % (STEP / 4u) * 4u;
        let group = i / (STEP / 4u);
        let row = row0 + 4u * group;
        let turned = transpose(mat4x4<f32>(
            load_a(row, k0 + k, k_end),
            load_a(row + 1u, k0 + k, k_end),
            load_a(row + 2u, k0 + k, k_end),
            load_a(row + 3u, k0 + k, k_end),
        ));
        let at = k * A_STRIDE + group;
        a_tile[at] = turned[0];
        a_tile[at + A_STRIDE] = turned[1];
        a_tile[at + 2u * A_STRIDE] = turned[2];
        a_tile[at + 3u * A_STRIDE] = turned[3];
    }
}

fn load_b_tile(lane: u32, col0: u32, k0: u32, k_end: u32) {
    if (!TRANS_B) {
        for (var i = lane; i < STEP * B_GROUPS; i += THREADS) {
            let k = i / B_GROUPS;
            let group = i % B_GROUPS;
            b_tile[k * B_STRIDE + group] = load_b(k0 + k, col0 + 4u * group, k_end);
        }
        return;
    }
    for (var i = lane; i < STEP / 4u * B_GROUPS; i += THREADS) {
        let k = i % (STEP / 4u) * 4u;
        let group = i / (STEP / 4u);
        let col = col0 + 4u * group;
        let turned = transpose(mat4x4<f32>(
            load_b(k0 + k, col, k_end),
            load_b(k0 + k, col + 1u, k_end),
            load_b(k0 + k, col + 2u, k_end),
            load_b(k0 + k, col + 3u, k_end),
        ));
        let at = k * B_STRIDE + group;
        b_tile[at] = turned[0];
        b_tile[at + B_STRIDE] = turned[1];
        b_tile[at + 2u * B_STRIDE] = turned[2];
        b_tile[at + 3u * B_STRIDE] = turned[3];
    }
}

fn load_tiles(lane: u32, row0: u32, col0: u32, k0: u32, k_end: u32) {
    load_a_tile(lane, row0, k0, k_end);
    load_b_tile(lane, col0, k0, k_end);
}
