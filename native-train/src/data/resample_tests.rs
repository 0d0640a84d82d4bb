//! Against Pillow's bicubic, and against what must hold for any crop.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use image::Rgb;
use proptest::prelude::*;

use super::*;

/// The pattern of `tests/fixtures/make_fixtures.py`.
fn pattern() -> RgbImage {
    RgbImage::from_fn(11, 9, |x, y| {
        Rgb([0, 1, 2].map(|c| ((x * x * 7 + y * 31 + c * 53 + x * y * 5) % 256) as u8))
    })
}

const CROP: Crop = Crop { x: 1, y: 2, width: 9, height: 7, flip: false };

/// `crop.resize((3, 3), BICUBIC)` of Pillow: all nine pixels.
const TO_3: [u8; 27] = [
    144, 174, 97, 118, 122, 128, 125, 105, 148, 148, 124, 93, 142, 144, 133, 138, 127, 117, 85, 115, 143,
    135, 117, 120, 151, 134, 108,
];
/// `crop.resize((14, 14), BICUBIC)` of Pillow: the first row.
const TO_14: [u8; 42] = [
    74, 127, 178, 87, 140, 218, 110, 164, 220, 136, 209, 45, 194, 131, 2, 229, 4, 61, 80, 45, 106, 30, 114,
    174, 108, 167, 242, 206, 63, 126, 207, 25, 76, 78, 122, 175, 149, 57, 110, 233, 0, 41,
];

fn assert_close(image: &RgbImage, expected: &[u8]) {
    for (i, (&got, &wanted)) in image.as_raw().iter().zip(expected).enumerate() {
        // Pillow rounds to 8 bits between its two passes, so one step may differ.
        assert!(got.abs_diff(wanted) <= 1, "value {i}: {got}, Pillow {wanted}");
    }
}

#[test]
fn agrees_with_pillow_when_shrinking_and_enlarging() {
    let image = pattern();
    assert_close(&denormalise(&resample(&image, &CROP, 3), 3), &TO_3);
    assert_close(&denormalise(&resample(&image, &CROP, 14), 14), &TO_14);
}

#[test]
fn flipping_mirrors_columns() {
    let plain = denormalise(&resample(&pattern(), &CROP, 14), 14);
    let flipped = Crop { flip: true, ..CROP };
    let flipped = denormalise(&resample(&pattern(), &flipped, 14), 14);
    assert_eq!(image::imageops::flip_horizontal(&plain), flipped);
}

#[test]
fn normalisation_is_imagenets() {
    let image = RgbImage::from_pixel(2, 2, Rgb([255, 0, 128]));
    let values = resample(&image, &Crop::whole(2, 2), 1);
    let expected = [(1.0 - 0.485) / 0.229, (0.0 - 0.456) / 0.224, (128.0 / 255.0 - 0.406) / 0.225];
    for (got, wanted) in values.iter().zip(expected) {
        assert!((got - wanted).abs() < 1e-5, "{values:?}");
    }
}

proptest! {
    #[test]
    fn a_flat_image_stays_flat_and_its_size_is_reproduced(
        w in 1u32..40, h in 1u32..40, x in 0u32..40, y in 0u32..40, side in 1usize..30, value: [u8; 3]
    ) {
        let (x, y) = (x % w, y % h);
        let crop = Crop { x, y, width: w - x, height: h - y, flip: false };
        let flat = RgbImage::from_pixel(w, h, Rgb(value));
        let out = denormalise(&resample(&flat, &crop, side), side);
        prop_assert!(out.pixels().all(|p| p.0 == value));
    }

    #[test]
    fn pixels_outside_the_crop_do_not_matter(seed: u8) {
        let mut image = pattern();
        let before = resample(&image, &CROP, 5);
        for (x, y, pixel) in image.enumerate_pixels_mut() {
            if !(1..10).contains(&x) || !(2..9).contains(&y) {
                pixel.0 = [seed; 3];
            }
        }
        prop_assert_eq!(before, resample(&image, &CROP, 5));
    }
}

#[test]
fn resizing_to_the_same_size_changes_nothing() {
    assert_eq!(resize(&pattern(), 11, 9), pattern());
}
