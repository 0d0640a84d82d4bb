//! The paper's own task: the whole image visible, a region only in part; how much of it is completed,
//! beside baselines that see no image.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::PathBuf;

use rand::Rng;
use rand::seq::SliceRandom;
use rmae_core::config::ModelConfig;
use rmae_core::exec::{Device, Params, Program, Tensors};
use rmae_core::model::{decoder_graph, image_graph, query_graph, restore_ids};
use rmae_core::prompt::Mask;
use rmae_core::reconstruct::unpatchify;
use rmae_core::regions::{FelzenszwalbParams, LabelMap, felzenszwalb};
use rmae_core::tensor::HostTensor;
use serde::{Deserialize, Serialize};

use super::complete::Partial;
use super::play::generator;
use super::sets::Case;
use crate::data::{Crop, blob, decode, resample, resize};
use crate::error::{Result, TrainError};

/// Shares of a region map's patches that are hidden.
pub const RATIOS: [f64; 6] = [0.5, 0.6, 0.7, 0.8, 0.9, 0.95];
/// Scale of the segments that serve as regions.
const FH_SCALE: u32 = 500;
/// Patches that a segment must be as large as to serve.
const LEAST_PATCHES: usize = 4;

/// What kind of region.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// An annotated object.
    Object,
    /// A Felzenszwalb-Huttenlocher segment of the photo.
    Fh,
    /// A random round thing that has nothing to do with the photo: what no model can know.
    Blob,
}

impl Kind {
    /// Its name in tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Object => "objects",
            Self::Fh => "FH segments",
            Self::Blob => "random blobs",
        }
    }
}

/// One region at one mask ratio; IoU of the whole map, visible patches included.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Completed {
    /// Its set.
    pub set: String,
    /// Its photo.
    pub image: PathBuf,
    /// What it is.
    pub kind: Kind,
    /// Share of patches that were hidden.
    pub ratio: f64,
    /// The model's.
    pub model: f64,
    /// Nothing added to the visible part.
    pub copied: f64,
    /// Each hidden patch as the nearest visible one.
    pub nearest: f64,
}

/// A model that completes regions.
#[derive(Debug)]
pub struct Completer {
    config: ModelConfig,
    device: Device,
    params: Params,
    encode: Program,
    decode: Program,
    /// By the number of visible patches.
    queries: BTreeMap<usize, Program>,
}

impl Completer {
    /// Puts the model on a device.
    ///
    /// # Errors
    /// Those of the device; a model that completes no single regions.
    pub fn new(config: &ModelConfig, weights: &Tensors, device: &Device) -> Result<Self> {
        let compile = |graph, output: &str| pollster::block_on(device.compile(&graph, &[output], false));
        Ok(Self {
            encode: compile(image_graph(config)?, "pixel_memory")?,
            decode: compile(decoder_graph(config, 1)?, "logits")?,
            params: pollster::block_on(device.params(weights))?,
            queries: BTreeMap::new(),
            config: config.clone(),
            device: device.clone(),
        })
    }

    /// All regions of the objects of one photo. What cannot be read gives none: the clicks have told.
    ///
    /// # Errors
    /// Those of the device.
    pub(super) fn photo(&mut self, set: &str, cases: &[Case], seeds: &[u64]) -> Result<Vec<Completed>> {
        let Some(image) = cases.first().and_then(|case| decode(&case.image).ok()) else { return Ok(vec![]) };
        let side = self.config.img_size;
        let pixels = resample(&image, &Crop::whole(image.width(), image.height()), side);
        let pixels = HostTensor::f32(&[1, 3, side, side], pixels)?;
        let mut outputs = pollster::block_on(
            self.encode.run(&mut self.params, &Tensors::from([("image".into(), pixels)])),
        )?;
        let memory = outputs.remove("pixel_memory").ok_or_else(no_output)?;
        let segments = segments(resize(&image, side as u32, side as u32).as_raw(), side)?;
        let mut all = vec![];
        for case in cases {
            let Ok(truth) = case.truth(image.width() as usize, image.height() as usize) else { continue };
            let object = truth.mask().resized(side, side);
            for &seed in seeds {
                let rng = &mut generator(case, seed);
                let kinds = [
                    (Kind::Object, Some(object.clone())),
                    (Kind::Fh, self.segment(&segments, rng)),
                    (Kind::Blob, Some(blob(side, rng))),
                ];
                for (kind, region) in kinds {
                    let region = region.filter(|region| region.area() > 0);
                    let Some(region) = region else { continue };
                    let made = self.region(&memory, &region, rng)?;
                    let of = |(ratio, [model, copied, nearest]): (f64, [f64; 3])| Completed {
                        set: set.into(),
                        image: case.image.clone(),
                        kind,
                        ratio,
                        model,
                        copied,
                        nearest,
                    };
                    all.extend(made.into_iter().map(of));
                }
            }
        }
        Ok(all)
    }

