//! `cargo xtask train-demo-model`: the weights that come with the page, made again from folders of
//! photos: pre-trained, tuned on prompts, exported, measured and split.
//!
//! It can be stopped and started again at any time: each stage goes on where it was.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::files;
use crate::toolbox::Toolbox;

/// Flags of `cargo xtask train-demo-model`.
#[derive(Args)]
pub(crate) struct TrainDemoArgs {
    /// Folder for runs and results; the same one again goes on
    #[arg(long)]
    out: PathBuf,
    /// Folders of photos
    #[arg(long, required = true, num_args = 1..)]
    images: Vec<PathBuf>,
    /// Folder of label maps of some of the photos (PNG, the photo's stem): objects to tune on
    #[arg(long)]
    labels: Option<PathBuf>,
    /// Folders with images/ and masks/ that are kept apart, to measure on
    #[arg(long, num_args = 1..)]
    eval: Vec<PathBuf>,
    /// Size of the model
    #[arg(long, default_value = "ti", value_parser = ["ti", "s", "b", "l", "h"])]
    preset: String,
    /// Updates of pre-training
    #[arg(long, default_value_t = 20_000)]
    pretrain_steps: u32,
    /// Updates of tuning on prompts
    #[arg(long, default_value_t = 8_000)]
    tune_steps: u32,
    /// Photos of an update
    #[arg(long, default_value_t = 16)]
    batch: u32,
    /// Where to compute, as `rmae --device` takes it
    #[arg(long, default_value = "auto")]
    device: String,
    /// Most megabytes (10⁶ bytes) of a file in `parts/`
    #[arg(long, default_value_t = 15, value_parser = positive)]
    part_mb: usize,
    /// Options of `rmae` for both trainings, e.g. `-- --seed 1`
    #[arg(last = true)]
    passed_on: Vec<String>,
}

fn positive(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|&number| number > 0).ok_or_else(|| "must be a number of at least 1".into())
}

/// Runs every stage that is not done.
///
/// # Errors
/// When a program fails or a file cannot be written; what is done stays.
pub(crate) fn run(tools: &Toolbox, args: &TrainDemoArgs) -> Result<()> {
    tools.run(tools.command("cargo").args(["build", "--release", "--workspace", "--bins"]))?;
    fs::create_dir_all(&args.out).with_context(|| format!("making {}", args.out.display()))?;
    // Programs run in the workspace: what the user named is relative to where he is.
    let out = fs::canonicalize(&args.out)?;
    for (run, arguments) in [("pretrain", pretrain(args)?), ("tune", tune(args, &out)?)] {
        train(tools, args, run, &out.join(run), &arguments)?;
    }
    let model = out.join(format!("rmae-{}.safetensors", args.preset));
    let tuned = out.join("tune").display().to_string();
    let model_name = model.display().to_string();
    rmae(
        tools,
        args,
        &["export", "--model", &tuned, "--part", "all", "--dtype", "f16", "--out", &model_name],
    )?;
    describe(&model, &args.preset)?;
    measure(tools, args, &out, &model_name)?;
    let parts = split(&model, &out.join("parts"), args.part_mb * 1_000_000)?;
    println!("\nThe weights are {model_name}, in {parts} parts of at most {} MB in parts/.", args.part_mb);
    println!("To ship them, copy that file and its .json into web/weights/.");
    Ok(())
}

/// An absolute path, as text.
fn full(path: &Path) -> Result<String> {
    let path = fs::canonicalize(path).with_context(|| format!("there is no {}", path.display()))?;
    Ok(path.display().to_string())
}

fn folders(paths: &[PathBuf]) -> Result<Vec<String>> {
    paths.iter().map(|path| full(path)).collect()
}

fn words(list: &[&str]) -> Vec<String> {
    list.iter().map(ToString::to_string).collect()
}

