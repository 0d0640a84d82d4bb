// One AdamW step (decoupled weight decay) of one parameter, and its gradient sum cleared; four elements a
// thread. What buffers have beyond the last element is 0 and stays so.

struct Params {
    fours: u32,
    beta1: f32,
    beta2: f32,
    one_minus_beta1: f32, // rounded once, from f64
    one_minus_beta2: f32,
    eps: f32,
    step_size: f32, // lr / (1 - beta1^t)
    root_correction: f32, // 1 / sqrt(1 - beta2^t)
    keep: f32, // 1 - lr * weight_decay, or 1 where the parameter does not decay
}

struct Verdict {
    norm: f32,
    factor: f32, // on the gradient sums
    applied: u32, // 0: leave everything as it is
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> verdict: Verdict;
@group(0) @binding(2) var<storage, read_write> gradient: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> mean: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> square: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> weight: array<vec4<f32>>;

const WORKGROUP: u32 = 256u;

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = (group.y * groups.x + group.x) * WORKGROUP + lane;
    if (i >= params.fours) {
        return;
    }
    if (verdict.applied == 1u) {
        let g = gradient[i] * verdict.factor;
        let m = params.beta1 * mean[i] + params.one_minus_beta1 * g;
        let v = params.beta2 * square[i] + params.one_minus_beta2 * g * g;
        mean[i] = m;
        square[i] = v;
        weight[i] = params.keep * weight[i] - params.step_size * m / (sqrt(v) * params.root_correction + params.eps);
    }
    gradient[i] = vec4<f32>();
}
