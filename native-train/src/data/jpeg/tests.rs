//! Against the `image` crate, and on what no decoder should have to read.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use image::{DynamicImage, Rgb, RgbImage};
use proptest::prelude::*;

use super::encoder::{Kind, PLAIN, encode};
use super::*;

/// Discs with edges, on a ramp with grain; colours of all kinds.
fn drawn(width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| {
        let grain = (x.wrapping_mul(73_856_093) ^ y.wrapping_mul(19_349_663)).wrapping_mul(0x5bd1_e995) >> 28;
        let disc = (x % 23).abs_diff(11).pow(2) + (y % 19).abs_diff(9).pow(2) < 50;
        let levels =
            if disc { [230, 40 + 3 * (x % 50), 20] } else { [2 * x % 200, 90 + y % 120, 200 - x % 90] };
        Rgb(levels.map(|level| (level + grain).min(255) as u8))
    })
}

/// All samplings that are decoded here.
fn kinds() -> impl Iterator<Item = Kind> {
    let samplings = [(false, (1, 1)), (true, (1, 1)), (true, (2, 1)), (true, (2, 2))];
    samplings.into_iter().map(|(is_colour, sampling)| Kind { is_colour, sampling, ..PLAIN })
}

fn decoded(bytes: &[u8], crop: &Crop, scale: usize) -> Result<RgbImage, NotMine> {
    let mut buffers = Buffers::default();
    let planes = Jpeg::open(bytes)?.decode(crop, scale, &mut buffers)?;
    let Planes { width, height, planes } = planes;
    let at = |x: u32, y: u32| y as usize * width + x as usize;
    let pixel = |x, y| Rgb(planes.each_ref().map(|plane| plane[at(x, y)]));
    Ok(RgbImage::from_fn(*width as u32, *height as u32, pixel))
}

fn whole(bytes: &[u8]) -> Result<RgbImage, NotMine> {
    let (width, height) = Jpeg::open(bytes)?.size();
    decoded(bytes, &Crop::whole(width, height), 1)
}

fn by_image(bytes: &[u8]) -> RgbImage {
    image::load_from_memory(bytes).unwrap().into_rgb8()
}

/// Equal on the whole, and within two levels everywhere.
fn assert_same(got: &RgbImage, wanted: &RgbImage, what: &str) {
    assert_eq!(got.dimensions(), wanted.dimensions(), "{what}");
    let mut sum = 0;
    for (i, (&got, &wanted)) in got.as_raw().iter().zip(wanted.as_raw()).enumerate() {
        assert!(got.abs_diff(wanted) <= 2, "{what}: {got} for {wanted} at {i}");
        sum += i64::from(got) - i64::from(wanted);
    }
    let mean = sum as f64 / got.as_raw().len() as f64;
    assert!(mean.abs() < 0.02, "{what}: {mean} too much");
}

#[test]
fn pixels_are_those_of_the_image_crate() {
    for kind in kinds() {
        for (width, height) in [(16, 16), (64, 48), (97, 61), (33, 130), (200, 150)] {
            let file = encode(&drawn(width, height), kind);
            assert_same(&whole(&file).unwrap(), &by_image(&file), &format!("{kind:?} {width}×{height}"));
        }
    }
    for quality in [5, 50, 90, 100] {
        for image in [DynamicImage::from(drawn(85, 70)), DynamicImage::from(drawn(85, 70)).grayscale()] {
            let mut file = Vec::new();
            let encoder = image::codecs::jpeg::JpegEncoder::new_with_quality(&mut file, quality);
            image.write_with_encoder(encoder).unwrap();
            assert_same(&whole(&file).unwrap(), &by_image(&file), &format!("quality {quality}"));
        }
    }
}

#[test]
fn every_small_size_can_be_decoded() {
    for kind in kinds() {
        for (width, height) in (1..=40).flat_map(|width| [1, 2, 7, 8, 9, 15, 17, 31, 40].map(|h| (width, h)))
        {
            let image = drawn(width, height);
            let file = encode(&image, Kind { step: 1, ..kind });
            let got = whole(&file).unwrap_or_else(|_| panic!("{kind:?} {width}×{height}"));
            // The crate's own doubling of narrow chroma goes other ways than that of wide ones.
            if kind.sampling == (1, 1) {
                assert_same(&got, &by_image(&file), &format!("{kind:?} {width}×{height}"));
            }
            assert_eq!(got.dimensions(), (width, height));
        }
    }
}

#[test]
fn restart_markers_change_nothing() {
    let image = drawn(120, 90);
    for kind in kinds() {
        let plain = whole(&encode(&image, kind)).unwrap();
        for restart in [1, 3, 8, 1000] {
            let file = encode(&image, Kind { restart, ..kind });
            assert_eq!(whole(&file).unwrap(), plain, "{kind:?}, every {restart}");
        }
    }
    // A marker that is lost is damage.
    let file = encode(&image, Kind { restart: 3, ..PLAIN });
    let at = file.windows(2).position(|pair| pair == [0xFF, 0xD1]).unwrap();
    assert!(whole(&[&file[..at], &file[at + 2..]].concat()).is_err());
}

