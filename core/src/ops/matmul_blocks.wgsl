// What kernels share that multiply matrices in blocks of 4 x 4 on the processor: the blocks of B, and those of
// C. Every row of A, B and C begins at a multiple of four elements, and K is such a multiple where B is stored
// [N, K]. Column r of a block of C is its row r.

@group(0) @binding(1) var<storage, read> a: array<vec4<S1>>;
@group(0) @binding(2) var<storage, read> b: array<vec4<S2>>;
@group(0) @binding(3) var<storage, read> bias: array<vec4<S3>>;
@group(0) @binding(4) var<storage, read_write> c: array<vec4<S4>>;

// Four numbers from i on, none above the last; past the end the last one is read, and not used.
fn four(i: u32, last: u32) -> vec4<u32> {
    return min(vec4<u32>(i, i + 1u, i + 2u, i + 3u), vec4<u32>(last));
}

fn load_b_at(at: vec4<u32>) -> mat4x4<f32> {
    return mat4x4<f32>(vec4<f32>(b[at.x]), vec4<f32>(b[at.y]), vec4<f32>(b[at.z]), vec4<f32>(b[at.w]));
}

// The block of B of four k and four columns: column i is that of k + i.
fn load_b(start: u32, k: u32, col: u32) -> mat4x4<f32> {
    if (TRANS_B) {
        return transpose(load_b_at((start + k) / 4u + four(col, params.n - 1u) * (params.b_row / 4u)));
    }
    return load_b_at((start + min(col, params.n - 1u)) / 4u + four(k, params.k - 1u) * (params.b_row / 4u));
}

// The bias of four columns, or zeros.
fn bias_of(col: u32) -> vec4<f32> {
    if (params.has_bias != 0u && col < params.n) {
        return vec4<f32>(bias[col / 4u]);
    }
    return vec4<f32>();
}

// Stores a block of C whose rows begin at `at`, as far as C has these rows.
fn store_block(row: u32, at: u32, block: mat4x4<f32>, plus: vec4<f32>) {
    let step = params.c_row / 4u;
    if (row < params.m) {
        c[at] = vec4<S4>(params.scale * block[0] + plus);
    }
    if (row + 1u < params.m) {
        c[at + step] = vec4<S4>(params.scale * block[1] + plus);
    }
    if (row + 2u < params.m) {
        c[at + 2u * step] = vec4<S4>(params.scale * block[2] + plus);
    }
    if (row + 3u < params.m) {
        c[at + 3u * step] = vec4<S4>(params.scale * block[3] + plus);
    }
}
