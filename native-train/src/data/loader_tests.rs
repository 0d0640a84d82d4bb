//! The sequence of batches: the same however it is made, from wherever it starts.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::path::Path;

use image::{GrayImage, Luma, Rgb, RgbImage};
use proptest::prelude::*;
use rmae_core::regions::{FelzenszwalbParams, RegionPolicy, visible_patches};

use super::super::{Crop, Crops, RegionSource, scan};
use super::*;

const SIDE: usize = 32;
const PATCH: usize = 8;
const K: usize = 3;

/// A folder of `count` drawn images, some sizes of each orientation.
fn folder(count: u32) -> (tempfile::TempDir, Vec<PathBuf>) {
    let dir = tempfile::tempdir().unwrap();
    for i in 0..count {
        let (w, h) = (40 + i % 5 * 9, 40 + i % 3 * 13);
        let image = RgbImage::from_fn(w, h, |x, y| {
            let block = ((x / 12 + y / 15 + i) % 5) as u8;
            Rgb([block * 50, 255 - block * 40, (x + y) as u8])
        });
        image.save(dir.path().join(format!("{i:03}.png"))).unwrap();
    }
    let files = scan(&[dir.path().to_path_buf()]).unwrap();
    (dir, files)
}

fn config() -> LoaderConfig {
    LoaderConfig {
        image_side: SIDE,
        patch: PATCH,
        batch: 4,
        num_regions: K,
        region_source: RegionSource::Felzenszwalb {
            params: vec![FelzenszwalbParams::at_scale(50), FelzenszwalbParams::at_scale(100)],
            max_short_side: 32,
        },
        seed: 5,
        ..LoaderConfig::default()
    }
}

/// `count` batches, with what depends on timing and history blanked.
fn batches(files: &[PathBuf], config: &LoaderConfig, start: LoaderPosition, count: usize) -> Vec<Batch> {
    let mut loader = Loader::new(files.to_vec(), config.clone(), start).unwrap();
    let next = |_| {
        let batch = loader.next_batch().unwrap();
        Batch { wait: Duration::ZERO, skipped: Vec::new(), ..batch }
    };
    (0..count).map(next).collect()
}

#[test]
fn batches_have_the_shapes_and_values_the_model_takes() {
    let (_dir, files) = folder(6);
    for batch in batches(&files, &config(), LoaderPosition::default(), 3) {
        assert_eq!(batch.images.len(), 4 * 3 * SIDE * SIDE);
        assert!(batch.images.iter().all(|v| v.is_finite() && v.abs() < 3.0));
        assert_eq!(batch.regions.len(), 4 * K * SIDE * SIDE);
        assert!(batch.regions.iter().all(|&v| v == 0.0 || v == 1.0));
        for region in batch.regions.chunks(SIDE * SIDE) {
            assert!(region.contains(&1.0), "segmentations leave no region empty");
        }
        for ids in batch.ids_shuffle.chunks((SIDE / PATCH).pow(2)) {
            let mut sorted = ids.to_vec();
            sorted.sort_unstable();
            assert_eq!(sorted, (0..16).collect::<Vec<_>>());
        }
        assert_eq!(batch.names.len(), 4);
    }
}

#[test]
fn threads_and_prefetching_do_not_change_the_batches() {
    let (_dir, mut files) = folder(11);
    fs::write(&files[3], "not an image").unwrap();
    files.push(Path::new("missing.png").into());
    let reference = batches(&files, &config(), LoaderPosition::default(), 7);
    for (threads, prefetch_batches) in [(1, 1), (3, 1), (5, 4)] {
        let config = LoaderConfig { threads, prefetch_batches, ..config() };
        let others = batches(&files, &config, LoaderPosition::default(), 7);
        assert!(others == reference, "{threads} threads, {prefetch_batches} ahead");
    }
    let other_seed = LoaderConfig { seed: 6, ..config() };
    let others = batches(&files, &other_seed, LoaderPosition::default(), 7);
    assert!(others != reference);
}

