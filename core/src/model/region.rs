//! The region branch: RAE (R-MAE, section 3.1 and 3.2).

use super::layers::{Width, blocks, layer_norm, linear};
use super::tuning::Shown;
use super::{Inputs, decoders, pixel};
use crate::config::{ModelConfig, RegionDecoder};
use crate::error::{Error, Result};
use crate::graph::{Graph, NodeId};
use crate::ops::boundary::RegionBoundary;
use crate::ops::dice::RegionDice;
use crate::ops::elementwise::{Add, Reshape};
use crate::ops::linear::Linear;
use crate::ops::losses::RegionBce;
use crate::ops::patches::{PatchLayout, Patchify};
use crate::ops::reduce::SumAxis;
use crate::ops::tokens::{GatherTokens, SliceTokens};

/// Encoder, neck and decoder of regions, and their loss; sets the outputs `pixel_memory` and
/// `pred_region_logits`, returns `region_loss`.
pub(crate) fn branch(g: &mut Graph, config: &ModelConfig, inputs: &Inputs, latent: NodeId) -> Result<NodeId> {
    let made = predicted(g, config, inputs, latent)?;
    cross_entropy(g, config, inputs, &made)
}

/// Regions as patches, `[B, k, L, p²]`.
pub(crate) struct Predicted {
    logits: NodeId,
    target: NodeId,
}

/// The branch without its loss.
pub(crate) fn predicted(
    g: &mut Graph, config: &ModelConfig, inputs: &Inputs, latent: NodeId,
) -> Result<Predicted> {
    let regions = inputs.regions.ok_or_else(|| Error::Tensor {
        name: "regions".into(),
        problem: "the region branch needs region maps".into(),
    })?;
    let queries = queries(g, config, inputs, regions)?;
    let memory = match inputs.whole {
        true => whole_image_neck(g, config, inputs.batch, latent)?,
        false => neck(g, config, inputs, latent)?,
    };
    g.set_output("pixel_memory", memory);
    let logits = decoders::decode(g, config, queries, memory)?;
    g.set_output("pred_region_logits", logits);
    let target = map_patches(g, config, inputs.batch, regions)?;
    Ok(Predicted { logits, target })
}

/// The `region_loss`, over the patches that the region encoder did not see.
pub(crate) fn cross_entropy(
    g: &mut Graph, config: &ModelConfig, inputs: &Inputs, made: &Predicted,
) -> Result<NodeId> {
    // What a prompt shows is no random share of the truth: there, too, the prediction is scored.
    let visible = if inputs.shown.is_some() { 0 } else { config.visible_region_patches() };
    let op = RegionBce { visible, background_weight: config.bg_loss_weight };
    g.scoped("region_loss", |g| g.apply(op, &[made.logits, made.target, inputs.ids_restore]))
}

/// The `dice_loss`, over all patches.
pub(crate) fn dice(g: &mut Graph, made: &Predicted) -> Result<NodeId> {
    g.scoped("dice_loss", |g| g.apply(RegionDice, &[made.logits, made.target]))
}

/// The `boundary_loss`, over all patches; `distances [B, k, S, S]` are signed.
pub(crate) fn boundary(
    g: &mut Graph, config: &ModelConfig, inputs: &Inputs, made: &Predicted, distances: NodeId,
) -> Result<NodeId> {
    let distances = map_patches(g, config, inputs.batch, distances)?;
    g.scoped("boundary_loss", |g| g.apply(RegionBoundary, &[made.logits, distances]))
}

/// One query a region, `[B, k, D_r]` (channel decoder: `[B, 1, D_r]`), from the visible patches of the
/// true regions, or from what prompts show of each.
fn queries(g: &mut Graph, config: &ModelConfig, inputs: &Inputs, regions: NodeId) -> Result<NodeId> {
    let (b, k) = (inputs.batch, config.num_region);
    let Some(Shown { maps, ids, keep }) = inputs.shown else {
        let keep = config.visible_region_patches();
        let seen = Seen { batch: b, keep, shuffle: inputs.ids_shuffle, restore: inputs.ids_restore };
        return encoder(g, config, &seen, regions);
    };
    let one = ModelConfig { num_region: 1, ..config.clone() };
    // The inverse is read by gradients only, and neither maps nor position tables have one.
    let seen = Seen { batch: b * k, keep, shuffle: ids, restore: ids };
    let queries = encoder(g, &one, &seen, maps)?;
    g.apply(Reshape { shape: vec![b, k, config.region_dec_dim] }, &[queries])
}

/// Maps that one pass of the encoder embeds together: all `k` as channels, or one.
fn channels(config: &ModelConfig) -> usize {
    if config.region_decoder == RegionDecoder::Channel { config.num_region } else { 1 }
}

/// Region maps less 0.5 as patches, `[B·k, L, p²]` (channel decoder: `[B, L, k·p²]`).
fn region_patches(g: &mut Graph, config: &ModelConfig, regions: NodeId) -> Result<NodeId> {
    let c = channels(config);
    let maps = as_images(g, config, regions, c)?;
    let layout = PatchLayout::ChannelsFirst;
    g.apply(Patchify { patch: config.patch_size, layout, subtract: 0.5 }, &[maps])
}

