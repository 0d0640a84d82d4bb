//! The engine check: one small model, random weights, one drawn picture, every executor.

use serde::Serialize;

use crate::picture::Picture;

/// The largest relative error `‖a−b‖/‖b‖` at which two engines agree.
pub const TOLERANCE: f64 = 1e-3;

/// How the model ran on one engine.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// What ran it, e.g. the adapter's name.
    pub adapter: String,
    /// Milliseconds of the first run, in which kernels are compiled.
    pub first_ms: f64,
    /// Milliseconds of a run after that.
    pub again_ms: f64,
    /// Worst difference from the CPU's results, `‖a−b‖/‖b‖`; none on the CPU itself.
    pub relative_error: Option<f64>,
    /// Whether the results are finite and within [`TOLERANCE`].
    pub agrees: bool,
}

/// A model and a picture, ready to be run by one engine after the other.
pub struct EngineCheck {
    picture: Picture,
}

impl EngineCheck {
    /// Prepares the check on a drawn picture.
    #[must_use]
    pub fn new(side: usize) -> Self {
        Self { picture: Picture::draw(side) }
    }

    /// The picture.
    #[must_use]
    pub fn picture(&self) -> &Picture {
        &self.picture
    }

    /// Runs the model on the engine named `cpu` or `webgpu`.
    ///
    /// # Errors
    /// In one sentence for people, when the engine is not there or fails.
    pub async fn run(&mut self, engine: &str) -> Result<Report, String> {
        Err(format!("no engine named `{engine}` is built in yet"))
    }
}
