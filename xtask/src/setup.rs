//! `cargo xtask setup`: installs what is missing, and only that.

use anyhow::{Context, Result, bail};

use crate::needs::Need;
use crate::toolbox::Toolbox;

/// Makes sure that everything in `needs` is there.
///
/// # Errors
/// When something is missing and may not or cannot be installed. Everything
/// else is looked at first, so that one run tells all that is wrong.
pub(crate) fn ensure(tools: &Toolbox, needs: &[Need], may_install: bool) -> Result<()> {
    println!("Tools");
    let missing: Vec<Need> = needs.iter().copied().filter(|&need| !report(tools, need)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    if !may_install {
        bail!("missing: {}; run `cargo xtask setup`", names(&missing));
    }
    let failed: Vec<Need> = missing.into_iter().filter(|&need| !install(tools, need)).collect();
    if !failed.is_empty() {
        bail!("could not be installed (see above): {}", names(&failed));
    }
    Ok(())
}

/// Prints where something is, or that it is missing; true when it is there.
fn report(tools: &Toolbox, need: Need) -> bool {
    let found = need.find(tools);
    let place = found.as_deref().unwrap_or("missing");
    println!("  {:<26} {place}", need.name());
    found.is_some()
}

/// Installs one thing and looks whether it is there now.
fn install(tools: &Toolbox, need: Need) -> bool {
    println!("\nInstalling {}: it {}", need.name(), need.why());
    let present = || need.find(tools).context("it is still not found after installing it");
    match need.install(tools).and_then(|()| present()) {
        Ok(place) => {
            println!("  {} is now {place}", need.name());
            true
        }
        Err(error) => {
            eprintln!("  {} was not installed: {error:#}", need.name());
            false
        }
    }
}

fn names(needs: &[Need]) -> String {
    let names: Vec<&str> = needs.iter().map(|need| need.name()).collect();
    names.join(", ")
}
