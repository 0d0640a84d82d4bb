//! R-MAE core.
