//! One object, asked for in every way.

use std::time::Instant;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rmae_core::prompt::simulate::Simulator;
use rmae_core::prompt::{BoxPrompt, Mask, ObjectPrompts};

use super::methods::{Method, Rig, milliseconds};
use super::report::Played;
use super::sets::Case;
use super::truth::Truth;
use crate::error::Result;

/// Clicks after which the boundary is measured.
const BOUNDARY_CLICKS: usize = 5;

/// The prompts of an object that do not depend on what was answered: the same for every method.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) boxed: BoxPrompt,
    scribbles: Vec<ObjectPrompts>,
    degraded: Vec<Mask>,
}

impl Asked {
    /// One scribble and one degraded mask for each seed; none for an object without a pixel.
    pub(super) fn new(case: &Case, truth: &Truth, seeds: &[u64]) -> Option<Self> {
        let tight = truth.bounding_box()?;
        let mask = truth.mask();
        let mut asked =
            Self { boxed: case.boxed.clone().unwrap_or(tight), scribbles: vec![], degraded: vec![] };
        let only = Simulator {
            box_share: 0.0,
            scribble_share: 1.0,
            mask_share: 1.0,
            further_clicks: 0,
            ..Simulator::default()
        };
        for &seed in seeds {
            let mut drawn = only.draw(&mask, &mut generator(case, seed))?;
            asked.degraded.extend(drawn.mask.take());
            asked.scribbles.push(drawn);
        }
        Some(asked)
    }

    /// Mean IoU of the degraded masks.
    pub(super) fn degraded_iou(&self, truth: &Truth) -> f64 {
        mean(self.degraded.iter().map(|mask| truth.iou(mask))).unwrap_or(0.0)
    }
}

/// Random numbers of an object: not those of another one, and the same whatever else is measured.
pub(super) fn generator(case: &Case, seed: u64) -> ChaCha8Rng {
    let name = case.image.file_name().unwrap_or_default().to_string_lossy();
    // FNV-1a: the same on every machine.
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let mut key = [0; 32];
    for (place, value) in key.chunks_exact_mut(8).zip([seed, hash, case.object]) {
        place.copy_from_slice(&value.to_le_bytes());
    }
    ChaCha8Rng::from_seed(key)
}

/// Plays one object with one method; none where the method understands no prompt at all.
pub(super) fn play(
    rig: &mut Rig, method: Method, truth: &Truth, asked: &Asked, max_clicks: usize,
) -> Result<Played> {
    let mut played = Played::default();
    let boxes = vec![asked.boxed.clone()];
    if let Some(mask) = rig.predict(method, &ObjectPrompts { boxes, ..ObjectPrompts::default() })? {
        played.boxed = Some(truth.iou(&mask));
        played.boundary_boxed = truth.boundary_f(&mask);
    }
    played.scribble = mean_of(&asked.scribbles, |prompts| answer(rig, method, truth, prompts))?;
    played.degraded = mean_of(&asked.degraded, |mask| {
        let prompts = ObjectPrompts { mask: Some(mask.clone()), ..ObjectPrompts::default() };
        answer(rig, method, truth, &prompts)
    })?;
    clicks(rig, method, truth, max_clicks, &mut played)?;
    Ok(played)
}

fn answer(rig: &mut Rig, method: Method, truth: &Truth, prompts: &ObjectPrompts) -> Result<Option<f64>> {
    Ok(rig.predict(method, prompts)?.map(|mask| truth.iou(&mask)))
}

/// The number-of-clicks protocol: each click at the centre of the largest wrong region.
fn clicks(
    rig: &mut Rig, method: Method, truth: &Truth, max_clicks: usize, played: &mut Played,
) -> Result<()> {
    let (width, height) = truth.size();
    let mut prompts = ObjectPrompts::default();
    let mut mask = Mask::empty(width, height);
    while prompts.clicks.len() < max_clicks {
        let Some(click) = truth.next_click(&mask) else { break };
        prompts.clicks.push(click);
        let started = Instant::now();
        let Some(answer) = rig.predict(method, &prompts)? else { return Ok(()) };
        played.click_ms.push(milliseconds(started));
        mask = answer;
        played.clicks.push(truth.iou(&mask));
        if prompts.clicks.len() <= BOUNDARY_CLICKS {
            played.boundary_clicks = truth.boundary_f(&mask);
        }
    }
    Ok(())
}

fn mean_of<T>(items: &[T], mut value: impl FnMut(&T) -> Result<Option<f64>>) -> Result<Option<f64>> {
    let values: Vec<Option<f64>> = items.iter().map(&mut value).collect::<Result<_>>()?;
    Ok(mean(values.into_iter().flatten()))
}

/// The mean; none of nothing.
pub(super) fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = values.fold((0.0, 0u32), |(sum, count), value| (sum + value, count + 1));
    (count > 0).then(|| sum / f64::from(count))
}
