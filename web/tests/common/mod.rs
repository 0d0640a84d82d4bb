//! What the browser's tests run on.

pub mod picture;
