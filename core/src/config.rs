//! Hyper-parameters and presets.
//!
//! Field names are those of the reference implementation's configuration, so that fixtures and
//! checkpoints carry them unchanged.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// How the region decoder treats the `k` regions of an image (R-MAE, section 3.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RegionDecoder {
    /// Every region its own pass through neck and decoder: the cost grows `k`-fold.
    Batch,
    /// Regions as input and output channels: cheap, but the order of the regions matters.
    Channel,
    /// Regions as queries of one sequence, expanded over the image at the end: the default.
    #[default]
    Length,
}

/// Which losses a model is trained with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Objective {
    /// Pixels only.
    Mae,
    /// Regions only.
    Rae,
    /// Both.
    RMae,
}

/// Sizes named in the papers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Preset {
    /// ViT-Tiny/16.
    Ti,
    /// ViT-Small/16.
    S,
    /// ViT-Base/16.
    B,
    /// ViT-Large/16.
    L,
    /// ViT-Huge/14.
    H,
}

impl Preset {
    /// Every preset, smallest first.
    pub const ALL: [Self; 5] = [Self::Ti, Self::S, Self::B, Self::L, Self::H];

    /// The name used on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ti => "ti",
            Self::S => "s",
            Self::B => "b",
            Self::L => "l",
            Self::H => "h",
        }
    }

    /// The preset of a name, whatever its case.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|p| p.name().eq_ignore_ascii_case(name))
    }
}

/// The hyper-parameters of one model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ModelConfig {
    /// Image side `S` in pixels.
    pub img_size: usize,
    /// Patch side `p` in pixels.
    pub patch_size: usize,
    /// Encoder width `D`.
    pub embed_dim: usize,
    /// Number of encoder blocks.
    pub depth: usize,
    /// Encoder heads.
    pub num_heads: usize,
    /// Hidden width of an MLP over its width.
    pub mlp_ratio: f64,
    /// Epsilon of every layer norm.
    pub layer_norm_eps: f64,
    /// Share `β_I` of patches removed from the image.
    pub mask_ratio: f64,
    /// Whether pixels are predicted.
    pub use_mae_loss: bool,
    /// Pixel-decoder width `D_d`.
    pub decoder_embed_dim: usize,
    /// Number of pixel-decoder blocks.
    pub decoder_depth: usize,
    /// Pixel-decoder heads.
    pub decoder_num_heads: usize,
    /// Whether each target patch is standardised by its own mean and variance.
    pub norm_pix_loss: bool,
    /// Weight of the pixel loss.
    pub mae_loss_weight: f64,
    /// Regions an image, `k`; 0 leaves the region branch out.
    pub num_region: usize,
    /// Share `β_R` of patches removed from each region map.
    pub region_mask_ratio: f64,
    /// Region-encoder width `D_e`.
    pub region_enc_dim: usize,
    /// Number of region-encoder blocks.
    pub region_enc_depth: usize,
    /// Region-encoder heads.
    pub region_enc_num_heads: usize,
    /// Region-decoder and neck width `D_r`.
    pub region_dec_dim: usize,
    /// Number of region-decoder blocks, the length-variant one included.
    pub region_dec_depth: usize,
    /// Region-decoder and neck heads.
    pub region_dec_num_heads: usize,
    /// Number of neck blocks.
    pub region_cross_layer: usize,
    /// Weight of elements outside the region in the region loss.
    pub bg_loss_weight: f64,
    /// Weight of the region loss.
    pub region_loss_weight: f64,
    /// Batch, channel or length decoder.
    pub region_decoder: RegionDecoder,
}

impl Default for ModelConfig {
    fn default() -> Self {
        Self::preset(Preset::B)
    }
}

impl ModelConfig {
    /// The configuration of a preset, for the R-MAE objective at 224 pixels (H: patch 14).
    #[must_use]
    pub fn preset(preset: Preset) -> Self {
        let base = Self {
            img_size: 224,
            patch_size: 16,
            embed_dim: 768,
            depth: 12,
            num_heads: 12,
            mlp_ratio: 4.0,
            layer_norm_eps: 1e-6,
            mask_ratio: 0.75,
            use_mae_loss: true,
            decoder_embed_dim: 512,
            decoder_depth: 8,
            decoder_num_heads: 16,
            norm_pix_loss: true,
            mae_loss_weight: 1.0,
            num_region: 8,
            region_mask_ratio: 0.75,
            region_enc_dim: 128,
            region_enc_depth: 1,
            region_enc_num_heads: 8,
            region_dec_dim: 128,
            region_dec_depth: 1,
            region_dec_num_heads: 8,
            region_cross_layer: 8,
            bg_loss_weight: 1.0,
            region_loss_weight: 1.0,
            region_decoder: RegionDecoder::Length,
        };
        match preset {
            Preset::Ti => Self {
                embed_dim: 192,
                num_heads: 3,
                decoder_embed_dim: 192,
                decoder_depth: 4,
                decoder_num_heads: 6,
                region_cross_layer: 4,
                ..base
            },
            Preset::S => Self {
                embed_dim: 384,
                num_heads: 6,
                decoder_embed_dim: 256,
                decoder_depth: 4,
                decoder_num_heads: 8,
                ..base
            },
            Preset::B => base,
            Preset::L => Self { embed_dim: 1024, depth: 24, num_heads: 16, ..base },
            Preset::H => Self { embed_dim: 1280, depth: 32, num_heads: 16, patch_size: 14, ..base },
        }
    }

    /// The same model under another objective: regions or pixels are left out as it asks.
    #[must_use]
    pub fn with_objective(mut self, objective: Objective) -> Self {
        match objective {
            Objective::Mae => {
                self.num_region = 0;
                self.use_mae_loss = true;
            }
            Objective::Rae => self.use_mae_loss = false,
            Objective::RMae => self.use_mae_loss = true,
        }
        if objective != Objective::Mae && self.num_region == 0 {
            self.num_region = 8;
        }
        self
    }

