//! What `cargo xtask controls` found: means and standard deviations over the seeds, and differences.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::controls::{ARMS, PAIRS};

/// What is measured of an arm, in the order of the columns.
const COLUMNS: [&str; 8] = ["IoU@1", "IoU@3", "IoU@5", "IoU@10", "box", "objects", "segments", "blobs"];
/// Clicks of the first columns.
const CLICKS: [usize; 4] = [1, 3, 5, 10];
/// What is completed in the last columns, as the evaluation calls it.
const KINDS: [&str; 3] = ["object", "fh", "blob"];
/// Completions without a model, as the evaluation calls them, and their titles.
const WITHOUT: [(&str, &str); 2] =
    [("copied", "the visible part alone"), ("nearest", "the nearest visible patch")];
/// The method whose numbers count: the model without the refinement, which would hide what it knows.
const METHOD: &str = "model alone";

/// What one arm reached with one seed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Measured {
    objects: usize,
    sets: usize,
    /// By [`COLUMNS`]; none where nothing could be measured.
    values: [Option<f64>; COLUMNS.len()],
    /// Of each of [`WITHOUT`], each of [`KINDS`] completed.
    without: [[Option<f64>; KINDS.len()]; WITHOUT.len()],
}

impl Measured {
    /// Reads what `rmae eval prompts --json` wrote.
    ///
    /// # Errors
    /// When the file cannot be read, is no evaluation, or has no object.
    pub(crate) fn read(file: &Path) -> Result<Self> {
        let name = file.display();
        let text = fs::read_to_string(file).with_context(|| format!("reading {name}"))?;
        let report: Value = serde_json::from_str(&text)
            .with_context(|| format!("{name} is no evaluation; remove it, so that it is made again"))?;
        let Some(measured) = Self::of(&report) else {
            bail!("{name} has no object that was measured: are there masks in the --eval folders?");
        };
        Ok(measured)
    }

    /// Means over the objects of each set, then over the sets: each counts the same.
    fn of(report: &Value) -> Option<Self> {
        let sets: Vec<Vec<&Value>> = report["sets"]
            .as_array()?
            .iter()
            .map(|set| played(&set["objects"]))
            .filter(|played| !played.is_empty())
            .collect();
        let over_sets = |value: &dyn Fn(&Value) -> Option<f64>| {
            mean(sets.iter().filter_map(|set| mean(set.iter().filter_map(|played| value(played)))))
        };
        let [one, three, five, ten] = CLICKS.map(|clicks| over_sets(&|played| after(played, clicks)));
        let boxed = over_sets(&|played| played["boxed"].as_f64());
        let completed_by = |who: &str| KINDS.map(|kind| completed(&report["completion"], kind, who));
        let [object, segment, blob] = completed_by("model");
        let objects = sets.iter().map(Vec::len).sum();
        (objects > 0).then(|| Self {
            objects,
            sets: sets.len(),
            values: [one, three, five, ten, boxed, object, segment, blob],
            without: WITHOUT.map(|(who, _)| completed_by(who)),
        })
    }
}

/// What the method made of each object.
fn played(objects: &Value) -> Vec<&Value> {
    let objects = objects.as_array().into_iter().flatten();
    objects.map(|object| &object["methods"][METHOD]).filter(|played| played.is_object()).collect()
}

/// IoU after some clicks; when nothing was wrong any more, the last one.
fn after(played: &Value, clicks: usize) -> Option<f64> {
    let all = played["clicks"].as_array()?;
    all.get(clicks - 1).or(all.last())?.as_f64()
}

/// Mean IoU of completed regions over all shares that were hidden, each set counting the same.
fn completed(all: &Value, kind: &str, who: &str) -> Option<f64> {
    let mut sets: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for one in all.as_array()?.iter().filter(|one| one["kind"] == kind) {
        sets.entry(one["set"].as_str()?).or_default().push(one[who].as_f64()?);
    }
    mean(sets.into_values().filter_map(|values| mean(values.into_iter())))
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (count, sum) = values.fold((0, 0.0), |(count, sum), value| (count + 1, sum + value));
    (count > 0).then(|| sum / f64::from(count))
}

