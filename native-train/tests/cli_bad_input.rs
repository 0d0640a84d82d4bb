//! What is wrong gets one clear message that names the culprit, and its exit code.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::fs;

use common::{Place, TINY};

const CONFIGURATION: i32 = 3;
const DATA: i32 = 4;
const CHECKPOINT: i32 = 5;
const DEVICE: i32 = 6;
const MEMORY: i32 = 7;
const NON_FINITE: i32 = 8;
const IO: i32 = 9;

#[test]
fn an_unreadable_image_is_skipped_named_once_and_listed() {
    let place = Place::new(6);
    fs::write(place.path("images/zz_text.jpg"), "no image at all").unwrap();
    let whole = fs::read(place.path("images/000.png")).unwrap();
    fs::write(place.path("images/zz_half.png"), &whole[..whole.len() / 2]).unwrap();
    let ran = place.pretrain("run", &["--steps", "8"]).ok();
    assert_eq!(ran.stderr.matches("zz_text.jpg").count(), 1, "{}", ran.stderr);
    assert!(ran.stderr.contains("2 images were skipped"), "{}", ran.stderr);
    let list = fs::read_to_string(place.path("run/skipped.jsonl")).unwrap();
    assert_eq!(list.lines().count(), 2, "{list}");
    assert!(
        list.contains("zz_text.jpg") && list.contains("zz_half.png") && list.contains("reason"),
        "{list}"
    );
    // Going on finds them again, and lists them no second time.
    place.rmae(&["pretrain", "--out", "run", "--resume", "--device", "cpu", "--steps", "16"]).ok();
    assert_eq!(fs::read_to_string(place.path("run/skipped.jsonl")).unwrap(), list);
    assert_eq!(place.metrics("run").len(), 16);
}

#[test]
fn more_than_half_unreadable_stops_the_run() {
    let place = Place::new(3);
    for index in 0..5 {
        fs::write(place.path(&format!("images/broken{index}.png")), "no").unwrap();
    }
    place.pretrain("run", &["--steps", "8"]).fails(DATA, &["could not be read", "broken"]);
    let list = fs::read_to_string(place.path("run/skipped.jsonl")).unwrap();
    assert_eq!(list.lines().count(), 5, "{list}");
}

#[test]
fn folders_that_cannot_be_used_are_named() {
    let place = Place::new(1);
    fs::create_dir(place.path("empty")).unwrap();
    let run = |images: &str, out: &str| {
        let args = ["pretrain", "--device", "cpu", "--steps", "1", "--images", images, "--out", out];
        place.rmae(&[&args[..], TINY].concat())
    };
    run("empty", "run").fails(DATA, &["no images", "empty"]);
    run("images/000.png", "run").fails(DATA, &["000.png", "not a folder"]);
    run("nowhere", "run").fails(DATA, &["nowhere", "no such folder"]);
    run("images", "images/000.png").fails(CONFIGURATION, &["000.png", "is a file"]);
    run("images", "images/000.png/run").fails(IO, &["000.png"]);
}

