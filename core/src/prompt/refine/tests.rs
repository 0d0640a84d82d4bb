use proptest::prelude::*;

use super::super::{BoxPrompt, Click, RgbView, Scribble};
use super::*;

/// 0 to 255, from a hash of the place.
fn noise(x: usize, y: usize, channel: usize) -> f32 {
    let mut hash = (x * 73_856_093) ^ (y * 19_349_663) ^ (channel * 83_492_791);
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(0x5bd1_e995) & 0xffff_ffff;
    ((hash ^ (hash >> 15)) % 256) as f32
}

fn image(width: usize, height: usize, colour: impl Fn(usize, usize) -> [f32; 3]) -> WorkingImage {
    let pixel = |at: usize| colour(at % width, at / width).map(|level| level.clamp(0.0, 255.0) as u8);
    let data: Vec<u8> = (0..width * height).flat_map(pixel).collect();
    WorkingImage::from_rgb(RgbView::new(width, height, &data).unwrap()).unwrap()
}

/// A disc on noisy ground that grows brighter to the right.
fn disc_image(width: usize, height: usize, disc: &Mask) -> WorkingImage {
    image(width, height, |x, y| {
        let ground = [60.0 + 60.0 * x as f32 / width as f32, 110.0, 70.0];
        let base = if disc.get(x, y) { [180.0, 90.0, 60.0] } else { ground };
        std::array::from_fn(|channel| base[channel] + 0.12 * (noise(x, y, channel) - 128.0))
    })
}

fn disc(width: usize, height: usize, x: f32, y: f32, radius: f32) -> Mask {
    Mask::from_fn(width, height, |column, row| (column as f32 - x).hypot(row as f32 - y) < radius)
}

fn click(x: f32, y: f32, positive: bool) -> Click {
    Click { x, y, positive, radius: None }
}

fn clicks(clicks: &[(f32, f32, bool)]) -> ObjectPrompts {
    let clicks = clicks.iter().map(|&(x, y, positive)| click(x, y, positive)).collect();
    ObjectPrompts { clicks, ..ObjectPrompts::default() }
}

struct Scene {
    image: WorkingImage,
    cache: RefineCache,
}

impl Scene {
    fn new(image: WorkingImage) -> Self {
        let cache = RefineCache::new(&image, None);
        Self { image, cache }
    }

    fn refine(
        &self, prompts: &ObjectPrompts, logits: &[f32], granularity: f32, options: &RefineOptions,
    ) -> Mask {
        let side = logits.len().isqrt();
        let area = self.image.area();
        let input = RefineInput {
            image: &self.image,
            cache: &self.cache,
            logits,
            side,
            area,
            prompts,
            granularity,
            earlier: None,
        };
        refine(&input, options).mask
    }

    fn plain(&self, prompts: &ObjectPrompts) -> Mask {
        self.refine(prompts, &[], 0.0, &RefineOptions::default())
    }
}

#[test]
fn one_click_finds_a_disc() {
    for (width, height) in [(120, 90), (640, 480)] {
        let (w, h) = (width as f32, height as f32);
        let truth = disc(width, height, 0.4 * w, 0.5 * h, 0.2 * h);
        let scene = Scene::new(disc_image(width, height, &truth));
        let mask = scene.plain(&clicks(&[(0.4 * w, 0.5 * h, true)]));
        let overlap = mask.overlap(&truth);
        assert!(overlap > 0.96, "{width}x{height}: IoU {overlap}");
    }
}

#[test]
#[cfg(feature = "glance")]
fn a_small_thing_is_looked_at_closely_and_again_for_the_next_click() {
    let truth = disc(640, 480, 200.0, 240.0, 40.0);
    let image = disc_image(640, 480, &truth);
    let cache = RefineCache::new(&image, Glance::shipped().as_deref());
    let refined = |prompts: &ObjectPrompts, earlier: Option<&Earlier>| {
        let area = image.area();
        let (logits, side, granularity) = (&[][..], 0, 0.0);
        let input =
            RefineInput { image: &image, cache: &cache, logits, side, area, prompts, granularity, earlier };
        refine(&input, &RefineOptions::default())
    };
    let first = refined(&clicks(&[(200.0, 240.0, true)]), None);
    assert!(first.mask.overlap(&truth) > 0.96, "IoU {}", first.mask.overlap(&truth));
    let first = first.earlier.unwrap();
    let part = first.part.unwrap();
    assert!(part.x <= 160 && part.y <= 200 && part.x + part.width >= 240 && part.y + part.height >= 280);
    assert!(part.width < 320 && part.height < 240, "{part:?}");
    assert_eq!(first.whole.len(), cache.superpixels.len());
    let next = refined(&clicks(&[(200.0, 240.0, true), (600.0, 40.0, false)]), Some(&first)).earlier.unwrap();
    assert_eq!((next.part, next.whole), (Some(part), first.whole));
}

