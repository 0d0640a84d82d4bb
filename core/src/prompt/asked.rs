//! A request under way: the image it is about, where to look closer, and the mask that comes of it.

use std::cmp::Ordering;
use std::collections::VecDeque;
use std::sync::{Arc, OnceLock};

use super::options::{CropMode, PredictOptions};
use super::predictor::Prediction;
use super::refine::{Earlier, Glance, RefineCache, RefineInput, outline, refine, upscale};
use super::trail::{Step, Trail};
use super::view::View;
use super::{Mask, ObjectPrompts, Rect, WorkingImage};
use crate::tensor::HostTensor;

/// Encoded crops kept.
const KEPT_CROPS: usize = 4;
/// A crop is this many times as long as its object.
const CROP_MARGIN: f32 = 2.0;
/// An object shorter than this share of its image is small.
const SMALL: f32 = 0.25;
/// Crops lie on a raster this fine, as a share of their length, so that further clicks on one object
/// meet a crop that is there already.
const CROP_RASTER: f32 = 0.25;
/// Shortest side of a crop, pixels: below it there is nothing left to enlarge.
const LEAST_CROP: f32 = 32.0;

/// A view of the image, encoded.
#[derive(Debug)]
pub(super) struct Encoded {
    pub(super) view: View,
    pub(super) latent: HostTensor,
    pub(super) memory: Option<HostTensor>,
}

/// The image that is asked about.
pub(super) struct Seen {
    pub(super) working: WorkingImage,
    glance: Option<Arc<Glance>>,
    /// What refinement needs of the image, from when it is first needed.
    pub(super) cache: OnceLock<RefineCache>,
    pub(super) whole: Encoded,
    /// Most recent last.
    pub(super) crops: VecDeque<Encoded>,
    pub(super) trail: Trail,
}

impl std::fmt::Debug for Seen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Seen")
            .field("full", &self.working.full_size())
            .field("crops", &self.crops.len())
            .finish()
    }
}

impl Seen {
    pub(super) fn new(working: WorkingImage, whole: Encoded, glance: Option<Arc<Glance>>) -> Self {
        Self {
            working,
            glance,
            cache: OnceLock::new(),
            whole,
            crops: VecDeque::new(),
            trail: Trail::default(),
        }
    }

    pub(super) fn refine_cache(&self) -> &RefineCache {
        self.cache.get_or_init(|| RefineCache::new(&self.working, self.glance.as_deref()))
    }
}

/// A request under way, with the image taken out of the predictor.
pub(super) struct Asked {
    pub(super) seen: Seen,
    pub(super) options: PredictOptions,
}

/// Logits `[S, S]` and where they lie in the working image.
#[derive(Clone)]
pub(super) struct Look {
    pub(super) logits: Vec<f32>,
    pub(super) area: Rect,
}

impl Asked {
    pub(super) fn keep(&mut self, encoded: Encoded) {
        if self.seen.crops.len() >= KEPT_CROPS {
            self.seen.crops.pop_front();
        }
        self.seen.crops.push_back(encoded);
    }

    /// The part of the working image to look at again.
    pub(super) fn crop(&self, object: &ObjectPrompts, look: &Look, side: usize) -> Option<[usize; 4]> {
        let image = &self.seen.working;
        let (w, h) = (image.width() as f32, image.height() as f32);
        let found = extent(object, look, side, self.options.granularity)?.intersection(&image.area());
        let longest = (found.width() / w).max(found.height() / h);
        match self.options.crop {
            CropMode::Off => return None,
            CropMode::Auto if longest > SMALL => return None,
            _ => {}
        }
        let length = (CROP_MARGIN * found.width().max(found.height())).max(LEAST_CROP);
        if length >= 0.9 * w.max(h) {
            return None;
        }
        // A power of two of rasters: the length is as coarse as the place.
        let length = 2f32.powf((length.log2() / CROP_RASTER).ceil() * CROP_RASTER);
        let span = |from: f32, to: f32, side: f32| {
            let raster = (CROP_RASTER * length).max(1.0);
            let start = ((0.5 * (from + to) - 0.5 * length) / raster).round() * raster;
            let start = start.clamp(0.0, (side - length).max(0.0)) as usize;
            (start, (length as usize).min(side as usize - start).max(1))
        };
        let (x, width) = span(found.x0, found.x1, w);
        let (y, height) = span(found.y0, found.y1, h);
        Some([x, y, width, height])
    }

