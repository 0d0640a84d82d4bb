//! `rmae pretrain` from start to end: what a run leaves behind, and how it goes on.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::fs;

use common::{Place, TINY, png_size};
use rmae_core::checkpoint::read_model;
use rmae_core::optim::LossScale;
use rmae_train::checkpoint;

#[test]
fn a_run_leaves_metrics_pictures_checkpoints_and_its_configuration() {
    let place = Place::new(10);
    let ran = place
        .pretrain(
            "run",
            &[
                "--steps",
                "7",
                "--checkpoint-every",
                "2",
                "--keep",
                "2",
                "--picture-every",
                "7",
                "--pictures",
                "3",
            ],
        )
        .ok();
    assert!(ran.stderr.contains("10 images") && ran.stderr.contains("step 7/7"), "{}", ran.stderr);
    let metrics = place.metrics("run");
    assert_eq!(metrics.len(), 7);
    for (index, record) in metrics.iter().enumerate() {
        assert_eq!(record["step"], index + 1);
        for key in [
            "epoch",
            "loss",
            "mae_loss",
            "region_loss",
            "region_baseline_loss",
            "region_patch_entropy",
            "lr",
            "grad_norm",
            "images_per_s",
            "data_wait_s",
        ] {
            assert!(record[key].is_f64(), "{key}: {record}");
        }
        let sum = record["mae_loss"].as_f64().unwrap() + record["region_loss"].as_f64().unwrap();
        assert!((record["loss"].as_f64().unwrap() - sum).abs() < 1e-5);
    }
    assert_eq!(metrics[0]["lr"], 0.0, "warm-up begins at 0");
    assert_eq!(place.checkpoints("run"), [6, 7], "the last two, the end included");
    // Three rows and six columns of 32 pixels, gaps of 4, a header of 18.
    assert_eq!(png_size(&place.path("run/pictures/step_0000007.png")), (6 * 36 + 4, 3 * 36 + 18));
    assert_eq!(png_size(&place.path("run/curve.png")), (960, 540));
    let config = fs::read_to_string(place.path("run/config.toml")).unwrap();
    assert!(
        config.contains("batch = 4") && config.contains("[model]") && config.contains("embed_dim = 24"),
        "{config}"
    );
}

#[test]
fn going_on_is_bit_identical_in_mid_epoch() {
    // 10 images and batches of 4: most checkpoints stand within an epoch.
    let place = Place::new(10);
    let args = ["--steps", "60", "--checkpoint-every", "7", "--accumulate", "2"];
    place.pretrain("whole", &args).ok();
    let mut child = place.start("halves", &args);
    place.wait_for_step("halves", 16);
    child.kill().unwrap();
    child.wait().unwrap();
    let before = place.checkpoints("halves");
    assert!((14..60).contains(before.last().unwrap()), "killed on the way: {before:?}");
    place.rmae(&["pretrain", "--out", "halves", "--resume", "--device", "cpu"]).ok();
    let (whole, halves) = (place.losses("whole"), place.losses("halves"));
    assert_eq!(whole.len(), 60);
    assert_eq!(whole, halves, "killed with checkpoints {before:?}");
    let baseline = |run: &str| place.metrics(run)[59]["region_baseline_loss"].clone();
    assert_eq!(baseline("whole"), baseline("halves"));
}

/// Asked for, a GPU is tuned once; a second run knows, and a place that cannot be written costs a line.
#[cfg(target_os = "linux")]
#[test]
fn tuning_is_remembered_from_one_run_to_the_next() {
    let place = Place::new(6);
    if !place.rmae(&["devices"]).ok().stdout.contains("llvmpipe") {
        common::skip("no lavapipe here");
        return;
    }
    let run = |out: &str, cache: &str, flags: &[&str]| -> common::Ran {
        let start = ["pretrain", "--device", "lavapipe", "--images", "images", "--out", out, "--steps", "1"];
        let args = [&start[..], TINY, flags].concat();
        place.command(&args).env("XDG_CACHE_HOME", place.path(cache)).output().unwrap().into()
    };
    let unasked = run("unasked", "cache", &[]).ok();
    assert!(!unasked.stderr.contains("tuned") && !place.path("cache/rmae").exists(), "{}", unasked.stderr);
    let first = run("first", "cache", &["--autotune"]).ok();
    assert!(first.stderr.contains("tuned "), "{}", first.stderr);
    let second = run("second", "cache", &["--autotune"]).ok();
    assert!(second.stderr.contains("products as tuned before"), "{}", second.stderr);
    goes_on_with_its_kernels(&place);
    let blocked = run("blocked", "images/000.png", &["--autotune"]).ok();
    assert!(blocked.stderr.contains("warning: ") && blocked.stderr.contains("tuned "), "{}", blocked.stderr);
}

