//! One image, encoded once, and the masks of whatever is prompted on it.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use super::asked::{Asked, Encoded, Look, Seen, at_full_size};
use super::check::checked;
use super::fill::fill_visible;
use super::look::Looked;
use super::options::{PredictOptions, PredictorOptions};
use super::refine::{Earlier, Edges, Glance};
use super::region_map::{Grid, RegionMap};
use super::trail::{Step, steps};
use super::view::View;
use super::{Mask, ObjectPrompts, Rect, RgbView, WorkingImage, WorkingImageBuilder};
use crate::config::ModelConfig;
use crate::error::{Error, Result};
use crate::exec::{Device, Params, Precision, Program, Tensors};
use crate::model::{check_graph_params, decoder_graph, image_graph, query_graph, restore_ids, tables_at};
use crate::reconstruct::unpatchify;
use crate::tensor::HostTensor;

/// Compiled programs kept for each kind: a program is compiled for a number of patches or objects,
/// and people come back to the numbers that they used last.
const KEPT_PROGRAMS: usize = 8;

/// What came of setting an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageReport {
    /// Columns of the image.
    pub width: usize,
    /// Rows of the image.
    pub height: usize,
    /// Columns of the working image.
    pub working_width: usize,
    /// Rows of the working image.
    pub working_height: usize,
}

/// One object.
#[derive(Clone, Debug, PartialEq)]
pub struct Prediction {
    /// The object at the image's own size, or at the size that was asked for.
    pub mask: Mask,
    /// Overlap with what is meant (intersection over union) that is to be expected, 0 to 1. Where edges
    /// are not cut, the mean probability of the pixels that the model takes for the object.
    pub score: f32,
    /// The model's logits, `[S, S]`, over [`Prediction::area`]; visible patches are filled in.
    pub logits: Vec<f32>,
    /// Where the logits lie, in pixels of the image.
    pub area: Rect,
}

/// Programs compiled for a number, the most recent last.
#[derive(Debug, Default)]
struct Programs(VecDeque<(usize, Program)>);

impl Programs {
    /// The program of a number, taken out.
    fn take(&mut self, key: usize) -> Option<Program> {
        let at = self.0.iter().position(|(known, _)| *known == key)?;
        self.0.remove(at).map(|(_, program)| program)
    }

    fn put(&mut self, key: usize, program: Program) {
        if self.0.len() >= KEPT_PROGRAMS {
            self.0.pop_front();
        }
        self.0.push_back((key, program));
    }
}

/// A model that segments what is prompted, and lets itself be looked into.
///
/// [`Predictor::set_image`] runs encoder and neck once; [`Predictor::predict`] then runs the region
/// encoder and the decoder only, all objects in one pass. Region encoders run on the CPU whatever the
/// device: one block over a few patches is less work than compiling it for their number on a GPU, and
/// reading its result back.
#[derive(Debug)]
pub struct Predictor {
    pub(super) config: ModelConfig,
    pub(super) device: Device,
    pub(super) params: Params,
    options: PredictorOptions,
    query_device: Device,
    query_params: Params,
    encode: Program,
    queries: Programs,
    decoders: Programs,
    incoming: Option<WorkingImageBuilder>,
    pub(super) seen: Option<Seen>,
    pub(super) looked: Option<Looked>,
    /// Names of the weights that there are.
    pub(super) weights: BTreeSet<String>,
}

impl Predictor {
    /// Puts the weights on the device and prepares the encoder. Weights that the model does not need
    /// for an image are not missed: [`Predictor::predict`] tells when it cannot work.
    ///
    /// # Errors
    /// [`Error::Config`] for a side that is no multiple of the patch, [`Error::Tensor`] for a weight
    /// that is missing or of another shape, and the device's.
    pub async fn new(
        config: &ModelConfig, weights: &Tensors, device: &Device, options: PredictorOptions,
    ) -> Result<Self> {
        let side = options.side.unwrap_or(config.img_size);
        let mut at_side = ModelConfig { img_size: side, ..config.clone() };
        if !weights.keys().any(|name| name.starts_with("region")) {
            // An encoder alone: it can be looked into, and says why it segments nothing.
            at_side = ModelConfig { num_region: 0, use_mae_loss: true, ..at_side };
        }
        at_side.validate()?;
        let graph = image_graph(&at_side)?;
        let weights = tables_at(config, at_side.grid(), weights)?;
        check_graph_params(&graph, &weights)?;
        let fetch: Vec<&str> = graph.outputs().keys().map(String::as_str).collect();
        let encode = device.compile(&graph, &fetch, false).await?;
        let query_device = match device {
            Device::Cpu(_) => device.clone(),
            #[cfg(feature = "gpu")]
            Device::Gpu(_) => Device::cpu(Precision::F32),
        };
        let of_queries = ["region_patch_embed", "region_pos_embed", "region_enc_blocks", "region_proj"];
        let mut small = weights.clone();
        small.retain(|name, _| of_queries.iter().any(|prefix| name.starts_with(prefix)));
        Ok(Self {
            params: device.params(&weights).await?,
            query_params: query_device.params(&small).await?,
            device: device.clone(),
            config: at_side,
            options,
            query_device,
            encode,
            queries: Programs::default(),
            decoders: Programs::default(),
            incoming: None,
            seen: None,
            looked: None,
            weights: weights.into_keys().collect(),
        })
    }

