// From the partial sums of squares: the norm of all gradients, the factor on them that scales and
// clips, and whether the norm is finite. One workgroup.

struct Params {
    len: u32, // partial sums
    grad_scale: f32,
    clip_norm: f32, // 0: no clipping
}

struct Verdict {
    norm: f32, // after scaling, before clipping
    factor: f32, // on the gradient sums
    applied: u32, // 0 where the norm is not finite: weights stay as they are
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> partials: array<f32>;
@group(0) @binding(2) var<storage, read_write> verdict: Verdict;

const WORKGROUP: u32 = 256u;
const EXPONENT: u32 = 0x7f800000u;

var<workgroup> partial: array<f32, WORKGROUP>;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(local_invocation_index) lane: u32) {
    var sum = 0.0;
    for (var i = lane; i < params.len; i += WORKGROUP) {
        sum += partials[i];
    }
    partial[lane] = sum;
    workgroupBarrier();
    for (var half = WORKGROUP / 2u; half > 0u; half /= 2u) {
        if (lane < half) {
            partial[lane] += partial[lane + half];
        }
        workgroupBarrier();
    }
    if (lane != 0u) {
        return;
    }
    let norm = sqrt(partial[0]) * params.grad_scale;
    var factor = params.grad_scale;
    if (params.clip_norm > 0.0 && norm > params.clip_norm) {
        factor *= params.clip_norm / (norm + 1.0e-6);
    }
    verdict.norm = norm;
    verdict.factor = factor;
    // Infinities and NaN by their bits: a compiler may assume that neither occurs.
    verdict.applied = select(1u, 0u, (bitcast<u32>(norm) & EXPONENT) == EXPONENT);
}
