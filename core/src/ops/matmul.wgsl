// A and B as they come, an element at a time (matmul_tile.wgsl).

@group(0) @binding(1) var<storage, read> a: array<S1>;
@group(0) @binding(2) var<storage, read> b: array<S2>;

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
fn load_place(i: u32, groups: u32, k_contiguous: bool) -> vec2<u32> {
    if (k_contiguous) {
        return vec2<u32>(i % STEP, i / STEP);
    }
    return vec2<u32>(i / groups, i % groups);
}

fn load_tiles(lane: u32, row0: u32, col0: u32, k0: u32, k_end: u32) {
    for (var i = lane; i < STEP * A_GROUPS; i += THREADS) {
        let at = load_place(i, A_GROUPS, !TRANS_A);
        let row = row0 + 4u * at.y;
        let k = k0 + at.x;
        a_tile[at.x * A_STRIDE + at.y] = vec4<f32>(
            load_a(row, k, k_end),
            load_a(row + 1u, k, k_end),
            load_a(row + 2u, k, k_end),
            load_a(row + 3u, k, k_end),
        );
    }
    for (var i = lane; i < STEP * B_GROUPS; i += THREADS) {
        let at = load_place(i, B_GROUPS, TRANS_B);
        let col = col0 + 4u * at.y;
        let k = k0 + at.x;
        b_tile[at.x * B_STRIDE + at.y] = vec4<f32>(
            load_b(k, col, k_end),
            load_b(k, col + 1u, k_end),
            load_b(k, col + 2u, k_end),
            load_b(k, col + 3u, k_end),
        );
    }
}
