//! The engine check: one small model, random weights, one drawn picture, every executor.

use rmae_core::config::ModelConfig;
use rmae_core::exec::{Device, Precision, Tensors};
use rmae_core::graph::Graph;
use rmae_core::model::{forward_graph, init_params, restore_ids, shuffle_ids};
use rmae_core::tensor::HostTensor;
use rmae_core::{Error, Result};
use serde::Serialize;
use web_time::Instant;

use crate::picture::Picture;

/// The largest relative error `‖a−b‖/‖b‖` at which two engines agree.
pub const TOLERANCE: f64 = 1e-3;

/// What is compared: the encoder, both decoders, and the loss.
pub const OUTPUTS: [&str; 4] = ["latent", "pred", "pred_region_logits", "loss"];

/// Seed of the weights and of the mask: the check is the same everywhere.
const SEED: u64 = 2024;

/// How the model ran on one engine.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// What ran it, e.g. the adapter's name.
    pub adapter: String,
    /// Milliseconds of the first run, the compilation of kernels included.
    pub first_ms: f64,
    /// Milliseconds of a run after that.
    pub again_ms: f64,
    /// Worst difference from the CPU's results in [`OUTPUTS`], `‖a−b‖/‖b‖`; none on the CPU itself.
    pub relative_error: Option<f64>,
    /// Whether the results are finite and within [`TOLERANCE`].
    pub agrees: bool,
}

/// A model and a picture, ready to be run by one engine after the other.
#[derive(Debug)]
pub struct EngineCheck {
    picture: Picture,
    graph: Graph,
    weights: Tensors,
    inputs: Tensors,
    reference: Option<Tensors>,
}

impl EngineCheck {
    /// Prepares the check on a drawn picture of `side` x `side` pixels.
    ///
    /// # Errors
    /// [`Error::Config`] when the side is no multiple of the patch side, 16, or too small to mask.
    pub fn new(side: usize) -> Result<Self> {
        let config = small_model(side);
        let picture = Picture::draw(side);
        let (graph, weights) = (forward_graph(&config, 1)?, init_params(&config, SEED)?);
        let inputs = inputs(&config, &picture)?;
        Ok(Self { picture, graph, weights, inputs, reference: None })
    }

    /// The picture.
    #[must_use]
    pub fn picture(&self) -> &Picture {
        &self.picture
    }

    /// Runs the model on the engine named `cpu` or `webgpu`, and compares with the CPU's results.
    ///
    /// # Errors
    /// [`Error::UnknownName`] for another engine, [`Error::NoAdapter`] where there is no WebGPU, and
    /// whatever the engine fails with.
    pub async fn run(&mut self, engine: &str) -> Result<Report> {
        let device = open(engine).await?;
        let (results, report) = self.run_on(&device).await?;
        let finite = results.values().all(|result| result.to_f64().iter().all(|x| x.is_finite()));
        if engine == "cpu" {
            self.reference = Some(results);
            return Ok(Report { agrees: finite, ..report });
        }
        let relative_error = worst_error(&results, self.reference().await?);
        Ok(Report {
            agrees: finite && relative_error <= TOLERANCE,
            relative_error: Some(relative_error),
            ..report
        })
    }

    /// Two runs on a device: the results of the second, and how long each took.
    async fn run_on(&self, device: &Device) -> Result<(Tensors, Report)> {
        let start = Instant::now();
        let mut params = device.params(&self.weights).await?;
        let mut program = device.compile(&self.graph, &OUTPUTS, false).await?;
        program.run(&mut params, &self.inputs).await?;
        let first_ms = milliseconds_since(start);
        let start = Instant::now();
        let results = program.run(&mut params, &self.inputs).await?;
        let again_ms = milliseconds_since(start);
        let adapter = named(&device.describe());
        Ok((results, Report { adapter, first_ms, again_ms, relative_error: None, agrees: false }))
    }

    /// The CPU's results, computed when they are first asked for.
    async fn reference(&mut self) -> Result<&Tensors> {
        let results = match self.reference.take() {
            Some(results) => results,
            None => self.run_on(&Device::cpu(Precision::F32)).await?.0,
        };
        Ok(self.reference.insert(results))
    }
}