#[test]
fn a_box_finds_a_disc() {
    let truth = disc(200, 160, 90.0, 70.0, 40.0);
    let scene = Scene::new(disc_image(200, 160, &truth));
    let boxes = vec![BoxPrompt { x0: 48.0, y0: 28.0, x1: 132.0, y1: 112.0 }];
    let mask = scene.plain(&ObjectPrompts { boxes, ..ObjectPrompts::default() });
    let overlap = mask.overlap(&truth);
    assert!(overlap > 0.95, "IoU {overlap}");
}

/// Where nothing stands out, too: a box is drawn around something.
#[test]
fn a_box_finds_something() {
    let scene = Scene::new(image(160, 120, |x, y| [90.0 + 0.3 * noise(x, y, 0); 3]));
    for (x, y) in [(20.0, 30.0), (70.0, 40.0), (110.0, 85.0)] {
        for (width, height) in [(9.0, 30.0), (40.0, 6.0), (16.0, 16.0)] {
            let boxes = vec![BoxPrompt { x0: x, y0: y, x1: x + width, y1: y + height }];
            let found = scene.plain(&ObjectPrompts { boxes, ..ObjectPrompts::default() });
            assert!(found.area() > 0, "{width} x {height} at {x}, {y}");
        }
    }
}

#[test]
fn logits_decide_between_equal_things() {
    let pair = Mask::from_fn(200, 100, |x, y| {
        (x as f32 - 50.0).hypot(y as f32 - 50.0) < 30.0 || (x as f32 - 150.0).hypot(y as f32 - 50.0) < 30.0
    });
    let scene = Scene::new(disc_image(200, 100, &pair));
    let logits: Vec<f32> = (0..64).map(|at| if at % 8 < 4 { 0.7 } else { -0.7 }).collect();
    for (edges, least) in [(Edges::GraphCut, 0.9), (Edges::Guided, 0.25), (Edges::Off, 0.25)] {
        let options = RefineOptions { edges, ..RefineOptions::default() };
        let mask = scene.refine(&clicks(&[(50.0, 50.0, true)]), &logits, 0.0, &options);
        let right = (100..200).flat_map(|x| (0..100).map(move |y| (x, y)));
        let wrong = right.filter(|&(x, y)| mask.get(x, y)).count();
        assert!(wrong < 200, "{edges:?}: {wrong} pixels of the other side");
        let overlap = mask.overlap(&disc(200, 100, 50.0, 50.0, 30.0));
        assert!(overlap > least, "{edges:?}: IoU {overlap}");
    }
}

#[test]
fn logits_do_not_count_beside_a_box() {
    // Nothing stands out, so that what they say could be seen.
    let scene = Scene::new(image(160, 120, |x, y| [90.0 + 0.3 * noise(x, y, 0); 3]));
    let boxes = vec![BoxPrompt { x0: 50.0, y0: 30.0, x1: 110.0, y1: 90.0 }];
    let boxed = ObjectPrompts { boxes, ..ObjectPrompts::default() };
    let left: Vec<f32> = (0..56 * 56).map(|at| if at % 56 < 28 { 8.0 } else { -8.0 }).collect();
    let told = |prompts: &ObjectPrompts| scene.refine(prompts, &left, 0.0, &RefineOptions::default());
    assert!(told(&boxed) == scene.plain(&boxed));
    let clicked = clicks(&[(80.0, 60.0, true)]);
    assert!(told(&clicked) != scene.plain(&clicked), "beside a click they count");
}

