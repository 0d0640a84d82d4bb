//! How likely a superpixel is inside, from what prompts and colours say of it: a trained
//! network (`refine/network.rs`).

use std::sync::LazyLock;

use super::RefineCache;
pub use super::evidence::{FEATURES, LOGIT_FEATURES};
pub use super::learn::Lesson;
use super::network::View;
pub use super::network::{CHANNELS, Network, PLAN, Row, Step};
use super::solve::Seeds;
use crate::cpu::awake::during;

/// What `examples/refine_prior.rs` wrote.
static BYTES: &[u8] = include_bytes!("prior.bin");

static TRAINED: LazyLock<Option<Network>> = LazyLock::new(|| Network::read(BYTES, FEATURES));

/// Log odds of every superpixel.
pub(super) fn odds(cache: &RefineCache, seeds: &Seeds, features: &[[f32; FEATURES]]) -> Vec<f32> {
    let marked = [&seeds.positive[..], &seeds.negative[..]];
    let view = View::new(&cache.levels, features, marked);
    let run = |network| during(|| view.run(network, |_| {}));
    TRAINED.as_ref().map_or_else(|| vec![0.0; features.len()], run)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_trained_weights_can_be_read() {
        assert!(TRAINED.is_some());
    }
}