/// Where no cache is left and another run would be tuned anew.
#[cfg(target_os = "linux")]
fn goes_on_with_its_kernels(place: &Place) {
    let run = place.path("first");
    let kernels = |step| checkpoint::load(&checkpoint::path_of(&run, step)).unwrap().state.kernels;
    let before = kernels(1).unwrap();
    assert!(before.contains("\"products\":[["), "{before}");
    let args = ["pretrain", "--device", "lavapipe", "--out", "first", "--resume", "--steps", "2"];
    let ran = place.command(&args).env("XDG_CACHE_HOME", place.path("empty")).output().unwrap();
    let ran = common::Ran::from(ran).ok();
    assert!(!ran.stderr.contains("tuned"), "{}", ran.stderr);
    assert_eq!(kernels(2), Some(before));
}

/// With mixed precision: the loss scale is kept in the checkpoint, and nothing else is lost either.
#[test]
fn mixed_precision_trains_and_goes_on_bit_identically() {
    let place = Place::new(6);
    if !place.rmae(&["devices"]).ok().stdout.contains("llvmpipe") {
        common::skip("no lavapipe here, the one GPU that computes to the same bits each time");
        return;
    }
    let run = |out: &str| {
        let args = ["pretrain", "--device", "lavapipe", "--images", "images", "--precision", "mixed"];
        place.rmae(&[&args[..], TINY, &["--checkpoint-every", "3", "--out", out, "--steps", "6"]].concat())
    };
    let whole = run("whole").ok();
    assert!(whole.stderr.contains("mixed precision"), "{}", whole.stderr);
    let resume = ["pretrain", "--device", "lavapipe", "--out", "halves", "--resume"];
    run("halves").ok();
    fs::remove_file(place.path("halves/checkpoint-00000006.safetensors")).unwrap();
    place.rmae(&resume).ok();
    assert_eq!(place.losses("whole"), place.losses("halves"));
    let metrics = place.metrics("halves");
    assert_eq!(metrics.len(), 6);
    assert!(metrics.iter().all(|r| r["loss_scale"] == 65_536.0 && r["grad_norm"].is_f64()), "{metrics:?}");
    let config = fs::read_to_string(place.path("halves/config.toml")).unwrap();
    assert!(config.contains("precision = \"mixed\""), "{config}");
    overflow(&place, &resume);
}

/// Goes on with a loss scale at which every gradient overflows.
fn overflow(place: &Place, resume: &[&str]) {
    let run = place.path("halves");
    let mut last = checkpoint::load(&checkpoint::path_of(&run, 6)).unwrap();
    last.state.loss_scale = Some(LossScale { factor: 2f64.powi(60), ..LossScale::default() });
    checkpoint::save(&run, &last).unwrap();
    let ran = place.rmae(&[resume, &["--steps", "8"]].concat()).ok();
    assert!(ran.stderr.contains("update 7 skipped: a gradient overflowed in f16"), "{}", ran.stderr);
    let metrics = place.metrics("halves");
    assert_eq!(metrics.len(), 8, "skipped updates are recorded");
    assert!(metrics[7]["grad_norm"].is_null() && metrics[7]["loss_scale"] == 2f64.powi(58), "{}", metrics[7]);
    let after = checkpoint::load(&checkpoint::path_of(&run, 8)).unwrap();
    assert_eq!(after.state.loss_scale.unwrap().skipped, 2);
    assert_eq!(after.weights, last.weights);
}

