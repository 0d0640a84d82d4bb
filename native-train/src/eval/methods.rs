//! What is measured: the model as people meet it, its parts, and simple things that a model must beat.

use std::time::Instant;

use clap::ValueEnum;
use image::RgbImage;
use rmae_core::config::ModelConfig;
use rmae_core::exec::{Device, Tensors};
use rmae_core::prompt::refine::{
    Earlier, Edges, Glance, RefineCache, RefineInput, RefineOptions, Refined, refine, upscale,
};
use rmae_core::prompt::{
    CropMode, Mask, ObjectPrompts, PredictOptions, Predictor, PredictorOptions, RgbView, WorkingImage,
};
use rmae_core::regions::{FelzenszwalbParams, LabelMap, felzenszwalb};
use serde::{Deserialize, Serialize};

use crate::error::{Result, TrainError};

/// Scale of the segments of [`Method::Fh`].
const FH_SCALE: u32 = 500;

/// Something that answers prompts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// The model with the refinement, as `rmae segment` and the page have it
    Model,
    /// The model's own logits, without the refinement's edges
    ModelAlone,
    /// The refinement with logits of 0: colours and edges alone
    Refinement,
    /// The box, filled
    FillBox,
    /// The Felzenszwalb-Huttenlocher segments under the prompts
    Fh,
}

impl Method {
    /// Its name in tables and files.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Model => "model",
            Self::ModelAlone => "model alone",
            Self::Refinement => "refinement alone",
            Self::FillBox => "filled box",
            Self::Fh => "FH segments",
        }
    }
}

/// How a model is asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RigOptions {
    /// Side at which the model looks; its own where there is none.
    pub side: Option<usize>,
    /// Whether small objects are looked at again.
    pub crop: CropMode,
}

/// One image and everything that answers prompts on it.
#[derive(Debug)]
pub struct Rig {
    predictor: Predictor,
    options: RigOptions,
    seen: Option<Seen>,
}

/// What the methods beside the model need of an image; made when first asked for.
struct Seen {
    image: RgbImage,
    working: WorkingImage,
    cache: Option<RefineCache>,
    /// The latest prompts that were refined, and what came of them.
    last: Option<(ObjectPrompts, Option<Earlier>)>,
    segments: Option<LabelMap>,
}

impl std::fmt::Debug for Seen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Seen").field("size", &self.image.dimensions()).finish_non_exhaustive()
    }
}

impl Seen {
    /// Refines prompts in turn, each as a correction of what came of those before.
    fn refined(&mut self, prompts: &ObjectPrompts) -> Result<Refined> {
        let earlier = match prompts.before_newest() {
            None => None,
            Some(before) => match self.last.take().filter(|(known, _)| *known == before) {
                Some((_, earlier)) => earlier,
                None => self.refined(&before)?.earlier,
            },
        };
        let cache = self.cache.as_ref().ok_or_else(no_image)?;
        let (image, area, earlier) = (&self.working, self.working.area(), earlier.as_ref());
        let input =
            RefineInput { image, cache, logits: &[], side: 0, area, prompts, granularity: 0.0, earlier };
        let refined = refine(&input, &RefineOptions::default());
        self.last = Some((prompts.clone(), refined.earlier.clone()));
        Ok(refined)
    }
}

impl Rig {
    /// Puts the model on a device.
    ///
    /// # Errors
    /// Those of [`Predictor::new`].
    pub fn new(model: &ModelConfig, weights: &Tensors, device: &Device, options: RigOptions) -> Result<Self> {
        let settings = PredictorOptions { side: options.side, ..PredictorOptions::default() };
        let predictor = pollster::block_on(Predictor::new(model, weights, device, settings))?;
        Ok(Self { predictor, options, seen: None })
    }

    /// Takes the next image; what the model needed to encode it, in milliseconds.
    ///
    /// # Errors
    /// Those of the device, and an image without pixels.
    pub fn set_image(&mut self, image: RgbImage) -> Result<f64> {
        self.seen = None;
        let view = RgbView::new(image.width() as usize, image.height() as usize, image.as_raw())?;
        let working = WorkingImage::from_rgb(view)?;
        let started = Instant::now();
        pollster::block_on(self.predictor.set_image(view))?;
        let took = milliseconds(started);
        self.seen = Some(Seen { image, working, cache: None, last: None, segments: None });
        Ok(took)
    }

    /// The image.
    ///
    /// # Errors
    /// No image.
    pub fn image(&self) -> Result<&RgbImage> {
        Ok(&self.seen.as_ref().ok_or_else(no_image)?.image)
    }

    /// Columns and rows of the image.
    ///
    /// # Errors
    /// No image.
    pub fn size(&self) -> Result<(usize, usize)> {
        let (width, height) = self.image()?.dimensions();
        Ok((width as usize, height as usize))
    }

