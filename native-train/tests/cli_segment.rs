//! `rmae segment` through the real binary: every flag, every error.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::fs;

use common::{Place, Ran};
use image::{GrayImage, Luma, Rgb, RgbImage};
use serde_json::Value;

const MODEL: &str = "run/checkpoint-00000001.safetensors";
const SIZE: (u32, u32) = (96, 64);

/// A model with weights near random, and a photo of a disc.
fn place() -> Place {
    let place = Place::new(4);
    place.pretrain("run", &["--steps", "1"]).ok();
    RgbImage::from_fn(SIZE.0, SIZE.1, |x, y| {
        let (dx, dy) = (x.abs_diff(40), y.abs_diff(32));
        if dx * dx + dy * dy < 18 * 18 { Rgb([230, 180, 30]) } else { Rgb([20, 40, (y % 9) as u8 + 60]) }
    })
    .save(place.path("photo.png"))
    .unwrap();
    place
}

fn segment(place: &Place, args: &[&str]) -> Ran {
    let start = ["--device", "cpu", "segment", "--model", MODEL, "photo.png"];
    place.rmae(&start.into_iter().chain(args.iter().copied()).collect::<Vec<_>>())
}

fn mask(place: &Place, name: &str) -> GrayImage {
    let picture = image::open(place.path(name)).unwrap();
    assert_eq!(picture.color(), image::ColorType::L8);
    picture.into_luma8()
}

fn area(mask: &GrayImage) -> usize {
    mask.pixels().filter(|p| p.0[0] == 255).count()
}

#[test]
fn every_output_tells_of_the_same_mask() {
    let place = place();
    let outputs =
        ["--out", "m.png", "--cutout", "c.png", "--json", "a.json", "--svg", "a.svg", "--label-map", "l.png"];
    let ran = segment(&place, &[&["--click", "40,32", "--click", "3,3,-"], &outputs[..]].concat()).ok();
    let mask = mask(&place, "m.png");
    assert_eq!(mask.dimensions(), SIZE);
    assert!(mask.pixels().all(|p| matches!(p.0[0], 0 | 255)));
    assert_eq!((mask.get_pixel(40, 32).0[0], mask.get_pixel(3, 3).0[0]), (255, 0));
    assert!(ran.stderr.contains(&format!("object 1: {} pixels", area(&mask))), "{}", ran.stderr);

    let cut = image::open(place.path("c.png")).unwrap().into_rgba8();
    let photo = image::open(place.path("photo.png")).unwrap().into_rgb8();
    for (x, y, pixel) in cut.enumerate_pixels() {
        let [r, g, b] = photo.get_pixel(x, y).0;
        let want = if mask.get_pixel(x, y).0[0] == 255 { [r, g, b, 255] } else { [0; 4] };
        assert_eq!(pixel.0, want);
    }
    let labels = image::open(place.path("l.png")).unwrap();
    assert_eq!(labels.color(), image::ColorType::L16);
    let labels = labels.into_luma16();
    assert!(labels.pixels().zip(mask.pixels()).all(|(l, m)| l.0[0] == u16::from(m.0[0] / 255)));

    let coco: Value = serde_json::from_str(&fs::read_to_string(place.path("a.json")).unwrap()).unwrap();
    assert_eq!(coco["images"][0]["file_name"], "photo.png");
    assert_eq!(coco["annotations"][0]["area"].as_f64(), Some(area(&mask) as f64));
    assert_eq!(coco["annotations"].as_array().unwrap().len(), 1);
    let svg = fs::read_to_string(place.path("a.svg")).unwrap();
    assert!(svg.starts_with("<svg") && svg.contains("<path"), "{svg}");
}

#[test]
fn the_models_own_tensors_are_written_on_demand() {
    let place = place();
    let line = ["--click", "40,32", "--object", "--click", "3,3", "--tensors", "said.safetensors"];
    segment(&place, &[&line[..], &["--edges", "off", "--no-connected", "--no-holes"]].concat()).ok();
    let bytes = fs::read(place.path("said.safetensors")).unwrap();
    let said = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let mut names = said.names();
    names.sort_unstable();
    assert_eq!(names, ["latent", "logits.1", "logits.2"]);
    let values = |name: &str| -> Vec<f32> {
        let bytes = said.tensor(name).unwrap().data().as_chunks::<4>().0;
        bytes.iter().map(|&four| f32::from_le_bytes(four)).collect()
    };
    let [side, also] = said.tensor("logits.1").unwrap().shape().try_into().unwrap();
    assert_eq!((side, values("logits.1").len()), (also, side * side));
    let &[one, tokens, width] = said.tensor("latent").unwrap().shape() else { panic!("latent [1, L+1, D]") };
    assert!(one == 1 && tokens > 1 && values("latent").len() == tokens * width);
    assert_ne!(values("logits.1"), values("logits.2"), "other prompts, other logits");
    assert!(values("latent").iter().any(|&x| x != 0.0) && values("logits.1").iter().all(|x| x.is_finite()));
}

