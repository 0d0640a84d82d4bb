//! What a predictor can be asked for.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::refine::{Glance, RefineOptions};
use super::region_map::MapRules;

/// How an image that is no square becomes one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fit {
    /// Stretched: every patch shows something, shapes are distorted as crops are in training.
    #[default]
    Stretch,
    /// Scaled evenly and laid on grey: shapes stay, the rest of the patches is lost.
    Letterbox,
}

/// Settings of a predictor, fixed when it is made.
#[derive(Clone, Debug, PartialEq)]
pub struct PredictorOptions {
    /// Side of the model's image, pixels; a multiple of the patch. None is that of training; with a
    /// larger one the position tables are interpolated, edges are finer, and an encode costs more.
    pub side: Option<usize>,
    /// What happens to the aspect.
    pub fit: Fit,
    /// How prompts become patches.
    pub rules: MapRules,
    /// What looks for things in an image before there are prompts; without it masks are worse. The
    /// default is [`Glance::shipped`].
    pub glance: Option<Arc<Glance>>,
}

impl Default for PredictorOptions {
    fn default() -> Self {
        let (fit, rules) = (Fit::default(), MapRules::default());
        Self { side: None, fit, rules, glance: Glance::shipped() }
    }
}

/// Whether a small object is looked at again, enlarged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CropMode {
    /// Never: a prompt costs no encode.
    #[default]
    Off,
    /// When the first look finds an object that is small in its image.
    Auto,
    /// Always, as far as the object leaves something to cut away.
    On,
}

/// Settings of one request.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PredictOptions {
    /// -1 (a part) through 0 to 1 (the whole thing).
    pub granularity: f32,
    /// How edges are found.
    pub refine: RefineOptions,
    /// Longer side of the mask at most, pixels; none is the image's own.
    pub max_side: Option<usize>,
    /// Whether a small object is looked at again.
    pub crop: CropMode,
}