    /// The model, at the side at which it looks at images.
    #[must_use]
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// Takes an image and encodes it, whole and unmasked.
    ///
    /// # Errors
    /// [`Error::Image`], and those of the device; then there is no image.
    pub async fn set_image(&mut self, image: RgbView<'_>) -> Result<ImageReport> {
        self.set_working_image(WorkingImage::from_rgb(image)?).await
    }

    /// Begins an image that comes in strips; the one before stays until it is complete.
    ///
    /// # Errors
    /// [`Error::Image`] for a size that cannot be.
    pub fn begin_image(&mut self, width: usize, height: usize) -> Result<()> {
        self.incoming = Some(WorkingImageBuilder::new(width, height)?);
        Ok(())
    }

    /// Takes the next rows: see [`WorkingImageBuilder::push_rows`].
    ///
    /// # Errors
    /// [`Error::Image`] for rows that do not fit, or before [`Predictor::begin_image`].
    pub fn push_rows(&mut self, rows: &[u8], channels: usize) -> Result<()> {
        let incoming = self.incoming.as_mut().ok_or_else(|| Error::Image("none was begun".into()))?;
        incoming.push_rows(rows, channels)
    }

    /// Encodes the image whose rows were pushed.
    ///
    /// # Errors
    /// As [`Predictor::set_image`].
    pub async fn finish_image(&mut self) -> Result<ImageReport> {
        let incoming = self.incoming.take().ok_or_else(|| Error::Image("none was begun".into()))?;
        self.set_working_image(incoming.finish()?).await
    }

    /// Takes an image that is a working image already, and encodes it.
    ///
    /// # Errors
    /// Those of the device; then there is no image.
    pub async fn set_working_image(&mut self, working: WorkingImage) -> Result<ImageReport> {
        let report = self.encode_image(working).await?;
        self.prepare();
        Ok(report)
    }

    /// The same without [`Predictor::prepare`], for who wants the model's part alone, or sooner.
    ///
    /// # Errors
    /// Those of the device; then there is no image.
    pub async fn encode_image(&mut self, working: WorkingImage) -> Result<ImageReport> {
        (self.seen, self.looked) = (None, None);
        let view = View::whole(&working, self.config.img_size, self.options.fit);
        let whole = self.encode(&working, view).await?;
        let (width, height) = working.full_size();
        let (working_width, working_height) = (working.width(), working.height());
        self.seen = Some(Seen::new(working, whole, self.options.glance.clone()));
        Ok(ImageReport { width, height, working_width, working_height })
    }

    /// Looks at images with other eyes, or with none, from the next image on.
    pub fn set_glance(&mut self, glance: Option<Arc<Glance>>) {
        self.options.glance = glance;
    }

    /// Works out what refinement needs of the image, once; otherwise the first prediction does.
    pub fn prepare(&self) {
        if let Some(seen) = &self.seen {
            seen.refine_cache();
        }
    }

    /// The image as the model and the refinement see it.
    #[must_use]
    pub fn working_image(&self) -> Option<&WorkingImage> {
        self.seen.as_ref().map(|seen| &seen.working)
    }

    /// The encoder's tokens of the whole image, `[1, L+1, D]`.
    #[must_use]
    pub fn latent(&self) -> Option<&HostTensor> {
        self.seen.as_ref().map(|seen| &seen.whole.latent)
    }

    /// The model's input for the image, `[3, S, S]`, normalised.
    pub(super) fn input(&self) -> Result<Vec<f32>> {
        let seen = self.seen.as_ref().ok_or_else(no_image)?;
        Ok(seen.whole.view.sample(&seen.working))
    }

