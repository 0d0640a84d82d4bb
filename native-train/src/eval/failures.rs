//! The objects on which the model does worst, as a picture: numbers tell how often it goes wrong, pictures why.

use image::{Rgb, RgbImage, imageops};
use rmae_core::prompt::{Mask, ObjectPrompts};

use super::methods::{Method, Rig};
use super::play::{Asked, mean};
use super::report::Played;
use super::truth::Truth;
use crate::error::Result;
use crate::picture::{Canvas, glyph_size};

/// Clicks of the last picture of a row.
const CLICKS: usize = 3;
/// Most columns and rows of one picture, pixels.
const CELL: (u32, u32) = (240, 180);
const GAP: u32 = 6;
const LETTERS: u32 = 2;
const PAPER: [u8; 3] = [255, 255, 255];
const INK: [u8; 3] = [40, 40, 40];
const FOUND: [u8; 3] = [255, 120, 30];
const TRUE_BORDER: [u8; 3] = [255, 255, 255];
const INSIDE: [u8; 3] = [40, 190, 70];
const OUTSIDE: [u8; 3] = [220, 40, 40];

/// The worst objects so far.
#[derive(Debug)]
pub struct Failures {
    most: usize,
    rows: Vec<Row>,
}

/// One object: how well it was found, and pictures with what is written over them.
#[derive(Debug)]
struct Row {
    score: f64,
    cells: Vec<(String, RgbImage)>,
}

impl Failures {
    /// Keeps at most `most` objects.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self { most, rows: vec![] }
    }

    /// Keeps the object whose photo `rig` has, if it was found worse than those that are kept: by the mean IoU
    /// from its box, after one click and after some.
    ///
    /// # Errors
    /// Those of [`Rig::predict`].
    pub(super) fn consider(
        &mut self, rig: &mut Rig, truth: &Truth, asked: &Asked, played: &Played,
    ) -> Result<()> {
        let clicks = [played.clicks.first(), played.clicks.get(CLICKS - 1).or(played.clicks.last())];
        let Some(score) = mean(played.boxed.iter().chain(clicks.into_iter().flatten()).copied()) else {
            return Ok(());
        };
        if let Some(place) = self.place(score) {
            self.keep(place, Row { score, cells: cells(rig, truth, asked)? });
        }
        Ok(())
    }

    /// Where an object of this score belongs, the worst first; none where all that are kept are worse.
    fn place(&self, score: f64) -> Option<usize> {
        let place = self.rows.partition_point(|row| row.score <= score);
        (place < self.most).then_some(place)
    }

    fn keep(&mut self, place: usize, row: Row) {
        self.rows.insert(place, row);
        self.rows.truncate(self.most);
    }

    /// One row an object, the worst first; none where no object was played.
    #[must_use]
    pub fn picture(&self) -> Option<RgbImage> {
        let columns = self.rows.iter().map(|row| row.cells.len()).max()? as u32;
        let heading = glyph_size("", LETTERS).1 + GAP;
        let height = |row: &Row| {
            heading + row.cells.iter().map(|(_, picture)| picture.height()).max().unwrap_or(0) + 2 * GAP
        };
        let total: u32 = self.rows.iter().map(height).sum();
        let mut canvas = Canvas::new(columns * (CELL.0 + GAP) + GAP, total + GAP, PAPER);
        let mut top = GAP;
        for row in &self.rows {
            for (column, (title, picture)) in row.cells.iter().enumerate() {
                let left = GAP + column as u32 * (CELL.0 + GAP);
                canvas.text(title, (left.into(), top.into()), LETTERS, INK);
                canvas.paste(picture, left, top + heading);
            }
            top += height(row);
        }
        Some(canvas.into_image())
    }
}

/// What is meant, and what comes of the box, of one click and of some.
fn cells(rig: &mut Rig, truth: &Truth, asked: &Asked) -> Result<Vec<(String, RgbImage)>> {
    let nothing = ObjectPrompts::default();
    let small = thumbnail(rig.image()?);
    let meant = truth.mask();
    let mut cells = vec![("meant".into(), painted(&small, &meant, &meant, &nothing))];
    let boxed = ObjectPrompts { boxes: vec![asked.boxed.clone()], ..nothing.clone() };
    let mut prompts = nothing;
    let mut found = Mask::empty(meant.width(), meant.height());
    let mut add = |title: &str, prompts: &ObjectPrompts, found: &Mask| {
        let title = format!("{title}: {:.2}", truth.iou(found));
        cells.push((title, painted(&small, &meant, found, prompts)));
    };
    if let Some(found) = rig.predict(Method::Model, &boxed)? {
        add("box", &boxed, &found);
    }
    for count in 1..=CLICKS {
        let Some(click) = truth.next_click(&found) else { break };
        prompts.clicks.push(click);
        let Some(answer) = rig.predict(Method::Model, &prompts)? else { break };
        found = answer;
        match count {
            1 => add("1 click", &prompts, &found),
            CLICKS => add(&format!("{CLICKS} clicks"), &prompts, &found),
            _ => {}
        }
    }
    Ok(cells)
}