#[test]
fn the_same_command_writes_the_same_bytes() {
    let place = place();
    for name in ["1.png", "2.png"] {
        segment(&place, &["--box", "20,10,60,55", "--out", name]).ok();
    }
    assert_eq!(fs::read(place.path("1.png")).unwrap(), fs::read(place.path("2.png")).unwrap());
}

#[test]
fn several_objects_are_kept_apart() {
    let place = place();
    let line = [
        "--click",
        "40,32",
        "--object=sky",
        "--box",
        "60,2,94,30",
        "--object",
        "--click",
        "80,60",
        "--out",
        "m.png",
        "--json",
        "a.json",
        "--label-map",
        "l.png",
    ];
    let ran = segment(&place, &line).ok();
    assert!(
        ran.stderr.contains("object 1: ")
            && ran.stderr.contains("sky: ")
            && ran.stderr.contains("object 3: ")
    );
    assert!(!place.path("m.png").exists());
    assert_eq!(mask(&place, "m-1.png").get_pixel(40, 32).0[0], 255);
    assert_eq!(mask(&place, "m-3.png").get_pixel(80, 60).0[0], 255);
    // A box keeps its object inside.
    let sky = mask(&place, "m-2.png");
    assert!(sky.enumerate_pixels().all(|(x, y, p)| p.0[0] == 0 || (x >= 60 && y < 30)));
    let coco: Value = serde_json::from_str(&fs::read_to_string(place.path("a.json")).unwrap()).unwrap();
    let names: Vec<&str> =
        coco["annotations"].as_array().unwrap().iter().filter_map(|a| a["name"].as_str()).collect();
    assert_eq!(names, ["object 1", "sky", "object 3"]);
    // A separator before the first object opens no empty one.
    segment(&place, &["--object=disc", "--click", "40,32", "--out", "one.png"]).ok();
    assert_eq!(mask(&place, "one.png").get_pixel(40, 32).0[0], 255);
}

#[test]
fn files_are_prompts_too() {
    let place = place();
    fs::write(
        place.path("s.json"),
        r#"{"scribbles":[{"points":[[35,30],[45,34]],"width":4},{"points":[[90,5],[90,60]],"positive":false}]}"#,
    )
    .unwrap();
    segment(&place, &["--scribble", "s.json", "--out", "s.png"]).ok();
    let drawn = mask(&place, "s.png");
    assert_eq!((drawn.get_pixel(40, 32).0[0], drawn.get_pixel(90, 30).0[0]), (255, 0));

    GrayImage::from_fn(SIZE.0, SIZE.1, |x, _| Luma([if x < 48 { 255 } else { 0 }]))
        .save(place.path("half.png"))
        .unwrap();
    segment(&place, &["--mask-in", "half.png", "--edges", "off", "--out", "h.png"]).ok();
    let half = mask(&place, "h.png");
    let left = half.enumerate_pixels().filter(|(x, _, p)| *x < 48 && p.0[0] == 255).count();
    assert!(left * 2 > area(&half), "most of it lies where the mask was");
}

#[test]
fn every_setting_changes_something_or_does_no_harm() {
    let place = place();
    let of = |args: &[&str]| {
        segment(&place, &[&["--click", "40,32", "--click", "80,50,-", "--out", "m.png"], args].concat()).ok();
        mask(&place, "m.png")
    };
    let plain = of(&[]);
    assert_eq!(
        of(&["--edges", "graph-cut", "--granularity", "0", "--fit", "stretch", "--crop", "off"]),
        plain
    );
    let off = of(&["--edges", "off", "--no-connected", "--no-holes"]);
    let part = of(&["--edges", "off", "--no-connected", "--no-holes", "--granularity", "-1"]);
    let whole = of(&["--edges", "off", "--no-connected", "--no-holes", "--granularity", "1"]);
    assert!(area(&part) <= area(&off) && area(&off) <= area(&whole));
    assert!(area(&part) < area(&whole));
    for args in [
        &["--edges", "guided"][..],
        &["--no-connected"],
        &["--no-holes"],
        &["--side", "64"],
        &["--fit", "letterbox"],
        &["--crop", "on"],
        &["--crop", "auto"],
    ] {
        assert_eq!(of(args).dimensions(), SIZE, "{args:?}");
    }
}