    fn input<'b>(
        &'b self, prompts: &'b ObjectPrompts, look: &'b Look, side: usize, earlier: Option<&'b Earlier>,
    ) -> RefineInput<'b> {
        RefineInput {
            image: &self.seen.working,
            cache: self.seen.refine_cache(),
            logits: &look.logits,
            side,
            area: look.area,
            prompts,
            granularity: self.options.granularity,
            earlier,
        }
    }

    /// What the prompt after a step corrects.
    pub(super) fn outline(
        &self, prompts: &ObjectPrompts, look: &Look, side: usize, earlier: Option<&Earlier>,
    ) -> Option<Earlier> {
        outline(&self.input(prompts, look, side, earlier), &self.options.refine)
    }

    /// The mask; what a further prompt corrects is kept under the last `step`.
    pub(super) fn finish(
        &mut self, object: &ObjectPrompts, look: Look, side: usize,
        (step, earlier): (Option<Step>, Option<Earlier>),
    ) -> Prediction {
        let refined = refine(&self.input(object, &look, side, earlier.as_ref()), &self.options.refine);
        if let Some(step) = step {
            self.seen.trail.put(step, refined.earlier);
        }
        let (seen, mask) = (&self.seen, refined.mask);
        let (width, height) = limited(seen.working.full_size(), self.options.max_side);
        let mask = match width.cmp(&mask.width()) {
            Ordering::Less => mask.resized(width, height),
            Ordering::Equal if height == mask.height() => mask,
            _ => upscale(&mask, width, height),
        };
        let score = refined.score.unwrap_or_else(|| score(&look.logits, self.options.granularity));
        let area = at_full_size(look.area, &seen.working);
        Prediction { mask, score, logits: look.logits, area }
    }
}

/// A rectangle of the working image in pixels of the image.
pub(super) fn at_full_size(area: Rect, image: &WorkingImage) -> Rect {
    let (sx, sy) = image.scale();
    Rect { x0: area.x0 / sx, y0: area.y0 / sy, x1: area.x1 / sx, y1: area.y1 / sy }
}

/// The box around what a first look found and around the positive prompts, in the working image.
fn extent(object: &ObjectPrompts, look: &Look, side: usize, bias: f32) -> Option<Rect> {
    let area = look.area;
    let (sx, sy) = (area.width() / side as f32, area.height() / side as f32);
    let clicks = object.clicks.iter().filter(|c| c.positive).map(|c| [c.x, c.y]);
    let scribbles = object.scribbles.iter().filter(|s| s.positive).flat_map(|s| s.points.iter().copied());
    let mut places: Vec<[f32; 2]> = clicks.chain(scribbles).collect();
    if let Some(rect) = super::check::common(&object.boxes) {
        // A box says it all.
        return Some(rect);
    }
    // Only what hangs together with a prompt would count; the whole find is a cautious guess.
    let found = Mask::from_fn(side, side, |x, y| look.logits[y * side + x] + bias > 0.0);
    if let Some(b) = found.bounding_box() {
        let at = |x: u32, y: u32| [area.x0 + x as f32 * sx, area.y0 + y as f32 * sy];
        places.extend([at(b.x, b.y), at(b.x + b.width, b.y + b.height)]);
    }
    let first = *places.first()?;
    let start = Rect { x0: first[0], y0: first[1], x1: first[0], y1: first[1] };
    Some(places.iter().fold(start, |r, &[x, y]| Rect {
        x0: r.x0.min(x),
        y0: r.y0.min(y),
        x1: r.x1.max(x),
        y1: r.y1.max(y),
    }))
}

/// Mean probability of the pixels above the threshold.
fn score(logits: &[f32], bias: f32) -> f32 {
    let inside = logits.iter().filter(|&&l| l + bias > 0.0);
    let (sum, count) = inside.fold((0.0, 0u32), |(sum, n), l| (sum + 1.0 / (1.0 + (-l).exp()), n + 1));
    if count == 0 { 0.0 } else { sum / count as f32 }
}

/// The size whose longer side is at most `limit`.
fn limited((width, height): (usize, usize), limit: Option<usize>) -> (usize, usize) {
    let longer = width.max(height);
    match limit {
        Some(limit) if limit < longer => {
            let scaled = |side: usize| ((side * limit + longer / 2) / longer).max(1);
            (scaled(width), scaled(height))
        }
        _ => (width, height),
    }
}
