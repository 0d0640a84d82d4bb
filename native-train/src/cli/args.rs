//! The flags as they are typed.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use rmae_train::config::TrainPrecision;
use rmae_train::config::{ObjectiveName, PretrainOptions};
use rmae_train::device::DeviceRequest;

pub(crate) use super::eval_args::EvalArgs;
pub(crate) use super::segment_args::SegmentArgs;
use crate::exit;

/// Pre-train R-MAE models on your photos, and look into them
#[derive(Debug, Parser)]
#[command(name = "rmae", version, after_help = exit::HELP, after_long_help = exit::HELP)]
pub(crate) struct Cli {
    /// auto (a hardware GPU if there is one, else the CPU), cpu, gpu, or a part of an adapter's name
    #[arg(long, global = true, default_value = "auto", value_name = "DEVICE", help_heading = "Device")]
    pub(crate) device: DeviceRequest,
    /// Threads of the CPU executor [default: one a core]
    #[arg(long, global = true, value_name = "N", value_parser = positive, help_heading = "Device")]
    pub(crate) threads: Option<usize>,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Train a model on folders of photos
    Pretrain(Box<PretrainArgs>),
    /// Tune a trained model on clicks, boxes and scribbles (needs --init)
    Tune(Box<PretrainArgs>),
    /// Show what a model is and what it costs
    Info(InfoArgs),
    /// List the devices that can compute, with their measured speed
    Devices,
    /// Segment images as the trainer does (Felzenszwalb-Huttenlocher)
    Regions(RegionsArgs),
    /// Show what a model makes of masked photos
    Reconstruct(ReconstructArgs),
    /// Show where the encoder looks from one point of a photo
    Attention(AttentionArgs),
    /// Cut objects out of a photo by clicks, boxes, scribbles or masks
    Segment(Box<SegmentArgs>),
    /// Measure a model on photos with known masks
    Eval(EvalArgs),
    /// Compare this program with numbers of the reference implementation
    Verify(VerifyArgs),
    /// Write a model's weights for other tools
    Export(ExportArgs),
    /// Measure a training step or the encoder on this machine
    Bench(BenchArgs),
}

#[derive(Debug, Args)]
#[command(after_help = exit::HELP, after_long_help = exit::HELP)]
pub(crate) struct PretrainArgs {
    /// Configuration file (TOML); its keys are the flags' names, flags go before it
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Go on from the newest checkpoint in --out, with the configuration it ran with
    #[arg(long)]
    pub(crate) resume: bool,
    #[command(flatten)]
    pub(crate) options: PretrainOptions,
}

#[derive(Debug, Args)]
pub(crate) struct InfoArgs {
    /// A checkpoint, a weight file, or a preset (ti, s, b, l, h)
    #[arg(value_name = "MODEL|PRESET")]
    pub(crate) model: String,
    /// Print every op of the training graph
    #[arg(long)]
    pub(crate) graph: bool,
    /// Images of one pass
    #[arg(long, default_value = "1", value_parser = positive)]
    pub(crate) batch: usize,
    /// For another objective than the model's
    #[arg(long, value_enum)]
    pub(crate) objective: Option<ObjectiveName>,
}

