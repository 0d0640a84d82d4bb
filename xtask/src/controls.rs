//! `cargo xtask controls`: the same training with random blobs in place of regions, and without any
//! pre-training, over several seeds, so that a gain is known to come from where we say.
//!
//! It can be stopped and started again at any time: each stage goes on where it was.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use clap::Args;

use crate::controls_table::{self, Measured};
use crate::marked;
use crate::rmae::{Rmae, SMALL, folders, full, made, positive, words};
use crate::toolbox::Toolbox;

/// The page that shows the table.
const PAGE: &str = "docs/controls.md";
/// Weight of segments where there are label maps: they serve the photos that have none.
const WHERE_NO_MAP: &str = "fh:0.001";

/// Flags of `cargo xtask controls`.
#[derive(Args)]
pub(crate) struct ControlsArgs {
    /// Folder for runs and results; the same one again goes on
    #[arg(long)]
    out: PathBuf,
    /// Folders of photos
    #[arg(long, required = true, num_args = 1..)]
    images: Vec<PathBuf>,
    /// Folder of label maps of some of the photos (PNG, the photo's stem, 0 is background): objects to
    /// tune on. Without it, segments are tuned on
    #[arg(long)]
    labels: Option<PathBuf>,
    /// Folders with images/ and masks/ that are kept apart, to measure on
    #[arg(long, required = true, num_args = 1..)]
    eval: Vec<PathBuf>,
    /// How often everything is trained, each time from other weights and in another order
    #[arg(long, default_value_t = 3, value_parser = positive)]
    seeds: usize,
    /// Updates of each pre-training
    #[arg(long, default_value_t = 2_000, value_parser = positive)]
    pretrain_steps: usize,
    /// Updates of each tuning on prompts
    #[arg(long, default_value_t = 1_000, value_parser = positive)]
    tune_steps: usize,
    /// Photos of an update
    #[arg(long, default_value_t = 16, value_parser = positive)]
    batch: usize,
    /// Learning rate of both after the warm-up
    #[arg(long, default_value = "8e-4")]
    lr: String,
    /// Side of the model's image in pixels, a multiple of 16: a small one makes many updates affordable
    #[arg(long, default_value_t = 112, value_parser = positive)]
    side: usize,
    /// Objects of each set that are measured, evenly spread
    #[arg(long, default_value_t = 20, value_parser = positive)]
    limit: usize,
    /// Train one more arm, which is tuned on random blobs in place of masks
    #[arg(long)]
    tune_on_blobs: bool,
    /// Where to compute, as `rmae --device` takes it
    #[arg(long, default_value = "auto")]
    device: String,
    /// Options of `rmae` for all trainings, e.g. `-- --depth 6`
    #[arg(last = true)]
    passed_on: Vec<String>,
}

/// Weights that a tuning starts from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Start {
    /// Pre-trained on the photos' segments.
    Regions,
    /// Pre-trained on random blobs: nothing else differs.
    Blobs,
    /// Random weights: those that both pre-trainings of the seed began with.
    Scratch,
}

impl Start {
    const ALL: [Self; 3] = [Self::Regions, Self::Blobs, Self::Scratch];

    /// The folder of its run.
    fn name(self) -> &'static str {
        match self {
            Self::Regions => "pretrain-regions",
            Self::Blobs => "pretrain-blobs",
            Self::Scratch => "scratch",
        }
    }
}

/// What follows the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tuned {
    /// On prompts for true masks (or segments, where no label maps are given).
    OnMasks,
    /// On prompts for random blobs.
    OnBlobs,
    /// Nothing: what pre-training alone has learnt.
    No,
}

/// What is compared.
#[derive(Debug)]
pub(crate) struct Arm {
    /// Its name in files, and in the table of differences.
    pub(crate) name: &'static str,
    /// What it is, in the table.
    pub(crate) title: &'static str,
    start: Start,
    tuned: Tuned,
}

