//! The flags of `rmae segment`. Their order matters: prompts belong to the `--object` before them.

use std::path::PathBuf;

use clap::{ArgAction, ArgGroup, ArgMatches, Args, ValueEnum};
use rmae_core::prompt::{BoxPrompt, Click, CropMode, Fit};

use super::args::ModelFile;
use crate::exit;

#[derive(Debug, Args)]
#[command(after_help = exit::HELP, after_long_help = exit::HELP)]
#[command(group(ArgGroup::new("outputs").required(true).multiple(true)))]
pub(crate) struct SegmentArgs {
    #[command(flatten)]
    pub(crate) model: ModelFile,
    /// A photo; all coordinates are its pixels, from the upper left corner, upright (EXIF)
    #[arg(value_name = "IMAGE")]
    pub(crate) image: PathBuf,
    /// A point on the object, or with `-` beside it: 120,80 or 120,80,- ; a radius may follow the sign
    #[arg(long, value_name = "X,Y[,+|-[,R]]", value_parser = click, allow_hyphen_values = true, help_heading = "Prompts")]
    pub(crate) click: Vec<Click>,
    /// A box around the object
    #[arg(long = "box", value_name = "X0,Y0,X1,Y1", value_parser = rect, allow_hyphen_values = true, help_heading = "Prompts")]
    pub(crate) boxes: Vec<BoxPrompt>,
    /// Prompts from a file: {"scribbles": [{"points": [[x, y], …], "width": 8, "positive": false}]},
    /// also clicks, boxes and mask
    #[arg(long, value_name = "FILE.json", help_heading = "Prompts")]
    pub(crate) scribble: Vec<PathBuf>,
    /// A mask to start from, of the photo's size; bright is inside
    #[arg(long, value_name = "PNG", help_heading = "Prompts")]
    pub(crate) mask_in: Vec<PathBuf>,
    /// Begins the next object: what follows belongs to it
    #[arg(
        long, value_name = "NAME", num_args = 0..=1, require_equals = true, default_missing_value = "",
        action = ArgAction::Append, help_heading = "Prompts"
    )]
    pub(crate) object: Vec<String>,
    /// The mask, black and white; several objects get NAME-1.png, NAME-2.png, …
    #[arg(long, value_name = "MASK.png", group = "outputs", help_heading = "Output")]
    pub(crate) out: Option<PathBuf>,
    /// The object on transparent ground; several objects as for --out
    #[arg(long, value_name = "PNG", group = "outputs", help_heading = "Output")]
    pub(crate) cutout: Option<PathBuf>,
    /// All objects as COCO annotations
    #[arg(long, value_name = "COCO.json", group = "outputs", help_heading = "Output")]
    pub(crate) json: Option<PathBuf>,
    /// All objects as paths
    #[arg(long, value_name = "FILE.svg", group = "outputs", help_heading = "Output")]
    pub(crate) svg: Option<PathBuf>,
    /// All objects in one picture: 0, or the number of the object (16-bit grey)
    #[arg(long, value_name = "PNG", group = "outputs", help_heading = "Output")]
    pub(crate) label_map: Option<PathBuf>,
    /// The encoder's tokens (`latent`) and each object's logits (`logits.1`, …) before refinement
    #[arg(long, value_name = "FILE.safetensors", group = "outputs", help_heading = "Output")]
    pub(crate) tensors: Option<PathBuf>,
    /// How edges are found
    #[arg(long, value_enum, default_value = "graph-cut")]
    pub(crate) edges: EdgesName,
    /// Keep parts that do not hang together with a click
    #[arg(long)]
    pub(crate) no_connected: bool,
    /// Leave pin-holes open
    #[arg(long)]
    pub(crate) no_holes: bool,
    /// From -1 (a part) to 1 (the whole thing)
    #[arg(long, default_value = "0", allow_hyphen_values = true, value_name = "NUMBER")]
    pub(crate) granularity: f32,
    /// Several masks of each object to choose from, from a part to the whole thing, with the overlap
    /// that is to be expected of each; they count as objects in what is written
    #[arg(long, conflicts_with = "granularity")]
    pub(crate) candidates: bool,
    /// Side at which the model looks at the photo, a multiple of its patch [default: the model's]
    #[arg(long, value_name = "PIXELS")]
    pub(crate) side: Option<usize>,
    /// How a photo becomes square
    #[arg(long, value_enum, default_value = "stretch")]
    pub(crate) fit: FitName,
    /// Look at small objects again, enlarged
    #[arg(long, value_enum, default_value = "off")]
    pub(crate) crop: CropName,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum EdgesName {
    /// As the model draws them.
    Off,
    /// Drawn to the photo's edges by a guided filter.
    Guided,
    /// Along the photo's edges, by minimum cuts.
    GraphCut,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum FitName {
    /// Stretched.
    Stretch,
    /// Scaled evenly, on grey.
    Letterbox,
}

impl From<FitName> for Fit {
    fn from(name: FitName) -> Self {
        match name {
            FitName::Stretch => Self::Stretch,
            FitName::Letterbox => Self::Letterbox,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum CropName {
    /// Never.
    Off,
    /// When the object turns out small.
    Auto,
    /// Always.
    On,
}

impl From<CropName> for CropMode {
    fn from(name: CropName) -> Self {
        match name {
            CropName::Off => Self::Off,
            CropName::Auto => Self::Auto,
            CropName::On => Self::On,
        }
    }
}

/// One thing said, in the order of the command line.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Prompt {
    /// The next object begins; its name, empty where it has none.
    Object(String),
    Click(Click),
    Box(BoxPrompt),
    File(PathBuf),
    Mask(PathBuf),
}

/// The prompts and separators in the order in which they were typed.
pub(crate) fn in_order(matches: &ArgMatches) -> Vec<Prompt> {
    let mut all = vec![];
    collect(matches, "object", Prompt::Object, &mut all);
    collect(matches, "click", Prompt::Click, &mut all);
    collect(matches, "boxes", Prompt::Box, &mut all);
    collect(matches, "scribble", Prompt::File, &mut all);
    collect(matches, "mask_in", Prompt::Mask, &mut all);
    all.sort_by_key(|(index, _)| *index);
    all.into_iter().map(|(_, prompt)| prompt).collect()
}

fn collect<T: Clone + Send + Sync + 'static>(
    matches: &ArgMatches, id: &str, wrap: fn(T) -> Prompt, all: &mut Vec<(usize, Prompt)>,
) {
    let indices = matches.indices_of(id).into_iter().flatten();
    let values = matches.get_many::<T>(id).into_iter().flatten().cloned().map(wrap);
    all.extend(indices.zip(values));
}

fn click(text: &str) -> Result<Click, String> {
    let wrong =
        || "give column and row in pixels, e.g. 120,80, and `-` for a point beside the object: 120,80,-";
    let parts: Vec<&str> = text.split(',').map(str::trim).collect();
    let number = |text: &str| text.parse::<f32>().map_err(|_| wrong().to_string());
    let (x, y, sign, radius) = match parts[..] {
        [x, y] => (x, y, "+", None),
        [x, y, sign] => (x, y, sign, None),
        [x, y, sign, radius] => (x, y, sign, Some(radius)),
        _ => return Err(wrong().into()),
    };
    let positive = match sign {
        "+" => true,
        "-" => false,
        _ => return Err(wrong().into()),
    };
    Ok(Click { x: number(x)?, y: number(y)?, positive, radius: radius.map(number).transpose()? })
}

fn rect(text: &str) -> Result<BoxPrompt, String> {
    let numbers: Result<Vec<f32>, _> = text.split(',').map(|part| part.trim().parse()).collect();
    match numbers.as_deref() {
        Ok(&[x0, y0, x1, y1]) => Ok(BoxPrompt { x0, y0, x1, y1 }),
        _ => Err("give two opposite corners in pixels, e.g. 40,30,200,180".into()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use clap::CommandFactory;

    use super::super::args::Cli;
    use super::*;

    #[test]
    fn points_and_boxes_are_read() {
        let made = click("12.5,8,-,3").unwrap();
        assert_eq!(made, Click { x: 12.5, y: 8.0, positive: false, radius: Some(3.0) });
        assert!(click("1,2").unwrap().positive && click(" 1, 2,+").unwrap().positive);
        for text in ["", "1", "1,2,x", "1,b", "1,2,-,3,4"] {
            assert!(click(text).unwrap_err().contains("120,80"), "{text}");
        }
        assert_eq!(rect("1,2,3,4").unwrap(), BoxPrompt { x0: 1.0, y0: 2.0, x1: 3.0, y1: 4.0 });
        assert!(rect("1,2,3").is_err() && rect("1,2,3,4,5").is_err());
    }

    #[test]
    fn prompts_keep_their_order_around_separators() {
        let line = "rmae segment --model m --click 1,1 --object=cat --box 1,2,3,4 --click 2,2,- photo.jpg \
                    --object --mask-in a.png --out o.png";
        let matches = Cli::command().try_get_matches_from(line.split_whitespace()).unwrap();
        let order = in_order(matches.subcommand_matches("segment").unwrap());
        assert!(
            matches!(
                &order[..],
                [Prompt::Click(_), Prompt::Object(cat), Prompt::Box(_), Prompt::Click(_), Prompt::Object(none), Prompt::Mask(_)]
                    if cat == "cat" && none.is_empty()
            ),
            "{order:?}"
        );
    }
}
