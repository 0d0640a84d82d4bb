//! Curves over steps.

use std::borrow::Cow;

use image::RgbImage;

use super::{Canvas, glyph_size};

const SIZE: (u32, u32) = (960, 540);
/// Left, top, right, bottom of the axes.
const FRAME: (f64, f64, f64, f64) = (70.0, 40.0, 940.0, 500.0);
const INK: [u8; 3] = [60, 60, 60];
const GRID: [u8; 3] = [225, 225, 225];
const TEXT: u32 = 2;
/// Share of the points that one smoothed value looks back on.
const SMOOTHING: f64 = 0.02;

/// One line of a plot.
#[derive(Clone, Debug)]
pub struct Series {
    /// Its name, for the legend.
    pub name: Cow<'static, str>,
    /// Its colour.
    pub colour: [u8; 3],
    /// Steps and values, in the order of steps.
    pub points: Vec<(f64, f64)>,
}

/// Every series smoothed, with its single values pale behind it.
#[must_use]
pub fn curve(series: &[Series]) -> RgbImage {
    drawn(series, "step", |canvas, axes| {
        for one in series {
            polyline(canvas, axes, &one.points, 1, pale(one.colour));
        }
        for one in series {
            polyline(canvas, axes, &smoothed(&one.points), 2, one.colour);
        }
    })
}

/// Every series as it is, over what `across` names.
#[must_use]
pub fn lines(series: &[Series], across: &str) -> RgbImage {
    drawn(series, across, |canvas, axes| {
        for one in series {
            polyline(canvas, axes, &one.points, 2, one.colour);
        }
    })
}

fn drawn(series: &[Series], across: &str, draw: impl FnOnce(&mut Canvas, &Axes)) -> RgbImage {
    let mut canvas = Canvas::new(SIZE.0, SIZE.1, [255, 255, 255]);
    let Some(axes) = Axes::around(series) else { return canvas.into_image() };
    axes.draw(&mut canvas, across);
    draw(&mut canvas, &axes);
    legend(&mut canvas, series);
    canvas.into_image()
}

struct Axes {
    x: (f64, f64),
    y: (f64, f64),
}

impl Axes {
    /// Room for all points, the highest hundredth (the first steps) left out.
    fn around(series: &[Series]) -> Option<Self> {
        let finite = |v: &f64| v.is_finite();
        let points = || series.iter().flat_map(|s| &s.points);
        let mut values: Vec<f64> = points().map(|p| p.1).filter(finite).collect();
        values.sort_by(f64::total_cmp);
        let high = *values.get(values.len().checked_sub(1)? * 99 / 100)?;
        let last = points().map(|p| p.0).fold(1.0, f64::max);
        let first = points().map(|p| p.0).fold(last, f64::min);
        let low = values.first()?.min(high);
        let margin = 0.05 * (high - low).max(1e-3 * high.abs()).max(1e-9);
        Some(Self { x: (first.min(last - 1.0), last), y: (low - margin, high + margin) })
    }

    fn place(&self, (x, y): (f64, f64)) -> (f64, f64) {
        let (left, top, right, bottom) = FRAME;
        let u = (x - self.x.0) / (self.x.1 - self.x.0);
        let v = ((y - self.y.0) / (self.y.1 - self.y.0)).clamp(0.0, 1.0);
        (left + u * (right - left), bottom - v * (bottom - top))
    }

    fn draw(&self, canvas: &mut Canvas, across: &str) {
        let (left, top, right, bottom) = FRAME;
        for value in ticks(self.y) {
            let (_, y) = self.place((self.x.0, value));
            canvas.line((left, y), (right, y), 1, GRID);
            let text = number(value);
            let x = left - f64::from(glyph_size(&text, TEXT).0) - 4.0;
            canvas.text(&text, (x as i64, y as i64 - 5), TEXT, INK);
        }
        for value in ticks(self.x) {
            let (x, _) = self.place((value, self.y.0));
            canvas.line((x, top), (x, bottom), 1, GRID);
            let text = number(value);
            let half = f64::from(glyph_size(&text, TEXT).0) / 2.0;
            canvas.text(&text, ((x - half) as i64, bottom as i64 + 10), TEXT, INK);
        }
        canvas.line((left, bottom), (right, bottom), 1, INK);
        canvas.line((left, top), (left, bottom), 1, INK);
        let left_of = |text: &str| right as i64 - i64::from(glyph_size(text, TEXT).0);
        canvas.text(across, (left_of(across), bottom as i64 + 24), TEXT, INK);
    }
}