#[test]
fn switches_do_what_they_say() {
    // Two squares of logits; the left one has a hole of one cell.
    let logits: Vec<f32> = (0..1024)
        .map(|at| {
            let (x, y) = (at % 32, at / 32);
            let square = (4..28).contains(&y) && ((3..14).contains(&x) || (18..29).contains(&x));
            if square && (x, y) != (8, 16) { 5.0 } else { -5.0 }
        })
        .collect();
    let scene = Scene::new(image(320, 320, |_, _| [90.0, 90.0, 90.0]));
    let prompts = clicks(&[(60.0, 60.0, true)]);
    let made = |connected, holes| {
        let options = RefineOptions { edges: Edges::Off, connected, holes };
        scene.refine(&prompts, &logits, 0.0, &options)
    };
    let (neither, both) = (made(false, false), made(true, true));
    assert!(neither.get(240, 160) && !neither.get(85, 165));
    assert!(!both.get(240, 160) && both.get(85, 165));
    assert!(made(false, true).get(240, 160) && !made(true, false).get(85, 165));
    // A negative click in the hole keeps it open.
    let prompts = clicks(&[(60.0, 60.0, true), (85.0, 165.0, false)]);
    let options = RefineOptions { edges: Edges::Off, ..RefineOptions::default() };
    assert!(!scene.refine(&prompts, &logits, 0.0, &options).get(85, 165));
}

#[test]
fn granularity_grows_the_mask() {
    let scene = Scene::new(image(240, 160, |x, y| {
        let rings = ((x as f32 - 120.0).hypot(y as f32 - 80.0) / 18.0).floor();
        [40.0 + 25.0 * rings, 100.0, 200.0 - 25.0 * rings]
    }));
    for edges in [Edges::GraphCut, Edges::Guided, Edges::Off] {
        let logits: Vec<f32> =
            (0..256).map(|at| 1.5 - 0.4 * ((at % 16) as f32 - 7.5).hypot((at / 16) as f32 - 7.5)).collect();
        let options = RefineOptions { edges, ..RefineOptions::default() };
        let steps = [-1.0, -0.5, 0.0, 0.5, 1.0];
        let area = |g: f32| scene.refine(&clicks(&[(120.0, 80.0, true)]), &logits, g, &options).area();
        let areas = steps.map(area);
        assert!(areas.is_sorted() && areas[0] < areas[4], "{edges:?}: {areas:?}");
    }
}

#[test]
fn odd_images_and_numbers_do_no_harm() {
    for (width, height) in [(1, 1), (1, 40), (40, 1), (2, 2), (3, 7), (20_000, 10), (10, 20_000)] {
        let scene = Scene::new(image(width, height, |x, y| std::array::from_fn(|c| noise(x, y, c))));
        let (w, h) = (width as f32, height as f32);
        let mut prompts = clicks(&[(0.5 * w, 0.5 * h, true), (f32::NAN, 0.0, true), (-1e30, 1e30, false)]);
        prompts.boxes = vec![BoxPrompt { x0: -1e9, y0: f32::MIN, x1: f32::MAX, y1: 1e9 }];
        prompts.boxes.push(BoxPrompt { x0: f32::NAN, y0: 0.0, x1: 0.0, y1: 0.0 });
        let points = vec![[0.0, 0.0], [f32::INFINITY, 3.0], [w, h]];
        prompts.scribbles = vec![Scribble { points, width: Some(1e9), positive: true }];
        for logits in
            [vec![], vec![f32::NAN; 4], vec![f32::INFINITY; 9], vec![f32::NEG_INFINITY; 1], vec![1.0; 5]]
        {
            for edges in [Edges::GraphCut, Edges::Guided, Edges::Off] {
                let options = RefineOptions { edges, ..RefineOptions::default() };
                let mask = scene.refine(&prompts, &logits, f32::NAN, &options);
                assert_eq!((mask.width(), mask.height()), (width, height));
                assert!(mask.get(width / 2, height / 2), "{width}x{height} {edges:?}");
            }
        }
    }
}

#[test]
fn nothing_said_is_nothing_found() {
    let scene = Scene::new(image(60, 40, |x, y| std::array::from_fn(|c| noise(x, y, c))));
    for edges in [Edges::GraphCut, Edges::Guided, Edges::Off] {
        let options = RefineOptions { edges, ..RefineOptions::default() };
        assert_eq!(scene.refine(&ObjectPrompts::default(), &[], 0.0, &options).area(), 0, "{edges:?}");
    }
}

