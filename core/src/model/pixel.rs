//! The pixel branch: MAE (Masked Autoencoders Are Scalable Vision Learners, section 3).

use super::Inputs;
use super::layers::{Width, blocks, layer_norm, linear};
use crate::config::ModelConfig;
use crate::error::Result;
use crate::graph::{Graph, NodeId};
use crate::ops::elementwise::{Add, Reshape};
use crate::ops::linear::Linear;
use crate::ops::losses::MaskedMse;
use crate::ops::patches::{PatchLayout, PatchNorm, Patchify};
use crate::ops::tokens::{GatherTokens, PrependToken, RestoreTokens, SliceTokens};

/// Epsilon under the root of `norm_pix_loss`.
pub const NORM_PIX_EPS: f64 = 1e-6;

/// `latent [B, 1+visible, D]`: patches, positions, masking, class token, blocks, norm.
///
/// Patches are chosen before they are embedded, which gives the same numbers for a quarter of the
/// work: embedding and adding a position act on each patch alone.
pub(crate) fn encoder(g: &mut Graph, config: &ModelConfig, inputs: &Inputs) -> Result<NodeId> {
    let patches = image_patches(g, config, inputs.image)?;
    let keep = config.visible_patches();
    let (shuffle, restore) = (inputs.ids_shuffle, inputs.ids_restore);
    let gather = GatherTokens { keep, cls: false, groups: 1, shared: false };
    let patches = g.apply(gather.clone(), &[patches, shuffle, restore])?;
    let x = embed_patches(g, config, patches)?;
    let table = patch_positions(g, config)?;
    let pos = g.apply(GatherTokens { shared: true, ..gather }, &[table, shuffle, restore])?;
    let x = g.apply(Add::same(), &[x, pos])?;
    let x = prepend_class_token(g, config, x)?;
    let x = blocks(g, x, "blocks", config.depth, config, encoder_width(config))?;
    layer_norm(g, x, "norm", config)
}

/// The queries, keys and values of one encoder block for whole images, nothing masked.
pub(crate) fn whole_image_qkv(g: &mut Graph, config: &ModelConfig, layer: usize) -> Result<NodeId> {
    let image = g.input("image", &[1, 3, config.img_size, config.img_size]);
    let x = whole_image_tokens(g, config, image)?;
    let x = blocks(g, x, "blocks", layer, config, encoder_width(config))?;
    g.scoped(&format!("blocks.{layer}"), |g| {
        let x = layer_norm(g, x, "norm1", config)?;
        g.scoped("attn", |g| linear(g, x, "qkv", 3 * config.embed_dim))
    })
}

/// `latent [B, 1+L, D]` of whole images, nothing masked.
pub(crate) fn whole_image_encoder(g: &mut Graph, config: &ModelConfig, image: NodeId) -> Result<NodeId> {
    let x = whole_image_tokens(g, config, image)?;
    let x = blocks(g, x, "blocks", config.depth, config, encoder_width(config))?;
    layer_norm(g, x, "norm", config)
}

/// The tokens of whole images, `[B, 1+L, D]`, before the first block.
pub(crate) fn whole_image_tokens(g: &mut Graph, config: &ModelConfig, image: NodeId) -> Result<NodeId> {
    let batch = g.shape(image)[0];
    let patches = image_patches(g, config, image)?;
    let x = embed_patches(g, config, patches)?;
    let table = patch_positions(g, config)?;
    let x = g.apply(Add::leading(batch), &[x, table])?;
    prepend_class_token(g, config, x)
}

fn encoder_width(config: &ModelConfig) -> Width {
    Width { dim: config.embed_dim, heads: config.num_heads }
}

fn image_patches(g: &mut Graph, config: &ModelConfig, image: NodeId) -> Result<NodeId> {
    let layout = PatchLayout::ChannelsFirst;
    g.apply(Patchify { patch: config.patch_size, layout, subtract: 0.0 }, &[image])
}

