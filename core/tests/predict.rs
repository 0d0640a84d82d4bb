//! The predictor against the training code, the published numbers, and itself.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

use rmae_core::Error;
use rmae_core::config::{ModelConfig, Preset, RegionDecoder};
use rmae_core::exec::{Device, Precision, Tensors};
use rmae_core::model::{decoder_graph, init_params, query_graph, restore_ids};
use rmae_core::prompt::refine::{Edges, RefineOptions};
use rmae_core::prompt::{
    BoxPrompt, Candidate, Click, CropMode, Fit, Mask, ObjectPrompts, PredictOptions, Prediction, Predictor,
    PredictorOptions, RgbView, Scribble,
};
use rmae_core::tensor::{HostData, HostTensor};
use rmae_core::verify::Fixture;

fn run(graph: &rmae_core::graph::Graph, weights: &Tensors, inputs: &Tensors, name: &str) -> HostTensor {
    let device = Device::cpu(Precision::F64);
    let mut params = pollster::block_on(device.params(weights)).unwrap();
    let mut program = pollster::block_on(device.compile(graph, &[name], false)).unwrap();
    pollster::block_on(program.run(&mut params, inputs)).unwrap().remove(name).unwrap()
}

/// Row `i` of the first dimension.
fn part(tensor: &HostTensor, i: usize) -> HostTensor {
    let mut shape = tensor.shape().to_vec();
    let len = tensor.len() / shape[0];
    shape[0] = 1;
    match tensor.data() {
        HostData::U32(v) => HostTensor::u32(&shape, v[i * len..(i + 1) * len].to_vec()).unwrap(),
        _ => HostTensor::f32(&shape, tensor.to_f32()[i * len..(i + 1) * len].to_vec()).unwrap(),
    }
}

/// One object at a time through the region encoder, all queries through the decoder: the logits of
/// the reference implementation.
fn queries_and_decoder_agree(fixture: &str) {
    let path = format!("{}/../tests/fixtures/golden/{fixture}.safetensors", env!("CARGO_MANIFEST_DIR"));
    let fixture = Fixture::read(&std::fs::read(path).unwrap()).unwrap();
    let config = &fixture.config;
    let (k, l, s) = (config.num_region, config.num_patches(), config.img_size);
    let weights: Tensors = fixture
        .tensors
        .iter()
        .filter_map(|(name, t)| Some((name.strip_prefix("param.")?.to_string(), t.clone())))
        .collect();
    let input = |name: &str| &fixture.tensors[&format!("input.{name}")];
    let ids = fixture.tensors.get("input.ids_shuffle").unwrap_or_else(|| input("shuffle_ids"));
    let query = query_graph(config, config.visible_region_patches()).unwrap();
    let decoder = decoder_graph(config, k).unwrap();
    for image in 0..fixture.batch {
        let ids = part(ids, image);
        let HostData::U32(shuffle) = ids.data() else { panic!("ids are no indices") };
        let restore = HostTensor::u32(&[1, l], restore_ids(shuffle, l)).unwrap();
        let maps = part(input("regions"), image).to_f32();
        let mut queries = vec![];
        for map in maps.chunks(s * s) {
            let inputs = Tensors::from([
                ("regions".into(), HostTensor::f32(&[1, 1, s, s], map.to_vec()).unwrap()),
                ("ids_shuffle".into(), ids.clone()),
                ("ids_restore".into(), restore.clone()),
            ]);
            queries.extend(run(&query, &weights, &inputs, "query").to_f32());
        }
        let inputs = Tensors::from([
            ("queries".into(), HostTensor::f32(&[1, k, config.region_dec_dim], queries).unwrap()),
            ("pixel_memory".into(), part(&fixture.tensors["output.pixel_memory"], image)),
        ]);
        let logits = run(&decoder, &weights, &inputs, "logits");
        let error = logits.relative_error(&part(&fixture.tensors["output.pred_region_logits"], image));
        assert!(error < 1e-5, "image {image}: {error}");
    }
}

#[test]
fn the_published_logits_come_from_single_objects() {
    queries_and_decoder_agree("rmae");
    queries_and_decoder_agree("rae_only");
}

#[test]
fn the_same_with_ordinary_decoder_blocks() {
    queries_and_decoder_agree("deep_region_decoder");
}

