//! Trainer library.

pub mod data;
