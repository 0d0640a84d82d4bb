//! Prompts: from clicks, boxes, scribbles and masks to segments of one image.
//!
//! Coordinates are pixels of the image as a person sees it (upright, full resolution): x to the
//! right, y down, the middle of the first pixel at (0.5, 0.5), the image's corner at (0, 0).

mod asked;
mod candidates;
mod check;
pub mod distance;
pub mod export;
mod fill;
mod geometry;
mod look;
mod mask;
mod options;
mod parts;
mod predictor;
pub mod refine;
mod region_map;
pub mod simulate;
mod trail;
mod view;
mod working_image;

pub use candidates::{ALIKE, Candidate, GRANULARITIES};
pub use geometry::Rect;
pub use look::AttentionMap;
pub use mask::Mask;
pub use options::{CropMode, Fit, PredictOptions, PredictorOptions};
pub use predictor::{ImageReport, Prediction, Predictor};
pub use region_map::{MapRules, shown_patches};
pub use working_image::{MAX_WORKING_PIXELS, RgbView, WorkingImage, WorkingImageBuilder};

use serde::{Deserialize, Serialize};

/// One point that belongs to the object, or does not.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Click {
    /// Column, pixels.
    pub x: f32,
    /// Row, pixels.
    pub y: f32,
    /// Whether it belongs to the object.
    #[serde(default = "yes")]
    pub positive: bool,
    /// How far around the point that holds, pixels; none leaves it to the predictor.
    #[serde(default)]
    pub radius: Option<f32>,
}

/// A box around the object: everything outside is not the object.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BoxPrompt {
    /// One corner's column, pixels.
    pub x0: f32,
    /// One corner's row, pixels.
    pub y0: f32,
    /// The opposite corner's column, pixels.
    pub x1: f32,
    /// The opposite corner's row, pixels.
    pub y1: f32,
}

/// A line drawn by hand over the object, or over what is not the object.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scribble {
    /// Its corners, `[x, y]` in pixels; one is a dot.
    pub points: Vec<[f32; 2]>,
    /// Width of the line, pixels; none leaves it to the predictor.
    #[serde(default)]
    pub width: Option<f32>,
    /// Whether it lies on the object.
    #[serde(default = "yes")]
    pub positive: bool,
}

fn yes() -> bool {
    true
}

/// Everything that is said about one object; any mix.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ObjectPrompts {
    /// Points.
    pub clicks: Vec<Click>,
    /// Boxes; the object lies in all of them.
    pub boxes: Vec<BoxPrompt>,
    /// Lines.
    pub scribbles: Vec<Scribble>,
    /// A segment to start from: an earlier result, or one loaded. It has the image's size, or
    /// another that is stretched over it.
    pub mask: Option<Mask>,
}

impl ObjectPrompts {
    /// Whether nothing at all is said.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.clicks.is_empty() && self.boxes.is_empty() && self.scribbles.is_empty() && self.mask.is_none()
    }

    /// The same before the newest click, or without clicks before the newest scribble; none where
    /// nothing would be left, or nothing comes in turn.
    #[must_use]
    pub fn before_newest(&self) -> Option<Self> {
        let mut before = self.clone();
        before.clicks.pop().map(|_| ()).or_else(|| before.scribbles.pop().map(|_| ()))?;
        (!before.is_empty()).then_some(before)
    }

    /// The same in another coordinate system: `x' = (x − dx)·sx`, `y' = (y − dy)·sy`. Radii and widths
    /// are scaled by the geometric mean. The mask stays: it is stretched over the image anyway.
    #[must_use]
    pub fn mapped(&self, (dx, dy): (f32, f32), (sx, sy): (f32, f32)) -> Self {
        let at = |x: f32, y: f32| ((x - dx) * sx, (y - dy) * sy);
        let length = |l: &Option<f32>| l.map(|l| l * (sx * sy).sqrt());
        let click = |c: &Click| {
            let (x, y) = at(c.x, c.y);
            Click { x, y, radius: length(&c.radius), ..c.clone() }
        };
        let rect = |b: &BoxPrompt| {
            let ((x0, y0), (x1, y1)) = (at(b.x0, b.y0), at(b.x1, b.y1));
            BoxPrompt { x0, y0, x1, y1 }
        };
        let scribble = |s: &Scribble| {
            let points = s.points.iter().map(|&[x, y]| <[f32; 2]>::from(at(x, y))).collect();
            Scribble { points, width: length(&s.width), positive: s.positive }
        };
        Self {
            clicks: self.clicks.iter().map(click).collect(),
            boxes: self.boxes.iter().map(rect).collect(),
            scribbles: self.scribbles.iter().map(scribble).collect(),
            mask: self.mask.clone(),
        }
    }
}
