//! Running graphs: one interface over the CPU and the GPU executor.
//!
//! A [`Device`] makes [`Params`] (weights, optimiser state, gradient sums, all on the device) and
//! compiles graphs into [`Program`]s that are run again and again. Everything that may wait for a
//! device is `async`; on the CPU the futures are ready at once.

use std::collections::BTreeMap;

use crate::cpu::{CpuDevice, CpuParams, CpuProgram, Profile};
#[cfg(feature = "gpu")]
use crate::error::Error;
use crate::error::Result;
#[cfg(feature = "gpu")]
use crate::gpu::{GpuDevice, GpuParams, GpuProgram};
use crate::graph::Graph;
use crate::optim::{AdamW, LossScale, StepReport};
use crate::tensor::HostTensor;

/// Named tensors: inputs, outputs, weights.
pub type Tensors = BTreeMap<String, HostTensor>;

/// Precision of the CPU executor. GPUs compute in f32, and store in f16 where [`Device::mixed`] says so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// 32-bit.
    #[default]
    F32,
    /// 64-bit: the oracle of the tests.
    #[cfg(feature = "training")]
    F64,
}

/// Where graphs run.
#[derive(Clone, Debug)]
pub enum Device {
    /// All cores of the processor.
    Cpu(CpuDevice),
    /// A wgpu adapter.
    #[cfg(feature = "gpu")]
    Gpu(GpuDevice),
}

impl Device {
    /// The CPU executor.
    #[must_use]
    pub fn cpu(precision: Precision) -> Self {
        Self::Cpu(CpuDevice::new(precision))
    }

    /// The same device with mixed precision: activations and copies of the weights are stored as f16,
    /// arithmetic, weights, gradient sums and AdamW's moments are f32, and gradients are scaled by
    /// [`Params::loss_scale`].
    ///
    /// # Errors
    /// [`Error::NoAdapter`] on the CPU and on adapters without f16.
    #[cfg(feature = "gpu")]
    pub fn mixed(self) -> Result<Self> {
        match self {
            Self::Cpu(_) => Err(Error::NoAdapter("mixed precision needs a GPU; use f32 precision".into())),
            Self::Gpu(device) => device.mixed().map(Self::Gpu),
        }
    }

    /// One line for people: kind and name.
    #[must_use]
    pub fn describe(&self) -> String {
        match self {
            Self::Cpu(device) => device.describe(),
            #[cfg(feature = "gpu")]
            Self::Gpu(device) => device.describe(),
        }
    }

    /// Puts weights on the device; gradient sums and optimiser state are made when first needed.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] and [`Error::DeviceLost`] on a GPU.
    pub async fn params(&self, weights: &Tensors) -> Result<Params> {
        match self {
            Self::Cpu(device) => device.params(weights).map(Params::Cpu),
            #[cfg(feature = "gpu")]
            Self::Gpu(device) => device.params(weights).await.map(Params::Gpu),
        }
    }

    /// Prepares a graph for repeated runs that return the outputs named in `fetch` and, where the
    /// graph has gradients and `train` is set, add those to the parameters' gradient sums.
    ///
    /// # Errors
    /// [`Error::UnknownName`] for an output that the graph does not have; [`Error::OutOfMemory`],
    /// [`Error::Validation`] and [`Error::DeviceLost`] on a GPU.
    pub async fn compile(&self, graph: &Graph, fetch: &[&str], train: bool) -> Result<Program> {
        match self {
            Self::Cpu(device) => device.compile(graph, fetch, train).map(Program::Cpu),
            #[cfg(feature = "gpu")]
            Self::Gpu(device) => device.compile(graph, fetch, train).await.map(Program::Gpu),
        }
    }
}

/// Weights, gradient sums and AdamW state on a device.
#[derive(Debug)]
pub enum Params {
    /// In host memory.
    Cpu(CpuParams),
    /// On a GPU.
    #[cfg(feature = "gpu")]
    Gpu(GpuParams),
}

impl Params {
    /// Reads back every weight.
    ///
    /// # Errors
    /// [`Error::DeviceLost`] on a GPU.
    pub async fn weights(&self) -> Result<Tensors> {
        match self {
            Self::Cpu(params) => params.weights(),
            #[cfg(feature = "gpu")]
            Self::Gpu(params) => params.weights().await,
        }
    }

