//! Times training steps of a preset on the CPU with random inputs: `step ti 64 5`.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use rand::{Rng, SeedableRng};
use rmae_core::config::{ModelConfig, Preset};
use rmae_core::exec::{Device, Precision, Program, Tensors};
use rmae_core::graph::Recompute;
use rmae_core::model::{init_params, restore_ids, shuffle_ids, training_graph};
use rmae_core::optim::AdamW;
use rmae_core::tensor::HostTensor;

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let preset = Preset::from_name(args.get(1).map_or("ti", String::as_str)).expect("a preset");
    let batch: usize = args.get(2).map_or(8, |a| a.parse().expect("a batch size"));
    let steps: u64 = args.get(3).map_or(3, |a| a.parse().expect("a number of steps"));
    let config = ModelConfig::preset(preset);
    let graph = training_graph(&config, batch, Recompute::Nothing).unwrap();
    let ids: Vec<_> = graph.outputs().values().chain(graph.gradients().values()).copied().collect();
    let cost = graph.cost(&ids);
    println!(
        "{} ops, {:.1} GFLOP, {:.0} MB activations",
        cost.ops,
        cost.flops as f64 / 1e9,
        cost.peak_bytes as f64 / 1e6
    );
    let device = Device::cpu(Precision::F32);
    let mut params = pollster::block_on(device.params(&init_params(&config, 0).unwrap())).unwrap();
    let mut program = pollster::block_on(device.compile(&graph, &["loss"], true)).unwrap();
    let inputs = random_inputs(&config, batch);
    if let Program::Cpu(program) = &mut program {
        program.start_profile();
    }
    for step in 1..=steps {
        let start = std::time::Instant::now();
        let out = pollster::block_on(program.run(&mut params, &inputs)).unwrap();
        let ran = start.elapsed();
        pollster::block_on(params.step(&AdamW { step, ..AdamW::default() })).unwrap();
        let total = start.elapsed().as_secs_f64();
        println!(
            "step {step}: loss {:.4}, {total:.3} s (update {:.3}), {:.1} images/s, {:.0} GFLOP/s",
            out["loss"].scalar(),
            total - ran.as_secs_f64(),
            batch as f64 / total,
            cost.flops as f64 / 1e9 / total
        );
    }
    if let Program::Cpu(program) = &mut program {
        let mut profile: Vec<_> = program.take_profile().into_iter().collect();
        profile.sort_by(|a, b| b.1.seconds.total_cmp(&a.1.seconds));
        for (op, time) in profile {
            let (ms, calls) = (1e3 * time.seconds / steps as f64, time.calls as u64 / steps);
            println!("{op:24} {ms:8.1} ms a step, {calls:5} calls");
        }
    }
}

fn random_inputs(config: &ModelConfig, batch: usize) -> Tensors {
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(0);
    let (s, l, k) = (config.img_size, config.num_patches(), config.num_region);
    let image = (0..batch * 3 * s * s).map(|_| rng.random_range(-1.0..1.0)).collect();
    let regions = (0..batch * k * s * s).map(|i| f32::from(u8::from(i / 1000 % 2 == 0))).collect();
    let ids: Vec<u32> = (0..batch).flat_map(|_| shuffle_ids(l, &mut rng)).collect();
    let restore = restore_ids(&ids, l);
    Tensors::from([
        ("image".into(), HostTensor::f32(&[batch, 3, s, s], image).unwrap()),
        ("regions".into(), HostTensor::f32(&[batch, k, s, s], regions).unwrap()),
        ("ids_shuffle".into(), HostTensor::u32(&[batch, l], ids).unwrap()),
        ("ids_restore".into(), HostTensor::u32(&[batch, l], restore).unwrap()),
    ])
}
