//! Reading, and telling what is wrong with a file that cannot be read.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use half::{bf16, f16};
use rmae_core::config::ModelConfig;
use rmae_core::exec::Tensors;
use rmae_core::tensor::{HostData, HostTensor};
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, SafeTensorError, TensorView};

use super::{Checkpoint, VERSION, infer, keys};
use crate::error::{Result, TrainError};

/// A safetensors file in memory.
struct Contents {
    metadata: HashMap<String, String>,
    tensors: Tensors,
}

/// Reads a whole checkpoint.
///
/// # Errors
/// [`TrainError::Checkpoint`] saying what is wrong: truncated, of another version, no safetensors
/// file, weights only; a core error naming a weight that is missing or of another shape.
pub fn load(path: &Path) -> Result<Checkpoint> {
    let Contents { metadata, mut tensors } = read(path)?;
    let problem = |text: &str| TrainError::checkpoint(path, text);
    let model = stored_model(path, &metadata)?
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
    let Contents { metadata, mut tensors } = read(path)?;
    tensors.remove(keys::COVERAGE);
    take_prefixed(&mut tensors, keys::OPTIMIZER);
    let model = match stored_model(path, &metadata)? {
        Some(model) => model,
        None => infer::model_config(&tensors).map_err(|problem| TrainError::checkpoint(path, problem))?,
    };
    model.validate()?;
    Ok((model, tensors))
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

fn stored_model(path: &Path, metadata: &HashMap<String, String>) -> Result<Option<ModelConfig>> {
    let Some(version) = metadata.get(keys::VERSION) else { return Ok(None) };
    if version != VERSION {
        let problem = format!(
            "is of version {version}, this program reads version {VERSION}; use the release of rmae that wrote it"
        );
        return Err(TrainError::checkpoint(path, problem));
    }
    let text = metadata.get(keys::MODEL).map_or("", String::as_str);
    let model = serde_json::from_str(text);
    model.map(Some).map_err(|e| TrainError::checkpoint(path, format!("its model configuration: {e}")))
}

fn read(path: &Path) -> Result<Contents> {
    let bytes = fs::read(path).map_err(|e| TrainError::io("read", path, e))?;
    parse(&bytes).map_err(|problem| TrainError::checkpoint(path, problem))
}

fn parse(bytes: &[u8]) -> std::result::Result<Contents, String> {
    if bytes.starts_with(b"PK\x03\x04") || bytes.starts_with(&[0x80, 0x02]) {
        return Err("is a PyTorch file (.pth); convert it once with: python -c \"import torch, safetensors.torch as s; \
                    d = torch.load('IN.pth', map_location='cpu', weights_only=False); \
                    s.save_file({k: v.contiguous() for k, v in d.get('model', d).items()}, 'OUT.safetensors')\""
            .into());
    }
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(|e| describe(&e, bytes))?;
    let file = SafeTensors::deserialize(bytes).map_err(|e| describe(&e, bytes))?;
    let mut tensors = Tensors::new();
    for (name, view) in file.iter() {
        let tensor = host_tensor(&view).map_err(|problem| format!("tensor {name}: {problem}"))?;
        tensors.insert(name.to_string(), tensor);
    }
    Ok(Contents { metadata: header.metadata().clone().unwrap_or_default(), tensors })
}

fn describe(error: &SafeTensorError, bytes: &[u8]) -> String {
    let header_len = bytes.first_chunk::<8>().map_or(u64::MAX, |b| u64::from_le_bytes(*b));
    let plausible = header_len < 100_000_000 && bytes.get(8).is_none_or(|&b| b == b'{');
    match error {
        SafeTensorError::MetadataIncompleteBuffer => {
            "is truncated: its header promises more bytes than there are".into()
        }
        SafeTensorError::InvalidHeaderLength if plausible => "is truncated within its header".into(),
        _ if bytes.is_empty() => "is empty".into(),
        SafeTensorError::HeaderTooSmall => {
            "is truncated, or no safetensors file: it is too short to have a header".into()
        }
        other => format!("is no safetensors file ({other})"),
    }
}

fn host_tensor(view: &TensorView<'_>) -> std::result::Result<HostTensor, String> {
    let bytes = view.data();
    let data = match view.dtype() {
        Dtype::F32 => HostData::F32(chunks(bytes, f32::from_le_bytes)),
        Dtype::F64 => HostData::F64(chunks(bytes, f64::from_le_bytes)),
        Dtype::F16 => HostData::F32(chunks(bytes, |b| f16::from_le_bytes(b).to_f32())),
        Dtype::BF16 => HostData::F32(chunks(bytes, |b| bf16::from_le_bytes(b).to_f32())),
        Dtype::U32 => HostData::U32(chunks(bytes, u32::from_le_bytes)),
        other => return Err(format!("elements of type {other:?} are not supported")),
    };
    HostTensor::new(view.shape(), data).map_err(|e| e.to_string())
}

fn chunks<const N: usize, T>(bytes: &[u8], convert: impl Fn([u8; N]) -> T) -> Vec<T> {
    bytes.as_chunks().0.iter().map(|&b| convert(b)).collect()
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
