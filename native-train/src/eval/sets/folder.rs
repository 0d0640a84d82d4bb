//! `images/` and `masks/` with equal stems.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use rmae_core::prompt::BoxPrompt;

use super::{LEAST_PIXELS, Set, objects, photos, stem};
use crate::data::{DataError, SkippedImage};

/// Columns of `index.csv` that hold a box, and the one that names its photo.
const COLUMNS: [&str; 5] = ["name", "bbox_x0", "bbox_y0", "bbox_x1", "bbox_y1"];

pub(super) fn fits(dir: &Path) -> bool {
    dir.join("images").is_dir() && dir.join("masks").is_dir()
}

pub(super) fn read(dir: &Path, name: String) -> Result<Set, DataError> {
    let images = photos(&dir.join("images"))?;
    let boxes = boxes(&dir.join("index.csv"))?;
    let mut set = Set { group: name.clone(), name, cases: vec![], problems: vec![] };
    for (stem, mask) in photos(&dir.join("masks"))? {
        let Some(image) = images.get(&stem) else {
            let reason = format!("there is no photo of this name in {}", dir.join("images").display());
            set.problems.push(SkippedImage { path: mask, reason });
            continue;
        };
        match objects(image, &mask, |_| LEAST_PIXELS) {
            Ok(mut cases) => {
                // A box names no object: it is clear only where there is one.
                if let [only] = &mut cases[..] {
                    only.boxed = boxes.get(&stem).cloned();
                }
                set.cases.extend(cases);
            }
            Err(error) => set.problems.push(SkippedImage { path: mask, reason: error.reason() }),
        }
    }
    Ok(set)
}

/// Boxes by the stem of their photo; none without the file or without the columns.
fn boxes(path: &Path) -> Result<BTreeMap<String, BoxPrompt>, DataError> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(e) => return Err(DataError::io(path, e)),
    };
    let mut lines = text.lines();
    let header: Vec<&str> = lines.next().unwrap_or_default().split(',').map(str::trim).collect();
    let place = |column: &str| header.iter().position(|&known| known == column);
    let Some(places) = COLUMNS.iter().map(|column| place(column)).collect::<Option<Vec<usize>>>() else {
        return Ok(BTreeMap::new());
    };
    let filled = lines.enumerate().filter(|(_, line)| !line.trim().is_empty());
    filled.map(|(at, line)| entry(path, at + 2, line, &places)).collect()
}

fn entry(path: &Path, number: usize, line: &str, places: &[usize]) -> Result<(String, BoxPrompt), DataError> {
    let fields: Vec<&str> = line.split(',').map(str::trim).collect();
    let field = |at: usize| fields.get(places[at]).copied().unwrap_or_default();
    let numbers: Option<Vec<f32>> = (1..5).map(|at| field(at).parse().ok()).collect();
    match numbers.as_deref() {
        Some(&[x0, y0, x1, y1]) => Ok((stem(Path::new(field(0))), BoxPrompt { x0, y0, x1, y1 })),
        _ => {
            let reason = format!("line {number}: {} must be numbers", COLUMNS[1..].join(", "));
            Err(DataError::Set { path: path.into(), reason })
        }
    }
}
