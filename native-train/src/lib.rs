//! What stands behind `rmae`: data loading, pre-training, checkpoints, pictures.
//!
//! The mathematics is `rmae-core`'s; this crate reads folders of photos ([`data`]), drives the
//! model over them ([`train`]), keeps what comes out ([`checkpoint`]), measures it ([`eval`]) and
//! shows it ([`picture`]).

pub mod autotune;
pub mod bench;
pub mod checkpoint;
pub mod config;
pub mod data;
pub mod device;
pub mod error;
pub mod eval;
pub mod picture;
pub mod predict;
pub mod train;

pub use error::{Result, TrainError};