#[test]
fn resuming_anywhere_continues_as_if_nothing_had_happened() {
    let (_dir, files) = folder(11);
    fs::write(&files[5], "not an image").unwrap();
    let whole = batches(&files, &config(), LoaderPosition::default(), 8);
    for done in 1..8 {
        let start = whole[done - 1].position_after;
        let rest = batches(&files, &config(), start, 8 - done);
        assert!(rest == whole[done..], "after {done} batches, at {start:?}");
    }
    assert_eq!(whole[7].position_after, LoaderPosition { epoch: 2, index: 10 });
}

#[test]
fn an_epoch_visits_every_image_once_and_the_next_in_another_order() {
    let (_dir, files) = folder(12);
    let all = batches(&files, &config(), LoaderPosition::default(), 6);
    let names =
        |batches: &[Batch]| -> Vec<PathBuf> { batches.iter().flat_map(|b| b.names.clone()).collect() };
    let (first, second) = (names(&all[..3]), names(&all[3..]));
    assert_ne!(first, second);
    for mut epoch in [first, second] {
        epoch.sort();
        assert_eq!(epoch, files);
    }
}

#[test]
fn a_data_set_smaller_than_a_batch_wraps_around() {
    let (_dir, files) = folder(3);
    let config = LoaderConfig { batch: 8, ..config() };
    let all = batches(&files, &config, LoaderPosition::default(), 2);
    assert_eq!(all[0].position_after, LoaderPosition { epoch: 2, index: 2 });
    for file in &files {
        let times = all[0].names.iter().filter(|name| *name == file).count();
        assert!((2..=3).contains(&times));
    }
    let of_first: Vec<_> = (0..8).filter(|&i| all[0].names[i] == files[0]).collect();
    let pixels = |i: usize| &all[0].images[i * 3 * SIDE * SIDE..][..3 * SIDE * SIDE];
    assert_ne!(pixels(of_first[0]), pixels(of_first[1]), "each time its own crop");
}

#[test]
fn unreadable_images_are_replaced_and_named_once() {
    let (_dir, files) = folder(10);
    for i in [2, 7, 8] {
        fs::write(&files[i], "<html>").unwrap();
    }
    let mut loader = Loader::new(files.clone(), config(), LoaderPosition::default()).unwrap();
    let mut skipped = Vec::new();
    for _ in 0..10 {
        let batch = loader.next_batch().unwrap();
        assert_eq!(batch.names.len(), 4);
        skipped.extend(batch.skipped);
    }
    skipped.sort_by(|a, b| a.path.cmp(&b.path));
    let paths: Vec<_> = skipped.iter().map(|s| s.path.clone()).collect();
    assert_eq!(paths, [2, 7, 8].map(|i| files[i].clone()));
    assert!(skipped.iter().all(|s| s.reason == "not an image"), "{skipped:?}");
}

#[test]
fn more_than_half_unreadable_stops_with_counts_and_reasons() {
    for (count, bad) in [(1, 1), (3, 2), (10, 6), (40, 40)] {
        let (_dir, files) = folder(count);
        for file in &files[..bad] {
            fs::write(file, "<html>").unwrap();
        }
        let mut loader = Loader::new(files, config(), LoaderPosition::default()).unwrap();
        let error = (0..count).find_map(|_| loader.next_batch().err()).expect("it stops");
        let DataError::TooManySkipped { looked_at, skipped } = &error else {
            panic!("{error}");
        };
        assert!(skipped.len() * 2 > *looked_at, "{error}");
        let text = error.to_string();
        assert!(text.contains(".png: not an image"), "{text}");
    }
}

#[test]
fn half_unreadable_goes_on_whatever_comes_first() {
    let (_dir, files) = folder(10);
    for file in &files[..5] {
        fs::write(file, "<html>").unwrap();
    }
    for seed in 0..12 {
        let config = LoaderConfig { seed, num_regions: 0, ..config() };
        let mut loader = Loader::new(files.clone(), config, LoaderPosition::default()).unwrap();
        let mut skipped = 0;
        for _ in 0..6 {
            skipped += loader.next_batch().unwrap().skipped.len();
        }
        assert_eq!(skipped, 5, "seed {seed}");
    }
}

