//! Tuning on prompts: what of it a person may set.

use rmae_core::config::{ModelConfig, RegionDecoder};

use super::options::PretrainOptions;
use super::{not_negative, wrong};
use crate::error::{Result, TrainError};

/// How a model learns from prompts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tuning {
    /// Whether the model sees whole images, and no pixels are predicted.
    pub whole_image: bool,
    /// Weight of the soft Dice loss.
    pub dice_weight: f64,
    /// Weight of the boundary loss.
    pub boundary_weight: f64,
    /// Share of the batches that go on with clicks on the model's own errors.
    pub corrective: f64,
}

/// What `rmae tune` does where nothing else is said.
#[must_use]
pub fn tune_defaults() -> PretrainOptions {
    PretrainOptions {
        prompts: Some(true),
        whole_image: Some(true),
        dice_weight: Some(1.0),
        corrective: Some(0.3),
        object_crops: Some(0.3),
        whole_crops: Some(0.3),
        ..PretrainOptions::default()
    }
}

/// None without `prompts`.
pub(super) fn resolve(options: &mut PretrainOptions, model: &ModelConfig) -> Result<Option<Tuning>> {
    if !*options.prompts.get_or_insert(false) {
        return no_prompts(options).map(|()| None);
    }
    if model.num_region == 0 {
        return wrong("prompts", true, "the model has no regions; choose --objective rmae or rae");
    }
    // Prompts show one region each, which the channel decoder's encoder cannot see apart.
    if model.region_decoder == RegionDecoder::Channel {
        return wrong("prompts", true, "the channel decoder takes no single region; use length or batch");
    }
    Ok(Some(Tuning {
        whole_image: *options.whole_image.get_or_insert(false),
        dice_weight: not_negative(&mut options.dice_weight, 0.0, "dice_weight")?,
        boundary_weight: not_negative(&mut options.boundary_weight, 0.0, "boundary_weight")?,
        corrective: share(&mut options.corrective, "corrective")?,
    }))
}

fn no_prompts(options: &PretrainOptions) -> Result<()> {
    let set = [
        ("whole_image", options.whole_image == Some(true)),
        ("dice_weight", options.dice_weight.is_some_and(|w| w != 0.0)),
        ("boundary_weight", options.boundary_weight.is_some_and(|w| w != 0.0)),
        ("corrective", options.corrective.is_some_and(|share| share != 0.0)),
    ];
    match set.into_iter().find(|(_, set)| *set) {
        Some((name, _)) => {
            let problem = format!("{name} belongs to tuning: set prompts = true as well, or run rmae tune");
            Err(TrainError::Config(problem))
        }
        None => Ok(()),
    }
}

/// A share of 0 to 1; 0 where not set.
pub(super) fn share(slot: &mut Option<f64>, name: &str) -> Result<f64> {
    let value = *slot.get_or_insert(0.0);
    if (0.0..=1.0).contains(&value) { Ok(value) } else { wrong(name, value, "must lie between 0 and 1") }
}
