//! Regions of an image: where they come from, and how they follow its crop.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use image::{DynamicImage, RgbImage};
use rmae_core::regions::{BoundingBox, Felzenszwalb, FelzenszwalbParams, LabelMap, RegionError, RegionSet};

use super::DataError;
use super::augment::Crop;
use super::resample::resize;

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
        background: Option<u16>,
    },
    /// Random round things that have nothing to do with the image, other ones at every look: what
    /// regions are worth shows beside them.
    Blobs,
    /// Each sample takes one of these, among those that have something for its image, by their weights.
    Mixed(Vec<(f64, RegionSource)>),
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

/// Segments an image at each of `params`, at a short side of at most `max_short_side`.
pub(super) fn segment(
    image: &RgbImage, params: &[FelzenszwalbParams], max_short_side: u32, workspace: &mut Felzenszwalb,
) -> Result<Vec<LabelMap>, String> {
    let (width, height) = image.dimensions();
    let (short, bound) = (width.min(height), max_short_side.max(1));
    let scaled = |side: u32| {
        let exact = f64::from(side) * f64::from(bound) / f64::from(short);
        (exact.round() as u32).max(1)
    };
    let smaller = (short > bound).then(|| resize(image, scaled(width), scaled(height)));
    let image = smaller.as_ref().unwrap_or(image);
    let (width, height) = (image.width() as usize, image.height() as usize);
    workspace
        .segment_scales(image.as_raw(), width, height, params)
        .map_err(|e| format!("cannot be segmented: {e}"))
}

/// The regions of partitions of the whole image (at any resolution) that are
/// left in `crop` of it, `side`×`side`.
pub(super) fn crop_partitions(
    maps: &[LabelMap], crop: &Crop, image_size: (u32, u32), side: usize,
) -> Result<RegionSet, RegionError> {
    let mut set = RegionSet::new(side)?;
    for map in maps {
        let across = map.width() as f32 / image_size.0 as f32;
        let down = map.height() as f32 / image_size.1 as f32;
        let area = (
            crop.x as f32 * across,
            crop.y as f32 * down,
            crop.width as f32 * across,
            crop.height as f32 * down,
        );
        set.push_labels(map.crop_resize(area, side, crop.flip)?)?;
    }
    Ok(set)
}

/// A label map as its file has it: numbers with a meaning, one of them perhaps
/// "no region", which [`LabelMap`]'s own numbering would lose.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct RawLabels {
    width: usize,
    height: usize,
    /// `[height, width]`.
    pub(crate) labels: Vec<u16>,
    /// Whether the file has 16 bits a pixel, not 8.
    pub(crate) wide: bool,
}

/// Reads an 8- or 16-bit grey image.
pub(crate) fn read_labels(path: &Path) -> Result<RawLabels, DataError> {
    let bytes = fs::read(path).map_err(|e| DataError::io(path, e))?;
    let wrong = |reason: String| DataError::Decode { path: path.to_path_buf(), reason };
    let image = image::load_from_memory(&bytes).map_err(|e| wrong(e.to_string()))?;
    let (width, height) = (image.width() as usize, image.height() as usize);
    let (labels, wide) = match image {
        DynamicImage::ImageLuma8(map) => (map.iter().map(|&v| u16::from(v)).collect(), false),
        DynamicImage::ImageLuma16(map) => (map.into_raw(), true),
        other => {
            let color = other.color();
            let reason = format!("a label map must be 8- or 16-bit grey, this is {color:?}");
            return Err(wrong(reason));
        }
    };
    Ok(RawLabels { width, height, labels, wide })
}

impl RawLabels {
    /// Columns and rows.
    pub(crate) fn size(&self) -> (usize, usize) {
        (self.width, self.height)
    }

    /// The boxes around all labels but `background`.
    pub(super) fn boxes(&self, background: Option<u16>) -> Vec<BoundingBox> {
        // Left, top, right, bottom, the last two inclusive.
        let mut corners = BTreeMap::<u16, [u32; 4]>::new();
        for (at, &label) in self.labels.iter().enumerate() {
            let (x, y) = ((at % self.width) as u32, (at / self.width) as u32);
            let [left, top, right, bottom] = corners.entry(label).or_insert([x, y, x, y]);
            (*left, *top) = ((*left).min(x), (*top).min(y));
            (*right, *bottom) = ((*right).max(x), (*bottom).max(y));
        }
        let objects = corners.into_iter().filter(|&(label, _)| Some(label) != background);
        objects
            .map(|(_, [x, y, right, bottom])| BoundingBox {
                x,
                y,
                width: right - x + 1,
                height: bottom - y + 1,
            })
            .collect()
    }

    /// Adds the regions left in `crop` to `set`, all but `background`.
    pub(super) fn push_crop(
        &self, crop: &Crop, image_size: (u32, u32), background: Option<u16>, side: usize, set: &mut RegionSet,
    ) -> Result<(), RegionError> {
        let labels = self.crop(crop, image_size, side);
        let mut present = labels.clone();
        present.sort_unstable();
        present.dedup();
        for label in present {
            if Some(label) != background {
                let mask = labels.iter().map(|&here| u8::from(here == label));
                set.push_mask(mask.collect())?;
            }
        }
        Ok(())
    }

    /// The labels of `crop`, nearest neighbour, `side`×`side`, mirrored with it.
    /// `crop` is in pixels of an `image_size` image, of which this may be a
    /// smaller or larger map.
    fn crop(&self, crop: &Crop, image_size: (u32, u32), side: usize) -> Vec<u16> {
        let mut columns = nearest(crop.x, crop.width, image_size.0, self.width, side);
        let rows = nearest(crop.y, crop.height, image_size.1, self.height, side);
        if crop.flip {
            columns.reverse();
        }
        let mut out = Vec::with_capacity(side * side);
        for y in rows {
            let row = &self.labels[y * self.width..(y + 1) * self.width];
            out.extend(columns.iter().map(|&x| row[x]));
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
            if path.extension().is_some_and(|e| e.eq_ignore_ascii_case("png")) {
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
                reason: "none is named after one of the images (NAME.png or NAME_*.png for NAME.jpg)".into(),
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
    stems.extend(stem.match_indices('_').map(|(at, _)| stem[..at].to_string()));
    stems
}

#[cfg(test)]
#[path = "regions_tests.rs"]
mod tests;
