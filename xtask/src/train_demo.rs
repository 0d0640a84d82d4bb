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
use crate::rmae::{Rmae, SMALL, folders, full, made, positive, words};
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
    /// Updates of tuning on prompts, on photos of 160 pixels
    #[arg(long, default_value_t = 6_000)]
    small_steps: u32,
    /// Updates of tuning on prompts after that, at the model's own size
    #[arg(long, default_value_t = 2_000)]
    tune_steps: u32,
    /// Updates of the pixel decoder on what came of the rest
    #[arg(long, default_value_t = 1_000)]
    pixel_steps: u32,
    /// Photos of an update
    #[arg(long, default_value_t = 16)]
    batch: u32,
    /// Where to compute, as `rmae --device` takes it
    #[arg(long, default_value = "auto")]
    device: String,
    /// Most megabytes (10⁶ bytes) of a file in `parts/`
    #[arg(long, default_value_t = 15, value_parser = positive)]
    part_mb: usize,
    /// Options of `rmae` for all trainings, e.g. `-- --seed 1`
    #[arg(last = true)]
    passed_on: Vec<String>,
}

/// Runs every stage that is not done.
///
/// # Errors
/// When a program fails or a file cannot be written; what is done stays.
pub(crate) fn run(tools: &Toolbox, args: &TrainDemoArgs) -> Result<()> {
    let rmae = Rmae::build(tools, &args.device)?;
    let out = made(&args.out)?;
    for (name, arguments) in trainings(args, &out)? {
        println!("\n=== {name} ===");
        rmae.train(&out.join(name), &arguments)?;
    }
    let model = out.join(format!("rmae-{}.safetensors", args.preset));
    let trained = out.join(LAST).display().to_string();
    let model_name = model.display().to_string();
    rmae.run(&["export", "--model", &trained, "--part", "all", "--dtype", "f16", "--out", &model_name])?;
    describe(&model, &args.preset)?;
    measure(&rmae, args, &out, &model_name)?;
    let parts = split(&model, &out.join("parts"), args.part_mb * 1_000_000)?;
    println!("\nThe weights are {model_name}, in {parts} parts of at most {} MB in parts/.", args.part_mb);
    println!("To ship them, copy that file and its .json into web/weights/.");
    Ok(())
}

/// The last training, and those that it builds on, each on the one before it.
const LAST: &str = "pixels";

/// All trainings in their order: the folder of each and what `rmae` is told.
///
/// On photos of 160 pixels an update takes half the time, so most of the tuning is done there. Tuning sees
/// whole photos and predicts no pixels, so the pixel decoder has to get used to the encoder again.
fn trainings(args: &TrainDemoArgs, out: &Path) -> Result<Vec<(&'static str, Vec<String>)>> {
    let on = |before: &str| out.join(before).display().to_string();
    let mut pretrain = words(&["pretrain", "--preset", &args.preset]);
    if args.preset == "ti" {
        pretrain.extend(SMALL.split_whitespace().map(str::to_owned));
    }
    // H has patches of 14 pixels.
    let side = if args.preset == "h" { "154" } else { "160" };
    let tune = |before: &str| words(&["tune", "--init", &on(before)]);
    let pixels = words(&["pretrain", "--init", &on("tune"), "--freeze", "encoder,regions"]);
    let stages: [(_, _, &[_], _); 4] = [
        ("pretrain", pretrain, &[("--lr", "8e-4")], args.pretrain_steps),
        (
            "tune-small",
            tune("pretrain"),
            &[("--img-size", side), ("--lr", "6e-4"), ("--min-lr", "1e-4")],
            args.small_steps,
        ),
        ("tune", tune("tune-small"), &[("--img-size", "224"), ("--lr", "2e-4")], args.tune_steps),
        (LAST, pixels, &[("--lr", "5e-4")], args.pixel_steps),
    ];
    let told = |(name, mut all, own, steps): (_, Vec<String>, &[(&str, &str)], _)| {
        for (flag, value) in own.iter().filter(|(flag, _)| !passed_on(args, flag)) {
            all.extend(words(&[flag, value]));
        }
        all.extend(common(args, steps)?);
        all.extend(args.passed_on.clone());
        Ok((name, all))
    };
    stages.into_iter().map(told).collect()
}

/// Whether a person set this option, or the one that excludes it.
fn passed_on(args: &TrainDemoArgs, flag: &str) -> bool {
    let name = |word: &String| word.split('=').next().map(str::to_owned);
    let mut names = args.passed_on.iter().filter_map(name);
    names.any(|name| name == flag || flag == "--lr" && name == "--base-lr")
}

/// What all trainings are told.
fn common(args: &TrainDemoArgs, steps: u32) -> Result<Vec<String>> {
    let mut all = words(&["--batch", &args.batch.to_string(), "--steps", &steps.to_string(), "--images"]);
    all.extend(folders(&args.images)?);
    if let Some(labels) = &args.labels {
        all.extend(["--source".into(), format!("labels:{}:1", full(labels)?)]);
        all.extend(words(&["--source", "fh:1"]));
    }
    Ok(all)
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

fn measure(rmae: &Rmae<'_>, args: &TrainDemoArgs, out: &Path, model: &str) -> Result<()> {
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
    rmae.run(&all)
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
    fn trainings_are_told_the_folders_in_full() {
        let folder = folder("told");
        let name = folder.display().to_string();
        let line = ["", "--out", "x", "--images", &name, "--labels", &name, "--tune-steps", "7"];
        let args = Command::try_parse_from(line).unwrap().args;
        let full = full(&folder).unwrap();
        let told: Vec<(&str, String)> = (trainings(&args, Path::new("/runs")).unwrap().into_iter())
            .map(|(name, words)| (name, words.join(" ")))
            .collect();
        let names: Vec<&str> = told.iter().map(|told| told.0).collect();
        assert_eq!(names, ["pretrain", "tune-small", "tune", "pixels"]);
        assert_eq!(
            told[2].1,
            format!(
                "tune --init {} --img-size 224 --lr 2e-4 --batch 16 --steps 7 --images {full} \
                 --source labels:{full}:1 --source fh:1",
                Path::new("/runs").join("tune-small").display()
            )
        );
        let line = [&line[..], &["--", "--lr", "0.5", "--img-size=320"]].concat();
        let own = trainings(&Command::try_parse_from(&line).unwrap().args, Path::new("/runs")).unwrap();
        for flag in ["--lr", "--img-size"] {
            let count = |words: &[String]| words.iter().filter(|word| word.starts_with(flag)).count();
            assert!(own.iter().all(|(_, words)| count(words) == 1), "{own:?}");
        }
        let based = [&line[..5], &["--", "--base-lr", "0.1"]].concat();
        let based = trainings(&Command::try_parse_from(based).unwrap().args, Path::new("/runs")).unwrap();
        assert!(based.iter().all(|(_, words)| !words.contains(&"--lr".to_owned())), "{based:?}");
        let missing = Command::try_parse_from(["", "--out", "x", "--images", "no such folder"]).unwrap().args;
        assert!(
            format!("{:#}", trainings(&missing, Path::new("/runs")).unwrap_err()).contains("no such folder")
        );
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
