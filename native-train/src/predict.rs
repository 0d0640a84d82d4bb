//! Running a model over a batch, and putting what it predicts back into pixels.

use rmae_core::config::ModelConfig;
use rmae_core::exec::{Device, Params, Program, Tensors};
use rmae_core::model;
use rmae_core::tensor::HostTensor;

use crate::data::Batch;
use crate::error::Result;

/// Epsilon under the root of a target patch's deviation (`norm_pix_loss`).
const PATCH_EPS: f32 = 1e-6;

/// The graph's inputs: `images` `[B,3,S,S]`, `regions` `[B,k,S,S]`, `ids_shuffle` `[B,L]`.
///
/// # Errors
/// A core tensor error when a buffer is not of that size.
pub fn inputs(
    model: &ModelConfig, images: Vec<f32>, regions: Vec<f32>, ids_shuffle: &[u32],
) -> Result<Tensors> {
    let (side, patches) = (model.img_size, model.num_patches());
    let batch = ids_shuffle.len() / patches;
    let restore = model::restore_ids(ids_shuffle, patches);
    let mut inputs = Tensors::from([
        ("image".into(), HostTensor::f32(&[batch, 3, side, side], images)?),
        ("ids_shuffle".into(), HostTensor::u32(&[batch, patches], ids_shuffle.to_vec())?),
        ("ids_restore".into(), HostTensor::u32(&[batch, patches], restore)?),
    ]);
    if model.num_region > 0 {
        let shape = [batch, model.num_region, side, side];
        inputs.insert("regions".into(), HostTensor::f32(&shape, regions)?);
    }
    Ok(inputs)
}

/// What a model makes of one masked image.
#[derive(Clone, Debug)]
pub struct Prediction {
    /// Side `S` of the image and `p` of a patch, pixels.
    pub side: usize,
    /// Side of a patch, pixels.
    pub patch: usize,
    /// The image, normalised, `[3, S, S]`.
    pub image: Vec<f32>,
    /// Which patches the model saw, `[L]`.
    pub visible: Vec<bool>,
    /// The prediction on the scale of `image`, `[3, S, S]`; none without a pixel branch.
    pub pixels: Option<Vec<f32>>,
    /// One for each region.
    pub regions: Vec<RegionPrediction>,
}

/// What a model makes of one masked region.
#[derive(Clone, Debug)]
pub struct RegionPrediction {
    /// The region, `[S, S]` of 0 and 1.
    pub map: Vec<f32>,
    /// Which patches of it the model saw, `[L]`.
    pub visible: Vec<bool>,
    /// Predicted probability of belonging to it, `[S, S]`.
    pub probability: Vec<f32>,
}

/// A model ready to predict batches of one size.
#[derive(Debug)]
pub struct Predictor {
    model: ModelConfig,
    program: Program,
}

impl Predictor {
    /// Prepares for batches of `batch` images.
    ///
    /// # Errors
    /// Those of the device.
    pub fn new(model: &ModelConfig, device: &Device, batch: usize) -> Result<Self> {
        let graph = model::forward_graph(model, batch)?;
        let wanted = ["pred", "pred_region_logits"];
        let fetch: Vec<&str> =
            wanted.into_iter().filter(|name| graph.outputs().contains_key(*name)).collect();
        let program = pollster::block_on(device.compile(&graph, &fetch, false))?;
        Ok(Self { model: model.clone(), program })
    }

    /// Predicts every image of a batch.
    ///
    /// # Errors
    /// Those of the device.
    pub fn run(&mut self, params: &mut Params, batch: &Batch) -> Result<Vec<Prediction>> {
        let inputs = inputs(&self.model, batch.images.clone(), batch.regions.clone(), &batch.ids_shuffle)?;
        let outputs = pollster::block_on(self.program.run(params, &inputs))?;
        let output = |name: &str| outputs.get(name).map(HostTensor::to_f32).unwrap_or_default();
        let (pred, logits) = (output("pred"), output("pred_region_logits"));
        let count = batch.ids_shuffle.len() / self.model.num_patches();
        Ok((0..count).map(|i| self.prediction(batch, i, &pred, &logits)).collect())
    }