/// Mean and, of several, standard deviation (of a sample), with a sign or without.
fn spread(values: &[f64], signed: bool) -> String {
    let Some(middle) = mean(values.iter().copied()) else { return "-".into() };
    let sign = if signed && middle >= 0.0 { "+" } else { "" };
    if values.len() < 2 {
        return format!("{sign}{middle:.3}");
    }
    let squares: f64 = values.iter().map(|value| (value - middle).powi(2)).sum();
    let deviation = (squares / (values.len() - 1) as f64).sqrt();
    format!("{sign}{middle:.3} ± {deviation:.3}")
}

/// The tables, below what was done; `seeds` has the arms of each, in the order of [`ARMS`], the last
/// ones perhaps left out.
pub(crate) fn markdown(explained: &str, seeds: &[Vec<Measured>]) -> String {
    let mut text = format!("{explained} {}\n\n", measured_on(seeds));
    heading(&mut text, "training");
    let arms = &ARMS[..seeds.first().map_or(0, Vec::len).min(ARMS.len())];
    for (at, arm) in arms.iter().enumerate() {
        row(&mut text, arm.title, |column| spread(&of_arm(seeds, at, column), false));
    }
    for (at, (_, title)) in WITHOUT.iter().enumerate() {
        row(&mut text, title, |column| spread(&without(seeds, at, column), false));
    }
    text += "\nDifferences between trainings of the same seed:\n\n";
    heading(&mut text, "difference");
    for pair in PAIRS.into_iter().filter(|pair| pair.iter().all(|&at| at < arms.len())) {
        let title = pair.map(|at| ARMS[at].name).join(" − ");
        row(&mut text, &title, |column| spread(&differences(seeds, pair, column), true));
    }
    text
}

fn heading(text: &mut String, first: &str) {
    // Writing to a string cannot fail.
    let _ = writeln!(text, "| {first} | {} |", COLUMNS.join(" | "));
    let _ = writeln!(text, "| --- |{}", " ---: |".repeat(COLUMNS.len()));
}

fn row(text: &mut String, title: &str, value: impl Fn(usize) -> String) {
    let values: Vec<String> = (0..COLUMNS.len()).map(value).collect();
    let _ = writeln!(text, "| {title} | {} |", values.join(" | "));
}

/// One number of an arm, with each seed.
fn of_arm(seeds: &[Vec<Measured>], arm: usize, column: usize) -> Vec<f64> {
    seeds.iter().filter_map(|arms| arms.get(arm)?.values[column]).collect()
}

/// One number of a completion without a model, which is the same with every seed.
fn without(seeds: &[Vec<Measured>], at: usize, column: usize) -> Vec<f64> {
    let first = seeds.first().and_then(|arms| arms.first());
    let kind = column.checked_sub(COLUMNS.len() - KINDS.len());
    first.zip(kind).and_then(|(measured, kind)| measured.without[at][kind]).into_iter().collect()
}

/// By how much one arm is better than another one, with each seed.
fn differences(seeds: &[Vec<Measured>], pair: [usize; 2], column: usize) -> Vec<f64> {
    let of = |arms: &Vec<Measured>| {
        let [ours, other] = pair.map(|at| arms.get(at).and_then(|measured| measured.values[column]));
        Some(ours? - other?)
    };
    seeds.iter().filter_map(of).collect()
}

