//! Trainer library.
