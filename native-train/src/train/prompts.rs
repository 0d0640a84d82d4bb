//! Regions shown as people show them: clicks, boxes, scribbles and earlier results drawn from the
//! true region, in place of a random quarter of its patches.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use rmae_core::config::ModelConfig;
use rmae_core::exec::Tensors;
use rmae_core::prompt::distance::signed_distances;
use rmae_core::prompt::simulate::{Judged, Simulator, next_click};
use rmae_core::prompt::{MapRules, Mask, ObjectPrompts, shown_patches};
use rmae_core::reconstruct::unpatchify;
use rmae_core::tensor::HostTensor;

use crate::data::LoaderPosition;
use crate::error::{Result, TrainError};

/// Patches of each region that the encoder is shown. Prompts that show fewer are repeated in turn:
/// attention and mean over tokens do not change when all are repeated equally often, so that any
/// divisor of this is exact.
const SEEN: usize = 48;

/// [`SEEN`], or every patch of an image that has fewer.
pub(super) fn seen(model: &ModelConfig) -> usize {
    SEEN.min(model.num_patches())
}

/// What is said about each of the regions of a batch, drawn by the batch's place in the data alone.
pub(super) struct Shown<'a> {
    model: &'a ModelConfig,
    key: (u64, LoaderPosition),
    /// One a region, `[B·k]`; none for an empty region.
    objects: Vec<(Mask, Option<ObjectPrompts>)>,
    /// Rounds of correction so far.
    round: u64,
}

impl<'a> Shown<'a> {
    /// First prompts for the regions `[B, k, S, S]`.
    pub(super) fn draw(model: &'a ModelConfig, regions: &[f32], key: (u64, LoaderPosition)) -> Result<Self> {
        let side = model.img_size;
        let object = |(number, region): (usize, &[f32])| {
            let mask = Mask::new(side, side, region.iter().map(|&v| u8::from(v > 0.5)).collect())?;
            let prompts = Simulator::default().draw(&mask, &mut generator(key, number as u64, 0));
            Ok::<_, TrainError>((mask, prompts))
        };
        let objects = regions.par_chunks(side * side).enumerate().map(object).collect::<Result<_>>()?;
        Ok(Self { model, key, objects, round: 0 })
    }

    /// Random numbers of the batch.
    pub(super) fn generator(&self) -> ChaCha8Rng {
        generator(self.key, u64::MAX, 0)
    }

    /// The inputs `prompt_maps [B·k, 1, S, S]` and `prompt_ids [B·k, L]`, of which the first [`seen`]
    /// count.
    pub(super) fn inputs(&self) -> Result<Tensors> {
        let (side, patches) = (self.model.img_size, self.model.num_patches());
        let map = |(number, (_, prompts)): (usize, &(Mask, Option<ObjectPrompts>))| {
            // Not the numbers that drew the prompts.
            map(self.model, prompts.as_ref(), &mut generator(self.key, number as u64, self.round + 1))
        };
        let (maps, ids): (Vec<_>, Vec<_>) = self.objects.par_iter().enumerate().map(map).unzip();
        let count = self.objects.len();
        Ok(Tensors::from([
            ("prompt_maps".into(), HostTensor::f32(&[count, 1, side, side], maps.concat())?),
            ("prompt_ids".into(), HostTensor::u32(&[count, patches], ids.concat())?),
        ]))
    }

    /// The input `region_distances [B, k, S, S]` of the boundary loss: signed, in patches.
    pub(super) fn distances(&self) -> Result<HostTensor> {
        let (side, patch) = (self.model.img_size, self.model.patch_size as f32);
        let of = |(mask, _): &(Mask, Option<ObjectPrompts>)| {
            let inside: Vec<bool> = mask.data().iter().map(|&v| v != 0).collect();
            let mut distances = signed_distances(&inside, side, side);
            distances.iter_mut().for_each(|d| *d /= patch);
            distances
        };
        let all: Vec<_> = self.objects.par_iter().map(of).collect();
        let k = self.model.num_region;
        Ok(HostTensor::f32(&[self.objects.len() / k, k, side, side], all.concat())?)
    }