fn config() -> ModelConfig {
    ModelConfig {
        img_size: 64,
        patch_size: 8,
        embed_dim: 24,
        depth: 2,
        num_heads: 2,
        decoder_embed_dim: 16,
        decoder_depth: 1,
        decoder_num_heads: 2,
        region_enc_dim: 16,
        region_enc_num_heads: 2,
        region_dec_dim: 16,
        region_dec_num_heads: 2,
        region_cross_layer: 1,
        ..ModelConfig::preset(Preset::Ti)
    }
}

fn predictor_of(config: &ModelConfig, options: PredictorOptions) -> Predictor {
    let weights = init_params(config, 1).unwrap();
    let device = Device::cpu(Precision::F32);
    pollster::block_on(Predictor::new(config, &weights, &device, options)).unwrap()
}

/// A bright disc on a dark ground.
fn photo(width: usize, height: usize) -> Vec<u8> {
    let (cx, cy, r) = (width as f32 / 2.0, height as f32 / 2.0, width.min(height) as f32 / 4.0);
    (0..width * height)
        .flat_map(|i| {
            let (x, y) = ((i % width) as f32, (i / width) as f32);
            let inside = (x - cx).hypot(y - cy) < r;
            if inside { [230, 200, 40] } else { [20, (i % 7) as u8 * 3, 60] }
        })
        .collect()
}

fn with_photo(width: usize, height: usize) -> Predictor {
    let mut predictor = predictor_of(&config(), PredictorOptions::default());
    let data = photo(width, height);
    pollster::block_on(predictor.set_image(RgbView::new(width, height, &data).unwrap())).unwrap();
    predictor
}

fn click(x: f32, y: f32) -> ObjectPrompts {
    ObjectPrompts { clicks: vec![Click { x, y, positive: true, radius: None }], ..Default::default() }
}

fn predict(
    predictor: &mut Predictor, objects: &[ObjectPrompts], options: &PredictOptions,
) -> Vec<Prediction> {
    pollster::block_on(predictor.predict(objects, options)).unwrap()
}

fn all_prompts(w: f32, h: f32) -> Vec<ObjectPrompts> {
    let mut both = click(w / 2.0, h / 2.0);
    both.clicks.push(Click { x: 1.0, y: 1.0, positive: false, radius: Some(3.0) });
    let boxes = vec![BoxPrompt { x0: w / 5.0, y0: h / 5.0, x1: w / 1.3, y1: h / 1.2 }];
    let scribble =
        Scribble { points: vec![[w / 3.0, h / 2.0], [w / 2.0, h / 2.0]], width: None, positive: true };
    let mask = Mask::from_fn(w as usize, h as usize, |x, _| x < w as usize / 2);
    vec![
        both,
        ObjectPrompts { boxes, ..Default::default() },
        ObjectPrompts { scribbles: vec![scribble], ..Default::default() },
        ObjectPrompts { mask: Some(mask), ..Default::default() },
    ]
}

#[test]
fn every_kind_of_prompt_gives_a_mask_of_the_images_size() {
    let mut predictor = with_photo(150, 90);
    let made = predict(&mut predictor, &all_prompts(150.0, 90.0), &PredictOptions::default());
    assert_eq!(made.len(), 4);
    for prediction in &made {
        assert_eq!((prediction.mask.width(), prediction.mask.height()), (150, 90));
        assert!((0.0..=1.0).contains(&prediction.score));
        assert_eq!(prediction.logits.len(), 64 * 64);
    }
    assert!(made[0].mask.get(75, 45), "what was clicked belongs to the object");
    assert!(!made[0].mask.get(1, 1), "what was clicked away does not");
}

#[test]
fn objects_do_not_change_one_another_but_by_attention() {
    // The batch decoder gives each its own pass, so together is the same as alone, exactly.
    let config = ModelConfig { region_decoder: RegionDecoder::Batch, ..config() };
    let mut predictor = predictor_of(&config, PredictorOptions::default());
    let data = photo(80, 80);
    pollster::block_on(predictor.set_image(RgbView::new(80, 80, &data).unwrap())).unwrap();
    let objects = all_prompts(80.0, 80.0);
    let together = predict(&mut predictor, &objects, &PredictOptions::default());
    for (object, with_others) in objects.iter().zip(&together) {
        let alone = predict(&mut predictor, std::slice::from_ref(object), &PredictOptions::default());
        let worst =
            alone[0].logits.iter().zip(&with_others.logits).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst < 1e-4, "{worst}");
    }
}

