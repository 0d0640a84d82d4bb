//! A transformer with the products of R-MAE Ti.
//!
//! Left out is what moves data only: patches come as rows, the visible ones first and already gathered, so
//! removed places are a tail of mask tokens. Losses are mean squares over every patch.

use burn::module::Param;
use burn::nn::{LayerNorm, LayerNormConfig, Linear, LinearConfig};
use burn::prelude::*;
use burn::tensor::Distribution;
use burn::tensor::activation::gelu;
use burn::tensor::module::attention;

/// Patches of a photo of 224 pixels.
const PATCHES: usize = 196;
/// Patches that stay visible.
const VISIBLE: usize = 49;
/// Pixels of a patch.
const PIXELS: usize = 16 * 16;
/// Regions of a photo.
const REGIONS: usize = 8;
/// Encoder and pixel decoder.
const WIDTH: usize = 192;
const DEPTH: usize = 12;
const HEADS: usize = 3;
const DECODER_DEPTH: usize = 4;
const DECODER_HEADS: usize = 6;
/// Region encoder, neck and region decoder.
const REGION_WIDTH: usize = 128;
const REGION_HEADS: usize = 8;
const REGION_DEPTH: usize = 1;
const NECK_DEPTH: usize = 4;

/// A batch: what goes in and what should come out.
pub struct Inputs {
    /// `[batch, VISIBLE, 3·PIXELS]`.
    visible: Tensor<3>,
    /// `[batch·REGIONS, VISIBLE, PIXELS]`.
    regions: Tensor<3>,
    positions: Tensor<3>,
    region_positions: Tensor<3>,
    decoder_positions: Tensor<3>,
    neck_positions: Tensor<3>,
    /// `[batch, PATCHES, 3·PIXELS]`.
    pixels: Tensor<3>,
    /// `[batch, REGIONS, PATCHES, PIXELS]`.
    maps: Tensor<4>,
}

impl Inputs {
    /// A batch of noise.
    pub fn random(batch: usize, device: &Device) -> Self {
        let normal = |shape, deviation| Tensor::random(shape, Distribution::Normal(0.0, deviation), device);
        Self {
            visible: normal([batch, VISIBLE, 3 * PIXELS], 1.0),
            regions: normal([batch * REGIONS, VISIBLE, PIXELS], 0.5),
            positions: normal([1, VISIBLE + 1, WIDTH], 0.5),
            region_positions: normal([1, VISIBLE, REGION_WIDTH], 0.5),
            decoder_positions: normal([1, PATCHES + 1, WIDTH], 0.5),
            neck_positions: normal([1, PATCHES + 1, REGION_WIDTH], 0.5),
            pixels: normal([batch, PATCHES, 3 * PIXELS], 1.0),
            maps: Tensor::random([batch, REGIONS, PATCHES, PIXELS], Distribution::Bernoulli(0.5), device),
        }
    }
}

fn linear(from: usize, to: usize, device: &Device) -> Linear {
    LinearConfig::new(from, to).init(device)
}

fn norm(width: usize, device: &Device) -> LayerNorm {
    LayerNormConfig::new(width).with_epsilon(1e-6).init(device)
}

/// A learned token that stands for another.
fn token(width: usize, device: &Device) -> Param<Tensor<3>> {
    nn::Initializer::Normal { mean: 0.0, std: 0.02 }.init([1, 1, width], device)
}

/// Multi-head self-attention, with a linear each for queries, keys and values as Burn's own module has them.
#[derive(Module, Debug)]
struct Attention {
    query: Linear,
    key: Linear,
    value: Linear,
    proj: Linear,
    heads: usize,
}

impl Attention {
    fn new(width: usize, heads: usize, device: &Device) -> Self {
        let linear = || linear(width, width, device);
        Self { query: linear(), key: linear(), value: linear(), proj: linear(), heads }
    }

    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let [batch, tokens, width] = x.dims();
        let split = |linear: &Linear| {
            let y = linear.forward(x.clone());
            y.reshape([batch, tokens, self.heads, width / self.heads]).swap_dims(1, 2)
        };
        let (q, k, v) = (split(&self.query), split(&self.key), split(&self.value));
        let y = attention(q, k, v, None, None, Default::default());
        self.proj.forward(y.swap_dims(1, 2).reshape([batch, tokens, width]))
    }
}

