//! Tuning on prompts: the training graph, with the regions shown by prompts.

use super::{Frozen, Inputs, pixel, region, weighted_sum};
use crate::config::ModelConfig;
use crate::error::Result;
use crate::graph::{Graph, NodeId};
#[cfg(feature = "training")]
use crate::graph::{Recompute, gradient};

/// What the region encoder sees when each region is shown by prompts of its own.
#[derive(Clone, Copy)]
pub(crate) struct Shown {
    /// `[B·k, 1, S, S]`.
    pub(crate) maps: NodeId,
    /// `[B·k, L]`, of which the first `keep` count; an id may come more than once.
    pub(crate) ids: NodeId,
    pub(crate) keep: usize,
}

/// How a model is tuned on prompts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TuningOptions {
    /// Patches of each region that its encoder is shown.
    pub keep: usize,
    /// Whether the model sees whole images, as it does when it is used; then there is no pixel loss.
    /// Otherwise images are masked as in pre-training.
    pub whole_image: bool,
    /// Weight of the soft Dice loss beside the cross-entropy; 0 leaves it out.
    pub dice_weight: f64,
    /// Weight of the boundary loss; 0 leaves it out. Otherwise there is one more input,
    /// `region_distances [B, k, S, S]`: signed distances to the borders of the true regions, negative inside,
    /// in patches ([`crate::prompt::distance::signed_distances`] over the patch's side).
    pub boundary_weight: f64,
    /// Parts that are not trained.
    pub frozen: Frozen,
}

