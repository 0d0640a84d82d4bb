//! The folder of a run.

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::metrics::write_line;
use crate::checkpoint::{has_checkpoints, sweep, write_atomically};
use crate::config::{PretrainConfig, effective_path, to_text};
use crate::data::SkippedImage;
use crate::error::{Result, TrainError};

/// Makes the folder, and refuses one that another run stands in.
pub(super) fn open(run: &Path, resume: bool) -> Result<()> {
    if run.exists() && !run.is_dir() {
        let name = run.display();
        return Err(TrainError::Config(format!("out = {name}: is a file; name a folder for the run")));
    }
    fs::create_dir_all(run).map_err(|e| TrainError::io("create", run, e))?;
    if !resume && has_checkpoints(run)? {
        let name = run.display();
        return Err(TrainError::Config(format!(
            "out = {name}: already holds a run; go on with --resume, or name another folder"
        )));
    }
    sweep(run)
}

/// Writes the configuration that the run has, and returns it.
pub(super) fn write_config(config: &PretrainConfig) -> Result<String> {
    let text = to_text(&config.effective)?;
    write_atomically(&effective_path(&config.out), |temporary| fs::write(temporary, &text))?;
    Ok(text)
}

/// `skipped.jsonl`: every unreadable image once, however often the run is resumed.
#[derive(Debug)]
pub(super) struct SkippedList {
    path: PathBuf,
    file: Option<File>,
    known: HashSet<PathBuf>,
}

#[derive(Serialize, Deserialize)]
struct Entry {
    path: PathBuf,
    #[serde(default)]
    reason: String,
}

impl SkippedList {
    pub(super) fn open(run: &Path) -> Self {
        let path = run.join("skipped.jsonl");
        let text = fs::read_to_string(&path).unwrap_or_default();
        let known = text.lines().filter_map(|line| serde_json::from_str::<Entry>(line).ok()).map(|e| e.path);
        Self { known: known.collect(), path, file: None }
    }

    /// Notes an image; whether it is new.
    pub(super) fn add(&mut self, image: &SkippedImage) -> Result<bool> {
        if !self.known.insert(image.path.clone()) {
            return Ok(false);
        }
        let entry = Entry { path: image.path.clone(), reason: image.reason.clone() };
        if self.file.is_none() {
            let opened = OpenOptions::new().create(true).append(true).open(&self.path);
            self.file = Some(opened.map_err(|e| TrainError::io("open", &self.path, e))?);
        }
        if let Some(file) = &mut self.file {
            write_line(file, &self.path, &entry)?;
        }
        Ok(true)
    }
}

/// Lists the images of the batch at which training broke down.
pub(super) fn dump_batch(
    run: &Path, step: u64, what: &str, value: f64, names: &[PathBuf],
) -> Result<PathBuf> {
    let path = run.join("nonfinite_batch.json");
    let files: Vec<_> = names.iter().map(|n| n.to_string_lossy()).collect();
    let dump = serde_json::json!({ "step": step, "what": what, "value": value.to_string(), "files": files });
    write_atomically(&path, |temporary| fs::write(temporary, format!("{dump:#}\n")))?;
    Ok(path)
}
