//! The flags of `rmae eval`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use rmae_train::eval::Method;

use super::args::positive;
use super::segment_args::CropName;
use crate::exit;

#[derive(Debug, Args)]
pub(crate) struct EvalArgs {
    #[command(subcommand)]
    pub(crate) what: EvalCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum EvalCommand {
    /// How many clicks an object takes, and what boxes, scribbles and earlier masks give
    Prompts(Box<PromptsArgs>),
}

#[derive(Debug, Args)]
#[command(after_help = exit::HELP, after_long_help = exit::HELP)]
pub(crate) struct PromptsArgs {
    /// A checkpoint, a weight file, or the folder of a run (its newest checkpoint)
    #[arg(long, value_name = "FILE", required_unless_present = "merge", requires = "data")]
    pub(crate) model: Option<PathBuf>,
    /// Sets of photos with masks: images/ and masks/ of equal stems, COCO instances or panoptic, BSDS, or a
    /// folder of such folders
    #[arg(long, num_args = 1.., value_name = "DIR", requires = "model")]
    pub(crate) data: Vec<PathBuf>,
    /// What to measure beside the model
    #[arg(long, value_enum, value_delimiter = ',', num_args = 1.., value_name = "METHODS")]
    pub(crate) baselines: Vec<Method>,
    /// Measure the --baselines alone, without the model as people meet it
    #[arg(long, requires = "baselines", conflicts_with = "failures")]
    pub(crate) baselines_only: bool,
    /// Complete partly visible regions as well, as in pre-training
    #[arg(long)]
    pub(crate) completion: bool,
    /// Add the numbers of another evaluation: --json of this command, or benches/peers/grabcut.py. Without
    /// --model nothing is measured, and these are shown
    #[arg(long, num_args = 1.., value_name = "FILE.json")]
    pub(crate) merge: Vec<PathBuf>,
    /// Clicks at most
    #[arg(long, default_value = "20", value_name = "N", value_parser = positive)]
    pub(crate) max_clicks: usize,
    /// Objects of each set at most, evenly spread
    #[arg(long, value_name = "N", value_parser = positive)]
    pub(crate) limit: Option<usize>,
    /// Seeds of scribbles, degraded masks and completions; their numbers are means over the seeds
    #[arg(long, value_delimiter = ',', num_args = 1.., default_value = "0", value_name = "S")]
    pub(crate) seed: Vec<u64>,
    /// Side at which the model looks at a photo, a multiple of its patch [default: the model's]
    #[arg(long, value_name = "PIXELS")]
    pub(crate) side: Option<usize>,
    /// Look at small objects again, enlarged
    #[arg(long, value_enum, default_value = "off")]
    pub(crate) crop: CropName,
    /// Every object's numbers
    #[arg(long, value_name = "OUT.json", help_heading = "Output")]
    pub(crate) json: Option<PathBuf>,
    /// Mean IoU over clicks, as a picture
    #[arg(long, value_name = "PNG", help_heading = "Output")]
    pub(crate) curves: Option<PathBuf>,
    /// The objects that the model finds worst, as a picture: what is meant, and what comes of a box, of one
    /// click and of three
    #[arg(long, value_name = "PNG", help_heading = "Output", requires = "model")]
    pub(crate) failures: Option<PathBuf>,
    /// Objects on the picture of --failures at most
    #[arg(long, value_name = "N", default_value = "8", value_parser = positive, help_heading = "Output")]
    pub(crate) failures_most: usize,
    /// The tables as a page
    #[arg(long, value_name = "FILE.md", help_heading = "Output")]
    pub(crate) markdown: Option<PathBuf>,
}