#[test]
fn mistakes_are_named() {
    let place = place();
    let out = ["--out", "m.png"];
    let fails = |args: &[&str], code: i32, parts: &[&str]| {
        segment(&place, &[args, &out[..]].concat()).fails(code, parts);
        assert!(!place.path("m.png").exists(), "{args:?}");
    };
    fails(&[], 3, &["no object"]);
    fails(&["--click", "96.8,3"], 3, &["click 1 of object 1", "96x64"]);
    fails(&["--click", "-4,3"], 3, &["-4,3", "outside"]);
    fails(&["--click", "1,1", "--click", "nan,3"], 3, &["click 2"]);
    fails(&["--box", "5,5,5,20"], 3, &["box 1 of object 1", "no area"]);
    fails(&["--click", "1,1", "--object", "--object", "--click", "2,2"], 3, &["object 2", "says nothing"]);
    fails(&["--click", "1,1", "--granularity", "2"], 3, &["granularity"]);
    fails(&["--click", "1,1", "--side", "33"], 3, &["img_size", "33"]);
    fails(&["--scribble", "none.json"], 9, &["none.json"]);
    fs::write(place.path("bad.json"), r#"{"scribble":[]}"#).unwrap();
    fails(&["--scribble", "bad.json"], 3, &["bad.json", "scribble"]);
    fs::write(place.path("bad.png"), "no picture").unwrap();
    fails(&["--mask-in", "bad.png"], 4, &["bad.png"]);
    GrayImage::new(5, 5).save(place.path("small.png")).unwrap();
    fails(&["--mask-in", "small.png"], 3, &["small.png", "5x5", "96x64"]);
    GrayImage::new(SIZE.0, SIZE.1).save(place.path("black.png")).unwrap();
    fails(&["--mask-in", "black.png"], 3, &["empty mask"]);
    fails(&["--mask-in", "photo.png", "--mask-in", "photo.png"], 3, &["second mask"]);
    fails(&["--click", "1"], 2, &["120,80"]);
    fails(&["--box", "1,2,3"], 2, &["40,30"]);
    let none = segment(&place, &["--click", "1,1"]);
    assert!(none.code == 2 && none.stderr.contains("--out"), "{}", none.stderr);
    segment(&place, &["--click", "1,1", "--out", "no/such/folder.png"]).fails(9, &["folder.png"]);
}

#[test]
fn models_and_photos_that_cannot_be_used_are_named() {
    let place = place();
    let run = |model: &str, photo: &str| {
        place.rmae(&[
            "--device", "cpu", "segment", "--model", model, photo, "--click", "1,1", "--out", "m.png",
        ])
    };
    run("none.safetensors", "photo.png").fails(9, &["none.safetensors"]);
    run(MODEL, "none.png").fails(4, &["none.png"]);
    fs::write(place.path("page.jpg"), "<html>").unwrap();
    run(MODEL, "page.jpg").fails(4, &["page.jpg", "not an image"]);
    place.pretrain("pixels", &["--steps", "1", "--num-region", "0"]).ok();
    run("pixels/checkpoint-00000001.safetensors", "photo.png").fails(3, &["pixels only"]);
    place.rmae(&["export", "--model", MODEL, "--part", "encoder", "--out", "e.safetensors"]).ok();
    run("e.safetensors", "photo.png").fails(3, &["pixels only"]);
}

#[test]
fn candidates_are_objects_of_their_own() {
    let place = place();
    let ran =
        segment(&place, &["--click", "40,32", "--candidates", "--json", "a.json", "--label-map", "l.png"])
            .ok();
    let coco: Value = serde_json::from_str(&fs::read_to_string(place.path("a.json")).unwrap()).unwrap();
    let made = coco["annotations"].as_array().unwrap();
    assert!(
        !made.is_empty() && made.len() == ran.stderr.matches("object 1, granularity ").count(),
        "{}",
        ran.stderr
    );
    let number = |annotation: &Value, key: &str| annotation[key].as_f64().unwrap();
    for pair in made.windows(2) {
        assert!(number(&pair[0], "area") < number(&pair[1], "area"));
    }
    assert!(made.iter().all(|one| (0.0..=1.0).contains(&number(one, "score"))));
    let both = segment(&place, &["--click", "40,32", "--candidates", "--granularity", "1", "--out", "m.png"]);
    both.fails(2, &["--granularity"]);
}
