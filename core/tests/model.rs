//! Properties of the whole model and of its plans, on small configurations.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

use proptest::prelude::*;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rmae_core::Error;
use rmae_core::config::{ModelConfig, Objective, Preset, RegionDecoder};
use rmae_core::exec::{Device, Precision, Tensors};
use rmae_core::graph::{Graph, MemoryPlan, NodeId, Recompute};
use rmae_core::model::{
    Frozen, check_params, forward_graph, init_params, param_specs, restore_ids, shuffle_ids, training_graph,
    training_graph_but,
};
use rmae_core::tensor::HostTensor;

const BATCH: usize = 2;

fn tiny() -> ModelConfig {
    ModelConfig {
        img_size: 40,
        patch_size: 8,
        embed_dim: 24,
        depth: 2,
        num_heads: 3,
        decoder_embed_dim: 16,
        decoder_depth: 1,
        decoder_num_heads: 2,
        num_region: 5,
        region_enc_dim: 16,
        region_enc_num_heads: 4,
        region_dec_dim: 16,
        region_dec_depth: 2,
        region_dec_num_heads: 4,
        region_cross_layer: 1,
        ..ModelConfig::preset(Preset::B)
    }
}

fn inputs(config: &ModelConfig, batch: usize) -> Tensors {
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let (s, l, k) = (config.img_size, config.num_patches(), config.num_region);
    let image = (0..batch * 3 * s * s).map(|_| rng.random_range(-2.0..2.0)).collect();
    // Regions that differ from one another: discs of different places and sizes.
    let region = |i: usize, r: usize, c: usize| {
        let centre = (7 * i % s) as f32;
        let d = (r as f32 - centre).hypot(c as f32 - s as f32 / 2.0);
        f32::from(u8::from(d < 4.0 + 3.0 * i as f32))
    };
    let regions = (0..batch * k * s * s).map(|e| region(e / (s * s) % k.max(1), e / s % s, e % s)).collect();
    let ids: Vec<u32> = (0..batch).flat_map(|_| shuffle_ids(l, &mut rng)).collect();
    let restore = restore_ids(&ids, l);
    Tensors::from([
        ("image".into(), HostTensor::f32(&[batch, 3, s, s], image).unwrap()),
        ("regions".into(), HostTensor::f32(&[batch, k, s, s], regions).unwrap()),
        ("ids_shuffle".into(), HostTensor::u32(&[batch, l], ids).unwrap()),
        ("ids_restore".into(), HostTensor::u32(&[batch, l], restore).unwrap()),
    ])
}

fn run(graph: &Graph, config: &ModelConfig, inputs: &Tensors, precision: Precision) -> (Tensors, Tensors) {
    let device = Device::cpu(precision);
    let fetch: Vec<&str> = graph.outputs().keys().map(String::as_str).collect();
    let mut params = pollster::block_on(device.params(&init_params(config, 5).unwrap())).unwrap();
    let mut program = pollster::block_on(device.compile(graph, &fetch, true)).unwrap();
    let outputs = pollster::block_on(program.run(&mut params, inputs)).unwrap();
    (outputs, pollster::block_on(params.gradients()).unwrap())
}

/// Regions of every image in another order: `to[i]` comes to place `i`.
fn permuted(tensor: &HostTensor, to: &[usize]) -> HostTensor {
    let (b, k) = (tensor.shape()[0], tensor.shape()[1]);
    let one = tensor.len() / (b * k);
    let values = tensor.to_f32();
    let moved = (0..b)
        .flat_map(|i| to.iter().map(move |&r| (i * k + r) * one))
        .flat_map(|start| values[start..start + one].to_vec())
        .collect();
    HostTensor::f32(tensor.shape(), moved).unwrap()
}

#[test]
fn permuting_regions_permutes_the_logits_to_the_last_bit() {
    let config = tiny();
    let graph = forward_graph(&config, BATCH).unwrap();
    let mut inputs = inputs(&config, BATCH);
    let straight = run(&graph, &config, &inputs, Precision::F32).0;
    for to in [[4, 3, 2, 1, 0], [1, 0, 2, 4, 3], [2, 4, 0, 3, 1]] {
        let original = inputs["regions"].clone();
        inputs.insert("regions".into(), permuted(&original, &to));
        let moved = run(&graph, &config, &inputs, Precision::F32).0;
        inputs.insert("regions".into(), original);
        let want = permuted(&straight["pred_region_logits"], &to);
        assert_ne!(want, straight["pred_region_logits"], "the regions must differ for this to mean anything");
        assert!(moved["pred_region_logits"] == want, "order {to:?}");
    }
}