    /// A random segment that is not too small.
    fn segment(&self, map: &LabelMap, rng: &mut impl Rng) -> Option<Mask> {
        let least = LEAST_PATCHES * self.config.patch_size * self.config.patch_size;
        let large: Vec<u32> = (0..).zip(map.areas()).filter(|a| a.1 as usize >= least).map(|a| a.0).collect();
        let label = *large.get(rng.random_range(0..large.len().max(1)))?;
        Mask::new(map.width(), map.height(), map.region(label).ok()?).ok()
    }

    /// For each ratio the IoU of model, copy and nearest patch; more is hidden of the same order.
    fn region(
        &mut self, memory: &HostTensor, region: &Mask, rng: &mut impl Rng,
    ) -> Result<Vec<(f64, [f64; 3])>> {
        let patches = self.config.num_patches();
        let mut ids: Vec<u32> = (0..patches as u32).collect();
        ids.shuffle(rng);
        let mut made = vec![];
        for ratio in RATIOS {
            let seen = ((patches as f64 * (1.0 - ratio)) as usize).max(1);
            let mut visible = vec![false; patches];
            ids[..seen].iter().for_each(|&id| visible[id as usize] = true);
            let partial = Partial { truth: region, patch: self.config.patch_size, visible: &visible };
            let logits = self.logits(memory, region, &ids, seen)?;
            let side = self.config.img_size;
            let completed = partial.completed(|x, y| logits[y * side + x] > 0.0);
            let iou = [completed, partial.copied(), partial.nearest()].map(|mask| mask.overlap(region));
            made.push((ratio, iou));
        }
        Ok(made)
    }

    /// The model's logits, `[S, S]`.
    fn logits(&mut self, memory: &HostTensor, region: &Mask, ids: &[u32], seen: usize) -> Result<Vec<f32>> {
        let (side, l) = (self.config.img_size, self.config.num_patches());
        let query = match self.queries.entry(seen) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => {
                let graph = query_graph(&self.config, seen)?;
                new.insert(pollster::block_on(self.device.compile(&graph, &["query"], false))?)
            }
        };
        let values = region.data().iter().map(|&v| f32::from(v)).collect();
        let inputs = Tensors::from([
            ("regions".into(), HostTensor::f32(&[1, 1, side, side], values)?),
            ("ids_restore".into(), HostTensor::u32(&[1, l], restore_ids(ids, l))?),
            ("ids_shuffle".into(), HostTensor::u32(&[1, l], ids.to_vec())?),
        ]);
        let mut outputs = pollster::block_on(query.run(&mut self.params, &inputs))?;
        let queries = outputs.remove("query").ok_or_else(no_output)?;
        let inputs = Tensors::from([("queries".into(), queries), ("pixel_memory".into(), memory.clone())]);
        let mut outputs = pollster::block_on(self.decode.run(&mut self.params, &inputs))?;
        let logits = outputs.remove("logits").ok_or_else(no_output)?.to_f32();
        Ok(unpatchify(&logits, 1, side, self.config.patch_size))
    }
}

fn segments(rgb: &[u8], side: usize) -> Result<LabelMap> {
    let map = felzenszwalb(rgb, side, side, &FelzenszwalbParams::at_scale(FH_SCALE));
    map.map_err(|e| TrainError::Config(format!("the photo cannot be segmented: {e}")))
}

fn no_output() -> TrainError {
    TrainError::Config("the model's graph lacks an output".into())
}
