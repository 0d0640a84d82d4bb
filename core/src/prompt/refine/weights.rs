//! The numbers of the energies that the cuts minimise.

use serde::{Deserialize, Serialize};

/// Weights of the energies; the defaults were found by measuring, see docs/refinement.md.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RefineWeights {
    /// Of the model's logits.
    pub logit: f32,
    /// Of the model's logits where there is a box.
    pub boxed_logit: f32,
    /// Of an earlier mask.
    pub mask: f32,
    /// How much less the prior counts when the logits are to be trusted.
    pub doubt: f32,
    /// Of the trained prior.
    pub prior: f32,
    /// Of the colours.
    pub colour: f32,
    /// Of the border's length.
    pub smooth: f32,
    /// Difference of colours (in L\*a\*b\*) at which a border becomes cheap.
    pub difference: f32,
    /// How many times as much area is to be expected at a granularity of 1 as at 0.
    pub granularity: f32,
    /// Of hanging together with a positive prompt along the shortest way.
    pub star: f32,
    /// Highest mean cost of a way to a side of the box.
    pub tight: f32,
    /// Added to the log odds of such a way.
    pub tight_odds: f32,
    /// Further cuts for it.
    pub tight_rounds: usize,
    /// Further looks into a box.
    pub again: usize,
    /// Cuts, each with the colours of the one before.
    pub rounds: usize,
    /// How far the band of pixels reaches from a border of superpixels beyond the side of a reduced
    /// pixel, in pixels.
    pub edge_reach: usize,
    /// In the band: of colours nearby.
    pub edge_local: f32,
    /// In the band: of the object's colours.
    pub edge_global: f32,
    /// In the band: of the superpixels' labels.
    pub edge_stay: f32,
    /// In the band: of the border's length.
    pub edge_smooth: f32,
}

impl Default for RefineWeights {
    fn default() -> Self {
        Self {
            logit: 0.2,
            boxed_logit: 0.0,
            mask: 4.0,
            doubt: 0.0,
            prior: 1.5,
            colour: 2.0,
            smooth: 2.0,
            difference: 6.0,
            granularity: 8.0,
            star: 1.0,
            tight: 3.0,
            tight_odds: 8.0,
            tight_rounds: 2,
            again: 1,
            rounds: 3,
            edge_reach: 1,
            edge_local: 0.5,
            edge_global: 0.2,
            edge_stay: 0.3,
            edge_smooth: 3.0,
        }
    }
}