    /// Adds to each region's prompts the click that a person would make next, given what the model made
    /// of them: logits `[B, k, L, p²]`.
    pub(super) fn correct(&mut self, logits: &[f32]) {
        let (side, patch) = (self.model.img_size, self.model.patch_size);
        let next = |(object, logits): (&mut (Mask, Option<ObjectPrompts>), &[f32])| {
            let (mask, Some(prompts)) = object else { return };
            let found: Vec<u8> =
                unpatchify(logits, 1, side, patch).iter().map(|&logit| u8::from(logit > 0.0)).collect();
            let judge = |&v: &u8| if v != 0 { Judged::Inside } else { Judged::Outside };
            let truth: Vec<Judged> = mask.data().iter().map(judge).collect();
            prompts.clicks.extend(next_click(&truth, &found, side, side));
        };
        self.objects.par_iter_mut().zip(logits.par_chunks(side * side)).for_each(next);
        self.round += 1;
    }
}

fn generator((seed, at): (u64, LoaderPosition), number: u64, round: u64) -> ChaCha8Rng {
    let mut bytes = [0; 32];
    for (place, value) in bytes.chunks_exact_mut(8).zip([seed, at.epoch, at.index, number ^ (round << 48)]) {
        place.copy_from_slice(&value.to_le_bytes());
    }
    ChaCha8Rng::from_seed(bytes)
}

/// The map and the patches that prompts for one region show.
fn map(model: &ModelConfig, prompts: Option<&ObjectPrompts>, rng: &mut ChaCha8Rng) -> (Vec<f32>, Vec<u32>) {
    let (side, patches, seen) = (model.img_size, model.num_patches(), seen(model));
    let Some(prompts) = prompts else {
        // There is no object: one patch says so.
        let patch = rng.random_range(0..patches as u32);
        return (vec![0.0; side * side], repeated(&[patch], seen, patches, rng));
    };
    let trained = 1.0 - model.region_mask_ratio;
    let (map, visible) = shown_patches(prompts, side, model.patch_size, &MapRules::default(), trained);
    (map, repeated(&visible, seen, patches, rng))
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
        let model = model();
        Shown::draw(&model, &regions, (seed, LoaderPosition { epoch: 0, index })).unwrap().inputs().unwrap()
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
    fn distances_are_in_patches_and_negative_inside() {
        let regions: Vec<f32> = (0..224 * 224)
            .map(|at| f32::from(u8::from(at % 224 < 100)))
            .chain(std::iter::repeat_n(0.0, 224 * 224))
            .collect();
        let model = model();
        let shown = Shown::draw(&model, &regions, (0, LoaderPosition::default())).unwrap();
        let distances = shown.distances().unwrap();
        assert_eq!(distances.shape(), [1, 2, 224, 224]);
        let values = distances.to_f32();
        let at = |x: usize, y: usize| values[y * 224 + x];
        assert_eq!((at(99, 7), at(100, 7)), (-0.5 / 16.0, 0.5 / 16.0));
        assert_eq!((at(0, 0), at(223, 223)), (-99.5 / 16.0, 123.5 / 16.0));
        assert!(values[224 * 224..].iter().all(|&d| d == 0.0), "nothing has no border");
    }

    #[test]
    fn corrections_click_where_the_model_is_wrong() {
        let model = ModelConfig { num_region: 1, ..ModelConfig::default() };
        let region: Vec<f32> = (0..224 * 224).map(|at| f32::from(u8::from(at % 224 < 112))).collect();
        let mut shown = Shown::draw(&model, &region, (0, LoaderPosition::default())).unwrap();
        let clicks = |shown: &Shown| shown.objects[0].1.as_ref().unwrap().clicks.clone();
        let (first, before) = (clicks(&shown).len(), shown.inputs().unwrap());
        // Nothing was found: the middle of the object. Then all of it is inside: the middle of the rest.
        shown.correct(&[-1.0; 224 * 224]);
        shown.correct(&[1.0; 224 * 224]);
        let made = clicks(&shown);
        assert_eq!(made.len(), first + 2);
        assert!(made[first].positive && (made[first].x - 56.0).abs() < 2.0, "{made:?}");
        assert!(!made[first + 1].positive && (made[first + 1].x - 168.0).abs() < 2.0, "{made:?}");
        assert_ne!(shown.inputs().unwrap(), before);
        let right: Vec<f32> = (0..196 * 256).map(|at| if at / 256 % 14 < 7 { 1.0 } else { -1.0 }).collect();
        shown.correct(&right);
        assert_eq!(clicks(&shown).len(), first + 2, "nothing is wrong");
    }

    #[test]
    fn few_patches_are_repeated_in_turn() {
        let mut rng = generator((0, LoaderPosition::default()), 0, 0);
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