    /// Where the model's square lies in the image, pixels of its full resolution.
    pub(super) fn full_area(&self) -> Result<Rect> {
        let seen = self.seen.as_ref().ok_or_else(no_image)?;
        Ok(at_full_size(seen.whole.view.area(), &seen.working))
    }

    async fn encode(&mut self, image: &WorkingImage, view: View) -> Result<Encoded> {
        let side = view.side();
        let pixels = HostTensor::f32(&[1, 3, side, side], view.sample(image))?;
        let inputs = Tensors::from([("image".into(), pixels)]);
        let mut outputs = self.encode.run(&mut self.params, &inputs).await?;
        let latent = output(&mut outputs, "latent")?;
        Ok(Encoded { view, latent, memory: outputs.remove("pixel_memory") })
    }

    /// Masks of objects, in their order.
    ///
    /// # Errors
    /// [`Error::Image`] without an image, [`Error::Prompt`] for what means nothing on it,
    /// [`Error::Unsupported`] for a model that completes no single regions, and the device's.
    pub async fn predict(
        &mut self, objects: &[ObjectPrompts], options: &PredictOptions,
    ) -> Result<Vec<Prediction>> {
        check_options(options)?;
        let seen = self.seen.take().ok_or_else(no_image)?;
        let mut asked = Asked { seen, options: options.clone() };
        let result = self.masks(objects, &mut asked).await;
        self.seen = Some(asked.seen);
        result
    }

    async fn masks(&mut self, objects: &[ObjectPrompts], asked: &mut Asked) -> Result<Vec<Prediction>> {
        let objects = on_working_image(objects, &asked.seen)?;
        let first = self.logits(&asked.seen.working, &asked.seen.whole, &objects).await?;
        let (alone, mut made) = (objects.len() == 1, vec![]);
        for (object, logits) in objects.iter().zip(first) {
            let look = Look { logits, area: asked.seen.whole.view.area() };
            let look = self.closer(object, look, asked).await?;
            let (step, earlier) = self.before(object, asked).await?;
            // Objects of one pass look at each other: what comes of them is not what each would give.
            let step = step.filter(|_| alone);
            made.push(asked.finish(object, look, self.config.img_size, (step, earlier)));
        }
        Ok(made)
    }

    /// The last of an object's steps, and what came of those before it. Steps that are not known are
    /// gone through one by one: so masks are the same whether prompts come together or in turn.
    pub(super) async fn before(
        &mut self, object: &ObjectPrompts, asked: &mut Asked,
    ) -> Result<(Option<Step>, Option<Earlier>)> {
        let side = self.config.img_size;
        let steps = match asked.options.refine.edges {
            Edges::GraphCut => steps(object, &asked.options),
            Edges::Off | Edges::Guided => vec![],
        };
        let (mut next, mut earlier) = match asked.seen.trail.latest(&steps) {
            Some((place, earlier)) => (place + 1, earlier),
            None => (0, None),
        };
        while next + 1 < steps.len() {
            let prompts = steps[next].of(object);
            let logits =
                self.logits(&asked.seen.working, &asked.seen.whole, std::slice::from_ref(&prompts)).await?;
            let look = Look { logits: logits.concat(), area: asked.seen.whole.view.area() };
            let look = self.closer(&prompts, look, asked).await?;
            earlier = asked.outline(&prompts, &look, side, earlier.as_ref());
            asked.seen.trail.put(steps[next], earlier.clone());
            next += 1;
        }
        Ok((steps.last().copied(), earlier))
    }

    /// Logits `[S, S]` of every object on a view, in one pass of the decoder.
    pub(super) async fn logits(
        &mut self, image: &WorkingImage, encoded: &Encoded, objects: &[ObjectPrompts],
    ) -> Result<Vec<Vec<f32>>> {
        let (side, patch) = (self.config.img_size, self.config.patch_size);
        let area = encoded.view.area();
        let grid = Grid { side, patch, area, image: (image.width(), image.height()) };
        let trained = 1.0 - self.config.region_mask_ratio;
        let map = |object| RegionMap::new(object, grid, &self.options.rules, trained);
        let maps: Vec<RegionMap> = objects.iter().map(map).collect();
        let mut queries = vec![];
        for map in &maps {
            queries.extend(self.query(map).await?);
        }
        let logits = self.decode(encoded, queries, maps.len()).await?;
        let one = |(map, patches): (&RegionMap, &[f32])| {
            let mut logits = unpatchify(patches, 1, side, patch);
            fill_visible(&mut logits, map, side, patch);
            logits
        };
        Ok(maps.iter().zip(logits.chunks_exact(side * side)).map(one).collect())
    }