fn measured_on(seeds: &[Vec<Measured>]) -> String {
    let Some(first) = seeds.first().and_then(|arms| arms.first()) else { return String::new() };
    format!(
        "Measured on {} objects of {} sets, the model alone, without the refinement: IoU, mean and standard \
         deviation over the seeds. Objects, segments, blobs: such a region completed, of which half to a \
         twentieth of the patches is shown (`--completion`, mean over the shares).",
        first.objects, first.sets
    )
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(clicks: &[f64], boxed: f64) -> Value {
        json!({ "methods": { "model alone": { "clicks": clicks, "boxed": boxed } } })
    }

    fn report() -> Value {
        let completed = |set: &str, kind: &str, model: f64| json!({ "set": set, "kind": kind, "model": model, "copied": 0.25, "nearest": 0.5 });
        json!({
            "sets": [
                { "objects": [object(&[0.1, 0.2, 0.3, 0.4, 0.5, 0.6], 0.2), object(&[0.3], 0.4)] },
                { "objects": [object(&[0.6, 0.7, 0.8], 0.9)] },
                { "objects": [] },
            ],
            "completion": [
                completed("a", "object", 0.2), completed("a", "object", 0.4), completed("b", "object", 0.7),
                completed("b", "blob", 0.0),
            ],
        })
    }

    #[test]
    fn sets_count_the_same_and_what_is_found_early_stays_found() {
        let measured = Measured::of(&report()).unwrap();
        assert_eq!((measured.objects, measured.sets), (3, 2));
        for (have, want) in measured.values.into_iter().zip([0.4, 0.55, 0.6, 0.625, 0.6, 0.5]) {
            assert!((have.unwrap() - want).abs() < 1e-12, "{have:?} instead of {want}");
        }
        assert_eq!(measured.values[6..], [None, Some(0.0)]);
        assert_eq!(measured.without, [0.25, 0.5].map(|iou| [Some(iou), None, Some(iou)]));
        assert!(Measured::of(&json!({ "sets": [{ "objects": [] }] })).is_none());
        assert!(Measured::of(&json!({})).is_none());
    }

    #[test]
    fn the_tables_show_means_deviations_and_differences_within_a_seed() {
        let arm = |value: f64| Measured {
            objects: 3,
            sets: 2,
            values: [0, 1, 2, 3, 4, 5, 6, 7].map(|at| (at != 2).then_some(value)),
            without: [[Some(0.25); 3]; 2],
        };
        // The seeds differ much, the arms by 0.1 within each.
        let seed = |at: f64| [0.0, -0.1, 0.1, 0.0, 0.2, 0.0].map(|by| arm(at + by)).to_vec();
        let seeds = [seed(0.5), seed(0.3)];
        let text = markdown("Done.", &seeds);
        assert!(text.starts_with("Done. Measured on 3 objects of 2 sets"), "{text}");
        let line = |start: &str| text.lines().find(|line| line.starts_with(start)).unwrap().to_string();
        assert!(
            line("| pre-trained on regions, tuned on masks")
                .contains("| 0.400 ± 0.141 | 0.400 ± 0.141 | - |")
        );
        assert!(line("| regions − blobs").contains("| +0.100 ± 0.000 |"), "{text}");
        assert!(line("| regions − scratch").contains("| -0.100 ± 0.000 |"), "{text}");
        assert!(markdown("", &seeds[..1]).contains("| +0.100 |"));
        assert!(text.contains("tuned on random blobs"));
        assert!(line("| regions, not tuned − blobs, not tuned").contains("| -0.200 ± 0.000 |"), "{text}");
        assert!(line("| the visible part alone").ends_with("| - | - | 0.250 | 0.250 | 0.250 |"), "{text}");
        let fewer = seeds.map(|arms| arms[..5].to_vec());
        assert!(!markdown("", &fewer).contains("tuned on random blobs"));
    }

    #[test]
    fn a_file_that_is_no_evaluation_is_named() {
        let file = std::env::temp_dir().join(format!("xtask-controls-{}.json", std::process::id()));
        for content in ["{", "{}"] {
            fs::write(&file, content).unwrap();
            let message = format!("{:#}", Measured::read(&file).unwrap_err());
            assert!(message.contains("xtask-controls-"), "{message}");
        }
        fs::remove_file(&file).unwrap();
        assert!(format!("{:#}", Measured::read(&file).unwrap_err()).contains("reading"));
    }
}
