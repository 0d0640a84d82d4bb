#![allow(clippy::unwrap_used, clippy::panic)]

use image::{GrayImage, ImageBuffer, Luma, RgbImage};
use tempfile::TempDir;

use super::*;

/// Two objects of 20 by 20 pixels, 1 and 2, and a stripe that is not judged.
fn mask(width: u32, height: u32) -> GrayImage {
    GrayImage::from_fn(width, height, |x, y| {
        Luma([match (x, y) {
            (5..25, 5..25) => 1,
            (30..50, 5..25) => 2,
            (_, 30..33) => 128,
            _ => 0,
        }])
    })
}

fn photo(path: &Path) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    RgbImage::new(60, 40).save(path).unwrap();
}

fn save(mask: &GrayImage, path: &Path) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    mask.save(path).unwrap();
}

fn folder(dir: &Path) {
    for name in ["a", "b"] {
        photo(&dir.join(format!("images/{name}.jpg")));
        save(&mask(60, 40), &dir.join(format!("masks/{name}.png")));
    }
}

fn one(places: &[&Path]) -> Set {
    let mut sets = find(&places.iter().map(PathBuf::from).collect::<Vec<_>>()).unwrap();
    assert_eq!(sets.len(), 1);
    sets.remove(0)
}

fn fails(dir: &TempDir) -> String {
    find(&[dir.path().into()]).unwrap_err().to_string()
}

#[test]
fn every_value_of_a_mask_is_an_object_and_128_is_not_judged() {
    let dir = tempfile::tempdir().unwrap();
    folder(dir.path());
    let set = one(&[dir.path()]);
    let objects: Vec<u64> = set.cases.iter().map(|case| case.object).collect();
    assert_eq!(objects, [1, 2, 1, 2]);
    let truth = set.cases[1].truth(60, 40).unwrap();
    assert_eq!(truth.area(), 400);
    assert_eq!(truth.bounding_box().unwrap(), BoxPrompt { x0: 30.0, y0: 5.0, x1: 50.0, y1: 25.0 });
    // What is not judged is neither right nor wrong: 60 by 3 pixels of the stripe.
    let all = rmae_core::prompt::Mask::from_fn(60, 40, |_, _| true);
    assert!((truth.iou(&all) - 400.0 / 2220.0).abs() < 1e-9);
    assert!(set.cases[0].truth(61, 40).unwrap_err().to_string().contains("60x40"));
    assert!(set.cases.iter().all(|case| case.boxed.is_none() && case.mask().is_some()));
}

#[test]
fn boxes_of_the_index_are_taken_and_wrong_ones_are_named() {
    let dir = tempfile::tempdir().unwrap();
    photo(&dir.path().join("images/a.jpg"));
    save(&GrayImage::from_pixel(60, 40, Luma([255])), &dir.path().join("masks/a.png"));
    let index = dir.path().join("index.csv");
    fs::write(&index, "width,name,bbox_x0,bbox_y0,bbox_x1,bbox_y1\n60,a.jpg,1,2,30,4.5\n\n").unwrap();
    let rect = BoxPrompt { x0: 1.0, y0: 2.0, x1: 30.0, y1: 4.5 };
    assert_eq!(one(&[dir.path()]).cases[0].boxed, Some(rect));
    fs::write(&index, "name,fg_fraction\na,0.5\n").unwrap();
    assert_eq!(one(&[dir.path()]).cases[0].boxed, None);
    fs::write(&index, "name,bbox_x0,bbox_y0,bbox_x1,bbox_y1\na,1,2,x,4\n").unwrap();
    let message = fails(&dir);
    assert!(message.contains("index.csv") && message.contains("line 2"), "{message}");
}

#[test]
fn what_cannot_be_used_is_told_and_the_rest_stays() {
    let dir = tempfile::tempdir().unwrap();
    folder(dir.path());
    fs::write(dir.path().join("masks/b.png"), "no picture").unwrap();
    save(&mask(60, 40), &dir.path().join("masks/c.png"));
    let set = one(&[dir.path()]);
    assert_eq!(set.cases.len(), 2);
    let reasons: Vec<&str> = set.problems.iter().map(|p| p.reason.as_str()).collect();
    assert_eq!(reasons.len(), 2);
    assert!(reasons[1].contains("no photo of this name"), "{reasons:?}");
}

