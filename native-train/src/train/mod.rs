//! Pre-training: a loop over batches, and what it leaves behind in the folder of the run.
//!
//! | file | what |
//! | --- | --- |
//! | `config.toml` | the configuration that the run has |
//! | `checkpoint-XXXXXXXX.safetensors` | everything needed to go on after that many updates |
//! | `metrics.jsonl`, `events.out.tfevents.*` | one record for every update; the same for TensorBoard |
//! | `pictures/step_XXXXXXX.png`, `curve.png` | what the model predicts for a few fixed images; the losses |
//! | `skipped.jsonl` | images that could not be read, each once |
//! | `nonfinite_batch.json` | the batch at which the loss stopped being a number |

mod corrector;
mod coverage;
mod metrics;
mod pictures;
mod prompts;
mod run_dir;
mod setup;
mod step_loop;
mod tensorboard;

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use rmae_core::exec::Device;

pub use coverage::{Baselines, Coverage};
pub use metrics::StepRecord;

use crate::config::PretrainConfig;
use crate::data::SkippedImage;
use crate::error::Result;

/// What happens during a run, for whoever shows it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event {
    /// Everything is ready.
    Started(Start),
    /// An update was made.
    Step(StepRecord),
    /// An image could not be read, for the first time.
    Skipped(SkippedImage),
    /// A checkpoint was written.
    Saved(PathBuf),
    /// A picture was written.
    Picture(PathBuf),
    /// Something about the device that is worth a line.
    Note(String),
    /// Something that the run survives.
    Warning(String),
}

/// What is known when a run starts.
#[derive(Clone, Debug)]
pub struct Start {
    /// Where it computes.
    pub device: String,
    /// Images found.
    pub images: usize,
    /// Trained weights.
    pub parameters: usize,
    /// Images of one update.
    pub images_per_step: usize,
    /// Updates done before.
    pub first_step: u64,
    /// Updates of the whole run.
    pub total_steps: u64,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Updates done.
    pub step: u64,
    /// Whether it was asked to stop before its end.
    pub interrupted: bool,
}

/// Trains until the end or until `stop` is set; either way the last update is in a checkpoint.
///
/// # Errors
/// Those of data, device and file system, and [`crate::TrainError::NonFinite`].
pub fn pretrain(
    config: &PretrainConfig, resume: bool, device: &Device, stop: &AtomicBool, observe: &mut dyn FnMut(Event),
) -> Result<Outcome> {
    let mut trainer = setup::prepare(config, resume, device, observe)?;
    trainer.train(stop, observe)
}
