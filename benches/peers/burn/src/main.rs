//! What Burn's wgpu backend needs for the work that R-MAE's compute shaders do, on the same adapter.
//!
//! - `burn-peer matmul N`: a product of two N × N matrices of f32, for the GFLOP/s of a kernel.
//! - `burn-peer train BATCH`: a training step (forward, backward, AdamW over every parameter) of a
//!   transformer with R-MAE Ti's tokens, widths, depths and heads at 224 pixels with 8 regions: `model.rs`.
//!
//! Both wait for lines with a number, run that often, and print a line of JSON with the `seconds` of each
//! run, which ends when the device is done. Burn compiles and tunes its kernels in the first runs.
//! `CUBECL_WGPU_DEFAULT_DEVICE=Cpu` picks a software adapter where there is a GPU besides.

mod model;

use std::error::Error;
use std::io::{BufRead, stdin};
use std::time::Instant;

use burn::optim::{AdamWConfig, GradientsParams};
use burn::prelude::*;
use burn::tensor::Distribution;
use burn::tensor::wgpu::WgpuBackend;
use serde_json::json;

use model::{Inputs, Model};

const USAGE: &str = "usage: burn-peer matmul N | burn-peer train BATCH";

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// The GPU's device; says what it is.
fn device() -> Result<Device> {
    let (device, setup) = Device::wgpu_options().graphics_api(WgpuBackend::Vulkan).init_with_setup()?;
    eprintln!("burn on {}", setup.adapter.get_info().name);
    Ok(device)
}

/// For every line with a number, that many runs, each until the device is done.
fn take_turns(device: &Device, mut run: impl FnMut() -> Result<()>) -> Result<()> {
    for line in stdin().lock().lines() {
        let runs: usize = line?.trim().parse()?;
        let mut seconds = Vec::new();
        for _ in 0..runs {
            let start = Instant::now();
            run()?;
            device.sync()?;
            seconds.push(start.elapsed().as_secs_f64());
        }
        println!("{}", json!({ "seconds": seconds }));
    }
    Ok(())
}

/// Products of two square matrices.
fn matmul(n: usize) -> Result<()> {
    let device = device()?;
    let matrix = || Tensor::<2>::random([n, n], Distribution::Uniform(-1.0, 1.0), &device);
    let (a, b) = (matrix(), matrix());
    take_turns(&device, || {
        a.clone().matmul(b.clone());
        Ok(())
    })
}

/// Training steps on one random batch.
fn train(batch: usize) -> Result<()> {
    let device = device()?.autodiff();
    let inputs = Inputs::random(batch, &device);
    let mut model = Model::new(&device);
    eprintln!(
        "{} parameters, {} GFLOP a step",
        model.num_params(),
        3 * model::forward_flops(batch) / 1_000_000_000
    );
    let config = AdamWConfig::new().with_beta_2(0.95).with_epsilon(1e-8).with_weight_decay(0.05);
    let mut optimizer = config.init();
    take_turns(&device, || {
        let loss = model.loss(&inputs);
        let grads = GradientsParams::from_grads(loss.backward(), &model);
        model = optimizer.step(1.5e-4, model.clone(), grads);
        let loss: f32 = loss.try_into_scalar()?;
        if loss.is_finite() { Ok(()) } else { Err("the loss is not finite".into()) }
    })
}

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [name, size] = args.as_slice() else { return Err(USAGE.into()) };
    let size = size.parse()?;
    match name.as_str() {
        "matmul" => matmul(size),
        "train" => train(size),
        _ => Err(USAGE.into()),
    }
}
