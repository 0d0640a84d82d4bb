//! Transformer layers, under the checkpoint's parameter names.

use crate::config::ModelConfig;
use crate::error::Result;
use crate::graph::{Graph, NodeId};
use crate::ops::attention::{Attention, Layout};
use crate::ops::elementwise::{Add, Gelu};
use crate::ops::layer_norm::LayerNorm;
use crate::ops::linear::Linear;

/// Size of a stack of pre-norm blocks.
#[derive(Clone, Copy)]
pub(crate) struct Width {
    pub(crate) dim: usize,
    pub(crate) heads: usize,
}

/// `linear(x)` with the weight `<scope>.<name>.weight [out, in]` and its bias.
pub(crate) fn linear(g: &mut Graph, x: NodeId, name: &str, out: usize) -> Result<NodeId> {
    let width = g.shape(x).last().copied().unwrap_or(0);
    g.scoped(name, |g| {
        let weight = g.param(&g.full_name("weight"), &[out, width], true);
        let bias = g.param(&g.full_name("bias"), &[out], true);
        g.apply(Linear, &[x, weight, bias])
    })
}

pub(crate) fn layer_norm(g: &mut Graph, x: NodeId, name: &str, config: &ModelConfig) -> Result<NodeId> {
    let width = g.shape(x).last().copied().unwrap_or(0);
    g.scoped(name, |g| {
        let gamma = g.param(&g.full_name("weight"), &[width], true);
        let beta = g.param(&g.full_name("bias"), &[width], true);
        g.apply(LayerNorm { eps: config.layer_norm_eps }, &[x, gamma, beta])
    })
}

/// `proj(attention(qkv(x)))`.
pub(crate) fn self_attention(
    g: &mut Graph, x: NodeId, width: Width, order_invariant: bool,
) -> Result<NodeId> {
    g.scoped("attn", |g| {
        let qkv = linear(g, x, "qkv", 3 * width.dim)?;
        let layout = Layout::fused(width.heads, width.dim);
        let y = g.apply(Attention { layout, order_invariant }, &[qkv])?;
        linear(g, y, "proj", width.dim)
    })
}

/// `proj(attention(q(x), kv(memory)))`.
pub(crate) fn cross_attention(g: &mut Graph, x: NodeId, memory: NodeId, width: Width) -> Result<NodeId> {
    g.scoped("cross_attn", |g| {
        let q = linear(g, x, "q", width.dim)?;
        let kv = linear(g, memory, "kv", 2 * width.dim)?;
        let layout = Layout::cross(width.heads, width.dim);
        let y = g.apply(Attention { layout, order_invariant: false }, &[q, kv])?;
        linear(g, y, "proj", width.dim)
    })
}

/// `fc2(gelu(fc1(x)))`.
pub(crate) fn mlp(g: &mut Graph, x: NodeId, hidden: usize) -> Result<NodeId> {
    let width = g.shape(x).last().copied().unwrap_or(0);
    g.scoped("mlp", |g| {
        let x = linear(g, x, "fc1", hidden)?;
        let x = g.apply(Gelu, &[x])?;
        linear(g, x, "fc2", width)
    })
}

/// One pre-norm block: `x += attn(norm1(x))`, `x += mlp(norm2(x))`.
pub(crate) fn block(g: &mut Graph, x: NodeId, config: &ModelConfig, width: Width) -> Result<NodeId> {
    let y = layer_norm(g, x, "norm1", config)?;
    let y = self_attention(g, y, width, false)?;
    let x = g.apply(Add::same(), &[x, y])?;
    let y = layer_norm(g, x, "norm2", config)?;
    let y = mlp(g, y, config.mlp_hidden(width.dim))?;
    g.apply(Add::same(), &[x, y])
}

/// Blocks `<name>.0`, `<name>.1`, …, each a segment of its own.
pub(crate) fn blocks(
    g: &mut Graph, mut x: NodeId, name: &str, depth: usize, config: &ModelConfig, width: Width,
) -> Result<NodeId> {
    for i in 0..depth {
        x = g.segment(&format!("{name}.{i}"), |g| block(g, x, config, width))?;
    }
    Ok(x)
}
