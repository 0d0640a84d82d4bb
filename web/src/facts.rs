//! What a page is told of a model, and of what went wrong.

use rmae_core::Error;
use rmae_core::config::{ModelConfig, Preset};
use rmae_core::exec::Tensors;
use serde::Serialize;

/// What is known of a model: `ModelInfo` in `web/js/index.d.ts`, but for its name and size.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ModelFacts {
    /// The preset whose encoder it has, or `custom`.
    pub preset: &'static str,
    /// Side of its image, pixels.
    pub img_size: usize,
    /// Side of a patch, pixels.
    pub patch_size: usize,
    /// Encoder blocks.
    pub depth: usize,
    /// Encoder heads.
    pub heads: usize,
    /// Numbers in its weights.
    pub parameters: usize,
    /// Whether it reconstructs pixels.
    pub pixels: bool,
    /// Whether it completes regions.
    pub regions: bool,
}

impl ModelFacts {
    /// The facts of a configuration and its weights.
    #[must_use]
    pub fn new(config: &ModelConfig, weights: &Tensors) -> Self {
        Self {
            preset: preset_of(config).map_or("custom", Preset::name),
            img_size: config.img_size,
            patch_size: config.patch_size,
            depth: config.depth,
            heads: config.num_heads,
            parameters: weights.values().map(rmae_core::tensor::HostTensor::len).sum(),
            pixels: config.use_mae_loss,
            regions: config.num_region > 0,
        }
    }
}

/// The preset of the same encoder.
fn preset_of(config: &ModelConfig) -> Option<Preset> {
    let encoder = |c: &ModelConfig| (c.embed_dim, c.depth, c.num_heads, c.patch_size);
    Preset::ALL.into_iter().find(|&preset| encoder(&ModelConfig::preset(preset)) == encoder(config))
}

/// The `code` of the exception that an error becomes; its part before the dash names the class in
/// `web/js/errors.js`.
#[must_use]
pub fn code(error: &Error) -> &'static str {
    match error {
        Error::Config { .. } | Error::Tensor { .. } | Error::Checkpoint { .. } => "model",
        Error::Unsupported(_) => "model-unsupported",
        Error::Prompt { .. } => "prompt",
        Error::Image(_) => "image",
        Error::NoAdapter(_) => "device-none",
        Error::Validation(_) => "device-validation",
        Error::DeviceLost(_) => "device-lost",
        Error::OutOfMemory { .. } => "memory-gpu",
        _ => "internal",
    }
}

/// What went wrong, for people who see a page and not a command line.
#[must_use]
pub fn message(error: &Error) -> String {
    match error {
        Error::OutOfMemory { what, need_bytes, .. } if *need_bytes > 0 => {
            format!("the GPU has too little memory: {what} needs {} MB", need_bytes.div_ceil(1_000_000))
        }
        Error::OutOfMemory { what, .. } => format!("the GPU has too little memory for {what}"),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presets_are_recognised_by_their_encoder() {
        for preset in Preset::ALL {
            let config = ModelConfig { region_dec_dim: 64, ..ModelConfig::preset(preset) };
            assert_eq!(ModelFacts::new(&config, &Tensors::new()).preset, preset.name());
        }
        let other = ModelConfig { embed_dim: 96, ..ModelConfig::default() };
        assert_eq!(ModelFacts::new(&other, &Tensors::new()).preset, "custom");
    }

    #[test]
    fn errors_of_files_devices_and_people_are_told_apart() {
        let memory = |need_bytes| Error::OutOfMemory {
            what: "activations".into(),
            need_bytes,
            limit_bytes: 0,
            advice: "reduce --batch".into(),
        };
        assert_eq!(code(&memory(1)), "memory-gpu");
        assert_eq!(message(&memory(2_500_000)), "the GPU has too little memory: activations needs 3 MB");
        assert!(!message(&memory(0)).contains("--batch"));
        assert_eq!(code(&Error::DeviceLost("gone".into())), "device-lost");
        assert_eq!(code(&Error::Checkpoint { what: "x".into(), problem: "y".into() }), "model");
    }
}