#[test]
fn killing_loses_at_most_the_steps_since_the_last_checkpoint() {
    let place = Place::new(6);
    let mut child = place.start("run", &["--steps", "100000", "--checkpoint-every", "2"]);
    place.wait_for_step("run", 7);
    child.kill().unwrap();
    child.wait().unwrap();
    let last = *place.checkpoints("run").last().unwrap();
    assert!(last >= 6, "{last}");
    let total = (last + 2).to_string();
    let ran =
        place.rmae(&["pretrain", "--out", "run", "--resume", "--device", "cpu", "--steps", &total]).ok();
    assert!(ran.stderr.contains(&format!("going on after update {last}")), "{}", ran.stderr);
    let steps: Vec<u64> = place.metrics("run").iter().map(|r| r["step"].as_u64().unwrap()).collect();
    assert_eq!(steps, (1..=last + 2).collect::<Vec<_>>(), "every step once");
}

#[cfg(unix)]
#[test]
fn ctrl_c_finishes_the_step_saves_and_ends_well() {
    let place = Place::new(6);
    let child = place.start("run", &["--steps", "100000", "--checkpoint-every", "100000"]);
    place.wait_for_step("run", 2);
    let sent = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
    let ran: common::Ran = child.wait_with_output().unwrap().into();
    let ran = ran.ok();
    assert!(ran.stderr.contains("--resume"), "{}", ran.stderr);
    let last = place.metrics("run").last().unwrap()["step"].as_u64().unwrap();
    assert_eq!(place.checkpoints("run"), [last]);
}

#[test]
fn frozen_parts_stay_as_they_are_while_others_learn() {
    let place = Place::new(6);
    place.pretrain("first", &["--steps", "2"]).ok();
    let args = ["--steps", "6", "--init", "first", "--freeze", "encoder,regions", "--lr", "0.01"];
    place.pretrain("run", &args).ok();
    place.rmae(&["pretrain", "--out", "run", "--resume", "--device", "cpu", "--steps", "9"]).ok();
    let weights = |file: &str| read_model(&fs::read(place.path(file)).unwrap()).unwrap().1;
    let before = weights("first/checkpoint-00000002.safetensors");
    let after = weights("run/checkpoint-00000009.safetensors");
    assert_eq!(before.len(), after.len());
    let changed: Vec<&String> = before.keys().filter(|name| before[*name] != after[*name]).collect();
    let pixels = |name: &String| name.starts_with("decoder_") || name == "mask_token";
    assert!(changed.len() > 10 && changed.iter().all(|name| pixels(name)), "{changed:?}");
}

#[test]
fn flags_go_before_the_file_and_the_outcome_is_written() {
    let place = Place::new(5);
    fs::write(place.path("c.toml"), "steps = 50\nweight_decay = 0.25\nseed = 3\n[model]\nmask_ratio = 0.5\n")
        .unwrap();
    place.pretrain("run", &["--config", "c.toml", "--steps", "1", "--mask-ratio", "0.25"]).ok();
    let written = fs::read_to_string(place.path("run/config.toml")).unwrap();
    for line in ["steps = 1\n", "weight_decay = 0.25\n", "seed = 3\n", "mask_ratio = 0.25\n"] {
        assert!(written.contains(line), "{line} is not in {written}");
    }
    assert_eq!(place.metrics("run").len(), 1);
}

#[test]
fn pixels_alone_and_regions_alone_can_be_learnt() {
    let place = Place::new(4);
    let without_k: Vec<&str> =
        common::TINY.chunks(2).filter(|pair| pair[0] != "--num-region").flatten().copied().collect();
    for (objective, has, lacks) in [("mae", "mae_loss", "region_loss"), ("rae", "region_loss", "mae_loss")] {
        let start = [
            "pretrain",
            "--device",
            "cpu",
            "--images",
            "images",
            "--out",
            objective,
            "--objective",
            objective,
            "--steps",
            "2",
        ];
        place.rmae(&[&start[..], &without_k].concat()).ok();
        let record = &place.metrics(objective)[1];
        assert!(record[has].is_f64() && record[lacks].is_null(), "{record}");
    }
}

