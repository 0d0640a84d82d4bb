//! COCO instances: polygons and run-length codes in a JSON file.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rmae_core::prompt::simulate::Judged;
use rmae_core::regions::Rle;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::polygon::fill;
use super::{Case, LEAST_PIXELS, Set, Source, entries, name, stem};
use crate::data::{DataError, SkippedImage};

#[derive(Deserialize)]
struct Instances {
    images: Vec<Image>,
    annotations: Vec<Annotation>,
}

#[derive(Deserialize)]
struct Image {
    id: u64,
    file_name: String,
    width: usize,
    height: usize,
}

#[derive(Deserialize)]
struct Annotation {
    id: u64,
    image_id: u64,
    #[serde(default)]
    iscrowd: u8,
    segmentation: Segmentation,
}

/// The three forms of COCO.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum Segmentation {
    Polygons(Vec<Vec<f64>>),
    Counts { size: [usize; 2], counts: Vec<u32> },
    Code { size: [usize; 2], counts: String },
}

/// An annotation on its photo.
#[derive(Clone, Debug)]
pub(super) struct Outline {
    pub(super) width: usize,
    pub(super) height: usize,
    segmentation: Segmentation,
    id: u64,
    file: PathBuf,
}

impl Outline {
    pub(super) fn judgements(&self) -> Result<Vec<Judged>, DataError> {
        let wrong = |reason: String| DataError::Set {
            path: self.file.clone(),
            reason: format!("annotation {}: {reason}", self.id),
        };
        let (width, height) = (self.width, self.height);
        let pixels = match &self.segmentation {
            Segmentation::Polygons(polygons) => fill(polygons, width, height),
            Segmentation::Counts { size: [h, w], counts } => {
                Rle::from_counts(*w, *h, counts.clone()).map_err(|e| wrong(e.to_string()))?.decode()
            }
            Segmentation::Code { size: [h, w], counts } => {
                Rle::from_compressed(*w, *h, counts).map_err(|e| wrong(e.to_string()))?.decode()
            }
        };
        if pixels.len() != width * height {
            return Err(wrong(format!("its code is not for a photo of {width}x{height} pixels")));
        }
        let judge = |&inside: &u8| if inside != 0 { Judged::Inside } else { Judged::Outside };
        Ok(pixels.iter().map(judge).collect())
    }
}

/// `KIND*.json` of a folder and of its `annotations/`.
pub(super) fn files(dir: &Path, kind: &str) -> Result<Vec<PathBuf>, DataError> {
    let mut found: Vec<PathBuf> = entries(dir)?.into_iter().filter(|path| is_of(path, kind)).collect();
    let annotations = dir.join("annotations");
    if annotations.is_dir() {
        found.extend(entries(&annotations)?.into_iter().filter(|path| is_of(path, kind)));
    }
    Ok(found)
}

/// Whether a file's name says that it is of a kind.
pub(super) fn is_of(path: &Path, kind: &str) -> bool {
    path.extension().is_some_and(|e| e == "json") && stem(path).starts_with(kind)
}

/// Reads a file of COCO's, which is `what`.
pub(super) fn parse<T: DeserializeOwned>(file: &Path, what: &str) -> Result<T, DataError> {
    let text = fs::read_to_string(file).map_err(|e| DataError::io(file, e))?;
    let wrong = |e| DataError::Set { path: file.into(), reason: format!("is no COCO {what}: {e}") };
    serde_json::from_str(&text).map_err(wrong)
}

/// How the names of such files begin.
pub(super) const KIND: &str = "instances";

pub(super) fn read(file: &Path) -> Result<Set, DataError> {
    let read: Instances = parse(file, "file of instances")?;
    let group = file.parent().map(name).unwrap_or_default();
    let mut set = Set { name: stem(file), group, cases: vec![], problems: vec![] };
    let mut by_image: HashMap<u64, Vec<Annotation>> = HashMap::new();
    for annotation in read.annotations.into_iter().filter(|a| a.iscrowd == 0) {
        by_image.entry(annotation.image_id).or_default().push(annotation);
    }
    for image in read.images {
        let Some(annotations) = by_image.remove(&image.id) else { continue };
        let Some(path) = photo(file, KIND, &image.file_name) else {
            let reason =
                format!("no such photo beside {}, in its images/ or its split's folder", file.display());
            set.problems.push(SkippedImage { path: image.file_name.into(), reason });
            continue;
        };
        for annotation in annotations {
            add(&mut set, file, &path, &image, annotation);
        }
    }
    Ok(set)
}

fn add(set: &mut Set, file: &Path, path: &Path, image: &Image, annotation: Annotation) {
    let Annotation { id, segmentation, .. } = annotation;
    let (width, height) = (image.width, image.height);
    let outline = Outline { width, height, segmentation, id, file: file.into() };
    match outline.judgements() {
        Ok(judged) if judged.iter().filter(|&&j| j == Judged::Inside).count() < LEAST_PIXELS => {}
        Ok(_) => {
            let source = Source::Outline(Arc::new(outline));
            set.cases.push(Case { image: path.into(), object: id, boxed: None, source });
        }
        Err(error) => set.problems.push(SkippedImage { path: path.into(), reason: error.reason() }),
    }
}

/// Where the photos of `dir/instances_val2017.json` or `dir/annotations/…` may lie; `kind` is how the
/// file's name begins.
pub(super) fn photo(file: &Path, kind: &str, name: &str) -> Option<PathBuf> {
    let stem = stem(file);
    let split = stem.trim_start_matches(kind).trim_start_matches('_');
    let beside = file.parent()?;
    let above = beside.parent().unwrap_or(beside);
    let folders = [beside, above].into_iter().flat_map(|dir| {
        let images = dir.join("images");
        [dir.to_path_buf(), images.join(split), images, dir.join(split)]
    });
    folders.map(|dir| dir.join(name)).find(|path| path.is_file())
}
