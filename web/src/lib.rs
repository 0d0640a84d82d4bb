//! R-MAE in the browser: a thin layer of bindings over [`rmae_core`].
//!
//! All mathematics is the core's. This crate draws the picture of the engine check, asks the core
//! to run its graph on it, and hands JavaScript plain objects. It runs in a worker, so that the
//! page stays responsive.

#[cfg(target_arch = "wasm32")]
mod bindings;
pub mod check;
pub mod picture;
