//! `cargo xtask bench`: this project and another implementation of the same
//! thing, run in turns on the same machine.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};

use crate::toolbox::Toolbox;

/// Flags of `cargo xtask bench`.
#[derive(Args)]
pub(crate) struct BenchArgs {
    /// What to compare; everything when none is named
    parts: Vec<Part>,
    /// A Python that has the other implementations; without it, one is made in `.tools/venv`
    #[arg(long)]
    python: Option<PathBuf>,
    /// How often each side is run
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
}

/// One comparison.
#[derive(Clone, Copy, ValueEnum)]
enum Part {
    /// Felzenszwalb-Huttenlocher regions against scikit-image, one core each
    Fh,
}

/// How a comparison is run. Both programs print the seconds that one
/// repetition took as the last word of their last line.
struct Comparison {
    title: &'static str,
    /// `cargo run` arguments of this project's side.
    ours: &'static [&'static str],
    /// The Python script of the other side.
    theirs: &'static str,
    /// What the script imports, as pip names it and as Python does.
    pip: &'static str,
    module: &'static str,
}

impl Part {
    fn comparison(self) -> Comparison {
        match self {
            Self::Fh => Comparison {
                title: "FH segmentation, scikit-image / ours",
                ours: &["-p", "rmae-core", "--example", "fh_bench"],
                theirs: "benches/peers/fh.py",
                pip: "scikit-image",
                module: "skimage",
            },
        }
    }
}

/// Runs the comparisons asked for.
///
/// # Errors
/// When a program is missing, fails, or prints no time.
pub(crate) fn run(tools: &Toolbox, args: &BenchArgs) -> Result<()> {
    let parts = if args.parts.is_empty() { Part::value_variants() } else { &args.parts };
    parts.iter().try_for_each(|part| compare(tools, args, &part.comparison()))
}

/// Runs both sides in turns, so that a slow moment of the machine hits both.
fn compare(tools: &Toolbox, args: &BenchArgs, comparison: &Comparison) -> Result<()> {
    println!("\n=== {} ===", comparison.title);
    let python = python_with(tools, args, comparison)?;
    let mut ratios = vec![];
    for round in 1..=args.rounds {
        let ours = seconds(tools, &mut our_side(tools, comparison))?;
        let theirs = seconds(tools, tools.command(&python).arg(comparison.theirs))?;
        println!("round {round}: ours {ours:.4} s, theirs {theirs:.4} s");
        ratios.push(theirs / ours);
    }
    let ratio = median(&mut ratios).context("no round was run")?;
    println!("{}: median ratio {ratio:.2}", comparison.title);
    Ok(())
}

fn our_side(tools: &Toolbox, comparison: &Comparison) -> Command {
    let mut command = tools.command("cargo");
    command.args(["run", "--quiet", "--release"]).args(comparison.ours);
    command
}

/// A Python that can import the other implementation.
fn python_with(tools: &Toolbox, args: &BenchArgs, comparison: &Comparison) -> Result<PathBuf> {
    if let Some(python) = &args.python {
        if !imports(tools, python, comparison.module) {
            let (python, package) = (python.display(), comparison.pip);
            bail!("{python} cannot import it; run `{python} -m pip install {package}`");
        }
        return Ok(python.clone());
    }
    let folder = tools.private_tools().join("venv");
    let python = folder.join(if cfg!(windows) { "Scripts/python.exe" } else { "bin/python" });
    if !python.is_file() {
        println!("Making a Python environment in {}", folder.display());
        tools.run(tools.command("python3").args(["-m", "venv"]).arg(&folder))?;
    }
    if !imports(tools, &python, comparison.module) {
        println!("Installing {}: the implementation to compare with", comparison.pip);
        tools.run(tools.command(&python).args([
            "-m",
            "pip",
            "install",
            "--quiet",
            comparison.pip,
        ]))?;
    }
    Ok(python)
}

fn imports(tools: &Toolbox, python: &PathBuf, module: &str) -> bool {
    let mut command = tools.command(python);
    command.args(["-c", &format!("import {module}")]);
    tools.capture(&mut command).is_some()
}

fn seconds(tools: &Toolbox, command: &mut Command) -> Result<f64> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = tools.capture(command).with_context(|| format!("{name} failed"))?;
    seconds_in(&output).with_context(|| format!("{name} printed no seconds, but: {output}"))
}

/// The last word of the last line, as positive seconds.
fn seconds_in(output: &str) -> Option<f64> {
    let word = output.lines().last()?.split_whitespace().last()?;
    word.parse().ok().filter(|&seconds: &f64| seconds > 0.0 && seconds.is_finite())
}

fn median(values: &mut [f64]) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let upper = *values.get(middle)?;
    let lower = if values.len().is_multiple_of(2) { values[middle - 1] } else { upper };
    Some((lower + upper) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        assert_eq!(median(&mut []), None);
        assert_eq!(median(&mut [3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&mut [4.0, 1.0, 2.0, 3.0]), Some(2.5));
    }

    #[test]
    fn seconds_stand_last() {
        assert_eq!(seconds_in("12 images\nseconds per image 0.025\n"), Some(0.025));
        for wrong in ["", "none", "0", "-1", "inf", "NaN"] {
            assert_eq!(seconds_in(wrong), None, "{wrong}");
        }
    }
}
