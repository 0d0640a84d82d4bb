//! Every kind of file that a folder of photos may hold, drawn here.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::PathBuf;

use image::{GrayAlphaImage, GrayImage, ImageBuffer, Luma, LumaA, Rgba, RgbaImage};
use tempfile::TempDir;

use super::*;

/// A folder to draw into.
struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn bytes(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    }

    fn image(&self, name: &str, image: impl Into<DynamicImage>) -> PathBuf {
        let path = self.0.path().join(name);
        image.into().save(&path).unwrap();
        path
    }
}

fn jpeg(image: &RgbImage) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = image::codecs::jpeg::JpegEncoder::new_with_quality(&mut bytes, 95);
    encoder.encode_image(image).unwrap();
    bytes
}

/// Left half red, right half blue, 32×16.
fn red_blue() -> RgbImage {
    RgbImage::from_fn(32, 16, |x, _| if x < 16 { Rgb([255, 0, 0]) } else { Rgb([0, 0, 255]) })
}

fn is_near(got: Rgb<u8>, wanted: [u8; 3]) -> bool {
    got.0.iter().zip(wanted).all(|(g, w)| g.abs_diff(w) < 24)
}

/// `jpeg` with an EXIF segment that holds one tag, the orientation.
fn with_orientation(jpeg: &[u8], orientation: u8) -> Vec<u8> {
    let mut exif = b"Exif\0\0MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0".to_vec();
    exif.extend([orientation, 0, 0, 0, 0, 0, 0]);
    let mut bytes = jpeg[..2].to_vec();
    bytes.extend([0xFF, 0xE1]);
    bytes.extend((exif.len() as u16 + 2).to_be_bytes());
    bytes.extend(exif);
    bytes.extend(&jpeg[2..]);
    bytes
}

#[test]
fn exif_orientation_is_applied() {
    let folder = Folder::new();
    let plain = jpeg(&red_blue());
    // (tag, size, where the red half's middle comes to lie)
    for (tag, size, red) in [
        (1, (32, 16), (8, 8)),
        (2, (32, 16), (24, 8)),
        (3, (32, 16), (24, 8)),
        (5, (16, 32), (8, 8)),
        (6, (16, 32), (8, 8)),
        (7, (16, 32), (8, 24)),
        (8, (16, 32), (8, 24)),
    ] {
        let path = folder.bytes("turned.jpg", &with_orientation(&plain, tag));
        let image = decode(&path).unwrap();
        assert_eq!(image.dimensions(), size, "orientation {tag}");
        assert!(is_near(*image.get_pixel(red.0, red.1), [255, 0, 0]), "orientation {tag}");
    }
    let path = folder.bytes("odd.jpg", &with_orientation(&plain, 99));
    assert_eq!(decode(&path).unwrap().dimensions(), (32, 16));
}

#[test]
fn cmyk_jpegs_have_their_colours() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/cmyk.jpg");
    let image = decode(&path).unwrap();
    let expected = [[0, 255, 255], [255, 0, 255], [255, 255, 0], [0, 0, 0]];
    for (i, wanted) in (0u32..).zip(expected) {
        let got = *image.get_pixel(i % 2 * 16 + 8, i / 2 * 16 + 8);
        assert!(is_near(got, wanted), "quadrant {i}: {got:?} for {wanted:?}");
    }
}

#[test]
fn deep_grey_palette_and_transparent_images_become_rgb() {
    let folder = Folder::new();
    type Deep = ImageBuffer<Rgb<u16>, Vec<u16>>;
    let deep = Deep::from_pixel(3, 2, Rgb([65535, 257 * 100, 128]));
    for name in ["deep.png", "deep.tiff"] {
        let image = decode(&folder.image(name, deep.clone())).unwrap();
        assert_eq!(image.get_pixel(2, 1).0, [255, 100, 0], "{name}");
    }
    let deep_grey = ImageBuffer::<Luma<u16>, Vec<u16>>::from_pixel(2, 2, Luma([257 * 77]));
    let image = decode(&folder.image("deep_grey.png", deep_grey)).unwrap();
    assert_eq!(image.get_pixel(0, 0).0, [77; 3]);

    for name in ["grey.png", "grey.jpg", "grey.bmp", "grey.tif"] {
        let grey = GrayImage::from_pixel(9, 7, Luma([90]));
        let image = decode(&folder.image(name, grey)).unwrap();
        assert_eq!((image.dimensions(), image.get_pixel(8, 6).0), ((9, 7), [90; 3]), "{name}");
    }
    let veil = GrayAlphaImage::from_pixel(2, 2, LumaA([0, 51]));
    let image = decode(&folder.image("veil.png", veil)).unwrap();
    assert_eq!(image.get_pixel(1, 1).0, [204; 3], "black at 20 % over white");
    for name in ["clear.png", "clear.webp"] {
        let clear = RgbaImage::from_pixel(2, 2, Rgba([9, 8, 7, 0]));
        let image = decode(&folder.image(name, clear)).unwrap();
        assert_eq!(image.get_pixel(0, 0).0, [255; 3], "{name}");
    }
    let image = decode(&folder.bytes("palette.bmp", &palette_bmp())).unwrap();
    assert_eq!((image.get_pixel(0, 0).0, image.get_pixel(1, 0).0), ([255, 0, 0], [0, 255, 0]));
}

