//! What is measured.

use std::time::Instant;

use pollster::block_on;
use rand::{Rng, SeedableRng};
use rmae_core::config::{ModelConfig, Preset};
use rmae_core::cpu::{OpTime, Profile};
use rmae_core::exec::{Device, Params, Program, Tensors};
use rmae_core::graph::{Graph, Recompute};
use rmae_core::model;
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
}

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
        let config = ModelConfig::preset(preset);
        let weights = model::init_params(&config, 0)?;
        let (graph, fetch) = graph(kind, &config)?;
        let inputs = random_inputs(kind, &config)?;
        Ok(Self {
            kind,
            params: block_on(device.params(&weights))?,
            program: block_on(device.compile(&graph, &[fetch], matches!(kind, Kind::Train { .. })))?,
            inputs,
            steps: 0,
            weights: graph.gradients().values().map(|&id| graph.node(id).len() as u64).sum(),
        })
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
        Ok(start.elapsed().as_secs_f64())
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

fn graph(kind: Kind, config: &ModelConfig) -> Result<(Graph, &'static str)> {
    Ok(match kind {
        Kind::Train { batch } => (model::training_graph(config, batch, Recompute::Nothing)?, "loss"),
        Kind::Encode => (model::image_graph(config)?, "latent"),
    })
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
