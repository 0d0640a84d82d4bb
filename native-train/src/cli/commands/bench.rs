//! `rmae bench`.

use std::io::BufRead;

use anyhow::{Context, bail};
use rmae_core::config::Preset;
use rmae_core::cpu::Profile;
use rmae_core::exec::{Device, Precision};
use rmae_train::autotune::{self, Said};
use rmae_train::bench::{Ceilings, Kind, Work, table};
use rmae_train::config::TrainPrecision;
use rmae_train::device::{DeviceRequest, select_device};

use crate::cli::args::{BenchArgs, Benched};

pub(crate) fn run(args: &BenchArgs, request: &DeviceRequest) -> anyhow::Result<()> {
    let Some(preset) = Preset::from_name(&args.preset) else {
        return Err(rmae_train::TrainError::Config(format!(
            "there is no preset `{}`: take ti, s, b, l or h",
            args.preset
        ))
        .into());
    };
    let mut device = select_device(request, Precision::F32)?;
    if args.precision == TrainPrecision::Mixed {
        device = device.mixed()?;
    }
    if args.turns {
        return take_turns(args, preset, &device);
    }
    say!("{}", device.describe());
    let ceilings = Ceilings::measure()?;
    say!(
        "ceilings of the CPU: {:.0} GFLOP/s in registers, {:.0} as a product of 1024 x 1024, {:.1} GB/s copied",
        ceilings.registers / 1e9,
        ceilings.product / 1e9,
        ceilings.copy / 1e9
    );
    let chosen = args.what.map_or(vec![Benched::Train, Benched::Encode], |what| vec![what]);
    for what in chosen {
        one(args, what, preset, &device, &ceilings)?;
    }
    Ok(())
}

fn one(
    args: &BenchArgs, what: Benched, preset: Preset, device: &Device, ceilings: &Ceilings,
) -> anyhow::Result<()> {
    let mut work = work(args, what, preset, device)?;
    // The first run makes room and warms up.
    work.measure(1)?;
    let runs = args.runs.unwrap_or(if what == Benched::Train { 3 } else { 20 });
    let mut seconds = work.measure(runs)?;
    seconds.sort_by(f64::total_cmp);
    let median = seconds.get(seconds.len() / 2).copied().context("nothing was run")?;
    match what {
        Benched::Train => say!(
            "\ntraining step, preset {}, {} images: {median:.3} s, {:.1} images/s",
            preset.name(),
            args.batch,
            args.batch as f64 / median
        ),
        Benched::Matmul => {
            let flops = 2.0 * (args.size as f64).powi(3);
            say!(
                "\nproduct of {0} x {0}: {1:.2} ms, {2:.1} GFLOP/s",
                args.size,
                1e3 * median,
                flops / median / 1e9
            );
        }
        Benched::Encode => say!("\nencode, preset {}: {:.2} ms a photo", preset.name(), 1e3 * median),
    }
    if let Some(recording) = work.recording() {
        let share = 100.0 * recording / median;
        say!("recording and submitting its dispatches: {:.2} ms ({share:.1} %)", 1e3 * recording);
    }
    if args.profile {
        show_profile(&work.profile(runs)?, runs, device, ceilings);
    }
    Ok(())
}

/// The work on a device that is tuned for it, where that is asked for.
fn work(args: &BenchArgs, what: Benched, preset: Preset, device: &Device) -> anyhow::Result<Work> {
    let kind = kind(args, what);
    if !autotune::wanted(device, args.autotune) {
        return Ok(Work::new(kind, preset, device)?);
    }
    let graph = Work::graph(kind, preset)?;
    // Results go to the other stream, which other programs read.
    let device = autotune::tuned(device, &graph, args.autotune, &mut |said| match said {
        Said::Note(line) => complain!("{line}"),
        Said::Warning(line) => complain!("warning: {line}"),
    })?;
    Ok(Work::new(kind, preset, &device)?)
}

fn show_profile(profile: &Profile, runs: usize, device: &Device, ceilings: &Ceilings) {
    if profile.keys().all(|op| *op == "adamw") {
        say!("no profile: {} has no clock for its kernels", device.describe());
    } else {
        say!("{}", table(profile, runs, ceilings).trim_end());
    }
}

fn kind(args: &BenchArgs, what: Benched) -> Kind {
    match what {
        Benched::Train => Kind::Train { batch: args.batch },
        Benched::Encode => Kind::Encode,
        Benched::Matmul => Kind::Matmul { n: args.size, tiled: args.tiled },
    }
}

/// For every line with a number, that many runs, and a line of JSON with their `seconds`.
fn take_turns(args: &BenchArgs, preset: Preset, device: &Device) -> anyhow::Result<()> {
    let what = args.what.context("say what to run in turns")?;
    let mut work = work(args, what, preset, device)?;
    for line in std::io::stdin().lock().lines() {
        let line = line.context("cannot read the next turn")?;
        let Ok(runs) = line.trim().parse() else { bail!("a turn is a number of runs, not `{line}`") };
        let seconds = work.measure(runs)?;
        say!("{}", serde_json::json!({ "seconds": seconds }));
    }
    Ok(())
}