#[test]
fn a_run_can_start_from_given_weights() {
    let place = Place::new(4);
    place.pretrain("first", &["--steps", "3"]).ok();
    place.pretrain("second", &["--steps", "1", "--init", "first", "--lr", "0"]).ok();
    let export = |run: &str| {
        let out = format!("{run}.safetensors");
        place.rmae(&["export", "--model", run, "--part", "all", "--out", &out]).ok();
        fs::read(place.path(&out)).unwrap()
    };
    assert_eq!(export("first"), export("second"), "a rate of 0 leaves the given weights as they are");
    // Without a preset or sizes, the model is that of the weights.
    let args = ["pretrain", "--device", "cpu", "--images", "images", "--out", "third", "--init", "first"];
    place.rmae(&[&args[..], &["--steps", "1", "--batch", "2", "--fh-scales", "50"]].concat()).ok();
    let written = fs::read_to_string(place.path("third/config.toml")).unwrap();
    assert!(written.contains("embed_dim = 24"), "{written}");
    let other = place.pretrain("fourth", &["--steps", "1", "--init", "first", "--embed-dim", "48"]);
    assert!(other.code == 5 && other.stderr.contains("has shape"), "{}: {}", other.code, other.stderr);
}

#[test]
fn given_weights_serve_at_another_image_side_and_come_back() {
    let place = Place::new(4);
    place.pretrain("first", &["--steps", "3"]).ok();
    let still = ["--steps", "1", "--lr", "0"];
    place.pretrain("large", &[&still[..], &["--init", "first", "--img-size", "64"]].concat()).ok();
    place.pretrain("back", &[&still[..], &["--init", "large", "--img-size", "32"]].concat()).ok();
    let weights = |run: &str| {
        let out = format!("{run}.safetensors");
        place.rmae(&["export", "--model", run, "--part", "all", "--out", &out]).ok();
        rmae_train::checkpoint::load_model(&place.path(&out)).unwrap()
    };
    let ((_, first), (large, moved), (_, back)) = (weights("first"), weights("large"), weights("back"));
    assert_eq!((large.img_size, moved["pos_embed"].shape()), (64, &[1, 65, 24][..]));
    for (name, tensor) in &first {
        let error = back[name].relative_error(tensor);
        assert!(error < 1e-6, "{name}: {error}");
    }
}

#[test]
fn prompts_are_learnt_from_and_a_resumed_run_sees_the_same_ones() {
    let place = Place::new(10);
    let args = ["--steps", "30", "--prompts", "true", "--checkpoint-every", "7", "--lr", "3e-3"];
    place.pretrain("whole", &args).ok();
    let mut child = place.start("halves", &args);
    place.wait_for_step("halves", 9);
    child.kill().unwrap();
    child.wait().unwrap();
    place.rmae(&["pretrain", "--out", "halves", "--resume", "--device", "cpu"]).ok();
    let losses = place.losses("whole");
    assert_eq!(losses, place.losses("halves"));
    place.pretrain("masks", &["--steps", "1"]).ok();
    let first = |run: &str| place.metrics(run)[0]["region_loss"].as_f64().unwrap();
    assert!((first("whole") - first("masks")).abs() > 1e-6, "prompts show something else than masks");
    let region = |step: usize| place.metrics("whole")[step]["region_loss"].as_f64().unwrap();
    let mean = |steps: std::ops::Range<usize>| steps.clone().map(region).sum::<f64>() / steps.len() as f64;
    assert!(mean(25..30) < mean(0..5), "{losses:?}");
}

