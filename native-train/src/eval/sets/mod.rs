//! Photos with known masks, in the forms that people have them.
//!
//! | form | what |
//! | --- | --- |
//! | `images/` and `masks/` | equal stems; masks are 8- or 16-bit grey: 0 is background, every other value one object; in 8 bits, 128 is not judged. Boxes are taken from `index.csv` where it has them (`name`, `bbox_x0`, `bbox_y0`, `bbox_x1`, `bbox_y1`) |
//! | COCO | a JSON file of instances, or a folder with `instances*.json`; crowds are left out |
//! | COCO panoptic | `panoptic*.json`, or a folder with such files and none of instances; things are objects, pixels of no segment are not judged |
//! | BSDS | `images/<split>/` and `labels/<split>/NAME_<annotator>.png`; the first annotator's regions are the objects |
//! | several | a folder of folders of the first form |

mod bsds;
mod coco;
mod folder;
mod panoptic;
mod polygon;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rmae_core::prompt::BoxPrompt;
use rmae_core::prompt::simulate::Judged;

use self::coco::Outline;
use super::Truth;
use crate::data::{DataError, EXTENSIONS, SkippedImage, read_labels};

/// Objects of fewer pixels are left out: no click could be told from its neighbours.
pub const LEAST_PIXELS: usize = 100;
/// In 8-bit masks: not judged.
pub const NOT_JUDGED: u16 = 128;

/// One object of one photo.
#[derive(Clone, Debug)]
pub struct Case {
    /// The photo.
    pub image: PathBuf,
    /// Which of its objects: a value of the mask, or the annotation's id.
    pub object: u64,
    /// The box that comes with the set, where one does.
    pub boxed: Option<BoxPrompt>,
    source: Source,
}

/// Where the truth stands.
#[derive(Clone, Debug)]
enum Source {
    /// Pixels of one value of a label map.
    Labels(PathBuf),
    /// Pixels of one number of a map of segments.
    Segments(PathBuf),
    /// An annotation.
    Outline(Arc<Outline>),
}

impl Case {
    /// The label map that has the object, where there is one.
    #[must_use]
    pub fn mask(&self) -> Option<&Path> {
        match &self.source {
            Source::Labels(path) => Some(path),
            Source::Segments(_) | Source::Outline(_) => None,
        }
    }

    /// The truth for a photo of a size.
    ///
    /// # Errors
    /// A mask that cannot be read or is of another size.
    pub fn truth(&self, width: usize, height: usize) -> Result<Truth, DataError> {
        let (size, judged) = match &self.source {
            Source::Labels(path) => {
                let labels = read_labels(path)?;
                (labels.size(), judgements(&labels.labels, labels.wide, self.object))
            }
            Source::Segments(path) => panoptic::judgements(path, self.object)?,
            Source::Outline(outline) => ((outline.width, outline.height), outline.judgements()?),
        };
        if size != (width, height) {
            let reason = format!("its mask is {}x{} pixels, the photo is {width}x{height}", size.0, size.1);
            return Err(DataError::Decode { path: self.image.clone(), reason });
        }
        let wrong = || DataError::Decode { path: self.image.clone(), reason: "its mask has no pixel".into() };
        Truth::new(width, height, judged).ok_or_else(wrong)
    }
}

fn judgements(labels: &[u16], wide: bool, object: u64) -> Vec<Judged> {
    let judge = |&label: &u16| match label {
        NOT_JUDGED if !wide => Judged::Ignored,
        _ if u64::from(label) == object => Judged::Inside,
        _ => Judged::Outside,
    };
    labels.iter().map(judge).collect()
}

/// A set of objects.
#[derive(Clone, Debug)]
pub struct Set {
    /// Its name, for tables.
    pub name: String,
    /// The folder that it was found in, for means over the sets of one folder.
    pub group: String,
    /// Objects, those of one photo next to each other.
    pub cases: Vec<Case>,
    /// Photos or masks that could not be used.
    pub problems: Vec<SkippedImage>,
}

impl Set {
    /// Keeps at most `most` objects, evenly spread.
    pub fn thin(&mut self, most: usize) {
        let count = self.cases.len();
        let most = most.min(count);
        let mut at = 0;
        self.cases.retain(|_| {
            at += 1;
            at * most / count != (at - 1) * most / count
        });
    }
}

