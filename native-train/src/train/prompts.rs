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
const SEEN: usize = 48;

/// [`SEEN`], or every patch of an image that has fewer.
pub(super) fn seen(model: &ModelConfig) -> usize {
    SEEN.min(model.num_patches())
}

/// What the region encoder sees of each of the regions `[B, k, S, S]`: the inputs `prompt_maps
/// [B·k, 1, S, S]` and `prompt_ids [B·k, L]`, of which the first [`seen`] count.
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
    let (side, patches, seen) = (model.img_size, model.num_patches(), seen(model));
    let mask = Mask::new(side, side, region.iter().map(|&v| u8::from(v > 0.5)).collect())?;
    let Some(prompts) = Simulator::default().draw(&mask, rng) else {
        // There is no object: one patch says so.
        let patch = rng.random_range(0..patches as u32);
        return Ok((vec![0.0; side * side], repeated(&[patch], seen, patches, rng)));
    };
    let trained = 1.0 - model.region_mask_ratio;
    let (map, visible) = shown_patches(&prompts, side, model.patch_size, &MapRules::default(), trained);
    Ok((map, repeated(&visible, seen, patches, rng)))
}

/// `[L]`: a random choice of at most `seen` ids, in turn until there are as many; 0 after them.
fn repeated(ids: &[u32], seen: usize, patches: usize, rng: &mut ChaCha8Rng) -> Vec<u32> {
    use rand::seq::SliceRandom;
    let mut chosen = ids.to_vec();
    chosen.shuffle(rng);
    chosen.truncate(seen);
    let mut all: Vec<u32> = chosen.iter().copied().cycle().take(seen).collect();
    all.resize(patches, 0);
    all
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn model() -> ModelConfig {
        ModelConfig { num_region: 2, ..ModelConfig::default() }
    }

    fn drawn(seed: u64, index: u64) -> Tensors {
        let half = |at: usize| f32::from(u8::from(at % 224 < 100));
        let regions: Vec<f32> = (0..224 * 224).map(half).chain(std::iter::repeat_n(0.0, 224 * 224)).collect();
        draw(&model(), &regions, (seed, LoaderPosition { epoch: 0, index })).unwrap()
    }

    #[test]
    fn what_is_shown_is_drawn_by_seed_and_place_alone() {
        assert_eq!(drawn(1, 5), drawn(1, 5));
        assert_ne!(drawn(1, 5), drawn(1, 6));
        assert_ne!(drawn(1, 5), drawn(2, 5));
    }

    #[test]
    fn maps_say_the_truth_where_clicks_show_them_and_nothing_is_inside_an_empty_region() {
        for index in 0..20 {
            let inputs = drawn(3, index);
            let (maps, ids) = (inputs["prompt_maps"].to_f32(), inputs["prompt_ids"].to_f32());
            assert_eq!((maps.len(), ids.len()), (2 * 224 * 224, 2 * 196));
            assert!(maps[224 * 224..].iter().all(|&v| v == 0.0), "an empty region has no inside");
            assert!(ids.iter().all(|&id| id < 196.0));
            // Patches well within the region or well outside are of one kind; no click there lies.
            for id in ids[..SEEN].iter().map(|&id| id as usize) {
                let (left, top) = (id % 14 * 16, id / 14 * 16);
                let value = maps[(top + 8) * 224 + left + 8];
                let prompted_by_box_or_click = value == 0.0 || left < 100;
                assert!(prompted_by_box_or_click, "patch at {left}, {top} says inside");
            }
        }
    }

    #[test]
    fn few_patches_are_repeated_in_turn() {
        let mut rng = generator((0, LoaderPosition::default()), 0);
        let ids = repeated(&[7, 9, 11], SEEN, 196, &mut rng);
        for id in [7, 9, 11] {
            assert_eq!(ids[..SEEN].iter().filter(|&&i| i == id).count(), SEEN / 3);
        }
        assert_eq!(ids.len(), 196);
        let many: Vec<u32> = (0..100).collect();
        let mut chosen = repeated(&many, SEEN, 196, &mut rng)[..SEEN].to_vec();
        chosen.sort_unstable();
        chosen.dedup();
        assert_eq!(chosen.len(), SEEN, "no patch twice while there are enough");
    }
}
