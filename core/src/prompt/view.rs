//! What of an image the model sees: a rectangle, sampled at the model's side.

use super::options::Fit;
use super::{Rect, WorkingImage};
use crate::resample::{Window, each_pixel, normalised};

/// Grey that stands beside the image: ImageNet's mean, so 0 for the model.
const PADDING: f32 = 0.0;

/// A rectangle of whole pixels, and where in the model's square it is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct View {
    /// Left, top, columns, rows in the working image.
    window: [usize; 4],
    /// Left, top, columns, rows in the square.
    target: [usize; 4],
    side: usize,
}

impl View {
    /// The whole image.
    pub(super) fn whole(image: &WorkingImage, side: usize, fit: Fit) -> Self {
        Self::of([0, 0, image.width(), image.height()], side, fit)
    }

    /// A part of it.
    pub(super) fn of(window: [usize; 4], side: usize, fit: Fit) -> Self {
        let [_, _, width, height] = window;
        let target = match fit {
            Fit::Stretch => [0, 0, side, side],
            Fit::Letterbox => {
                let longer = width.max(height).max(1);
                let scaled = |len: usize| ((len * side + longer / 2) / longer).clamp(1, side);
                let (w, h) = (scaled(width), scaled(height));
                [(side - w) / 2, (side - h) / 2, w, h]
            }
        };
        Self { window, target, side }
    }

    /// Side of the square.
    pub(super) fn side(&self) -> usize {
        self.side
    }

    /// Where the whole square lies in the working image; beyond it where there is padding.
    pub(super) fn area(&self) -> Rect {
        let [x, y, w, h] = self.window.map(|v| v as f32);
        let [left, top, width, height] = self.target.map(|v| v as f32);
        let (sx, sy, side) = (w / width, h / height, self.side as f32);
        let (x0, y0) = (x - left * sx, y - top * sy);
        Rect { x0, y0, x1: x0 + side * sx, y1: y0 + side * sy }
    }

    /// `[3, S, S]`, normalised.
    pub(super) fn sample(&self, image: &WorkingImage) -> Vec<f32> {
        let side = self.side;
        let [x, y, width, height] = self.window;
        let [left, top, w, h] = self.target;
        let mut out = vec![PADDING; 3 * side * side];
        let window = Window { rgb: image.data(), image_width: image.width(), x, y, width, height };
        each_pixel(&window, (w, h), |i, j, rgb| {
            for (c, value) in normalised(rgb).into_iter().enumerate() {
                out[(c * side + top + j) * side + left + i] = value;
            }
        });
        out
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::RgbView;
    use super::*;

    fn image(width: usize, height: usize) -> WorkingImage {
        let data: Vec<u8> = (0..3 * width * height).map(|i| (i * 7 % 251) as u8).collect();
        WorkingImage::from_rgb(RgbView::new(width, height, &data).unwrap()).unwrap()
    }

    #[test]
    fn a_stretched_view_covers_the_image() {
        let view = View::whole(&image(40, 20), 16, Fit::Stretch);
        assert_eq!(view.area(), Rect::whole(40, 20));
        assert!(view.sample(&image(40, 20)).iter().all(|v| v.abs() > 0.0));
    }

    #[test]
    fn a_letter_box_has_grey_above_and_below() {
        let image = image(40, 20);
        let view = View::whole(&image, 16, Fit::Letterbox);
        assert_eq!(view.area(), Rect { x0: 0.0, y0: -10.0, x1: 40.0, y1: 30.0 });
        let pixels = view.sample(&image);
        assert!(pixels[..4 * 16].iter().all(|&v| v == 0.0) && pixels[12 * 16..256].iter().all(|&v| v == 0.0));
        assert!(pixels[4 * 16..12 * 16].iter().all(|&v| v != 0.0));
    }

    #[test]
    fn images_of_one_line_have_a_view() {
        for (w, h) in [(1, 1), (20_000, 10), (1, 999)] {
            for fit in [Fit::Stretch, Fit::Letterbox] {
                let image = image(w, h);
                let view = View::whole(&image, 32, fit);
                assert!(view.sample(&image).iter().all(|v| v.is_finite()), "{w}x{h}");
                assert!(view.area().width() > 0.0);
            }
        }
    }

    /// A pixel of the square is the image's colour where the area says it lies.
    #[test]
    fn the_area_of_a_part_is_where_it_was_cut() {
        let data: Vec<u8> = (0..60 * 40).flat_map(|i| [(i % 60 * 4) as u8, (i / 60 * 6) as u8, 0]).collect();
        let image = WorkingImage::from_rgb(RgbView::new(60, 40, &data).unwrap()).unwrap();
        let view = View::of([10, 8, 32, 16], 16, Fit::Letterbox);
        let (area, pixels) = (view.area(), view.sample(&image));
        let (i, j) = (9, 7);
        let x = area.x0 + (i as f32 + 0.5) * area.width() / 16.0;
        let y = area.y0 + (j as f32 + 0.5) * area.height() / 16.0;
        let want = normalised([(x - 0.5) * 4.0, (y - 0.5) * 6.0, 0.0]);
        assert!((pixels[j * 16 + i] - want[0]).abs() < 1e-3);
        assert!((pixels[256 + j * 16 + i] - want[1]).abs() < 1e-3);
    }
}
