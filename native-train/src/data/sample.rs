//! One training sample: a function of the configuration and a place in the
//! sequence.

use std::path::{Path, PathBuf};

use rand::Rng;
use rmae_core::regions::{Felzenszwalb, FelzenszwalbParams, RegionPolicy, RegionSet, SamplingOptions};

use super::augment::Crop;
use super::decode::read;
use super::photo::{self, Photo};
use super::regions::RegionSource;
use super::sequence::{self, LoaderPosition, Stream};
use super::sources::{Source, Sources};
use super::{DataError, SkippedImage};

/// Shares of random crops that are not those of MAE's recipe.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Crops {
    /// Around an object of a label map, however small it is in its image.
    pub object: f64,
    /// The whole image, whatever its aspect, as a model in use sees it.
    pub whole: f64,
}

/// What of an image a sample shows.
#[derive(Debug, Clone, Copy)]
pub(super) enum Looked {
    /// A random crop.
    AtRandom,
    /// The largest centred square.
    AtTheCentre,
}

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
    /// How random crops are mixed.
    pub crops: Crops,
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
            crops: Crops::default(),
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
        let Crops { object, whole } = self.crops;
        if !(object >= 0.0 && whole >= 0.0 && object + whole <= 1.0) {
            return fail(format!("shares of crops {object} and {whole} are not within 0 and 1 together"));
        }
        check_source(&self.region_source)
    }
}

fn check_source(source: &RegionSource) -> Result<(), DataError> {
    match source {
        RegionSource::Felzenszwalb { params, .. } => {
            let checked = params.iter().try_for_each(FelzenszwalbParams::validate);
            checked.map_err(|e| DataError::Config(format!("region segmentation: {e}")))
        }
        RegionSource::Mixed(list) => list.iter().try_for_each(|(_, source)| check_source(source)),
        _ => Ok(()),
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
    sources: Sources,
}

/// What a thread keeps from one sample to the next.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    epoch: Option<(u64, Vec<u32>)>,
    workspace: Felzenszwalb,
    /// The file at hand.
    bytes: Vec<u8>,
    pub(super) buffers: photo::Buffers,
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
        let sources = Sources::open(&config.region_source, config.region_cache.as_deref(), &files)?;
        Ok(Self { files, config, sources })
    }

    /// The slot at a place of the sequence: its own file, or the first readable
    /// one of the places that [`sequence::probes`] gives for it.
    pub(super) fn slot(&self, at: LoaderPosition, scratch: &mut Scratch) -> Slot {
        let (seed, len) = (self.config.seed, self.files.len());
        let mut attempts = Vec::new();
        for place in sequence::probes(seed, at, len).take(MAX_PROBES) {
            let file = scratch.order(seed, at.epoch, len)[place] as usize;
            match self.sample(file, at, Looked::AtRandom, scratch) {
                Ok(sample) => {
                    attempts.push(Attempt { file, problem: None });
                    return Slot { sample: Some(sample), attempts };
                }
                Err(problem) => attempts.push(Attempt { file, problem: Some(problem) }),
            }
        }
        Slot { sample: None, attempts }
    }

    /// The sample of one file with the draws of the place `at`.
    pub(super) fn sample(
        &self, file: usize, at: LoaderPosition, looked: Looked, scratch: &mut Scratch,
    ) -> Result<Sample, String> {
        let config = &self.config;
        let rng = |stream| sequence::rng(config.seed, at, stream);
        let path = &self.files[file];
        let reason = |e: DataError| e.reason();
        let Scratch { bytes, buffers, workspace, .. } = scratch;
        read(path, bytes).map_err(reason)?;
        let photo = Photo::open(path, bytes).map_err(reason)?;
        let (width, height) = photo.size();
        let from = self.sources.choose(path, &mut rng(Stream::Source));
        let crop = match looked {
            Looked::AtRandom => self.random_crop(from, path, (width, height), at),
            Looked::AtTheCentre => Crop::centre(width, height),
        };
        // Before the regions, so that of a damaged photo it is told first.
        let image = photo.resample(&crop, config.image_side, buffers).map_err(reason)?;
        let ids_shuffle = sequence::permutation(config.num_patches(), &mut rng(Stream::Shuffle));
        let regions = if config.num_regions == 0 {
            Vec::new()
        } else {
            let set = match from {
                Some(from) => {
                    let (side, made_up) = (config.image_side, &mut rng(Stream::Blobs));
                    self.sources.regions(from, &photo, &crop, side, workspace, made_up)?
                }
                None => RegionSet::new(config.image_side).map_err(|e| e.to_string())?,
            };
            let options = self.sampling_options();
            set.draw(&options, &ids_shuffle, &mut rng(Stream::Regions)).map_err(|e| e.to_string())?
        };
        Ok(Sample { file, image, regions, ids_shuffle })
    }

    /// A random crop: of the kinds that the configuration mixes.
    fn random_crop(&self, from: Option<&Source>, path: &Path, size: (u32, u32), at: LoaderPosition) -> Crop {
        let rng = &mut sequence::rng(self.config.seed, at, Stream::Crop);
        let Crops { object, whole } = self.config.crops;
        if object + whole == 0.0 {
            return Crop::random(size.0, size.1, rng);
        }
        let kind: f64 = rng.random_range(0.0..1.0);
        if kind < whole {
            return Crop { flip: rng.random_bool(0.5), ..Crop::whole(size.0, size.1) };
        }
        let found = from.filter(|_| kind < whole + object).and_then(|from| from.object(path, size, rng));
        match found {
            Some(object) => Crop::around(object, size, rng),
            None => Crop::random(size.0, size.1, rng),
        }
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
