//! Training with f16 activations next to training in f32.
#![cfg(feature = "gpu")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod adapter;

use adapter::{gpu, mixed};
use pollster::block_on;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rmae_core::config::{ModelConfig, Preset};
use rmae_core::exec::{Device, Params, Program, Tensors};
use rmae_core::graph::Recompute;
use rmae_core::model::{init_params, shuffle_ids, training_graph};
use rmae_core::optim::{AdamW, LossScale, Schedule};
use rmae_core::reconstruct::inputs;

const BATCH: usize = 6;

fn model() -> ModelConfig {
    ModelConfig {
        img_size: 40,
        patch_size: 8,
        embed_dim: 48,
        depth: 1,
        num_heads: 3,
        decoder_embed_dim: 32,
        decoder_depth: 1,
        decoder_num_heads: 2,
        num_region: 3,
        region_enc_dim: 32,
        region_enc_num_heads: 4,
        region_dec_dim: 32,
        region_dec_depth: 1,
        region_dec_num_heads: 4,
        region_cross_layer: 1,
        ..ModelConfig::preset(Preset::Ti)
    }
}

/// Discs on ramps; the discs are the regions.
fn drawn(model: &ModelConfig, rng: &mut ChaCha8Rng) -> Tensors {
    let (side, k) = (model.img_size, model.num_region);
    let (mut images, mut regions, mut ids) = (vec![], vec![], vec![]);
    for _ in 0..BATCH {
        let slope: [f32; 3] = std::array::from_fn(|_| rng.random_range(-1.0..1.0));
        let discs: Vec<[f32; 6]> =
            (0..k).map(|_| std::array::from_fn(|_| rng.random_range(0.0..1.0))).collect();
        let inside = |disc: &[f32; 6], at: usize| {
            let place = |share: f32| share * side as f32;
            let (x, y) = ((at % side) as f32, (at / side) as f32);
            (x - place(disc[0])).hypot(y - place(disc[1])) < 4.0 + 8.0 * disc[2]
        };
        for c in 0..3 {
            images.extend((0..side * side).map(|at| {
                let over = discs.iter().rev().find(|disc| inside(disc, at));
                over.map_or(slope[c] * (at % side) as f32 / side as f32, |disc| 3.0 * disc[3 + c] - 1.5)
            }));
        }
        for disc in &discs {
            regions.extend((0..side * side).map(|at| f32::from(u8::from(inside(disc, at)))));
        }
        ids.extend(shuffle_ids(model.num_patches(), rng));
    }
    inputs(model, images, regions, &ids).unwrap()
}

struct Run {
    params: Params,
    program: Program,
    model: ModelConfig,
}

impl Run {
    fn new(device: &Device) -> Self {
        let model = model();
        let graph = training_graph(&model, BATCH, Recompute::Nothing).unwrap();
        let params = block_on(device.params(&init_params(&model, 1).unwrap())).unwrap();
        let program = block_on(device.compile(&graph, &["loss"], true)).unwrap();
        if let Program::Gpu(gpu) = &program {
            gpu.poison();
        }
        Self { params, program, model }
    }

    /// The losses of so many steps, each on other pictures.
    fn train(&mut self, steps: u64) -> Vec<f64> {
        let mut rng = ChaCha8Rng::seed_from_u64(7);
        let schedule = Schedule { peak_lr: 1e-3, min_lr: 0.0, warmup_steps: steps / 10, total_steps: steps };
        let mut losses = vec![];
        for step in 0..steps {
            let batch = drawn(&self.model, &mut rng);
            losses.push(block_on(self.program.run(&mut self.params, &batch)).unwrap()["loss"].scalar());
            let adamw = AdamW { lr: schedule.lr(step), step: step + 1, ..AdamW::default() };
            assert!(block_on(self.params.step(&adamw)).unwrap().applied, "step {step}");
        }
        losses
    }
}

#[test]
fn losses_stay_within_a_hundredth_of_f32_over_500_steps() {
    let Some(device) = gpu() else { return };
    let Some(mixed) = mixed(&device) else { return };
    let want = Run::new(&device).train(500);
    let have = Run::new(&mixed).train(500);
    let worst = want.iter().zip(&have).map(|(w, h)| (w - h).abs() / w).fold(0.0, f64::max);
    println!("loss {:.4} to {:.4}, off by at most {worst:.1e}", want[0], want[499]);
    assert!(want[499] < 0.7 * want[0], "nothing was learnt: {} to {}", want[0], want[499]);
    assert!(have != want, "f16 was not used");
    assert!(worst < 0.01, "{worst}");
}

#[test]
fn a_step_that_overflows_is_skipped_and_the_scale_halved() {
    let Some(device) = gpu() else { return };
    let Some(mixed) = mixed(&device) else { return };
    let mut run = Run::new(&mixed);
    assert_eq!(run.params.loss_scale(), Some(LossScale::default()));
    let before = block_on(run.params.weights()).unwrap();
    let batch = drawn(&run.model, &mut ChaCha8Rng::seed_from_u64(7));
    let step = |run: &mut Run| {
        block_on(run.program.run(&mut run.params, &batch)).unwrap();
        block_on(run.params.step(&AdamW::default())).unwrap()
    };
    let good = step(&mut run);
    assert!(good.applied);
    let huge = LossScale { factor: 2f64.powi(40), ..LossScale::default() };
    run.params.set_loss_scale(huge);
    let weights = block_on(run.params.weights()).unwrap();
    assert!(weights != before);
    for skipped in 1..=2 {
        assert!(!step(&mut run).applied);
        let scale = run.params.loss_scale().unwrap();
        assert_eq!((scale.factor, scale.skipped), (2f64.powi(40 - skipped as i32), skipped));
        assert_eq!(block_on(run.params.weights()).unwrap(), weights);
    }
    run.params.set_loss_scale(LossScale::default());
    assert!(step(&mut run).applied);
}

/// What the scale does is undone: gradients and their norm do not show it.
#[test]
fn gradients_do_not_depend_on_the_scale() {
    let Some(device) = gpu() else { return };
    let Some(mixed) = mixed(&device) else { return };
    let gradients = |factor: f64| {
        let mut run = Run::new(&mixed);
        run.params.set_loss_scale(LossScale { factor, ..LossScale::default() });
        let batch = drawn(&run.model, &mut ChaCha8Rng::seed_from_u64(7));
        block_on(run.program.run(&mut run.params, &batch)).unwrap();
        let gradients = block_on(run.params.gradients()).unwrap();
        (gradients, block_on(run.params.step(&AdamW::default())).unwrap().grad_norm)
    };
    let ((small, small_norm), (large, large_norm)) = (gradients(4096.0), gradients(65_536.0));
    assert!((small_norm - large_norm).abs() < 1e-3 * large_norm, "{small_norm} {large_norm}");
    for (name, want) in &large {
        let error = small[name].relative_error(want);
        assert!(error < 2e-2, "{name}: {error:e}");
    }
}

#[test]
fn activations_take_about_half_the_memory() {
    let Some(device) = gpu() else { return };
    let Some(mixed) = mixed(&device) else { return };
    let bytes = |device: &Device| match &Run::new(device).program {
        Program::Gpu(program) => program.buffer_bytes() as f64,
        Program::Cpu(_) => panic!("not a GPU program"),
    };
    let share = bytes(&mixed) / bytes(&device);
    assert!(share < 0.75, "{share}");
}
