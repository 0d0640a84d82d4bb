//! The command line `rmae`, as the commands that train for hours drive it: built once, run in the
//! workspace, each run going on where it was.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::toolbox::Toolbox;

/// What makes the model small enough to be fetched by a page (14.7 MB in f16): heads of a width of 128,
/// and four regions at a time.
pub(crate) const SMALL: &str = "--decoder-embed-dim 128 --decoder-depth 2 --decoder-num-heads 4 --num-region 4 \
    --region-enc-dim 128 --region-enc-num-heads 8 --region-dec-dim 128 --region-dec-num-heads 8 --region-cross-layer 4";

/// The program, and where it computes.
pub(crate) struct Rmae<'a> {
    tools: &'a Toolbox,
    device: &'a str,
}

impl<'a> Rmae<'a> {
    /// Builds the program; `device` is what `rmae --device` takes.
    ///
    /// # Errors
    /// When it does not build.
    pub(crate) fn build(tools: &'a Toolbox, device: &'a str) -> Result<Self> {
        tools.run(tools.command("cargo").args([
            "build",
            "--release",
            "-p",
            "rmae-train",
            "--bin",
            "rmae",
        ]))?;
        Ok(Self { tools, device })
    }

    /// A run of it, not started yet.
    pub(crate) fn command(&self, arguments: &[impl AsRef<str>]) -> Command {
        let file = format!("rmae{}", std::env::consts::EXE_SUFFIX);
        let mut command = self.tools.command(self.tools.root().join("target/release").join(file));
        command.args(["--device", self.device]).args(arguments.iter().map(AsRef::as_ref));
        command
    }

    /// Runs it.
    ///
    /// # Errors
    /// When it cannot be started or fails.
    pub(crate) fn run(&self, arguments: &[impl AsRef<str>]) -> Result<()> {
        self.tools.run(&mut self.command(arguments))
    }

    /// Starts a run (`pretrain …`, `tune …`), or goes on with it where there is a checkpoint; one that is
    /// done ends at once.
    ///
    /// # Errors
    /// As [`Rmae::run`].
    pub(crate) fn train(&self, run: &Path, arguments: &[String]) -> Result<()> {
        let resumed = arguments.iter().take(1).cloned().chain(words(&["--resume"]));
        let mut all: Vec<String> = if begun(run) { resumed.collect() } else { arguments.to_vec() };
        all.extend(["--out".into(), run.display().to_string()]);
        self.run(&all)
    }
}

fn begun(run: &Path) -> bool {
    let is_one = |name: &str| name.starts_with("checkpoint-") && name.ends_with(".safetensors");
    let entries = fs::read_dir(run).into_iter().flatten().flatten();
    entries.into_iter().any(|entry| entry.file_name().to_str().is_some_and(is_one))
}

/// Makes a folder, where there is none; its absolute path, as programs run in the workspace, and what
/// the user named is relative to where he is.
///
/// # Errors
/// When it cannot be made.
pub(crate) fn made(folder: &Path) -> Result<PathBuf> {
    fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    fs::canonicalize(folder).with_context(|| format!("finding {}", folder.display()))
}

/// An absolute path, as text.
///
/// # Errors
/// When there is nothing of that name.
pub(crate) fn full(path: &Path) -> Result<String> {
    let path = fs::canonicalize(path).with_context(|| format!("there is no {}", path.display()))?;
    Ok(path.display().to_string())
}

/// Absolute paths, as text.
///
/// # Errors
/// As [`full`].
pub(crate) fn folders(paths: &[PathBuf]) -> Result<Vec<String>> {
    paths.iter().map(|path| full(path)).collect()
}

/// Arguments, as they are typed.
pub(crate) fn words(list: &[&str]) -> Vec<String> {
    list.iter().map(ToString::to_string).collect()
}

/// A number of at least 1, for flags.
///
/// # Errors
/// Anything else.
pub(crate) fn positive(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|&number| number > 0).ok_or_else(|| "must be a number of at least 1".into())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_begun_once_it_has_a_checkpoint() {
        let folder = std::env::temp_dir().join(format!("xtask-rmae-begun-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        assert!(!begun(&folder) && !begun(&folder.join("nowhere")));
        fs::write(folder.join("config.toml"), "").unwrap();
        assert!(!begun(&folder));
        fs::write(folder.join("checkpoint-00000010.safetensors"), "").unwrap();
        assert!(begun(&folder));
        fs::remove_dir_all(folder).unwrap();
    }
}
