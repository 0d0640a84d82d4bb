//! R-MAE in the browser: a thin layer of bindings over [`rmae_core`], for the worker in `web/js`.
//!
//! All mathematics is the core's. This crate reads what the worker asks for, and hands it plain
//! objects and typed arrays.

#[cfg(target_arch = "wasm32")]
mod bindings;
pub mod facts;
#[cfg(target_arch = "wasm32")]
mod memory;
pub mod regions;
pub mod requests;