/// Maps `[B, k, S, S]` as patches, `[B, k, L, p²]`.
fn map_patches(g: &mut Graph, config: &ModelConfig, batch: usize, regions: NodeId) -> Result<NodeId> {
    let p2 = config.patch_size * config.patch_size;
    let maps = as_images(g, config, regions, 1)?;
    let layout = PatchLayout::ChannelsFirst;
    let target = g.apply(Patchify { patch: config.patch_size, layout, subtract: 0.0 }, &[maps])?;
    let shape = vec![batch, config.num_region, config.num_patches(), p2];
    g.apply(Reshape { shape }, &[target])
}

fn as_images(g: &mut Graph, config: &ModelConfig, regions: NodeId, channels: usize) -> Result<NodeId> {
    let s = config.img_size;
    let n = g.shape(regions)[0] * config.num_region / channels;
    g.apply(Reshape { shape: vec![n, channels, s, s] }, &[regions])
}

/// Which patches of the region maps the encoder sees: the first `keep` of each permutation.
pub(crate) struct Seen {
    pub(crate) batch: usize,
    pub(crate) keep: usize,
    pub(crate) shuffle: NodeId,
    pub(crate) restore: NodeId,
}

/// Visible tokens of each of the maps `[B, k, S, S]` through the region encoder, their mean,
/// `region_proj`: `[B, k, D_r]` (channel decoder: `[B, 1, D_r]`).
pub(crate) fn encoder(g: &mut Graph, config: &ModelConfig, seen: &Seen, regions: NodeId) -> Result<NodeId> {
    let c = channels(config);
    let per_image = config.num_region / c;
    let patches = region_patches(g, config, regions)?;
    let gather = GatherTokens { keep: seen.keep, cls: false, groups: per_image, shared: false };
    let patches = g.apply(gather, &[patches, seen.shuffle, seen.restore])?;
    let x = embed(g, config, patches, c)?;
    let pos = visible_positions(g, config, seen)?;
    let x = g.apply(Add { n: per_image, outer: seen.batch }, &[x, pos])?;
    let width = Width { dim: config.region_enc_dim, heads: config.region_enc_num_heads };
    let x = blocks(g, x, "region_enc_blocks", config.region_enc_depth, config, width)?;
    let x = mean_over_tokens(g, x, seen.batch, per_image)?;
    let x = layer_norm(g, x, "region_proj.0", config)?;
    linear(g, x, "region_proj.1", config.region_dec_dim)
}

fn embed(g: &mut Graph, config: &ModelConfig, patches: NodeId, channels: usize) -> Result<NodeId> {
    let (d, p) = (config.region_enc_dim, config.patch_size);
    g.scoped("region_patch_embed.proj", |g| {
        let weight = g.param(&g.full_name("weight"), &[d, channels, p, p], true);
        let bias = g.param(&g.full_name("bias"), &[d], true);
        g.apply(Linear, &[patches, weight, bias])
    })
}

/// `region_pos_embed[1:]` at the visible patches, `[B, visible, D_e]`.
fn visible_positions(g: &mut Graph, config: &ModelConfig, seen: &Seen) -> Result<NodeId> {
    let l = config.num_patches();
    let table = g.param("region_pos_embed", &[1, l + 1, config.region_enc_dim], false);
    let table = g.apply(SliceTokens { start: 1, len: l }, &[table])?;
    let op = GatherTokens { keep: seen.keep, cls: false, groups: 1, shared: true };
    g.apply(op, &[table, seen.shuffle, seen.restore])
}

fn mean_over_tokens(g: &mut Graph, x: NodeId, batch: usize, per_image: usize) -> Result<NodeId> {
    let [n, t, d] = *g.shape(x) else { return Ok(x) };
    let op = SumAxis { outer: n, n: t, inner: d, scale: 1.0 / t as f64, shape: vec![batch, per_image, d] };
    g.apply(op, &[x])
}

/// The pixel memory that regions are decoded from, `[B, L+1, D_r]`, of a masked image.
fn neck(g: &mut Graph, config: &ModelConfig, inputs: &Inputs, latent: NodeId) -> Result<NodeId> {
    let d = config.region_dec_dim;
    let x = linear(g, latent, "region_cross_embed", d)?;
    let mask_token = g.param("region_cross_mask_token", &[1, 1, d], true);
    let x = pixel::restore(g, config, inputs, x, mask_token)?;
    memory(g, config, inputs.batch, x)
}

/// The same of whole images, nothing masked: `latent` is `[B, L+1, D]` in image order.
pub(crate) fn whole_image_neck(
    g: &mut Graph, config: &ModelConfig, batch: usize, latent: NodeId,
) -> Result<NodeId> {
    let x = linear(g, latent, "region_cross_embed", config.region_dec_dim)?;
    memory(g, config, batch, x)
}

/// Positions, blocks and norm of the neck over all places, `[B, L+1, D_r]`.
fn memory(g: &mut Graph, config: &ModelConfig, batch: usize, x: NodeId) -> Result<NodeId> {
    let pos = g.param("region_cross_pos_embed", &[1, config.num_patches() + 1, config.region_dec_dim], false);
    let x = g.apply(Add::leading(batch), &[x, pos])?;
    let x = blocks(g, x, "region_cross_blocks", config.region_cross_layer, config, decoders::width(config))?;
    layer_norm(g, x, "region_dec_norm", config)
}