#[test]
fn without_a_source_regions_are_zero_and_without_k_there_are_none() {
    let (_dir, files) = folder(4);
    let none = LoaderConfig { region_source: RegionSource::None, ..config() };
    let batch = &batches(&files, &none, LoaderPosition::default(), 1)[0];
    assert_eq!(batch.regions, vec![0.0; 4 * K * SIDE * SIDE]);
    let with = &batches(&files, &config(), LoaderPosition::default(), 1)[0];
    assert!(batch.images == with.images && batch.ids_shuffle == with.ids_shuffle);
    let pixels_only = LoaderConfig { num_regions: 0, ..config() };
    assert!(batches(&files, &pixels_only, LoaderPosition::default(), 1)[0].regions.is_empty());
}

#[test]
fn foreground_regions_touch_visible_patches() {
    let (_dir, files) = folder(8);
    let touches = |batch: &Batch, image: usize, region: &[f32]| {
        let ids = &batch.ids_shuffle[image * 16..][..16];
        visible_patches(ids, 0.75).iter().any(|&id| {
            let (row, column) = (id as usize / 4 * PATCH, id as usize % 4 * PATCH);
            (row..row + PATCH).any(|y| region[y * SIDE + column..][..PATCH].contains(&1.0))
        })
    };
    let hits = |policy| {
        let config = LoaderConfig { region_policy: policy, ..config() };
        let mut hits = (0, 0);
        for batch in batches(&files, &config, LoaderPosition::default(), 6) {
            for (i, region) in batch.regions.chunks(SIDE * SIDE).enumerate() {
                hits.0 += usize::from(touches(&batch, i / K, region));
                hits.1 += 1;
            }
        }
        hits
    };
    let (touching, all) = hits(RegionPolicy::RandomForeground);
    assert_eq!(touching, all);
    let (touching, all) = hits(RegionPolicy::Random);
    assert!(touching < all, "or this test shows nothing");
}

#[test]
fn a_region_cache_changes_nothing_but_the_time() {
    let (_dir, files) = folder(6);
    let cache = tempfile::tempdir().unwrap();
    let reference = batches(&files, &config(), LoaderPosition::default(), 3);
    let cached = LoaderConfig { region_cache: Some(cache.path().into()), ..config() };
    for _ in 0..2 {
        assert!(batches(&files, &cached, LoaderPosition::default(), 3) == reference);
    }
    let entries: Vec<_> = fs::read_dir(cache.path()).unwrap().map(|e| e.unwrap().path()).collect();
    assert_eq!(entries.len(), 6);
    fs::write(&entries[0], "damaged").unwrap();
    assert!(batches(&files, &cached, LoaderPosition::default(), 3) == reference);
}

#[test]
fn label_maps_serve_as_regions() {
    let (dir, files) = folder(4);
    let labels = dir.path().join("labels");
    fs::create_dir(&labels).unwrap();
    // Everything is region 9 in the first image; the others have no map.
    GrayImage::from_pixel(40, 40, Luma([9])).save(labels.join("000.png")).unwrap();
    let source = |background| RegionSource::LabelMaps { dir: labels.clone(), background };
    let config = |background| LoaderConfig { region_source: source(background), ..config() };
    let sums = |background| {
        let batch = batches(&files, &config(background), LoaderPosition::default(), 1).remove(0);
        let sum = |i: usize| batch.regions[i * K * SIDE * SIDE..][..K * SIDE * SIDE].iter().sum::<f32>();
        let of = |name: &PathBuf| sum(batch.names.iter().position(|n| n == name).unwrap());
        (of(&files[0]), of(&files[1]))
    };
    assert_eq!(sums(None), ((K * SIDE * SIDE) as f32, 0.0));
    assert_eq!(sums(Some(9)), (0.0, 0.0));
}

