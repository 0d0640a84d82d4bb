//! `images/<split>/` and `labels/<split>/NAME_<annotator>.png`: every region is an object.

use std::path::Path;

use super::{LEAST_PIXELS, Set, entries, name, objects, photos};
use crate::data::{DataError, SkippedImage};

/// Share of the photo that a region must have to be an object: annotators draw crumbs as well.
const LEAST_SHARE: f64 = 0.005;

pub(super) fn fits(dir: &Path) -> bool {
    dir.join("images").is_dir() && dir.join("labels").is_dir()
}

/// One set a split.
pub(super) fn read(dir: &Path) -> Result<Vec<Set>, DataError> {
    let splits = entries(&dir.join("labels"))?;
    let mut sets = vec![];
    for labels in splits.iter().filter(|path| path.is_dir()) {
        let split = name(labels);
        let images = dir.join("images").join(&split);
        if images.is_dir() {
            sets.push(one(&images, labels, format!("{} {split}", name(dir)), name(dir))?);
        }
    }
    if sets.is_empty() {
        let reason = "has no split in common between images/ and labels/".into();
        return Err(DataError::Set { path: dir.into(), reason });
    }
    Ok(sets)
}

fn one(images: &Path, labels: &Path, name: String, group: String) -> Result<Set, DataError> {
    let mut set = Set { name, group, cases: vec![], problems: vec![] };
    let maps = photos(labels)?;
    for (photo, image) in photos(images)? {
        // Maps are sorted, so the first one is the first annotator's.
        let own = |map: &&String| map.strip_prefix(&photo).is_some_and(|rest| rest.starts_with('_'));
        let Some(map) = maps.keys().find(own).and_then(|map| maps.get(map)) else {
            let reason = format!("has no {photo}_<annotator>.png in {}", labels.display());
            set.problems.push(SkippedImage { path: image, reason });
            continue;
        };
        let least = |pixels: usize| LEAST_PIXELS.max((pixels as f64 * LEAST_SHARE) as usize);
        match objects(&image, map, least) {
            Ok(cases) => set.cases.extend(cases),
            Err(error) => set.problems.push(SkippedImage { path: map.clone(), reason: error.reason() }),
        }
    }
    Ok(set)
}
