//! What the loader makes of a folder on one thread: images a second, with and without
//! Felzenszwalb-Huttenlocher regions.
//!
//! `cargo run --release -p rmae-train --example loader_bench -- [FOLDER] [--size 500x375]
//! [--images N] [--rounds N] [--regions]`
//!
//! Without a folder it draws photos of that size into `target/loader-bench`. The last line is one JSON
//! object, for `cargo xtask bench loader`: seconds for the images of each round, pixels only.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::Instant;

use image::codecs::jpeg::JpegEncoder;
use image::{Rgb, RgbImage};
use rmae_train::data::{DataError, Loader, LoaderConfig, LoaderPosition, RegionSource, scan};

/// Photos drawn into a folder.
const DRAWN: u32 = 32;
/// Of the JPEGs: about that of a camera.
const QUALITY: u8 = 90;

struct Arguments {
    folder: Option<PathBuf>,
    size: (u32, u32),
    images: usize,
    rounds: usize,
    regions: bool,
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = arguments()?;
    let folder = match &arguments.folder {
        Some(folder) => folder.clone(),
        None => drawn(arguments.size)?,
    };
    let files = scan(&[folder])?;
    let config = || LoaderConfig { threads: 1, batch: 32, num_regions: 0, ..LoaderConfig::default() };
    if arguments.regions {
        print_regions(&files, arguments.images)?;
    }
    let rounds = 0..arguments.rounds;
    let seconds: Vec<f64> =
        rounds.map(|_| seconds(&files, config(), arguments.images)).collect::<Result<_, _>>()?;
    let bytes: u64 = files.iter().map(|file| Ok(file.metadata()?.len())).sum::<std::io::Result<u64>>()?;
    let (photos, images) = (files.len(), arguments.images);
    let report =
        serde_json::json!({ "photos": photos, "bytes": bytes, "images": images, "seconds": seconds });
    println!("{report}");
    Ok(())
}

fn arguments() -> Result<Arguments, Box<dyn Error>> {
    let mut found = Arguments { folder: None, size: (500, 375), images: 256, rounds: 3, regions: false };
    let mut rest = std::env::args().skip(1);
    while let Some(argument) = rest.next() {
        let mut value = || rest.next().ok_or(format!("{argument} needs a value"));
        match argument.as_str() {
            "--size" => {
                let size = value()?;
                let (width, height) = size.split_once('x').ok_or("--size is WIDTHxHEIGHT")?;
                found.size = (width.parse()?, height.parse()?);
            }
            "--images" => found.images = value()?.parse()?,
            "--rounds" => found.rounds = value()?.parse()?,
            "--regions" => found.regions = true,
            _ if argument.starts_with('-') => return Err(format!("unknown option {argument}").into()),
            _ => found.folder = Some(argument.into()),
        }
    }
    Ok(found)
}

/// The folder of drawn photos of a size, made where it is missing.
fn drawn((width, height): (u32, u32)) -> Result<PathBuf, Box<dyn Error>> {
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target");
    let folder = target.join("loader-bench").join(format!("{width}x{height}"));
    std::fs::create_dir_all(&folder)?;
    for number in 0..DRAWN {
        let file = folder.join(format!("{number:02}.jpg"));
        if !file.is_file() {
            let mut jpeg = Vec::new();
            JpegEncoder::new_with_quality(&mut jpeg, QUALITY).encode_image(&draw(width, height, number))?;
            // At once under its name: a run that is stopped leaves no half file.
            let begun = folder.join(format!("{number:02}.part"));
            std::fs::write(&begun, jpeg)?;
            std::fs::rename(begun, file)?;
        }
    }
    Ok(folder)
}

/// Discs on a ramp with grain: about as many bytes a pixel as a photo has.
fn draw(width: u32, height: u32, number: u32) -> RgbImage {
    let radius = |disc: u32| (width / 25 + disc * 29 % (width / 8).max(1)).pow(2);
    let discs: Vec<[u32; 3]> =
        (number..number + 24).map(|disc| [disc * 1907 % width, disc * 1373 % height, radius(disc)]).collect();
    RgbImage::from_fn(width, height, |x, y| {
        let hash = (x.wrapping_mul(73_856_093) ^ y.wrapping_mul(19_349_663)).wrapping_mul(0x5bd1_e995);
        let grain = (hash >> 16) % 24;
        let over = |&[cx, cy, r]: &[u32; 3]| x.abs_diff(cx).pow(2) + y.abs_diff(cy).pow(2) < r;
        let levels = match discs.iter().position(over) {
            Some(at) => [53, 97, 31].map(|factor| 60 + at as u32 * factor % 150),
            None => [40 + 100 * x / width, 60 + 90 * y / height, 160 - 100 * y / height],
        };
        Rgb(levels.map(|level| (level + grain) as u8))
    })
}

fn print_regions(files: &[PathBuf], images: usize) -> Result<(), Box<dyn Error>> {
    let cache = tempfile::tempdir()?;
    let fh = || LoaderConfig {
        threads: 1,
        batch: 32,
        region_source: RegionSource::fh_coco(),
        ..LoaderConfig::default()
    };
    let cached = || LoaderConfig { region_cache: Some(cache.path().into()), ..fh() };
    for (what, config) in [
        ("regions, 3 scales", fh()),
        ("regions, filling the cache", cached()),
        ("regions from the cache", cached()),
    ] {
        println!("{what:<28} {:7.1} images/s", images as f64 / seconds(files, config, images)?);
    }
    Ok(())
}

/// Seconds for some images, from a cold start.
fn seconds(files: &[PathBuf], config: LoaderConfig, images: usize) -> Result<f64, DataError> {
    let batches = images.div_ceil(config.batch);
    let start = Instant::now();
    let mut loader = Loader::new(files.to_vec(), config, LoaderPosition::default())?;
    for _ in 0..batches {
        for skipped in loader.next_batch()?.skipped {
            println!("skipped {}: {}", skipped.path.display(), skipped.reason);
        }
    }
    Ok(start.elapsed().as_secs_f64())
}
