//! Regions follow the crop of their image, at any resolution.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use image::{GrayImage, ImageBuffer, Luma, Rgb};
use proptest::prelude::*;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rmae_core::regions::{RegionPolicy, SamplingOptions};

use super::*;

fn all(k: usize, patch: usize) -> SamplingOptions {
    SamplingOptions {
        regions: k,
        patch_size: patch,
        mask_ratio: 0.75,
        policy: RegionPolicy::Random,
        min_patches: 0,
    }
}

fn crop(x: u32, y: u32, width: u32, height: u32, flip: bool) -> Crop {
    Crop { x, y, width, height, flip }
}

proptest! {
    #[test]
    fn label_files_and_partitions_are_cropped_alike(
        x in 0u32..10, y in 0u32..10, w in 1u32..10, h in 1u32..10, flip: bool, side in 1usize..24, factor in 1usize..3
    ) {
        // 20×20 pixels of image; the map is as large or half as large.
        let len = 20 / factor;
        let labels: Vec<u16> = (0..len * len).map(|i| i as u16).collect();
        let raw = RawLabels { width: len, height: len, labels: labels.clone(), wide: true };
        let wide = labels.iter().map(|&l| u32::from(l)).collect();
        let map = LabelMap::new(len, len, wide).unwrap();
        let crop = crop(x, y, w, h, flip);
        let ours: Vec<u32> = raw.crop(&crop, (20, 20), side).into_iter().map(u32::from).collect();
        let scale = |v: u32| v as f32 / factor as f32;
        let core = map.crop_resize((scale(x), scale(y), scale(w), scale(h)), side, flip).unwrap();
        prop_assert_eq!(LabelMap::relabel(side, side, ours).unwrap(), core);
    }
}

#[test]
fn regions_lie_where_their_pixels_do() {
    // A bright disc off centre, segmented at half its resolution; the crop
    // cuts and mirrors it. The drawn region must cover the disc's pixels.
    let inside = |x: u32, y: u32| (x as f32 - 60.0).hypot(y as f32 - 50.0) < 30.0;
    let image = RgbImage::from_fn(160, 120, |x, y| Rgb([if inside(x, y) { 250 } else { 10 }; 3]));
    let params = [FelzenszwalbParams::at_scale(100)];
    let maps = segment(&image, &params, 60, &mut Felzenszwalb::new()).unwrap();
    assert_eq!((maps[0].width(), maps[0].height(), maps[0].count()), (80, 60, 2));
    let crop = crop(10, 10, 80, 80, true);
    let set = crop_partitions(&maps, &crop, (160, 120), 32).unwrap();
    let ids: Vec<u32> = (0..16).collect();
    let drawn = set.draw(&all(2, 8), &ids, &mut ChaCha8Rng::seed_from_u64(0)).unwrap();
    let pixels = super::super::resample(&image, &crop, 32);
    let bright: Vec<bool> = pixels[..32 * 32].iter().map(|&v| v > 0.0).collect();
    let agreement = |plane: &[u8]| plane.iter().zip(&bright).filter(|(r, b)| (**r == 1) == **b).count();
    let best = drawn.chunks(32 * 32).map(agreement).max().unwrap();
    assert!(best > 32 * 32 * 95 / 100, "{best} of {} pixels agree", 32 * 32);
}

#[test]
fn the_background_of_a_label_map_is_no_region() {
    let raw = RawLabels { width: 2, height: 2, labels: vec![0, 7, 7, 65535], wide: true };
    let regions = |background| {
        let mut set = RegionSet::new(4).unwrap();
        raw.push_crop(&Crop::whole(2, 2), (2, 2), background, 4, &mut set).unwrap();
        set.len()
    };
    assert_eq!((regions(None), regions(Some(0)), regions(Some(9))), (3, 2, 3));
}

#[test]
fn label_maps_are_found_by_the_images_names() {
    let dir = tempfile::tempdir().unwrap();
    let grey = GrayImage::from_pixel(2, 2, Luma([3]));
    for name in ["12_3.png", "12_4.png", "cat.png", "dog.jpg"] {
        grey.save(dir.path().join(name)).unwrap();
    }
    let images: Vec<PathBuf> = ["x/12.jpg", "x/cat.jpeg", "x/dog.jpg"].map(PathBuf::from).to_vec();
    let files = LabelFiles::open(dir.path(), &images).unwrap();
    let count = |image: &str| files.of(Path::new(image)).len();
    assert_eq!((count("x/12.jpg"), count("cat.png"), count("dog.jpg"), count("1.jpg")), (2, 1, 0, 0));

    let error = LabelFiles::open(dir.path(), &[PathBuf::from("bird.jpg")]).unwrap_err();
    assert!(error.to_string().contains("named after"), "{error}");
    assert!(matches!(LabelFiles::open(&dir.path().join("no"), &images), Err(DataError::Missing(_))));
}

#[test]
fn label_maps_of_8_and_16_bits_are_read_and_colour_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("map.png");
    GrayImage::from_pixel(2, 1, Luma([200])).save(&path).unwrap();
    let read = read_labels(&path).unwrap();
    assert_eq!(read, RawLabels { width: 2, height: 1, labels: vec![200; 2], wide: false });
    ImageBuffer::<Luma<u16>, _>::from_pixel(1, 2, Luma([60_000u16])).save(&path).unwrap();
    let read = read_labels(&path).unwrap();
    assert_eq!(read, RawLabels { width: 1, height: 2, labels: vec![60_000; 2], wide: true });
    RgbImage::new(2, 2).save(&path).unwrap();
    let error = read_labels(&path).unwrap_err().to_string();
    assert!(error.contains("map.png") && error.contains("grey"), "{error}");
}
