//! Writes a checkpoint of a model that is small enough to be loaded and run hundreds of times in a
//! browser's test: untrained, the same at every run.
//!
//! `cargo run -p rmae-train --example small_weights FILE`

use std::path::Path;

use anyhow::{Context, Result};
use rmae_core::config::{ModelConfig, Preset};
use rmae_core::model::init_params;
use rmae_train::checkpoint::{Part, export};

fn main() -> Result<()> {
    let path = std::env::args_os().nth(1).context("say where to write")?;
    let model = ModelConfig {
        embed_dim: 64,
        depth: 2,
        num_heads: 2,
        decoder_embed_dim: 32,
        decoder_depth: 1,
        decoder_num_heads: 2,
        region_enc_dim: 32,
        region_enc_num_heads: 2,
        region_dec_dim: 32,
        region_dec_num_heads: 2,
        region_cross_layer: 1,
        ..ModelConfig::preset(Preset::Ti)
    };
    let weights = init_params(&model, 3)?;
    let count = export(Path::new(&path), &model, &weights, Part::All, true)?;
    println!("{count} tensors in {}", Path::new(&path).display());
    Ok(())
}
