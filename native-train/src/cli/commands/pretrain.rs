//! `rmae pretrain`, and `rmae tune`, which is the same with other defaults.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;
use rmae_core::exec::Precision;
use rmae_train::TrainError;
use rmae_train::config::{self, PretrainConfig, PretrainOptions};
use rmae_train::device::{DeviceRequest, select_device};
use rmae_train::train;

use crate::cli::args::PretrainArgs;
use crate::cli::progress::Progress;

/// Exit code after a second Ctrl-C, as a shell would give it.
const INTERRUPTED: i32 = 130;

pub(crate) fn run(args: PretrainArgs, device: &DeviceRequest) -> anyhow::Result<()> {
    let resume = args.resume;
    train("pretrain", &PretrainConfig::new(options(args)?)?, resume, device)
}

pub(crate) fn tune(args: PretrainArgs, device: &DeviceRequest) -> anyhow::Result<()> {
    let resume = args.resume;
    let options = options(args)?.or(config::tune_defaults());
    let wrong = |problem: &str| Err(TrainError::Config(problem.into()).into());
    if options.init.is_none() {
        return wrong("init is missing: name the weights to tune with --init");
    }
    if options.prompts == Some(false) {
        return wrong("prompts = false: tuning is on prompts; rmae pretrain --init goes on without them");
    }
    train("tune", &PretrainConfig::new(options)?, resume, device)
}

fn train(command: &str, config: &PretrainConfig, resume: bool, device: &DeviceRequest) -> anyhow::Result<()> {
    let stop = stop_on_ctrl_c()?;
    let device = select_device(device, Precision::F32)?;
    let mut progress = Progress::new();
    let outcome = train::pretrain(config, resume, &device, &stop, &mut |event| progress.show(event));
    progress.finish();
    let outcome = outcome?;
    if outcome.interrupted {
        let out = config.out.display();
        complain!("stopped after update {}; go on with: rmae {command} --out {out} --resume", outcome.step);
    }
    Ok(())
}

/// Flags over the file; with `--resume`, the file is the run's own unless another is named.
fn options(args: PretrainArgs) -> anyhow::Result<PretrainOptions> {
    let file = match (&args.config, &args.options.out) {
        (Some(path), _) => config::read(path)?,
        (None, Some(run)) if args.resume => {
            let path = config::effective_path(run);
            if !path.exists() {
                let problem = format!(
                    "out = {}: there is no run to resume (no config.toml); leave --resume out to start",
                    run.display()
                );
                return Err(TrainError::Config(problem).into());
            }
            config::read(&path)?
        }
        _ => PretrainOptions::default(),
    };
    Ok(config::merge(args.options, file))
}

/// The first Ctrl-C (or termination signal) asks the run to finish its update and save; the second
/// ends the process.
fn stop_on_ctrl_c() -> anyhow::Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let handler = Arc::clone(&stop);
    ctrlc::set_handler(move || {
        if handler.swap(true, Ordering::SeqCst) {
            std::process::exit(INTERRUPTED);
        }
        complain!("finishing this update and saving; once more to end without saving");
    })
    .context("cannot watch for Ctrl-C")?;
    Ok(stop)
}
