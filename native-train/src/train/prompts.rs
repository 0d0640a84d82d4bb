//! Regions shown as people show them: clicks, boxes, scribbles and earlier results drawn from the
//! true region, in place of a random quarter of its patches.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use rmae_core::config::ModelConfig;
use rmae_core::exec::Tensors;
use rmae_core::prompt::simulate::Simulator;
use rmae_core::prompt::{MapRules, Mask, shown_patches};
use rmae_core::tensor::HostTensor;

use crate::data::LoaderPosition;
use crate::error::Result;

/// Patches of each region that the encoder is shown. Prompts that show fewer are repeated in turn:
/// attention and mean over tokens do not change when all are repeated equally often, so that any
/// divisor of this is exact.
pub(super) const SEEN: usize = 48;

/// What the region encoder sees of each of the regions `[B, k, S, S]`: the inputs `prompt_maps
/// [B·k, 1, S, S]` and `prompt_ids [B·k, L]`, of which the first [`SEEN`] count.
pub(super) fn draw(model: &ModelConfig, regions: &[f32], key: (u64, LoaderPosition)) -> Result<Tensors> {
    let (side, patches) = (model.img_size, model.num_patches());
    let drawn: Vec<(Vec<f32>, Vec<u32>)> = regions
        .par_chunks(side * side)
        .enumerate()
        .map(|(number, region)| one(model, region, &mut generator(key, number as u64)))
        .collect::<Result<_>>()?;
    let count = drawn.len();
    let (maps, ids): (Vec<_>, Vec<_>) = drawn.into_iter().unzip();
    Ok(Tensors::from([
        ("prompt_maps".into(), HostTensor::f32(&[count, 1, side, side], maps.concat())?),
        ("prompt_ids".into(), HostTensor::u32(&[count, patches], ids.concat())?),
    ]))
}

fn generator((seed, at): (u64, LoaderPosition), number: u64) -> ChaCha8Rng {
    let mut bytes = [0; 32];
    for (place, value) in bytes.chunks_exact_mut(8).zip([seed, at.epoch, at.index, number]) {
        place.copy_from_slice(&value.to_le_bytes());
    }
    ChaCha8Rng::from_seed(bytes)
}

/// The map and the patches that prompts for one region show.
fn one(model: &ModelConfig, region: &[f32], rng: &mut ChaCha8Rng) -> Result<(Vec<f32>, Vec<u32>)> {
    let (side, patches) = (model.img_size, model.num_patches());
    let mask = Mask::new(side, side, region.iter().map(|&v| u8::from(v > 0.5)).collect())?;
    let Some(prompts) = Simulator::default().draw(&mask, rng) else {
        // There is no object: one patch says so.
        let patch = rng.random_range(0..patches as u32);
        return Ok((vec![0.0; side * side], repeated(&[patch], patches, rng)));
    };
    let trained = 1.0 - model.region_mask_ratio;
    let (map, visible) = shown_patches(&prompts, side, model.patch_size, &MapRules::default(), trained);
    Ok((map, repeated(&visible, patches, rng)))
}

/// `[L]`: a random choice of at most [`SEEN`] ids, in turn until there are as many; 0 after them.
fn repeated(ids: &[u32], patches: usize, rng: &mut ChaCha8Rng) -> Vec<u32> {
    use rand::seq::SliceRandom;
    let mut chosen = ids.to_vec();
    chosen.shuffle(rng);
    chosen.truncate(SEEN);
    let mut all: Vec<u32> = chosen.iter().copied().cycle().take(SEEN).collect();
    all.resize(patches, 0);
    all
}
