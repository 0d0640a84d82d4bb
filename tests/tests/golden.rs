//! The CPU executor against numbers of the published implementation (see `fixtures/golden`).
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

use rmae_core::exec::{Device, Precision};
use rmae_core::verify::{Fixture, Report, Tolerance, run};

const NAMES: [&str; 4] = ["rmae", "rae_only", "mae_only", "deep_region_decoder"];

fn verify(name: &str, device: &Device) -> Report {
    let path = format!("{}/fixtures/golden/{name}.safetensors", env!("CARGO_MANIFEST_DIR"));
    let fixture = Fixture::read(&std::fs::read(path).unwrap()).unwrap();
    pollster::block_on(run(&fixture, device)).unwrap()
}

fn check(device: &Device, tolerance: Tolerance) {
    for name in NAMES {
        let report = verify(name, device);
        assert!(report.groups.len() == 4, "{name}: a group is missing: {:?}", report.groups);
        for g in &report.groups {
            println!("{name:20} {:13} {:9.2e} ({} tensors, worst {})", g.name, g.worst, g.count, g.tensor);
        }
        let bad = tolerance.violations(&report);
        assert!(bad.is_empty(), "{name}: above tolerance: {bad:?}");
    }
}

#[test]
fn cpu_f64_agrees_to_the_rounding_of_the_fixtures() {
    check(&Device::cpu(Precision::F64), Tolerance::CPU_F64);
}

#[test]
fn cpu_f32_agrees() {
    check(&Device::cpu(Precision::F32), Tolerance::CPU_F32);
}
