//! The three region decoders that the paper compares (R-MAE, section 3.2, "Regions as queries").

use super::layers::{Width, cross_attention, layer_norm, linear, mlp, self_attention};
use crate::config::{ModelConfig, RegionDecoder};
use crate::error::Result;
use crate::graph::{Graph, NodeId};
use crate::ops::elementwise::{Add, Gelu, Reshape};
use crate::ops::reduce::{BroadcastAxis, OuterAdd, SwapAxes};
use crate::ops::tokens::SliceTokens;

pub(crate) fn width(config: &ModelConfig) -> Width {
    Width { dim: config.region_dec_dim, heads: config.region_dec_num_heads }
}

/// Logits `[B, k, L, p²]` from queries `[B, k, D_r]` and memory `[B, L+1, D_r]`.
pub(crate) fn decode(g: &mut Graph, config: &ModelConfig, queries: NodeId, memory: NodeId) -> Result<NodeId> {
    match config.region_decoder {
        RegionDecoder::Length => length(g, config, queries, memory),
        RegionDecoder::Batch => batch(g, config, queries, memory),
        RegionDecoder::Channel => channel(g, config, queries, memory),
    }
}

/// Regions as queries of one sequence: equivariant to their order.
fn length(g: &mut Graph, config: &ModelConfig, queries: NodeId, memory: NodeId) -> Result<NodeId> {
    let p2 = config.patch_size * config.patch_size;
    let x = decoder_blocks(g, config, queries, memory)?;
    predict(g, x, p2, config)
}

/// Every region in a pass of its own, as if it were the only one of its image.
fn batch(g: &mut Graph, config: &ModelConfig, queries: NodeId, memory: NodeId) -> Result<NodeId> {
    let [b, k, d] = *g.shape(queries) else { return Ok(queries) };
    let l = config.num_patches();
    let queries = g.apply(Reshape { shape: vec![b * k, 1, d] }, &[queries])?;
    let repeated =
        BroadcastAxis { outer: b, n: k, inner: (l + 1) * d, scale: 1.0, shape: vec![b * k, l + 1, d] };
    let memory = g.apply(repeated, &[memory])?;
    let logits = length(g, config, queries, memory)?;
    let p2 = config.patch_size * config.patch_size;
    g.apply(Reshape { shape: vec![b, k, l, p2] }, &[logits])
}

/// All regions in the channels of one query: `k·p²` outputs a patch, taken apart at the end.
fn channel(g: &mut Graph, config: &ModelConfig, queries: NodeId, memory: NodeId) -> Result<NodeId> {
    let (k, p2) = (config.num_region, config.patch_size * config.patch_size);
    let x = decoder_blocks(g, config, queries, memory)?;
    let logits = predict(g, x, k * p2, config)?;
    let [b, _, l, _] = *g.shape(logits) else { return Ok(logits) };
    // [B, L, k·p²] -> [B, k, L, p²]: each region's channels, one after the other.
    g.apply(SwapAxes { outer: b, a: l, b: k, inner: p2, shape: vec![b, k, l, p2] }, &[logits])
}

fn decoder_blocks(g: &mut Graph, config: &ModelConfig, mut q: NodeId, memory: NodeId) -> Result<NodeId> {
    let last = config.region_dec_depth - 1;
    for i in 0..last {
        q = g.segment(&format!("region_dec_blocks.{i}"), |g| plain_block(g, config, q, memory))?;
    }
    g.segment(&format!("region_dec_blocks.{last}"), |g| length_block(g, config, q, memory))
}

/// `q += attn(norm1(q))`, `q += cross_attn(norm2(q), memory)`, `q += mlp(norm3(q))`.
fn plain_block(g: &mut Graph, config: &ModelConfig, q: NodeId, memory: NodeId) -> Result<NodeId> {
    let w = width(config);
    let y = layer_norm(g, q, "norm1", config)?;
    let y = self_attention(g, y, w, true)?;
    let q = g.apply(Add::same(), &[q, y])?;
    let y = layer_norm(g, q, "norm2", config)?;
    let y = cross_attention(g, y, memory, w)?;
    let q = g.apply(Add::same(), &[q, y])?;
    let y = layer_norm(g, q, "norm3", config)?;
    let y = mlp(g, y, config.mlp_hidden(w.dim))?;
    g.apply(Add::same(), &[q, y])
}

/// `q += attn(norm1(q))`; every query added to every projected memory token; `mlp(norm3(x))` of
/// hidden width `D_r`, without residual. `[B, k, L+1, D_r]`.
fn length_block(g: &mut Graph, config: &ModelConfig, q: NodeId, memory: NodeId) -> Result<NodeId> {
    let w = width(config);
    let y = layer_norm(g, q, "norm1", config)?;
    let y = self_attention(g, y, w, true)?;
    let q = g.apply(Add::same(), &[q, y])?;
    let memory = linear(g, memory, "proj", w.dim)?;
    let x = g.apply(OuterAdd, &[q, memory])?;
    let x = layer_norm(g, x, "norm3", config)?;
    mlp(g, x, w.dim)
}

/// `region_pred`: GELU, linear; the place of the class token is dropped. `[B, k, L, out]`.
fn predict(g: &mut Graph, x: NodeId, out: usize, config: &ModelConfig) -> Result<NodeId> {
    let [b, k, t, d] = *g.shape(x) else { return Ok(x) };
    let l = config.num_patches();
    let x = g.apply(Reshape { shape: vec![b * k, t, d] }, &[x])?;
    let x = g.apply(SliceTokens { start: 1, len: l }, &[x])?;
    let x = g.apply(Gelu, &[x])?;
    let logits = linear(g, x, "region_pred.1", out)?;
    g.apply(Reshape { shape: vec![b, k, l, out] }, &[logits])
}