/// The photo, small enough for a cell.
fn thumbnail(photo: &RgbImage) -> RgbImage {
    let (width, height) = photo.dimensions();
    let scale = (f64::from(CELL.0) / f64::from(width)).min(f64::from(CELL.1) / f64::from(height));
    let scaled = |side: u32| ((f64::from(side) * scale).round() as u32).max(1);
    imageops::thumbnail(photo, scaled(width), scaled(height))
}

/// The photo with what was found tinted, the border of what is meant drawn, and the prompts.
fn painted(photo: &RgbImage, meant: &Mask, found: &Mask, prompts: &ObjectPrompts) -> RgbImage {
    let (width, height) = photo.dimensions();
    let at = |mask: &Mask, x: u32, y: u32| {
        let (x, y) =
            (x as usize * mask.width() / width as usize, y as usize * mask.height() / height as usize);
        mask.data()[y * mask.width() + x] != 0
    };
    let picture = RgbImage::from_fn(width, height, |x, y| {
        let here = at(meant, x, y);
        let border =
            (x + 1 < width && at(meant, x + 1, y) != here) || (y + 1 < height && at(meant, x, y + 1) != here);
        let below = photo.get_pixel(x, y).0;
        match (border, at(found, x, y)) {
            (true, _) => Rgb(TRUE_BORDER),
            (_, true) => Rgb([0, 1, 2].map(|c| FOUND[c] / 2 + below[c] / 2)),
            // What is not found steps back, so that the tint stands out on any photo.
            _ => Rgb(below.map(|c| c / 3 * 2)),
        }
    });
    let scale = f64::from(width) / meant.width() as f64;
    with_prompts(picture, prompts, scale)
}

fn with_prompts(picture: RgbImage, prompts: &ObjectPrompts, scale: f64) -> RgbImage {
    let mut canvas = Canvas::from_image(picture);
    let scaled = |v: f32| (f64::from(v) * scale).round() as i64;
    for b in &prompts.boxes {
        let (x, y) = (scaled(b.x0), scaled(b.y0));
        canvas.frame((x, y, scaled(b.x1) - x, scaled(b.y1) - y), 2, INSIDE);
    }
    for click in &prompts.clicks {
        let (x, y) = (scaled(click.x), scaled(click.y));
        canvas.frame((x - 4, y - 4, 9, 9), 9, TRUE_BORDER);
        canvas.frame((x - 3, y - 3, 7, 7), 7, if click.positive { INSIDE } else { OUTSIDE });
    }
    canvas.into_image()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(score: f64) -> Row {
        Row { score, cells: vec![(format!("{score}"), RgbImage::new(20, 10))] }
    }

    #[test]
    fn the_worst_are_kept_the_worst_first() {
        let mut failures = Failures::new(3);
        for score in [0.7, 0.2, 0.9, 0.4, 0.95, 0.1] {
            if let Some(place) = failures.place(score) {
                failures.keep(place, row(score));
            }
        }
        assert_eq!(failures.rows.iter().map(|row| row.score).collect::<Vec<_>>(), [0.1, 0.2, 0.4]);
        assert_eq!(Failures::new(0).place(0.0), None);
    }

    #[test]
    fn rows_lie_one_below_the_other_and_nothing_gives_no_picture() {
        assert!(Failures::new(3).picture().is_none());
        let one = Failures { most: 2, rows: vec![row(0.1)] }.picture().map(|p| p.dimensions());
        let two = Failures { most: 2, rows: vec![row(0.1), row(0.2)] }.picture().map(|p| p.dimensions());
        assert!(one.is_some() && two > one, "{one:?} {two:?}");
    }

    #[test]
    fn what_is_found_is_tinted_and_the_border_of_what_is_meant_drawn() {
        let photo = RgbImage::from_pixel(8, 4, Rgb([90, 90, 90]));
        let meant = Mask::from_fn(16, 8, |x, _| x < 8);
        let found = Mask::from_fn(16, 8, |x, _| x < 4);
        let picture = painted(&photo, &meant, &found, &ObjectPrompts::default());
        let tinted = [0, 1, 2].map(|c| FOUND[c] / 2 + 45);
        let row: Vec<[u8; 3]> = (0..8).map(|x| picture.get_pixel(x, 1).0).collect();
        assert_eq!((row[0], row[1]), (tinted, tinted));
        assert_eq!((row[2], row[3], row[4]), ([60; 3], TRUE_BORDER, [60; 3]));
    }
}
