//! COCO instance annotations.

use serde_json::{Value, json};

use super::super::Mask;
use super::{check_size, polygons};
use crate::error::{Error, Result};
use crate::regions::Rle;

/// The photo that objects were marked in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CocoImage<'a> {
    /// Its file name.
    pub name: &'a str,
    /// Columns.
    pub width: usize,
    /// Rows.
    pub height: usize,
}

/// One object.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CocoObject<'a> {
    /// What its maker calls it.
    pub name: &'a str,
    /// Of the size of the image.
    pub mask: &'a Mask,
    /// Confidence, 0 to 1, where there is one.
    pub score: Option<f32>,
    /// What kind of thing it is.
    pub category: &'a str,
}

/// A whole annotation file: one image, its objects, their categories.
///
/// `segmentation` is a compressed run-length code, exact and with holes, as pycocotools reads it;
/// `polygons` holds the same as polygons for programs that want those, to within `tolerance` pixels.
///
/// # Errors
/// [`Error::Image`] for a mask that has not the image's size.
pub fn coco_json(image: CocoImage<'_>, objects: &[CocoObject<'_>], tolerance: f32) -> Result<String> {
    let mut categories: Vec<&str> = Vec::new();
    let mut annotations = Vec::new();
    for (at, object) in objects.iter().enumerate() {
        check_size(image.width, image.height, object.mask, at)?;
        let known = categories.iter().position(|&category| category == object.category);
        let category = known.unwrap_or_else(|| {
            categories.push(object.category);
            categories.len() - 1
        });
        annotations.push(annotation(object, at + 1, category + 1, tolerance)?);
    }
    let category = |(at, name): (usize, &&str)| json!({ "id": at + 1, "name": name });
    let file = json!({
        "images": [{ "id": 1, "file_name": image.name, "width": image.width, "height": image.height }],
        "annotations": annotations,
        "categories": categories.iter().enumerate().map(category).collect::<Vec<_>>(),
    });
    Ok(file.to_string())
}

fn annotation(object: &CocoObject<'_>, id: usize, category: usize, tolerance: f32) -> Result<Value> {
    let mask = object.mask;
    let rle = Rle::encode(mask.data(), mask.width(), mask.height());
    let rle = rle.map_err(|problem| Error::Image(problem.to_string()))?;
    let bounds = mask.bounding_box().map_or([0; 4], |b| [b.x, b.y, b.width, b.height]);
    let flat: Vec<Vec<f32>> =
        polygons(mask, tolerance).iter().map(|polygon| polygon.bridged().concat()).collect();
    let mut annotation = json!({
        "id": id,
        "image_id": 1,
        "category_id": category,
        "name": object.name,
        "segmentation": { "size": [mask.height(), mask.width()], "counts": rle.to_compressed() },
        "polygons": flat,
        "area": mask.area(),
        "bbox": bounds,
        "iscrowd": 0,
    });
    if let Some(score) = object.score.filter(|score| score.is_finite()) {
        annotation["score"] = json!(score);
    }
    Ok(annotation)
}
