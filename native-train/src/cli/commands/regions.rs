//! `rmae regions`: the trainer's segmentation as label maps.

use std::fs;
use std::path::{Path, PathBuf};

use image::{ImageBuffer, Luma, RgbImage};
use rmae_core::regions::{Felzenszwalb, FelzenszwalbParams, LabelMap};
use rmae_train::TrainError;
use rmae_train::checkpoint::write_atomically;
use rmae_train::config::fh_params;
use rmae_train::data::{decode, scan};
use rmae_train::picture::{label_overlay, save_png};

use crate::cli::args::RegionsArgs;

pub(crate) fn run(args: &RegionsArgs) -> anyhow::Result<()> {
    let params = fh_params(&args.scale, args.min_size, args.sigma)?;
    let folder = args.input.is_dir();
    let images = if folder { scan(std::slice::from_ref(&args.input))? } else { vec![args.input.clone()] };
    for dir in [Some(&args.labels), args.overlay.as_ref()].into_iter().flatten() {
        fs::create_dir_all(dir).map_err(|e| TrainError::io("create", dir, e))?;
    }
    let mut workspace = Felzenszwalb::new();
    let mut skipped = 0;
    for path in &images {
        match decode(path) {
            Ok(image) => segment(args, &params, &mut workspace, path, &image)?,
            // A folder goes on without the image; a single image is all there is.
            Err(error) if folder => {
                skipped += 1;
                complain!("skipped {error}");
            }
            Err(error) => return Err(error.into()),
        }
    }
    if skipped == images.len() {
        let looked_at = images.len();
        return Err(rmae_train::data::DataError::TooManySkipped { looked_at, skipped: vec![] }.into());
    }
    complain!("wrote {} label maps into {}", (images.len() - skipped) * params.len(), args.labels.display());
    Ok(())
}

fn segment(
    args: &RegionsArgs, params: &[FelzenszwalbParams], workspace: &mut Felzenszwalb, path: &Path,
    image: &RgbImage,
) -> anyhow::Result<()> {
    let (width, height) = (image.width() as usize, image.height() as usize);
    let maps = workspace.segment_scales(image.as_raw(), width, height, params);
    let maps = maps.map_err(|e| TrainError::Config(format!("{}: {e}", path.display())))?;
    for (scale, map) in args.scale.iter().zip(&maps) {
        let name = file_name(args, path, *scale);
        write_labels(map, &args.labels.join(&name))?;
        if let Some(dir) = &args.overlay {
            save_png(&label_overlay(image, map), &dir.join(&name))?;
        }
    }
    Ok(())
}

/// `NAME_scale500.png`; for images in folders below the given one, their folders are part of the
/// name, so that equal names do not meet.
fn file_name(args: &RegionsArgs, path: &Path, scale: u32) -> PathBuf {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let below = path.parent().and_then(|p| p.strip_prefix(&args.input).ok());
    let folders =
        below.into_iter().flat_map(Path::components).map(|c| format!("{}_", c.as_os_str().to_string_lossy()));
    format!("{}{stem}_scale{scale}.png", folders.collect::<String>()).into()
}

fn write_labels(map: &LabelMap, path: &Path) -> anyhow::Result<()> {
    if map.count() > 1 + u32::from(u16::MAX) {
        let problem = format!(
            "{}: {} segments are more than 16 bits can number; raise --min-size or --scale",
            path.display(),
            map.count()
        );
        return Err(TrainError::Config(problem).into());
    }
    let labels: Vec<u16> = map.labels().iter().map(|&label| label as u16).collect();
    let image: Option<ImageBuffer<Luma<u16>, _>> =
        ImageBuffer::from_raw(map.width() as u32, map.height() as u32, labels);
    let mut bytes = std::io::Cursor::new(vec![]);
    if let Some(image) = image {
        image.write_to(&mut bytes, image::ImageFormat::Png)?;
    }
    write_atomically(path, |temporary| fs::write(temporary, bytes.get_ref()))?;
    Ok(())
}