#[test]
fn sources_are_mixed_and_small_objects_are_looked_at_closely() {
    let (dir, files) = folder(2);
    let labels = dir.path().join("labels");
    fs::create_dir(&labels).unwrap();
    // The first image, of 40 by 40 pixels, has a thing of 4 by 4, the second has no map.
    let thing = |x: u32, y: u32| Luma([u8::from((30..34).contains(&x) && (6..10).contains(&y))]);
    GrayImage::from_fn(40, 40, thing).save(labels.join("000.png")).unwrap();
    let maps = RegionSource::LabelMaps { dir: labels, background: Some(0) };
    let mixed = |weight| RegionSource::Mixed(vec![(weight, maps.clone()), (1.0, config().region_source)]);
    let shares = |weight, crops| {
        let config = LoaderConfig { region_source: mixed(weight), crops, batch: 2, ..config() };
        let mut of = [vec![], vec![]];
        for batch in batches(&files, &config, LoaderPosition::default(), 20) {
            for (name, maps) in batch.names.iter().zip(batch.regions.chunks(K * SIDE * SIDE)) {
                let share = maps.iter().sum::<f32>() / maps.len() as f32;
                of[usize::from(*name != files[0])].push(share);
            }
        }
        of
    };
    let [first, second] = shares(1e9, Crops { object: 1.0, whole: 0.0 });
    // The shortest side of a crop is 32 pixels, of 40.
    assert!(first.iter().all(|&share| share > 0.9 * 16.0 / 1024.0 && share < 0.03), "{first:?}");
    assert!(second.iter().all(|&share| share > 0.03), "segments where there is no map: {second:?}");
    let [first, _] = shares(1e9, Crops { object: 0.0, whole: 1.0 });
    assert!(first.iter().all(|&share| (share - 0.01).abs() < 0.003), "{first:?}");
    let [first, _] = shares(1.0, Crops { object: 0.0, whole: 1.0 });
    let segments = first.iter().filter(|&&share| share > 0.03).count();
    assert!((4..17).contains(&segments), "half of 20, about: {first:?}");
}

#[test]
fn blobs_follow_the_place_in_the_sequence_and_nothing_in_the_photo() {
    let (_dir, files) = folder(4);
    let config = |seed| LoaderConfig { region_source: RegionSource::Blobs, seed, ..config() };
    let start = LoaderPosition::default();
    let whole = batches(&files, &config(5), start, 4);
    assert!(whole[1..] == batches(&files, &config(5), whole[0].position_after, 3), "entered on the way");
    for regions in whole.iter().flat_map(|batch| batch.regions.chunks(SIDE * SIDE)) {
        let share = regions.iter().sum::<f32>() / regions.len() as f32;
        assert!(share > 0.0 && share < 0.9, "{share}");
    }
    let maps = |batches: &[Batch]| batches.iter().flat_map(|batch| batch.regions.clone()).collect::<Vec<_>>();
    // Every sample has its own, the same photo's in the next epoch too (of a few pixels, two may be
    // alike); another seed gives others.
    let of_samples = maps(&whole);
    let distinct: std::collections::HashSet<Vec<u8>> = of_samples
        .chunks(SIDE * SIDE)
        .map(|blob| blob.iter().map(|&inside| inside as u8).collect())
        .collect();
    assert!(distinct.len() > 16 * K - 3, "{} of {}", distinct.len(), 16 * K);
    assert_ne!(of_samples, maps(&batches(&files, &config(6), start, 4)));
    // Other photos under the same names change nothing.
    for file in &files {
        RgbImage::from_pixel(50, 50, Rgb([9; 3])).save(file).unwrap();
    }
    assert_eq!(of_samples, maps(&batches(&files, &config(5), start, 4)));
}

