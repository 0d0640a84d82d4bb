//! From what a person set to a checked configuration.

mod file;
mod options;
mod sources;
mod tuning;

use std::path::{Path, PathBuf};

use rmae_core::config::{ModelConfig, Preset};
use rmae_core::model::Frozen;
use rmae_core::optim::{AdamW, Schedule};

pub use file::{read, to_text};
pub use options::{
    ModelOptions, ObjectiveName, PartName, PretrainOptions, RegionKind, Sampling, TrainPrecision,
    parse_preset,
};
pub use tuning::{Tuning, tune_defaults};

use crate::checkpoint::load_model;
use crate::data::{FelzenszwalbParams, LoaderConfig, RegionPolicy, RegionSource};
use crate::error::{Result, TrainError};

/// A checked configuration of a pre-training run.
#[derive(Clone, Debug)]
pub struct PretrainConfig {
    /// Folders of images.
    pub images: Vec<PathBuf>,
    /// Folder of the run.
    pub out: PathBuf,
    /// The model.
    pub model: ModelConfig,
    /// Weights to start from; random ones where there are none.
    pub init: Option<PathBuf>,
    /// How regions are shown by prompts ([`crate::train`]); none: by random patches, as in pre-training.
    pub tuning: Option<Tuning>,
    /// The loader.
    pub loader: LoaderConfig,
    /// Batches summed up before each update.
    pub accumulate: usize,
    /// Length of the run.
    pub length: Length,
    /// Length of the warm-up; a twelfth of the run where not set (the paper's COCO recipe).
    pub warmup: Option<Length>,
    /// Learning rate after the warm-up.
    pub peak_lr: f64,
    /// Learning rate at the end.
    pub min_lr: f64,
    /// What stays the same from step to step.
    pub adamw: AdamW,
    /// Parts that are not trained.
    pub frozen: Frozen,
    /// Seed of the weights and of the loader.
    pub seed: u64,
    /// Updates between checkpoints.
    pub checkpoint_every: u64,
    /// Newest checkpoints kept.
    pub keep: usize,
    /// Updates between pictures; 0 for none.
    pub picture_every: u64,
    /// Images in each picture.
    pub pictures: usize,
    /// Whether activations are computed again in the backward pass.
    pub recompute: bool,
    /// How a GPU keeps what it computes.
    pub precision: TrainPrecision,
    /// Whether a GPU's products are tuned; what that depends on where it is not said.
    pub autotune: Option<bool>,
    /// Every option with the value it has in this run: what is written to `config.toml`.
    pub effective: PretrainOptions,
}

/// Length of a run or of its warm-up.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Length {
    /// In updates.
    Steps(u64),
    /// In passes over the images.
    Epochs(f64),
}

impl Length {
    fn steps(self, images: usize, images_per_step: usize) -> u64 {
        match self {
            Self::Steps(steps) => steps,
            Self::Epochs(epochs) => (epochs * images as f64 / images_per_step as f64).ceil() as u64,
        }
    }
}

/// Flags over the file. Where flags set one of two exclusive options, the file's other one goes.
#[must_use]
pub fn merge(flags: PretrainOptions, mut file: PretrainOptions) -> PretrainOptions {
    let other = |set: bool, slot: &mut Option<f64>| {
        if set {
            *slot = None;
        }
    };
    other(flags.steps.is_some(), &mut file.epochs);
    other(flags.lr.is_some(), &mut file.base_lr);
    other(flags.base_lr.is_some(), &mut file.lr);
    other(flags.warmup_steps.is_some(), &mut file.warmup_epochs);
    if flags.epochs.is_some() {
        file.steps = None;
    }
    if flags.warmup_epochs.is_some() {
        file.warmup_steps = None;
    }
    flags.or(file)
}

