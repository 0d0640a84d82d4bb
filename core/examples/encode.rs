//! Times the encoder on one photo, whole, on one device: `encode [PRESET] [cpu|ADAPTER] [RUNS]`.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::time::Instant;

use pollster::block_on;
use rmae_core::config::{ModelConfig, Preset};
use rmae_core::exec::{Device, Precision, Program, Tensors};
use rmae_core::gpu::{AdapterChoice, GpuDevice};
use rmae_core::model::{image_graph, init_params};
use rmae_core::tensor::HostTensor;

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let preset = args.get(1).map_or(Preset::Ti, |s| Preset::from_name(s).expect("a preset"));
    let device = match args.get(2).map_or("cpu", String::as_str) {
        "cpu" => Device::cpu(Precision::F32),
        name => Device::Gpu(block_on(GpuDevice::new(&AdapterChoice::Named(name.into()))).unwrap()),
    };
    let runs: usize = args.get(3).map_or(5, |a| a.parse().expect("a number of runs"));
    let config = ModelConfig::preset(preset);
    let graph = image_graph(&config).unwrap();
    let results = [graph.output("latent").unwrap()];
    let gflop = graph.cost(&results).flops as f64 / 1e9;
    println!("{}: {gflop:.2} GFLOP", device.describe());
    let mut params = block_on(device.params(&init_params(&config, 0).unwrap())).unwrap();
    let start = Instant::now();
    let mut program = block_on(device.compile(&graph, &["latent"], false)).unwrap();
    let side = config.img_size;
    let image = (0..3 * side * side).map(|i| (i * 7919 % 1013) as f32 / 506.0 - 1.0).collect();
    let inputs = Tensors::from([("image".into(), HostTensor::f32(&[1, 3, side, side], image).unwrap())]);
    block_on(program.run(&mut params, &inputs)).unwrap();
    println!("compiled and run once in {:.2} s", start.elapsed().as_secs_f64());
    if let Program::Cpu(program) = &mut program {
        program.start_profile();
    }
    for run in 1..=runs {
        let start = Instant::now();
        block_on(program.run(&mut params, &inputs)).unwrap();
        let seconds = start.elapsed().as_secs_f64();
        println!("run {run}: {:.1} ms, {:.1} GFLOP/s", 1e3 * seconds, gflop / seconds);
    }
    if let Program::Cpu(program) = &mut program {
        for (op, time) in program.take_profile() {
            let (ms, calls) = (1e3 * time.seconds / runs as f64, time.calls / runs);
            println!("{op:16} {ms:8.2} ms a run, {calls:3} calls");
        }
    }
}
