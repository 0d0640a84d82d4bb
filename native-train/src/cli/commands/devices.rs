//! `rmae devices`.

use rmae_core::exec::{Device, Precision};
use rmae_core::gpu::{AdapterChoice, AdapterReport, GpuDevice, adapters};
use rmae_train::device::measure;

pub(crate) fn run() -> anyhow::Result<()> {
    let cpu = Device::cpu(Precision::F32);
    say!("{}\n  speed     {:.1} GFLOP/s", cpu.describe(), measure(&cpu)?);
    let found = pollster::block_on(adapters());
    if found.is_empty() {
        say!("no GPU adapter: no Vulkan, Metal or DirectX 12 driver was found");
    }
    for report in &found {
        print_adapter(report);
    }
    Ok(())
}

fn print_adapter(report: &AdapterReport) {
    let asked = if report.software { "; computes on the processor, used only when named" } else { "" };
    say!("{} ({}, {}{asked})", report.name, report.backend, report.kind);
    say!("  driver    {}", report.driver);
    say!("  tier      {}", report.tier.name());
    let limits = &report.limits;
    say!(
        "  limits    {} MiB a buffer, {} MiB a binding, {} invocations and {} KiB of shared memory a workgroup",
        limits.max_buffer_size >> 20,
        limits.max_storage_buffer_binding_size >> 20,
        limits.max_compute_invocations_per_workgroup,
        limits.max_compute_workgroup_storage_size >> 10
    );
    say!("  features  {}", features(report));
    match speed(report) {
        Ok(gflops) => say!("  speed     {gflops:.1} GFLOP/s"),
        Err(error) => say!("  speed     unknown: {error}"),
    }
}

/// Those that computing can profit from.
fn features(report: &AdapterReport) -> String {
    let known = ["SHADER_F16", "SUBGROUP", "TIMESTAMP_QUERY", "COOPERATIVE_MATRIX"];
    let names = report.features.iter_names().map(|(name, _)| name);
    let useful: Vec<&str> = names.filter(|name| known.iter().any(|k| name.contains(k))).collect();
    if useful.is_empty() { "none that matter here".into() } else { useful.join(", ") }
}

fn speed(report: &AdapterReport) -> rmae_core::Result<f64> {
    let choice = AdapterChoice::Named(report.name.clone());
    pollster::block_on(async { GpuDevice::new(&choice).await?.measure_gflops().await })
}