    fn prediction(&self, batch: &Batch, i: usize, pred: &[f32], logits: &[f32]) -> Prediction {
        let model = &self.model;
        let (side, patch, patches) = (model.img_size, model.patch_size, model.num_patches());
        let ids = part(&batch.ids_shuffle, i, patches);
        let image = part(&batch.images, i, 3 * side * side);
        let pixels = (!pred.is_empty()).then(|| {
            let mut pixels = unpatchify(part(pred, i, 3 * side * side), 3, side, patch);
            if model.norm_pix_loss {
                undo_norm_pix(&mut pixels, image, side, patch);
            }
            pixels
        });
        let area = side * side;
        let of_image = model.num_region * area;
        let (maps, logits) = if logits.is_empty() {
            (&[][..], &[][..])
        } else {
            (part(&batch.regions, i, of_image), part(logits, i, of_image))
        };
        let seen = visible(ids, model.visible_region_patches());
        let regions = maps.chunks(area).zip(logits.chunks(area)).map(|(map, logits)| RegionPrediction {
            map: map.to_vec(),
            visible: seen.clone(),
            probability: unpatchify(logits, 1, side, patch)
                .iter()
                .map(|x| 1.0 / (1.0 + (-x).exp()))
                .collect(),
        });
        Prediction {
            side,
            patch,
            image: image.to_vec(),
            visible: visible(ids, model.visible_patches()),
            pixels,
            regions: regions.collect(),
        }
    }
}

fn part<T>(all: &[T], index: usize, len: usize) -> &[T] {
    &all[index * len..(index + 1) * len]
}

/// Marks the first `kept` ids of a permutation, `[L]`.
fn visible(ids: &[u32], kept: usize) -> Vec<bool> {
    let mut visible = vec![false; ids.len()];
    for &id in &ids[..kept] {
        visible[id as usize] = true;
    }
    visible
}

/// `[L, p·p·c]` (row in patch, column in patch, channel) to `[c, S, S]`.
fn unpatchify(patches: &[f32], channels: usize, side: usize, patch: usize) -> Vec<f32> {
    let grid = side / patch;
    let mut image = vec![0.0; channels * side * side];
    for (at, value) in patches.iter().enumerate() {
        let (c, rest) = (at % channels, at / channels);
        let (column, rest) = (rest % patch, rest / patch);
        let (row, l) = (rest % patch, rest / patch);
        let (x, y) = (l % grid * patch + column, l / grid * patch + row);
        image[(c * side + y) * side + x] = *value;
    }
    image
}

/// Gives each predicted patch the mean and the (unbiased) deviation of the true one, which
/// `norm_pix_loss` had taken out of the target.
fn undo_norm_pix(pixels: &mut [f32], image: &[f32], side: usize, patch: usize) {
    let grid = side / patch;
    for l in 0..grid * grid {
        let places: Vec<usize> = patch_places(l, side, patch).collect();
        let n = places.len() as f32;
        let mean = places.iter().map(|&i| image[i]).sum::<f32>() / n;
        let square = places.iter().map(|&i| (image[i] - mean).powi(2)).sum::<f32>();
        let deviation = (square / (n - 1.0).max(1.0) + PATCH_EPS).sqrt();
        for &i in &places {
            pixels[i] = pixels[i] * deviation + mean;
        }
    }
}

/// Indices of a patch's elements in `[3, S, S]`.
fn patch_places(l: usize, side: usize, patch: usize) -> impl Iterator<Item = usize> {
    let grid = side / patch;
    let (left, top) = (l % grid * patch, l / grid * patch);
    (0..3 * patch * patch).map(move |i| {
        let (c, row, column) = (i / (patch * patch), i / patch % patch, i % patch);
        (c * side + top + row) * side + left + column
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn standardised_patches_come_back_as_the_image() {
        let (side, patch) = (8, 4);
        let image: Vec<f32> = (0..3 * side * side).map(|i| ((i * 37) % 101) as f32 / 50.0 - 1.0).collect();
        // Standardised and patchified as the target of the loss is.
        let mut target = vec![];
        for l in 0..4 {
            let places: Vec<usize> = patch_places(l, side, patch).collect();
            let mean = places.iter().map(|&i| image[i]).sum::<f32>() / 48.0;
            let variance = places.iter().map(|&i| (image[i] - mean).powi(2)).sum::<f32>() / 47.0;
            for pixel in 0..16 {
                for c in 0..3 {
                    target.push((image[places[c * 16 + pixel]] - mean) / (variance + PATCH_EPS).sqrt());
                }
            }
        }
        let mut pixels = unpatchify(&target, 3, side, patch);
        undo_norm_pix(&mut pixels, &image, side, patch);
        for (a, b) in pixels.iter().zip(&image) {
            assert!((a - b).abs() < 1e-5, "{a} {b}");
        }
    }

    #[test]
    fn the_first_ids_are_visible() {
        assert_eq!(visible(&[2, 0, 1, 3], 2), [true, false, true, false]);
    }
}