    /// The query of one object, `[D_r]`.
    async fn query(&mut self, map: &RegionMap) -> Result<Vec<f32>> {
        let (side, l, visible) = (self.config.img_size, self.config.num_patches(), map.visible.len());
        let mut program = match self.queries.take(visible) {
            Some(program) => program,
            None => {
                let graph = query_graph(&self.config, visible)?;
                self.query_device.compile(&graph, &["query"], false).await?
            }
        };
        let ids = permutation(&map.visible, l);
        let inputs = Tensors::from([
            ("regions".into(), HostTensor::f32(&[1, 1, side, side], map.values.clone())?),
            ("ids_restore".into(), HostTensor::u32(&[1, l], restore_ids(&ids, l))?),
            ("ids_shuffle".into(), HostTensor::u32(&[1, l], ids)?),
        ]);
        let mut outputs = program.run(&mut self.query_params, &inputs).await?;
        self.queries.put(visible, program);
        Ok(output(&mut outputs, "query")?.to_f32())
    }

    /// Logits `[k, L, p²]` of `count` queries `[k, D_r]`.
    async fn decode(&mut self, encoded: &Encoded, queries: Vec<f32>, count: usize) -> Result<Vec<f32>> {
        let mut program = match self.decoders.take(count) {
            Some(program) => program,
            None => {
                let graph = decoder_graph(&self.config, count)?;
                self.device.compile(&graph, &["logits"], false).await?
            }
        };
        let memory = encoded.memory.clone();
        let memory = memory.ok_or_else(|| Error::Unsupported("the model completes no regions".into()))?;
        let queries = HostTensor::f32(&[1, count, self.config.region_dec_dim], queries)?;
        let inputs = Tensors::from([("queries".into(), queries), ("pixel_memory".into(), memory)]);
        let mut outputs = program.run(&mut self.params, &inputs).await?;
        self.decoders.put(count, program);
        Ok(output(&mut outputs, "logits")?.to_f32())
    }

    /// The same object on an enlarged part of the image, where that is asked for and there is one.
    pub(super) async fn closer(
        &mut self, object: &ObjectPrompts, look: Look, asked: &mut Asked,
    ) -> Result<Look> {
        let Some(window) = asked.crop(object, &look, self.config.img_size) else { return Ok(look) };
        let view = View::of(window, self.config.img_size, self.options.fit);
        let known = asked.seen.crops.iter().position(|crop| crop.view == view);
        let encoded = match known.and_then(|at| asked.seen.crops.remove(at)) {
            Some(encoded) => encoded,
            None => self.encode(&asked.seen.working, view).await?,
        };
        let logits = self.logits(&asked.seen.working, &encoded, std::slice::from_ref(object)).await;
        asked.keep(encoded);
        let closer = logits?.pop().map(|logits| Look { logits, area: view.area() });
        Ok(closer.unwrap_or(look))
    }
}

/// A permutation of `patches` that begins with the visible ones.
fn permutation(visible: &[u32], patches: usize) -> Vec<u32> {
    let mut seen = vec![false; patches];
    visible.iter().for_each(|&id| seen[id as usize] = true);
    let masked = (0..patches as u32).filter(|&id| !seen[id as usize]);
    visible.iter().copied().chain(masked).collect()
}

/// Prompts as they lie in the working image, if they can.
pub(super) fn on_working_image(objects: &[ObjectPrompts], seen: &Seen) -> Result<Vec<ObjectPrompts>> {
    let (width, height) = seen.working.full_size();
    let objects = checked(objects, width, height)?;
    Ok(objects.iter().map(|object| object.mapped((0.0, 0.0), seen.working.scale())).collect())
}

pub(super) fn check_options(options: &PredictOptions) -> Result<()> {
    let wrong = |prompt: &str, problem: String| Err(Error::Prompt { prompt: prompt.into(), problem });
    if !(-1.0..=1.0).contains(&options.granularity) {
        return wrong("granularity", format!("{} does not lie between -1 and 1", options.granularity));
    }
    if options.max_side == Some(0) {
        return wrong("max_side", "0 leaves no pixel; give at least 1".into());
    }
    Ok(())
}

pub(super) fn no_image() -> Error {
    Error::Image("there is none: set one first".into())
}

pub(super) fn output(outputs: &mut Tensors, name: &'static str) -> Result<HostTensor> {
    outputs.remove(name).ok_or_else(|| Error::UnknownName {
        kind: "output",
        name: name.into(),
        known: outputs.keys().cloned().collect::<Vec<_>>().join(", "),
    })
}
