//! Regions of an image: where they come from, how they follow the crop, and
//! how `k` of them are drawn.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use image::RgbImage;
use rand::Rng;
use rmae_core::regions::{Felzenszwalb, FelzenszwalbParams, LabelMap};

use super::augment::Crop;
use super::resample::resize;
use super::{DataError, sequence};

/// A partition of an image: every pixel's label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Labels {
    /// Columns.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// Row by row, `width * height` of them.
    pub labels: Vec<u32>,
}

/// Where regions come from.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum RegionSource {
    /// No regions: every map is zero.
    #[default]
    None,
    /// Unsupervised segmentation of the whole image before the crop, at each
    /// of the given parameters; every label of every one is a region.
    Felzenszwalb {
        /// One segmentation each.
        params: Vec<FelzenszwalbParams>,
        /// Images whose short side is longer are segmented at this short side:
        /// the scales are tuned to photos of COCO's size.
        max_short_side: u32,
    },
    /// Label maps made elsewhere (ground truth, or `rmae regions --labels`): for
    /// the image `…/NAME.jpg`, 8- or 16-bit grey PNG files `NAME.png` or
    /// `NAME_*.png` in `dir`; several are several sources of regions. An image
    /// without one has no regions.
    LabelMaps {
        /// The folder.
        dir: PathBuf,
        /// A label that is no region (often `Some(0)`).
        background: Option<u32>,
    },
}

impl RegionSource {
    /// The paper's setting for COCO-like photos: scale = min_size of 500, 1000
    /// and 1500, sigma 0.8.
    #[must_use]
    pub fn fh_coco() -> Self {
        Self::Felzenszwalb {
            params: [500, 1000, 1500].map(FelzenszwalbParams::at_scale).to_vec(),
            max_short_side: 480,
        }
    }
}

/// Which regions may be drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RegionSampling {
    /// Any region of the crop.
    #[default]
    Random,
    /// Only regions that touch a patch that the permutation leaves visible to
    /// the region encoder.
    RandomForeground,
}

/// Segments an image at each of `params`, at a short side of at most `max_short_side`.
pub(super) fn segment(
    image: &RgbImage,
    params: &[FelzenszwalbParams],
    max_short_side: u32,
    workspace: &mut Felzenszwalb,
) -> Result<Vec<Labels>, String> {
    let (width, height) = image.dimensions();
    let (short, bound) = (width.min(height), max_short_side.max(1));
    let scaled = |side: u32| {
        let exact = f64::from(side) * f64::from(bound) / f64::from(short);
        (exact.round() as u32).max(1)
    };
    let smaller = (short > bound).then(|| resize(image, scaled(width), scaled(height)));
    let image = smaller.as_ref().unwrap_or(image);
    let (width, height) = (image.width() as usize, image.height() as usize);
    let maps = workspace
        .segment_scales(image.as_raw(), width, height, params)
        .map_err(|e| format!("cannot be segmented: {e}"))?;
    Ok(maps.iter().map(Labels::from).collect())
}

impl From<&LabelMap> for Labels {
    fn from(map: &LabelMap) -> Self {
        Self {
            width: map.width(),
            height: map.height(),
            labels: map.labels().to_vec(),
        }
    }
}

impl Labels {
    /// Reads an 8- or 16-bit grey or palette-free PNG label map.
    ///
    /// # Errors
    /// The file cannot be read or is not such an image.
    pub fn read(path: &Path) -> Result<Self, DataError> {
        let bytes = fs::read(path).map_err(|e| DataError::io(path, e))?;
        let wrong = |reason: String| DataError::Decode {
            path: path.to_path_buf(),
            reason,
        };
        let image = image::load_from_memory(&bytes).map_err(|e| wrong(e.to_string()))?;
        let (width, height) = (image.width() as usize, image.height() as usize);
        let labels = match image {
            image::DynamicImage::ImageLuma8(map) => map.iter().map(|&v| u32::from(v)).collect(),
            image::DynamicImage::ImageLuma16(map) => map.iter().map(|&v| u32::from(v)).collect(),
            other => {
                let reason = format!(
                    "a label map must be 8- or 16-bit grey, this is {:?}",
                    other.color()
                );
                return Err(wrong(reason));
            }
        };
        Ok(Self {
            width,
            height,
            labels,
        })
    }

    /// The labels of `crop`, nearest neighbour, `side`×`side`, mirrored with it.
    /// `crop` is in pixels of an `image_size` image, of which this may be a
    /// smaller or larger map.
    #[must_use]
    pub fn crop(&self, crop: &Crop, image_size: (u32, u32), side: usize) -> Vec<u32> {
        let columns = nearest(crop.x, crop.width, image_size.0, self.width, side);
        let rows = nearest(crop.y, crop.height, image_size.1, self.height, side);
        let mut out = Vec::with_capacity(side * side);
        for y in rows {
            let row = &self.labels[y * self.width..(y + 1) * self.width];
            let start = out.len();
            out.extend(columns.iter().map(|&x| row[x]));
            if crop.flip {
                out[start..].reverse();
            }
        }
        out
    }
}

/// For each of `side` output places, the place in a map of `map_len` under the
/// middle of its share of `[from, from + len)` of `image_len`.
fn nearest(from: u32, len: u32, image_len: u32, map_len: usize, side: usize) -> Vec<usize> {
    let ratio = map_len as f64 / f64::from(image_len);
    let step = f64::from(len) / side as f64;
    (0..side)
        .map(|i| {
            let place = (f64::from(from) + (i as f64 + 0.5) * step) * ratio;
            (place as usize).min(map_len - 1)
        })
        .collect()
}