#[test]
fn a_folder_of_folders_is_several_sets() {
    let dir = tempfile::tempdir().unwrap();
    folder(&dir.path().join("cats"));
    folder(&dir.path().join("dogs"));
    fs::write(dir.path().join("index.csv"), "x").unwrap();
    let sets = find(&[dir.path().into()]).unwrap();
    let names: Vec<&str> = sets.iter().map(|set| set.name.as_str()).collect();
    assert_eq!(names, ["cats", "dogs"]);
    assert!(sets[0].group == sets[1].group && sets[0].group != "cats");
}

#[test]
fn bsds_takes_the_first_annotator_and_no_crumbs() {
    let dir = tempfile::tempdir().unwrap();
    photo(&dir.path().join("images/train/12.jpg"));
    photo(&dir.path().join("images/train/123.jpg"));
    fs::create_dir_all(dir.path().join("labels/train")).unwrap();
    let labels = |x: u32, y: u32| Luma([if x < 20 { 128u16 } else { 300 } + u16::from(x < 9 && y < 9)]);
    let map = ImageBuffer::from_fn(60, 40, labels);
    for name in ["12_1.png", "12_0.png", "123_7.png"] {
        map.save(dir.path().join("labels/train").join(name)).unwrap();
    }
    let set = one(&[dir.path()]);
    assert!(set.name.ends_with(" train"), "{}", set.name);
    let found: Vec<(String, u64)> = set.cases.iter().map(|c| (stem(c.mask().unwrap()), c.object)).collect();
    let want = [("12_0", 128), ("12_0", 300), ("123_7", 128), ("123_7", 300)];
    assert_eq!(found, want.map(|(name, object)| (name.to_string(), object)));
    assert_eq!(set.cases[0].truth(60, 40).unwrap().area(), 20 * 40 - 81, "128 is a label in 16 bits");
}

#[test]
fn coco_has_polygons_and_two_kinds_of_codes() {
    let dir = tempfile::tempdir().unwrap();
    photo(&dir.path().join("val2017/1.jpg"));
    let code = rmae_core::regions::Rle::encode(&[1; 2400], 60, 40).unwrap().to_compressed();
    let annotations = serde_json::json!([
        {"id": 7, "image_id": 1, "iscrowd": 0, "segmentation": [[5, 5, 25, 5, 25, 25, 5, 25]]},
        {"id": 8, "image_id": 1, "iscrowd": 1, "segmentation": {"size": [40, 60], "counts": [0, 2400]}},
        {"id": 9, "image_id": 1, "segmentation": {"size": [40, 60], "counts": [1200, 1200]}},
        {"id": 10, "image_id": 1, "segmentation": {"size": [40, 60], "counts": code}},
        {"id": 11, "image_id": 1, "segmentation": {"size": [4, 4], "counts": [0, 16]}},
        {"id": 12, "image_id": 1, "segmentation": [[0, 0, 2, 0, 2, 2]]},
        {"id": 13, "image_id": 2, "segmentation": [[0, 0, 20, 0, 20, 20]]},
    ]);
    let images = serde_json::json!([
        {"id": 1, "file_name": "1.jpg", "width": 60, "height": 40},
        {"id": 2, "file_name": "2.jpg", "width": 60, "height": 40},
    ]);
    let text = serde_json::json!({"images": images, "annotations": annotations}).to_string();
    fs::create_dir_all(dir.path().join("annotations")).unwrap();
    fs::write(dir.path().join("annotations/instances_val2017.json"), text).unwrap();
    let set = one(&[dir.path()]);
    let areas: Vec<(u64, usize)> =
        set.cases.iter().map(|c| (c.object, c.truth(60, 40).unwrap().area())).collect();
    assert_eq!(areas, [(7, 400), (9, 1200), (10, 2400)]);
    let reasons: Vec<&str> = set.problems.iter().map(|p| p.reason.as_str()).collect();
    assert!(reasons.len() == 2 && reasons[0].contains("annotation 11"), "{reasons:?}");
    assert!(reasons[1].contains("no such photo"), "{reasons:?}");
}

