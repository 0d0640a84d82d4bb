//! `metrics.jsonl`: one object for every step.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::checkpoint::write_atomically;
use crate::error::{Result, TrainError};
use crate::picture::Series;

/// What is known of one update.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepRecord {
    /// Updates done, this one included.
    pub step: u64,
    /// Passes over the images done.
    pub epoch: f64,
    /// The weighted loss.
    pub loss: f64,
    /// The pixel loss, in models with pixels.
    pub mae_loss: Option<f64>,
    /// The region loss, in models with regions.
    pub region_loss: Option<f64>,
    /// The soft Dice loss, when tuning with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dice_loss: Option<f64>,
    /// The boundary loss, when tuning with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boundary_loss: Option<f64>,
    /// The region loss of predicting each patch position's mean coverage.
    pub region_baseline_loss: Option<f64>,
    /// The region loss of predicting the true coverage of each patch of each region.
    pub region_patch_entropy: Option<f64>,
    /// Learning rate.
    pub lr: f64,
    /// Norm of all gradients, before clipping; none where the update was skipped, as one overflowed.
    pub grad_norm: Option<f64>,
    /// With mixed precision, the factor on the gradients of the next update.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss_scale: Option<f64>,
    /// Images over the duration of the step.
    pub images_per_s: f64,
    /// Seconds the step waited for images.
    pub data_wait_s: f64,
    /// Duration of the step in seconds.
    pub step_s: f64,
}

/// The file, and what stands in it.
#[derive(Debug)]
pub struct Metrics {
    path: PathBuf,
    file: File,
    records: Vec<StepRecord>,
}

impl Metrics {
    /// Opens `metrics.jsonl` of a run that goes on after `step`: what a killed run wrote later, and
    /// a line that it left half-written, are taken out.
    ///
    /// # Errors
    /// [`TrainError::Io`].
    pub fn open(run: &Path, step: u64) -> Result<Self> {
        let path = run.join("metrics.jsonl");
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(e) => return Err(TrainError::io("read", &path, e)),
        };
        let parsed =
            text.lines().filter_map(|line| Some((line, serde_json::from_str::<StepRecord>(line).ok()?)));
        let kept: Vec<(&str, StepRecord)> = parsed.filter(|(_, record)| record.step <= step).collect();
        let lines: String = kept.iter().map(|(line, _)| format!("{line}\n")).collect();
        if lines != text {
            write_atomically(&path, |temporary| fs::write(temporary, &lines))?;
        }
        let records = kept.into_iter().map(|(_, record)| record).collect();
        let opened = OpenOptions::new().create(true).append(true).open(&path);
        let file = opened.map_err(|e| TrainError::io("open", &path, e))?;
        Ok(Self { path, file, records })
    }

    /// Adds a step.
    ///
    /// # Errors
    /// [`TrainError::Io`].
    pub fn write(&mut self, record: &StepRecord) -> Result<()> {
        write_line(&mut self.file, &self.path, record)?;
        self.records.push(record.clone());
        Ok(())
    }

    /// The curves of the run so far.
    #[must_use]
    pub fn curves(&self) -> Vec<Series> {
        let of = |name: &'static str, colour, value: fn(&StepRecord) -> Option<f64>| {
            let points = self.records.iter().filter_map(|r| Some((r.step as f64, value(r)?)));
            Series { name: name.into(), colour, points: points.collect() }
        };
        let all = [
            of("loss", [30, 30, 30], |r| Some(r.loss)),
            of("mae loss", [31, 119, 180], |r| r.mae_loss),
            of("region loss", [214, 39, 40], |r| r.region_loss),
            of("dice loss", [148, 103, 189], |r| r.dice_loss),
            of("boundary loss", [140, 86, 75], |r| r.boundary_loss),
            of("region: mean coverage", [150, 150, 20], |r| r.region_baseline_loss),
            of("region: patch coverage", [44, 160, 44], |r| r.region_patch_entropy),
        ];
        all.into_iter().filter(|s| !s.points.is_empty()).collect()
    }
}

/// Writes one JSON object as a line, in one go, so that a reader never sees half of one for long.
///
/// # Errors
/// [`TrainError::Io`].
pub(super) fn write_line(file: &mut File, path: &Path, value: &impl Serialize) -> Result<()> {
    let mut line = serde_json::to_string(value).map_err(|e| TrainError::Config(e.to_string()))?;
    line.push('\n');
    file.write_all(line.as_bytes()).map_err(|e| TrainError::io("write", path, e))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    pub(super) fn record(step: u64) -> StepRecord {
        StepRecord {
            step,
            epoch: 0.5,
            loss: 0.1 + 0.2,
            mae_loss: None,
            region_loss: Some(0.3),
            dice_loss: None,
            boundary_loss: None,
            region_baseline_loss: Some(0.5),
            region_patch_entropy: Some(0.1),
            lr: 1e-4,
            grad_norm: Some(1.0),
            loss_scale: None,
            images_per_s: 10.0,
            data_wait_s: 0.0,
            step_s: 0.4,
        }
    }

    #[test]
    fn going_on_takes_out_what_came_after_the_checkpoint() {
        let dir = tempfile::tempdir().unwrap();
        let mut metrics = Metrics::open(dir.path(), 0).unwrap();
        for step in 1..=5 {
            metrics.write(&record(step)).unwrap();
        }
        metrics.file.write_all(b"{\"step\":6,\"lo").unwrap();
        let mut again = Metrics::open(dir.path(), 3).unwrap();
        again.write(&record(4)).unwrap();
        let text = fs::read_to_string(&again.path).unwrap();
        let steps: Vec<StepRecord> = text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
        assert_eq!(steps.iter().map(|r| r.step).collect::<Vec<_>>(), [1, 2, 3, 4]);
        assert_eq!(steps[0], record(1), "numbers survive to the last bit");
        assert_eq!(again.curves().len(), 4, "no pixel loss, no curve of it");
    }
}
