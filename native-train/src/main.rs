//! The `rmae` command: pre-train R-MAE models, look into them, check them.

mod cli;
mod exit;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::run()
}
