//! What a person may set, on the command line or in a file: every value optional, every name once.

use std::path::PathBuf;

use clap::ValueEnum;
use rmae_core::config::{ModelConfig, Objective, Preset, RegionDecoder};
use serde::{Deserialize, Serialize};

/// Defines a set of options that is at once the flags (clap), the keys of the file (serde) and a
/// layer that can lie over another.
macro_rules! options {
    (
        $(#[$meta:meta])*
        $name:ident {
            $( $(#[$field_meta:meta])* $field:ident : $ty:ty, )*
            $( @table $(#[$table_meta:meta])* $table:ident : $table_ty:ty, )*
        }
    ) => {
        #[derive(Clone, Debug, Default, PartialEq, clap::Args, Serialize, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        $(#[$meta])*
        pub struct $name {
            $(
                $(#[$field_meta])*
                #[serde(skip_serializing_if = "Option::is_none")]
                pub $field: Option<$ty>,
            )*
            $( $(#[$table_meta])* #[command(flatten)] pub $table: $table_ty, )*
        }

        impl $name {
            /// The keys of the file, tables left out.
            pub const KEYS: &[&str] = &[$(stringify!($field)),*];

            /// These options, and those of `lower` where these say nothing.
            #[must_use]
            pub fn or(self, lower: Self) -> Self {
                Self {
                    $( $field: self.$field.or(lower.$field), )*
                    $( $table: self.$table.or(lower.$table), )*
                }
            }
        }
    };
}

/// `mae`, `rae` or `rmae`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ObjectiveName {
    /// Pixels only.
    Mae,
    /// Regions only.
    Rae,
    /// Pixels and regions.
    #[value(name = "rmae")]
    RMae,
}

impl From<ObjectiveName> for Objective {
    fn from(name: ObjectiveName) -> Self {
        match name {
            ObjectiveName::Mae => Self::Mae,
            ObjectiveName::Rae => Self::Rae,
            ObjectiveName::RMae => Self::RMae,
        }
    }
}

/// `encoder`, `pixels` or `regions`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PartName {
    /// The encoder.
    Encoder,
    /// The pixel decoder.
    Pixels,
    /// The region branch.
    Regions,
}

/// Where regions come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RegionKind {
    /// Felzenszwalb-Huttenlocher segmentation, made on the fly.
    Fh,
    /// Label maps in the folder that `labels` names.
    Labels,
    /// Random blobs that have nothing to do with the photos, to compare with.
    Blobs,
}

/// Which regions of a crop may be drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sampling {
    /// Any region.
    Random,
    /// Only regions that touch a visible patch.
    #[value(name = "random_fg")]
    RandomFg,
}

/// How a GPU keeps what it computes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TrainPrecision {
    /// Everything in f32.
    #[default]
    F32,
    /// Activations and copies of the weights in f16, the rest in f32, with a dynamic loss scale (GPUs only).
    Mixed,
}

/// A preset's name, whatever its case.
pub fn parse_preset(name: &str) -> Result<Preset, String> {
    Preset::from_name(name).ok_or_else(|| {
        let known: Vec<_> = Preset::ALL.iter().map(|p| p.name()).collect();
        format!("unknown preset; the presets are {}", known.join(", "))
    })
}

fn parse_decoder(name: &str) -> Result<RegionDecoder, String> {
    match name {
        "length" => Ok(RegionDecoder::Length),
        "channel" => Ok(RegionDecoder::Channel),
        "batch" => Ok(RegionDecoder::Batch),
        _ => Err("unknown decoder; it is length, channel or batch".into()),
    }
}

options! {
    /// Options of `rmae pretrain`; each is a flag and a key of the configuration file.
    PretrainOptions {
        /// Folders of images, searched recursively (JPEG, PNG, WebP, BMP, TIFF)
        #[arg(long, num_args = 1.., value_name = "DIR", help_heading = "Data")]
        images: Vec<PathBuf>,
        /// Folder of the run: checkpoints, metrics, pictures
        #[arg(long, value_name = "RUN", help_heading = "Run")]
        out: PathBuf,
        /// Model size: ti, s, b, l or h [default: ti]
        #[arg(long, value_parser = parse_preset, help_heading = "Model")]
        preset: Preset,
        /// Weights to start from: a checkpoint, an export or a run's folder; its model is the default
        #[arg(long, value_name = "FILE", help_heading = "Model")]
        init: PathBuf,
        /// Show regions by clicks, boxes and scribbles, as people do, instead of random patches [default: false]
        #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "BOOL", help_heading = "Regions")]
        prompts: bool,
        /// With --prompts: show the model whole images, as when it is used, and leave pixels alone [default: false; tune: true]
        #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "BOOL", help_heading = "Tuning (with --prompts)")]
        whole_image: bool,
        /// With --prompts: weight of the soft Dice loss beside the cross-entropy [default: 0; tune: 1]
        #[arg(long, value_name = "W", help_heading = "Tuning (with --prompts)")]
        dice_weight: f64,
        /// With --prompts: weight of the boundary loss, errors weighed by their distance to the true border in patches [default: 0]
        #[arg(long, value_name = "W", help_heading = "Tuning (with --prompts)")]
        boundary_weight: f64,
        /// With --prompts: share of the batches that go on with clicks on the model's own errors [default: 0; tune: 0.3]
        #[arg(long, value_name = "SHARE", help_heading = "Tuning (with --prompts)")]
        corrective: f64,
        /// What is learnt: mae (pixels), rae (regions) or rmae (both) [default: rmae]
        #[arg(long, value_enum, help_heading = "Model")]
        objective: ObjectiveName,
        /// Parts whose weights stay as they are, to train the others on top of them
        #[arg(long, value_enum, value_delimiter = ',', value_name = "PARTS", help_heading = "Recipe")]
        freeze: Vec<PartName>,
        /// Images of one pass over the device [default: 64]
        #[arg(long, value_name = "N", help_heading = "Recipe")]
        batch: usize,
        /// Batches summed up before each update [default: 1]
        #[arg(long, value_name = "N", help_heading = "Recipe")]
        accumulate: usize,
        /// Updates of the whole run; instead of --epochs
        #[arg(long, value_name = "N", help_heading = "Recipe")]
        steps: u64,
        /// Passes over the images of the whole run [default: 100]
        #[arg(long, value_name = "N", help_heading = "Recipe")]
        epochs: f64,
        /// Learning rate after the warm-up; instead of --base-lr
        #[arg(long, help_heading = "Recipe")]
        lr: f64,
        /// Learning rate for 256 images an update, scaled to the actual number [default: 1.5e-4]
        #[arg(long, value_name = "LR", help_heading = "Recipe")]
        base_lr: f64,
        /// Learning rate at the end of the cosine [default: 0]
        #[arg(long, value_name = "LR", help_heading = "Recipe")]
        min_lr: f64,
        /// Updates of linear warm-up; instead of --warmup-epochs [default: 1/12 of the run]
        #[arg(long, value_name = "N", help_heading = "Recipe")]
        warmup_steps: u64,
        /// Epochs of linear warm-up
        #[arg(long, value_name = "N", help_heading = "Recipe")]
        warmup_epochs: f64,
        /// Decoupled weight decay; not on biases and layer norms [default: 0.05]
        #[arg(long, value_name = "W", help_heading = "Recipe")]
        weight_decay: f64,
        /// AdamW's decay of the mean of gradients [default: 0.9]
        #[arg(long, help_heading = "Recipe")]
        beta1: f64,
        /// AdamW's decay of the mean of squared gradients [default: 0.95]
        #[arg(long, help_heading = "Recipe")]
        beta2: f64,
        /// AdamW's epsilon [default: 1e-8]
        #[arg(long, help_heading = "Recipe")]
        eps: f64,
        /// Largest norm of all gradients together; 0 for no clipping [default: 0]
        #[arg(long, value_name = "NORM", help_heading = "Recipe")]
        clip_norm: f64,
        /// Seed of weights, order, crops, masks and regions [default: 0]
        #[arg(long, help_heading = "Recipe")]
        seed: u64,
        /// Threads that decode, crop and segment [default: one a core]
        #[arg(long, value_name = "N", help_heading = "Data")]
        loader_threads: usize,
        /// Batches made ahead of the device [default: 3]
        #[arg(long, value_name = "N", help_heading = "Data")]
        prefetch: usize,
        /// Where regions come from [default: fh]
        #[arg(long, value_enum, help_heading = "Regions")]
        regions: RegionKind,
        /// Scales of the segmentation [default: 500,1000,1500]
        #[arg(long, value_delimiter = ',', value_name = "SCALES", help_heading = "Regions")]
        fh_scales: Vec<u32>,
        /// Smallest segment in pixels [default: the scale]
        #[arg(long, value_name = "PIXELS", help_heading = "Regions")]
        fh_min_size: usize,
        /// Blur before the segmentation, in pixels [default: 0.8]
        #[arg(long, value_name = "SIGMA", help_heading = "Regions")]
        fh_sigma: f64,
        /// Images with a longer short side are segmented at this one [default: 480]
        #[arg(long, value_name = "PIXELS", help_heading = "Regions")]
        fh_max_side: u32,
        /// Folder of label maps, NAME.png or NAME_*.png for the image NAME
        #[arg(long, value_name = "DIR", help_heading = "Regions")]
        labels: PathBuf,
        /// Several sources of regions, of which each sample takes one that has something for its image:
        /// fh, labels:DIR or blobs (random ones, to compare with), then :WEIGHT or nothing, each with
        /// this flag before it
        #[arg(long, value_name = "KIND[:DIR][:WEIGHT]", help_heading = "Regions")]
        source: Vec<String>,
        /// Share of the crops that are taken around an object of the label maps [default: 0; tune: 0.3]
        #[arg(long, value_name = "SHARE", help_heading = "Data")]
        object_crops: f64,
        /// Share of the crops that are the whole image [default: 0; tune: 0.3]
        #[arg(long, value_name = "SHARE", help_heading = "Data")]
        whole_crops: f64,
        /// Label that is no region
        #[arg(long, value_name = "LABEL", help_heading = "Regions")]
        labels_background: u16,
        /// random: any region; random_fg: only those that touch a visible patch [default: random]
        #[arg(long, value_enum, help_heading = "Regions")]
        region_sampling: Sampling,
        /// Regions that touch fewer patches are not drawn [default: 0]
        #[arg(long, value_name = "N", help_heading = "Regions")]
        min_patches: usize,
        /// Folder that keeps segmentations between epochs and runs
        #[arg(long, value_name = "DIR", help_heading = "Regions")]
        region_cache: PathBuf,
        /// Updates between checkpoints [default: 500]
        #[arg(long, value_name = "STEPS", help_heading = "Run")]
        checkpoint_every: u64,
        /// Newest checkpoints kept [default: 3]
        #[arg(long, value_name = "N", help_heading = "Run")]
        keep: usize,
        /// Updates between pictures; 0 for none [default: 500]
        #[arg(long, value_name = "STEPS", help_heading = "Run")]
        picture_every: u64,
        /// Images in each picture [default: 4]
        #[arg(long, value_name = "N", help_heading = "Run")]
        pictures: usize,
        /// Compute activations again in the backward pass: less memory, more time [default: false]
        #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "BOOL", help_heading = "Run")]
        recompute: bool,
        /// Precision of a GPU: mixed keeps activations as f16, in little more than half the memory [default: f32]
        #[arg(long, value_enum, help_heading = "Run")]
        precision: TrainPrecision,
        /// Measure a GPU's kernels for matrix products first and take the fastest; remembered for later runs
        /// [default: true on hardware GPUs, false elsewhere]
        #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "BOOL", help_heading = "Run")]
        autotune: bool,
        @table
        /// Hyper-parameters that differ from the preset's.
        model: ModelOptions,
    }
}

options! {
    /// Hyper-parameters of the model that differ from the preset's: flags, and the `[model]` table.
    #[command(next_help_heading = "Model (each overrides the preset)")]
    ModelOptions {
        /// Image side in pixels
        #[arg(long, value_name = "PIXELS")]
        img_size: usize,
        /// Patch side in pixels
        #[arg(long, value_name = "PIXELS")]
        patch_size: usize,
        /// Encoder width
        #[arg(long, value_name = "N")]
        embed_dim: usize,
        /// Encoder blocks
        #[arg(long, value_name = "N")]
        depth: usize,
        /// Encoder heads
        #[arg(long, value_name = "N")]
        num_heads: usize,
        /// Hidden width of an MLP over its width
        #[arg(long, value_name = "X")]
        mlp_ratio: f64,
        /// Epsilon of every layer norm
        #[arg(long, value_name = "EPS")]
        layer_norm_eps: f64,
        /// Share of patches removed from the image
        #[arg(long, value_name = "SHARE")]
        mask_ratio: f64,
        /// Whether pixels are predicted
        #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
        use_mae_loss: bool,
        /// Pixel-decoder width
        #[arg(long, value_name = "N")]
        decoder_embed_dim: usize,
        /// Pixel-decoder blocks
        #[arg(long, value_name = "N")]
        decoder_depth: usize,
        /// Pixel-decoder heads
        #[arg(long, value_name = "N")]
        decoder_num_heads: usize,
        /// Whether each target patch is standardised
        #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
        norm_pix_loss: bool,
        /// Weight of the pixel loss
        #[arg(long, value_name = "W")]
        mae_loss_weight: f64,
        /// Regions an image
        #[arg(long, value_name = "K")]
        num_region: usize,
        /// Share of patches removed from each region map
        #[arg(long, value_name = "SHARE")]
        region_mask_ratio: f64,
        /// Region-encoder width
        #[arg(long, value_name = "N")]
        region_enc_dim: usize,
        /// Region-encoder blocks
        #[arg(long, value_name = "N")]
        region_enc_depth: usize,
        /// Region-encoder heads
        #[arg(long, value_name = "N")]
        region_enc_num_heads: usize,
        /// Region-decoder and neck width
        #[arg(long, value_name = "N")]
        region_dec_dim: usize,
        /// Region-decoder blocks
        #[arg(long, value_name = "N")]
        region_dec_depth: usize,
        /// Region-decoder and neck heads
        #[arg(long, value_name = "N")]
        region_dec_num_heads: usize,
        /// Neck blocks
        #[arg(long, value_name = "N")]
        region_cross_layer: usize,
        /// Weight of elements outside the region
        #[arg(long, value_name = "W")]
        bg_loss_weight: f64,
        /// Weight of the region loss
        #[arg(long, value_name = "W")]
        region_loss_weight: f64,
        /// length, channel or batch
        #[arg(long, value_parser = parse_decoder, value_name = "KIND")]
        region_decoder: RegionDecoder,
    }
}

/// Applies and reads back every field that [`ModelOptions`] shares with [`ModelConfig`].
macro_rules! model_fields {
    ($($field:ident),* $(,)?) => {
        impl ModelOptions {
            /// Puts the values that are set into a configuration.
            pub fn apply(&self, config: &mut ModelConfig) {
                $( if let Some(value) = self.$field { config.$field = value; } )*
            }
        }

        impl From<&ModelConfig> for ModelOptions {
            fn from(config: &ModelConfig) -> Self {
                // Destructured, so that a field added to the model must be added here.
                let &ModelConfig { $($field),* } = config;
                Self { $($field: Some($field)),* }
            }
        }
    };
}

model_fields!(
    img_size,
    patch_size,
    embed_dim,
    depth,
    num_heads,
    mlp_ratio,
    layer_norm_eps,
    mask_ratio,
    use_mae_loss,
    decoder_embed_dim,
    decoder_depth,
    decoder_num_heads,
    norm_pix_loss,
    mae_loss_weight,
    num_region,
    region_mask_ratio,
    region_enc_dim,
    region_enc_depth,
    region_enc_num_heads,
    region_dec_dim,
    region_dec_depth,
    region_dec_num_heads,
    region_cross_layer,
    bg_loss_weight,
    region_loss_weight,
    region_decoder,
);