#[test]
fn smaller_scales_are_near_to_averages() {
    for kind in kinds() {
        let smooth = RgbImage::from_fn(203, 149, |x, y| {
            let wave = |at: f64| (128.0 + 100.0 * (at / 29.0).sin()) as u8;
            Rgb([wave(f64::from(x)), wave(f64::from(y)), wave(f64::from(x + y))])
        });
        let file = encode(&smooth, kind);
        let full = whole(&file).unwrap();
        for scale in [2, 4, 8] {
            let small = decoded(&file, &Crop::whole(203, 149), scale as usize).unwrap();
            assert_eq!(small.dimensions(), (203u32.div_ceil(scale), 149u32.div_ceil(scale)));
            for (x, y) in (0..203 / scale).flat_map(|x| (0..149 / scale).map(move |y| (x, y))) {
                let pixels =
                    (0..scale * scale).map(|i| full.get_pixel(x * scale + i % scale, y * scale + i / scale));
                let mut sums = [0; 3];
                pixels.for_each(|p| (0..3).for_each(|c| sums[c] += u32::from(p.0[c])));
                for (got, sum) in small.get_pixel(x, y).0.into_iter().zip(sums) {
                    let wanted = (sum / (scale * scale)) as u8;
                    assert!(got.abs_diff(wanted) <= 6, "{kind:?} 1/{scale}: {got} for {wanted} at {x}, {y}");
                }
            }
        }
    }
}

#[test]
fn what_is_not_known_is_left_to_others() {
    let file = encode(&drawn(40, 30), PLAIN);
    let marker = |wanted: u8| file.windows(2).position(|pair| pair == [0xFF, wanted]).unwrap();
    let with = |at: usize, value: u8| {
        let mut file = file.clone();
        file[at] = value;
        file
    };
    let frame = marker(0xC0);
    assert!(whole(&file).is_ok());
    for (what, at, value) in [
        ("progressive", frame + 1, 0xC2),
        ("arithmetic codes", frame + 1, 0xC9),
        ("12 bits", frame + 4, 12),
        ("luma of three blocks", frame + 11, 0x31),
        ("no rows", frame + 6, 0),
        ("a table that is not there", frame + 12, 2),
        ("two components", frame + 9, 2),
        ("a part of the coefficients", marker(0xDA) + 12, 62),
        ("another scan", file.len() - 1, 0xDA),
    ] {
        assert_eq!(whole(&with(at, value)).err(), Some(NotMine), "{what}");
    }
    let cmyk = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/cmyk.jpg");
    assert!(whole(&std::fs::read(cmyk).unwrap()).is_err());
    let progressive = concat!(env!("CARGO_MANIFEST_DIR"), "/../web/gallery/lake.jpg");
    assert!(whole(&std::fs::read(progressive).unwrap()).is_err());
    for length in 0..file.len() {
        assert!(whole(&file[..length]).is_err(), "{length} of {} bytes", file.len());
    }
}

#[test]
fn a_header_cannot_exhaust_the_memory() {
    let mut file = encode(&drawn(8, 8), PLAIN);
    let frame = file.windows(2).position(|pair| pair == [0xFF, 0xC0]).unwrap();
    file[frame + 5..frame + 9].fill(0xFF);
    assert_eq!(Jpeg::open(&file).unwrap().size(), (65535, 65535));
    let mut buffers = Buffers::default();
    assert!(Jpeg::open(&file).unwrap().decode(&Crop::whole(65535, 65535), 1, &mut buffers).is_err());
    assert!(buffers.scan.allocated() < 10_000);
}

#[test]
fn buffers_carry_nothing_from_one_file_to_the_next() {
    let mut buffers = Buffers::default();
    for kind in kinds().chain(kinds()) {
        for (width, height) in [(90, 20), (11, 70), (50, 50)] {
            let file = encode(&drawn(width, height), kind);
            let crop = Crop { x: 3, y: 2, width: width - 5, height: height - 7, flip: false };
            let jpeg = Jpeg::open(&file).unwrap();
            let again = jpeg.decode(&crop, 1, &mut buffers).unwrap().planes.clone();
            assert_eq!(again, jpeg.decode(&crop, 1, &mut Buffers::default()).unwrap().planes);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_crop_is_the_same_part_of_the_whole(
        (width, height) in (1u32..90, 1u32..90), part in prop::array::uniform4(0.0..1.0f64), kind in 0usize..4, restart in 0u16..9,
    ) {
        let file = encode(&drawn(width, height), Kind { restart, ..kinds().nth(kind).unwrap() });
        let at = |share: f64, side: u32| ((share * f64::from(side)) as u32).min(side - 1);
        let (x, y) = (at(part[0], width), at(part[1], height));
        let crop = Crop { x, y, width: 1 + at(part[2], width - x), height: 1 + at(part[3], height - y), flip: false };
        for scale in [1, 2, 4, 8] {
            let full = decoded(&file, &Crop::whole(width, height), scale).unwrap();
            let s = scale as u32;
            let (left, top) = (x / s, y / s);
            let size = ((x + crop.width).div_ceil(s) - left, (y + crop.height).div_ceil(s) - top);
            let wanted = image::imageops::crop_imm(&full, left, top, size.0, size.1).to_image();
            prop_assert_eq!(decoded(&file, &crop, scale).unwrap(), wanted);
        }
    }

    #[test]
    fn no_bytes_make_it_panic(
        changes in prop::collection::vec((0usize..4000, any::<u8>()), 1..6), kind in 0usize..4, restart in 0u16..3, length in 0usize..8000,
    ) {
        let mut file = encode(&drawn(50, 41), Kind { restart, ..kinds().nth(kind).unwrap() });
        for (at, value) in changes {
            let at = at % file.len();
            file[at] = value;
        }
        file.truncate(length.max(20));
        if let Ok(jpeg) = Jpeg::open(&file) {
            let (width, height) = jpeg.size();
            for scale in [1, 2, 4, 8] {
                let _ = decoded(&file, &Crop::whole(width, height), scale);
                let _ = decoded(&file, &Crop { x: width / 2, y: height / 3, width: 1, height: 1, flip: false }, scale);
            }
        }
    }
}
