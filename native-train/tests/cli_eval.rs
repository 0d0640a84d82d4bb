//! `rmae eval prompts` through the real binary, on drawn photos and masks.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::fs;
use std::path::Path;

use common::{Place, Ran, png_size};
use image::{GrayImage, Luma, Rgb, RgbImage};
use serde_json::Value;

const MODEL: &str = "run/checkpoint-00000001.safetensors";
const SIZE: (u32, u32) = (96, 64);

/// A model with weights near random, and two sets of bright discs on dark ground below `sets/`.
fn place() -> Place {
    let place = Place::new(4);
    place.pretrain("run", &["--steps", "1"]).ok();
    for (set, count) in [("discs", 2), ("more", 1)] {
        for at in 0..count {
            draw(&place.path(&format!("sets/{set}")), at);
        }
    }
    place
}

fn draw(set: &Path, number: u32) {
    fs::create_dir_all(set.join("images")).unwrap();
    fs::create_dir_all(set.join("masks")).unwrap();
    let inside = |x: u32, y: u32| {
        let (dx, dy) = (x.abs_diff(40 + 3 * number), y.abs_diff(32));
        dx * dx + dy * dy < 18 * 18
    };
    let photo = RgbImage::from_fn(SIZE.0, SIZE.1, |x, y| {
        if inside(x, y) { Rgb([230, 180, 30]) } else { Rgb([20, 40, (y % 9) as u8 + 60]) }
    });
    let mask = GrayImage::from_fn(SIZE.0, SIZE.1, |x, y| Luma([255 * u8::from(inside(x, y))]));
    photo.save(set.join(format!("images/{number}.png"))).unwrap();
    mask.save(set.join(format!("masks/{number}.png"))).unwrap();
}

fn eval(place: &Place, args: &[&str]) -> Ran {
    let start = ["--device", "cpu", "eval", "prompts"];
    place.rmae(&start.into_iter().chain(args.iter().copied()).collect::<Vec<_>>())
}

fn json(place: &Place, name: &str) -> Value {
    serde_json::from_str(&fs::read_to_string(place.path(name)).unwrap()).unwrap()
}

const METHODS: [&str; 5] = ["model", "model alone", "refinement alone", "filled box", "FH segments"];

#[test]
fn eval_tells_every_number_of_every_object_in_table_file_picture_and_page() {
    let place = place();
    let outputs = [
        "--json",
        "e.json",
        "--curves",
        "c.png",
        "--markdown",
        "e.md",
        "--failures",
        "f.png",
        "--failures-most",
        "2",
    ];
    let baselines = ["--baselines", "model-alone,refinement,fill-box,fh", "--completion"];
    let what = ["--model", MODEL, "--data", "sets", "--max-clicks", "4", "--seed", "0,1"];
    let ran = eval(&place, &[&what[..], &baselines, &outputs].concat()).ok();
    for line in METHODS.iter().copied().chain(["discs ", "more ", "mean of sets ", "random blobs, completed"])
    {
        assert!(ran.stdout.lines().any(|l| l.starts_with(line)), "no {line} in {}", ran.stdout);
    }
    let report = json(&place, "e.json");
    let objects = report["sets"][0]["objects"].as_array().unwrap();
    assert_eq!((report["sets"].as_array().unwrap().len(), objects.len()), (2, 2));
    for object in objects {
        assert_eq!(object["methods"].as_object().unwrap().len(), METHODS.len());
        // A bright disc on dark ground: colours alone find it, filled boxes are too large by about 4/pi.
        let found = &object["methods"]["refinement alone"];
        assert!(found["clicks"][0].as_f64().unwrap() > 0.95, "{found}");
        assert!(found["boxed"].as_f64().unwrap() > 0.95, "{found}");
        assert!(found["boundary_boxed"].as_f64().unwrap() > 0.95, "{found}");
        assert_eq!(found["clicks"].as_array().unwrap().len(), found["click_ms"].as_array().unwrap().len());
        let filled = object["methods"]["filled box"]["boxed"].as_f64().unwrap();
        assert!((filled - std::f64::consts::FRAC_PI_4).abs() < 0.05, "{filled}");
        assert!(object["methods"]["filled box"]["clicks"].as_array().unwrap().is_empty());
        assert!(object["degraded_input"].as_f64().unwrap() < 1.0);
    }
    // Three objects, two seeds, three kinds of regions, six ratios; a photo may have no large segment.
    let completed = report["completion"].as_array().unwrap();
    assert!(completed.len() > 3 * 2 * 2 * 6 - 1, "{}", completed.len());
    let copied = |ratio: f64| {
        let of = completed.iter().filter(|c| c["ratio"] == ratio).map(|c| c["copied"].as_f64().unwrap());
        of.clone().sum::<f64>() / of.count() as f64
    };
    assert!(copied(0.5) > copied(0.95) + 0.2 && copied(0.95) > 0.0, "{} {}", copied(0.5), copied(0.95));
    assert_eq!(png_size(&place.path("c.png")), (960, 540));
    // Two of three objects, in three pictures each, or four where two clicks leave something wrong.
    let failures = png_size(&place.path("f.png"));
    let columns = (failures.0 - 6) / 246;
    assert!((3..=4).contains(&columns) && failures.1 / 180 == 2, "{failures:?}");
    let page = fs::read_to_string(place.path("e.md")).unwrap();
    assert!(page.contains("](c.png)") && page.contains("| discs | 2 |"), "{page}");
    assert!(!page.contains(&*place.path("").to_string_lossy()), "no path of this machine");
}

