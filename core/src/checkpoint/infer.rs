//! The configuration of a weight file that does not state it, told from names and shapes.

use crate::config::{ModelConfig, Preset, RegionDecoder};
use crate::exec::Tensors;

/// Width of a head in every encoder of the papers but the largest.
const HEAD_DIM: usize = 64;

/// Tells the configuration of a file that does not state it. Numbers of heads leave no trace in the shapes: they are those of the
/// papers (ViT: a head for each 64 channels, 16 in ViT-H; decoders: 16 for pixels, 8 for regions).
///
/// # Errors
/// What is missing, as the end of a sentence that begins with the file's name.
pub fn infer_config(weights: &Tensors) -> Result<ModelConfig, String> {
    let shape = |name: &str| weights.get(name).map(|t| t.shape().to_vec());
    let Some([embed_dim, _, patch_size, _]) = shape("patch_embed.proj.weight").and_then(four) else {
        return Err(
            "holds no `patch_embed.proj.weight` of four dimensions: it is no ViT of MAE or R-MAE".into()
        );
    };
    let tokens = shape("pos_embed").and_then(|s| s.get(1).copied()).unwrap_or(197);
    let grid = tokens.saturating_sub(1).isqrt();
    let base = ModelConfig::preset(Preset::B);
    let mut config = ModelConfig {
        img_size: grid * patch_size,
        patch_size,
        embed_dim,
        depth: count_blocks(weights, "blocks."),
        num_heads: if embed_dim == 1280 { 16 } else { (embed_dim / HEAD_DIM).max(1) },
        num_region: 0,
        ..base
    };
    if let Some([width, _]) = shape("decoder_embed.weight").and_then(two) {
        config.decoder_embed_dim = width;
        config.decoder_depth = count_blocks(weights, "decoder_blocks.");
        config.decoder_num_heads = heads(width, 16);
    }
    if let Some([width, ..]) = shape("region_patch_embed.proj.weight").and_then(four) {
        infer_regions(&mut config, weights, width);
    }
    config.use_mae_loss = weights.contains_key("decoder_embed.weight") || config.num_region == 0;
    Ok(config)
}

fn infer_regions(config: &mut ModelConfig, weights: &Tensors, width: usize) {
    config.num_region = 8;
    config.region_enc_dim = width;
    config.region_enc_depth = count_blocks(weights, "region_enc_blocks.");
    config.region_enc_num_heads = heads(width, 8);
    if let Some(embed) = weights.get("region_cross_embed.weight") {
        config.region_dec_dim = embed.shape().first().copied().unwrap_or(width);
    }
    config.region_dec_num_heads = heads(config.region_dec_dim, 8);
    config.region_dec_depth = count_blocks(weights, "region_dec_blocks.");
    config.region_cross_layer = count_blocks(weights, "region_cross_blocks.");
    config.region_decoder = RegionDecoder::Length;
}

fn heads(width: usize, usual: usize) -> usize {
    (1..=usual).rev().find(|&h| width.is_multiple_of(h)).unwrap_or(1)
}

/// One more than the largest block number.
fn count_blocks(weights: &Tensors, prefix: &str) -> usize {
    let numbers =
        weights.keys().filter_map(|name| name.strip_prefix(prefix)?.split('.').next()?.parse::<usize>().ok());
    numbers.max().map_or(0, |last| last + 1)
}

fn four(shape: Vec<usize>) -> Option<[usize; 4]> {
    shape.try_into().ok()
}

fn two(shape: Vec<usize>) -> Option<[usize; 2]> {
    shape.try_into().ok()
}
