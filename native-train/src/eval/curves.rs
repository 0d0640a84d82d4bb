//! IoU over clicks, as a picture.

use image::RgbImage;

use super::play::mean;
use super::report::{Report, SetReport};
use super::summary::after;
use crate::picture::{Series, lines};

/// Told apart with any kind of colour vision.
const COLOURS: [[u8; 3]; 8] = [
    [0, 0, 0],
    [0, 114, 178],
    [213, 94, 0],
    [0, 158, 115],
    [204, 121, 167],
    [230, 159, 0],
    [86, 180, 233],
    [153, 153, 153],
];

/// One line a method: the mean over the sets of the mean IoU after each number of clicks.
#[must_use]
pub fn curves(report: &Report) -> RgbImage {
    let methods = report.methods();
    let series = methods.iter().zip(COLOURS.iter().cycle()).map(|(method, &colour)| {
        let points = (1..=report.max_clicks).filter_map(|clicks| {
            let of_set = |set: &SetReport| mean(set.objects.iter().filter_map(|o| after(o, method, clicks)));
            Some((clicks as f64, mean(report.sets.iter().filter_map(of_set))?))
        });
        Series { name: method.clone().into(), colour, points: points.collect() }
    });
    let series: Vec<Series> = series.filter(|series| !series.points.is_empty()).collect();
    lines(&series, "clicks")
}
