//! Choosing where to compute.

use std::str::FromStr;
use std::time::Instant;

use rmae_core::Error;
use rmae_core::config::{ModelConfig, Objective, Preset};
use rmae_core::exec::{Device, Precision};
use rmae_core::gpu::{AdapterChoice, GpuDevice};
use rmae_core::model;
use rmae_core::reconstruct::inputs;

use crate::error::Result;

/// What `--device` asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum DeviceRequest {
    /// A hardware GPU where there is one, else the CPU.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// A hardware GPU, or an error.
    Gpu,
    /// The adapter whose name contains this, software adapters included.
    Named(String),
}

impl FromStr for DeviceRequest {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> std::result::Result<Self, Self::Err> {
        Ok(match text.to_ascii_lowercase().as_str() {
            "auto" => Self::Auto,
            "cpu" => Self::Cpu,
            "gpu" => Self::Gpu,
            _ => Self::Named(text.into()),
        })
    }
}

/// The device that a request gets. Software adapters are slower than the CPU executor, so only
/// their name chooses them.
///
/// # Errors
/// A core error when a GPU is demanded and there is none, or it cannot be opened.
pub fn select_device(request: &DeviceRequest, precision: Precision) -> Result<Device> {
    let open = |choice: &AdapterChoice| pollster::block_on(GpuDevice::new(choice)).map(Device::Gpu);
    match request {
        DeviceRequest::Cpu => Ok(Device::cpu(precision)),
        // The GPU has no f64, so whoever asks for that gets the CPU.
        DeviceRequest::Auto if precision == Precision::F64 => Ok(Device::cpu(precision)),
        DeviceRequest::Auto => match open(&AdapterChoice::Hardware) {
            Err(Error::NoAdapter(_)) => Ok(Device::cpu(precision)),
            other => Ok(other?),
        },
        DeviceRequest::Gpu => Ok(open(&AdapterChoice::Hardware)?),
        DeviceRequest::Named(name) => Ok(open(&AdapterChoice::Named(name.clone()))?),
    }
}

/// As [`select_device`], but a plain `gpu` takes a software adapter where there is no hardware: for
/// comparing numbers, a driver that computes on the processor is as good a witness.
///
/// # Errors
/// As [`select_device`].
pub fn select_witness(request: &DeviceRequest, precision: Precision) -> Result<Device> {
    match select_device(request, precision) {
        Err(crate::error::TrainError::Core(Error::NoAdapter(_))) if *request == DeviceRequest::Gpu => {
            Ok(Device::Gpu(pollster::block_on(GpuDevice::new(&AdapterChoice::Any))?))
        }
        other => other,
    }
}

/// Images in the pass that is timed.
const MEASURED_BATCH: usize = 8;

/// Speed in GFLOP/s over a forward pass of the smallest preset, with pixels only.
///
/// # Errors
/// Those of the device.
pub fn measure(device: &Device) -> Result<f64> {
    let model = ModelConfig::preset(Preset::Ti).with_objective(Objective::Mae);
    let graph = model::forward_graph(&model, MEASURED_BATCH)?;
    let flops = graph.cost(&[graph.output("loss")?]).flops as f64;
    let mut params = pollster::block_on(device.params(&model::init_params(&model, 0)?))?;
    let mut program = pollster::block_on(device.compile(&graph, &["loss"], false))?;
    let images = vec![0.5; MEASURED_BATCH * 3 * model.img_size * model.img_size];
    let ids: Vec<u32> = (0..MEASURED_BATCH).flat_map(|_| 0..model.num_patches() as u32).collect();
    let inputs = inputs(&model, images, vec![], &ids)?;
    // The first pass compiles and warms up.
    pollster::block_on(program.run(&mut params, &inputs))?;
    let started = Instant::now();
    pollster::block_on(program.run(&mut params, &inputs))?;
    Ok(flops / started.elapsed().as_secs_f64() / 1e9)
}
