//! Writing: to a temporary name, synced, renamed, so that no moment leaves half a checkpoint.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use half::f16;
use rmae_core::config::ModelConfig;
use rmae_core::exec::Tensors;
use rmae_core::tensor::{HostData, HostTensor};
use safetensors::tensor::{Dtype, SafeTensorError, View, serialize_to_file};

use super::{Checkpoint, VERSION, keys};
use crate::error::{Result, TrainError};

/// A tensor as safetensors wants to see it.
struct Stored<'a> {
    shape: &'a [usize],
    dtype: Dtype,
    bytes: Cow<'a, [u8]>,
}

impl<'a> Stored<'a> {
    fn new(tensor: &'a HostTensor) -> Self {
        let (dtype, bytes) = match tensor.data() {
            HostData::F32(v) => (Dtype::F32, bytemuck::cast_slice(v)),
            HostData::F64(v) => (Dtype::F64, bytemuck::cast_slice(v)),
            HostData::U32(v) => (Dtype::U32, bytemuck::cast_slice(v)),
        };
        Self { shape: tensor.shape(), dtype, bytes: Cow::Borrowed(bytes) }
    }

    fn half(tensor: &'a HostTensor) -> Self {
        let values = tensor.to_f32();
        let bytes = values.iter().flat_map(|&v| f16::from_f32(v).to_le_bytes()).collect();
        Self { shape: tensor.shape(), dtype: Dtype::F16, bytes: Cow::Owned(bytes) }
    }
}

impl View for Stored<'_> {
    fn dtype(&self) -> Dtype {
        self.dtype
    }

    fn shape(&self) -> &[usize] {
        self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(&self.bytes)
    }

    fn data_len(&self) -> usize {
        self.bytes.len()
    }
}

/// The file of the checkpoint after `step` updates.
#[must_use]
pub fn path_of(run: &Path, step: u64) -> PathBuf {
    run.join(format!("checkpoint-{step:08}.safetensors"))
}

/// Writes a checkpoint into the folder of its run; earlier ones stay as they are until it is whole.
///
/// # Errors
/// [`TrainError::Io`], e.g. when the disk is full; the temporary file is removed.
pub fn save(run: &Path, checkpoint: &Checkpoint) -> Result<PathBuf> {
    let path = path_of(run, checkpoint.state.step);
    let coverage = HostTensor::new(&[checkpoint.coverage.len()], HostData::F64(checkpoint.coverage.clone()))?;
    let mut tensors: Vec<(String, Stored<'_>)> = vec![];
    tensors.extend(checkpoint.weights.iter().map(|(name, t)| (name.clone(), Stored::new(t))));
    let moments = checkpoint.optimizer.iter();
    tensors.extend(moments.map(|(name, t)| (format!("{}{name}", keys::OPTIMIZER), Stored::new(t))));
    if !coverage.is_empty() {
        tensors.push((keys::COVERAGE.into(), Stored::new(&coverage)));
    }
    let mut metadata = metadata(&checkpoint.model)?;
    metadata.insert(keys::STATE.into(), json(&checkpoint.state)?);
    metadata.insert(keys::CONFIG.into(), checkpoint.config.clone());
    write_tensors(&path, tensors, metadata)?;
    Ok(path)
}

/// What [`export`] writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Patch embedding, class token, position table, blocks and final norm: what timm,
    /// detectron2 and Hugging Face tools load as a ViT.
    Encoder,
    /// Every weight.
    All,
}

/// Whether a weight belongs to the encoder.
fn in_encoder(name: &str) -> bool {
    let own = ["cls_token", "pos_embed", "norm.weight", "norm.bias"];
    own.contains(&name) || name.starts_with("patch_embed.") || name.starts_with("blocks.")
}

/// Writes weights only, in f32 or f16.
///
/// # Errors
/// [`TrainError::Io`].
pub fn export(path: &Path, model: &ModelConfig, weights: &Tensors, part: Part, half: bool) -> Result<usize> {
    let chosen = weights.iter().filter(|(name, _)| part == Part::All || in_encoder(name));
    let stored: Vec<_> = chosen
        .map(|(name, t)| (name.clone(), if half { Stored::half(t) } else { Stored::new(t) }))
        .collect();
    let count = stored.len();
    write_tensors(path, stored, metadata(model)?)?;
    Ok(count)
}

/// Writes plain named tensors.
///
/// # Errors
/// [`TrainError::Io`].
pub fn write_tensors_file(path: &Path, tensors: &Tensors) -> Result<()> {
    let stored = tensors.iter().map(|(name, t)| (name.clone(), Stored::new(t))).collect();
    write_tensors(path, stored, HashMap::new())
}

fn metadata(model: &ModelConfig) -> Result<HashMap<String, String>> {
    Ok(HashMap::from([
        ("format".into(), "pt".into()),
        (keys::VERSION.into(), VERSION.into()),
        (keys::MODEL.into(), json(model)?),
    ]))
}

fn json(value: &impl serde::Serialize) -> Result<String> {
    serde_json::to_string(value).map_err(|e| TrainError::Config(e.to_string()))
}

fn write_tensors(path: &Path, tensors: Vec<(String, Stored<'_>)>, metadata: HashMap<String, String>) -> Result<()> {
    write_atomically(path, |temporary| {
        serialize_to_file(tensors, Some(metadata), temporary).map_err(|e| match e {
            SafeTensorError::IoError(e) => e,
            other => io::Error::other(other.to_string()),
        })
    })
}

/// Lets `write` make a file under a temporary name beside `path`, syncs it, and renames it to
/// `path`. Whatever fails, `path` is either as it was or complete.
///
/// # Errors
/// [`TrainError::Io`]; the temporary file is removed.
pub fn write_atomically(path: &Path, write: impl FnOnce(&Path) -> io::Result<()>) -> Result<()> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = folder.join(format!(".{name}.tmp"));
    let steps = || {
        write(&temporary)?;
        File::open(&temporary)?.sync_all()?;
        fs::rename(&temporary, path)?;
        sync_folder(folder)
    };
    steps().map_err(|e| {
        // The error that matters is the first one.
        let _ = fs::remove_file(&temporary);
        TrainError::io("write", path, e)
    })
}

/// Makes a rename last through a power cut, where the system lets folders be synced.
fn sync_folder(folder: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(folder)?.sync_all() } else { Ok(()) }
}

/// Removes all but the newest `keep` checkpoints, and what an interrupted write left behind.
///
/// # Errors
/// [`TrainError::Io`].
pub fn prune(run: &Path, keep: usize) -> Result<()> {
    for (_, path) in super::load::list(run)?.into_iter().skip(keep) {
        fs::remove_file(&path).map_err(|e| TrainError::io("remove", &path, e))?;
    }
    Ok(())
}
