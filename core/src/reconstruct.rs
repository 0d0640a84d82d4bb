//! What a model makes of masked images, put back into pixels (R-MAE, Figure 5).

use crate::config::ModelConfig;
use crate::error::Result;
use crate::exec::{Device, Params, Program, Tensors};
use crate::model::{forward_graph, restore_ids};
use crate::resample::denormalised;
use crate::tensor::HostTensor;

/// Epsilon under the root of a target patch's deviation (`norm_pix_loss`).
const PATCH_EPS: f32 = 1e-6;
/// Colour of a patch that was removed.
const REMOVED: [u8; 3] = [128; 3];

/// The inputs of the training graph: `images` `[B,3,S,S]`, `regions` `[B,k,S,S]`, `ids_shuffle` `[B,L]`.
///
/// # Errors
/// [`crate::Error::Tensor`] when a buffer is not of that size.
pub fn inputs(
    model: &ModelConfig, images: Vec<f32>, regions: Vec<f32>, ids_shuffle: &[u32],
) -> Result<Tensors> {
    let (side, patches) = (model.img_size, model.num_patches());
    let batch = ids_shuffle.len() / patches;
    let restore = restore_ids(ids_shuffle, patches);
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
pub struct Reconstruction {
    /// Side `S` of the image, pixels.
    pub side: usize,
    /// Side `p` of a patch, pixels.
    pub patch: usize,
    /// The image, normalised, `[3, S, S]`.
    pub image: Vec<f32>,
    /// Which patches the model saw, `[L]`.
    pub visible: Vec<bool>,
    /// The prediction on the scale of `image`, `[3, S, S]`; none without a pixel branch.
    pub pixels: Option<Vec<f32>>,
    /// One for each region.
    pub regions: Vec<CompletedRegion>,
}

/// What a model makes of one masked region.
#[derive(Clone, Debug)]
pub struct CompletedRegion {
    /// The region, `[S, S]` of 0 and 1.
    pub map: Vec<f32>,
    /// Which patches of it the model saw, `[L]`.
    pub visible: Vec<bool>,
    /// Predicted probability of belonging to it, `[S, S]`.
    pub probability: Vec<f32>,
}

/// Pictures are 8-bit RGB, `[S, S, 3]`; removed patches are grey.
impl Reconstruction {
    /// The image as it is.
    #[must_use]
    pub fn original(&self) -> Vec<u8> {
        denormalised(&self.image, self.side)
    }

    /// What the model saw of the image.
    #[must_use]
    pub fn masked(&self) -> Vec<u8> {
        self.choose(&self.visible, &self.original(), &self.removed())
    }

    /// What it made of that; visible patches are the image's own. None without a pixel branch.
    #[must_use]
    pub fn filled(&self) -> Option<Vec<u8>> {
        let pixels = denormalised(self.pixels.as_ref()?, self.side);
        Some(self.choose(&self.visible, &self.original(), &pixels))
    }

    /// What the model saw of a region.
    #[must_use]
    pub fn region_shown(&self, region: &CompletedRegion) -> Vec<u8> {
        self.choose(&region.visible, &grey(&region.map), &self.removed())
    }

    /// What it made of that; visible patches are the region's own.
    #[must_use]
    pub fn region_completed(&self, region: &CompletedRegion) -> Vec<u8> {
        self.choose(&region.visible, &grey(&region.map), &grey(&region.probability))
    }

    /// The region as it is.
    #[must_use]
    pub fn region_truth(&self, region: &CompletedRegion) -> Vec<u8> {
        grey(&region.map)
    }

    /// `seen` where a patch is visible, `other` where it was removed.
    fn choose(&self, visible: &[bool], seen: &[u8], other: &[u8]) -> Vec<u8> {
        let grid = self.side / self.patch;
        let mut out = other.to_vec();
        for (i, pixel) in out.chunks_exact_mut(3).enumerate() {
            let (x, y) = (i % self.side, i / self.side);
            if visible[y / self.patch * grid + x / self.patch] {
                pixel.copy_from_slice(&seen[3 * i..3 * i + 3]);
            }
        }
        out
    }

    fn removed(&self) -> Vec<u8> {
        REMOVED.repeat(self.side * self.side)
    }
}

fn grey(map: &[f32]) -> Vec<u8> {
    map.iter().flat_map(|v| [(255.0 * v.clamp(0.0, 1.0)).round() as u8; 3]).collect()
}

/// A model ready to reconstruct batches of one size.
#[derive(Debug)]
pub struct Reconstructor {
    model: ModelConfig,
    program: Program,
}

impl Reconstructor {
    /// Prepares for batches of `batch` images.
    ///
    /// # Errors
    /// Those of the device.
    pub async fn new(model: &ModelConfig, device: &Device, batch: usize) -> Result<Self> {
        let graph = forward_graph(model, batch)?;
        let wanted = ["pred", "pred_region_logits"];
        let fetch: Vec<&str> =
            wanted.into_iter().filter(|name| graph.outputs().contains_key(*name)).collect();
        let program = device.compile(&graph, &fetch, false).await?;
        Ok(Self { model: model.clone(), program })
    }

    /// Reconstructs every image of a batch: `images [B,3,S,S]` normalised, `regions [B,k,S,S]`,
    /// `ids_shuffle [B,L]`.
    ///
    /// # Errors
    /// Those of the device; [`crate::Error::Tensor`] for buffers of another size.
    pub async fn run(
        &mut self, params: &mut Params, images: &[f32], regions: &[f32], ids_shuffle: &[u32],
    ) -> Result<Vec<Reconstruction>> {
        let inputs = inputs(&self.model, images.to_vec(), regions.to_vec(), ids_shuffle)?;
        let outputs = self.program.run(params, &inputs).await?;
        let output = |name: &str| outputs.get(name).map(HostTensor::to_f32).unwrap_or_default();
        let made = Batch {
            images,
            regions,
            ids_shuffle,
            pred: output("pred"),
            logits: output("pred_region_logits"),
        };
        let count = ids_shuffle.len() / self.model.num_patches();
        Ok((0..count).map(|i| made.reconstruction(&self.model, i)).collect())
    }
}

/// What went into a pass and what came out.
struct Batch<'a> {
    images: &'a [f32],
    regions: &'a [f32],
    ids_shuffle: &'a [u32],
    pred: Vec<f32>,
    logits: Vec<f32>,
}