/// All that may be compared; the last one where it is asked for.
pub(crate) const ARMS: [Arm; 6] = [
    Arm {
        name: "regions",
        title: "pre-trained on regions, tuned on masks",
        start: Start::Regions,
        tuned: Tuned::OnMasks,
    },
    Arm {
        name: "blobs",
        title: "pre-trained on random blobs, tuned on masks",
        start: Start::Blobs,
        tuned: Tuned::OnMasks,
    },
    Arm {
        name: "scratch",
        title: "not pre-trained, tuned on masks",
        start: Start::Scratch,
        tuned: Tuned::OnMasks,
    },
    Arm {
        name: "regions, not tuned",
        title: "pre-trained on regions, not tuned",
        start: Start::Regions,
        tuned: Tuned::No,
    },
    Arm {
        name: "blobs, not tuned",
        title: "pre-trained on random blobs, not tuned",
        start: Start::Blobs,
        tuned: Tuned::No,
    },
    Arm {
        name: "tuned on blobs",
        title: "pre-trained on regions, tuned on random blobs",
        start: Start::Regions,
        tuned: Tuned::OnBlobs,
    },
];

/// Which of [`ARMS`] is held against which: they differ in one thing each.
pub(crate) const PAIRS: [[usize; 2]; 4] = [[0, 1], [0, 2], [3, 4], [0, 5]];

impl Arm {
    /// The folder of its run.
    fn run(&self) -> String {
        match self.tuned {
            Tuned::No => self.start.name().into(),
            _ => format!("tune-{}", self.name.replace(' ', "-")),
        }
    }
}

fn arms(args: &ControlsArgs) -> &'static [Arm] {
    if args.tune_on_blobs { &ARMS } else { &ARMS[..ARMS.len() - 1] }
}

/// Trains and measures what is not done, seed by seed; after each seed the table is written.
///
/// # Errors
/// When a program fails, a file cannot be written, or the folder was begun with other settings; what is
/// done stays.
pub(crate) fn run(tools: &Toolbox, args: &ControlsArgs) -> Result<()> {
    let out = made(&args.out)?;
    same_settings(&out, &settings(args)?)?;
    let rmae = Rmae::build(tools, &args.device)?;
    let mut seeds = vec![];
    for seed in 0..args.seeds {
        seeds.push(one_seed(&rmae, args, &out, seed)?);
        let table = controls_table::markdown(&explained(args, seeds.len()), &seeds);
        let file = out.join("controls.md");
        fs::write(&file, &table).with_context(|| format!("writing {}", file.display()))?;
        println!("\n{table}");
        marked::replace(tools.root(), PAGE, "controls", &table)?;
    }
    println!("The table is in {} and in {PAGE}.", out.join("controls.md").display());
    Ok(())
}

/// Everything of one seed: what each arm reaches.
fn one_seed(rmae: &Rmae<'_>, args: &ControlsArgs, out: &Path, seed: usize) -> Result<Vec<Measured>> {
    let folder = out.join(format!("seed-{seed}"));
    for start in Start::ALL {
        say(args, seed, start.name());
        rmae.train(&folder.join(start.name()), &pretrain(args, out, start, seed)?)?;
    }
    let mut measured = vec![];
    for arm in arms(args) {
        say(args, seed, &arm.run());
        if arm.tuned != Tuned::No {
            rmae.train(&folder.join(arm.run()), &tune(args, out, &folder, arm, seed)?)?;
        }
        let results = folder.join(format!("{}.json", arm.run()));
        if !results.exists() {
            rmae.run(&measure(args, &folder.join(arm.run()), &results)?)?;
        }
        measured.push(Measured::read(&results)?);
    }
    Ok(measured)
}

fn say(args: &ControlsArgs, seed: usize, stage: &str) {
    println!("\n=== seed {} of {}: {stage} ===", seed + 1, args.seeds);
}

/// What all trainings are told.
fn common(args: &ControlsArgs, out: &Path, seed: usize) -> Result<Vec<String>> {
    let mut all = words(&["--seed", &seed.to_string(), "--batch", &args.batch.to_string()]);
    all.extend(words(&["--checkpoint-every", "100", "--keep", "1", "--picture-every", "0"]));
    all.extend(["--region-cache".into(), out.join("segments").display().to_string()]);
    all.push("--images".into());
    all.extend(folders(&args.images)?);
    all.extend(args.passed_on.clone());
    Ok(all)
}

