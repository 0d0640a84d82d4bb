// What kernels share that multiply matrices on the processor: one matrix, or as many as `heads` times a batch,
// wherever they lie.

override TRANS_A: bool = false; // A is stored [K, M]
override TRANS_B: bool = false; // B is stored [N, K]

struct Params {
    m: u32,
    n: u32,
    k: u32,
    first_tile_row: u32,
    heads: u32,
    scale: f32,
    has_bias: u32,
    // Where the first matrix begins, how far apart those of the heads and of the batch are, and how
    // far apart the rows of a matrix are, as it is stored: in elements.
    a_start: u32,
    a_head: u32,
    a_batch: u32,
    a_row: u32,
    b_start: u32,
    b_head: u32,
    b_batch: u32,
    b_row: u32,
    c_start: u32,
    c_head: u32,
    c_batch: u32,
    c_row: u32,
}

@group(0) @binding(0) var<uniform> params: Params;

// Where matrix number `matrix` begins, of A, of B and of C.
fn starts(matrix: u32) -> vec3<u32> {
    let head = matrix % params.heads;
    let image = matrix / params.heads;
    let first = vec3<u32>(params.a_start, params.b_start, params.c_start);
    let heads = vec3<u32>(params.a_head, params.b_head, params.c_head);
    return first + head * heads + image * vec3<u32>(params.a_batch, params.b_batch, params.c_batch);
}
