//! R-MAE core.
pub mod regions;