#[test]
fn strips_are_the_same_as_the_whole() {
    let (w, h) = (120, 70);
    let mut whole = with_photo(w, h);
    let mut strips = predictor_of(&config(), PredictorOptions::default());
    strips.begin_image(w, h).unwrap();
    for rows in photo(w, h).chunks(3 * w * 9) {
        strips.push_rows(rows, 3).unwrap();
    }
    pollster::block_on(strips.finish_image()).unwrap();
    let objects = all_prompts(w as f32, h as f32);
    let options = PredictOptions::default();
    assert_eq!(predict(&mut whole, &objects, &options), predict(&mut strips, &objects, &options));
}

#[test]
fn the_same_request_gives_the_same_result() {
    let mut predictor = with_photo(97, 61);
    let objects = all_prompts(97.0, 61.0);
    let first = predict(&mut predictor, &objects, &PredictOptions::default());
    // More different numbers of patches than programs are kept for.
    for n in 1..12 {
        let points = vec![[2.0, 30.0], [2.0 + 8.0 * n as f32, 30.0]];
        let scribbles = vec![Scribble { points, width: None, positive: true }];
        predict(
            &mut predictor,
            &[ObjectPrompts { scribbles, ..Default::default() }],
            &PredictOptions::default(),
        );
    }
    assert_eq!(predict(&mut predictor, &objects, &PredictOptions::default()), first);
}

#[test]
fn a_large_image_comes_back_at_its_own_size_or_the_one_asked_for() {
    let mut predictor = with_photo(2400, 1600);
    assert!(predictor.working_image().unwrap().width() < 2400);
    let objects = [click(1200.0, 800.0)];
    let full = predict(&mut predictor, &objects, &PredictOptions::default());
    assert_eq!((full[0].mask.width(), full[0].mask.height()), (2400, 1600));
    assert!(full[0].mask.get(1200, 800));
    let small = PredictOptions { max_side: Some(300), ..PredictOptions::default() };
    let small = predict(&mut predictor, &objects, &small);
    assert_eq!((small[0].mask.width(), small[0].mask.height()), (300, 200));
    assert!(small[0].mask.overlap(&full[0].mask.resized(300, 200)) > 0.9);
}

#[test]
fn one_pixel_and_one_line_are_images() {
    for (w, h) in [(1, 1), (2000, 3), (1, 50)] {
        let mut predictor = with_photo(w, h);
        let made = predict(&mut predictor, &[click(0.5, 0.5)], &PredictOptions::default());
        assert_eq!((made[0].mask.width(), made[0].mask.height()), (w, h));
        let crop = PredictOptions { crop: CropMode::On, ..PredictOptions::default() };
        predict(&mut predictor, &[click(0.5, 0.5)], &crop);
    }
}

#[test]
fn other_sides_and_fits_work_too() {
    for options in [
        PredictorOptions { side: Some(96), ..Default::default() },
        PredictorOptions { fit: Fit::Letterbox, ..Default::default() },
    ] {
        let side = options.side.unwrap_or(64);
        let mut predictor = predictor_of(&config(), options);
        let data = photo(150, 60);
        pollster::block_on(predictor.set_image(RgbView::new(150, 60, &data).unwrap())).unwrap();
        let made = predict(&mut predictor, &all_prompts(150.0, 60.0), &PredictOptions::default());
        assert!(made.iter().all(|p| p.logits.len() == side * side && p.mask.width() == 150));
        assert!(made[0].mask.get(75, 30));
    }
    let odd = PredictorOptions { side: Some(65), ..Default::default() };
    let weights = init_params(&config(), 1).unwrap();
    let device = Device::cpu(Precision::F32);
    let error = pollster::block_on(Predictor::new(&config(), &weights, &device, odd)).unwrap_err();
    assert!(matches!(error, Error::Config { field: "img_size", .. }), "{error}");
}

