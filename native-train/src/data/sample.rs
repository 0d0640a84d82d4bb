//! One training sample: a function of the configuration and a place in the
//! sequence.

use std::path::{Path, PathBuf};

use image::RgbImage;
use rmae_core::regions::{Felzenszwalb, FelzenszwalbParams, RegionPolicy, RegionSet, SamplingOptions};

use super::augment::Crop;
use super::cache::{self, RegionCache};
use super::decode::decode;
use super::regions::{LabelFiles, RegionSource, crop_partitions, read_labels, segment};
use super::resample::resample;
use super::sequence::{self, LoaderPosition, Stream};
use super::{DataError, SkippedImage};

/// What a [`Loader`](super::Loader) makes, and with how many threads.
#[derive(Debug, Clone)]
pub struct LoaderConfig {
    /// Side `S` of the square crops, pixels; a multiple of `patch`.
    pub image_side: usize,
    /// Side `p` of a patch, pixels.
    pub patch: usize,
    /// Images a batch, `B`.
    pub batch: usize,
    /// Regions an image, `k`; 0 gives none (MAE).
    pub num_regions: usize,
    /// Share of patches hidden from the region encoder, `β_R`: says which
    /// patches are visible to [`RegionPolicy::RandomForeground`].
    pub region_mask_ratio: f64,
    /// Where regions come from.
    pub region_source: RegionSource,
    /// Which of them may be drawn.
    pub region_policy: RegionPolicy,
    /// Regions that touch fewer patches of the crop are not drawn; 0 and 1
    /// leave none out.
    pub min_patches: usize,
    /// Seed of the order of files and of every draw.
    pub seed: u64,
    /// Threads that decode, crop and segment; at least 1.
    pub threads: usize,
    /// Batches made ahead; bounds the memory. At least 1.
    pub prefetch_batches: usize,
    /// Folder in which segmentations are kept between epochs and runs.
    pub region_cache: Option<PathBuf>,
}

impl Default for LoaderConfig {
    fn default() -> Self {
        Self {
            image_side: 224,
            patch: 16,
            batch: 64,
            num_regions: 8,
            region_mask_ratio: 0.75,
            region_source: RegionSource::fh_coco(),
            region_policy: RegionPolicy::Random,
            min_patches: 0,
            seed: 0,
            threads: 2,
            prefetch_batches: 2,
            region_cache: None,
        }
    }
}

impl LoaderConfig {
    /// Patches of an image, `L = (S/p)²`.
    #[must_use]
    pub fn num_patches(&self) -> usize {
        (self.image_side / self.patch.max(1)).pow(2)
    }

    fn validate(&self) -> Result<(), DataError> {
        let fail = |message: String| Err(DataError::Config(message));
        let (side, patch) = (self.image_side, self.patch);
        if patch == 0 || side == 0 || side % patch != 0 {
            return fail(format!("image side {side} is not a positive multiple of the patch side {patch}"));
        }
        if self.batch == 0 {
            return fail("the batch must hold at least one image".into());
        }
        let ratio = self.region_mask_ratio;
        if self.num_regions > 0 && !(ratio > 0.0 && ratio < 1.0) {
            return fail(format!("region mask ratio {ratio} is not between 0 and 1"));
        }
        if let RegionSource::Felzenszwalb { params, .. } = &self.region_source {
            let checked = params.iter().try_for_each(FelzenszwalbParams::validate);
            checked.map_err(|e| DataError::Config(format!("region segmentation: {e}")))?;
        }
        Ok(())
    }
}

/// The inputs of the model for one image.
#[derive(Debug)]
pub(super) struct Sample {
    /// Index into the files.
    pub(super) file: usize,
    /// `[3, S, S]`, normalised.
    pub(super) image: Vec<f32>,
    /// `[k, S, S]` of 0 and 1.
    pub(super) regions: Vec<u8>,
    /// `[L]`.
    pub(super) ids_shuffle: Vec<u32>,
}

/// A file that was looked at for a slot of a batch.
#[derive(Debug)]
pub(super) struct Attempt {
    pub(super) file: usize,
    /// Why it could not be used.
    pub(super) problem: Option<String>,
}

/// A slot of a batch: its sample, if one could be made, and how that went.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) sample: Option<Sample>,
    pub(super) attempts: Vec<Attempt>,
}

/// Files looked at for one slot before it is given up: with fewer than half of
/// the files unreadable, the chance of that is 2⁻⁶⁴.
const MAX_PROBES: usize = 64;

/// Makes samples; shared by all threads.
#[derive(Debug)]
pub(super) struct Sampler {
    pub(super) files: Vec<PathBuf>,
    pub(super) config: LoaderConfig,
    label_files: Option<LabelFiles>,
    cache: Option<RegionCache>,
}

/// What a thread keeps from one sample to the next.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    epoch: Option<(u64, Vec<u32>)>,
    workspace: Felzenszwalb,
}