#[test]
fn the_channel_decoder_is_not_equivariant_but_the_others_are() {
    for (decoder, equivariant) in
        [(RegionDecoder::Batch, true), (RegionDecoder::Length, true), (RegionDecoder::Channel, false)]
    {
        let config = ModelConfig { region_decoder: decoder, ..tiny() };
        let graph = forward_graph(&config, BATCH).unwrap();
        let mut inputs = inputs(&config, BATCH);
        let straight = run(&graph, &config, &inputs, Precision::F64).0;
        let to = [1, 2, 3, 4, 0];
        inputs.insert("regions".into(), permuted(&inputs["regions"], &to));
        let moved = run(&graph, &config, &inputs, Precision::F64).0;
        let want = permuted(&straight["pred_region_logits"], &to);
        let error = moved["pred_region_logits"].relative_error(&want);
        assert_eq!(error < 1e-6, equivariant, "{decoder:?}: {error:e}");
    }
}

#[test]
fn one_region_is_the_same_in_the_batch_and_the_length_decoder() {
    let length = ModelConfig { num_region: 1, ..tiny() };
    let batch = ModelConfig { region_decoder: RegionDecoder::Batch, ..length.clone() };
    let inputs = inputs(&length, BATCH);
    let logits = |config: &ModelConfig| {
        let graph = forward_graph(config, BATCH).unwrap();
        run(&graph, config, &inputs, Precision::F64).0["pred_region_logits"].clone()
    };
    assert!(logits(&batch).relative_error(&logits(&length)) < 1e-12);
}

#[test]
fn recomputation_changes_memory_but_no_number() {
    let config = ModelConfig { depth: 6, embed_dim: 48, ..tiny() };
    let keep = training_graph(&config, 8, Recompute::Nothing).unwrap();
    let again = training_graph(&config, 8, Recompute::Segments).unwrap();
    let inputs = inputs(&config, 8);
    let (a, da) = run(&keep, &config, &inputs, Precision::F32);
    let (b, db) = run(&again, &config, &inputs, Precision::F32);
    assert!(a == b && da == db, "recomputed values must be the same to the last bit");
    let (kept, recomputed) = (cost(&keep), cost(&again));
    assert!(recomputed.peak_bytes * 3 < kept.peak_bytes * 2, "{recomputed:?} against {kept:?}");
    assert!(recomputed.flops > kept.flops && recomputed.flops < kept.flops * 3 / 2);
}

#[test]
fn frozen_parts_have_no_gradients_and_the_others_keep_theirs() {
    let config = tiny();
    let whole = training_graph(&config, BATCH, Recompute::Nothing).unwrap();
    let inputs = inputs(&config, BATCH);
    let (outputs, all) = run(&whole, &config, &inputs, Precision::F32);
    let frozen = Frozen { encoder: true, regions: true, pixels: false };
    let graph = training_graph_but(&config, BATCH, frozen, Recompute::Nothing).unwrap();
    let (same, some) = run(&graph, &config, &inputs, Precision::F32);
    assert_eq!(outputs["loss"], same["loss"]);
    for (name, gradient) in &all {
        let kept = (!frozen.holds(name)).then_some(gradient);
        assert_eq!(some.get(name), kept, "{name}");
    }
    assert!(!some.is_empty() && cost(&graph).flops * 3 < cost(&whole).flops * 2, "frozen parts cost less");
    let everything = Frozen { encoder: true, pixels: true, regions: true };
    assert!(
        training_graph_but(&config, BATCH, everything, Recompute::Nothing).unwrap().gradients().is_empty()
    );
}

fn results(graph: &Graph) -> Vec<NodeId> {
    graph.outputs().values().chain(graph.gradients().values()).copied().collect()
}

fn cost(graph: &Graph) -> rmae_core::graph::Cost {
    graph.cost(&results(graph))
}

#[test]
fn no_two_living_values_share_a_buffer() {
    for recompute in [Recompute::Nothing, Recompute::Segments] {
        let graph = training_graph(&tiny(), BATCH, recompute).unwrap();
        let plan = MemoryPlan::new(&graph, &results(&graph));
        let mut owner: Vec<Option<usize>> = vec![None; plan.slot_len.len()];
        for (index, node) in graph.nodes().iter().enumerate() {
            if !plan.needed[index] || node.op().is_none() || plan.root[index] != index {
                continue;
            }
            let slot = plan.slot[index].unwrap();
            assert!(plan.slot_len[slot] >= node.len());
            if let Some(previous) = owner[slot] {
                assert!(
                    plan.last_use[previous] < index,
                    "%{previous} is still read when %{index} overwrites it"
                );
            }
            owner[slot] = Some(index);
        }
        assert!(plan.total_elements() < graph.nodes().iter().map(rmae_core::graph::Node::len).sum::<usize>());
    }
}

#[test]
fn every_objective_has_a_gradient_for_every_trainable_parameter() {
    for objective in [Objective::Mae, Objective::Rae, Objective::RMae] {
        for region_decoder in [RegionDecoder::Length, RegionDecoder::Batch, RegionDecoder::Channel] {
            let config = ModelConfig { region_decoder, ..tiny() }.with_objective(objective);
            let graph = training_graph(&config, BATCH, Recompute::Nothing).unwrap();
            let specs = param_specs(&config).unwrap();
            for spec in specs.iter().filter(|s| s.trainable) {
                let grad =
                    graph.gradients().get(&spec.name).unwrap_or_else(|| panic!("{} has none", spec.name));
                assert_eq!(graph.shape(*grad), spec.shape, "{}", spec.name);
            }
            assert_eq!(config.objective(), objective);
        }
    }
}