/// What both trainings are told.
fn common(args: &TrainDemoArgs, steps: u32) -> Result<Vec<String>> {
    let mut all = words(&["--batch", &args.batch.to_string(), "--steps", &steps.to_string(), "--images"]);
    all.extend(folders(&args.images)?);
    if let Some(labels) = &args.labels {
        all.extend(["--source".into(), format!("labels:{}:1", full(labels)?)]);
        all.extend(words(&["--source", "fh:1"]));
    }
    Ok(all)
}

/// What makes the model small enough to be fetched by a page (14.7 MB in f16): heads of a width of 128,
/// and four regions at a time.
const SMALL: &str = "--decoder-embed-dim 128 --decoder-depth 2 --decoder-num-heads 4 --num-region 4 \
    --region-enc-dim 128 --region-enc-num-heads 8 --region-dec-dim 128 --region-dec-num-heads 8 --region-cross-layer 4";

fn pretrain(args: &TrainDemoArgs) -> Result<Vec<String>> {
    let mut all = words(&["pretrain", "--preset", &args.preset]);
    if args.preset == "ti" {
        all.extend(SMALL.split_whitespace().map(str::to_owned));
    }
    all.extend(common(args, args.pretrain_steps)?);
    Ok(all)
}

fn tune(args: &TrainDemoArgs, out: &Path) -> Result<Vec<String>> {
    let mut all = words(&["tune", "--init", &out.join("pretrain").display().to_string()]);
    all.extend(common(args, args.tune_steps)?);
    Ok(all)
}

/// Starts a run, or goes on with it where there is a checkpoint; one that is done ends at once.
fn train(tools: &Toolbox, args: &TrainDemoArgs, name: &str, run: &Path, arguments: &[String]) -> Result<()> {
    println!("\n=== {name} ===");
    let mut all =
        if begun(run) { words(&[&arguments[0], "--resume"]) } else { [arguments, &args.passed_on].concat() };
    all.extend(["--out".into(), run.display().to_string()]);
    rmae(tools, args, &all)
}

fn begun(run: &Path) -> bool {
    let is_one = |name: &str| name.starts_with("checkpoint-") && name.ends_with(".safetensors");
    let entries = fs::read_dir(run).into_iter().flatten().flatten();
    entries.into_iter().any(|entry| entry.file_name().to_str().is_some_and(is_one))
}

fn rmae(tools: &Toolbox, args: &TrainDemoArgs, arguments: &[impl AsRef<str>]) -> Result<()> {
    let program = tools.root().join("target/release").join(format!("rmae{}", std::env::consts::EXE_SUFFIX));
    let mut command = tools.command(program);
    command.args(["--device", &args.device]).args(arguments.iter().map(AsRef::as_ref));
    tools.run(&mut command)
}

/// Writes what the page reads of weights before it fetches them.
fn describe(model: &Path, preset: &str) -> Result<()> {
    let content = fs::read(model).with_context(|| format!("reading {}", model.display()))?;
    let sha256 = files::hex(&Sha256::digest(&content));
    let file = model.file_name().unwrap_or_default().to_string_lossy();
    let name = format!("R-MAE {}{}", preset[..1].to_uppercase(), &preset[1..]);
    let card = json!({ "file": file, "bytes": content.len(), "sha256": sha256, "name": name });
    let card_file = model.with_extension("json");
    fs::write(&card_file, format!("{card:#}\n")).with_context(|| format!("writing {}", card_file.display()))
}

fn measure(tools: &Toolbox, args: &TrainDemoArgs, out: &Path, model: &str) -> Result<()> {
    if args.eval.is_empty() {
        println!("No --eval folders: the weights are not measured.");
        return Ok(());
    }
    let mut all =
        words(&["eval", "prompts", "--model", model, "--baselines", "model,model-alone,refinement,fh"]);
    all.push("--data".into());
    all.extend(folders(&args.eval)?);
    for (flag, file) in
        [("--json", "results.json"), ("--curves", "results.png"), ("--markdown", "results.md")]
    {
        all.extend([flag.into(), out.join(file).display().to_string()]);
    }
    rmae(tools, args, &all)
}

