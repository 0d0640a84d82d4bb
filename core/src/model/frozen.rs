//! Parts of the model that stay as they are while others are trained.

/// Which parts are not trained.
///
/// What only frozen parts lead to needs no gradient, so a step gets cheaper as well.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Frozen {
    /// The encoder: patch embedding, class token, blocks, last norm.
    pub encoder: bool,
    /// The pixel decoder and its mask token.
    pub pixels: bool,
    /// The region branch: region encoder, neck, region decoder.
    pub regions: bool,
}

impl Frozen {
    /// Whether the parameter of this name is not trained.
    #[must_use]
    pub fn holds(self, name: &str) -> bool {
        if name.starts_with("region_") {
            self.regions
        } else if name.starts_with("decoder_") || name == "mask_token" {
            self.pixels
        } else {
            self.encoder
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::config::{ModelConfig, Preset};
    use crate::model::param_specs;

    #[test]
    fn every_parameter_belongs_to_one_part() {
        let parts = [
            Frozen { encoder: true, ..Frozen::default() },
            Frozen { pixels: true, ..Frozen::default() },
            Frozen { regions: true, ..Frozen::default() },
        ];
        let specs = param_specs(&ModelConfig::preset(Preset::Ti)).unwrap();
        for spec in &specs {
            assert_eq!(parts.iter().filter(|part| part.holds(&spec.name)).count(), 1, "{}", spec.name);
        }
        for (part, name) in parts.iter().zip(["blocks.3.attn.qkv.weight", "mask_token", "region_proj.0.bias"])
        {
            assert!(part.holds(name), "{name}");
        }
        assert!(parts[2].holds("region_cross_mask_token"));
        assert!(specs.iter().all(|spec| !Frozen::default().holds(&spec.name)));
    }
}