#[test]
fn presets_have_the_parameters_of_the_papers() {
    for (preset, encoder_millions) in
        [(Preset::Ti, 5.5), (Preset::S, 21.6), (Preset::B, 85.8), (Preset::L, 303.3), (Preset::H, 630.8)]
    {
        let specs = param_specs(&ModelConfig::preset(preset)).unwrap();
        let encoder = |name: &str| {
            name.starts_with("blocks.")
                || name.starts_with("norm.")
                || name.starts_with("patch_embed")
                || name.starts_with("cls_token")
                || name.starts_with("pos_embed")
        };
        let count: usize =
            specs.iter().filter(|s| encoder(&s.name)).map(|s| s.shape.iter().product::<usize>()).sum();
        let millions = count as f64 / 1e6;
        assert!((millions - encoder_millions).abs() < 0.1, "{preset:?}: {millions} M");
    }
}

#[test]
fn bad_configurations_are_named() {
    let field_of = |config: ModelConfig| match config.validate() {
        Err(Error::Config { field, problem, .. }) => (field, problem),
        other => panic!("{other:?}"),
    };
    let cases = [
        (ModelConfig { img_size: 225, ..tiny() }, "img_size"),
        (ModelConfig { embed_dim: 25, ..tiny() }, "embed_dim"),
        (ModelConfig { num_heads: 0, ..tiny() }, "num_heads"),
        (ModelConfig { mask_ratio: 1.0, ..tiny() }, "mask_ratio"),
        (ModelConfig { mask_ratio: 0.0, ..tiny() }, "mask_ratio"),
        (ModelConfig { mask_ratio: 0.99, ..tiny() }, "mask_ratio"),
        (ModelConfig { mask_ratio: f64::NAN, ..tiny() }, "mask_ratio"),
        (ModelConfig { region_mask_ratio: -0.1, ..tiny() }, "region_mask_ratio"),
        (ModelConfig { region_dec_depth: 0, ..tiny() }, "region_dec_depth"),
        (ModelConfig { num_region: 0, use_mae_loss: false, ..tiny() }, "num_region"),
        (ModelConfig { bg_loss_weight: f64::INFINITY, ..tiny() }, "bg_loss_weight"),
        (ModelConfig { patch_size: 0, ..tiny() }, "img_size"),
        (ModelConfig { depth: 0, ..tiny() }, "depth"),
    ];
    for (config, field) in cases {
        assert_eq!(field_of(config).0, field);
    }
    let (_, problem) = field_of(ModelConfig { img_size: 225, patch_size: 16, ..tiny() });
    assert!(problem.contains("224 or 240"), "{problem}");
}

#[test]
fn parameters_of_another_shape_or_name_are_named() {
    let config = tiny();
    let good = init_params(&config, 0).unwrap();
    check_params(&config, &good).unwrap();
    let mut missing = good.clone();
    missing.remove("norm.weight");
    let mut extra = good.clone();
    extra.insert("head.weight".into(), HostTensor::zeros(&[2]));
    let mut wrong = good;
    wrong.insert("cls_token".into(), HostTensor::zeros(&[1, 1, 8]));
    for (params, name) in [(missing, "norm.weight"), (extra, "head.weight"), (wrong, "cls_token")] {
        let message = check_params(&config, &params).unwrap_err().to_string();
        assert!(message.contains(name), "{message}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Any configuration that passes the check builds, and its outputs have the promised shapes.
    #[test]
    fn valid_configurations_build(
        grid in 2usize..6, patch in 1usize..5, heads in 1usize..4, quarter in 1usize..4,
        k in 0usize..4, batch in 1usize..4, ratio in 0.1f64..0.9, dec_depth in 1usize..3,
    ) {
        let dim = 4 * quarter * heads;
        let config = ModelConfig {
            img_size: grid * patch, patch_size: patch, embed_dim: dim, num_heads: heads, depth: 1,
            decoder_embed_dim: dim, decoder_num_heads: heads, decoder_depth: 1,
            region_enc_dim: dim, region_enc_num_heads: heads, region_dec_dim: dim, region_dec_num_heads: heads,
            region_dec_depth: dec_depth, region_cross_layer: 1, num_region: k,
            mask_ratio: ratio, region_mask_ratio: ratio, ..ModelConfig::preset(Preset::B)
        };
        prop_assume!(config.validate().is_ok());
        let l = config.num_patches();
        let graph = training_graph(&config, batch, Recompute::Nothing).unwrap();
        let shape = |name: &str| graph.shape(graph.output(name).unwrap()).to_vec();
        prop_assert_eq!(shape("latent"), vec![batch, 1 + config.visible_patches(), dim]);
        prop_assert_eq!(shape("pred"), vec![batch, l, 3 * patch * patch]);
        if k > 0 {
            prop_assert_eq!(shape("pred_region_logits"), vec![batch, k, l, patch * patch]);
        }
    }
}