/// The graph of one tuning step on `batch` images, gradients included: as [`super::training_graph`],
/// but the region encoder sees, of each region, the first `keep` patches of `prompt_ids [B·k, L]`
/// in `prompt_maps [B·k, 1, S, S]`, and the region loss is over all patches, the shown ones included.
///
/// Outputs are `loss`, `region_loss`, `dice_loss` and `boundary_loss` (where they count), `mae_loss` (of
/// masked images, where the model has pixels) and `pred_region_logits [B, k, L, p²]`.
///
/// # Errors
/// [`crate::Error::Config`] for a configuration that cannot be, [`crate::Error::Unsupported`] for
/// one that takes no prompts.
#[cfg(feature = "training")]
pub fn tuning_graph(
    config: &ModelConfig, batch: usize, options: &TuningOptions, recompute: Recompute,
) -> Result<Graph> {
    super::inference::check_prompts(config)?;
    let mut g = Graph::new();
    let (s, l, n) = (config.img_size, config.num_patches(), batch * config.num_region);
    let mut inputs = Inputs::new(&mut g, config, batch);
    let maps = g.input("prompt_maps", &[n, 1, s, s]);
    let ids = g.index_input("prompt_ids", &[n, l]);
    inputs.shown = Some(Shown { maps, ids, keep: options.keep });
    inputs.whole = options.whole_image;
    let mut losses = vec![];
    let latent = match options.whole_image {
        true => pixel::whole_image_encoder(&mut g, config, inputs.image)?,
        false => pixel::encoder(&mut g, config, &inputs)?,
    };
    if config.use_mae_loss && !options.whole_image {
        let loss = pixel::branch(&mut g, config, &inputs, latent)?;
        g.set_output("mae_loss", loss);
        losses.push((loss, config.mae_loss_weight));
    }
    let made = region::predicted(&mut g, config, &inputs, latent)?;
    let loss = region::cross_entropy(&mut g, config, &inputs, &made)?;
    g.set_output("region_loss", loss);
    losses.push((loss, config.region_loss_weight));
    if options.dice_weight > 0.0 {
        let loss = region::dice(&mut g, &made)?;
        g.set_output("dice_loss", loss);
        losses.push((loss, options.dice_weight));
    }
    if options.boundary_weight > 0.0 {
        let distances = g.input("region_distances", &[batch, config.num_region, s, s]);
        let loss = region::boundary(&mut g, config, &inputs, &made, distances)?;
        g.set_output("boundary_loss", loss);
        losses.push((loss, options.boundary_weight));
    }
    let loss = weighted_sum(&mut g, &losses)?;
    g.set_output("loss", loss);
    g.freeze(|name| options.frozen.holds(name));
    gradient(&mut g, loss, recompute)?;
    Ok(g)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use rand::SeedableRng;

    use super::super::{init_params, restore_ids, shuffle_ids, training_graph};
    use super::*;
    use crate::config::RegionDecoder;
    use crate::error::Error;
    use crate::exec::{Device, Precision, Tensors};
    use crate::tensor::HostTensor;

    const PATCHES: usize = 16;

    fn small() -> ModelConfig {
        ModelConfig {
            img_size: 16,
            patch_size: 4,
            embed_dim: 24,
            depth: 1,
            num_heads: 2,
            decoder_embed_dim: 16,
            decoder_depth: 1,
            decoder_num_heads: 2,
            region_enc_dim: 16,
            region_enc_num_heads: 2,
            region_dec_dim: 16,
            region_dec_num_heads: 2,
            region_cross_layer: 1,
            num_region: 3,
            ..ModelConfig::default()
        }
    }

    fn masked(keep: usize) -> TuningOptions {
        TuningOptions {
            keep,
            whole_image: false,
            dice_weight: 0.0,
            boundary_weight: 0.0,
            frozen: Frozen::default(),
        }
    }

    fn inputs() -> Tensors {
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(5);
        let ids = shuffle_ids(PATCHES, &mut rng);
        let image = (0..3 * 256).map(|i| ((i * 37) % 101) as f32 / 50.0 - 1.0).collect();
        let regions = (0..3 * 256).map(|i| f32::from(u8::from((i / 7) % 3 == 0))).collect();
        Tensors::from([
            ("image".into(), HostTensor::f32(&[1, 3, 16, 16], image).unwrap()),
            ("regions".into(), HostTensor::f32(&[1, 3, 16, 16], regions).unwrap()),
            ("ids_restore".into(), HostTensor::u32(&[1, PATCHES], restore_ids(&ids, PATCHES)).unwrap()),
            ("ids_shuffle".into(), HostTensor::u32(&[1, PATCHES], ids).unwrap()),
        ])
    }

    /// The true regions, of which each shows the same patches as in pre-training, `times` over.
    fn shown_as_in_training(config: &ModelConfig, times: usize) -> Tensors {
        let mut inputs = inputs();
        let regions = inputs["regions"].clone().reshaped(&[3, 1, 16, 16]).unwrap();
        let seen = config.visible_region_patches();
        let ids: Vec<u32> = inputs["ids_shuffle"].to_f32().iter().map(|&id| id as u32).collect();
        let mut row: Vec<u32> = ids[..seen].iter().copied().cycle().take(seen * times).collect();
        row.resize(PATCHES, 0);
        inputs.insert("prompt_maps".into(), regions);
        inputs.insert("prompt_ids".into(), HostTensor::u32(&[3, PATCHES], row.repeat(3)).unwrap());
        inputs
    }

    fn logits(graph: &Graph, inputs: &Tensors) -> HostTensor {
        let device = Device::cpu(Precision::F64);
        let mut params = pollster::block_on(device.params(&init_params(&small(), 3).unwrap())).unwrap();
        let name = "pred_region_logits";
        let mut program = pollster::block_on(device.compile(graph, &[name], false)).unwrap();
        pollster::block_on(program.run(&mut params, inputs)).unwrap().remove(name).unwrap()
    }

    #[test]
    fn prompts_that_show_what_pre_training_shows_give_its_logits() {
        let config = small();
        let seen = config.visible_region_patches();
        let want = logits(&training_graph(&config, 1, Recompute::Nothing).unwrap(), &inputs());
        for times in [1, 3] {
            let graph = tuning_graph(&config, 1, &masked(seen * times), Recompute::Nothing).unwrap();
            let have = logits(&graph, &shown_as_in_training(&config, times));
            let error = have.relative_error(&want);
            assert!(error < 1e-12, "{times} times: {error}");
        }
    }

    #[test]
    fn the_region_loss_counts_every_patch() {
        let config = small();
        let seen = config.visible_region_patches();
        let graph = tuning_graph(&config, 1, &masked(seen), Recompute::Nothing).unwrap();
        let inputs = shown_as_in_training(&config, 1);
        let device = Device::cpu(Precision::F64);
        let weights = init_params(&config, 3).unwrap();
        let mut params = pollster::block_on(device.params(&weights)).unwrap();
        let fetch = ["pred_region_logits", "region_loss"];
        let mut program = pollster::block_on(device.compile(&graph, &fetch, false)).unwrap();
        let out = pollster::block_on(program.run(&mut params, &inputs)).unwrap();
        let (logits, truth) = (out["pred_region_logits"].to_f64(), inputs["regions"].to_f64());
        let mut sum = 0.0;
        for (at, &x) in logits.iter().enumerate() {
            // [k, patch, pixel in patch] to [k, row, column].
            let (k, patch, pixel) = (at / 256, at % 256 / 16, at % 16);
            let (row, column) = (patch / 4 * 4 + pixel / 4, patch % 4 * 4 + pixel % 4);
            let target = truth[k * 256 + row * 16 + column];
            sum += x.max(0.0) - x * target + (-x.abs()).exp().ln_1p();
        }
        let want = sum / logits.len() as f64;
        assert!((out["region_loss"].scalar() - want).abs() < 1e-9, "{} {want}", out["region_loss"].scalar());
    }

    #[test]
    fn a_whole_image_gives_what_the_model_in_use_sees_and_dice_counts() {
        let config = small();
        let seen = config.visible_region_patches();
        let options = TuningOptions { whole_image: true, dice_weight: 0.5, ..masked(seen) };
        let graph = tuning_graph(&config, 1, &options, Recompute::Nothing).unwrap();
        let inputs = shown_as_in_training(&config, 1);
        let device = Device::cpu(Precision::F64);
        let mut params = pollster::block_on(device.params(&init_params(&config, 3).unwrap())).unwrap();
        let mut run = |graph: &Graph, fetch: &[&str]| {
            let mut program = pollster::block_on(device.compile(graph, fetch, false)).unwrap();
            pollster::block_on(program.run(&mut params, &inputs)).unwrap()
        };
        let fetch = ["loss", "region_loss", "dice_loss", "pixel_memory", "pred_region_logits"];
        let out = run(&graph, &fetch);
        let used = run(&super::super::image_graph(&config).unwrap(), &["pixel_memory"]);
        assert!(out["pixel_memory"].relative_error(&used["pixel_memory"]) < 1e-12);
        assert!(!graph.outputs().contains_key("mae_loss"));
        let loss = out["region_loss"].scalar() + 0.5 * out["dice_loss"].scalar();
        assert!((out["loss"].scalar() - loss).abs() < 1e-12);
        let (logits, truth) = (out["pred_region_logits"].to_f64(), inputs["regions"].to_f64());
        let dice = |k: usize| {
            let (mut both, mut all) = (0.0, 0.0);
            for at in 0..256 {
                let (patch, pixel) = (at / 16, at % 16);
                let (row, column) = (patch / 4 * 4 + pixel / 4, patch % 4 * 4 + pixel % 4);
                let (p, t) =
                    (1.0 / (1.0 + (-logits[k * 256 + at]).exp()), truth[k * 256 + row * 16 + column]);
                (both, all) = (both + 2.0 * p * t, all + p + t);
            }
            1.0 - (both + 1.0) / (all + 1.0)
        };
        let want = (0..3).map(dice).sum::<f64>() / 3.0;
        assert!((out["dice_loss"].scalar() - want).abs() < 1e-9, "{} {want}", out["dice_loss"].scalar());
    }

    #[test]
    fn the_boundary_loss_weighs_errors_by_their_distance() {
        let config = small();
        let seen = config.visible_region_patches();
        let options = TuningOptions { whole_image: true, boundary_weight: 0.25, ..masked(seen) };
        let graph = tuning_graph(&config, 1, &options, Recompute::Nothing).unwrap();
        let mut inputs = shown_as_in_training(&config, 1);
        let truth = inputs["regions"].to_f64();
        let distances: Vec<f32> = truth
            .chunks(256)
            .flat_map(|map| {
                let inside: Vec<bool> = map.iter().map(|&t| t > 0.5).collect();
                crate::prompt::distance::signed_distances(&inside, 16, 16)
            })
            .collect();
        let tensor = HostTensor::f32(&[1, 3, 16, 16], distances.clone()).unwrap();
        inputs.insert("region_distances".into(), tensor);
        let device = Device::cpu(Precision::F64);
        let mut params = pollster::block_on(device.params(&init_params(&config, 3).unwrap())).unwrap();
        let fetch = ["loss", "region_loss", "boundary_loss", "pred_region_logits"];
        let mut program = pollster::block_on(device.compile(&graph, &fetch, false)).unwrap();
        let out = pollster::block_on(program.run(&mut params, &inputs)).unwrap();
        let loss = out["region_loss"].scalar() + 0.25 * out["boundary_loss"].scalar();
        assert!((out["loss"].scalar() - loss).abs() < 1e-12);
        let logits = out["pred_region_logits"].to_f64();
        let sum: f64 = (0..3 * 256)
            .map(|at| {
                let (patch, pixel) = (at % 256 / 16, at % 16);
                let (row, column) = (patch / 4 * 4 + pixel / 4, patch % 4 * 4 + pixel % 4);
                let place = at / 256 * 256 + row * 16 + column;
                let p = 1.0 / (1.0 + (-logits[at]).exp());
                (p - truth[place]).abs() * f64::from(distances[place]).abs()
            })
            .sum();
        let want = sum / 768.0;
        assert!(want > 0.1, "a test that says something: {want}");
        assert!(
            (out["boundary_loss"].scalar() - want).abs() < 1e-9,
            "{} {want}",
            out["boundary_loss"].scalar()
        );
    }

    #[test]
    fn models_that_take_no_prompt_are_refused() {
        let channel = ModelConfig { region_decoder: RegionDecoder::Channel, ..small() };
        let error = tuning_graph(&channel, 1, &masked(4), Recompute::Nothing).unwrap_err();
        assert!(matches!(error, Error::Unsupported(_)), "{error}");
    }
}
