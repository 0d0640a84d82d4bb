//! The sources of a data set's regions: one, or several of which each sample takes one.

use std::path::{Path, PathBuf};

use rand::Rng;
use rmae_core::regions::{BoundingBox, Felzenszwalb, LabelMap, RegionSet};

use super::DataError;
use super::augment::Crop;
use super::blobs::scattered;
use super::cache::{self, RegionCache};
use super::photo::Photo;
use super::regions::{LabelFiles, RegionSource, crop_partitions, read_labels, segment};

/// Sources with their label maps found.
#[derive(Debug)]
pub(super) struct Sources {
    list: Vec<Source>,
    cache: Option<RegionCache>,
}

#[derive(Debug)]
pub(super) struct Source {
    source: RegionSource,
    files: Option<LabelFiles>,
    weight: f64,
}

impl Sources {
    pub(super) fn open(
        source: &RegionSource, cache: Option<&Path>, images: &[PathBuf],
    ) -> Result<Self, DataError> {
        let one = |(weight, source): (f64, &RegionSource)| {
            let files = match source {
                RegionSource::LabelMaps { dir, .. } => Some(LabelFiles::open(dir, images)?),
                _ => None,
            };
            Ok(Source { source: source.clone(), files, weight })
        };
        let list = match source {
            RegionSource::Mixed(list) => list.iter().map(|(w, s)| one((*w, s))).collect::<Result<_, _>>()?,
            source => vec![one((1.0, source))?],
        };
        Ok(Self { list, cache: cache.map(RegionCache::open).transpose()? })
    }

    /// One of the sources that have something for an image, by their weights; none without sources.
    pub(super) fn choose(&self, image: &Path, rng: &mut impl Rng) -> Option<&Source> {
        if self.list.len() <= 1 {
            return self.list.first();
        }
        let having: Vec<&Source> = self.list.iter().filter(|source| source.has(image)).collect();
        let total: f64 = having.iter().map(|source| source.weight).sum();
        let mut place = rng.random_range(0.0..1.0) * total;
        for source in &having {
            place -= source.weight;
            if place < 0.0 {
                return Some(source);
            }
        }
        having.last().copied().or(self.list.first())
    }

    /// All regions of an image that its crop leaves, at `side`×`side`; `rng` is for those that are made up.
    pub(super) fn regions(
        &self, from: &Source, photo: &Photo<'_>, crop: &Crop, side: usize, workspace: &mut Felzenszwalb,
        rng: &mut impl Rng,
    ) -> Result<RegionSet, String> {
        let (path, size) = (photo.path(), photo.size());
        match &from.source {
            RegionSource::LabelMaps { background, .. } => from.labelled(path, crop, size, side, *background),
            RegionSource::Felzenszwalb { params, max_short_side } => {
                let image = || photo.whole().map_err(|e| e.reason());
                let mut make = || segment(image()?, params, *max_short_side, workspace);
                let key = || cache::key(path, params, *max_short_side);
                let maps: Vec<LabelMap> = match self.cache.as_ref().and_then(|cache| Some((cache, key()?))) {
                    Some((cache, key)) => cache.get_or(&key, make),
                    None => make(),
                }?;
                crop_partitions(&maps, crop, size, side).map_err(|e| e.to_string())
            }
            RegionSource::Blobs => scattered(side, rng).map_err(|e| e.to_string()),
            RegionSource::None | RegionSource::Mixed(_) => RegionSet::new(side).map_err(|e| e.to_string()),
        }
    }
}

impl Source {
    /// Whether there may be regions of an image.
    fn has(&self, image: &Path) -> bool {
        self.files.as_ref().is_none_or(|files| !files.of(image).is_empty())
    }

    fn files_of(&self, image: &Path) -> &[PathBuf] {
        self.files.as_ref().map_or(&[][..], |files| files.of(image))
    }

    /// The regions of label maps on disk.
    fn labelled(
        &self, image: &Path, crop: &Crop, size: (u32, u32), side: usize, background: Option<u16>,
    ) -> Result<RegionSet, String> {
        let mut set = RegionSet::new(side).map_err(|e| e.to_string())?;
        for file in self.files_of(image) {
            read_labels(file)
                .map_err(|e| format!("its label map {e}"))?
                .push_crop(crop, size, background, side, &mut set)
                .map_err(|e| format!("its label map {}: {e}", file.display()))?;
        }
        Ok(set)
    }

    /// The box around one of the objects of label maps, in pixels of the image of `size`; none where
    /// objects are not known before the crop. A map that cannot be read gives none: it is told when its
    /// regions are asked for.
    pub(super) fn object(&self, image: &Path, size: (u32, u32), rng: &mut impl Rng) -> Option<BoundingBox> {
        let RegionSource::LabelMaps { background, .. } = self.source else { return None };
        let files = self.files_of(image);
        let file = files.get(rng.random_range(0..files.len().max(1)))?;
        let labels = read_labels(file).ok()?;
        let boxes = labels.boxes(background);
        let b = *boxes.get(rng.random_range(0..boxes.len().max(1)))?;
        let scaled = |at: u32, to: u32, from: usize| (u64::from(at) * u64::from(to) / from as u64) as u32;
        let (w, h) = labels.size();
        let (x, y) = (scaled(b.x, size.0, w), scaled(b.y, size.1, h));
        let (width, height) = (scaled(b.width, size.0, w).max(1), scaled(b.height, size.1, h).max(1));
        Some(BoundingBox { x, y, width, height })
    }
}