#[test]
fn eval_is_repeatable_and_merges_what_was_measured_before() {
    let place = place();
    let what = ["--model", MODEL, "--data", "sets/discs", "--max-clicks", "3"];
    let both = [&what[..], &["--baselines", "refinement", "--json", "both.json"]].concat();
    eval(&place, &both).ok();
    eval(&place, &[&what[..], &["--json", "one.json"]].concat()).ok();
    eval(&place, &["--merge", "one.json", "both.json", "--json", "merged.json"]).ok();
    let (both, merged) = (json(&place, "both.json"), json(&place, "merged.json"));
    for at in 0..2 {
        let object = |report: &Value| report["sets"][0]["objects"][at].clone();
        let clicks = |report: &Value, method: &str| object(report)["methods"][method]["clicks"].clone();
        assert!(clicks(&both, "model").is_array());
        for method in ["model", "refinement alone"] {
            assert_eq!(clicks(&both, method), clicks(&merged, method), "{method}");
        }
    }
    let limited = eval(&place, &[&what[..], &["--limit", "1"]].concat()).ok();
    assert!(limited.stdout.contains("discs        1"), "{}", limited.stdout);
    let other = ["--model", MODEL, "--data", "sets/discs", "--max-clicks", "2", "--merge", "both.json"];
    eval(&place, &other).fails(3, &["2", "3", "compared"]);
}

#[test]
fn eval_measures_baselines_alone_when_asked_to() {
    let place = place();
    let what = ["--model", MODEL, "--data", "sets/more", "--max-clicks", "2", "--baselines-only"];
    eval(&place, &[&what[..], &["--baselines", "model-alone", "--json", "e.json"]].concat()).ok();
    let methods = json(&place, "e.json")["sets"][0]["objects"][0]["methods"].clone();
    assert_eq!(methods.as_object().unwrap().keys().collect::<Vec<_>>(), ["model alone"]);
    assert_eq!(eval(&place, &what).code, 2, "then nothing would be measured");
    let failures = [&what[..], &["--baselines", "model-alone", "--failures", "f.png"]].concat();
    assert_eq!(eval(&place, &failures).code, 2, "the model's own failures are not looked for");
}

#[test]
fn eval_goes_on_without_what_cannot_be_read_and_tells_it() {
    let place = place();
    fs::write(place.path("sets/discs/images/0.png"), "no picture").unwrap();
    GrayImage::from_pixel(50, 50, Luma([255])).save(place.path("sets/more/masks/0.png")).unwrap();
    let args =
        ["--model", MODEL, "--data", "sets", "--max-clicks", "1", "--json", "e.json", "--markdown", "e.md"];
    let ran = eval(&place, &args).ok();
    assert!(ran.stderr.contains("2 files could not be used"), "{}", ran.stderr);
    assert!(ran.stderr.contains("0.png: not an image") && ran.stderr.contains("50x50"), "{}", ran.stderr);
    let report = json(&place, "e.json");
    let counts: Vec<usize> =
        (0..2).map(|at| report["sets"][at]["objects"].as_array().unwrap().len()).collect();
    assert_eq!(counts, [1, 0]);
    assert!(fs::read_to_string(place.path("e.md")).unwrap().contains("2 files could not be used"));
}

#[test]
fn eval_names_what_is_wrong() {
    let place = place();
    eval(&place, &["--model", MODEL, "--data", "images"]).fails(4, &["images", "masks/", "COCO", "BSDS"]);
    eval(&place, &["--model", MODEL, "--data", "nowhere"]).fails(4, &["nowhere"]);
    eval(&place, &["--model", "none.safetensors", "--data", "sets"]).fails(9, &["none.safetensors"]);
    eval(&place, &["--merge", "none.json"]).fails(9, &["none.json"]);
    fs::write(place.path("bad.json"), "{}").unwrap();
    eval(&place, &["--merge", "bad.json"]).fails(3, &["bad.json", "no evaluation"]);
    for args in [&["--data", "sets"][..], &["--model", MODEL], &[]] {
        assert_eq!(eval(&place, args).code, 2, "{args:?}");
    }
    place.pretrain("pixels", &["--steps", "1", "--num-region", "0"]).ok();
    let pixels = ["--model", "pixels", "--data", "sets", "--max-clicks", "1"];
    eval(&place, &pixels).fails(3, &["pixels only"]);
}
