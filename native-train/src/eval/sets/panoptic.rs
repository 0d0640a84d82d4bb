//! COCO panoptic: a JSON file, and a PNG for each photo whose colours are the numbers of segments.
//! Things are objects, stuff (sky, grass) and crowds are not; what no segment has is not judged.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};

use rmae_core::prompt::simulate::Judged;
use serde::Deserialize;

use super::{Case, LEAST_PIXELS, Set, Source, coco, name, stem};
use crate::data::{DataError, SkippedImage, decode};

#[derive(Deserialize)]
struct Panoptic {
    images: Vec<Image>,
    annotations: Vec<Annotation>,
    categories: Vec<Category>,
}

#[derive(Deserialize)]
struct Image {
    id: u64,
    file_name: String,
}

#[derive(Deserialize)]
struct Annotation {
    image_id: u64,
    file_name: String,
    segments_info: Vec<Segment>,
}

#[derive(Deserialize)]
struct Segment {
    id: u32,
    category_id: u64,
    #[serde(default)]
    iscrowd: u8,
}

#[derive(Deserialize)]
struct Category {
    id: u64,
    #[serde(default = "yes")]
    isthing: u8,
}

fn yes() -> u8 {
    1
}

/// How the names of such files begin.
pub(super) const KIND: &str = "panoptic";

pub(super) fn read(file: &Path) -> Result<Set, DataError> {
    let read: Panoptic = coco::parse(file, "panoptic file")?;
    let things: HashSet<u64> = read.categories.iter().filter(|c| c.isthing != 0).map(|c| c.id).collect();
    let names: HashMap<u64, String> =
        read.images.into_iter().map(|image| (image.id, image.file_name)).collect();
    let group = file.parent().map(name).unwrap_or_default();
    let mut set = Set { name: stem(file), group, cases: vec![], problems: vec![] };
    for mut annotation in read.annotations {
        annotation.segments_info.retain(|s| s.iscrowd == 0 && things.contains(&s.category_id));
        match cases(file, &names, &annotation) {
            Ok(cases) => set.cases.extend(cases),
            Err(error) => {
                set.problems.push(SkippedImage { path: annotation.file_name.into(), reason: error.reason() });
            }
        }
    }
    Ok(set)
}

fn cases(file: &Path, names: &HashMap<u64, String>, annotation: &Annotation) -> Result<Vec<Case>, DataError> {
    let missing = |what: &str| DataError::Set {
        path: file.into(),
        reason: format!("no {what} beside it, in a folder of its name, or in images/"),
    };
    let photo = names.get(&annotation.image_id).and_then(|name| coco::photo(file, KIND, name));
    let photo = photo.ok_or_else(|| missing("photo of this annotation"))?;
    let map = map(file, &annotation.file_name).ok_or_else(|| missing("map of segments"))?;
    let mut areas = BTreeMap::<u32, usize>::new();
    segments(&map)?.1.into_iter().for_each(|segment| *areas.entry(segment).or_default() += 1);
    let large = |segment: &&Segment| areas.get(&segment.id).is_some_and(|&area| area >= LEAST_PIXELS);
    let case = |segment: &Segment| Case {
        image: photo.clone(),
        object: u64::from(segment.id),
        boxed: None,
        source: Source::Segments(map.clone()),
    };
    Ok(annotation.segments_info.iter().filter(large).map(case).collect())
}

/// Where a map of `dir/panoptic_val2017.json` lies: in a folder of that name, or in `panoptic/`.
fn map(file: &Path, name: &str) -> Option<PathBuf> {
    let beside = file.parent()?;
    let folders = [beside.join(stem(file)), beside.join(KIND), beside.to_path_buf()];
    folders.into_iter().map(|dir| dir.join(name)).find(|path| path.is_file())
}

/// Columns and rows of a map, and the segment of each pixel: red + 256 green + 65,536 blue.
fn segments(map: &Path) -> Result<((usize, usize), Vec<u32>), DataError> {
    let pixels = decode(map)?;
    let size = (pixels.width() as usize, pixels.height() as usize);
    let number = |pixel: &image::Rgb<u8>| u32::from_le_bytes([pixel[0], pixel[1], pixel[2], 0]);
    Ok((size, pixels.pixels().map(number).collect()))
}

/// The size of a map and what it says of one segment.
pub(super) fn judgements(map: &Path, object: u64) -> Result<((usize, usize), Vec<Judged>), DataError> {
    let (size, segments) = segments(map)?;
    let judge = |&segment: &u32| match segment {
        0 => Judged::Ignored,
        _ if u64::from(segment) == object => Judged::Inside,
        _ => Judged::Outside,
    };
    Ok((size, segments.iter().map(judge).collect()))
}