    /// Reads back the gradient sums collected since the last step.
    ///
    /// # Errors
    /// [`Error::DeviceLost`] on a GPU.
    pub async fn gradients(&self) -> Result<Tensors> {
        match self {
            Self::Cpu(params) => params.gradients(),
            #[cfg(feature = "gpu")]
            Self::Gpu(params) => params.gradients().await,
        }
    }

    /// Reads back AdamW's moments, `exp_avg.<name>` and `exp_avg_sq.<name>`; empty before the first step.
    ///
    /// # Errors
    /// [`Error::DeviceLost`] on a GPU.
    pub async fn optimizer_state(&self) -> Result<Tensors> {
        match self {
            Self::Cpu(params) => params.optimizer_state(),
            #[cfg(feature = "gpu")]
            Self::Gpu(params) => params.optimizer_state().await,
        }
    }

    /// Restores what [`Params::optimizer_state`] returned.
    ///
    /// # Errors
    /// [`Error::Tensor`] for a moment of another shape than its weight, or of an unknown weight.
    pub async fn set_optimizer_state(&mut self, state: &Tensors) -> Result<()> {
        match self {
            Self::Cpu(params) => params.set_optimizer_state(state),
            #[cfg(feature = "gpu")]
            Self::Gpu(params) => params.set_optimizer_state(state).await,
        }
    }

    /// The factor on all gradients, with mixed precision; it changes with the steps.
    #[must_use]
    pub fn loss_scale(&self) -> Option<LossScale> {
        match self {
            Self::Cpu(_) => None,
            #[cfg(feature = "gpu")]
            Self::Gpu(params) => params.loss_scale(),
        }
    }

    /// Goes on with the loss scale of an earlier run; without effect where there is none. Not to be called
    /// between a run and the step that it is for, whose gradients would be taken for others' scale.
    pub fn set_loss_scale(&mut self, scale: LossScale) {
        match self {
            Self::Cpu(_) => {
                let _ = scale;
            }
            #[cfg(feature = "gpu")]
            Self::Gpu(params) => params.set_loss_scale(scale),
        }
    }

    /// One AdamW step from the gradient sums, which are cleared: scales them by `grad_scale`
    /// (1 / number of accumulated runs), measures their norm, clips, and updates weights that have
    /// a gradient. A non-finite norm leaves the weights as they are; the report says so.
    ///
    /// # Errors
    /// [`Error::DeviceLost`] on a GPU.
    pub async fn step(&mut self, adamw: &AdamW) -> Result<StepReport> {
        match self {
            Self::Cpu(params) => params.step(adamw),
            #[cfg(feature = "gpu")]
            Self::Gpu(params) => params.step(adamw).await,
        }
    }
}

/// A graph ready to run.
#[derive(Debug)]
pub enum Program {
    /// On the CPU.
    Cpu(CpuProgram),
    /// On a GPU.
    #[cfg(feature = "gpu")]
    Gpu(GpuProgram),
}

impl Program {
    /// Measures from now on how long each kind of op takes on the CPU, each kernel on a GPU.
    pub fn start_profile(&mut self) {
        match self {
            Self::Cpu(program) => program.start_profile(),
            #[cfg(feature = "gpu")]
            Self::Gpu(program) => program.start_profile(),
        }
    }

    /// What was measured since [`Program::start_profile`]; nothing on a GPU without a clock.
    pub fn take_profile(&mut self) -> Profile {
        match self {
            Self::Cpu(program) => program.take_profile(),
            #[cfg(feature = "gpu")]
            Self::Gpu(program) => program.take_profile(),
        }
    }

    /// Runs the graph. `inputs` must hold every input the fetched outputs depend on; others are ignored.
    ///
    /// # Errors
    /// [`Error::Tensor`] for a missing input or weight, or one of another shape or type; the GPU's
    /// [`Error::OutOfMemory`], [`Error::Validation`], [`Error::DeviceLost`].
    pub async fn run(&mut self, params: &mut Params, inputs: &Tensors) -> Result<Tensors> {
        match (self, params) {
            (Self::Cpu(program), Params::Cpu(params)) => program.run(params, inputs),
            #[cfg(feature = "gpu")]
            (Self::Gpu(program), Params::Gpu(params)) => program.run(params, inputs).await,
            #[cfg(feature = "gpu")]
            _ => Err(Error::Tensor {
                name: "(parameters)".into(),
                problem: "the program and the parameters are on different devices".into(),
            }),
        }
    }
}