/// Round numbers (1, 2 or 5 times a power of ten apart) within a range, about six of them.
fn ticks((low, high): (f64, f64)) -> Vec<f64> {
    let raw = (high - low) / 6.0;
    let power = 10f64.powf(raw.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].map(|m| m * power).into_iter().find(|s| *s >= raw).unwrap_or(raw);
    let first = (low / step).ceil() as i64;
    (first..first + 12).map(|i| i as f64 * step).take_while(|v| *v <= high).collect()
}

fn number(value: f64) -> String {
    if value.abs() >= 10.0 || value == 0.0 {
        return format!("{value:.0}");
    }
    let text = format!("{value:.4}");
    text.trim_end_matches('0').trim_end_matches('.').to_string()
}

/// Mean that forgets, started without bias.
fn smoothed(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let keep = 1.0 - 1.0 / (SMOOTHING * points.len() as f64).max(1.0);
    let (mut sum, mut weight) = (0.0, 0.0);
    let finite = points.iter().filter(|p| p.1.is_finite());
    finite
        .map(|&(x, y)| {
            sum = keep * sum + y;
            weight = keep * weight + 1.0;
            (x, sum / weight)
        })
        .collect()
}

fn polyline(canvas: &mut Canvas, axes: &Axes, points: &[(f64, f64)], thickness: i64, colour: [u8; 3]) {
    for pair in points.windows(2) {
        if pair.iter().all(|p| p.1.is_finite()) {
            canvas.line(axes.place(pair[0]), axes.place(pair[1]), thickness, colour);
        }
    }
}

fn pale(colour: [u8; 3]) -> [u8; 3] {
    colour.map(|c| 255 - (255 - c) / 4)
}

fn legend(canvas: &mut Canvas, series: &[Series]) {
    let mut x = FRAME.0;
    for one in series {
        canvas.line((x, 20.0), (x + 20.0, 20.0), 3, one.colour);
        canvas.text(&one.name, (x as i64 + 26, 15), TEXT, INK);
        x += 50.0 + f64::from(glyph_size(&one.name, TEXT).0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_within() {
        assert_eq!(ticks((0.0, 600.0)), [0.0, 100.0, 200.0, 300.0, 400.0, 500.0, 600.0]);
        let fine = ticks((0.61, 0.69));
        assert!(fine.len() >= 4 && fine.iter().all(|v| (0.61..=0.69).contains(v)), "{fine:?}");
    }

    #[test]
    fn a_falling_curve_falls_on_the_picture() {
        let points = (0..200).map(|i| (f64::from(i), 1.0 - f64::from(i) / 200.0)).collect();
        let colour = [200, 0, 0];
        let image = curve(&[Series { name: "loss".into(), colour, points }]);
        let first_row_in = |column: u32| (50..520).find(|&y| image.get_pixel(column, y).0 == colour);
        assert!(first_row_in(200) < first_row_in(800));
    }

    #[test]
    fn lines_are_not_smoothed() {
        let colour = [200, 0, 0];
        let points = (0..100).map(|i| (f64::from(i), f64::from(i / 50))).collect();
        let image = lines(&[Series { name: "".into(), colour, points }], "clicks");
        let low = (70..480).filter(|&x| image.get_pixel(x, 60).0 == colour).count();
        let high = (560..930).filter(|&x| (40..75).any(|y| image.get_pixel(x, y).0 == colour)).count();
        assert!(low == 0 && high > 360, "{low} {high}");
    }

    #[test]
    fn few_or_odd_points_are_drawn_without_harm() {
        for points in
            [vec![], vec![(1.0, 2.0)], vec![(1.0, f64::NAN), (2.0, 3.0)], vec![(5.0, 1.0), (6.0, 1.0)]]
        {
            let image = curve(&[Series { name: "x".into(), colour: [0, 0, 0], points }]);
            assert_eq!(image.dimensions(), SIZE);
        }
    }
}