#[test]
fn tuning_sees_whole_images_and_learns_from_its_errors_and_a_resumed_run_does_the_same() {
    let place = Place::new(10);
    place.pretrain("first", &["--steps", "2"]).ok();
    let args = ["--init", "first", "--steps", "24", "--checkpoint-every", "5", "--corrective", "0.5"];
    place.tune("whole", &args).ok();
    let mut child = place.command(&place.tune_args("halves", &args)).spawn().unwrap();
    place.wait_for_step("halves", 7);
    child.kill().unwrap();
    child.wait().unwrap();
    place.rmae(&["tune", "--out", "halves", "--resume", "--device", "cpu"]).ok();
    assert_eq!(place.losses("whole"), place.losses("halves"));
    for record in place.metrics("whole") {
        let loss = |key: &str| record[key].as_f64().unwrap();
        assert!(record["mae_loss"].is_null() && loss("dice_loss") > 0.0, "{record}");
        assert!((loss("loss") - loss("region_loss") - loss("dice_loss")).abs() < 1e-5, "{record}");
    }
    // The first batches differ in nothing but the corrections.
    place.tune("alone", &[&args[..6], &["--corrective", "0"]].concat()).ok();
    assert_ne!(place.losses("whole"), place.losses("alone"));
    // What is not tuned is kept.
    let model = |run: &str| rmae_train::checkpoint::load_model(&place.path(run)).unwrap();
    let ((_, before), (config, after)) = (model("first"), model("whole"));
    assert!(config.use_mae_loss);
    assert_eq!(before["decoder_pred.weight"], after["decoder_pred.weight"]);
    assert_ne!(before["region_pred.1.weight"], after["region_pred.1.weight"]);
    let written = fs::read_to_string(place.path("whole/config.toml")).unwrap();
    assert!(written.contains("whole_image = true") && written.contains("dice_weight = 1.0"), "{written}");
}

#[test]
fn tuning_mixes_sources_of_regions() {
    let place = Place::new(4);
    place.pretrain("first", &["--steps", "1"]).ok();
    place.rmae(&["regions", "images", "--scale", "100", "--labels", "maps"]).ok();
    let args = ["--init", "first", "--steps", "2", "--source", "labels:maps:2", "--source", "fh:1"];
    place.tune("run", &args).ok();
    let written = fs::read_to_string(place.path("run/config.toml")).unwrap();
    assert!(written.contains("\"labels:maps:2\"") && written.contains("object_crops = 0.3"), "{written}");
    place.tune("no", &["--init", "first", "--source", "masks"]).fails(3, &["source = masks", "labels:DIR"]);
    place.tune("no", &["--init", "first", "--source", "labels:none"]).fails(4, &["none"]);
}

#[test]
fn blobs_are_learnt_from_and_a_resumed_run_sees_the_same_ones() {
    let place = Place::new(10);
    let args = ["--steps", "30", "--source", "blobs:1", "--checkpoint-every", "7"];
    place.pretrain("whole", &args).ok();
    let mut child = place.start("halves", &args);
    place.wait_for_step("halves", 9);
    child.kill().unwrap();
    child.wait().unwrap();
    place.rmae(&["pretrain", "--out", "halves", "--resume", "--device", "cpu"]).ok();
    assert_eq!(place.losses("whole"), place.losses("halves"));
    place.pretrain("segments", &["--steps", "1"]).ok();
    let first = |run: &str| place.metrics(run)[0].clone();
    assert_eq!(
        first("whole")["mae_loss"],
        first("segments")["mae_loss"],
        "the same photos, weights and masks"
    );
    assert_ne!(first("whole")["region_loss"], first("segments")["region_loss"]);
    place.pretrain("single", &["--steps", "1", "--regions", "blobs"]).ok();
    assert_eq!(first("whole")["region_loss"], first("single")["region_loss"]);
    place.pretrain("no", &["--steps", "1", "--source", "blobs:0"]).fails(3, &["source = blobs:0", "above 0"]);
}