#[cfg(unix)]
#[test]
fn a_folder_without_permission_is_named() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new(1);
    fs::create_dir(place.path("closed")).unwrap();
    fs::set_permissions(place.path("closed"), fs::Permissions::from_mode(0o000)).unwrap();
    if fs::read_dir(place.path("closed")).is_ok() {
        common::skip("this user may read every folder (root)");
    } else {
        let args = ["pretrain", "--device", "cpu", "--steps", "1", "--images", "closed", "--out", "run"];
        place.rmae(&[&args[..], TINY].concat()).fails(DATA, &["closed", "no permission"]);
    }
    fs::set_permissions(place.path("closed"), fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn settings_that_cannot_be_are_named_with_what_is_right() {
    let place = Place::new(2);
    let cases: &[(&[&str], &[&str])] = &[
        (&["--img-size", "30"], &["img_size = 30", "patch_size 8", "24 or 32"]),
        (&["--batch", "0"], &["batch = 0", "at least 1"]),
        (&["--num-heads", "5"], &["embed_dim = 24", "multiple of num_heads = 5"]),
        (&["--decoder-num-heads", "3"], &["decoder_embed_dim", "decoder_num_heads = 3"]),
        (&["--mask-ratio", "1"], &["mask_ratio = 1", "between 0 and 1"]),
        (&["--mask-ratio", "0"], &["mask_ratio = 0", "between 0 and 1"]),
        (&["--mask-ratio", "-0.5"], &["mask_ratio = -0.5"]),
        (&["--mask-ratio", "0.99"], &["mask_ratio = 0.99", "visible"]),
        (&["--region-mask-ratio", "0.99"], &["region_mask_ratio = 0.99", "visible"]),
        (&["--epochs", "1"], &["steps and epochs"]),
        (&["--beta1", "1.5"], &["beta1 = 1.5"]),
        (&["--regions", "labels"], &["--labels"]),
        (&["--fh-scales", "0"], &["scale"]),
    ];
    for (flags, parts) in cases {
        let mut args = place.pretrain_args("run", &[&["--steps", "1"], *flags].concat());
        // A negative number would be taken for a flag if it stood alone.
        args.truncate(args.len() - 2);
        let joined = format!("{}={}", flags[0], flags[1]);
        args.push(&joined);
        place.rmae(&args).fails(CONFIGURATION, parts);
    }
    place.rmae(&["pretrain", "--images", "images"]).fails(CONFIGURATION, &["out is missing"]);
    let usage = place.rmae(&["pretrain", "--baatch", "3"]);
    assert_eq!(usage.code, 2);
    assert!(usage.stderr.contains("--batch"), "{}", usage.stderr);
}

#[test]
fn a_configuration_file_with_an_unknown_key_names_line_key_and_the_nearest() {
    let place = Place::new(1);
    fs::write(place.path("c.toml"), "batch = 4\n\nwieght_decay = 0.1\n").unwrap();
    let with_file =
        |file: &str| place.rmae(&["pretrain", "--config", file, "--images", "images", "--out", "run"]);
    with_file("c.toml")
        .fails(CONFIGURATION, &["c.toml, line 3", "`wieght_decay`", "did you mean `weight_decay`"]);
    fs::write(place.path("d.toml"), "[model]\nembed_dims = 4\n").unwrap();
    with_file("d.toml").fails(CONFIGURATION, &["d.toml, line 2", "`model.embed_dims`", "`model.embed_dim`"]);
    fs::write(place.path("e.toml"), "steps = \"some\"\n").unwrap();
    with_file("e.toml").fails(CONFIGURATION, &["e.toml, line 1"]);
    with_file("none.toml").fails(IO, &["none.toml"]);
}

#[test]
fn a_folder_that_holds_a_run_is_not_overwritten_and_an_empty_one_not_resumed() {
    let place = Place::new(4);
    place.pretrain("run", &["--steps", "1"]).ok();
    place.pretrain("run", &["--steps", "1"]).fails(CONFIGURATION, &["run", "--resume"]);
    place.pretrain("new", &["--steps", "1", "--resume"]).fails(CONFIGURATION, &["new", "no run to resume"]);
}

#[test]
fn a_broken_newest_checkpoint_is_reported_and_the_one_before_is_used() {
    let place = Place::new(4);
    place.pretrain("run", &["--steps", "6", "--checkpoint-every", "2"]).ok();
    let whole = place.losses("run");
    let newest = place.path("run/checkpoint-00000006.safetensors");
    let bytes = fs::read(&newest).unwrap();
    fs::write(&newest, &bytes[..bytes.len() / 2]).unwrap();
    let resume = ["pretrain", "--out", "run", "--resume", "--device", "cpu"];
    let ran = place.rmae(&resume).ok();
    assert!(ran.stderr.contains("00000006.safetensors: is truncated"), "{}", ran.stderr);
    assert!(ran.stderr.contains("going on after update 4"), "{}", ran.stderr);
    assert_eq!(place.losses("run"), whole);
    for step in [2, 4, 6] {
        fs::write(place.path(&format!("run/checkpoint-{step:08}.safetensors")), "no").unwrap();
    }
    place.rmae(&resume).fails(CHECKPOINT, &["none of them can be read", "truncated"]);
}

#[test]
fn a_checkpoint_of_another_shape_or_version_is_named() {
    let place = Place::new(4);
    place.pretrain("run", &["--steps", "1"]).ok();
    let resume = |more: &[&'static str]| {
        place.rmae(&[&["pretrain", "--out", "run", "--resume", "--device", "cpu"], more].concat())
    };
    resume(&["--embed-dim", "12"]).fails(CHECKPOINT, &["another model", "embed_dim is 24 there and 12 here"]);
    let path = place.path("run/checkpoint-00000001.safetensors");
    let mut bytes = fs::read(&path).unwrap();
    let key = br#""rmae.version":"1""#;
    let at = bytes.windows(key.len()).position(|w| w == key).unwrap();
    bytes[at + key.len() - 2] = b'9';
    fs::write(&path, bytes).unwrap();
    resume(&[]).fails(CHECKPOINT, &["version 9"]);
    place.rmae(&["info", "run/checkpoint-00000001.safetensors"]).fails(CHECKPOINT, &["version 9"]);
    fs::write(place.path("mae.pth"), b"PK\x03\x04 pickled").unwrap();
    place.rmae(&["info", "mae.pth"]).fails(CHECKPOINT, &["mae.pth", "PyTorch", "save_file"]);
}

#[test]
fn a_loss_that_is_no_number_stops_and_keeps_the_last_good_checkpoint() {
    let place = Place::new(5);
    let args = ["--steps", "50", "--checkpoint-every", "1", "--lr", "1e18"];
    place.pretrain("run", &args).fails(NON_FINITE, &["step", "nonfinite_batch.json", "--lr"]);
    let last = *place.checkpoints("run").last().unwrap();
    assert_eq!(place.metrics("run").len() as u64, last, "every step before has its checkpoint");
    let dump: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(place.path("run/nonfinite_batch.json")).unwrap()).unwrap();
    assert_eq!(dump["files"].as_array().unwrap().len(), 4);
    assert!(dump["files"][0].as_str().unwrap().ends_with(".png"));
}

