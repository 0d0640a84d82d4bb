//! `cargo xtask bench`: this project and another implementation of the same
//! thing, run in turns on the same machine.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};
use serde_json::Value;

use crate::toolbox::Toolbox;
use crate::{bench_gpu, bench_hardware, bench_model, needs, node, page, python};

/// Flags of `cargo xtask bench`.
#[derive(Args)]
pub(crate) struct BenchArgs {
    /// What to compare; everything when none is named
    parts: Vec<Part>,
    /// A Python that has the other implementations; without it, one is made in `target/peers-venv`
    #[arg(long)]
    python: Option<PathBuf>,
    /// How often each side is run
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Sizes of the model for `train` and `encode`
    #[arg(long, value_enum, value_delimiter = ',', default_value = "ti,s,b")]
    preset: Vec<bench_model::Size>,
    /// The adapter of `gpu` and `hardware`: a part of its name [default: lavapipe; the hardware GPU]
    #[arg(long)]
    device: Option<String>,
    /// For `hardware`: build and put together what it needs, and stop; it then runs where there is no
    /// compiler, by `python3 benches/hardware.py`
    #[arg(long)]
    pack: bool,
    /// Arguments for both sides' programs, e.g. `-- photo.png --scales 500,1000`
    #[arg(last = true)]
    passed_on: Vec<String>,
}

/// One comparison.
#[derive(Clone, Copy, ValueEnum)]
enum Part {
    /// Felzenszwalb-Huttenlocher regions against scikit-image, one core each
    Fh,
    /// Loading photos of two sizes against torchvision, one core each
    Loader,
    /// The page's encoder against onnxruntime-web, and a further prompt against it, in the same browser
    Web,
    /// A training step on the CPU against PyTorch, eager and compiled
    Train,
    /// The encoder on the CPU against PyTorch and onnxruntime
    Encode,
    /// Products and a training step on a GPU against a plain kernel and Burn
    Gpu,
    /// Everything that only a hardware GPU can show, against PyTorch, within ten minutes; only when named
    Hardware,
}

/// How a comparison is run. Both programs take the same arguments, and print one
/// JSON object with the `seconds` of each of their repetitions.
struct Comparison {
    title: &'static str,
    /// `cargo` arguments that select this project's side.
    ours: &'static [&'static str],
    /// The Python script of the other side.
    theirs: &'static str,
    /// Arguments for both.
    with: &'static [&'static str],
    /// What the script imports, as Python names it and as pip does.
    module: &'static str,
    pip: &'static str,
    /// Fields that must be equal for the comparison to mean anything.
    same: &'static [&'static str],
    /// How many times faster this project must be.
    target: f64,
}

const FH: Comparison = Comparison {
    title: "FH regions, scikit-image / ours",
    ours: &["-p", "rmae-core", "--example", "fh_bench"],
    theirs: "benches/peers/fh.py",
    with: &[],
    module: "skimage",
    pip: "scikit-image==0.26.0",
    same: &["image_checksum", "scales", "segments"],
    target: 15.0,
};

/// Small photos, as data sets have them, and large ones, as cameras make them.
const LOADER: [Comparison; 2] = [
    loader(
        "photos of 500 x 375 to crops of 224, torchvision / ours",
        // Enough that the memory of a new loader counts for little.
        &["--size", "500x375", "--images", "1024"],
    ),
    loader(
        "photos of 2048 x 1536 to crops of 224, torchvision / ours",
        &["--size", "2048x1536", "--images", "128"],
    ),
];

