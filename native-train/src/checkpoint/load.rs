//! Reading, and telling what is wrong with a file that cannot be read.

use std::fs;
use std::path::{Path, PathBuf};

use rmae_core::Error as CoreError;
use rmae_core::checkpoint::{Contents, WHOLE, keys, parse, read_model, stored_model};
use rmae_core::config::ModelConfig;
use rmae_core::exec::Tensors;

use super::Checkpoint;
use crate::error::{Result, TrainError};

/// Reads a whole checkpoint.
///
/// # Errors
/// [`TrainError::Checkpoint`] saying what is wrong: truncated, of another version, no safetensors
/// file, weights only; a core error naming a weight that is missing or of another shape.
pub fn load(path: &Path) -> Result<Checkpoint> {
    let problem = |text: &str| TrainError::checkpoint(path, text);
    let Contents { metadata, mut tensors } = parse(&read(path)?).map_err(|e| problem(&e))?;
    let model = stored_model(&metadata)
        .map_err(|e| problem(&e))?
        .ok_or_else(|| problem("holds no model configuration: it is no checkpoint of rmae"))?;
    let state = metadata
        .get(keys::STATE)
        .ok_or_else(|| problem("holds weights only (an export?), from which no run can go on"))?;
    let state = serde_json::from_str(state).map_err(|e| problem(&format!("its training state: {e}")))?;
    let coverage = tensors.remove(keys::COVERAGE).map(|t| t.to_f64()).unwrap_or_default();
    let optimizer = take_prefixed(&mut tensors, keys::OPTIMIZER);
    check(path, &model, &tensors)?;
    let config = metadata.get(keys::CONFIG).cloned().unwrap_or_default();
    Ok(Checkpoint { model, weights: tensors, optimizer, state, coverage, config })
}

/// Reads the model of a checkpoint, of an export, or of a converted file of the authors, whose
/// configuration is told from the shapes. The weights need not be complete (an encoder alone). Of a
/// run's folder it takes the newest checkpoint that can be read.
///
/// # Errors
/// As [`load`], or [`newest`] for a folder.
pub fn load_model(path: &Path) -> Result<(ModelConfig, Tensors)> {
    if path.is_dir() {
        let checkpoint = newest(path)?.checkpoint;
        return Ok((checkpoint.model, checkpoint.weights));
    }
    read_model(&read(path)?).map_err(|error| match error {
        CoreError::Checkpoint { what, problem } if what == WHOLE => TrainError::checkpoint(path, problem),
        CoreError::Checkpoint { what, problem } => {
            TrainError::checkpoint(path, format!("its tensor {what} {problem}"))
        }
        other => other.into(),
    })
}

fn check(path: &Path, model: &ModelConfig, weights: &Tensors) -> Result<()> {
    model.validate()?;
    rmae_core::model::check_params(model, weights).map_err(|e| TrainError::checkpoint(path, e.to_string()))
}

fn take_prefixed(tensors: &mut Tensors, prefix: &str) -> Tensors {
    let (taken, kept) = std::mem::take(tensors).into_iter().partition(|(name, _)| name.starts_with(prefix));
    *tensors = kept;
    let taken: Tensors = taken;
    taken.into_iter().map(|(name, t)| (name[prefix.len()..].to_string(), t)).collect()
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).map_err(|e| TrainError::io("read", path, e))
}

/// The newest readable checkpoint of a run.
#[derive(Debug)]
pub struct Newest {
    /// Its file.
    pub path: PathBuf,
    /// What it holds.
    pub checkpoint: Checkpoint,
    /// Newer ones that could not be read, with the reason.
    pub broken: Vec<String>,
}

/// Finds the newest checkpoint that can be read; those that cannot are named, not fatal.
///
/// # Errors
/// [`TrainError::Checkpoint`] when there is none, or none that can be read.
pub fn newest(run: &Path) -> Result<Newest> {
    let mut broken = vec![];
    for (_, path) in list(run)? {
        match load(&path) {
            Ok(checkpoint) => return Ok(Newest { path, checkpoint, broken }),
            Err(error) => broken.push(error.to_string()),
        }
    }
    let problem = if broken.is_empty() {
        "there is none in this folder; a run that starts leaves --resume out".into()
    } else {
        format!("none of them can be read: {}", broken.join("; "))
    };
    Err(TrainError::checkpoint(&run.join("checkpoint-*.safetensors"), problem))
}

/// Whether a folder holds checkpoints.
///
/// # Errors
/// [`TrainError::Io`] where it cannot be listed.
pub fn has_checkpoints(run: &Path) -> Result<bool> {
    Ok(!list(run)?.is_empty())
}

/// Steps and files of the checkpoints in a folder, newest first; none where there is no folder.
pub(super) fn list(run: &Path) -> Result<Vec<(u64, PathBuf)>> {
    let entries = match fs::read_dir(run) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(vec![]),
        Err(e) => return Err(TrainError::io("list", run, e)),
    };
    let mut found = vec![];
    for entry in entries {
        let path = entry.map_err(|e| TrainError::io("list", run, e))?.path();
        if let Some(step) = step_of(&path) {
            found.push((step, path));
        }
    }
    found.sort_by(|a, b| b.cmp(a));
    Ok(found)
}

fn step_of(path: &Path) -> Option<u64> {
    let name = path.file_name()?.to_str()?;
    name.strip_prefix("checkpoint-")?.strip_suffix(".safetensors")?.parse().ok()
}