#[test]
fn tuning_says_what_it_needs() {
    let place = Place::new(4);
    place.tune("run", &["--steps", "1"]).fails(3, &["init", "--init"]);
    place.pretrain("first", &["--steps", "1"]).ok();
    place.tune("run", &["--init", "first", "--prompts", "false"]).fails(3, &["prompts = false"]);
    place.tune("run", &["--init", "first", "--corrective", "1.5"]).fails(3, &["corrective = 1.5"]);
    place.pretrain("run", &["--steps", "1", "--dice-weight", "1"]).fails(3, &["dice_weight", "rmae tune"]);
    place.pretrain("masked", &["--steps", "1", "--prompts", "--dice-weight", "0.5"]).ok();
    let record = &place.metrics("masked")[0];
    assert!(record["mae_loss"].is_f64() && record["dice_loss"].is_f64(), "{record}");
    place
        .pretrain("run", &["--steps", "1", "--boundary-weight", "1"])
        .fails(3, &["boundary_weight", "rmae tune"]);
    place.tune("run", &["--init", "first", "--boundary-weight=-1"]).fails(3, &["boundary_weight = -1"]);
    place.tune("border", &["--init", "first", "--steps", "2", "--boundary-weight", "0.5"]).ok();
    for record in place.metrics("border") {
        let loss = |key: &str| record[key].as_f64().unwrap();
        let sum = loss("region_loss") + loss("dice_loss") + 0.5 * loss("boundary_loss");
        assert!(loss("boundary_loss") > 0.0 && (loss("loss") - sum).abs() < 1e-5, "{record}");
    }
}

#[test]
fn prompts_need_regions() {
    let place = Place::new(4);
    let ran = place.pretrain("run", &["--objective", "mae", "--num-region", "0", "--prompts", "true"]);
    assert!(ran.code == 3 && ran.stderr.contains("prompts"), "{}: {}", ran.code, ran.stderr);
}

#[test]
fn training_learns_what_it_sees() {
    let place = Place::new(4);
    place.pretrain("run", &["--steps", "60", "--lr", "3e-3", "--checkpoint-every", "1000"]).ok();
    let losses: Vec<f64> = place.metrics("run").iter().map(|r| r["loss"].as_f64().unwrap()).collect();
    let mean = |part: &[f64]| part.iter().sum::<f64>() / part.len() as f64;
    assert!(mean(&losses[50..]) < 0.8 * mean(&losses[..5]), "{losses:?}");
}

#[test]
fn the_event_file_reads_back() {
    let place = Place::new(4);
    place.pretrain("run", &["--steps", "3", "--picture-every", "3", "--pictures", "1"]).ok();
    let entries = fs::read_dir(place.path("run")).unwrap();
    let events =
        entries.map(|e| e.unwrap().path()).find(|p| p.to_string_lossy().contains("tfevents")).unwrap();
    let records = tf_records(&fs::read(events).unwrap());
    // The version, three steps, one picture.
    assert_eq!(records.len(), 5);
    assert!(records[0].ends_with(b"brain.Event:2"));
    let holds = |record: &[u8], text: &[u8]| record.windows(text.len()).any(|w| w == text);
    assert!(records[1..4].iter().all(|r| holds(r, b"loss/mae") && holds(r, b"optimizer/lr")));
    assert!(holds(&records[4], b"panel") && holds(&records[4], b"\x89PNG"));
    // The first scalar of step 1 is its loss: tag, then a 32-bit number of field 2.
    let at = records[1].windows(10).position(|w| w == b"loss/total").unwrap() + 10;
    assert_eq!(records[1][at], 0x15);
    let value = f32::from_le_bytes(records[1][at + 1..at + 5].try_into().unwrap());
    assert_eq!(f64::from(value), place.metrics("run")[0]["loss"].as_f64().unwrap());
}

/// Splits framed records and checks both checksums of each, with a bitwise CRC of its own.
fn tf_records(mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let crc = |data: &[u8]| {
        let mut crc = !0u32;
        for &byte in data {
            crc ^= u32::from(byte);
            for _ in 0..8 {
                crc = (crc >> 1) ^ (0x82f6_3b78 & (crc & 1).wrapping_neg());
            }
        }
        let crc = !crc;
        crc.rotate_right(15).wrapping_add(0xa282_ead8)
    };
    let number = |b: &[u8]| u32::from_le_bytes(b.try_into().unwrap());
    let mut records = vec![];
    while !bytes.is_empty() {
        let len = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        assert_eq!(number(&bytes[8..12]), crc(&bytes[..8]));
        let data = &bytes[12..12 + len];
        assert_eq!(number(&bytes[12 + len..16 + len]), crc(data));
        records.push(data.to_vec());
        bytes = &bytes[16 + len..];
    }
    records
}
