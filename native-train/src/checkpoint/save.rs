//! Writing: to a temporary name, synced, renamed, so that no moment leaves half a checkpoint.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use half::f16;
use rmae_core::config::ModelConfig;
use rmae_core::exec::Tensors;
use rmae_core::tensor::{HostData, HostTensor};
use safetensors::tensor::Dtype;

use rmae_core::checkpoint::{VERSION, keys};

use super::Checkpoint;
use crate::error::{Result, TrainError};

type Metadata = BTreeMap<String, String>;

/// A tensor as it lies in the file.
struct Stored<'a> {
    name: String,
    shape: &'a [usize],
    dtype: Dtype,
    bytes: Cow<'a, [u8]>,
}

impl<'a> Stored<'a> {
    fn new(name: String, tensor: &'a HostTensor) -> Self {
        let (dtype, bytes) = match tensor.data() {
            HostData::F32(v) => (Dtype::F32, bytemuck::cast_slice(v)),
            HostData::F64(v) => (Dtype::F64, bytemuck::cast_slice(v)),
            HostData::U32(v) => (Dtype::U32, bytemuck::cast_slice(v)),
        };
        Self { name, shape: tensor.shape(), dtype, bytes: Cow::Borrowed(bytes) }
    }

    fn half(name: String, tensor: &'a HostTensor) -> Self {
        let values = tensor.to_f32();
        let bytes = values.iter().flat_map(|&v| f16::from_f32(v).to_le_bytes()).collect();
        Self { name, shape: tensor.shape(), dtype: Dtype::F16, bytes: Cow::Owned(bytes) }
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
    let mut tensors: Vec<Stored<'_>> = vec![];
    tensors.extend(checkpoint.weights.iter().map(|(name, t)| Stored::new(name.clone(), t)));
    let moments = checkpoint.optimizer.iter();
    tensors.extend(moments.map(|(name, t)| Stored::new(format!("{}{name}", keys::OPTIMIZER), t)));
    if !coverage.is_empty() {
        tensors.push(Stored::new(keys::COVERAGE.into(), &coverage));
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
        .map(|(name, t)| if half { Stored::half(name.clone(), t) } else { Stored::new(name.clone(), t) })
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
    let stored = tensors.iter().map(|(name, t)| Stored::new(name.clone(), t)).collect();
    write_tensors(path, stored, Metadata::new())
}

fn metadata(model: &ModelConfig) -> Result<Metadata> {
    Ok(Metadata::from([
        ("format".into(), "pt".into()),
        (keys::VERSION.into(), VERSION.into()),
        (keys::MODEL.into(), json(model)?),
    ]))
}

fn json(value: &impl serde::Serialize) -> Result<String> {
    serde_json::to_string(value).map_err(|e| TrainError::Config(e.to_string()))
}

/// Writes the safetensors layout (length of the header, header, elements) straight from the
/// tensors: the library's own writer would name its temporary file itself, and a killed run would
/// leave it behind for good.
fn write_tensors(path: &Path, mut tensors: Vec<Stored<'_>>, metadata: Metadata) -> Result<()> {
    // Wide elements first, so that every tensor is aligned.
    tensors.sort_by(|a, b| b.dtype.bitsize().cmp(&a.dtype.bitsize()).then_with(|| a.name.cmp(&b.name)));
    let header = header(&tensors, &metadata)?;
    write_atomically(path, |temporary| {
        let mut file = BufWriter::new(File::create(temporary)?);
        file.write_all(&(header.len() as u64).to_le_bytes())?;
        file.write_all(header.as_bytes())?;
        for tensor in &tensors {
            file.write_all(&tensor.bytes)?;
        }
        file.flush()
    })
}

/// The JSON header, padded so that the elements begin at a multiple of 8.
fn header(tensors: &[Stored<'_>], metadata: &Metadata) -> Result<String> {
    let mut entries = serde_json::Map::new();
    entries.insert("__metadata__".into(), serde_json::json!(metadata));
    let mut begin = 0;
    for tensor in tensors {
        let end = begin + tensor.bytes.len();
        let entry = serde_json::json!({
            "dtype": tensor.dtype, "shape": tensor.shape, "data_offsets": [begin, end],
        });
        entries.insert(tensor.name.clone(), entry);
        begin = end;
    }
    let mut text = json(&entries)?;
    while !text.len().is_multiple_of(8) {
        text.push(' ');
    }
    Ok(text)
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

/// Removes all but the newest `keep` checkpoints.
///
/// # Errors
/// [`TrainError::Io`].
pub fn prune(run: &Path, keep: usize) -> Result<()> {
    for (_, path) in super::load::list(run)?.into_iter().skip(keep) {
        fs::remove_file(&path).map_err(|e| TrainError::io("remove", &path, e))?;
    }
    Ok(())
}

/// Removes what interrupted writes left behind in a run.
///
/// # Errors
/// [`TrainError::Io`].
pub fn sweep(run: &Path) -> Result<()> {
    let entries = fs::read_dir(run).map_err(|e| TrainError::io("list", run, e))?;
    for path in entries.flatten().map(|entry| entry.path()) {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with(".checkpoint-") && name.ends_with(".tmp") {
            fs::remove_file(&path).map_err(|e| TrainError::io("remove", &path, e))?;
        }
    }
    Ok(())
}
