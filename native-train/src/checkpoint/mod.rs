//! Checkpoints: one safetensors file that holds everything a run needs to go on.
//!
//! Weights carry the authors' names, so the file loads as a plain weight file elsewhere; AdamW's
//! moments are `optimizer.exp_avg.<name>` and `optimizer.exp_avg_sq.<name>`; the rest stands in
//! the metadata under `rmae.*`.

mod load;
mod save;

use rmae_core::config::ModelConfig;
use rmae_core::exec::Tensors;
use rmae_core::optim::LossScale;
use serde::{Deserialize, Serialize};

pub use load::{Newest, has_checkpoints, load, load_model, newest};
pub use save::{Part, export, path_of, prune, save, sweep, write_atomically, write_tensors_file};

use crate::data::LoaderPosition;

/// Where a run stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrainState {
    /// Updates done.
    pub step: u64,
    /// The next sample. With the seed it stands for the state of every random generator: each draw
    /// is a function of seed and place.
    pub position: LoaderPosition,
    /// Seed of order, crops, masks and regions.
    pub seed: u64,
    /// Images in the data set.
    pub images: usize,
    /// Region maps averaged in [`Checkpoint::coverage`].
    pub coverage_count: u64,
    /// With mixed precision, the factor on the gradients, and how many updates were skipped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss_scale: Option<LossScale>,
    /// The variants of a GPU's kernels that the run was tuned to and goes on with: text of
    /// [`rmae_core::gpu::TuningKey::write`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernels: Option<String>,
}

/// Everything in a checkpoint.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    /// The model.
    pub model: ModelConfig,
    /// Weights and fixed tables under the authors' names.
    pub weights: Tensors,
    /// `exp_avg.<name>` and `exp_avg_sq.<name>`.
    pub optimizer: Tensors,
    /// Where the run stands.
    pub state: TrainState,
    /// Sum of the regions' coverage for each patch position, `[L]`; empty without regions.
    pub coverage: Vec<f64>,
    /// The run's configuration, as TOML.
    pub config: String,
}

#[cfg(test)]
mod tests;