fn embed_patches(g: &mut Graph, config: &ModelConfig, patches: NodeId) -> Result<NodeId> {
    let (d, p) = (config.embed_dim, config.patch_size);
    g.scoped("patch_embed.proj", |g| {
        let weight = g.param(&g.full_name("weight"), &[d, 3, p, p], true);
        let bias = g.param(&g.full_name("bias"), &[d], true);
        g.apply(Linear, &[patches, weight, bias])
    })
}

/// `pos_embed[1:]` as `[1, L, D]`.
fn patch_positions(g: &mut Graph, config: &ModelConfig) -> Result<NodeId> {
    let l = config.num_patches();
    let table = g.param("pos_embed", &[1, l + 1, config.embed_dim], false);
    g.apply(SliceTokens { start: 1, len: l }, &[table])
}

/// `cls_token + pos_embed[0]` before the patches; that row of the table is zero (checked on loading).
fn prepend_class_token(g: &mut Graph, config: &ModelConfig, x: NodeId) -> Result<NodeId> {
    let d = config.embed_dim;
    let cls = g.param("cls_token", &[1, 1, d], true);
    let table = g.param("pos_embed", &[1, config.num_patches() + 1, d], false);
    let pos = g.apply(SliceTokens { start: 0, len: 1 }, &[table])?;
    let cls = g.apply(Add::same(), &[cls, pos])?;
    g.apply(PrependToken, &[cls, x])
}

/// The pixel decoder and its loss; sets the output `pred`, returns `mae_loss`.
pub(crate) fn branch(g: &mut Graph, config: &ModelConfig, inputs: &Inputs, latent: NodeId) -> Result<NodeId> {
    let pred = decoder(g, config, inputs, latent)?;
    g.set_output("pred", pred);
    let layout = PatchLayout::ChannelsLast;
    let target = g.apply(Patchify { patch: config.patch_size, layout, subtract: 0.0 }, &[inputs.image])?;
    let target = match config.norm_pix_loss {
        true => g.apply(PatchNorm { eps: NORM_PIX_EPS }, &[target])?,
        false => target,
    };
    let visible = config.visible_patches();
    g.scoped("mae_loss", |g| g.apply(MaskedMse { visible }, &[pred, target, inputs.ids_restore]))
}

fn decoder(g: &mut Graph, config: &ModelConfig, inputs: &Inputs, latent: NodeId) -> Result<NodeId> {
    let (l, d) = (config.num_patches(), config.decoder_embed_dim);
    let x = linear(g, latent, "decoder_embed", d)?;
    let mask_token = g.param("mask_token", &[1, 1, d], true);
    let x = restore(g, config, inputs, x, mask_token)?;
    let pos = g.param("decoder_pos_embed", &[1, l + 1, d], false);
    let x = g.apply(Add::leading(inputs.batch), &[x, pos])?;
    let width = Width { dim: d, heads: config.decoder_num_heads };
    let x = blocks(g, x, "decoder_blocks", config.decoder_depth, config, width)?;
    let x = layer_norm(g, x, "decoder_norm", config)?;
    let x = linear(g, x, "decoder_pred", 3 * config.patch_size * config.patch_size)?;
    g.apply(SliceTokens { start: 1, len: l }, &[x])
}

/// Encoder tokens `[B, 1+visible, D]` in image order, mask tokens at removed places: `[B, 1+L, D]`.
pub(crate) fn restore(
    g: &mut Graph, config: &ModelConfig, inputs: &Inputs, x: NodeId, mask_token: NodeId,
) -> Result<NodeId> {
    let visible = config.visible_patches();
    let d = g.shape(x).last().copied().unwrap_or(0);
    let fill = g.apply(Reshape { shape: vec![d] }, &[mask_token])?;
    let op = RestoreTokens { visible, cls: true, groups: 1 };
    g.apply(op, &[x, inputs.ids_restore, inputs.ids_shuffle, fill])
}