    /// Makes what a method needs of the image, so that it is not part of a prompt's time; how long that
    /// took, in milliseconds, where it is not the model's encoding.
    ///
    /// # Errors
    /// No image, or one that cannot be segmented.
    pub fn prepare(&mut self, method: Method) -> Result<Option<f64>> {
        let seen = self.seen.as_mut().ok_or_else(no_image)?;
        let started = Instant::now();
        match method {
            Method::Refinement => {
                seen.cache = Some(RefineCache::new(&seen.working, Glance::shipped().as_deref()));
            }
            Method::Fh => seen.segments = Some(segments(&seen.image)?),
            Method::FillBox => {}
            Method::Model | Method::ModelAlone => return Ok(None),
        }
        Ok(Some(milliseconds(started)))
    }

    /// The mask that a method gives; none for prompts that it does not understand.
    ///
    /// # Errors
    /// Those of the device, and prompts that mean nothing on the image.
    pub fn predict(&mut self, method: Method, prompts: &ObjectPrompts) -> Result<Option<Mask>> {
        match method {
            Method::Model => self.ask(prompts, Edges::GraphCut).map(Some),
            Method::ModelAlone => self.ask(prompts, Edges::Off).map(Some),
            Method::Refinement => self.refine(prompts).map(Some),
            Method::FillBox => Ok(self.filled_box(prompts)),
            Method::Fh => self.touched(prompts).map(Some),
        }
    }

    fn ask(&mut self, prompts: &ObjectPrompts, edges: Edges) -> Result<Mask> {
        let refine = RefineOptions { edges, ..RefineOptions::default() };
        let options = PredictOptions { refine, crop: self.options.crop, ..PredictOptions::default() };
        let made = pollster::block_on(self.predictor.predict(std::slice::from_ref(prompts), &options))?;
        made.into_iter().next().map(|made| made.mask).ok_or_else(no_image)
    }

    fn refine(&mut self, prompts: &ObjectPrompts) -> Result<Mask> {
        let seen = self.seen.as_mut().ok_or_else(no_image)?;
        let prompts = prompts.mapped((0.0, 0.0), seen.working.scale());
        let refined = seen.refined(&prompts)?;
        let (width, height) = seen.working.full_size();
        Ok(upscale(&refined.mask, width, height))
    }

    fn filled_box(&self, prompts: &ObjectPrompts) -> Option<Mask> {
        let seen = self.seen.as_ref()?;
        let rect = prompts.boxes.first()?;
        let within = |x: usize, y: usize| {
            let (x, y) = (x as f32 + 0.5, y as f32 + 0.5);
            x > rect.x0 && x < rect.x1 && y > rect.y0 && y < rect.y1
        };
        Some(Mask::from_fn(seen.image.width() as usize, seen.image.height() as usize, within))
    }

    fn touched(&self, prompts: &ObjectPrompts) -> Result<Mask> {
        let seen = self.seen.as_ref().ok_or_else(no_image)?;
        let map = seen.segments.as_ref().ok_or_else(no_image)?;
        let inside = segments_meant(map, prompts, self.filled_box(prompts).as_ref());
        let width = map.width();
        let label = |x: usize, y: usize| map.labels()[y * width + x] as usize;
        Ok(Mask::from_fn(width, map.height(), |x, y| inside[label(x, y)]))
    }
}

fn segments(image: &RgbImage) -> Result<LabelMap> {
    let (width, height) = (image.width() as usize, image.height() as usize);
    let map = felzenszwalb(image.as_raw(), width, height, &FelzenszwalbParams::at_scale(FH_SCALE));
    map.map_err(|e| TrainError::Config(format!("the photo cannot be segmented: {e}")))
}

/// Which segments the prompts mean: those mostly within the box or the earlier mask, and those under
/// clicks and scribbles, of which the last one decides.
fn segments_meant(map: &LabelMap, prompts: &ObjectPrompts, filled: Option<&Mask>) -> Vec<bool> {
    let mut inside = vec![false; map.count() as usize];
    for mask in filled.into_iter().chain(&prompts.mask) {
        let mut held = vec![0u32; inside.len()];
        for (&label, &pixel) in map.labels().iter().zip(mask.data()) {
            held[label as usize] += u32::from(pixel);
        }
        let most = held.iter().zip(map.areas()).map(|(&held, area)| 2 * held > area);
        inside.iter_mut().zip(most).for_each(|(inside, most)| *inside |= most);
    }
    let scribbled = prompts.scribbles.iter().flat_map(|s| s.points.iter().map(|p| (*p, s.positive)));
    let clicked = prompts.clicks.iter().map(|click| ([click.x, click.y], click.positive));
    for ([x, y], positive) in scribbled.chain(clicked) {
        let (x, y) =
            ((x.max(0.0) as usize).min(map.width() - 1), (y.max(0.0) as usize).min(map.height() - 1));
        inside[map.labels()[y * map.width() + x] as usize] = positive;
    }
    inside
}

pub(super) fn milliseconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e3
}

fn no_image() -> TrainError {
    rmae_core::Error::Image("there is none: set one first".into()).into()
}
