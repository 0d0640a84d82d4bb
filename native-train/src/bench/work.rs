//! What is measured.

use std::time::Instant;

use pollster::block_on;
use rand::{Rng, SeedableRng};
use rmae_core::config::{ModelConfig, Preset};
use rmae_core::cpu::{OpTime, Profile};
use rmae_core::exec::{Device, Params, Program, Tensors};
use rmae_core::graph::{Graph, Recompute};
use rmae_core::model;
use rmae_core::ops::linear::LinearGradInput;
use rmae_core::ops::tiled::TiledProduct;
use rmae_core::optim::AdamW;
use rmae_core::reconstruct::inputs;
use rmae_core::tensor::HostTensor;

use crate::error::Result;

/// Which work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One step of pre-training with both objectives on random images: forward, backward, AdamW.
    Train {
        /// Images of a step.
        batch: usize,
    },
    /// The encoder over one whole photo.
    Encode,
    /// A product of two `n × n` matrices.
    Matmul {
        /// Rows and columns.
        n: usize,
        /// By the kernel that others are compared with, [`TiledProduct`].
        tiled: bool,
    },
}

/// Products in a run of [`Kind::Matmul`]: many, so that handing matrices in and out does not count.
const CHAIN: usize = 8;

/// A model on a device, ready to do the work again and again.
#[derive(Debug)]
pub struct Work {
    kind: Kind,
    params: Params,
    program: Program,
    inputs: Tensors,
    steps: u64,
    weights: u64,
}

impl Work {
    /// Sets a model with random weights up, and random inputs.
    ///
    /// # Errors
    /// Those of the model and of the device.
    pub fn new(kind: Kind, preset: Preset, device: &Device) -> Result<Self> {
        let (graph, fetch, weights, inputs) = parts(kind, preset)?;
        Ok(Self {
            kind,
            params: block_on(device.params(&weights))?,
            program: block_on(device.compile(&graph, &[fetch], matches!(kind, Kind::Train { .. })))?,
            inputs,
            steps: 0,
            weights: graph.gradients().values().map(|&id| graph.node(id).len() as u64).sum(),
        })
    }

    /// What it evaluates.
    ///
    /// # Errors
    /// Those of the model.
    pub fn graph(kind: Kind, preset: Preset) -> Result<Graph> {
        Ok(parts(kind, preset)?.0)
    }

    /// Seconds in which a GPU's dispatches of the last run were recorded and handed over, without the
    /// update of the weights; none on the CPU.
    #[must_use]
    pub fn recording(&self) -> Option<f64> {
        match &self.program {
            Program::Gpu(program) => Some(program.recording().as_secs_f64()),
            Program::Cpu(_) => None,
        }
    }

    /// Does the work `runs` times; the seconds of each.
    ///
    /// # Errors
    /// Those of the device.
    pub fn measure(&mut self, runs: usize) -> Result<Vec<f64>> {
        (0..runs).map(|_| self.once(&mut OpTime::default())).collect()
    }

    /// Does the work `runs` times; what it took by kind of op on the CPU, by kernel on a GPU that has a
    /// clock. A GPU waits for each kernel's end meanwhile, so that the whole takes longer.
    ///
    /// # Errors
    /// Those of the device.
    pub fn profile(&mut self, runs: usize) -> Result<Profile> {
        let mut update = OpTime::default();
        self.program.start_profile();
        for _ in 0..runs {
            self.once(&mut update)?;
        }
        let mut profile = self.program.take_profile();
        if update.calls > 0 {
            profile.insert("adamw", update);
        }
        Ok(profile)
    }

    fn once(&mut self, update: &mut OpTime) -> Result<f64> {
        let start = Instant::now();
        block_on(self.program.run(&mut self.params, &self.inputs))?;
        if matches!(self.kind, Kind::Train { .. }) {
            self.update(update)?;
        }
        let products = if matches!(self.kind, Kind::Matmul { .. }) { CHAIN } else { 1 };
        Ok(start.elapsed().as_secs_f64() / products as f64)
    }

    fn update(&mut self, time: &mut OpTime) -> Result<()> {
        let start = Instant::now();
        self.steps += 1;
        block_on(self.params.step(&AdamW { step: self.steps, ..AdamW::default() }))?;
        time.seconds += start.elapsed().as_secs_f64();
        time.calls += 1;
        // The norm, and the rule; weight, gradient and both moments are read, all but the gradient
        // written.
        time.flops += 16 * self.weights;
        time.bytes += 4 * 8 * self.weights;
        Ok(())
    }
}

/// A graph, what is fetched of it, weights and inputs.
type Parts = (Graph, &'static str, Tensors, Tensors);

fn parts(kind: Kind, preset: Preset) -> Result<Parts> {
    match kind {
        Kind::Matmul { n, tiled } => products(n, tiled),
        _ => of_model(kind, &ModelConfig::preset(preset)),
    }
}

fn of_model(kind: Kind, config: &ModelConfig) -> Result<Parts> {
    let (graph, fetch) = match kind {
        Kind::Train { batch } => (model::training_graph(config, batch, Recompute::Nothing)?, "loss"),
        _ => (model::image_graph(config)?, "latent"),
    };
    Ok((graph, fetch, model::init_params(config, 0)?, random_inputs(kind, config)?))
}

/// [`CHAIN`] products of `[n, n]` matrices, and a last one that leaves `n` numbers to read back.
fn products(n: usize, tiled: bool) -> Result<Parts> {
    let mut graph = Graph::new();
    // Parameters stay on the device: handing large matrices in would take as long as multiplying them.
    let mut x = graph.param("x", &[n, n], false);
    let (w, last) = (graph.param("w", &[n, n], false), graph.param("last", &[n, 1], false));
    for _ in 0..CHAIN {
        x = if tiled {
            graph.apply(TiledProduct, &[x, w])?
        } else {
            graph.apply(LinearGradInput { shape: vec![n, n] }, &[x, w])?
        };
    }
    let y = graph.apply(TiledProduct, &[x, last])?;
    graph.set_output("y", y);
    // 1 / n keeps every value at 1.
    let square = HostTensor::f32(&[n, n], vec![1.0 / n as f32; n * n])?;
    let ones = |shape: &[usize]| HostTensor::f32(shape, vec![1.0; shape.iter().product()]);
    let weights = [("x".into(), ones(&[n, n])?), ("w".into(), square), ("last".into(), ones(&[n, 1])?)];
    Ok((graph, "y", Tensors::from(weights), Tensors::new()))
}

fn random_inputs(kind: Kind, config: &ModelConfig) -> Result<Tensors> {
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(0);
    let (side, patches) = (config.img_size, config.num_patches());
    let mut images = |n: usize| (0..n * 3 * side * side).map(|_| rng.random_range(-1.0..1.0)).collect();
    let Kind::Train { batch } = kind else {
        let image = HostTensor::f32(&[1, 3, side, side], images(1))?;
        return Ok(Tensors::from([("image".into(), image)]));
    };
    let images = images(batch);
    let maps = batch * config.num_region * side * side;
    let regions = (0..maps).map(|i| f32::from(u8::from(i / 1000 % 2 == 0))).collect();
    let ids: Vec<u32> = (0..batch).flat_map(|_| model::shuffle_ids(patches, &mut rng)).collect();
    Ok(inputs(config, images, regions, &ids)?)
}
