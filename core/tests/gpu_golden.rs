//! The GPU executor against numbers of the published implementation.
#![cfg(feature = "gpu")]
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

mod adapter;

use std::path::Path;

use adapter::{gpu, mixed, units};
use pollster::block_on;
use rmae_core::exec::Device;
use rmae_core::ops::kernel::Machine;
use rmae_core::ops::variant::{Choices, Variant};
use rmae_core::verify::{Fixture, Tolerance, run};

#[test]
fn golden_fixtures_agree() {
    if let Some(device) = gpu() {
        assert_agrees(&device, &Tolerance::GPU_F32);
    }
}

#[test]
fn golden_fixtures_agree_with_mixed_precision() {
    let Some(device) = gpu() else { return };
    if let Some(mixed) = mixed(&device) {
        assert_agrees(&mixed, &Tolerance::GPU_MIXED);
    }
}

/// By each tile of the units for products of small matrices.
#[test]
fn golden_fixtures_agree_by_cooperative_matrices() {
    let Some(device) = gpu() else { return };
    let Some(Device::Gpu(mixed)) = mixed(&device) else { return };
    let Some(units) = units(&mixed) else { return };
    mixed.use_kernels_for(Machine::Cooperative(units));
    for variant in Variant::of(Machine::Cooperative(units)) {
        if let Variant::Cooperative(..) = variant {
            println!("{}", variant.name());
            let tuned = mixed.clone().tuned(Choices::always(variant));
            assert_agrees(&Device::Gpu(tuned), &Tolerance::GPU_MIXED);
        }
    }
    mixed.use_kernels_for(mixed.report().machine());
}

fn assert_agrees(device: &Device, tolerance: &Tolerance) {
    // By the variable the test may run elsewhere than where it was built.
    let folder = std::env::var("CARGO_MANIFEST_DIR").unwrap_or_else(|_| env!("CARGO_MANIFEST_DIR").into());
    for name in ["rmae", "rae_only", "mae_only", "deep_region_decoder"] {
        let path = Path::new(&folder).join(format!("../tests/fixtures/golden/{name}.safetensors"));
        let fixture = Fixture::read(&std::fs::read(path).unwrap()).unwrap();
        let report = block_on(run(&fixture, device)).unwrap();
        assert_eq!(report.groups.len(), 4, "{name}: a group is missing");
        for g in &report.groups {
            println!("{name:20} {:13} {:9.2e} ({} tensors, worst {})", g.name, g.worst, g.count, g.tensor);
        }
        let bad = tolerance.violations(&report);
        assert!(bad.is_empty(), "{name}: above tolerance: {bad:?}");
    }
}
