// out[n, i] = sum over j of softmax_j(scale * q[n, i] . k[n, j]) * v[n, j], for each head.
//
// Head h reads and writes `head_dim` channels from offset + h * head_dim. A workgroup takes ROWS queries
// of one head; each thread keeps its query in registers and walks over the keys, which pass through
// workgroup memory TILE at a time. Vectors are padded with zeros to a multiple of four channels.

override VECS: u32 = 16u; // vec4s a head: head_dim / 4, rounded up; at most MAX_VECS
override TILE: u32 = 32u; // keys in workgroup memory at a time

struct Params {
    batch: u32,
    heads: u32,
    head_dim: u32,
    q_len: u32,
    kv_len: u32,
    q_stride: u32, // channels of a token of q
    kv_stride: u32, // channels of a token of kv
    q_offset: u32,
    k_offset: u32,
    v_offset: u32,
    scale: f32,
}

const ROWS: u32 = 64u;
const MAX_VECS: u32 = 32u;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> q: array<S1>;
@group(0) @binding(2) var<storage, read> kv: array<S2>;
@group(0) @binding(3) var<storage, read_write> out: array<S3>; // [batch, q_len, heads * head_dim]

var<workgroup> k_tile: array<vec4<f32>, TILE * VECS>;
var<workgroup> v_tile: array<vec4<f32>, TILE * VECS>;

// Four channels of a query, from channel `c` of the head on, zeros past its end.
fn load_q(start: u32, c: u32) -> vec4<f32> {
    var v = vec4<f32>();
    for (var i = 0u; i < 4u; i++) {
        if (c + i < params.head_dim) {
            v[i] = f32(q[start + c + i]);
        }
    }
    return v;
}

// Four channels of a key or value, from channel `c` of the head on, zeros past its end.
fn load_kv(start: u32, c: u32) -> vec4<f32> {
    var v = vec4<f32>();
    for (var i = 0u; i < 4u; i++) {
        if (c + i < params.head_dim) {
            v[i] = f32(kv[start + c + i]);
        }
    }
    return v;
}

// Which block of rows, head and batch element a workgroup takes.
struct Place {
    block: u32,
    head: u32,
    n: u32,
}

fn place_of(index: u32, rows: u32) -> Place {
    let blocks = (rows + ROWS - 1u) / ROWS;
    return Place(index % blocks, index / blocks % params.heads, index / (blocks * params.heads));
}

fn sum4(v: vec4<f32>) -> f32 {
    return (v.x + v.y) + (v.z + v.w);
}

@compute @workgroup_size(ROWS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let index = group.y * groups.x + group.x;
    let place = place_of(index, params.q_len);
    if (place.n >= params.batch) {
        return;
    }
    let row = place.block * ROWS + lane;
    let valid = row < params.q_len;
    var query: array<vec4<f32>, MAX_VECS>;
    var acc: array<vec4<f32>, MAX_VECS>;
    for (var c = 0u; c < VECS; c++) {
        acc[c] = vec4<f32>();
        query[c] = vec4<f32>();
        if (valid) {
            let start = (place.n * params.q_len + row) * params.q_stride + params.q_offset + place.head * params.head_dim;
            query[c] = params.scale * load_q(start, 4u * c);
        }
    }
    // Online softmax: `highest` is the largest score so far, to which `total` and `acc` are relative.
    var highest = -3.0e38;
    var total = 0.0;
    for (var first = 0u; first < params.kv_len; first += TILE) {
        workgroupBarrier();
        for (var i = lane; i < TILE * VECS; i += ROWS) {
            let j = first + i / VECS;
            if (j < params.kv_len) {
                let start = (place.n * params.kv_len + j) * params.kv_stride + place.head * params.head_dim;
                k_tile[i] = load_kv(start + params.k_offset, i % VECS * 4u);
                v_tile[i] = load_kv(start + params.v_offset, i % VECS * 4u);
            }
        }
        workgroupBarrier();
        let count = min(TILE, params.kv_len - first);
        for (var j = 0u; j < count; j++) {
            var dots = vec4<f32>();
            for (var c = 0u; c < VECS; c++) {
                dots = fma(query[c], k_tile[j * VECS + c], dots);
            }
            let score = sum4(dots);
            if (score > highest) {
                let shrink = exp(highest - score);
                highest = score;
                total *= shrink;
                for (var c = 0u; c < VECS; c++) {
                    acc[c] *= shrink;
                }
            }
            let weight = exp(score - highest);
            total += weight;
            for (var c = 0u; c < VECS; c++) {
                acc[c] = fma(vec4<f32>(weight), v_tile[j * VECS + c], acc[c]);
            }
        }
    }
    if (!valid) {
        return;
    }
    let start = (place.n * params.q_len + row) * params.heads * params.head_dim + place.head * params.head_dim;
    for (var c = 0u; c < params.head_dim; c++) {
        out[start + c] = S3(acc[c / 4u][c % 4u] / total);
    }
}
