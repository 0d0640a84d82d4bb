//! Tuning on prompts: the training graph, with the regions shown by prompts.

use super::{Inputs, pixel, region, weighted_sum};
use crate::config::ModelConfig;
use crate::error::Result;
use crate::graph::{Graph, NodeId, Recompute, gradient};

/// What the region encoder sees when each region is shown by prompts of its own.
#[derive(Clone, Copy)]
pub(crate) struct Shown {
    /// `[B·k, 1, S, S]`.
    pub(crate) maps: NodeId,
    /// `[B·k, L]`, of which the first `keep` count; an id may come more than once.
    pub(crate) ids: NodeId,
    pub(crate) keep: usize,
}

/// The graph of one tuning step on `batch` images, gradients included: as [`super::training_graph`],
/// but the region encoder sees, of each region, the first `keep` patches of `prompt_ids [B·k, L]`
/// in `prompt_maps [B·k, 1, S, S]`, and the region loss is over all patches, the shown ones included.
///
/// # Errors
/// [`crate::Error::Config`] for a configuration that cannot be, [`crate::Error::Unsupported`] for
/// one that takes no prompts.
pub fn tuning_graph(config: &ModelConfig, batch: usize, keep: usize, recompute: Recompute) -> Result<Graph> {
    super::inference::check_prompts(config)?;
    let mut g = Graph::new();
    let (s, l, n) = (config.img_size, config.num_patches(), batch * config.num_region);
    let mut inputs = Inputs::new(&mut g, config, batch);
    let maps = g.input("prompt_maps", &[n, 1, s, s]);
    let ids = g.index_input("prompt_ids", &[n, l]);
    inputs.shown = Some(Shown { maps, ids, keep });
    let latent = pixel::encoder(&mut g, config, &inputs)?;
    let mut losses = vec![];
    if config.use_mae_loss {
        let loss = pixel::branch(&mut g, config, &inputs, latent)?;
        g.set_output("mae_loss", loss);
        losses.push((loss, config.mae_loss_weight));
    }
    let loss = region::branch(&mut g, config, &inputs, latent)?;
    g.set_output("region_loss", loss);
    losses.push((loss, config.region_loss_weight));
    let loss = weighted_sum(&mut g, &losses)?;
    g.set_output("loss", loss);
    gradient(&mut g, loss, recompute)?;
    Ok(g)
}
