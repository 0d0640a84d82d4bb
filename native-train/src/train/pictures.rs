//! Panels of a few fixed images, made every so often while training.

use std::fs;
use std::path::{Path, PathBuf};

use image::RgbImage;
use rmae_core::exec::{Device, Params};

use crate::config::PretrainConfig;
use crate::data::{Batch, LoaderConfig, load_eval};
use crate::error::{Result, TrainError};
use crate::picture::{panel, save_png};
use crate::predict::Predictor;

/// Makes panels; the graph is compiled and the images are loaded for the first one.
#[derive(Debug)]
pub(super) struct Pictures {
    device: Device,
    folder: PathBuf,
    files: Vec<PathBuf>,
    loader: LoaderConfig,
    ready: Option<(Predictor, Batch)>,
}

impl Pictures {
    pub(super) fn new(config: &PretrainConfig, device: &Device, files: &[PathBuf]) -> Self {
        Self {
            device: device.clone(),
            folder: config.out.join("pictures"),
            files: spread(files, config.pictures),
            loader: config.loader.clone(),
            ready: None,
        }
    }

    /// Writes the panel of a step; its path and the picture.
    pub(super) fn make(
        &mut self, config: &PretrainConfig, params: &mut Params, step: u64,
    ) -> Result<(PathBuf, RgbImage)> {
        let (mut predictor, batch) = match self.ready.take() {
            Some(ready) => ready,
            None => self.prepare(config)?,
        };
        let image = panel(&predictor.run(params, &batch)?);
        self.ready = Some((predictor, batch));
        let path = self.folder.join(format!("step_{step:07}.png"));
        save_png(&image, &path)?;
        Ok((path, image))
    }

    fn prepare(&self, config: &PretrainConfig) -> Result<(Predictor, Batch)> {
        create(&self.folder)?;
        let batch = load_eval(&self.files, &self.loader)?;
        let predictor = Predictor::new(&config.model, &self.device, batch.names.len())?;
        Ok((predictor, batch))
    }
}

fn create(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).map_err(|e| TrainError::io("create", folder, e))
}

/// `count` files at even distances, so that several folders have their share.
fn spread(files: &[PathBuf], count: usize) -> Vec<PathBuf> {
    let count = count.min(files.len());
    (0..count).map(|i| files[(2 * i + 1) * files.len() / (2 * count)].clone()).collect()
}
