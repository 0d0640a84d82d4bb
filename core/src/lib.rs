//! R-MAE (Regions Meet Masked Autoencoders) as one graph with two executors.
//!
//! The model ([`model`]) builds a [`graph::Graph`]: a typed, shape-checked list of [`ops`]. Its
//! gradient is another such list ([`graph::gradient`]). [`exec`] runs both on the CPU (candle) or on
//! any GPU that wgpu reaches (WGSL), natively and in the browser. The crate has no file system and
//! no windows.
//!
//! Without the feature `training` nothing but predicting is left: no gradients, no definitions to test
//! ops against, no f64. The page is built so: it is a fifth less to download.

// What only training uses is written where it belongs, not behind the feature piece by piece.
#![cfg_attr(not(feature = "training"), allow(dead_code, unused_imports))]

pub mod checkpoint;
pub mod config;
pub mod cpu;
pub mod error;
pub mod exec;
#[cfg(feature = "gpu")]
pub mod gpu;
pub mod graph;
pub mod model;
pub mod ops;
pub mod optim;
pub mod prompt;
pub mod reconstruct;
pub mod regions;
pub mod resample;
pub mod tensor;
#[cfg(feature = "training")]
pub mod verify;

pub use error::{Error, Result};
