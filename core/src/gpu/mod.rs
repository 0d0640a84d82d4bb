//! The GPU executor: the only place that knows wgpu.
//!
//! [`GpuDevice`] is an adapter with its capability [`Tier`] and its compiled pipelines. It turns a
//! graph into a [`GpuProgram`] once: buffers by liveness, bind groups, a list of dispatches; every
//! run replays that list. [`GpuParams`] holds weights, gradient sums and AdamW's state.

mod arena;
mod bench;
mod device;
mod errors;
mod halves;
mod optimizer;
mod params;
mod plan;
mod profile;
mod program;
mod readback;
mod tier;
#[cfg(feature = "training")]
mod tune;

pub use device::{AdapterChoice, AdapterReport, GpuDevice, adapters};
pub use params::GpuParams;
pub use program::GpuProgram;
pub use tier::{Tier, WORKGROUP_BYTES};
#[cfg(feature = "training")]
pub use tune::{TUNING_BUDGET, Tuning, TuningKey};

use crate::ops::kernel::Kernel;

/// The kernels that belong to the executor rather than to an op.
#[must_use]
pub fn kernels() -> Vec<&'static Kernel> {
    vec![&plan::ACCUMULATE, &optimizer::SUM_SQUARES, &optimizer::CLIP_FACTOR, &optimizer::ADAMW]
}

#[doc(hidden)]
pub use optimizer::sample_dispatches;
