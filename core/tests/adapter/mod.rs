//! The adapter that tests of the GPU executor run on.
// Each test binary uses its own part of it.
#![allow(dead_code)]

use std::fmt::Display;
use std::io::Write;
use std::ops::Deref;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use pollster::block_on;
use rmae_core::exec::Device;
use rmae_core::gpu::{AdapterChoice, GpuDevice};
use rmae_core::ops::kernel::MatrixUnits;

/// A device that no other test uses at the same time: software adapters take all cores for one test,
/// and memory is measured.
pub struct Alone {
    pub device: Device,
    _turn: MutexGuard<'static, ()>,
}

impl Deref for Alone {
    type Target = Device;

    fn deref(&self) -> &Device {
        &self.device
    }
}

/// Any adapter, software ones included; none is a skip, or a failure where RMAE_REQUIRE_GPU is 1.
pub fn gpu() -> Option<Alone> {
    static TURN: Mutex<()> = Mutex::new(());
    static DEVICE: OnceLock<Option<GpuDevice>> = OnceLock::new();
    let open = || match block_on(GpuDevice::new(&AdapterChoice::Any)) {
        Ok(device) => Some(device),
        Err(error) => {
            assert!(
                std::env::var("RMAE_REQUIRE_GPU").as_deref() != Ok("1"),
                "RMAE_REQUIRE_GPU=1, but {error}"
            );
            skip(format!("no adapter ({error})"));
            None
        }
    };
    let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let device = DEVICE.get_or_init(open).clone()?;
    Some(Alone { device: Device::Gpu(device), _turn: turn })
}

/// Says why a test, or a part of it, is not run: on the stream itself, as what a test prints by macros is
/// shown only where it fails.
pub fn skip(why: impl Display) {
    let _ = writeln!(std::io::stderr(), "SKIPPED: {why}");
}

/// Units for products of small matrices; none, said aloud, where the adapter has none.
pub fn units(device: &GpuDevice) -> Option<MatrixUnits> {
    let units = device.report().units;
    if units.is_none() {
        skip("the adapter has no units for products of small matrices");
    }
    units
}

/// The device with mixed precision; none, said aloud, where it has no f16.
pub fn mixed(device: &Device) -> Option<Device> {
    match device.clone().mixed() {
        Ok(mixed) => Some(mixed),
        Err(error) => {
            skip(error);
            None
        }
    }
}
