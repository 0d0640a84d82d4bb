//! `cargo xtask demo`: the page, built and served on this machine only.

use std::process::Command;

use anyhow::Result;
use clap::Args;

use crate::page;
use crate::serve::Server;
use crate::toolbox::Toolbox;

/// Flags of `cargo xtask demo`.
#[derive(Args)]
pub(crate) struct DemoArgs {
    /// Port on 127.0.0.1 to serve the page at; 0 takes any free one
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
    // A taken port must show before a build of minutes, not after it.
    let server = Server::bind(tools.root().join("dist"), args.port)?;
    page::build(tools, &args.profile)?;
    let address = format!("http://{}/", server.address()?);
    println!("\nThe page is at {address} (Ctrl-C ends)");
    if !args.no_open {
        open(tools, &address);
    }
    server.run();
    Ok(())
}

/// Opens the page in the user's browser; where that fails, the address printed
/// above will do.
fn open(tools: &Toolbox, address: &str) {
    let words: &[&str] = if cfg!(target_os = "macos") {
        &["open"]
    } else if cfg!(windows) {
        &["cmd", "/C", "start"]
    } else {
        &["xdg-open"]
    };
    let mut command: Command = tools.command(words[0]);
    command.args(&words[1..]).arg(address).spawn().ok();
}