#[derive(Debug, Args)]
pub(crate) struct RegionsArgs {
    /// An image, or a folder of images
    #[arg(value_name = "IMAGE|DIR")]
    pub(crate) input: PathBuf,
    /// Preferences for large segments; one label map each
    #[arg(long, value_delimiter = ',', default_value = "500,1000,1500", value_name = "SCALES")]
    pub(crate) scale: Vec<u32>,
    /// Smallest segment in pixels [default: the scale]
    #[arg(long, value_name = "PIXELS")]
    pub(crate) min_size: Option<usize>,
    /// Blur before the segmentation, in pixels
    #[arg(long, default_value = "0.8")]
    pub(crate) sigma: f64,
    /// Folder for the label maps, NAME_scaleN.png for scale N, 16-bit grey
    #[arg(long, value_name = "DIR")]
    pub(crate) labels: PathBuf,
    /// Folder for coloured overlays of the same names
    #[arg(long, value_name = "DIR")]
    pub(crate) overlay: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct ModelFile {
    /// A checkpoint, a weight file, or the folder of a run (its newest checkpoint)
    #[arg(long, value_name = "FILE")]
    pub(crate) model: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct ReconstructArgs {
    #[command(flatten)]
    pub(crate) model: ModelFile,
    /// Photos; one row each
    #[arg(required = true, value_name = "IMAGE")]
    pub(crate) images: Vec<PathBuf>,
    /// The picture to write
    #[arg(long, value_name = "PANEL.png")]
    pub(crate) out: PathBuf,
    /// Share of patches removed from the image [default: the model's]
    #[arg(long, value_name = "SHARE")]
    pub(crate) mask_ratio: Option<f64>,
    /// Show a region as well: fh segments the photo
    #[arg(long, value_enum)]
    pub(crate) regions: Option<RegionsOf>,
    /// Which patches are removed and which region is shown
    #[arg(long, default_value = "0")]
    pub(crate) seed: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum RegionsOf {
    /// Felzenszwalb-Huttenlocher segmentation.
    Fh,
}

#[derive(Debug, Args)]
pub(crate) struct AttentionArgs {
    #[command(flatten)]
    pub(crate) model: ModelFile,
    /// A photo
    #[arg(value_name = "IMAGE")]
    pub(crate) image: PathBuf,
    /// Pixel of the photo from which to look
    #[arg(long, value_name = "X,Y", value_parser = point)]
    pub(crate) query: (u32, u32),
    /// Encoder block, from 0 [default: the last]
    #[arg(long)]
    pub(crate) layer: Option<usize>,
    /// Head, from 0, or mean
    #[arg(long, default_value = "mean", value_name = "N|mean", value_parser = head)]
    pub(crate) head: Head,
    /// The picture to write
    #[arg(long, value_name = "PNG")]
    pub(crate) out: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Head {
    Mean,
    One(usize),
}

#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    /// Fixtures: inputs, weights and expected numbers in one safetensors file each
    #[arg(required = true, value_name = "FIXTURE.safetensors")]
    pub(crate) fixtures: Vec<PathBuf>,
    /// f64 is the CPU's; mixed stores f16 on a GPU
    #[arg(long, value_enum, default_value = "f32")]
    pub(crate) precision: PrecisionName,
    /// Store everything computed under the fixture's own tensor names
    #[arg(long, value_name = "OUT.safetensors")]
    pub(crate) write: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum PrecisionName {
    F32,
    F64,
    Mixed,
}

#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    #[command(flatten)]
    pub(crate) model: ModelFile,
    /// The file to write
    #[arg(long, value_name = "FILE.safetensors")]
    pub(crate) out: PathBuf,
    /// What to write
    #[arg(long, value_enum, default_value = "encoder")]
    pub(crate) part: PartName,
    /// Element type
    #[arg(long, value_enum, default_value = "f32")]
    pub(crate) dtype: Dtype,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum PartName {
    /// The ViT that other tools load.
    Encoder,
    /// Decoders and region branch as well.
    All,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Dtype {
    F32,
    F16,
}

#[derive(Debug, Args)]
pub(crate) struct BenchArgs {
    /// What to measure; train and encode when it is left out
    #[arg(value_enum)]
    pub(crate) what: Option<Benched>,
    /// Size of the model: ti, s, b, l or h
    #[arg(long, default_value = "ti")]
    pub(crate) preset: String,
    /// Images of a training step
    #[arg(long, default_value = "8", value_parser = positive)]
    pub(crate) batch: usize,
    /// How often [default: 3 training steps, 20 photos or products]
    #[arg(long, value_name = "N", value_parser = positive)]
    pub(crate) runs: Option<usize>,
    /// Rows and columns of the matrices of `matmul`
    #[arg(long, default_value = "1024", value_parser = positive)]
    pub(crate) size: usize,
    /// `matmul` by the plain tiled kernel that others are compared with
    #[arg(long)]
    pub(crate) tiled: bool,
    /// mixed stores f16 on a GPU
    #[arg(long, value_enum, default_value = "f32")]
    pub(crate) precision: TrainPrecision,
    /// Measure a GPU's kernels for matrix products first and take the fastest; remembered for later runs
    /// [default: true on hardware GPUs, false elsewhere]
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    pub(crate) autotune: Option<bool>,
    /// What each kind of op takes on the CPU, each kernel on a GPU, next to the ceilings of the CPU
    #[arg(long)]
    pub(crate) profile: bool,
    /// Wait for a line with a number before that many runs, then say how long they took (for
    /// programs that measure several implementations in turns)
    #[arg(long, hide = true, requires = "what")]
    pub(crate) turns: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Benched {
    /// One step of pre-training.
    Train,
    /// The encoder over one photo.
    Encode,
    /// A product of two square matrices.
    Matmul,
}

pub(crate) fn positive(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("must be at least 1".into()),
        Ok(number) => Ok(number),
        Err(_) => Err("is no whole number".into()),
    }
}

fn point(text: &str) -> Result<(u32, u32), String> {
    let parse = || {
        let (x, y) = text.split_once(',')?;
        Some((x.trim().parse().ok()?, y.trim().parse().ok()?))
    };
    parse().ok_or_else(|| "give column and row in pixels, e.g. 120,80".into())
}

fn head(text: &str) -> Result<Head, String> {
    if text == "mean" {
        return Ok(Head::Mean);
    }
    text.parse().map(Head::One).map_err(|_| "give a number, counted from 0, or `mean`".into())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_flags_are_consistent() {
        super::Cli::command().debug_assert();
    }
}
