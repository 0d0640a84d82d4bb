//! The commands that look: info, devices, regions, reconstruct, attention, export, verify.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::fs;

use common::{Place, draw, png_size};

const MODEL: &str = "run/checkpoint-00000002.safetensors";

fn trained() -> Place {
    let place = Place::new(4);
    place.pretrain("run", &["--steps", "2"]).ok();
    place
}

#[test]
fn info_tells_parameters_and_costs_of_presets_and_files() {
    let place = trained();
    let preset = place.rmae(&["info", "b", "--objective", "mae"]).ok().stdout;
    // MAE's ViT-B has 111.91 M weights with its two position tables (197 x 768 and 197 x 512).
    assert!(preset.contains("111.66 M") && preset.contains("GFLOP"), "{preset}");
    let file = place.rmae(&["info", MODEL, "--batch", "2"]).ok().stdout;
    assert!(file.contains("24 wide") && file.contains("at batch 2"), "{file}");
    let graph = place.rmae(&["info", MODEL, "--graph"]).ok().stdout;
    assert!(graph.contains("input image") && graph.contains("gradient blocks.0.attn.qkv.weight"), "{graph}");
    place.rmae(&["info", "xl"]).fails(9, &["xl"]);
}

#[test]
fn devices_lists_the_cpu_with_its_speed() {
    let listed = Place::new(0).rmae(&["devices"]).ok().stdout;
    assert!(listed.contains("CPU") && listed.contains("GFLOP/s"), "{listed}");
}

#[test]
fn regions_writes_label_maps_of_sixteen_bits_and_overlays() {
    let place = Place::new(2);
    fs::create_dir(place.path("images/sub")).unwrap();
    draw(9).save(place.path("images/sub/000.png")).unwrap();
    place.rmae(&["regions", "images", "--scale", "50,200", "--labels", "maps", "--overlay", "seen"]).ok();
    for name in
        ["000_scale50.png", "000_scale200.png", "001_scale50.png", "001_scale200.png", "sub_000_scale50.png"]
    {
        assert!(png_size(&place.path("seen").join(name)).0 >= 64, "{name}");
        let map = image::open(place.path("maps").join(name)).unwrap();
        assert_eq!(map.color(), image::ColorType::L16);
        assert!(map.as_luma16().unwrap().pixels().any(|p| p.0[0] > 0), "{name} has more than one segment");
    }
    let count = |name: &str| {
        image::open(place.path("maps").join(name)).unwrap().into_luma16().pixels().map(|p| p.0[0]).max()
    };
    assert!(count("000_scale50.png") >= count("000_scale200.png"));
    // One image, and the maps as a source of regions.
    place.rmae(&["regions", "images/001.png", "--scale", "50", "--min-size", "10", "--labels", "one"]).ok();
    assert!(place.path("one/001_scale50.png").exists());
    place.pretrain("run", &["--steps", "1", "--labels", "maps"]).ok();
    fs::write(place.path("bad.png"), "no").unwrap();
    place.rmae(&["regions", "bad.png", "--labels", "maps"]).fails(4, &["bad.png"]);
    place.rmae(&["regions", "images", "--sigma=-1", "--labels", "maps"]).fails(3, &["sigma"]);
    place.rmae(&["regions", "images", "--scale", "0", "--labels", "maps"]).fails(3, &["scale"]);
}

#[test]
fn reconstruct_draws_a_row_an_image() {
    let place = trained();
    let both = ["images/000.png", "images/001.png"];
    place.rmae(&[&["reconstruct", "--model", MODEL, "--out", "p.png"], &both[..]].concat()).ok();
    assert_eq!(png_size(&place.path("p.png")), (3 * 36 + 4, 2 * 36 + 18));
    let more = ["--regions", "fh", "--mask-ratio", "0.5", "--seed", "4"];
    place.rmae(&[&["reconstruct", "--model", MODEL, "--out", "q.png"], &both[..], &more[..]].concat()).ok();
    assert_eq!(png_size(&place.path("q.png")), (6 * 36 + 4, 2 * 36 + 18));
    let ratio = ["reconstruct", "--model", MODEL, "--out", "p.png", "images/000.png", "--mask-ratio", "1.5"];
    place.rmae(&ratio).fails(3, &["mask_ratio = 1.5"]);
    place
        .rmae(&["reconstruct", "--model", MODEL, "--out", "p.png", "images/none.png"])
        .fails(4, &["none.png"]);
    place.rmae(&["reconstruct", "--model", "none", "--out", "p.png", "images/000.png"]).fails(9, &["none"]);
}

