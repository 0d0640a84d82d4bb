//! Times mask refinement on one thread, on a drawn picture.
//!
//! `cargo run --release -p rmae-core --example refine_bench -- [ROUNDS]` prints milliseconds (least
//! and median of the rounds) for the work done once an image and for one further prompt.

use std::time::Instant;

use rmae_core::prompt::refine::{Glance, RefineCache, RefineInput, RefineOptions, refine, upscale};
use rmae_core::prompt::{BoxPrompt, Click, ObjectPrompts, RgbView, WorkingImage};

type Failure = Box<dyn std::error::Error>;

const SIDE: usize = 56;

fn main() -> Result<(), Failure> {
    let rounds = std::env::args().nth(1).map_or(Ok(20), |rounds| rounds.parse())?;
    for (width, height) in [(450, 333), (1200, 833)] {
        let rgb = draw(width, height);
        let image = WorkingImage::from_rgb(RgbView::new(width, height, &rgb)?)?;
        let cache = RefineCache::new(&image, Glance::shipped().as_deref());
        let (w, h) = (width as f32, height as f32);
        let click = |x, y, positive| Click { x: x * w, y: y * h, positive, radius: None };
        let one = ObjectPrompts { clicks: vec![click(0.5, 0.5, true)], ..Default::default() };
        let clicks = vec![click(0.5, 0.5, true), click(0.1, 0.5, false), click(0.4, 0.4, true)];
        let three = ObjectPrompts { clicks, ..Default::default() };
        let boxes = vec![BoxPrompt { x0: 0.28 * w, y0: 0.2 * h, x1: 0.72 * w, y1: 0.8 * h }];
        let boxed = ObjectPrompts { boxes, ..Default::default() };
        let logits: Vec<f32> = (0..SIDE * SIDE).map(|at| logit(at % SIDE, at / SIDE)).collect();
        let predict = |prompts: &ObjectPrompts, logits: &[f32]| {
            let (area, side) = (image.area(), logits.len().isqrt());
            let (image, cache) = (&image, &cache);
            let input =
                RefineInput { image, cache, logits, side, area, prompts, granularity: 0.0, earlier: None };
            refine(&input, &RefineOptions::default()).mask
        };
        println!("{width}x{height} ({:.2} megapixels)", w * h * 1e-6);
        time("once an image", rounds, || RefineCache::new(&image, Glance::shipped().as_deref()));
        time("one click", rounds, || predict(&one, &[]));
        time("one click, logits", rounds, || predict(&one, &logits));
        time("three clicks, logits", rounds, || predict(&three, &logits));
        time("box", rounds, || predict(&boxed, &[]));
        let mask = predict(&one, &logits);
        time("to 12 megapixels", rounds, || upscale(&mask, 4160, 2888));
    }
    Ok(())
}

fn time<T>(what: &str, rounds: usize, work: impl Fn() -> T) {
    let mut times: Vec<f64> = Vec::new();
    for _ in 0..rounds.max(1) {
        let start = Instant::now();
        let result = work();
        times.push(start.elapsed().as_secs_f64() * 1e3);
        drop(result);
    }
    times.sort_by(f64::total_cmp);
    println!("  {what:22} {:7.2} ms, median {:7.2}", times[0], times[times.len() / 2]);
}

/// A blurred blob in the middle.
fn logit(x: usize, y: usize) -> f32 {
    let away = |at: usize| (at as f32 + 0.5) / SIDE as f32 - 0.5;
    3.0 - 14.0 * away(x).hypot(away(y))
}

/// A star-shaped thing on a ground of discs, with noise.
fn draw(width: usize, height: usize) -> Vec<u8> {
    let mut rgb = Vec::with_capacity(3 * width * height);
    for y in 0..height {
        for x in 0..width {
            let (u, v) = (x as f32 / width as f32, y as f32 / height as f32);
            let angle = (v - 0.5).atan2(u - 0.5);
            let inside = (u - 0.5).hypot(v - 0.5) < 0.2 + 0.06 * (5.0 * angle).sin();
            let disc = ((u * 9.0).fract() - 0.5).hypot((v * 7.0).fract() - 0.5) < 0.35;
            let colour = match (inside, disc) {
                (true, _) => [190.0 - 60.0 * v, 110.0, 60.0 + 40.0 * u],
                (_, true) => [70.0, 120.0 + 50.0 * u, 80.0],
                _ => [110.0, 130.0 - 40.0 * v, 140.0],
            };
            let mut hash = x.wrapping_mul(73_856_093) ^ y.wrapping_mul(19_349_663);
            for level in colour {
                hash = hash.wrapping_mul(0x5bd1_e995) & 0xffff_ffff;
                hash ^= hash >> 15;
                rgb.push((level + (hash % 31) as f32 - 15.0) as u8);
            }
        }
    }
    rgb
}
