//! Folders of photos and masks, for the examples that measure and train.
//!
//! A folder has `images/*.jpg` and `masks/*.png` of the same stems: 0 is background, 128 is not
//! judged, any other value is one object each.

// Each example needs another part.
#![allow(dead_code)]

use std::collections::BTreeSet;
use std::error::Error;
use std::path::{Path, PathBuf};

use rmae_core::prompt::distance::squared_distances;
use rmae_core::prompt::simulate::{Judged, next_click};
use rmae_core::prompt::{BoxPrompt, Click, Mask, RgbView, WorkingImage};

pub type Failure = Box<dyn Error + Send + Sync>;

const NOT_JUDGED: u8 = 128;
/// Objects of fewer pixels are left out.
const LEAST_PIXELS: usize = 100;

/// One object of one photo.
pub struct Case {
    image: PathBuf,
    mask: PathBuf,
    value: u8,
}

impl Case {
    /// Whether both are objects of one photo.
    pub fn same_photo(&self, other: &Self) -> bool {
        self.image == other.image
    }

    /// The photo, and the object's true mask.
    pub fn read(&self) -> Result<(WorkingImage, Truth), Failure> {
        let rgb = image::open(&self.image)?.into_rgb8();
        let (width, height) = (rgb.width() as usize, rgb.height() as usize);
        let pixels = image::open(&self.mask)?.into_luma8().into_raw();
        if pixels.len() != width * height {
            return Err(format!("{}: mask and photo differ in size", self.mask.display()).into());
        }
        let image = WorkingImage::from_rgb(RgbView::new(width, height, rgb.as_raw())?)?;
        Ok((image, Truth::new(width, height, &pixels, self.value)))
    }
}

/// Every object of a folder, or of every other photo.
pub fn cases(folder: &Path, half: &str) -> Result<Vec<Case>, Failure> {
    let list = std::fs::read_dir(folder.join("masks")).map_err(|e| format!("{}: {e}", folder.display()))?;
    let masks = list.map(|entry| Ok(entry?.path())).collect::<Result<BTreeSet<_>, std::io::Error>>()?;
    let mut cases = Vec::new();
    for (number, mask) in masks.into_iter().enumerate() {
        if half == "tune" && number % 2 == 1 || half == "test" && number % 2 == 0 {
            continue;
        }
        let stem = mask.file_stem().ok_or("a mask without a name")?;
        let image = folder.join("images").join(stem).with_extension("jpg");
        let pixels = image::open(&mask)?.into_luma8().into_raw();
        for value in 1..=255u8 {
            let area = pixels.iter().filter(|&&pixel| pixel == value).count();
            if value != NOT_JUDGED && area >= LEAST_PIXELS {
                cases.push(Case { image: image.clone(), mask: mask.clone(), value });
            }
        }
    }
    Ok(cases)
}

/// The true mask.
pub struct Truth {
    width: usize,
    height: usize,
    pub judgements: Vec<Judged>,
}

impl Truth {
    /// The object of a value in an index mask.
    pub fn new(width: usize, height: usize, pixels: &[u8], value: u8) -> Self {
        let judge = |&pixel: &u8| match pixel {
            NOT_JUDGED => Judged::Ignored,
            _ if pixel == value => Judged::Inside,
            _ => Judged::Outside,
        };
        Self { width, height, judgements: pixels.iter().map(judge).collect() }
    }

    pub fn inside(&self, at: usize) -> bool {
        self.judgements[at] == Judged::Inside
    }

    pub fn judged(&self, at: usize) -> bool {
        self.judgements[at] != Judged::Ignored
    }

    pub fn bounding_box(&self) -> Option<BoxPrompt> {
        let mask = Mask::from_fn(self.width, self.height, |x, y| self.inside(y * self.width + x));
        let b = mask.bounding_box()?;
        let (x0, y0) = (b.x as f32, b.y as f32);
        Some(BoxPrompt { x0, y0, x1: x0 + b.width as f32, y1: y0 + b.height as f32 })
    }

    /// Intersection over union.
    pub fn overlap(&self, mask: &Mask) -> f64 {
        let (mut both, mut either) = (0usize, 0usize);
        for (at, &pixel) in mask.data().iter().enumerate().filter(|&(at, _)| self.judged(at)) {
            both += usize::from(pixel != 0 && self.inside(at));
            either += usize::from(pixel != 0 || self.inside(at));
        }
        both as f64 / either.max(1) as f64
    }

    /// The pixel farthest from all that is right, if anything is wrong.
    pub fn next_click(&self, mask: &Mask) -> Option<Click> {
        next_click(&self.judgements, mask.data(), self.width, self.height)
    }

    /// Harmonic mean of precision and recall of the border, within 0.8 % of the diagonal; none
    /// where parts are not judged, as these hide the true border.
    pub fn edge_score(&self, mask: &Mask) -> Option<f64> {
        if self.judgements.contains(&Judged::Ignored) {
            return None;
        }
        let tolerance = 0.008 * ((self.width * self.width + self.height * self.height) as f32).sqrt();
        let found = self.border(|at| mask.data()[at] != 0);
        let right = self.border(|at| self.inside(at));
        let share = |of: &[bool], near: &[bool]| {
            let distance = self.distances(near, tolerance.ceil() as usize + 1);
            let border = || of.iter().zip(&distance).filter(|(border, _)| **border);
            let hits = border().filter(|(_, distance)| distance.sqrt() <= tolerance.ceil()).count();
            hits as f64 / border().count().max(1) as f64
        };
        let (precision, recall) = (share(&found, &right), share(&right, &found));
        Some(2.0 * precision * recall / (precision + recall).max(1e-9))
    }

    /// Squared distances to pixels, beyond which a margin lies.
    fn distances(&self, near: &[bool], margin: usize) -> Vec<f32> {
        let (width, height) = (self.width + 2 * margin, self.height + 2 * margin);
        let mut away = vec![true; width * height];
        for (row, line) in near.chunks_exact(self.width).enumerate() {
            let start = (row + margin) * width + margin;
            away[start..start + self.width].iter_mut().zip(line).for_each(|(away, near)| *away = !near);
        }
        let distances = squared_distances(&away, width, height);
        let line = |row: usize| (row + margin) * width + margin;
        (0..self.height).flat_map(|row| distances[line(row)..][..self.width].to_vec()).collect()
    }

    fn border(&self, inside: impl Fn(usize) -> bool) -> Vec<bool> {
        let pixel = |at: usize| {
            let (x, y) = (at % self.width, at / self.width);
            let open = |other: usize| !inside(other);
            inside(at)
                && (x > 0 && open(at - 1)
                    || x + 1 < self.width && open(at + 1)
                    || y > 0 && open(at - self.width)
                    || y + 1 < self.height && open(at + self.width))
        };
        (0..self.judgements.len()).map(pixel).collect()
    }
}