#[test]
fn panoptic_things_are_objects_and_what_has_no_segment_is_not_judged() {
    let dir = tempfile::tempdir().unwrap();
    photo(&dir.path().join("val2017/1.jpg"));
    photo(&dir.path().join("val2017/2.jpg"));
    let number = |x: u32, y: u32| match (x, y) {
        (5..25, 5..25) => [1, 2, 3],
        (30..50, 5..25) => [9, 0, 0],
        (0..3, 0..3) => [7, 0, 0],
        (_, 30..40) => [8, 0, 0],
        _ => [0, 0, 0],
    };
    let maps = dir.path().join("annotations/panoptic_val2017");
    fs::create_dir_all(&maps).unwrap();
    RgbImage::from_fn(60, 40, |x, y| image::Rgb(number(x, y))).save(maps.join("1.png")).unwrap();
    let segment = |id: u32, category: u64, crowd: u8| serde_json::json!({"id": id, "category_id": category, "iscrowd": crowd});
    let of_1 = [segment(197_121, 1, 0), segment(9, 1, 1), segment(7, 1, 0), segment(8, 200, 0)];
    let text = serde_json::json!({
        "images": [{"id": 1, "file_name": "1.jpg"}, {"id": 2, "file_name": "2.jpg"}],
        "categories": [{"id": 1, "isthing": 1}, {"id": 200, "isthing": 0}],
        "annotations": [
            {"image_id": 1, "file_name": "1.png", "segments_info": of_1},
            {"image_id": 2, "file_name": "2.png", "segments_info": []},
        ],
    });
    let file = dir.path().join("annotations/panoptic_val2017.json");
    fs::write(&file, text.to_string()).unwrap();
    for place in [dir.path(), &file] {
        let set = one(&[place]);
        assert_eq!(
            set.cases.iter().map(|case| case.object).collect::<Vec<_>>(),
            [197_121],
            "one thing, no crowd, crumb or stuff"
        );
        let truth = set.cases[0].truth(60, 40).unwrap();
        assert_eq!(truth.area(), 400);
        let all = rmae_core::prompt::Mask::from_fn(60, 40, |_, _| true);
        assert!((truth.iou(&all) - 400.0 / (400.0 + 400.0 + 9.0 + 600.0)).abs() < 1e-9);
        assert!(set.problems.len() == 1 && set.problems[0].reason.contains("no map"), "{:?}", set.problems);
    }
    fs::write(&file, "{}").unwrap();
    assert!(find(&[file]).unwrap_err().to_string().contains("no COCO panoptic file"));
}

#[test]
fn unknown_forms_say_what_is_expected() {
    let dir = tempfile::tempdir().unwrap();
    let message = fails(&dir);
    for part in ["images/ and masks/", "COCO", "BSDS"] {
        assert!(message.contains(part), "{message}");
    }
    fs::create_dir_all(dir.path().join("images")).unwrap();
    fs::create_dir_all(dir.path().join("masks")).unwrap();
    assert!(fails(&dir).contains("no object"));
    save(&GrayImage::new(60, 40), &dir.path().join("masks/lonely.png"));
    assert!(fails(&dir).contains("lonely.png"));
    let file = dir.path().join("x.json");
    fs::write(&file, "{}").unwrap();
    assert!(find(std::slice::from_ref(&file)).unwrap_err().to_string().contains("x.json"));
    assert!(matches!(find(&[dir.path().join("none")]), Err(DataError::Missing(_))));
}

#[test]
fn a_thinner_set_is_spread_evenly() {
    let dir = tempfile::tempdir().unwrap();
    folder(dir.path());
    let all = one(&[dir.path()]);
    let mut two = all.clone();
    two.thin(2);
    let kept: Vec<(PathBuf, u64)> = two.cases.iter().map(|c| (c.image.clone(), c.object)).collect();
    assert_eq!(kept, [1, 3].map(|at: usize| (all.cases[at].image.clone(), all.cases[at].object)));
    two.thin(usize::MAX);
    assert_eq!(two.cases.len(), 2);
}
