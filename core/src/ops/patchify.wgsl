// The p x p patches of an image, each flattened as (channel, row, column) or (row, column, channel),
// minus a constant.

override CHANNELS_LAST: bool = false;

struct Params {
    len: u32,
    channels: u32,
    height: u32, // of the image, in pixels
    width: u32,
    patch_side: u32,
    subtract: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> image: array<f32>;
@group(0) @binding(2) var<storage, read_write> patches: array<S2>;

const WORKGROUP: u32 = 256u;

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = (group.y * groups.x + group.x) * WORKGROUP + lane;
    if (i >= params.len) {
        return;
    }
    let p = params.patch_side;
    let across = params.width / p;
    let patches_an_image = across * (params.height / p);
    let inside = i % (params.channels * p * p);
    let l = i / (params.channels * p * p) % patches_an_image;
    let n = i / (params.channels * p * p) / patches_an_image;
    var c = inside / (p * p);
    var pixel = inside % (p * p);
    if (CHANNELS_LAST) {
        c = inside % params.channels;
        pixel = inside / params.channels;
    }
    let row = l / across * p + pixel / p;
    let col = l % across * p + pixel % p;
    patches[i] = S2(image[((n * params.channels + c) * params.height + row) * params.width + col] - params.subtract);
}