#[test]
fn settings_that_do_not_fit_are_refused() {
    let (_dir, files) = folder(2);
    let refused = |config: LoaderConfig, start, word: &str| {
        let error = Loader::new(files.clone(), config, start).expect_err(word).to_string();
        assert!(error.contains(word), "{error}");
    };
    let start = LoaderPosition::default();
    refused(LoaderConfig { patch: 7, ..config() }, start, "patch side 7");
    refused(LoaderConfig { patch: 0, ..config() }, start, "patch side 0");
    refused(LoaderConfig { batch: 0, ..config() }, start, "batch");
    refused(LoaderConfig { crops: Crops { object: 0.8, whole: 0.8 }, ..config() }, start, "crops");
    refused(LoaderConfig { region_mask_ratio: f64::NAN, ..config() }, start, "ratio NaN");
    refused(config(), LoaderPosition { epoch: 0, index: 2 }, "has 2 images");
    let params = vec![FelzenszwalbParams { scale: -1.0, ..FelzenszwalbParams::at_scale(1) }];
    let source = RegionSource::Felzenszwalb { params, max_short_side: 480 };
    refused(LoaderConfig { region_source: source, ..config() }, start, "scale");
    assert!(matches!(Loader::new(Vec::new(), config(), start), Err(DataError::NoImages(_))));
}

#[test]
fn memory_is_bounded_and_dropping_ends_the_threads() {
    let (_dir, files) = folder(4);
    let config = LoaderConfig { threads: 3, prefetch_batches: 2, num_regions: 0, ..config() };
    let loader = Loader::new(files, config, LoaderPosition::default()).unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    while loader.shared.lock().done.len() < 2 && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(5));
    }
    std::thread::sleep(Duration::from_millis(30));
    let shared = Arc::clone(&loader.shared);
    let ahead = |state: MutexGuard<State>| (state.done.len(), state.next_slot);
    assert_eq!(ahead(shared.lock()), (2, 8));
    drop(loader);
    assert_eq!(Arc::strong_count(&shared), 1, "all threads have ended");
}

#[test]
fn a_thread_that_dies_is_an_error_not_a_hang() {
    let (_dir, files) = folder(4);
    let mut loader = Loader::new(files, config(), LoaderPosition::default()).unwrap();
    loader.shared.lock().died = true;
    let errors = (0..4).filter_map(|_| loader.next_batch().err());
    for error in errors {
        assert!(matches!(error, DataError::WorkerDied));
    }
    let shared = Arc::clone(&loader.shared);
    shared.lock().died = false;
    let thread = std::thread::spawn(move || {
        let _alarm = Alarm(&shared);
        panic!("on purpose, to see the alarm");
    });
    assert!(thread.join().is_err());
    assert!(loader.shared.lock().died);
}

#[test]
fn evaluation_batches_are_centred_and_repeatable() {
    let (dir, mut files) = folder(3);
    let bad = dir.path().join("bad.png");
    fs::write(&bad, "<html>").unwrap();
    files.insert(1, bad.clone());
    let batch = load_eval(&files, &config()).unwrap();
    assert_eq!(batch, load_eval(&files, &config()).unwrap());
    assert_eq!(batch.names, [0, 2, 3].map(|i| files[i].clone()));
    assert_eq!(batch.skipped[0].path, bad);
    let image = super::super::decode(&files[0]).unwrap();
    let expected = super::super::resample(&image, &Crop::centre(image.width(), image.height()), SIDE);
    assert_eq!(batch.images[..expected.len()], expected);
    assert!(load_eval(&[bad], &config()).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    #[test]
    fn any_start_any_batch_size_give_one_sequence(index in 0u64..7, batch in 1usize..6, seed: u64) {
        let (_dir, files) = folder(7);
        let config = |batch| LoaderConfig { batch, seed, num_regions: 0, ..config() };
        let start = LoaderPosition { epoch: 1, index };
        let together = batches(&files, &config(2 * batch), start, 1);
        let apart = batches(&files, &config(batch), start, 2);
        prop_assert!(together[0].images == [&apart[0].images[..], &apart[1].images[..]].concat());
        prop_assert_eq!(together[0].position_after, apart[1].position_after);
    }
}