#[test]
fn upscaling_keeps_shapes_and_smooths_steps() {
    let small = disc(100, 80, 50.0, 40.0, 30.0);
    assert_eq!(upscale(&small, 100, 80), small);
    let large = upscale(&small, 730, 584);
    let truth = disc(730, 584, 50.5 * 7.3 - 0.5, 40.5 * 7.3 - 0.5, 30.0 * 7.3);
    let overlap = large.overlap(&truth);
    assert!(overlap > 0.985 && overlap > small.resized(730, 584).overlap(&truth), "IoU {overlap}");
    for value in [0, 1] {
        let plain = Mask::new(3, 2, vec![value; 6]).unwrap();
        assert_eq!(upscale(&plain, 17, 1000).area(), usize::from(value) * 17_000);
    }
    assert_eq!(upscale(&large, 1, 1).area(), 1);
}

/// Anything that a person might say about an image of some size.
fn any_prompts(width: f32, height: f32) -> impl Strategy<Value = ObjectPrompts> {
    let point = move || (-5.0..width + 5.0, -5.0..height + 5.0);
    let click = (point(), any::<bool>(), proptest::option::of(0.0..9.0f32));
    let click = click.prop_map(|((x, y), positive, radius)| Click { x, y, positive, radius });
    let rect = (point(), point()).prop_map(|((x0, y0), (x1, y1))| BoxPrompt { x0, y0, x1, y1 });
    let points = proptest::collection::vec(point().prop_map(|(x, y)| [x, y]), 0..4);
    let scribble =
        (points, any::<bool>()).prop_map(|(points, positive)| Scribble { points, width: None, positive });
    let many = (0..4usize, 0..2usize, 0..2usize);
    many.prop_flat_map(move |(clicks, boxes, scribbles)| {
        (
            proptest::collection::vec(click.clone(), clicks),
            proptest::collection::vec(rect.clone(), boxes),
            proptest::collection::vec(scribble.clone(), scribbles),
        )
    })
    .prop_map(|(clicks, boxes, scribbles)| ObjectPrompts { clicks, boxes, scribbles, mask: None })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]
    #[test]
    fn constraints_hold_and_parts_were_clicked(
        (width, height, prompts) in (1..70usize, 1..70usize).prop_flat_map(|(width, height)| {
            (Just(width), Just(height), any_prompts(width as f32, height as f32))
        }),
        logits in proptest::collection::vec(-3.0..3.0f32, 16),
        granularity in -1.0..1.0f32,
        flat in any::<bool>(),
        edges in prop_oneof![Just(Edges::GraphCut), Just(Edges::Guided), Just(Edges::Off)],
    ) {
        let grain = if flat { 0.0 } else { 1.0 };
        let scene = Scene::new(image(width, height, |x, y| {
            std::array::from_fn(|c| 4.0 * (x / 9 * 5 + y / 9 * 3) as f32 + grain * noise(x, y, c) / 4.0)
        }));
        let options = RefineOptions { edges, ..RefineOptions::default() };
        let mask = scene.refine(&prompts, &logits, granularity, &options);
        prop_assert_eq!((mask.width(), mask.height()), (width, height));
        let constraints = Constraints::new(&prompts, width, height);
        for (pixel, known) in mask.data().iter().zip(&constraints.map) {
            match known {
                Known::Inside => prop_assert_eq!(*pixel, 1),
                Known::Outside => prop_assert_eq!(*pixel, 0),
                Known::Free => {}
            }
        }
        let clicked = constraints.map.contains(&Known::Inside);
        let mut parts = super::super::parts::Parts::new(mask.data(), width, 1, true);
        let holding = parts.holding(|row, start, end| constraints.any(row, start, end, Known::Inside));
        for at in (0..width * height).filter(|&at| clicked && mask.data()[at] == 1) {
            prop_assert!(holding[parts.group_at(at % width, at / width)]);
        }
        // What is drawn is where the prompts say.
        for click in &prompts.clicks {
            let last = prompts.clicks.last() == Some(click);
            let within = click.x >= 0.0 && click.y >= 0.0 && click.x < width as f32 && click.y < height as f32;
            if last && within {
                prop_assert_eq!(mask.get(click.x as usize, click.y as usize), click.positive);
            }
        }
    }
}
