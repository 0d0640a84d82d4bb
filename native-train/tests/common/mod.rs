//! Drawn images, tiny models, and the real binary.

#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use image::{Rgb, RgbImage};
use serde_json::Value;
use tempfile::TempDir;

/// A folder with images and room for a run.
pub struct Place {
    dir: TempDir,
}

/// What a command did.
pub struct Ran {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

/// A model small enough to train in a blink: 4×4 patches.
pub const TINY: &[&str] = &[
    "--img-size",
    "32",
    "--patch-size",
    "8",
    "--embed-dim",
    "24",
    "--depth",
    "1",
    "--num-heads",
    "3",
    "--decoder-embed-dim",
    "16",
    "--decoder-depth",
    "1",
    "--decoder-num-heads",
    "2",
    "--num-region",
    "2",
    "--region-enc-dim",
    "16",
    "--region-enc-num-heads",
    "2",
    "--region-dec-dim",
    "16",
    "--region-dec-num-heads",
    "2",
    "--region-cross-layer",
    "1",
    "--fh-scales",
    "50,100",
    "--batch",
    "4",
    "--picture-every",
    "0",
    "--loader-threads",
    "2",
    "--lr",
    "1e-3",
    "--warmup-steps",
    "2",
];

impl Place {
    /// With `count` drawn images in `images/`.
    pub fn new(count: usize) -> Self {
        let place = Self { dir: tempfile::tempdir().unwrap() };
        fs::create_dir(place.path("images")).unwrap();
        for index in 0..count {
            draw(index as u32).save(place.path(&format!("images/{index:03}.png"))).unwrap();
        }
        place
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Runs `rmae` in this folder.
    pub fn rmae(&self, args: &[&str]) -> Ran {
        self.command(args).output().unwrap().into()
    }

    /// `rmae pretrain` of the tiny model into `run`.
    pub fn pretrain(&self, run: &str, args: &[&str]) -> Ran {
        self.rmae(&self.pretrain_args(run, args))
    }

    /// `rmae tune` of the tiny model into `run`.
    pub fn tune(&self, run: &str, args: &[&str]) -> Ran {
        self.rmae(&self.tune_args(run, args))
    }

    pub fn tune_args<'a>(&self, run: &'a str, args: &[&'a str]) -> Vec<&'a str> {
        let mut all = self.pretrain_args(run, args);
        all[0] = "tune";
        all
    }

    pub fn pretrain_args<'a>(&self, run: &'a str, args: &[&'a str]) -> Vec<&'a str> {
        let start = ["pretrain", "--device", "cpu", "--images", "images", "--out", run];
        // What the test sets goes before the tiny model's own.
        let tiny = TINY.chunks(2).filter(|pair| !args.contains(&pair[0])).flatten().copied();
        start.into_iter().chain(tiny).chain(args.iter().copied()).collect()
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rmae"));
        command.args(args).current_dir(self.dir.path());
        command
    }

    /// Starts a training that goes on until it is ended.
    pub fn start(&self, run: &str, args: &[&str]) -> Child {
        let mut command = self.command(&self.pretrain_args(run, args));
        command.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap()
    }

    /// The records of a run's `metrics.jsonl`.
    pub fn metrics(&self, run: &str) -> Vec<Value> {
        let text = fs::read_to_string(self.path(run).join("metrics.jsonl")).unwrap_or_default();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// The losses of a run, as they were written.
    pub fn losses(&self, run: &str) -> Vec<String> {
        self.metrics(run).iter().map(|r| r["loss"].to_string()).collect()
    }

    /// Steps of a run's checkpoints, ascending.
    pub fn checkpoints(&self, run: &str) -> Vec<u64> {
        let entries = fs::read_dir(self.path(run)).unwrap();
        let names = entries.map(|e| e.unwrap().file_name().into_string().unwrap());
        let step = |n: String| n.strip_prefix("checkpoint-")?.strip_suffix(".safetensors")?.parse().ok();
        let mut steps: Vec<u64> = names.filter_map(step).collect();
        steps.sort_unstable();
        steps
    }

    /// Waits until a run has made some steps.
    pub fn wait_for_step(&self, run: &str, step: u64) {
        let begun = Instant::now();
        while self.metrics(run).last().is_none_or(|r| r["step"].as_u64() < Some(step)) {
            assert!(begun.elapsed() < Duration::from_secs(120), "no step {step} within two minutes");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
        }
    }
}

impl Ran {
    /// Fails unless the command ended well.
    #[track_caller]
    pub fn ok(self) -> Self {
        assert_eq!(self.code, 0, "{}", self.stderr);
        self
    }

    /// Fails unless the command ended with a code and one clear message that holds all of `parts`.
    #[track_caller]
    pub fn fails(self, code: i32, parts: &[&str]) -> Self {
        assert_eq!(self.code, code, "{}", self.stderr);
        assert!(!self.stderr.contains("panicked"), "{}", self.stderr);
        // The last one: a graphics driver may have said something before.
        let message = self
            .stderr
            .lines()
            .rfind(|l| l.starts_with("error: "))
            .unwrap_or_else(|| panic!("{}", self.stderr));
        for part in parts {
            assert!(message.contains(part), "`{part}` is not in: {message}");
        }
        self
    }
}

/// A disc and a box of different colours on a gradient.
pub fn draw(seed: u32) -> RgbImage {
    let (width, height) = (64 + seed * 7 % 20, 48 + seed * 5 % 16);
    let (cx, cy, r) = (10 + seed * 13 % 40, 10 + seed * 11 % 30, 8 + seed % 9);
    RgbImage::from_fn(width, height, |x, y| {
        let (dx, dy) = (x.abs_diff(cx), y.abs_diff(cy));
        if dx * dx + dy * dy < r * r {
            Rgb([220, (seed * 40 % 256) as u8, 30])
        } else if x > width / 2 && y > height / 2 {
            Rgb([20, 90, (seed * 70 % 256) as u8])
        } else {
            Rgb([(x * 3 % 256) as u8, (y * 4 % 256) as u8, 128])
        }
    })
}

/// Whether a file is a PNG of a size.
#[track_caller]
pub fn png_size(path: &Path) -> (u32, u32) {
    image::open(path).unwrap().into_rgb8().dimensions()
}

/// Says why a test, or a part of it, is not run: on the stream itself, as what a test prints by macros is
/// shown only where it fails.
pub fn skip(why: &str) {
    let _ = writeln!(std::io::stderr(), "SKIPPED: {why}");
}
