//! The model: reads like the papers, and builds graphs.

mod attention_map;
mod decoders;
mod frozen;
mod inference;
mod init;
mod layers;
mod masking;
mod pixel;
mod positions;
mod region;
mod tuning;

pub use attention_map::{attention_probabilities, attention_row};
pub use frozen::Frozen;
pub use inference::{decoder_graph, image_graph, query_graph};
pub use init::{ParamSpec, check_graph_params, check_params, init_params, param_specs};
pub use masking::{restore_ids, shuffle_ids};
pub use positions::{position_table, tables_at};
pub use tuning::TuningOptions;
#[cfg(feature = "training")]
pub use tuning::tuning_graph;

use crate::config::ModelConfig;
use crate::error::Result;
use crate::graph::{Graph, NodeId};
#[cfg(feature = "training")]
use crate::graph::{Recompute, gradient};
use crate::ops::elementwise::{Add, Fill, Scale};
use tuning::Shown;

/// The graph of one training step on `batch` images, gradients included.
///
/// Inputs: `image [B,3,S,S]` normalised, `regions [B,k,S,S]` of 0 and 1 (where `k > 0`),
/// `ids_shuffle [B,L]` and its inverse `ids_restore [B,L]` ([`restore_ids`]). Outputs: those of
/// [`forward_graph`].
///
/// # Errors
/// [`crate::Error::Config`] for a configuration that cannot be.
#[cfg(feature = "training")]
pub fn training_graph(config: &ModelConfig, batch: usize, recompute: Recompute) -> Result<Graph> {
    training_graph_but(config, batch, Frozen::default(), recompute)
}

/// The same, but for parts that are not trained: they have no gradients.
///
/// # Errors
/// As [`training_graph`].
#[cfg(feature = "training")]
pub fn training_graph_but(
    config: &ModelConfig, batch: usize, frozen: Frozen, recompute: Recompute,
) -> Result<Graph> {
    let mut graph = forward_graph(config, batch)?;
    graph.freeze(|name| frozen.holds(name));
    let loss = graph.output("loss")?;
    gradient(&mut graph, loss, recompute)?;
    Ok(graph)
}

/// The forward graph on `batch` images; inputs as [`training_graph`].
///
/// Outputs: `latent [B,1+visible,D]`, `mask [B,L]` is the caller's (`ids_restore ≥ visible`);
/// with pixels `pred [B,L,3p²]`, `mae_loss [1]`; with regions `pixel_memory [B,L+1,D_r]`,
/// `pred_region_logits [B,k,L,p²]`, `region_loss [1]`; always `loss [1]`.
///
/// # Errors
/// [`crate::Error::Config`] for a configuration that cannot be.
pub fn forward_graph(config: &ModelConfig, batch: usize) -> Result<Graph> {
    config.validate()?;
    let mut g = Graph::new();
    let inputs = Inputs::new(&mut g, config, batch);
    let latent = pixel::encoder(&mut g, config, &inputs)?;
    g.set_output("latent", latent);
    let mut losses = vec![];
    if config.use_mae_loss {
        let loss = pixel::branch(&mut g, config, &inputs, latent)?;
        g.set_output("mae_loss", loss);
        losses.push((loss, config.mae_loss_weight));
    }
    if config.num_region > 0 {
        let loss = region::branch(&mut g, config, &inputs, latent)?;
        g.set_output("region_loss", loss);
        losses.push((loss, config.region_loss_weight));
    }
    let loss = weighted_sum(&mut g, &losses)?;
    g.set_output("loss", loss);
    Ok(g)
}

/// Attention probabilities are not part of a training graph; this one shows them: the whole image
/// `image [1,3,S,S]`, nothing masked, and as output `qkv [1, L+1, 3D]` of the block `layer`.
///
/// # Errors
/// [`crate::Error::Config`] for a layer that the model does not have.
pub fn attention_graph(config: &ModelConfig, layer: usize) -> Result<Graph> {
    config.validate()?;
    if layer >= config.depth {
        let problem = format!("the encoder has {} blocks, counted from 0", config.depth);
        return Err(crate::Error::Config { field: "layer", value: layer.to_string(), problem });
    }
    let mut g = Graph::new();
    let qkv = pixel::whole_image_qkv(&mut g, config, layer)?;
    g.set_output("qkv", qkv);
    Ok(g)
}

/// The inputs of a training step.
pub(crate) struct Inputs {
    pub(crate) batch: usize,
    pub(crate) image: NodeId,
    pub(crate) regions: Option<NodeId>,
    pub(crate) ids_shuffle: NodeId,
    pub(crate) ids_restore: NodeId,
    /// When tuning on prompts: what they show.
    pub(crate) shown: Option<Shown>,
    /// When tuning on prompts: whether no patch of the image is removed.
    pub(crate) whole: bool,
}

impl Inputs {
    fn new(g: &mut Graph, config: &ModelConfig, batch: usize) -> Self {
        let (s, l, k) = (config.img_size, config.num_patches(), config.num_region);
        Self {
            batch,
            image: g.input("image", &[batch, 3, s, s]),
            regions: (k > 0).then(|| g.input("regions", &[batch, k, s, s])),
            ids_shuffle: g.index_input("ids_shuffle", &[batch, l]),
            ids_restore: g.index_input("ids_restore", &[batch, l]),
            shown: None,
            whole: false,
        }
    }
}

fn weighted_sum(g: &mut Graph, losses: &[(NodeId, f64)]) -> Result<NodeId> {
    let mut total = None;
    for &(loss, weight) in losses {
        let term = if weight == 1.0 { loss } else { g.apply(Scale { factor: weight }, &[loss])? };
        total = Some(match total {
            None => term,
            Some(sum) => g.apply(Add::same(), &[sum, term])?,
        });
    }
    match total {
        Some(total) => Ok(total),
        None => g.apply(Fill { shape: vec![1], value: 0.0 }, &[]),
    }
}
