//! The segmentation against label maps that scikit-image made.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs::File;
use std::io::BufReader;
use std::io::Write;
use std::path::{Path, PathBuf};

use rmae_core::regions::{FelzenszwalbParams, LabelMap, adjusted_rand_index, felzenszwalb};
use serde_json::Value;

/// One line of an `index.json`.
struct Case {
    name: String,
    rgb: Vec<u8>,
    params: FelzenszwalbParams,
    expected: LabelMap,
}

fn cases(folder: &Path) -> Vec<Case> {
    let index = folder.join("index.json");
    let file = File::open(&index).unwrap_or_else(|e| panic!("{}: {e}", index.display()));
    let entries: Vec<Value> = serde_json::from_reader(BufReader::new(file)).unwrap();
    assert!(!entries.is_empty(), "{} lists nothing", index.display());
    entries.iter().map(|entry| case(folder, entry)).collect()
}

fn case(folder: &Path, entry: &Value) -> Case {
    let path = |key: &str| folder.join(entry[key].as_str().unwrap());
    let (width, height, rgb) = read_png(&path("image"), png::ColorType::Rgb, png::BitDepth::Eight);
    let (_, _, bytes) = read_png(&path("labels"), png::ColorType::Grayscale, png::BitDepth::Sixteen);
    let pairs = bytes.as_chunks::<2>().0;
    let labels = pairs.iter().map(|&pair| u32::from(u16::from_be_bytes(pair))).collect();
    let expected = LabelMap::relabel(width, height, labels).unwrap();
    assert_eq!(u64::from(expected.count()), entry["segments"].as_u64().unwrap());
    Case {
        name: entry["labels"].as_str().unwrap().to_owned(),
        rgb,
        params: FelzenszwalbParams {
            scale: entry["scale"].as_f64().unwrap(),
            sigma: entry["sigma"].as_f64().unwrap(),
            min_size: entry["min_size"].as_u64().unwrap() as usize,
        },
        expected,
    }
}

fn read_png(path: &Path, color: png::ColorType, depth: png::BitDepth) -> (usize, usize, Vec<u8>) {
    let file = File::open(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let mut reader = png::Decoder::new(BufReader::new(file)).read_info().unwrap();
    assert_eq!(reader.output_color_type(), (color, depth), "{}", path.display());
    let mut bytes = vec![0; reader.output_buffer_size().unwrap()];
    let info = reader.next_frame(&mut bytes).unwrap();
    (info.width as usize, info.height as usize, bytes)
}

fn segment(case: &Case) -> LabelMap {
    let (width, height) = (case.expected.width(), case.expected.height());
    felzenszwalb(&case.rgb, width, height, &case.params).unwrap()
}

#[test]
fn gives_the_partition_of_scikit_image() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/fh");
    for case in cases(&folder) {
        assert!(segment(&case) == case.expected, "{} differs", case.name);
    }
}

/// The same over a folder of one's own, in which equal edge weights may move single pixels.
#[test]
fn agrees_with_scikit_image_on_the_folder_in_rmae_fh_dir() {
    let Some(folder) = std::env::var_os("RMAE_FH_DIR").map(PathBuf::from) else {
        // On the stream itself: what a test prints by macros is shown only where it fails.
        let why = "RMAE_FH_DIR names no folder with an index.json of label maps";
        let _ = writeln!(std::io::stderr(), "SKIPPED: {why}");
        return;
    };
    for case in cases(&folder) {
        let made = segment(&case);
        let index = adjusted_rand_index(&made, &case.expected).unwrap();
        let (ours, theirs) = (made.count(), case.expected.count());
        println!("{}: {ours} segments of {theirs}, adjusted Rand index {index:.6}", case.name);
        assert_eq!(ours, theirs, "segments of {}", case.name);
        assert!(index >= 0.999, "{}: adjusted Rand index {index}", case.name);
    }
}