#[test]
fn a_crop_is_looked_at_again() {
    let mut predictor = with_photo(400, 400);
    let boxes = vec![BoxPrompt { x0: 10.0, y0: 20.0, x1: 60.0, y1: 70.0 }];
    let object = ObjectPrompts { boxes, ..Default::default() };
    let off = predict(&mut predictor, std::slice::from_ref(&object), &PredictOptions::default());
    for crop in [CropMode::On, CropMode::Auto] {
        let options = PredictOptions { crop, ..PredictOptions::default() };
        let near = predict(&mut predictor, std::slice::from_ref(&object), &options);
        assert!(near[0].area.width() < 200.0 && near[0].area.contains(35.0, 45.0), "{:?}", near[0].area);
        assert_ne!(near[0].logits, off[0].logits);
        assert_eq!(near[0].mask.width(), 400);
        // Again from the cache.
        assert_eq!(predict(&mut predictor, std::slice::from_ref(&object), &options), near);
    }
}

#[test]
fn edges_can_be_left_alone() {
    let mut predictor = with_photo(64, 64);
    let plain = RefineOptions { edges: Edges::Off, connected: false, holes: false };
    let options = PredictOptions { refine: plain, ..PredictOptions::default() };
    let made = predict(&mut predictor, &[click(32.0, 32.0)], &options);
    // At the model's own size the mask is the sign of the logits, but for the click itself.
    let wrong =
        (0..64 * 64).filter(|&i| made[0].mask.get(i % 64, i / 64) != (made[0].logits[i] > 0.0)).count();
    assert!(wrong <= 4, "{wrong}");
}

#[test]
fn errors_are_typed_and_leave_the_predictor_usable() {
    let mut empty = predictor_of(&config(), PredictorOptions::default());
    let options = PredictOptions::default();
    let ask = |p: &mut Predictor, o: &[ObjectPrompts], options: &PredictOptions| {
        pollster::block_on(p.predict(o, options)).unwrap_err()
    };
    assert!(matches!(ask(&mut empty, &[click(1.0, 1.0)], &options), Error::Image(_)));
    assert!(matches!(empty.push_rows(&[0; 3], 3).unwrap_err(), Error::Image(_)));
    assert!(matches!(pollster::block_on(empty.finish_image()).unwrap_err(), Error::Image(_)));
    let mut predictor = with_photo(40, 30);
    assert!(matches!(ask(&mut predictor, &[click(41.0, 3.0)], &options), Error::Prompt { .. }));
    assert!(matches!(ask(&mut predictor, &[], &options), Error::Prompt { .. }));
    let bad = PredictOptions { granularity: f32::NAN, ..PredictOptions::default() };
    assert!(matches!(ask(&mut predictor, &[click(1.0, 3.0)], &bad), Error::Prompt { .. }));
    let bad = PredictOptions { max_side: Some(0), ..PredictOptions::default() };
    assert!(matches!(ask(&mut predictor, &[click(1.0, 3.0)], &bad), Error::Prompt { .. }));
    assert_eq!(predict(&mut predictor, &[click(1.0, 3.0)], &options).len(), 1);
}

#[test]
fn models_that_complete_no_regions_say_so() {
    let channel = ModelConfig { region_decoder: RegionDecoder::Channel, ..config() };
    let pixels = ModelConfig { num_region: 0, ..config() };
    for config in [channel, pixels] {
        let mut predictor = predictor_of(&config, PredictorOptions::default());
        let data = photo(40, 40);
        pollster::block_on(predictor.set_image(RgbView::new(40, 40, &data).unwrap())).unwrap();
        let error = pollster::block_on(predictor.predict(&[click(3.0, 3.0)], &PredictOptions::default()));
        assert!(matches!(error.unwrap_err(), Error::Unsupported(_)));
    }
}

#[test]
fn a_missing_weight_is_named() {
    let mut weights = init_params(&config(), 1).unwrap();
    weights.remove("region_cross_embed.weight");
    let device = Device::cpu(Precision::F32);
    let error = pollster::block_on(Predictor::new(&config(), &weights, &device, PredictorOptions::default()));
    assert!(error.unwrap_err().to_string().contains("region_cross_embed.weight"));
}

