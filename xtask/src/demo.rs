//! `cargo xtask demo`: the page, built and served on this machine only.

use anyhow::Result;
use clap::Args;

use crate::toolbox::Toolbox;

/// Flags of `cargo xtask demo`.
#[derive(Args)]
pub(crate) struct DemoArgs {
    /// Port on 127.0.0.1 to serve the page at
    #[arg(long, default_value_t = 8080)]
    port: u16,
    /// Do not open a browser
    #[arg(long)]
    no_open: bool,
    /// Cargo profile: `web` is the smallest and fastest page, `dev` the quicker build
    #[arg(long, default_value = "web")]
    profile: String,
}

/// Builds the page and serves it until interrupted.
///
/// # Errors
/// When the build fails or the port is taken.
pub(crate) fn run(tools: &Toolbox, args: &DemoArgs) -> Result<()> {
    println!("\nThe page will be at http://127.0.0.1:{}/ (Ctrl-C ends)", args.port);
    let mut command = tools.command("trunk");
    command
        .args(["serve", "--cargo-profile", &args.profile])
        .args(["--address", "127.0.0.1", "--no-autoreload=true", "--port"])
        .arg(args.port.to_string());
    if !args.no_open {
        command.arg("--open");
    }
    tools.run(&mut command)
}
