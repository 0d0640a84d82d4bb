//! `rmae verify`: this program against numbers of the reference implementation.

use std::fs;
use std::path::{Path, PathBuf};

use rmae_core::exec::{Device, Precision};
use rmae_core::verify::{Fixture, Report, Tolerance, run as compare};
use rmae_train::TrainError;
use rmae_train::checkpoint::write_tensors_file;
use rmae_train::device::{DeviceRequest, select_witness};

use crate::cli::args::{PrecisionName, VerifyArgs};
use crate::exit::VerificationFailed;

pub(crate) fn run(args: &VerifyArgs, device: &DeviceRequest) -> anyhow::Result<()> {
    let precision = match args.precision {
        PrecisionName::F32 | PrecisionName::Mixed => Precision::F32,
        PrecisionName::F64 => Precision::F64,
    };
    let mut device = select_witness(device, precision)?;
    if args.precision == PrecisionName::Mixed {
        device = device.mixed()?;
    }
    let tolerance = tolerance(&device, args.precision)?;
    say!("{}", device.describe());
    let mut failed = vec![];
    for path in &args.fixtures {
        let bytes = fs::read(path).map_err(|e| TrainError::io("read", path, e))?;
        let fixture = Fixture::read(&bytes).map_err(|e| TrainError::checkpoint(path, e.to_string()))?;
        let report = pollster::block_on(compare(&fixture, &device))?;
        print_report(path, &report, &tolerance);
        let bad = tolerance.violations(&report).into_iter();
        failed.extend(
            bad.map(|g| format!("{}: {} of {} is off by {:.2e}", path.display(), g.tensor, g.name, g.worst)),
        );
        if let Some(out) = &args.write {
            let out = output_path(out, path, args.fixtures.len());
            write_tensors_file(&out, &report.computed)?;
            say!("  wrote {}", out.display());
        }
    }
    if failed.is_empty() {
        return Ok(());
    }
    Err(VerificationFailed(format!("outside tolerance: {}", failed.join("; "))).into())
}

fn tolerance(device: &Device, precision: PrecisionName) -> anyhow::Result<Tolerance> {
    match (device, precision) {
        (Device::Cpu(_), PrecisionName::F64) => Ok(Tolerance::CPU_F64),
        (Device::Cpu(_), _) => Ok(Tolerance::CPU_F32),
        (_, PrecisionName::F32) => Ok(Tolerance::GPU_F32),
        (_, PrecisionName::Mixed) => Ok(Tolerance::GPU_MIXED),
        (_, PrecisionName::F64) => {
            Err(TrainError::Config("precision = f64: GPUs compute in f32; use --device cpu".into()).into())
        }
    }
}

fn print_report(path: &Path, report: &Report, tolerance: &Tolerance) {
    say!("{}", path.display());
    let bad = tolerance.violations(report);
    for group in &report.groups {
        let verdict = if bad.iter().any(|b| b.name == group.name) { "FAILED" } else { "ok" };
        say!(
            "  {:<13} {:>4} tensors  worst {:.2e}  {verdict:<6}  ({})",
            group.name,
            group.count,
            group.worst,
            group.tensor
        );
    }
}

/// The named file; for several fixtures one each, `OUT-FIXTURE.safetensors`.
fn output_path(out: &Path, fixture: &Path, fixtures: usize) -> PathBuf {
    if fixtures == 1 {
        return out.to_path_buf();
    }
    let stem = |path: &Path| path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    out.with_file_name(format!("{}-{}.safetensors", stem(out), stem(fixture)))
}