#[test]
fn attention_draws_over_the_photo_and_marks_the_query() {
    let place = trained();
    let (width, height) = draw(0).dimensions();
    let base = ["attention", "--model", MODEL, "images/000.png", "--out", "a.png"];
    place.rmae(&[&base[..], &["--query", "60,2"]].concat()).ok();
    let drawn = image::open(place.path("a.png")).unwrap().into_rgb8();
    assert_eq!(drawn.height().min(drawn.width()), 448);
    let ratio = f64::from(drawn.width()) / f64::from(drawn.height());
    assert!((ratio - f64::from(width) / f64::from(height)).abs() < 0.01);
    let green = |x: u32| drawn.get_pixel(x, 1).0 == [60, 255, 90];
    assert!(green(drawn.width() - 2) && !green(2), "the frame is at the top right");
    place.rmae(&[&base[..], &["--query", "1,1", "--layer", "0", "--head", "2"]].concat()).ok();
    place.rmae(&[&base[..], &["--query", "500,1"]].concat()).fails(3, &["query = 500,1", "64x48"]);
    place.rmae(&[&base[..], &["--query", "1,1", "--layer", "7"]].concat()).fails(3, &["layer = 7"]);
    place.rmae(&[&base[..], &["--query", "1,1", "--head", "3"]].concat()).fails(3, &["head = 3"]);
}

#[test]
fn an_exported_encoder_is_smaller_and_looks_like_the_model() {
    let place = trained();
    place.rmae(&["export", "--model", MODEL, "--out", "e.safetensors", "--dtype", "f16"]).ok();
    place.rmae(&["export", "--model", MODEL, "--out", "all.safetensors", "--part", "all"]).ok();
    let size = |name: &str| fs::metadata(place.path(name)).unwrap().len();
    assert!(size("e.safetensors") < size("all.safetensors") && size("all.safetensors") < size(MODEL));
    let attend = |model: &str, out: &str| {
        place.rmae(&["attention", "--model", model, "images/000.png", "--query", "9,9", "--out", out]).ok();
        fs::read(place.path(out)).unwrap()
    };
    assert_eq!(attend(MODEL, "a.png"), attend("all.safetensors", "b.png"));
    attend("e.safetensors", "c.png");
    place
        .rmae(&["reconstruct", "--model", "e.safetensors", "--out", "p.png", "images/000.png"])
        .fails(5, &["e.safetensors", "missing"]);
}

#[test]
fn help_tells_the_exit_codes() {
    let help = Place::new(0).rmae(&["--help"]).ok().stdout;
    assert!(help.contains("Exit codes:") && help.contains("10  a verification"), "{help}");
}

#[test]
fn verify_agrees_with_a_fixture_and_tells_a_changed_one() {
    let place = Place::new(0);
    let fixture = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/golden/rmae.safetensors");
    let cpu = ["--device", "cpu", "--precision", "f64"];
    let ran = place.rmae(&[&["verify", fixture, "--write", "out.safetensors"], &cpu[..]].concat()).ok();
    assert!(ran.stdout.contains("outputs") && ran.stdout.contains("train.losses"), "{}", ran.stdout);
    let bytes = fs::read(fixture).unwrap();
    let (header, written) = (header(&bytes), self::header(&fs::read(place.path("out.safetensors")).unwrap()));
    let computed = |name: &&String| {
        ["output.", "grad.", "train."].iter().any(|p| name.starts_with(p)) && !name.ends_with("pos_embed")
    };
    for name in header.as_object().unwrap().keys().filter(computed) {
        assert_eq!(written[name]["shape"], header[name]["shape"], "{name}");
    }
    // The highest bit of one number's exponent: the sign of all that follows does not matter.
    let mut changed = bytes.clone();
    let start = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let at = start + header["output.pred"]["data_offsets"][0].as_u64().unwrap() as usize;
    changed[at + 3] ^= 0x40;
    fs::write(place.path("changed.safetensors"), changed).unwrap();
    place
        .rmae(&[&["verify", "changed.safetensors"], &cpu[..]].concat())
        .fails(10, &["changed", "output.pred"]);
    fs::write(place.path("short.safetensors"), &bytes[..bytes.len() / 2]).unwrap();
    place.rmae(&[&["verify", "short.safetensors"], &cpu[..]].concat()).fails(5, &["short"]);
}

fn header(bytes: &[u8]) -> serde_json::Value {
    let len = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    serde_json::from_slice(&bytes[8..8 + len]).unwrap()
}

#[test]
fn a_reader_that_leaves_early_causes_no_panic() {
    let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_rmae"))
        .args(["info", "ti", "--graph"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let mut complaints = String::new();
    std::io::Read::read_to_string(child.stderr.as_mut().unwrap(), &mut complaints).unwrap();
    assert!(child.wait().unwrap().success() && !complaints.contains("panicked"), "{complaints}");
}