#[test]
fn attention_is_a_row_of_the_models_own() {
    let (w, h) = (150, 90);
    let mut predictor = with_photo(w, h);
    let map = pollster::block_on(predictor.attention(1, Some(1), 100.0, 20.0)).unwrap();
    assert_eq!((map.grid, map.from, map.layers, map.heads), (8, (5, 1), 2, 2));
    let mean = pollster::block_on(predictor.attention(1, None, 100.0, 20.0)).unwrap();
    let first = pollster::block_on(predictor.attention(1, Some(0), 100.0, 20.0)).unwrap();
    for i in 0..64 {
        assert!((mean.values[i] - 0.5 * (first.values[i] + map.values[i])).abs() < 1e-6);
    }
    let sum: f32 = map.values.iter().sum();
    assert!(sum > 0.0 && sum < 1.0, "the class token has a share: {sum}");

    // The same by the graph and the softmax of the whole matrix.
    let graph = rmae_core::model::attention_graph(&config(), 1).unwrap();
    let data = photo(w, h);
    let window = rmae_core::resample::Window { rgb: &data, image_width: w, x: 0, y: 0, width: w, height: h };
    let mut image = vec![0.0; 3 * 64 * 64];
    rmae_core::resample::each_pixel(&window, (64, 64), |x, y, rgb| {
        for (c, v) in rmae_core::resample::normalised(rgb).into_iter().enumerate() {
            image[(c * 64 + y) * 64 + x] = v;
        }
    });
    let inputs = Tensors::from([("image".into(), HostTensor::f32(&[1, 3, 64, 64], image).unwrap())]);
    let qkv = run(&graph, &init_params(&config(), 1).unwrap(), &inputs, "qkv");
    let whole = rmae_core::model::attention_probabilities(&config(), &qkv).unwrap().to_f32();
    let row = &whole[(65 + 8 + 5 + 1) * 65..][..65];
    for i in 0..64 {
        assert!((row[i + 1] - map.values[i]).abs() < 1e-4);
    }
}

#[test]
fn attention_names_what_there_is_not() {
    let mut predictor = with_photo(40, 30);
    let mut ask = |layer, head, x, y| pollster::block_on(predictor.attention(layer, head, x, y));
    for (layer, head, x, y, part) in [
        (2, None, 1.0, 1.0, "layer"),
        (0, Some(2), 1.0, 1.0, "head"),
        (0, None, 41.0, 1.0, "40x30"),
        (0, None, f32::NAN, 1.0, "40x30"),
    ] {
        let error = ask(layer, head, x, y).unwrap_err();
        assert!(matches!(error, Error::Prompt { .. }) && error.to_string().contains(part), "{error}");
    }
    assert!(ask(0, None, 40.0, 30.0).is_ok());
    let mut empty = predictor_of(&config(), PredictorOptions::default());
    assert!(matches!(pollster::block_on(empty.attention(0, None, 1.0, 1.0)).unwrap_err(), Error::Image(_)));
}

#[test]
fn a_masked_image_is_reconstructed() {
    let mut predictor = with_photo(150, 90);
    for (ratio, visible) in [(0.75, 16), (0.0, 63), (1.0, 1), (f64::INFINITY, 1)] {
        let made = pollster::block_on(predictor.reconstruct(ratio, 4)).unwrap();
        assert_eq!(made.visible.iter().filter(|v| **v).count(), visible, "{ratio}");
        assert_eq!(made.masked().len(), 3 * 64 * 64);
        assert_eq!(made.filled().map(|p| p.len()), Some(3 * 64 * 64));
        assert!(!made.regions.is_empty() && made.regions.len() <= 8);
        let first = &made.regions[0];
        assert_ne!(made.region_shown(first), made.region_truth(first));
        assert_ne!(made.region_completed(first), made.region_truth(first));
    }
    let again = |p: &mut Predictor, seed| pollster::block_on(p.reconstruct(0.5, seed)).unwrap();
    assert_eq!(again(&mut predictor, 7).filled(), again(&mut predictor, 7).filled());
    assert_ne!(again(&mut predictor, 7).visible, again(&mut predictor, 8).visible);
    assert!(matches!(
        pollster::block_on(predictor.reconstruct(f64::NAN, 0)).unwrap_err(),
        Error::Prompt { .. }
    ));
}