/// All parts of R-MAE, as few and as narrow as they can be: the check is of the engine, not of a model.
fn small_model(side: usize) -> ModelConfig {
    ModelConfig {
        img_size: side,
        patch_size: 16,
        embed_dim: 96,
        depth: 3,
        num_heads: 3,
        decoder_embed_dim: 64,
        decoder_depth: 2,
        decoder_num_heads: 4,
        num_region: 2,
        region_enc_dim: 32,
        region_enc_num_heads: 4,
        region_dec_dim: 32,
        region_dec_num_heads: 4,
        region_cross_layer: 1,
        ..ModelConfig::default()
    }
}

/// One step's inputs: the picture, its two shapes as regions, and a mask.
fn inputs(config: &ModelConfig, picture: &Picture) -> Result<Tensors> {
    use rand::SeedableRng;
    let (side, patches) = (config.img_size, config.num_patches());
    let shuffle = shuffle_ids(patches, &mut rand_chacha::ChaCha8Rng::seed_from_u64(SEED));
    let restore = restore_ids(&shuffle, patches);
    Ok(Tensors::from([
        ("image".into(), HostTensor::f32(&[1, 3, side, side], picture.normalised())?),
        ("regions".into(), HostTensor::f32(&[1, 2, side, side], picture.regions())?),
        ("ids_shuffle".into(), HostTensor::u32(&[1, patches], shuffle)?),
        ("ids_restore".into(), HostTensor::u32(&[1, patches], restore)?),
    ]))
}

async fn open(engine: &str) -> Result<Device> {
    match engine {
        "cpu" => Ok(Device::cpu(Precision::F32)),
        "webgpu" => open_gpu().await,
        other => Err(Error::UnknownName { kind: "engine", name: other.into(), known: "cpu, webgpu".into() }),
    }
}

/// Whatever adapter the browser offers: whether it is software is for the person to see.
async fn open_gpu() -> Result<Device> {
    use rmae_core::gpu::{AdapterChoice, GpuDevice};
    GpuDevice::new(&AdapterChoice::Any).await.map(Device::Gpu)
}

/// Browsers may keep an adapter's name to themselves; then only what stands after it in parentheses is left.
fn named(description: &str) -> String {
    let description = description.trim();
    let name = if description.starts_with('(') { "unnamed adapter " } else { "" };
    format!("{name}{description}")
}

/// The largest relative error of any output; NaN and missing outputs count as infinite.
fn worst_error(results: &Tensors, reference: &Tensors) -> f64 {
    let error = |name: &str| match (results.get(name), reference.get(name)) {
        (Some(result), Some(reference)) => result.relative_error(reference),
        _ => f64::INFINITY,
    };
    let errors = OUTPUTS.map(|name| error(name));
    errors.into_iter().map(|error| if error.is_nan() { f64::INFINITY } else { error }).fold(0.0, f64::max)
}

fn milliseconds_since(start: Instant) -> f64 {
    1e3 * start.elapsed().as_secs_f64()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn the_cpu_runs_the_model() {
        let report = pollster::block_on(EngineCheck::new(64).unwrap().run("cpu")).unwrap();
        assert!(report.agrees, "{report:?}");
        assert_eq!(report.relative_error, None);
    }

    #[test]
    fn a_side_that_cannot_be_and_an_unknown_engine_are_errors() {
        assert!(matches!(EngineCheck::new(63), Err(Error::Config { .. })));
        let error = pollster::block_on(EngineCheck::new(64).unwrap().run("abacus"));
        assert!(error.unwrap_err().to_string().contains("abacus"));
    }

    #[test]
    fn adapters_have_a_name() {
        assert_eq!(named(" (webgpu, core tier)"), "unnamed adapter (webgpu, core tier)");
        assert_eq!(named("CPU, f32"), "CPU, f32");
    }

    #[test]
    fn differences_show() {
        let tensor = |value: f32| HostTensor::f32(&[2], vec![1.0, value]).unwrap();
        let all = |value: f32| OUTPUTS.map(|name| (name.to_owned(), tensor(value))).into();
        assert_eq!(worst_error(&all(2.0), &all(2.0)), 0.0);
        let mut other: Tensors = all(2.0);
        other.insert("pred".into(), tensor(2.1));
        assert!(worst_error(&other, &all(2.0)) > 0.01);
        other.insert("pred".into(), tensor(f32::NAN));
        assert_eq!(worst_error(&other, &all(2.0)), f64::INFINITY);
        other.remove("pred");
        assert_eq!(worst_error(&other, &all(2.0)), f64::INFINITY);
    }
}
