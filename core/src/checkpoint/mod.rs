//! Weights and hyper-parameters from the bytes of a safetensors file.
//!
//! Weights carry the names of published checkpoints. A file of this project states its
//! configuration in the metadata; of others it is told from names and shapes.

mod infer;
mod parse;

use std::collections::HashMap;

use crate::config::ModelConfig;
use crate::error::{Error, Result};
use crate::exec::Tensors;
use crate::model::position_table;
use crate::tensor::{HostData, HostTensor};
pub use infer::infer_config;
pub use parse::{Contents, parse};

/// Version of the layout; a reader refuses others.
pub const VERSION: &str = "1";

/// What an [`Error::Checkpoint`] names when it is about the file and not about one of its tensors.
pub const WHOLE: &str = "file";

/// Metadata keys, and the names of what stands in a file beside the weights.
pub mod keys {
    /// [`super::VERSION`].
    pub const VERSION: &str = "rmae.version";
    /// The model's configuration, JSON.
    pub const MODEL: &str = "rmae.model";
    /// Where a run stands, JSON.
    pub const STATE: &str = "rmae.state";
    /// A run's configuration, TOML.
    pub const CONFIG: &str = "rmae.config";
    /// Prefix of AdamW's moments.
    pub const OPTIMIZER: &str = "optimizer.";
    /// Sums of the regions' coverage.
    pub const COVERAGE: &str = "metrics.region_coverage";
}

/// A width of a model.
type Width = fn(&ModelConfig) -> usize;

/// The fixed position tables, and the parameter whose presence shows that a model has the branch
/// they belong to, with the width they have there.
const TABLES: [(&str, &str, Width); 4] = [
    ("pos_embed", "patch_embed.proj.weight", |c| c.embed_dim),
    ("decoder_pos_embed", "decoder_embed.weight", |c| c.decoder_embed_dim),
    ("region_pos_embed", "region_patch_embed.proj.weight", |c| c.region_enc_dim),
    ("region_cross_pos_embed", "region_cross_embed.weight", |c| c.region_dec_dim),
];

/// The model of a checkpoint, of an export, or of a converted file of the authors. Optimiser state
/// and statistics are left out, position tables that the file leaves out are computed. The weights
/// need not be complete (an encoder alone): see [`crate::model::check_params`].
///
/// # Errors
/// [`Error::Checkpoint`] saying what is wrong: truncated, of another version, no safetensors file,
/// no model, a weight that is not finite; [`Error::Config`] for a configuration that cannot be.
pub fn read_model(bytes: &[u8]) -> Result<(ModelConfig, Tensors)> {
    let problem = |problem: String| Error::Checkpoint { what: WHOLE.into(), problem };
    let Contents { metadata, mut tensors } = parse(bytes).map_err(problem)?;
    tensors.retain(|name, _| name != keys::COVERAGE && !name.starts_with(keys::OPTIMIZER));
    let model = match stored_model(&metadata).map_err(problem)? {
        Some(model) => model,
        None => infer_config(&tensors).map_err(problem)?,
    };
    model.validate()?;
    if let Some((name, _)) = tensors.iter().find(|(_, tensor)| !is_finite(tensor)) {
        let text = "holds NaN or infinity: training diverged or the file is damaged; use another checkpoint";
        return Err(Error::Checkpoint { what: name.clone(), problem: text.into() });
    }
    fill_tables(&model, &mut tensors)?;
    Ok((model, tensors))
}

/// The configuration that a file states, if it states one.
///
/// # Errors
/// What is wrong with it, as [`parse`].
pub fn stored_model(metadata: &HashMap<String, String>) -> std::result::Result<Option<ModelConfig>, String> {
    let Some(version) = metadata.get(keys::VERSION) else { return Ok(None) };
    if version != VERSION {
        return Err(format!(
            "is of version {version}, this program reads version {VERSION}; use the release of rmae that wrote it"
        ));
    }
    let text = metadata.get(keys::MODEL).map_or("", String::as_str);
    serde_json::from_str(text).map(Some).map_err(|e| format!("its model configuration: {e}"))
}

fn is_finite(tensor: &HostTensor) -> bool {
    match tensor.data() {
        HostData::F32(values) => values.iter().all(|v| v.is_finite()),
        HostData::F64(values) => values.iter().all(|v| v.is_finite()),
        HostData::U32(_) => true,
    }
}

fn fill_tables(model: &ModelConfig, tensors: &mut Tensors) -> Result<()> {
    for (table, sign, width) in TABLES {
        if tensors.contains_key(sign) && !tensors.contains_key(table) {
            let (grid, width) = (model.grid(), width(model));
            let values = HostTensor::f32(&[1, grid * grid + 1, width], position_table(grid, width))?;
            tensors.insert(table.into(), values);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