fn pretrain(args: &ControlsArgs, out: &Path, start: Start, seed: usize) -> Result<Vec<String>> {
    let mut all = words(&["pretrain", "--preset", "ti", "--img-size", &args.side.to_string()]);
    all.extend(SMALL.split_whitespace().map(str::to_owned));
    let steps = args.pretrain_steps.to_string();
    all.extend(match start {
        Start::Regions => words(&["--source", "fh:1", "--steps", &steps, "--lr", &args.lr]),
        Start::Blobs => words(&["--source", "blobs:1", "--steps", &steps, "--lr", &args.lr]),
        // A rate of 0 leaves the seed's weights as they were made.
        Start::Scratch => words(&["--source", "blobs:1", "--steps", "1", "--lr", "0"]),
    });
    all.extend(common(args, out, seed)?);
    Ok(all)
}

fn tune(args: &ControlsArgs, out: &Path, folder: &Path, arm: &Arm, seed: usize) -> Result<Vec<String>> {
    let mut all = words(&["tune", "--init", &folder.join(arm.start.name()).display().to_string()]);
    all.extend(words(&["--steps", &args.tune_steps.to_string(), "--lr", &args.lr]));
    all.extend(match &args.labels {
        _ if arm.tuned == Tuned::OnBlobs => words(&["--source", "blobs:1"]),
        Some(labels) => {
            words(&["--source", &format!("labels:{}:1", full(labels)?), "--source", WHERE_NO_MAP])
        }
        None => words(&["--source", "fh:1"]),
    });
    if args.labels.is_some() && arm.tuned == Tuned::OnMasks {
        all.extend(words(&["--labels-background", "0"]));
    }
    all.extend(common(args, out, seed)?);
    Ok(all)
}

fn measure(args: &ControlsArgs, model: &Path, results: &Path) -> Result<Vec<String>> {
    let mut all = words(&["eval", "prompts", "--model", &model.display().to_string()]);
    all.extend(words(&["--baselines", "model-alone", "--baselines-only", "--completion"]));
    all.extend(words(&["--max-clicks", "10", "--limit", &args.limit.to_string()]));
    all.extend(["--json".into(), results.display().to_string(), "--data".into()]);
    all.extend(folders(&args.eval)?);
    Ok(all)
}

/// All that must be the same for results to be comparable.
fn settings(args: &ControlsArgs) -> Result<String> {
    let labels = args.labels.as_deref().map(full).transpose()?.unwrap_or_default();
    Ok(format!(
        "images = {:?}\nlabels = {labels:?}\neval = {:?}\npretrain_steps = {}\ntune_steps = {}\n\
         batch = {}\nlr = {:?}\nside = {}\nlimit = {}\npassed_on = {:?}\n",
        folders(&args.images)?,
        folders(&args.eval)?,
        args.pretrain_steps,
        args.tune_steps,
        args.batch,
        args.lr,
        args.side,
        args.limit,
        args.passed_on
    ))
}

/// Keeps the settings of a new folder; refuses others in one that was begun: its runs would go on with
/// what they were told first, and the table would compare what cannot be compared.
fn same_settings(out: &Path, settings: &str) -> Result<()> {
    let file = out.join("settings.toml");
    if let Ok(begun) = fs::read_to_string(&file) {
        ensure!(
            begun == settings,
            "{} was begun with other settings; name another --out, or give the ones in {}",
            out.display(),
            file.display()
        );
        return Ok(());
    }
    fs::write(&file, settings).with_context(|| format!("writing {}", file.display()))
}