impl Batch<'_> {
    fn reconstruction(&self, model: &ModelConfig, i: usize) -> Reconstruction {
        let (side, patch) = (model.img_size, model.patch_size);
        let ids = part(self.ids_shuffle, i, model.num_patches());
        let image = part(self.images, i, 3 * side * side);
        let pixels = (!self.pred.is_empty()).then(|| {
            let mut pixels = unpatchify(part(&self.pred, i, 3 * side * side), 3, side, patch);
            if model.norm_pix_loss {
                undo_norm_pix(&mut pixels, image, side, patch);
            }
            pixels
        });
        Reconstruction {
            side,
            patch,
            image: image.to_vec(),
            visible: visible(ids, model.visible_patches()),
            pixels,
            regions: self.regions(model, i, ids),
        }
    }

    fn regions(&self, model: &ModelConfig, i: usize, ids: &[u32]) -> Vec<CompletedRegion> {
        if self.logits.is_empty() {
            return vec![];
        }
        let (side, area) = (model.img_size, model.img_size * model.img_size);
        let (maps, logits) =
            (part(self.regions, i, model.num_region * area), part(&self.logits, i, model.num_region * area));
        let seen = visible(ids, model.visible_region_patches());
        let probability = |logits: &[f32]| {
            let logits = unpatchify(logits, 1, side, model.patch_size);
            logits.iter().map(|x| 1.0 / (1.0 + (-x).exp())).collect()
        };
        let region = |(map, logits): (&[f32], &[f32])| CompletedRegion {
            map: map.to_vec(),
            visible: seen.clone(),
            probability: probability(logits),
        };
        maps.chunks(area).zip(logits.chunks(area)).map(region).collect()
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
#[must_use]
pub fn unpatchify(patches: &[f32], channels: usize, side: usize, patch: usize) -> Vec<f32> {
    let grid = side / patch;
    let mut image = vec![0.0; channels * side * side];
    // A row of a patch at a time: a division for each element cost as much as the decoder's last layer.
    for (at, from) in patches.chunks_exact(patch * channels).enumerate() {
        let (l, row) = (at / patch, at % patch);
        let start = (l / grid * patch + row) * side + l % grid * patch;
        for c in 0..channels {
            let to = &mut image[c * side * side + start..][..patch];
            for (column, to) in to.iter_mut().enumerate() {
                *to = from[column * channels + c];
            }
        }
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