/// A pre-norm block.
#[derive(Module, Debug)]
struct Block {
    norm1: LayerNorm,
    attention: Attention,
    norm2: LayerNorm,
    fc1: Linear,
    fc2: Linear,
}

impl Block {
    fn new(width: usize, heads: usize, device: &Device) -> Self {
        Self {
            norm1: norm(width, device),
            attention: Attention::new(width, heads, device),
            norm2: norm(width, device),
            fc1: linear(width, 4 * width, device),
            fc2: linear(4 * width, width, device),
        }
    }

    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let x = x.clone() + self.attention.forward(self.norm1.forward(x));
        x.clone() + self.fc2.forward(gelu(self.fc1.forward(self.norm2.forward(x))))
    }
}

fn stack(width: usize, heads: usize, depth: usize, device: &Device) -> Vec<Block> {
    (0..depth).map(|_| Block::new(width, heads, device)).collect()
}

fn run(blocks: &[Block], x: Tensor<3>) -> Tensor<3> {
    blocks.iter().fold(x, |x, block| block.forward(x))
}

/// Every place of a photo: visible tokens, then the mask token where a patch was removed.
fn fill(x: Tensor<3>, token: &Param<Tensor<3>>) -> Tensor<3> {
    let [batch, _, width] = x.dims();
    let removed = token.val().expand([batch, PATCHES - VISIBLE, width]);
    Tensor::cat(vec![x, removed], 1)
}

/// The whole model.
#[derive(Module, Debug)]
pub struct Model {
    patch_embed: Linear,
    cls_token: Param<Tensor<3>>,
    blocks: Vec<Block>,
    norm: LayerNorm,
    decoder_embed: Linear,
    mask_token: Param<Tensor<3>>,
    decoder: Vec<Block>,
    decoder_norm: LayerNorm,
    decoder_pred: Linear,
    region_embed: Linear,
    region_encoder: Vec<Block>,
    region_norm: LayerNorm,
    region_proj: Linear,
    neck_embed: Linear,
    neck_token: Param<Tensor<3>>,
    neck: Vec<Block>,
    neck_norm: LayerNorm,
    query_norm: LayerNorm,
    query_attention: Attention,
    memory_proj: Linear,
    head_norm: LayerNorm,
    fc1: Linear,
    fc2: Linear,
    region_pred: Linear,
}

impl Model {
    /// A model with random weights.
    pub fn new(device: &Device) -> Self {
        let (d, r) = (WIDTH, REGION_WIDTH);
        Self {
            patch_embed: linear(3 * PIXELS, d, device),
            cls_token: token(d, device),
            blocks: stack(d, HEADS, DEPTH, device),
            norm: norm(d, device),
            decoder_embed: linear(d, d, device),
            mask_token: token(d, device),
            decoder: stack(d, DECODER_HEADS, DECODER_DEPTH, device),
            decoder_norm: norm(d, device),
            decoder_pred: linear(d, 3 * PIXELS, device),
            region_embed: linear(PIXELS, r, device),
            region_encoder: stack(r, REGION_HEADS, REGION_DEPTH, device),
            region_norm: norm(r, device),
            region_proj: linear(r, r, device),
            neck_embed: linear(d, r, device),
            neck_token: token(r, device),
            neck: stack(r, REGION_HEADS, NECK_DEPTH, device),
            neck_norm: norm(r, device),
            query_norm: norm(r, device),
            query_attention: Attention::new(r, REGION_HEADS, device),
            memory_proj: linear(r, r, device),
            head_norm: norm(r, device),
            fc1: linear(r, r, device),
            fc2: linear(r, r, device),
            region_pred: linear(r, PIXELS, device),
        }
    }

    /// Mean squares of pixels and of region maps.
    pub fn loss(&self, inputs: &Inputs) -> Tensor<1> {
        let latent = self.encode(inputs);
        let pixels = self.pixels(latent.clone(), inputs);
        let maps = self.maps(self.queries(inputs), self.memory(latent, inputs));
        let pixel_loss = (pixels - inputs.pixels.clone()).square().mean();
        pixel_loss + (maps - inputs.maps.clone()).square().mean()
    }

