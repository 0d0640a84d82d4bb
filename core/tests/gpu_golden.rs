//! The GPU executor against numbers of the published implementation.
#![cfg(feature = "gpu")]
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

use pollster::block_on;
use rmae_core::exec::Device;
use rmae_core::gpu::{AdapterChoice, GpuDevice};
use rmae_core::verify::{Fixture, Tolerance, run};

#[test]
fn golden_fixtures_agree() {
    let device = match block_on(GpuDevice::new(&AdapterChoice::Any)) {
        Ok(device) => Device::Gpu(device),
        Err(error) => {
            assert!(
                std::env::var("RMAE_REQUIRE_GPU").as_deref() != Ok("1"),
                "RMAE_REQUIRE_GPU=1, but {error}"
            );
            println!("SKIPPED: no adapter ({error})");
            return;
        }
    };
    for name in ["rmae", "rae_only", "mae_only", "deep_region_decoder"] {
        let path = format!("{}/../tests/fixtures/golden/{name}.safetensors", env!("CARGO_MANIFEST_DIR"));
        let fixture = Fixture::read(&std::fs::read(path).unwrap()).unwrap();
        let report = block_on(run(&fixture, &device)).unwrap();
        assert_eq!(report.groups.len(), 4, "{name}: a group is missing");
        for g in &report.groups {
            println!("{name:20} {:13} {:9.2e} ({} tensors, worst {})", g.name, g.worst, g.count, g.tensor);
        }
        let bad = Tolerance::GPU_F32.violations(&report);
        assert!(bad.is_empty(), "{name}: above tolerance: {bad:?}");
    }
}