const fn loader(title: &'static str, with: &'static [&'static str]) -> Comparison {
    Comparison {
        title,
        ours: &["-p", "rmae-train", "--example", "loader_bench"],
        theirs: "benches/peers/loader.py",
        with,
        module: "torchvision",
        pip: "torchvision==0.29.2",
        same: &["photos", "bytes", "images"],
        target: 3.0,
    }
}

impl BenchArgs {
    fn chosen(&self) -> &[Part] {
        let everywhere = || Part::value_variants().split_last().map_or(&[][..], |(_hardware, others)| others);
        if self.parts.is_empty() { everywhere() } else { &self.parts }
    }

    /// Whether a browser and what runs in it are needed.
    pub(crate) fn in_browser(&self) -> bool {
        self.chosen().iter().any(|part| matches!(part, Part::Web))
    }
}

/// Runs the comparisons asked for.
///
/// # Errors
/// When a program is missing or fails, when the two sides did not do the same
/// thing, or when this project is slower than it should be.
pub(crate) fn run(tools: &Toolbox, args: &BenchArgs) -> Result<()> {
    args.chosen().iter().try_for_each(|part| match part {
        Part::Fh => compare(tools, args, &FH),
        Part::Loader => loaders(tools, args),
        Part::Web => compare_in_browser(tools, args),
        Part::Train => models(tools, args, bench_model::Kind::Train),
        Part::Encode => models(tools, args, bench_model::Kind::Encode),
        Part::Gpu => {
            bench_gpu::compare(tools, args.device.as_deref().unwrap_or(bench_gpu::SOFTWARE), args.rounds)
        }
        Part::Hardware => hardware(tools, args),
    })
}

fn hardware(tools: &Toolbox, args: &BenchArgs) -> Result<()> {
    let programs = bench_hardware::pack(tools)?;
    if args.pack {
        println!(
            "Put together in {}; run `python3 benches/hardware.py` on the GPU's machine",
            programs.display()
        );
        return Ok(());
    }
    bench_hardware::run(tools, &programs, args.device.as_deref(), args.python.as_deref(), &args.passed_on)
}

/// All sizes, also where one is slower than wanted.
fn loaders(tools: &Toolbox, args: &BenchArgs) -> Result<()> {
    let results: Vec<Result<()>> = LOADER.iter().map(|one| compare(tools, args, one)).collect();
    results.into_iter().collect()
}

fn models(tools: &Toolbox, args: &BenchArgs, kind: bench_model::Kind) -> Result<()> {
    bench_model::compare(tools, kind, &args.preset, args.rounds, args.python.as_deref())
}

/// Builds the page as visitors get it, and lets a script run both engines in turns in one browser.
fn compare_in_browser(tools: &Toolbox, args: &BenchArgs) -> Result<()> {
    println!("\n=== encoder in the browser, onnxruntime-web / ours ===");
    let chromium = needs::chromium(tools).context("no Chromium; run `cargo xtask setup`")?;
    let dist = page::build(tools, page::PROFILE)?;
    let script = format!("{}/bench.mjs", node::PEERS);
    let mut command = node::node(tools, [&script, &args.rounds.to_string()]);
    tools.run(command.env("RMAE_CHROMIUM", chromium).env("RMAE_DIST", dist))
}

/// Builds our side as users do, and runs both in turns, so that a slow moment of the machine hits both.
fn compare(tools: &Toolbox, args: &BenchArgs, comparison: &Comparison) -> Result<()> {
    println!("\n=== {} ===", comparison.title);
    let python = python::with(tools, args.python.as_deref(), comparison.module, comparison.pip)?;
    tools.run(tools.command("cargo").args(["build", "--release"]).args(comparison.ours))?;
    let mut ratios = vec![];
    for round in 1..=args.rounds {
        let ours = report(tools, our_side(tools, comparison).args(&args.passed_on))?;
        let theirs = report(tools, their_side(tools, &python, comparison).args(&args.passed_on))?;
        check_same(comparison, &ours, &theirs)?;
        let (ours, theirs) = (median_seconds(&ours)?, median_seconds(&theirs)?);
        println!("round {round}: ours {ours:.4} s, theirs {theirs:.4} s, ratio {:.2}", theirs / ours);
        ratios.push(theirs / ours);
    }
    let ratio = median(&mut ratios).context("no round was run")?;
    println!("{}: median ratio {ratio:.2}, wanted {}", comparison.title, comparison.target);
    ensure!(ratio >= comparison.target, "slower than wanted");
    Ok(())
}

fn our_side(tools: &Toolbox, comparison: &Comparison) -> Command {
    let mut command = tools.command("cargo");
    command.args(["run", "--release", "--quiet"]).args(comparison.ours).arg("--").args(comparison.with);
    command
}

fn their_side(tools: &Toolbox, python: &Path, comparison: &Comparison) -> Command {
    let mut command = tools.command(python);
    command.arg(comparison.theirs).args(comparison.with);
    command
}

/// The JSON object that a program prints as its last line.
fn report(tools: &Toolbox, command: &mut Command) -> Result<Value> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = tools.capture(command).with_context(|| format!("{name} failed"))?;
    let line = output.lines().last().with_context(|| format!("{name} printed nothing"))?;
    serde_json::from_str(line).with_context(|| format!("{name} printed no JSON, but: {line}"))
}

fn check_same(comparison: &Comparison, ours: &Value, theirs: &Value) -> Result<()> {
    for &field in comparison.same {
        let (ours, theirs) = (&ours[field], &theirs[field]);
        ensure!(ours == theirs, "the two sides differ in `{field}`: ours {ours}, theirs {theirs}");
    }
    Ok(())
}

pub(crate) fn median_seconds(report: &Value) -> Result<f64> {
    let seconds = report["seconds"].as_array().context("a report without `seconds`")?;
    let mut seconds: Vec<f64> = seconds.iter().filter_map(Value::as_f64).filter(|&s| s > 0.0).collect();
    median(&mut seconds).context("no positive number in `seconds`")
}

pub(crate) fn median(values: &mut [f64]) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let upper = *values.get(middle)?;
    let lower = if values.len().is_multiple_of(2) { values[middle - 1] } else { upper };
    Some(f64::midpoint(lower, upper))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn medians() {
        assert_eq!(median(&mut []), None);
        assert_eq!(median(&mut [3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&mut [4.0, 1.0, 2.0, 3.0]), Some(2.5));
    }

    #[test]
    fn a_report_needs_seconds() {
        assert_eq!(median_seconds(&json!({ "seconds": [0.5, 0.25, 1.0] })).ok(), Some(0.5));
        for wrong in [json!({}), json!({ "seconds": [] }), json!({ "seconds": [0.0, -1.0, "x"] })] {
            assert!(median_seconds(&wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn sides_that_did_different_things_are_not_compared() {
        let comparison = FH;
        let report = |segments: u32| json!({ "image_checksum": 1, "scales": [500], "segments": [segments] });
        assert!(check_same(&comparison, &report(3), &report(3)).is_ok());
        let error = check_same(&comparison, &report(3), &report(4));
        assert!(error.is_err_and(|error| error.to_string().contains("segments")));
    }
}
