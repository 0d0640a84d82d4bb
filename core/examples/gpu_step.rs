//! Times a training step on a GPU: `gpu_step [PRESET] [BATCH] [ADAPTER]`.
#![allow(clippy::unwrap_used, missing_docs)]

use std::time::Instant;

use pollster::block_on;
use rmae_core::config::{ModelConfig, Preset};
use rmae_core::exec::{Device, Program, Tensors};
use rmae_core::gpu::{AdapterChoice, GpuDevice, adapters};
use rmae_core::graph::{Recompute, Source};
use rmae_core::model::{init_params, training_graph};
use rmae_core::optim::AdamW;
use rmae_core::tensor::{ElementType, HostTensor};

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let preset = args.get(1).and_then(|s| Preset::from_name(s)).unwrap_or(Preset::Ti);
    let batch: usize = args.get(2).and_then(|s| s.parse().ok()).unwrap_or(2);
    let choice = args.get(3).map_or(AdapterChoice::Any, |s| AdapterChoice::Named(s.clone()));
    for report in block_on(adapters()) {
        println!(
            "{} | {} | {} | {} | software {}",
            report.name, report.backend, report.driver, report.kind, report.software
        );
    }
    let gpu = block_on(GpuDevice::new(&choice)).unwrap();
    println!("{}: {:.1} GFLOP/s", gpu.describe(), block_on(gpu.measure_gflops()).unwrap());
    let device = Device::Gpu(gpu);
    let config = ModelConfig::preset(preset);
    let graph = training_graph(&config, batch, Recompute::Nothing).unwrap();
    let mut params = block_on(device.params(&init_params(&config, 1).unwrap())).unwrap();
    let start = Instant::now();
    let mut program = block_on(device.compile(&graph, &["loss"], true)).unwrap();
    println!("compile {:.2} s", start.elapsed().as_secs_f64());
    if let Program::Gpu(p) = &program {
        println!("{} dispatches, {} MiB of buffers", p.dispatches(), p.buffer_bytes() >> 20);
    }
    let results: Vec<_> = graph.gradients().values().copied().collect();
    let cost = graph.cost(&results);
    println!("{:.1} GFLOP a run, {} MiB alive at most", cost.flops as f64 / 1e9, cost.peak_bytes >> 20);
    let mut inputs = Tensors::new();
    for node in graph.nodes() {
        let Source::Input { name } = &node.source else { continue };
        let n = node.len();
        let tensor = match node.element {
            ElementType::Real => {
                HostTensor::f32(&node.shape, (0..n).map(|i| ((i * 37) % 11) as f32 * 0.1).collect())
            }
            ElementType::Index => {
                HostTensor::u32(&node.shape, (0..n).map(|i| (i % node.shape[1]) as u32).collect())
            }
        };
        inputs.insert(name.clone(), tensor.unwrap());
    }
    for step in 1..=4 {
        let start = Instant::now();
        let out = block_on(program.run(&mut params, &inputs)).unwrap();
        let ran = start.elapsed().as_secs_f64();
        let report = block_on(params.step(&AdamW { step, ..AdamW::default() })).unwrap();
        println!(
            "step {step}: run {ran:.3} s, AdamW {:.3} s, loss {}, norm {}",
            start.elapsed().as_secs_f64() - ran,
            out["loss"].scalar(),
            report.grad_norm
        );
    }
}