/// The limit on the size of a file stands in for a full disk: writing fails half-way, as there.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_leaves_the_previous_checkpoint_intact() {
    let place = Place::new(4);
    place.pretrain("run", &["--steps", "2", "--checkpoint-every", "2"]).ok();
    let previous = fs::read(place.path("run/checkpoint-00000002.safetensors")).unwrap();
    assert!(previous.len() > 64 << 10, "larger than the limit below");
    // 64 blocks of 1 KiB. Without the trap the signal would end the process.
    let script = format!(
        "trap '' XFSZ; ulimit -f 64; exec {} pretrain --device cpu --out run --resume --steps 4",
        env!("CARGO_BIN_EXE_rmae")
    );
    let mut command = std::process::Command::new("bash");
    let ran: common::Ran = command.args(["-c", &script]).current_dir(place.path("")).output().unwrap().into();
    ran.fails(IO, &["cannot write", "checkpoint-00000004.safetensors"]);
    assert_eq!(fs::read(place.path("run/checkpoint-00000002.safetensors")).unwrap(), previous);
    let left = fs::read_dir(place.path("run"))
        .unwrap()
        .filter(|e| e.as_ref().unwrap().file_name().to_string_lossy().contains("tmp"));
    assert_eq!(left.count(), 0, "no temporary file is left");
    place.rmae(&["pretrain", "--device", "cpu", "--out", "run", "--resume", "--steps", "4"]).ok();
}

#[test]
fn a_device_that_is_not_there_is_said() {
    let place = Place::new(2);
    let args = ["pretrain", "--device", "no such card", "--images", "images", "--out", "run", "--steps", "1"];
    let ran = place.rmae(&[&args[..], TINY].concat()).fails(DEVICE, &["no such card"]);
    assert!(ran.stderr.contains("rmae devices"), "{}", ran.stderr);
}

#[test]
fn mixed_precision_on_the_cpu_is_refused_before_anything_is_written() {
    let place = Place::new(2);
    let args = ["--steps", "1", "--precision", "mixed"];
    let ran = place.pretrain("run", &args).fails(DEVICE, &["mixed precision needs a GPU", "f32"]);
    assert!(ran.stderr.contains("rmae devices"), "{}", ran.stderr);
    assert!(!place.path("run").exists());
}

#[test]
fn a_gpu_without_enough_memory_says_need_limit_and_what_reduces_it() {
    let place = Place::new(2);
    if !place.rmae(&["devices"]).ok().stdout.contains("llvmpipe") {
        common::skip("no lavapipe here; its limit of 128 MiB a buffer is what this test exceeds");
        return;
    }
    let args = [
        "pretrain", "--device", "lavapipe", "--images", "images", "--out", "run", "--steps", "1", "--batch",
        "4096",
    ];
    let ran = place
        .rmae(&args)
        .fails(MEMORY, &["out of memory", "needs", "the limit is 134217728 bytes", "--batch"]);
    assert!(ran.stderr.contains("--accumulate") && ran.stderr.contains("--recompute"), "{}", ran.stderr);
}

#[test]
fn freezing_all_that_would_learn_is_refused_before_anything_is_written() {
    let place = Place::new(3);
    place
        .pretrain("run", &["--steps", "2", "--freeze", "encoder,pixels,regions"])
        .fails(CONFIGURATION, &["freeze", "nothing is left to train"]);
    assert!(!place.path("run").exists());
}
