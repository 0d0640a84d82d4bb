//! A part of a photo is what a full decode gives.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use image::Rgb;
use proptest::prelude::*;

use super::super::jpeg::encoder::{Kind, PLAIN, encode};
use super::super::resample::{IMAGENET_STD, denormalise};
use super::*;

const NAME: &str = "photo.jpg";

/// Waves of some pixels' length under a ramp.
fn drawn(width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| {
        let wave = |at: f64| 40.0 * (at / 3.5).sin();
        let level = 100.0 + wave(f64::from(x)) + wave(f64::from(y) * 0.7);
        Rgb([
            level as u8,
            (level + f64::from(x * 50 / width)) as u8,
            (level + f64::from(y * 70 / height)) as u8,
        ])
    })
}

/// The file with an EXIF segment that says how it has to be turned.
fn turned(file: &[u8], orientation: u8) -> Vec<u8> {
    let mut exif = b"Exif\0\0MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0".to_vec();
    exif.extend([orientation, 0, 0, 0, 0, 0, 0]);
    let length = (exif.len() as u16 + 2).to_be_bytes();
    [&file[..2], &[0xFF, 0xE1], &length, &exif, &file[2..]].concat()
}

/// Of a crop by way of the whole photo.
fn by_the_whole(photo: &Photo<'_>, crop: &Crop, side: usize) -> Vec<f32> {
    resample(photo.whole().unwrap(), crop, side)
}

/// Decibels of signal over difference, and the largest difference in levels.
fn difference(got: &[f32], wanted: &[f32]) -> (f64, f64) {
    let levels = |at: usize| f64::from(255.0 * IMAGENET_STD[3 * at / got.len()]);
    let differences = (0..got.len()).map(|at| levels(at) * f64::from(got[at] - wanted[at]).abs());
    let (squares, most) = differences.fold((0.0, 0.0f64), |(sum, most), d| (sum + d * d, most.max(d)));
    (10.0 * (255.0f64.powi(2) * got.len() as f64 / squares.max(1e-9)).log10(), most)
}

#[test]
fn each_orientation_shows_the_crop_that_the_upright_photo_has() {
    let kind = Kind { sampling: (2, 2), ..PLAIN };
    let file = encode(&drawn(150, 110), kind);
    let mut buffers = Buffers::default();
    for orientation in 1..=8 {
        let bytes = turned(&file, orientation);
        let photo = Photo::open(Path::new(NAME), &bytes).unwrap();
        assert!(photo.jpeg.is_some());
        assert_eq!(photo.size(), photo.whole().unwrap().dimensions(), "orientation {orientation}");
        for flip in [false, true] {
            // At full size; at a half.
            for (side, least) in [(48, 60.0), (16, 40.0)] {
                let crop = Crop { x: 9, y: 21, width: 90, height: 60, flip };
                let got = photo.resample(&crop, side, &mut buffers).unwrap();
                let (decibels, most) = difference(&got, &by_the_whole(&photo, &crop, side));
                assert!(
                    decibels > least,
                    "orientation {orientation} at {side}: {decibels} dB, {most} levels"
                );
            }
        }
    }
}

#[test]
fn less_is_decoded_where_the_crop_is_much_larger_than_the_result() {
    let mut buffers = Buffers::default();
    for sampling in [(1, 1), (2, 1), (2, 2)] {
        let bytes = encode(&drawn(400, 300), Kind { sampling, ..PLAIN });
        let photo = Photo::open(Path::new(NAME), &bytes).unwrap();
        for (x, y, width, height) in [(0, 0, 400, 300), (33, 17, 301, 277), (101, 99, 222, 190)] {
            let crop = Crop { x, y, width, height, flip: false };
            for side in [100, 62, 31, 20] {
                let got = photo.resample(&crop, side, &mut buffers).unwrap();
                let (decibels, most) = difference(&got, &by_the_whole(&photo, &crop, side));
                assert!(decibels > 40.0, "{crop:?} at {side}: {decibels} dB, {most} levels");
            }
        }
    }
}

#[test]
fn other_files_are_decoded_as_a_whole() {
    let image = drawn(60, 50);
    let mut png = Vec::new();
    image.write_to(&mut std::io::Cursor::new(&mut png), image::ImageFormat::Png).unwrap();
    let photo = Photo::open(Path::new(NAME), &png).unwrap();
    assert_eq!(photo.size(), (60, 50));
    let crop = Crop { x: 5, y: 6, width: 40, height: 30, flip: true };
    let got = photo.resample(&crop, 16, &mut Buffers::default()).unwrap();
    assert_eq!(denormalise(&got, 16), denormalise(&resample(&image, &crop, 16), 16));
}

#[test]
fn damage_is_told_as_by_a_full_decode() {
    let file = encode(&drawn(60, 50), PLAIN);
    let crop = Crop { x: 0, y: 0, width: 8, height: 8, flip: false };
    for length in [file.len() - 2, file.len() - 40] {
        let bytes = &file[..length];
        let photo = Photo::open(Path::new(NAME), bytes).unwrap();
        let error = photo.resample(&crop, 8, &mut Buffers::default()).unwrap_err();
        assert!(error.reason().contains("truncated"), "{error}");
    }
    for bytes in [&file[..30], &b"<html>"[..], &[]] {
        let error = Photo::open(Path::new(NAME), bytes).unwrap_err();
        assert_eq!(error.reason(), decode_whole(Path::new(NAME), bytes).unwrap_err().reason());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn at_full_size_a_crop_is_that_of_the_whole(
        (width, height) in (20u32..120, 20u32..120), part in prop::array::uniform4(0.0..1.0f64), flip: bool, sampling in 0usize..3,
    ) {
        let sampling = [(1, 1), (2, 1), (2, 2)][sampling];
        let bytes = encode(&drawn(width, height), Kind { sampling, ..PLAIN });
        let at = |share: f64, side: u32| ((share * f64::from(side)) as u32).min(side - 1);
        let (x, y) = (at(part[0], width), at(part[1], height));
        let crop = Crop { x, y, width: 1 + at(part[2], width - x), height: 1 + at(part[3], height - y), flip };
        let photo = Photo::open(Path::new(NAME), &bytes).unwrap();
        let got = photo.resample(&crop, 50, &mut Buffers::default()).unwrap();
        let (_, most) = difference(&got, &by_the_whole(&photo, &crop, 50));
        prop_assert!(most < 2.5, "{most} levels");
    }
}