/// The sets in `places`, folders or COCO files.
///
/// # Errors
/// A place that does not exist, is of no known form, or holds no object; the message says what was
/// expected.
pub fn find(places: &[PathBuf]) -> Result<Vec<Set>, DataError> {
    let mut sets = vec![];
    for place in places {
        let found = of(place)?;
        if found.iter().all(|set| set.cases.is_empty()) {
            return Err(no_objects(place, &found));
        }
        sets.extend(found.into_iter().filter(|set| !set.cases.is_empty()));
    }
    Ok(sets)
}

fn of(place: &Path) -> Result<Vec<Set>, DataError> {
    let kind = fs::metadata(place).map_err(|e| DataError::io(place, e))?;
    if !kind.is_dir() {
        return Ok(vec![if coco::is_of(place, panoptic::KIND) {
            panoptic::read(place)?
        } else {
            coco::read(place)?
        }]);
    }
    if folder::fits(place) {
        return Ok(vec![folder::read(place, name(place))?]);
    }
    if bsds::fits(place) {
        return bsds::read(place);
    }
    let files = coco::files(place, coco::KIND)?;
    if !files.is_empty() {
        return files.iter().map(|file| coco::read(file)).collect();
    }
    let files = coco::files(place, panoptic::KIND)?;
    if !files.is_empty() {
        return files.iter().map(|file| panoptic::read(file)).collect();
    }
    let inner: Vec<PathBuf> = entries(place)?.into_iter().filter(|path| folder::fits(path)).collect();
    if inner.is_empty() {
        let reason = "holds no set of photos with masks".into();
        return Err(DataError::Set { path: place.into(), reason });
    }
    let mut sets = vec![];
    for path in inner {
        let set = folder::read(&path, name(&path))?;
        sets.push(Set { group: name(place), ..set });
    }
    Ok(sets)
}

fn no_objects(place: &Path, sets: &[Set]) -> DataError {
    let problems: Vec<&SkippedImage> = sets.iter().flat_map(|set| &set.problems).collect();
    let first = problems.first().map(|p| format!("; first of {}: {}", problems.len(), named(p)));
    let reason = format!("has no object of at least {LEAST_PIXELS} pixels{}", first.unwrap_or_default());
    DataError::Set { path: place.into(), reason }
}

fn named(problem: &SkippedImage) -> String {
    format!("{}: {}", problem.path.display(), problem.reason)
}

/// The last part of a path.
fn name(path: &Path) -> String {
    let real = fs::canonicalize(path).unwrap_or_else(|_| path.into());
    real.file_name().map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into())
}

/// What a folder holds, sorted, hidden names left out.
fn entries(dir: &Path) -> Result<Vec<PathBuf>, DataError> {
    let mut found = vec![];
    for entry in fs::read_dir(dir).map_err(|e| DataError::io(dir, e))? {
        let path = entry.map_err(|e| DataError::io(dir, e))?.path();
        if !path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.')) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// The photos of a folder by stem.
fn photos(dir: &Path) -> Result<BTreeMap<String, PathBuf>, DataError> {
    let known = |path: &PathBuf| {
        let extension = path.extension().unwrap_or_default();
        EXTENSIONS.iter().any(|known| extension.eq_ignore_ascii_case(known))
    };
    Ok(entries(dir)?.into_iter().filter(known).map(|path| (stem(&path), path)).collect())
}

fn stem(path: &Path) -> String {
    path.file_stem().unwrap_or_default().to_string_lossy().into()
}

/// The objects of a label map: `least` says how many pixels of how many an object needs.
fn objects(image: &Path, mask: &Path, least: impl Fn(usize) -> usize) -> Result<Vec<Case>, DataError> {
    let labels = read_labels(mask)?;
    let mut areas = BTreeMap::<u16, usize>::new();
    labels.labels.iter().for_each(|&label| *areas.entry(label).or_default() += 1);
    let least = least(labels.labels.len());
    let object = |label: u16| label != 0 && (labels.wide || label != NOT_JUDGED);
    let large = areas.into_iter().filter(|&(label, area)| object(label) && area >= least);
    let case = |(label, _): (u16, usize)| Case {
        image: image.into(),
        object: u64::from(label),
        boxed: None,
        source: Source::Labels(mask.into()),
    };
    Ok(large.map(case).collect())
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
