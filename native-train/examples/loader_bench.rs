//! Images a second and thread that the loader makes of a folder, with and
//! without Felzenszwalb-Huttenlocher regions.
//!
//! `cargo run --release -p rmae-train --example loader_bench -- FOLDER [IMAGES] [THREADS]`

use std::path::PathBuf;
use std::time::Instant;

use rmae_train::data::{DataError, Loader, LoaderConfig, LoaderPosition, RegionSource, scan};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let folder = args.next().ok_or("usage: loader_bench FOLDER [IMAGES] [THREADS]")?;
    let images: usize = args.next().map_or(Ok(512), |text| text.parse())?;
    let threads: usize = args.next().map_or(Ok(1), |text| text.parse())?;
    let files = scan(&[PathBuf::from(folder)])?;
    println!("{} images, {threads} thread(s), crops of 224", files.len());
    let cache = tempfile::tempdir()?;
    let fh = || LoaderConfig {
        threads,
        batch: 32,
        region_source: RegionSource::fh_coco(),
        ..LoaderConfig::default()
    };
    let pixels_only = LoaderConfig { num_regions: 0, ..fh() };
    let cached = || LoaderConfig { region_cache: Some(cache.path().into()), ..fh() };
    for (what, config) in [
        ("pixels only", pixels_only),
        ("regions, 3 scales", fh()),
        ("regions, filling the cache", cached()),
        ("regions from the cache", cached()),
    ] {
        let rate = rate(&files, config, images)?;
        println!("{what:<28} {:7.1} images/s a thread", rate / threads as f64);
    }
    Ok(())
}

/// Images a second over at least `images`, from a cold start.
fn rate(files: &[PathBuf], config: LoaderConfig, images: usize) -> Result<f64, DataError> {
    let batches = images.div_ceil(config.batch);
    let count = batches * config.batch;
    let start = Instant::now();
    let mut loader = Loader::new(files.to_vec(), config, LoaderPosition::default())?;
    for _ in 0..batches {
        for skipped in loader.next_batch()?.skipped {
            println!("skipped {}: {}", skipped.path.display(), skipped.reason);
        }
    }
    Ok(count as f64 / start.elapsed().as_secs_f64())
}
