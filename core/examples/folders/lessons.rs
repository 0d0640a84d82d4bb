//! Objects to learn from, and the prompts that a person gives to correct what was made of those
//! before.

use std::path::PathBuf;
use std::sync::Arc;

use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use rmae_core::prompt::refine::prior::{CHANNELS, Lesson, Network, Row};
use rmae_core::prompt::refine::{Closer, Earlier, Glance, RefineCache};
use rmae_core::prompt::simulate::{Judged, Simulator, next_click};
use rmae_core::prompt::{BoxPrompt, Mask, ObjectPrompts, WorkingImage};

use super::folders::{Case, Failure, cases};

/// Prompts of a game at most.
const CLICKS: usize = 10;
/// Chance that another click follows.
const FURTHER: f64 = 0.75;
/// Chance that what comes of a box is looked at once more.
const AGAIN: f64 = 0.6;
/// Chance of a closer look, with a first click and otherwise.
const CLOSELY_AT_FIRST: f64 = 0.5;
const CLOSELY: f64 = 0.9;
/// Of so many photos one is not glanced at, as a network must do without.
const BLIND: usize = 10;
/// Objects smaller than this part of the image are left out.
const LEAST_SHARE: f32 = 0.004;

/// An object of a photo.
pub struct Object {
    photo: Arc<Photo>,
    truth: Vec<Judged>,
    mask: Mask,
    closer: Option<Closer>,
}

struct Photo {
    cache: RefineCache,
}

/// Up to `most` objects of the folders, `each` of a photo at most, in an order by chance.
pub fn read(
    folders: &[PathBuf], each: usize, most: usize, glance: Option<&Glance>, rng: &mut ChaCha8Rng,
) -> Result<Vec<Object>, Failure> {
    let mut photos: Vec<Vec<Case>> = Vec::new();
    for folder in folders {
        for case in cases(folder, "all")? {
            match photos.last_mut() {
                Some(photo) if photo[0].same_photo(&case) => photo.push(case),
                _ => photos.push(vec![case]),
            }
        }
    }
    for photo in &mut photos {
        photo.shuffle(rng);
        photo.truncate(each);
    }
    photos.shuffle(rng);
    let mut left = most;
    photos.retain_mut(|photo| {
        photo.truncate(left);
        left -= photo.len();
        !photo.is_empty()
    });
    let objects: Vec<Vec<Object>> = photos
        .par_iter()
        .enumerate()
        .map(|(at, photo)| {
            let mut rng = ChaCha8Rng::seed_from_u64(at as u64);
            objects(photo, glance.filter(|_| at % BLIND != 0), &mut rng)
        })
        .collect::<Result<_, _>>()?;
    Ok(objects.into_iter().flatten().collect())
}

fn objects(cases: &[Case], glance: Option<&Glance>, rng: &mut ChaCha8Rng) -> Result<Vec<Object>, Failure> {
    let (mut photo, mut found) = (None, Vec::new());
    for case in cases {
        let (image, truth) = case.read()?;
        let (width, height) = (image.width(), image.height());
        let mask = Mask::from_fn(width, height, |x, y| truth.inside(y * width + x));
        if (mask.area() as f32) < LEAST_SHARE * (width * height) as f32 {
            continue;
        }
        let photo = photo.get_or_insert_with(|| Arc::new(Photo { cache: RefineCache::new(&image, glance) }));
        let closer = closer(&photo.cache, &image, &mask, rng);
        found.push(Object { photo: Arc::clone(photo), truth: truth.judgements, mask, closer });
    }
    Ok(found)
}

/// A closer look at an object; what the first prompts find of it is more or less than it is.
fn closer(cache: &RefineCache, image: &WorkingImage, mask: &Mask, rng: &mut ChaCha8Rng) -> Option<Closer> {
    let b = mask.bounding_box()?;
    let longer = b.width.max(b.height) as f32;
    let often = rng.random_bool(0.7);
    let mut by = || longer * if often { rng.random_range(-0.05..0.1) } else { rng.random_range(-0.2..0.6) };
    let mut side = |low: u32, size: u32| {
        let low = low as f32 - by();
        [low, (low + 1.0).max((low + size as f32) + by())]
    };
    let (columns, rows) = (side(b.x, b.width), side(b.y, b.height));
    Closer::alone(cache, image, columns, rows)
}

