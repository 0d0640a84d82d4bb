//! Times the Felzenszwalb-Huttenlocher segmentation on one core.
//!
//! `cargo run --release -p rmae-core --example fh_bench -- [IMAGE.png] [--rounds N]
//! [--scales 500,1000]` prints one JSON object; `benches/peers/fh.py` takes the same arguments,
//! draws the same image when none is given, and times scikit-image on it.

use std::fs::File;
use std::io::BufReader;
use std::time::Instant;

use rmae_core::regions::{Felzenszwalb, FelzenszwalbParams, LabelMap};
use serde_json::json;

type Failure = Box<dyn std::error::Error>;

struct Arguments {
    image: Option<String>,
    rounds: usize,
    scales: Vec<u32>,
}

fn main() -> Result<(), Failure> {
    let arguments = arguments()?;
    let (width, height, rgb) = match &arguments.image {
        Some(path) => read_png(path)?,
        None => (480, 320, draw(480, 320)),
    };
    let params: Vec<_> = arguments.scales.iter().map(|&scale| FelzenszwalbParams::at_scale(scale)).collect();
    let mut workspace = Felzenszwalb::new();
    let mut maps = workspace.segment_scales(&rgb, width, height, &params)?;
    let mut seconds = Vec::new();
    for _ in 0..arguments.rounds {
        let start = Instant::now();
        maps = workspace.segment_scales(&rgb, width, height, &params)?;
        seconds.push(start.elapsed().as_secs_f64());
    }
    let checksum = rgb.iter().fold(0u32, |sum, &byte| sum.wrapping_mul(31).wrapping_add(u32::from(byte)));
    let report = json!({
        "library": "rmae-core",
        "width": width,
        "height": height,
        "image_checksum": checksum,
        "scales": arguments.scales,
        "segments": maps.iter().map(LabelMap::count).collect::<Vec<_>>(),
        "seconds": seconds,
    });
    println!("{report}");
    Ok(())
}

fn arguments() -> Result<Arguments, Failure> {
    let mut found = Arguments { image: None, rounds: 5, scales: vec![500] };
    let mut rest = std::env::args().skip(1);
    while let Some(argument) = rest.next() {
        let mut value = || rest.next().ok_or(format!("{argument} needs a value"));
        match argument.as_str() {
            "--rounds" => found.rounds = value()?.parse()?,
            "--scales" => {
                let scales = value()?.split(',').map(str::parse).collect::<Result<_, _>>();
                found.scales = scales?;
            }
            _ if argument.starts_with('-') => {
                return Err(format!("unknown option {argument}").into());
            }
            _ => found.image = Some(argument),
        }
    }
    Ok(found)
}

fn read_png(path: &str) -> Result<(usize, usize, Vec<u8>), Failure> {
    let mut reader = png::Decoder::new(BufReader::new(File::open(path)?)).read_info()?;
    if reader.output_color_type() != (png::ColorType::Rgb, png::BitDepth::Eight) {
        return Err(format!("{path} is not an 8-bit RGB PNG").into());
    }
    let mut rgb = vec![0; reader.output_buffer_size().ok_or("the image is too large")?];
    let info = reader.next_frame(&mut rgb)?;
    Ok((info.width as usize, info.height as usize, rgb))
}

/// Discs on a ramp, with noise: in integers, so that the peer draws the same.
fn draw(width: usize, height: usize) -> Vec<u8> {
    let mut rgb = Vec::with_capacity(width * height * 3);
    for y in 0..height as u32 {
        for x in 0..width as u32 {
            let mut colour = [40 + x / 4, 60 + y / 3, 160 - y / 4];
            for disc in 0..24u32 {
                let (cx, cy) = (disc * 191 % width as u32, disc * 137 % height as u32);
                let (dx, dy, radius) = (x.abs_diff(cx), y.abs_diff(cy), 12 + disc * 29 % 37);
                if dx * dx + dy * dy < radius * radius {
                    colour = [60 + disc * 53 % 150, 60 + disc * 97 % 150, 60 + disc * 31 % 150];
                }
            }
            for (channel, level) in (0..).zip(colour) {
                rgb.push((level + noise(x, y, channel)) as u8);
            }
        }
    }
    rgb
}

/// 0 to 18, from a hash of the place.
fn noise(x: u32, y: u32, channel: u32) -> u32 {
    let mut hash = x.wrapping_mul(73_856_093) ^ y.wrapping_mul(19_349_663);
    hash ^= channel.wrapping_mul(83_492_791);
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(0x5bd1_e995);
    hash ^= hash >> 15;
    hash % 19
}
