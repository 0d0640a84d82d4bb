//! Running a model over a batch of the loader.

use rmae_core::config::ModelConfig;
use rmae_core::exec::{Device, Params};
use rmae_core::reconstruct::{Reconstruction, Reconstructor};

use crate::data::Batch;
use crate::error::Result;

/// A model ready to reconstruct batches of one size.
#[derive(Debug)]
pub struct Predictor(Reconstructor);

impl Predictor {
    /// Prepares for batches of `batch` images.
    ///
    /// # Errors
    /// Those of the device.
    pub fn new(model: &ModelConfig, device: &Device, batch: usize) -> Result<Self> {
        Ok(Self(pollster::block_on(Reconstructor::new(model, device, batch))?))
    }

    /// Reconstructs every image of a batch.
    ///
    /// # Errors
    /// Those of the device.
    pub fn run(&mut self, params: &mut Params, batch: &Batch) -> Result<Vec<Reconstruction>> {
        Ok(pollster::block_on(self.0.run(params, &batch.images, &batch.regions, &batch.ids_shuffle))?)
    }
}