/// One object after the other, one prompt after the other.
pub struct Game<'a> {
    objects: &'a [Object],
    rng: ChaCha8Rng,
    order: Vec<usize>,
    at: usize,
    prompts: ObjectPrompts,
    result: Option<(Earlier, Vec<u8>)>,
    earlier: Option<Earlier>,
}

impl<'a> Game<'a> {
    pub fn new(objects: &'a [Object], seed: u64) -> Self {
        let rng = ChaCha8Rng::seed_from_u64(1000 + seed);
        let (order, prompts) = (Vec::new(), ObjectPrompts::default());
        Self { objects, rng, order, at: 0, prompts, result: None, earlier: None }
    }

    /// Gives the next prompt; the loss and its gradient.
    pub fn play(&mut self, network: &Network) -> (f32, Vec<Row>) {
        self.next();
        let object = &self.objects[self.at];
        let first = self.earlier.is_none() && self.prompts.boxes.is_empty();
        let closely = self.rng.random_bool(if first { CLOSELY_AT_FIRST } else { CLOSELY });
        let closer = object.closer.as_ref().filter(|_| closely);
        let earlier = self.earlier.as_ref();
        let lesson = Lesson::new(&object.photo.cache, &self.prompts, &object.truth, earlier, closer);
        let mut gradient = vec![[0.0; CHANNELS]; network.rows.len()];
        let (loss, labels, mask) = lesson.descend(network, &mut gradient);
        self.result = Some((labels, mask));
        (loss, gradient)
    }

    fn next(&mut self) {
        let goes_on = self.prompts.clicks.len() < CLICKS && self.rng.random_bool(FURTHER);
        if let Some((labels, mask)) = self.result.take().filter(|_| goes_on) {
            let boxed = self.prompts.clicks.is_empty() && !self.prompts.boxes.is_empty();
            if boxed && self.earlier.is_none() && self.rng.random_bool(AGAIN) {
                self.earlier = Some(labels);
                return;
            }
            let object = &self.objects[self.at];
            let click = next_click(&object.truth, &mask, object.mask.width(), object.mask.height());
            if let Some(click) = click {
                self.prompts.clicks.push(click);
                self.earlier = Some(labels);
                return;
            }
        }
        self.earlier = None;
        self.begin();
    }

    /// The next object, and how a person begins.
    fn begin(&mut self) {
        if self.order.is_empty() {
            self.order = (0..self.objects.len()).collect();
            self.order.shuffle(&mut self.rng);
        }
        self.at = self.order.pop().unwrap_or(0);
        let object = &self.objects[self.at];
        let (width, height) = (object.mask.width(), object.mask.height());
        let rng = &mut self.rng;
        let boxed = |jitter| Simulator {
            box_share: 1.0,
            scribble_share: 0.0,
            mask_share: 0.0,
            further_clicks: 0,
            box_jitter: jitter,
        };
        let kind = rng.random_range(0.0..1.0f32);
        let mut prompts = ObjectPrompts::default();
        if kind < 0.5 {
            prompts.clicks.extend(next_click(&object.truth, &vec![0; width * height], width, height));
        } else if kind < 0.6 {
            let clicked = Simulator { box_share: 0.0, ..boxed(0.0) };
            prompts = clicked.draw(&object.mask, rng).unwrap_or_default();
        } else if kind < 0.67 {
            let drawn = Simulator { box_share: 0.0, scribble_share: 1.0, ..boxed(0.0) };
            prompts = drawn.draw(&object.mask, rng).unwrap_or_default();
        } else if kind < 0.92 {
            prompts.boxes.extend(object.mask.bounding_box().map(|b| {
                let (x0, y0) = (b.x as f32, b.y as f32);
                BoxPrompt { x0, y0, x1: x0 + b.width as f32, y1: y0 + b.height as f32 }
            }));
        } else {
            prompts = boxed(0.1).draw(&object.mask, rng).unwrap_or_default();
        }
        self.prompts = prompts;
    }
}