    /// Which losses the model has.
    #[must_use]
    pub fn objective(&self) -> Objective {
        match (self.use_mae_loss, self.num_region > 0) {
            (true, true) => Objective::RMae,
            (false, true) => Objective::Rae,
            (_, false) => Objective::Mae,
        }
    }

    /// Patches along a side, `S/p`.
    #[must_use]
    pub fn grid(&self) -> usize {
        self.img_size / self.patch_size
    }

    /// Number of patches, `L = (S/p)²`.
    #[must_use]
    pub fn num_patches(&self) -> usize {
        self.grid() * self.grid()
    }

    /// Image patches left visible, `int(L·(1−β_I))`.
    #[must_use]
    pub fn visible_patches(&self) -> usize {
        (self.num_patches() as f64 * (1.0 - self.mask_ratio)) as usize
    }

    /// Region patches left visible, `int(L·(1−β_R))`.
    #[must_use]
    pub fn visible_region_patches(&self) -> usize {
        (self.num_patches() as f64 * (1.0 - self.region_mask_ratio)) as usize
    }

    /// Hidden width of an MLP of a width.
    #[must_use]
    pub fn mlp_hidden(&self, width: usize) -> usize {
        (width as f64 * self.mlp_ratio) as usize
    }

    /// Checks every field and their combinations.
    ///
    /// # Errors
    /// [`Error::Config`] naming the first field that cannot be, and what would be right.
    pub fn validate(&self) -> Result<()> {
        self.check_sizes()?;
        self.check_ratio("mask_ratio", self.mask_ratio, self.visible_patches())?;
        if self.num_region > 0 {
            self.check_regions()?;
        } else if !self.use_mae_loss {
            return bad("num_region", 0, "without pixels (use_mae_loss = false) at least 1 region is needed");
        }
        Ok(())
    }

    fn check_sizes(&self) -> Result<()> {
        if self.patch_size == 0 || self.img_size == 0 {
            return bad("img_size", self.img_size, "image and patch side must be at least 1 pixel");
        }
        if !self.img_size.is_multiple_of(self.patch_size) {
            let p = self.patch_size;
            let (below, above) = (self.img_size / p * p, self.img_size.div_ceil(p) * p);
            let near = if below == 0 { above.to_string() } else { format!("{below} or {above}") };
            return bad("img_size", self.img_size, &format!("is no multiple of patch_size {p}; use {near}"));
        }
        if self.depth == 0 {
            return bad("depth", 0, "the encoder needs at least one block");
        }
        if !(self.layer_norm_eps > 0.0 && self.layer_norm_eps.is_finite()) {
            return bad("layer_norm_eps", self.layer_norm_eps, "must be positive");
        }
        if !(self.mlp_ratio > 0.0 && self.mlp_ratio.is_finite()) || self.mlp_hidden(self.embed_dim) == 0 {
            return bad("mlp_ratio", self.mlp_ratio, "must leave a hidden width of at least 1");
        }
        check_width("embed_dim", self.embed_dim, "num_heads", self.num_heads)?;
        if self.use_mae_loss {
            check_width(
                "decoder_embed_dim",
                self.decoder_embed_dim,
                "decoder_num_heads",
                self.decoder_num_heads,
            )?;
        }
        check_weight("mae_loss_weight", self.mae_loss_weight)
    }

    fn check_regions(&self) -> Result<()> {
        self.check_ratio("region_mask_ratio", self.region_mask_ratio, self.visible_region_patches())?;
        check_width(
            "region_enc_dim",
            self.region_enc_dim,
            "region_enc_num_heads",
            self.region_enc_num_heads,
        )?;
        check_width(
            "region_dec_dim",
            self.region_dec_dim,
            "region_dec_num_heads",
            self.region_dec_num_heads,
        )?;
        if self.region_dec_depth == 0 {
            return bad("region_dec_depth", 0, "the length-variant block makes it at least 1");
        }
        check_weight("bg_loss_weight", self.bg_loss_weight)?;
        check_weight("region_loss_weight", self.region_loss_weight)
    }

    fn check_ratio(&self, field: &'static str, ratio: f64, visible: usize) -> Result<()> {
        if !(ratio > 0.0 && ratio < 1.0) {
            return bad(field, ratio, "must lie between 0 and 1, both excluded");
        }
        let patches = self.num_patches();
        if visible == 0 {
            return bad(field, ratio, &format!("leaves none of the {patches} patches visible; lower it"));
        }
        if visible == patches {
            return bad(field, ratio, &format!("removes none of the {patches} patches; raise it"));
        }
        Ok(())
    }
}

fn check_width(field: &'static str, width: usize, heads_field: &'static str, heads: usize) -> Result<()> {
    if heads == 0 {
        return bad(heads_field, heads, "must be at least 1");
    }
    if width == 0 || !width.is_multiple_of(heads) {
        return bad(field, width, &format!("must be a positive multiple of {heads_field} = {heads}"));
    }
    if !width.is_multiple_of(4) {
        return bad(
            field,
            width,
            "must be a multiple of 4, as the sine-cosine position table has four parts",
        );
    }
    Ok(())
}

fn check_weight(field: &'static str, weight: f64) -> Result<()> {
    if weight.is_finite() && weight >= 0.0 {
        return Ok(());
    }
    bad(field, weight, "must be finite and not negative")
}

fn bad<T>(field: &'static str, value: impl ToString, problem: &str) -> Result<T> {
    Err(Error::Config { field, value: value.to_string(), problem: problem.into() })
}