impl PretrainConfig {
    /// Fills in the defaults and checks everything that can be checked without looking at images.
    ///
    /// # Errors
    /// [`TrainError::Config`] or a core configuration error naming the option and what is right.
    pub fn new(mut options: PretrainOptions) -> Result<Self> {
        let images =
            required(options.images.clone().filter(|i| !i.is_empty()), "images", "the folders of images")?;
        let out = required(options.out.clone(), "out", "the folder of the run")?;
        let model = resolve_model(&mut options)?;
        let loader = resolve_loader(&mut options, &model)?;
        let accumulate = at_least_one(&mut options.accumulate, 1, "accumulate")?;
        exclusive(options.lr.is_some(), "lr", options.base_lr.is_some(), "base_lr")?;
        let per_step = loader.batch * accumulate;
        let config = Self {
            init: options.init.clone(),
            tuning: tuning::resolve(&mut options, &model)?,
            length: resolve_length(&mut options)?,
            warmup: resolve_warmup(&options)?,
            peak_lr: resolve_peak_lr(&mut options, per_step)?,
            min_lr: not_negative(&mut options.min_lr, 0.0, "min_lr")?,
            adamw: resolve_adamw(&mut options)?,
            frozen: frozen(&options),
            seed: loader.seed,
            checkpoint_every: at_least_one(&mut options.checkpoint_every, 500, "checkpoint_every")?,
            keep: at_least_one(&mut options.keep, 3, "keep")?,
            picture_every: *options.picture_every.get_or_insert(500),
            pictures: at_least_one(&mut options.pictures, 4, "pictures")?,
            recompute: *options.recompute.get_or_insert(false),
            precision: *options.precision.get_or_insert_default(),
            autotune: options.autotune,
            images,
            out,
            model,
            loader,
            accumulate,
            effective: options,
        };
        Ok(config)
    }

    /// Images of one update.
    #[must_use]
    pub fn images_per_step(&self) -> usize {
        self.loader.batch * self.accumulate
    }

    /// The learning rates of a run over `images` images.
    #[must_use]
    pub fn schedule(&self, images: usize) -> Schedule {
        let total_steps = self.length.steps(images, self.images_per_step());
        let warmup_steps = self
            .warmup
            .map_or(total_steps / 12, |w| w.steps(images, self.images_per_step()))
            .min(total_steps);
        Schedule { peak_lr: self.peak_lr, min_lr: self.min_lr, warmup_steps, total_steps }
    }
}

fn frozen(options: &PretrainOptions) -> Frozen {
    let named = |part| options.freeze.as_ref().is_some_and(|parts| parts.contains(&part));
    Frozen {
        encoder: named(PartName::Encoder),
        pixels: named(PartName::Pixels),
        regions: named(PartName::Regions),
    }
}

/// The model of a preset, an objective and single values; leaves the outcome in the options.
fn resolve_model(options: &mut PretrainOptions) -> Result<ModelConfig> {
    let base = match &options.init {
        Some(file) if options.preset.is_none() => load_model(file)?.0,
        _ => ModelConfig::preset(*options.preset.get_or_insert(Preset::Ti)),
    };
    let model = adjusted(base, options.objective, &options.model)?;
    options.model = ModelOptions::from(&model);
    Ok(model)
}

/// The model of a preset, an objective and single values.
///
/// # Errors
/// A core configuration error naming the field and what is right.
pub fn model_config(
    preset: Preset, objective: Option<ObjectiveName>, overrides: &ModelOptions,
) -> Result<ModelConfig> {
    adjusted(ModelConfig::preset(preset), objective, overrides)
}

/// A model under another objective and with single values set.
fn adjusted(
    mut model: ModelConfig, objective: Option<ObjectiveName>, overrides: &ModelOptions,
) -> Result<ModelConfig> {
    if let Some(objective) = objective {
        model = model.with_objective(objective.into());
    }
    overrides.apply(&mut model);
    model.validate()?;
    if let Some(objective) = objective
        && model.objective() != objective.into()
    {
        return Err(TrainError::Config(format!(
            "objective: {objective:?} does not fit num_region = {} and use_mae_loss = {}; leave those out",
            model.num_region, model.use_mae_loss
        )));
    }
    Ok(model)
}