/// Splits a file into `NAME.000`, `NAME.001`, … of at most `most` bytes; `cat NAME.*` makes it whole.
fn split(file: &Path, into: &Path, most: usize) -> Result<usize> {
    if into.exists() {
        fs::remove_dir_all(into).with_context(|| format!("emptying {}", into.display()))?;
    }
    fs::create_dir_all(into).with_context(|| format!("making {}", into.display()))?;
    let name = file.file_name().context("weights without a name")?.to_string_lossy().into_owned();
    let content = fs::read(file).with_context(|| format!("reading {}", file.display()))?;
    ensure!(!content.is_empty(), "{} is empty", file.display());
    let parts = content.chunks(most);
    let count = parts.len();
    for (at, part) in parts.enumerate() {
        let to = into.join(format!("{name}.{at:03}"));
        fs::write(&to, part).with_context(|| format!("writing {}", to.display()))?;
    }
    Ok(count)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        args: TrainDemoArgs,
    }

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("xtask-train-demo-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        folder
    }

    #[test]
    fn parts_make_the_whole_again() {
        let folder = folder("parts");
        let (file, parts) = (folder.join("m.safetensors"), folder.join("parts"));
        let content: Vec<u8> = (0..2500u32).map(|i| (i % 251) as u8).collect();
        fs::write(&file, &content).unwrap();
        assert_eq!(split(&file, &parts, 1000).unwrap(), 3);
        assert_eq!(split(&file, &parts, 1250).unwrap(), 2);
        let read = |part: &str| fs::read(parts.join(format!("m.safetensors.{part}"))).unwrap();
        assert_eq!([read("000"), read("001")].concat(), content);
        assert!(!parts.join("m.safetensors.002").exists());
        fs::write(&file, "").unwrap();
        assert!(split(&file, &parts, 10).is_err());
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_run_is_begun_once_it_has_a_checkpoint() {
        let folder = folder("begun");
        assert!(!begun(&folder) && !begun(&folder.join("nowhere")));
        fs::write(folder.join("config.toml"), "").unwrap();
        assert!(!begun(&folder));
        fs::write(folder.join("checkpoint-00000010.safetensors"), "").unwrap();
        assert!(begun(&folder));
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn trainings_are_told_the_folders_in_full() {
        let folder = folder("told");
        let name = folder.display().to_string();
        let line = ["", "--out", "x", "--images", &name, "--labels", &name, "--tune-steps", "7"];
        let args = Command::try_parse_from(line).unwrap().args;
        let full = full(&folder).unwrap();
        let told = tune(&args, Path::new("/runs")).unwrap().join(" ");
        assert_eq!(
            told,
            format!(
                "tune --init {} --batch 16 --steps 7 --images {full} --source labels:{full}:1 --source fh:1",
                Path::new("/runs").join("pretrain").display()
            )
        );
        let missing = Command::try_parse_from(["", "--out", "x", "--images", "no such folder"]).unwrap().args;
        assert!(format!("{:#}", pretrain(&missing).unwrap_err()).contains("no such folder"));
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn the_card_tells_size_and_hash() {
        let folder = folder("card");
        let model = folder.join("rmae-ti.safetensors");
        fs::write(&model, "abc").unwrap();
        describe(&model, "ti").unwrap();
        let card: serde_json::Value =
            serde_json::from_str(&fs::read_to_string(folder.join("rmae-ti.json")).unwrap()).unwrap();
        assert_eq!(
            (&card["file"], &card["bytes"], &card["name"]),
            (&json!("rmae-ti.safetensors"), &json!(3), &json!("R-MAE Ti"))
        );
        assert_eq!(card["sha256"], "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        fs::remove_dir_all(folder).unwrap();
    }
}
