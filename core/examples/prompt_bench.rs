//! Times a prompt from click to mask, refinement included, on the processor:
//! `prompt_bench [MODEL.safetensors] [MEGAPIXELS] [PROMPTS]`. Without a model it is Ti with weights
//! drawn at random, which takes as long.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::time::Instant;

use pollster::block_on;
use rmae_core::checkpoint::read_model;
use rmae_core::config::{ModelConfig, Preset};
use rmae_core::exec::{Device, Precision};
use rmae_core::model::init_params;
use rmae_core::prompt::refine::{Edges, RefineOptions};
use rmae_core::prompt::{
    BoxPrompt, Click, ObjectPrompts, PredictOptions, Predictor, PredictorOptions, RgbView,
};

fn main() {
    let mut args = std::env::args().skip(1);
    let model = args.next().filter(|path| path != "ti");
    let megapixels: f64 = args.next().map_or(1.0, |text| text.parse().expect("megapixels"));
    let prompts: usize = args.next().map_or(30, |text| text.parse().expect("a number of prompts"));
    let (config, weights) = match model {
        Some(path) => read_model(&std::fs::read(path).unwrap()).unwrap(),
        None => {
            let config = ModelConfig::preset(Preset::Ti);
            let weights = init_params(&config, 0).unwrap();
            (config, weights)
        }
    };
    let height = (megapixels * 1e6 / 1.5).sqrt().round() as usize;
    let (width, device) = (height * 3 / 2, Device::cpu(Precision::F32));
    let rgb = scene(width, height);
    let mut predictor =
        block_on(Predictor::new(&config, &weights, &device, PredictorOptions::default())).unwrap();
    let start = Instant::now();
    block_on(predictor.set_image(RgbView::new(width, height, &rgb).unwrap())).unwrap();
    println!("{width} x {height}: encode and preparation {:.1} ms", milliseconds(start));
    for edges in [Edges::GraphCut, Edges::Off] {
        let options = PredictOptions {
            refine: RefineOptions { edges, ..RefineOptions::default() },
            ..PredictOptions::default()
        };
        let mut times: [Vec<f64>; 3] = Default::default();
        for i in 0..prompts {
            for (times, prompts) in times.iter_mut().zip(prompts_of(i, width, height)) {
                let start = Instant::now();
                block_on(predictor.predict(&[prompts], &options)).unwrap();
                times.push(milliseconds(start));
            }
        }
        for (what, times) in ["a first click", "a further click", "a box"].into_iter().zip(&mut times) {
            times.sort_by(f64::total_cmp);
            let (median, worst) = (times[prompts / 2], times[prompts - 1]);
            println!("{edges:?}: {what} {median:.2} ms (median of {prompts}), worst {worst:.2} ms");
        }
    }
}

fn milliseconds(since: Instant) -> f64 {
    1e3 * since.elapsed().as_secs_f64()
}

/// Middle and radius, in heights of the image.
const DISCS: [(f64, f64, f64); 3] = [(0.4, 0.5, 0.25), (1.1, 0.3, 0.2), (1.0, 0.75, 0.15)];

/// Discs of many colours on a shaded, slightly noisy ground.
fn scene(width: usize, height: usize) -> Vec<u8> {
    let mut rgb = Vec::with_capacity(3 * width * height);
    for y in 0..height {
        for x in 0..width {
            let (u, v) = (x as f64 / height as f64, y as f64 / height as f64);
            let disc = DISCS.iter().position(|&(cx, cy, r)| (u - cx).hypot(v - cy) < r);
            let noise = (x * 7919 + y * 104_729) % 23;
            let base = disc.map_or([70, 110, 150], |d| [[200, 60, 40], [60, 160, 60], [210, 190, 80]][d]);
            rgb.extend(base.map(|c: usize| (c + noise + (30.0 * v) as usize).min(255) as u8));
        }
    }
    rgb
}

/// A first click, one more beside it, and a box around one of the discs, not quite as tight each time:
/// elsewhere each time.
fn prompts_of(i: usize, width: usize, height: usize) -> [ObjectPrompts; 3] {
    let at = |share: f64, side: usize| (share.fract() * side as f64) as f32;
    let step = i as f64 * 0.137;
    let click = |x, y, positive| Click { x, y, positive, radius: None };
    let first = click(at(0.27 + step, width), at(0.5 + 0.6 * step, height), true);
    let clicked = |clicks| ObjectPrompts { clicks, ..ObjectPrompts::default() };
    let (x, y, radius) = DISCS[i % DISCS.len()];
    let side = |middle: f64, sign: f64, share: f64| {
        ((middle + sign * radius * (1.0 + 0.1 * share.fract())) * height as f64) as f32
    };
    let boxes = vec![BoxPrompt {
        x0: side(x, -1.0, step),
        y0: side(y, -1.0, 3.0 * step),
        x1: side(x, 1.0, 5.0 * step),
        y1: side(y, 1.0, 7.0 * step),
    }];
    [
        clicked(vec![first.clone()]),
        clicked(vec![first, click(4.0, 4.0, false)]),
        ObjectPrompts { boxes, ..ObjectPrompts::default() },
    ]
}