fn resolve_loader(options: &mut PretrainOptions, model: &ModelConfig) -> Result<LoaderConfig> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let region_policy = match *options.region_sampling.get_or_insert(Sampling::Random) {
        Sampling::Random => RegionPolicy::Random,
        Sampling::RandomFg => RegionPolicy::RandomForeground,
    };
    Ok(LoaderConfig {
        image_side: model.img_size,
        patch: model.patch_size,
        batch: at_least_one(&mut options.batch, 64, "batch")?,
        num_regions: model.num_region,
        region_mask_ratio: model.region_mask_ratio,
        region_source: if model.num_region == 0 { RegionSource::None } else { sources::resolve(options)? },
        crops: sources::crops(options)?,
        region_policy,
        min_patches: *options.min_patches.get_or_insert(0),
        seed: *options.seed.get_or_insert(0),
        threads: at_least_one(&mut options.loader_threads, cores, "loader_threads")?,
        prefetch_batches: at_least_one(&mut options.prefetch, 3, "prefetch")?,
        region_cache: options.region_cache.clone(),
    })
}

/// One segmentation for each scale; the smallest segment is as large as the scale unless set.
///
/// # Errors
/// [`TrainError::Config`] without a scale, or with numbers out of range.
pub fn fh_params(scales: &[u32], min_size: Option<usize>, sigma: f64) -> Result<Vec<FelzenszwalbParams>> {
    if scales.is_empty() {
        return Err(TrainError::Config("the segmentation needs at least one scale".into()));
    }
    let params = |&scale: &u32| {
        let params = FelzenszwalbParams {
            scale: f64::from(scale),
            sigma,
            min_size: min_size.unwrap_or(scale as usize),
        };
        params.validate().map_err(|e| TrainError::Config(e.to_string()))?;
        Ok(params)
    };
    scales.iter().map(params).collect()
}

fn resolve_length(options: &mut PretrainOptions) -> Result<Length> {
    exclusive(options.steps.is_some(), "steps", options.epochs.is_some(), "epochs")?;
    if let Some(steps) = options.steps {
        return if steps > 0 { Ok(Length::Steps(steps)) } else { wrong("steps", 0, "must be at least 1") };
    }
    let epochs = *options.epochs.get_or_insert(100.0);
    if epochs > 0.0 && epochs.is_finite() {
        return Ok(Length::Epochs(epochs));
    }
    wrong("epochs", epochs, "must be above 0")
}

fn resolve_warmup(options: &PretrainOptions) -> Result<Option<Length>> {
    exclusive(
        options.warmup_steps.is_some(),
        "warmup_steps",
        options.warmup_epochs.is_some(),
        "warmup_epochs",
    )?;
    if let Some(epochs) = options.warmup_epochs {
        if !(epochs >= 0.0 && epochs.is_finite()) {
            return wrong("warmup_epochs", epochs, "must not be negative");
        }
        return Ok(Some(Length::Epochs(epochs)));
    }
    Ok(options.warmup_steps.map(Length::Steps))
}

/// `lr`, or `base_lr` scaled by the images of an update over 256 (linear scaling rule).
fn resolve_peak_lr(options: &mut PretrainOptions, images_per_step: usize) -> Result<f64> {
    if options.lr.is_some() {
        return not_negative(&mut options.lr, 0.0, "lr");
    }
    let base = not_negative(&mut options.base_lr, 1.5e-4, "base_lr")?;
    Ok(base * images_per_step as f64 / 256.0)
}

fn resolve_adamw(options: &mut PretrainOptions) -> Result<AdamW> {
    let clip = not_negative(&mut options.clip_norm, 0.0, "clip_norm")?;
    let eps = not_negative(&mut options.eps, 1e-8, "eps")?;
    Ok(AdamW {
        beta1: below_one(&mut options.beta1, 0.9, "beta1")?,
        beta2: below_one(&mut options.beta2, 0.95, "beta2")?,
        eps,
        weight_decay: not_negative(&mut options.weight_decay, 0.05, "weight_decay")?,
        clip_norm: (clip > 0.0).then_some(clip),
        ..AdamW::default()
    })
}

fn required<T>(value: Option<T>, name: &str, what: &str) -> Result<T> {
    value.ok_or_else(|| {
        TrainError::Config(format!(
            "{name} is missing: name {what} with --{name} or in the configuration file"
        ))
    })
}

