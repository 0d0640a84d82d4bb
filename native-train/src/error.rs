//! What can go wrong in training, told apart so that `rmae` can give each kind its exit code.

use std::path::{Path, PathBuf};

use crate::data::DataError;

/// Errors of the trainer. Every message names the culprit and, where it is not plain, what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainError {
    /// The model or its executor refused.
    #[error(transparent)]
    Core(#[from] rmae_core::Error),
    /// Images or regions could not be loaded.
    #[error(transparent)]
    Data(#[from] DataError),
    /// Settings that are unknown, missing or do not fit together.
    #[error("{0}")]
    Config(String),
    /// A checkpoint or weight file that cannot be used.
    #[error("checkpoint {}: {problem}", path.display())]
    Checkpoint {
        /// The file.
        path: PathBuf,
        /// What is wrong and what to do.
        problem: String,
    },
    /// The file system refused.
    #[error("cannot {doing} {}: {source}", path.display())]
    Io {
        /// What was tried, e.g. `write`.
        doing: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A loss or gradient that is infinite or not a number.
    #[error(
        "step {step}: the {what} is {value}; training stopped before the weights were changed, and \
         the last checkpoint is kept. The batch's files are listed in {}. Try a lower --lr, more \
         --warmup-steps or --clip-norm 1", dump.display()
    )]
    NonFinite {
        /// The step, from 0.
        step: u64,
        /// `loss` or `gradient norm`.
        what: &'static str,
        /// Its value.
        value: f64,
        /// The file that lists the images of the batch.
        dump: PathBuf,
    },
}

impl TrainError {
    /// A file-system error at `path` while `doing` something to it.
    pub fn io(doing: &'static str, path: &Path, source: std::io::Error) -> Self {
        Self::Io { doing, path: path.to_path_buf(), source }
    }

    /// A checkpoint that cannot be used.
    pub fn checkpoint(path: &Path, problem: impl Into<String>) -> Self {
        Self::Checkpoint { path: path.to_path_buf(), problem: problem.into() }
    }
}

/// Result with the trainer's error.
pub type Result<T> = std::result::Result<T, TrainError>;