/// What was done, above the table.
fn explained(args: &ControlsArgs, seeds: usize) -> String {
    let (pretrain, tune, batch) = (args.pretrain_steps, args.tune_steps, args.batch);
    let options = args.passed_on.join(" ");
    let more = if options.is_empty() { options } else { format!(" Options beside: `{options}`.") };
    format!(
        "{seeds} {}; Ti preset with the small heads of `train-demo-model`, {} pixels; {pretrain} updates of \
         pre-training and {tune} of tuning, {batch} photos each, peak rate {} for both.{more}",
        if seeds == 1 { "seed" } else { "seeds" },
        args.side,
        args.lr
    )
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        args: ControlsArgs,
    }

    fn args(more: &[&str]) -> ControlsArgs {
        let here = env!("CARGO_MANIFEST_DIR");
        let line = ["", "--out", "x", "--images", here, "--eval", here];
        Command::try_parse_from(line.iter().chain(more)).unwrap().args
    }

    /// The arguments without the given flags and their values.
    fn without(arguments: &[String], flags: &[&str]) -> Vec<String> {
        let mut rest = arguments.iter();
        let mut kept = vec![];
        while let Some(word) = rest.next() {
            if flags.contains(&word.as_str()) {
                rest.next();
            } else {
                kept.push(word.clone());
            }
        }
        kept
    }

    #[test]
    fn the_pre_trainings_differ_in_their_regions_alone() {
        let of = |start| pretrain(&args(&[]), Path::new("/out"), start, 2).unwrap();
        let (regions, blobs) = (of(Start::Regions), of(Start::Blobs));
        assert!(regions.join(" ").contains("--source fh:1") && blobs.join(" ").contains("--source blobs:1"));
        assert_eq!(without(&regions, &["--source"]), without(&blobs, &["--source"]));
        let scratch = of(Start::Scratch);
        assert!(scratch.join(" ").contains("--steps 1 --lr 0"));
        let own = ["--source", "--steps", "--lr"];
        assert_eq!(without(&scratch, &own), without(&blobs, &own), "the same seed and model");
    }

    #[test]
    fn the_tunings_differ_in_their_start_alone_unless_they_are_on_blobs() {
        let labels = env!("CARGO_MANIFEST_DIR");
        let args = args(&["--labels", labels, "--tune-steps", "7"]);
        let of = |arm: &Arm| tune(&args, Path::new("/out"), Path::new("/out/seed-0"), arm, 0).unwrap();
        let tuned: Vec<&Arm> = ARMS.iter().filter(|arm| arm.tuned != Tuned::No).collect();
        let told: Vec<Vec<String>> = tuned.iter().map(|arm| of(arm)).collect();
        for (arm, told) in tuned.iter().zip(&told) {
            assert!(told[2].ends_with(arm.start.name()), "{told:?}");
            assert!(told.join(" ").contains("--steps 7 --lr 8e-4"));
        }
        let [ours, blobs, scratch, on_blobs] = [0, 1, 2, 3].map(|at| without(&told[at], &["--init"]));
        assert_eq!((&ours, &ours), (&blobs, &scratch));
        assert_eq!(told[0][2], told[3][2], "the same start");
        let regions = ["--source", "--labels-background"];
        assert_eq!(without(&ours, &regions), without(&on_blobs, &regions));
        assert!(ours.join(" ").contains(&format!("labels:{}:1", full(Path::new(labels)).unwrap())));
        assert!(on_blobs.join(" ").contains("--source blobs:1"));
    }

    #[test]
    fn what_is_held_against_each_other_differs_in_one_thing() {
        for [ours, other] in PAIRS.map(|pair| pair.map(|at| &ARMS[at])) {
            let differences = [ours.start != other.start, ours.tuned != other.tuned];
            assert_eq!(differences.iter().filter(|differs| **differs).count(), 1, "{ours:?} and {other:?}");
        }
        let runs: std::collections::HashSet<String> = ARMS.iter().map(Arm::run).collect();
        assert_eq!(runs.len(), ARMS.len(), "each has a file of its own");
        assert!(arms(&args(&[])).iter().all(|arm| arm.tuned != Tuned::OnBlobs));
        assert_eq!(arms(&args(&["--tune-on-blobs"])).len(), ARMS.len());
    }

    #[test]
    fn a_folder_keeps_to_the_settings_that_it_was_begun_with() {
        let out = std::env::temp_dir().join(format!("xtask-controls-{}", std::process::id()));
        fs::create_dir_all(&out).unwrap();
        let first = settings(&args(&[])).unwrap();
        same_settings(&out, &first).unwrap();
        same_settings(&out, &settings(&args(&["--seeds", "9"])).unwrap()).unwrap();
        let other = settings(&args(&["--tune-steps", "7"])).unwrap();
        let refused = same_settings(&out, &other).unwrap_err().to_string();
        assert!(refused.contains("other settings") && refused.contains("--out"), "{refused}");
        fs::remove_dir_all(out).unwrap();
    }
}