/// How `k` regions are drawn from a crop's label maps.
#[derive(Debug, Clone, Copy)]
pub(super) struct Draw<'a> {
    /// Side of the crop and of a patch, pixels.
    pub(super) side: usize,
    pub(super) patch: usize,
    pub(super) k: usize,
    pub(super) sampling: RegionSampling,
    /// Regions that touch fewer patches are left out.
    pub(super) min_patches: usize,
    pub(super) background: Option<u32>,
    /// The patches visible to the region encoder.
    pub(super) visible: &'a [u32],
}

/// One label of one map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Candidate {
    map: usize,
    label: u32,
}

impl Draw<'_> {
    /// Draws `k` regions of the cropped `maps` (each `[side, side]`):
    /// `[k, side, side]` of 0 and 1.
    ///
    /// Without replacement when there are at least `k`; each equally often, up
    /// to one, when there are fewer; zeros when there is none.
    pub(super) fn regions(&self, maps: &[Vec<u32>], rng: &mut impl Rng) -> Vec<u8> {
        let mut pool = Vec::new();
        for (map, labels) in maps.iter().enumerate() {
            let allowed = self.allowed(labels);
            pool.extend(allowed.into_iter().map(|label| Candidate { map, label }));
        }
        let area = self.side * self.side;
        let mut out = vec![0u8; self.k * area];
        for (plane, chosen) in out.chunks_exact_mut(area).zip(draw(&pool, self.k, rng)) {
            for (out, &label) in plane.iter_mut().zip(&maps[chosen.map]) {
                *out = u8::from(label == chosen.label);
            }
        }
        out
    }

    /// The labels of one map that may be drawn, ascending.
    fn allowed(&self, labels: &[u32]) -> Vec<u32> {
        let columns = self.side / self.patch;
        let mut visible = vec![false; columns * columns];
        for &patch in self.visible {
            visible[patch as usize] = true;
        }
        let mut touched: HashMap<u32, Touched> = HashMap::new();
        for (y, row) in labels.chunks_exact(self.side).enumerate() {
            // Labels come in runs: one look-up a run and patch, not a pixel.
            for (column, pixels) in row.chunks(self.patch).enumerate() {
                let patch = y / self.patch * columns + column;
                for run in pixels.chunk_by(|a, b| a == b) {
                    let entry = touched.entry(run[0]).or_default();
                    entry.touch(patch, visible[patch]);
                }
            }
        }
        let mut allowed: Vec<u32> = touched
            .into_iter()
            .filter(|(label, touched)| {
                Some(*label) != self.background
                    && touched.patches.len() >= self.min_patches
                    && (self.sampling == RegionSampling::Random || touched.visible)
            })
            .map(|(label, _)| label)
            .collect();
        allowed.sort_unstable();
        allowed
    }
}

/// The patches that a label touches.
#[derive(Default)]
struct Touched {
    patches: Vec<usize>,
    visible: bool,
}

impl Touched {
    fn touch(&mut self, patch: usize, visible: bool) {
        // Rows come in order, so a patch seen before is near the end.
        if !self.patches.iter().rev().any(|&seen| seen == patch) {
            self.patches.push(patch);
            self.visible |= visible;
        }
    }
}

/// `k` of `pool` (none if it is empty), in random order.
fn draw(pool: &[Candidate], k: usize, rng: &mut impl Rng) -> Vec<Candidate> {
    let mut order = pool.to_vec();
    sequence::shuffle(&mut order, rng);
    if order.len() < k && !order.is_empty() {
        order = order.iter().copied().cycle().take(k).collect();
        sequence::shuffle(&mut order, rng);
    }
    order.truncate(k);
    order
}

/// The label-map files of a folder, by the image name they belong to.
#[derive(Debug)]
pub(super) struct LabelFiles {
    by_stem: HashMap<String, Vec<PathBuf>>,
}

impl LabelFiles {
    /// Lists `dir` and checks that at least one of `images` has a map there.
    pub(super) fn open(dir: &Path, images: &[PathBuf]) -> Result<Self, DataError> {
        let mut by_stem: HashMap<String, Vec<PathBuf>> = HashMap::new();
        for entry in fs::read_dir(dir).map_err(|e| DataError::io(dir, e))? {
            let path = entry.map_err(|e| DataError::io(dir, e))?.path();
            if path
                .extension()
                .is_some_and(|e| e.eq_ignore_ascii_case("png"))
            {
                for stem in stems(&path) {
                    by_stem.entry(stem).or_default().push(path.clone());
                }
            }
        }
        by_stem.values_mut().for_each(|files| files.sort());
        let files = Self { by_stem };
        if images.iter().all(|image| files.of(image).is_empty()) {
            return Err(DataError::LabelMaps {
                dir: dir.to_path_buf(),
                reason:
                    "none is named after one of the images (NAME.png or NAME_*.png for NAME.jpg)"
                        .into(),
            });
        }
        Ok(files)
    }

    /// The maps of an image.
    pub(super) fn of(&self, image: &Path) -> &[PathBuf] {
        let stem = image.file_stem().unwrap_or_default().to_string_lossy();
        self.by_stem.get(&*stem).map_or(&[], Vec::as_slice)
    }
}

/// The image names that a label map may belong to: its own, and every part of
/// it before an underscore (`12_3_scale500` for `12_3` or `12`).
fn stems(path: &Path) -> Vec<String> {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let mut stems = vec![stem.to_string()];
    stems.extend(
        stem.match_indices('_')
            .map(|(at, _)| stem[..at].to_string()),
    );
    stems
}

#[cfg(test)]
#[path = "regions_tests.rs"]
mod tests;