impl Scratch {
    /// The order of an epoch; computed when the epoch changes.
    fn order(&mut self, seed: u64, epoch: u64, len: usize) -> &[u32] {
        if self.epoch.as_ref().is_none_or(|(known, _)| *known != epoch) {
            self.epoch = Some((epoch, sequence::epoch_order(seed, epoch, len)));
        }
        self.epoch.as_ref().map_or(&[], |(_, order)| order)
    }
}

impl Sampler {
    pub(super) fn new(files: Vec<PathBuf>, config: LoaderConfig) -> Result<Self, DataError> {
        config.validate()?;
        if files.is_empty() {
            return Err(DataError::NoImages(Vec::new()));
        }
        let label_files = match &config.region_source {
            RegionSource::LabelMaps { dir, .. } => Some(LabelFiles::open(dir, &files)?),
            _ => None,
        };
        let cache = match &config.region_cache {
            Some(dir) => Some(RegionCache::open(dir)?),
            None => None,
        };
        Ok(Self { files, config, label_files, cache })
    }

    /// The slot at a place of the sequence: its own file, or the first readable
    /// one of the places that [`sequence::probes`] gives for it.
    pub(super) fn slot(&self, at: LoaderPosition, scratch: &mut Scratch) -> Slot {
        let (seed, len) = (self.config.seed, self.files.len());
        let mut attempts = Vec::new();
        for place in sequence::probes(seed, at, len).take(MAX_PROBES) {
            let file = scratch.order(seed, at.epoch, len)[place] as usize;
            match self.sample(file, at, Crop::random, scratch) {
                Ok(sample) => {
                    attempts.push(Attempt { file, problem: None });
                    return Slot { sample: Some(sample), attempts };
                }
                Err(problem) => attempts.push(Attempt { file, problem: Some(problem) }),
            }
        }
        Slot { sample: None, attempts }
    }

    /// The sample of one file with the draws of the place `at`, cropped by `crop`.
    pub(super) fn sample(
        &self, file: usize, at: LoaderPosition,
        crop: impl Fn(u32, u32, &mut rand_chacha::ChaCha8Rng) -> Crop, scratch: &mut Scratch,
    ) -> Result<Sample, String> {
        let config = &self.config;
        let rng = |stream| sequence::rng(config.seed, at, stream);
        let image = decode(&self.files[file]).map_err(|e| e.reason())?;
        let crop = crop(image.width(), image.height(), &mut rng(Stream::Crop));
        let ids_shuffle = sequence::permutation(config.num_patches(), &mut rng(Stream::Shuffle));
        let regions = if config.num_regions == 0 {
            Vec::new()
        } else {
            let set = self.regions(file, &image, &crop, &mut scratch.workspace)?;
            let options = self.sampling_options();
            set.draw(&options, &ids_shuffle, &mut rng(Stream::Regions)).map_err(|e| e.to_string())?
        };
        let image = resample(&image, &crop, config.image_side);
        Ok(Sample { file, image, regions, ids_shuffle })
    }

    /// All regions of an image that its crop leaves.
    fn regions(
        &self, file: usize, image: &RgbImage, crop: &Crop, workspace: &mut Felzenszwalb,
    ) -> Result<RegionSet, String> {
        let (path, size) = (&self.files[file], image.dimensions());
        let side = self.config.image_side;
        match &self.config.region_source {
            RegionSource::None => RegionSet::new(side).map_err(|e| e.to_string()),
            RegionSource::LabelMaps { background, .. } => {
                self.regions_of_files(path, crop, size, *background)
            }
            RegionSource::Felzenszwalb { params, max_short_side } => {
                let mut make = || segment(image, params, *max_short_side, workspace);
                let key = || cache::key(path, params, *max_short_side);
                let maps = match self.cache.as_ref().and_then(|cache| Some((cache, key()?))) {
                    Some((cache, key)) => cache.get_or(&key, make),
                    None => make(),
                };
                crop_partitions(&maps?, crop, size, side).map_err(|e| e.to_string())
            }
        }
    }

    /// The same from label maps on disk.
    fn regions_of_files(
        &self, image: &Path, crop: &Crop, size: (u32, u32), background: Option<u16>,
    ) -> Result<RegionSet, String> {
        let side = self.config.image_side;
        let files = self.label_files.as_ref().map_or(&[][..], |files| files.of(image));
        let mut set = RegionSet::new(side).map_err(|e| e.to_string())?;
        for file in files {
            read_labels(file)
                .map_err(|e| format!("its label map {e}"))?
                .push_crop(crop, size, background, side, &mut set)
                .map_err(|e| format!("its label map {}: {e}", file.display()))?;
        }
        Ok(set)
    }

    fn sampling_options(&self) -> SamplingOptions {
        let config = &self.config;
        SamplingOptions {
            regions: config.num_regions,
            patch_size: config.patch,
            mask_ratio: config.region_mask_ratio,
            policy: config.region_policy,
            min_patches: config.min_patches,
        }
    }

    /// A skipped file, named.
    pub(super) fn skipped(&self, file: usize, reason: String) -> SkippedImage {
        let path = self.files[file].clone();
        SkippedImage { path, reason }
    }
}