fn exclusive(first: bool, a: &str, second: bool, b: &str) -> Result<()> {
    if first && second {
        return Err(TrainError::Config(format!("{a} and {b} say the same thing twice; set one of them")));
    }
    Ok(())
}

fn at_least_one<T: Copy + PartialOrd + From<u8> + std::fmt::Display>(
    slot: &mut Option<T>, default: T, name: &str,
) -> Result<T> {
    let value = *slot.get_or_insert(default);
    if value < T::from(1) { wrong(name, value, "must be at least 1") } else { Ok(value) }
}

fn not_negative(slot: &mut Option<f64>, default: f64, name: &str) -> Result<f64> {
    let value = *slot.get_or_insert(default);
    if value >= 0.0 && value.is_finite() {
        Ok(value)
    } else {
        wrong(name, value, "must be finite and not negative")
    }
}

fn below_one(slot: &mut Option<f64>, default: f64, name: &str) -> Result<f64> {
    let value = *slot.get_or_insert(default);
    if (0.0..1.0).contains(&value) { Ok(value) } else { wrong(name, value, "must be at least 0 and below 1") }
}

fn wrong<T>(name: &str, value: impl std::fmt::Display, problem: &str) -> Result<T> {
    Err(TrainError::Config(format!("{name} = {value}: {problem}")))
}

/// Where a run keeps the configuration it runs with.
#[must_use]
pub fn effective_path(run: &Path) -> PathBuf {
    run.join("config.toml")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn minimal() -> PretrainOptions {
        PretrainOptions { images: Some(vec!["photos".into()]), out: Some("run".into()), ..Default::default() }
    }

    #[test]
    fn the_effective_options_give_the_same_configuration() {
        let first = PretrainConfig::new(minimal()).unwrap();
        let again = PretrainConfig::new(first.effective.clone()).unwrap();
        assert_eq!(first.effective, again.effective);
        assert_eq!(format!("{first:?}"), format!("{again:?}"));
    }

    #[test]
    fn the_base_rate_scales_with_the_images_of_an_update() {
        let options = PretrainOptions { batch: Some(128), accumulate: Some(4), ..minimal() };
        let config = PretrainConfig::new(options).unwrap();
        assert!((config.peak_lr - 3e-4).abs() < 1e-12);
    }

    #[test]
    fn flags_replace_the_other_way_of_saying_it_in_the_file() {
        let file = PretrainOptions { epochs: Some(3.0), base_lr: Some(1.0), batch: Some(2), ..minimal() };
        let flags = PretrainOptions { steps: Some(9), lr: Some(0.5), ..Default::default() };
        let config = PretrainConfig::new(merge(flags, file)).unwrap();
        assert_eq!((config.length, config.peak_lr, config.loader.batch), (Length::Steps(9), 0.5, 2));
    }

    #[test]
    fn epochs_become_updates_by_the_images_of_an_update() {
        let options = PretrainOptions { epochs: Some(2.0), batch: Some(8), accumulate: Some(2), ..minimal() };
        let schedule = PretrainConfig::new(options).unwrap().schedule(100);
        assert_eq!((schedule.total_steps, schedule.warmup_steps), (13, 1));
    }

    #[test]
    fn what_cannot_be_is_named() {
        let message = |options| PretrainConfig::new(options).unwrap_err().to_string();
        assert!(message(PretrainOptions { batch: Some(0), ..minimal() }).starts_with("batch = 0"));
        assert!(message(PretrainOptions { beta2: Some(1.0), ..minimal() }).starts_with("beta2 = 1"));
        let twice = PretrainOptions { steps: Some(1), epochs: Some(1.0), ..minimal() };
        assert!(message(twice).contains("steps and epochs"));
        assert!(message(PretrainOptions::default()).contains("--images"));
        let model = ModelOptions { mask_ratio: Some(1.0), ..Default::default() };
        assert!(message(PretrainOptions { model, ..minimal() }).contains("mask_ratio"));
    }
}
