//! The command line: raw flags in, validated arguments to the commands, errors to exit codes.

mod args;
mod commands;
mod eval_args;
mod progress;
mod segment_args;

use std::process::ExitCode;

use anyhow::Context;
use clap::{CommandFactory, FromArgMatches};

use args::{Cli, Command};
use eval_args::EvalCommand;

use crate::exit::{advice, failure};

/// Runs what the command line asks for.
pub(crate) fn run() -> ExitCode {
    let mut matches = Cli::command().get_matches();
    let ordered = matches.subcommand_matches("segment").map(segment_args::in_order).unwrap_or_default();
    let cli = Cli::from_arg_matches_mut(&mut matches).unwrap_or_else(|error| error.exit());
    match dispatch(cli, &ordered) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => report(&error),
    }
}

fn dispatch(cli: Cli, ordered: &[segment_args::Prompt]) -> anyhow::Result<()> {
    set_threads(cli.threads)?;
    match cli.command {
        Command::Pretrain(args) => commands::pretrain::run(*args, &cli.device),
        Command::Tune(args) => commands::pretrain::tune(*args, &cli.device),
        Command::Info(args) => commands::info::run(&args),
        Command::Devices => commands::devices::run(),
        Command::Regions(args) => commands::regions::run(&args),
        Command::Reconstruct(args) => commands::reconstruct::run(&args, &cli.device),
        Command::Attention(args) => commands::attention::run(&args, &cli.device),
        Command::Segment(args) => commands::segment::run(&args, ordered, &cli.device),
        Command::Eval(args) => match &args.what {
            EvalCommand::Prompts(args) => commands::eval::prompts(args, &cli.device),
        },
        Command::Verify(args) => commands::verify::run(&args, &cli.device),
        Command::Export(args) => commands::export::run(&args),
        Command::Bench(args) => commands::bench::run(&args, &cli.device),
    }
}

/// Limits the CPU executor's threads; without a number it takes every core.
fn set_threads(threads: Option<usize>) -> anyhow::Result<()> {
    let Some(threads) = threads else { return Ok(()) };
    rayon::ThreadPoolBuilder::new().num_threads(threads).build_global().context("cannot start the threads")
}

fn report(error: &anyhow::Error) -> ExitCode {
    let failure = failure(error);
    // Causes that repeat the message (a transparent error does) are left out.
    let mut message = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if !message.contains(&cause) {
            message = if message.is_empty() { cause } else { format!("{message}: {cause}") };
        }
    }
    complain!("error: {message}");
    if let Some(advice) = advice(failure) {
        complain!("help: {advice}");
    }
    ExitCode::from(failure as u8)
}
