//! `rmae devices`.

use rmae_core::exec::Precision;
use rmae_train::device;

pub(crate) fn run() -> anyhow::Result<()> {
    let cpu = rmae_core::exec::Device::cpu(Precision::F32);
    println!("{}\n  {:.1} GFLOP/s", cpu.describe(), device::measure(&cpu)?);
    Ok(())
}
