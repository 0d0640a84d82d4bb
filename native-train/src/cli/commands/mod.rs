//! One module a command.

pub(super) mod attention;
pub(super) mod bench;
pub(super) mod devices;
pub(super) mod eval;
pub(super) mod export;
pub(super) mod info;
pub(super) mod pretrain;
pub(super) mod reconstruct;
pub(super) mod regions;
pub(super) mod segment;
pub(super) mod verify;