#[test]
fn an_encoder_alone_can_be_looked_into() {
    let mut weights = init_params(&config(), 1).unwrap();
    weights
        .retain(|name, _| !name.starts_with("region") && !name.contains("decoder") && name != "mask_token");
    let device = Device::cpu(Precision::F32);
    let options = PredictorOptions::default();
    let mut predictor = pollster::block_on(Predictor::new(&config(), &weights, &device, options)).unwrap();
    let data = photo(30, 30);
    pollster::block_on(predictor.set_image(RgbView::new(30, 30, &data).unwrap())).unwrap();
    assert!(pollster::block_on(predictor.attention(0, None, 3.0, 3.0)).is_ok());
    let error = pollster::block_on(predictor.reconstruct(0.5, 0)).unwrap_err();
    assert!(matches!(error, Error::Unsupported(_)), "{error}");
    let error = pollster::block_on(predictor.predict(&[click(3.0, 3.0)], &PredictOptions::default()));
    assert!(matches!(error.unwrap_err(), Error::Unsupported(_)));
}

/// Waves of colour, without any clear border.
fn waves(width: usize, height: usize) -> Vec<u8> {
    let level = |x: f32, y: f32, by: f32| {
        let wave = (x / (5.0 + by)).sin() + (y / (9.0 - by)).cos() + ((x + y) / (11.0 + 2.0 * by)).sin();
        (120.0 + 35.0 * wave) as u8
    };
    let pixel = |at: usize| [0.0, 1.0, 2.5].map(|by| level((at % width) as f32, (at / width) as f32, by));
    (0..width * height).flat_map(pixel).collect()
}

/// Each prompt corrects what came of those before it: in turn or all at once, the same comes out.
#[test]
fn prompts_in_turn_are_the_same_as_prompts_together() {
    let (width, height) = (160, 120);
    let with_waves = || {
        let mut predictor = predictor_of(&config(), PredictorOptions::default());
        let data = waves(width, height);
        pollster::block_on(predictor.set_image(RgbView::new(width, height, &data).unwrap())).unwrap();
        predictor
    };
    let options = PredictOptions::default();
    let mut all = click(80.0, 60.0);
    let more = [(20.0, 30.0, false), (110.0, 80.0, true), (140.0, 20.0, true), (60.0, 100.0, false)];
    all.clicks.extend(more.map(|(x, y, positive)| Click { x, y, positive, radius: None }));
    let mut in_turn = with_waves();
    let mut last = None;
    for count in 1..=all.clicks.len() {
        let some = ObjectPrompts { clicks: all.clicks[..count].to_vec(), ..all.clone() };
        last = Some(predict(&mut in_turn, &[some], &options));
    }
    let mut at_once = with_waves();
    let together = predict(&mut at_once, std::slice::from_ref(&all), &options);
    assert_eq!(last.unwrap(), together);
    // Other requests in between change nothing.
    predict(&mut at_once, &[click(5.0, 5.0)], &options);
    assert_eq!(predict(&mut at_once, std::slice::from_ref(&all), &options), together);
    // The order counts, so that the above says something.
    all.clicks.reverse();
    assert_ne!(predict(&mut at_once, &[all], &options)[0].mask, together[0].mask);
}

#[test]
fn candidates_go_from_a_part_to_the_whole() {
    let mut predictor = predictor_of(&config(), PredictorOptions::default());
    let data = waves(160, 120);
    pollster::block_on(predictor.set_image(RgbView::new(160, 120, &data).unwrap())).unwrap();
    let (object, options) = (click(80.0, 60.0), PredictOptions::default());
    let made = pollster::block_on(predictor.candidates(&object, &options)).unwrap();
    assert!(made.len() > 1, "one mask is no choice");
    for pair in made.windows(2) {
        let [less, more] = [&pair[0].prediction.mask, &pair[1].prediction.mask];
        assert!(pair[0].granularity < pair[1].granularity && less.area() < more.area());
        assert!(less.overlap(more) <= 0.9);
    }
    for Candidate { granularity, prediction } in made {
        assert!((0.0..=1.0).contains(&prediction.score), "{}", prediction.score);
        let again = predict(
            &mut predictor,
            std::slice::from_ref(&object),
            &PredictOptions { granularity, ..options.clone() },
        );
        assert_eq!(again, [prediction]);
    }
    let nowhere = pollster::block_on(predictor.candidates(&click(900.0, 1.0), &options));
    assert!(matches!(nowhere, Err(Error::Prompt { .. })));
    assert_eq!(predict(&mut predictor, &[object], &options).len(), 1);
}
