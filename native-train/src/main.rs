//! The `rmae` command: pre-train R-MAE models, look into them, check them.

#[macro_use]
mod say;
mod cli;
mod exit;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::run()
}
