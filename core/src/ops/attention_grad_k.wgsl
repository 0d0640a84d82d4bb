// dk[j] = scale * sum over i of p[i, j] * (dy[i] . v[j] - delta[i]) * q[i], with p[i, j] =
// exp(scale * q[i] . k[j] - lse[i]); written at the channels that k has in its own tensor.
//
// Head h reads and writes `head_dim` channels from offset + h * head_dim. A workgroup takes ROWS keys
// of one head; each thread keeps its key in registers and walks over the queries, which pass through
// workgroup memory TILE at a time. Vectors are padded with zeros to a multiple of four channels.

override VECS: u32 = 16u; // vec4s a head: head_dim / 4, rounded up; at most MAX_VECS
override TILE: u32 = 32u; // queries in workgroup memory at a time

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
@group(0) @binding(3) var<storage, read> dy: array<S3>; // [batch, q_len, heads * head_dim]
@group(0) @binding(4) var<storage, read> stats: array<f32>; // (lse, delta) at [batch, heads, q_len]
@group(0) @binding(5) var<storage, read_write> grad: array<S5>; // shape of the tensor of kv

var<workgroup> q_tile: array<vec4<f32>, TILE * VECS>;
var<workgroup> dy_tile: array<vec4<f32>, TILE * VECS>;

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

// Four channels of the gradient of a result, from channel `c` of the head on, zeros past its end.
fn load_dy(start: u32, c: u32) -> vec4<f32> {
    var v = vec4<f32>();
    for (var i = 0u; i < 4u; i++) {
        if (c + i < params.head_dim) {
            v[i] = f32(dy[start + c + i]);
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
    let place = place_of(index, params.kv_len);
    if (place.n >= params.batch) {
        return;
    }
    let row = place.block * ROWS + lane;
    let valid = row < params.kv_len;
    var key: array<vec4<f32>, MAX_VECS>;
    var value: array<vec4<f32>, MAX_VECS>;
    var dk: array<vec4<f32>, MAX_VECS>;
    for (var c = 0u; c < VECS; c++) {
        key[c] = vec4<f32>();
        value[c] = vec4<f32>();
        dk[c] = vec4<f32>();
        if (valid) {
            let start = (place.n * params.kv_len + row) * params.kv_stride + place.head * params.head_dim;
            key[c] = load_kv(start + params.k_offset, 4u * c);
            value[c] = load_kv(start + params.v_offset, 4u * c);
        }
    }
    let stats_row = (place.n * params.heads + place.head) * params.q_len;
    for (var first = 0u; first < params.q_len; first += TILE) {
        workgroupBarrier();
        for (var i = lane; i < TILE * VECS; i += ROWS) {
            let token = first + i / VECS;
            if (token < params.q_len) {
                let at = place.n * params.q_len + token;
                let channel = place.head * params.head_dim;
                q_tile[i] = params.scale * load_q(at * params.q_stride + params.q_offset + channel, i % VECS * 4u);
                dy_tile[i] = load_dy(at * params.heads * params.head_dim + channel, i % VECS * 4u);
            }
        }
        workgroupBarrier();
        let count = min(TILE, params.q_len - first);
        for (var i = 0u; i < count; i++) {
            var dots = vec4<f32>();
            var douts = vec4<f32>();
            for (var c = 0u; c < VECS; c++) {
                dots = fma(key[c], q_tile[i * VECS + c], dots);
                douts = fma(value[c], dy_tile[i * VECS + c], douts);
            }
            let at = 2u * (stats_row + first + i);
            let ds = exp(sum4(dots) - stats[at]) * (sum4(douts) - stats[at + 1u]);
            for (var c = 0u; c < VECS; c++) {
                dk[c] = fma(vec4<f32>(ds), q_tile[i * VECS + c], dk[c]); // q_tile carries the scale
            }
        }
    }
    if (!valid) {
        return;
    }
    let start = (place.n * params.kv_len + row) * params.kv_stride + params.k_offset + place.head * params.head_dim;
    for (var c = 0u; c < params.head_dim; c++) {
        grad[start + c] = S5(dk[c / 4u][c % 4u]);
    }
}