    /// Visible patches and the class token through the encoder.
    fn encode(&self, inputs: &Inputs) -> Tensor<3> {
        let x = self.patch_embed.forward(inputs.visible.clone());
        let [batch, _, width] = x.dims();
        let cls = self.cls_token.val().expand([batch, 1, width]);
        let x = Tensor::cat(vec![cls, x], 1) + inputs.positions.clone();
        self.norm.forward(run(&self.blocks, x))
    }

    /// Pixels of every patch.
    fn pixels(&self, latent: Tensor<3>, inputs: &Inputs) -> Tensor<3> {
        let x = fill(self.decoder_embed.forward(latent), &self.mask_token) + inputs.decoder_positions.clone();
        let x = self.decoder_norm.forward(run(&self.decoder, x));
        self.decoder_pred.forward(x).narrow(1, 1, PATCHES)
    }

    /// A query for each region: `[batch, REGIONS, REGION_WIDTH]`.
    fn queries(&self, inputs: &Inputs) -> Tensor<3> {
        let x = self.region_embed.forward(inputs.regions.clone()) + inputs.region_positions.clone();
        let x = run(&self.region_encoder, x).mean_dim(1);
        let batch = x.dims()[0] / REGIONS;
        self.region_proj.forward(self.region_norm.forward(x)).reshape([batch, REGIONS, REGION_WIDTH])
    }

    /// What regions are decoded from: `[batch, PATCHES + 1, REGION_WIDTH]`.
    fn memory(&self, latent: Tensor<3>, inputs: &Inputs) -> Tensor<3> {
        let x = fill(self.neck_embed.forward(latent), &self.neck_token) + inputs.neck_positions.clone();
        self.neck_norm.forward(run(&self.neck, x))
    }

    /// The length-variant region decoder: a map for each region.
    fn maps(&self, queries: Tensor<3>, memory: Tensor<3>) -> Tensor<4> {
        let q = queries.clone() + self.query_attention.forward(self.query_norm.forward(queries));
        let x: Tensor<4> = q.unsqueeze_dim(2) + self.memory_proj.forward(memory).unsqueeze_dim(1);
        let x = self.fc2.forward(gelu(self.fc1.forward(self.head_norm.forward(x))));
        self.region_pred.forward(gelu(x)).narrow(2, 1, PATCHES)
    }
}

/// FLOPs of an attention with its four linears.
fn attention_flops(batch: usize, tokens: usize, width: usize) -> usize {
    2 * batch * tokens * (4 * width * width + 2 * tokens * width)
}

/// FLOPs of the products of a stack of blocks.
fn stack_flops(batch: usize, tokens: usize, width: usize, depth: usize) -> usize {
    depth * (attention_flops(batch, tokens, width) + 2 * batch * tokens * 8 * width * width)
}

/// FLOPs (2·m·n·k) of every product of a forward pass.
pub fn forward_flops(batch: usize) -> u64 {
    let (d, r, all, regions) = (WIDTH, REGION_WIDTH, PATCHES + 1, batch * REGIONS);
    let linear = |rows, from, to| 2 * rows * from * to;
    let encoder = linear(batch * VISIBLE, 3 * PIXELS, d) + stack_flops(batch, VISIBLE + 1, d, DEPTH);
    let decoder = linear(batch * (VISIBLE + 1), d, d)
        + stack_flops(batch, all, d, DECODER_DEPTH)
        + linear(batch * all, d, 3 * PIXELS);
    let queries = linear(regions * VISIBLE, PIXELS, r)
        + stack_flops(regions, VISIBLE, r, REGION_DEPTH)
        + linear(regions, r, r)
        + attention_flops(batch, REGIONS, r);
    let memory = linear(batch * (VISIBLE + 1), d, r)
        + stack_flops(batch, all, r, NECK_DEPTH)
        + linear(batch * all, r, r);
    let head = linear(regions * all, r, 2 * r + PIXELS);
    (encoder + decoder + queries + memory + head) as u64
}