/// A 2×1 bitmap of two palette colours, red and green.
fn palette_bmp() -> Vec<u8> {
    let mut bytes = b"BM".to_vec();
    for word in [66u32, 0, 62, 40, 2, 1] {
        bytes.extend(word.to_le_bytes());
    }
    bytes.extend([1, 0, 8, 0]);
    for word in [0u32, 4, 0, 0, 2, 0] {
        bytes.extend(word.to_le_bytes());
    }
    bytes.extend([0, 0, 255, 0, 0, 255, 0, 0]);
    bytes.extend([0, 1, 0, 0]);
    bytes
}

#[test]
fn a_single_pixel_is_an_image_and_the_content_tells_the_format() {
    let folder = Folder::new();
    let one = RgbImage::from_pixel(1, 1, Rgb([1, 2, 3]));
    let png = fs::read(folder.image("one.png", one.clone())).unwrap();
    assert_eq!(decode(&folder.bytes("really_a_png.jpg", &png)).unwrap(), one);
}

#[test]
fn damaged_files_are_refused_by_name() {
    let folder = Folder::new();
    let whole = jpeg(&red_blue());
    let png = fs::read(folder.image("whole.png", red_blue())).unwrap();
    let webp = fs::read(folder.image("whole.webp", red_blue())).unwrap();
    let bmp = fs::read(folder.image("whole.bmp", red_blue())).unwrap();
    let tiff = fs::read(folder.image("whole.tiff", red_blue())).unwrap();
    for (name, bytes, reason) in [
        ("empty.jpg", &b""[..], "empty"),
        ("page.jpg", b"<!DOCTYPE html><html><body>404</body></html>", "not an image"),
        ("half.jpg", &whole[..whole.len() / 2], ""),
        ("scan.jpg", &whole[..whole.len() - 9], "truncated"),
        ("cut.jpg", &whole[..whole.len() - 2], "truncated"),
        ("start.jpg", &whole[..3], ""),
        ("half.png", &png[..png.len() / 2], ""),
        ("half.webp", &webp[..webp.len() / 2], ""),
        ("half.bmp", &bmp[..bmp.len() / 2], ""),
        ("half.tiff", &tiff[..tiff.len() / 2], ""),
    ] {
        let path = folder.bytes(name, bytes);
        let error = decode(&path).expect_err(name);
        assert!(matches!(&error, DataError::Decode { path: named, .. } if *named == path), "{error:?}");
        assert!(error.to_string().contains(name) && error.reason().contains(reason), "{error}");
    }
    let missing = decode(Path::new("nowhere.jpg")).unwrap_err();
    assert!(missing.to_string().contains("nowhere.jpg"));
}

#[test]
fn the_end_of_a_thumbnail_is_not_the_end_of_the_image() {
    let folder = Folder::new();
    let whole = jpeg(&red_blue());
    let mut with_thumbnail = whole[..2].to_vec();
    with_thumbnail.extend([0xFF, 0xED]);
    with_thumbnail.extend((whole.len() as u16 + 2).to_be_bytes());
    with_thumbnail.extend(&whole);
    with_thumbnail.extend(&whole[2..]);
    assert!(decode(&folder.bytes("whole.jpg", &with_thumbnail)).is_ok());
    let cut = &with_thumbnail[..with_thumbnail.len() - 40];
    assert!(decode(&folder.bytes("cut.jpg", cut)).is_err());
}

#[test]
fn a_header_cannot_exhaust_the_memory() {
    let folder = Folder::new();
    // A bitmap header that promises 60000×60000 pixels in 66 bytes.
    let mut bytes = palette_bmp();
    bytes[18..22].copy_from_slice(&60_000u32.to_le_bytes());
    bytes[22..26].copy_from_slice(&60_000u32.to_le_bytes());
    let error = decode(&folder.bytes("bomb.bmp", &bytes)).unwrap_err();
    assert!(matches!(error, DataError::TooLarge { width: 60_000, .. }), "{error}");
    assert!(error.to_string().contains("bomb.bmp"));
}

proptest::proptest! {
    #[test]
    fn no_bytes_make_it_panic(at in 0usize..600, value: u8, length in 0usize..700) {
        let mut bytes = jpeg(&red_blue());
        let at = at % bytes.len();
        bytes[at] = value;
        bytes.truncate(length);
        let _ = decode_bytes(Path::new("fuzz.jpg"), &bytes);
    }
}
