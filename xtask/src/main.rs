//! What a person types to work on R-MAE: `cargo xtask setup|check|test|demo|bench`.
//!
//! Every command first makes sure that the tools it needs are there. What is
//! missing is installed, after saying what and why; what is there is left
//! alone, so that each command can be repeated at no cost.

mod bench;
mod bench_gpu;
mod bench_hardware;
mod bench_model;
mod bench_report;
mod budget;
mod controls;
mod controls_table;
mod demo;
mod files;
mod marked;
mod needs;
mod node;
mod package;
mod page;
mod platform;
mod python;
mod rmae;
mod scripts;
mod serve;
mod setup;
mod stages;
mod summary;
mod toolbox;
mod tools;
mod train_demo;
mod turns;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Parser, Subcommand};

use needs::Need;
use stages::Stage;
use toolbox::Toolbox;

/// Set-up, checks, tests, demo and benchmarks of R-MAE.
#[derive(Parser)]
#[command(name = "cargo xtask", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    task: Task,
    #[command(flatten)]
    setup: SetupFlags,
}

#[derive(Args)]
struct SetupFlags {
    /// Install nothing: only look, and stop where something is missing
    #[arg(long, alias = "offline", global = true)]
    no_install: bool,
}

#[derive(Subcommand)]
enum Task {
    /// Install what is missing for everything below
    Setup,
    /// Formatting and lints only, native and WASM; no tests
    Check,
    /// Every lint, doc check and test; fails loudly when one could not run
    Test {
        /// Leave out the documentation, licence, browser and page stages
        #[arg(long)]
        quick: bool,
        /// Run only the stages of this name; may be repeated
        #[arg(long, value_name = "STAGE", conflicts_with = "quick")]
        only: Vec<String>,
    },
    /// Build the page and serve it on this machine
    Demo(demo::DemoArgs),
    /// Put the npm package together in `dist-npm/`
    Package,
    /// Compare with other implementations on this machine, in the same run
    Bench(bench::BenchArgs),
    /// Make the page's weights from folders of photos: pre-train, tune, export, measure
    TrainDemoModel(train_demo::TrainDemoArgs),
    /// Train with random blobs in place of regions, and from scratch: where a gain comes from
    Controls(controls::ControlsArgs),
}

impl Task {
    /// What must be installed before the task can start.
    fn needs(&self) -> Result<Vec<Need>> {
        Ok(match self {
            Self::Setup => Need::ALL.to_vec(),
            Self::Test { quick, only } => stages::needs(&chosen(*quick, only)?),
            Self::Check => Need::CHECK.to_vec(),
            Self::Demo(_) | Self::Package => Need::PAGE.to_vec(),
            Self::Bench(args) if args.in_browser() => Need::BROWSER_BENCH.to_vec(),
            Self::Bench(_) | Self::TrainDemoModel(_) | Self::Controls(_) => Need::NATIVE.to_vec(),
        })
    }
}

/// The stages of a test run.
fn chosen(quick: bool, only: &[String]) -> Result<Vec<Stage>> {
    match (quick, only) {
        (true, _) => Ok(stages::QUICK.to_vec()),
        (false, []) => Ok(stages::ALL.to_vec()),
        (false, only) => stages::named(only),
    }
}

fn run(cli: &Cli) -> Result<bool> {
    let tools = Toolbox::new(workspace_root());
    setup::ensure(&tools, &cli.task.needs()?, !cli.setup.no_install)?;
    match &cli.task {
        Task::Setup => Ok(true),
        Task::Check => Ok(stages::run(&tools, stages::CHECK)),
        Task::Test { quick, only } => Ok(stages::run(&tools, &chosen(*quick, only)?)),
        Task::Demo(args) => demo::run(&tools, args).map(|()| true),
        Task::Package => package::run(&tools).map(|()| true),
        Task::Bench(args) => bench::run(&tools, args).map(|()| true),
        Task::TrainDemoModel(args) => train_demo::run(&tools, args).map(|()| true),
        Task::Controls(args) => controls::run(&tools, args).map(|()| true),
    }
}

/// The folder of the workspace: asked for at run time, because a target folder
/// shared between checkouts can hold a binary that another checkout built.
fn workspace_root() -> PathBuf {
    let package = std::env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    package.parent().map_or(package.clone(), PathBuf::from)
}

fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("\nerror: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::Cli;

    #[test]
    fn command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
