use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::regions::Rle;

/// `#` is inside.
fn drawn(rows: &[&str]) -> Mask {
    let inside = |x: usize, y: usize| rows[y].as_bytes()[x] == b'#';
    Mask::from_fn(rows[0].len(), rows.len(), inside)
}

/// Fills rings by the even-odd rule, looking at pixel centres.
fn filled(rings: &[Vec<[f32; 2]>], width: usize, height: usize) -> Mask {
    Mask::from_fn(width, height, |x, y| {
        let (x, y) = (x as f32 + 0.5, y as f32 + 0.5);
        let crosses = |a: [f32; 2], b: [f32; 2]| {
            (a[1] > y) != (b[1] > y) && x < a[0] + (y - a[1]) / (b[1] - a[1]) * (b[0] - a[0])
        };
        let count = |ring: &Vec<[f32; 2]>| {
            (0..ring.len()).filter(|&at| crosses(ring[at], ring[(at + 1) % ring.len()])).count()
        };
        rings.iter().map(count).sum::<usize>() % 2 == 1
    })
}

fn rings(mask: &Mask, tolerance: f32) -> Vec<Vec<[f32; 2]>> {
    polygons(mask, tolerance)
        .iter()
        .flat_map(|polygon| polygon.rings().cloned().collect::<Vec<_>>())
        .collect()
}

fn check_round_trip(mask: &Mask) {
    let (width, height) = (mask.width(), mask.height());
    assert_eq!(filled(&rings(mask, 0.0), width, height), *mask);
    let bridged: Vec<_> = polygons(mask, 0.0).iter().map(Polygon::bridged).collect();
    assert_eq!(filled(&bridged, width, height), *mask, "bridged");
}

#[test]
fn shapes_survive_as_polygons() {
    let shapes: &[(&[&str], usize, usize)] = &[
        (&["...", "..."], 0, 0),
        (&["###", "###"], 1, 0),
        (&["#"], 1, 0),
        // A hole, an island in it, and a hole in the island.
        (&["#######", "#.....#", "#.###.#", "#.#.#.#", "#.###.#", "#.....#", "#######"], 2, 2),
        // Touching corners: parts stay apart, holes join.
        (&["#.#", ".#.", "#.#"], 5, 0),
        (&["#####", "#.###", "##.##", "#####"], 1, 1),
        // A hole that touches the outline at a corner.
        (&[".###", "#.##", "####"], 1, 0),
        (&["####", "#.#.", "####", "####"], 1, 1),
    ];
    for (rows, parts, holes) in shapes {
        let mask = drawn(rows);
        let found = polygons(&mask, 0.0);
        let found_holes = found.iter().map(|polygon| polygon.holes.len()).sum::<usize>();
        assert_eq!((found.len(), found_holes), (*parts, *holes), "{rows:?}");
        check_round_trip(&mask);
    }
}

#[test]
fn a_square_has_four_corners_clockwise() {
    let mask = drawn(&["....", ".##.", ".##."]);
    let corners = vec![[3.0, 1.0], [3.0, 3.0], [1.0, 3.0], [1.0, 1.0]];
    assert_eq!(polygons(&mask, 0.0), [Polygon { outer: corners, holes: vec![] }]);
}

#[test]
fn a_disc_needs_few_corners() {
    let mask = Mask::from_fn(200, 200, |x, y| (x as f32 - 99.5).hypot(y as f32 - 99.5) < 80.0);
    let exact = rings(&mask, 0.0)[0].len();
    let few = rings(&mask, 1.0);
    assert!(few[0].len() * 5 < exact, "{} of {exact} corners", few[0].len());
    assert!(filled(&few, 200, 200).overlap(&mask) > 0.98);
}

#[test]
fn coco_tells_the_whole_story() {
    let (ring, empty) = (drawn(&["....", ".###", ".#.#", ".###"]), Mask::empty(4, 4));
    let object = |name, mask, category| CocoObject { name, mask, score: None, category };
    let objects = [
        CocoObject { score: Some(0.5), ..object("a \"ring\"", &ring, "thing") },
        object("none", &empty, "nothing"),
        object("again", &ring, "thing"),
    ];
    let image = CocoImage { name: "photo.jpg", width: 4, height: 4 };
    let file: Value = serde_json::from_str(&coco_json(image, &objects, 0.0).unwrap()).unwrap();
    assert_eq!(file["images"][0]["file_name"], "photo.jpg");
    let first = &file["annotations"][0];
    assert_eq!((&first["area"], &first["score"]), (&8.into(), &0.5.into()));
    assert_eq!(first["bbox"], serde_json::json!([1, 1, 3, 3]));
    let code = first["segmentation"]["counts"].as_str().unwrap();
    assert_eq!(Rle::from_compressed(4, 4, code).unwrap().decode(), ring.data());
    assert_eq!(first["polygons"].as_array().unwrap().len(), 1);
    assert_eq!(file["annotations"][1]["bbox"], serde_json::json!([0, 0, 0, 0]));
    assert!(file["annotations"][1].get("score").is_none());
    let kinds: Vec<_> =
        file["annotations"].as_array().unwrap().iter().map(|a| a["category_id"].clone()).collect();
    assert_eq!(kinds, [1, 2, 1]);
    assert_eq!(file["categories"].as_array().unwrap().len(), 2);
    let wrong = CocoImage { width: 5, ..image };
    assert!(coco_json(wrong, &objects, 0.0).unwrap_err().to_string().contains("mask 1 is 4x4"));
}

#[test]
fn svg_is_escaped() {
    let mask = drawn(&[".#", "##"]);
    let object = SvgObject { name: "<a & \"b\">\u{1}", colour: "#f00\" onload=\"x", mask: &mask };
    let drawing = svg(2, 2, &[object], 0.0).unwrap();
    assert!(drawing.contains("<title>&lt;a &amp; &quot;b&quot;&gt;</title>"), "{drawing}");
    assert!(drawing.contains("fill=\"#f00&quot; onload=&quot;x\""), "{drawing}");
    assert!(drawing.contains("d=\"M2 0V2H0V1H1V0Z\""), "{drawing}");
    assert!(svg(3, 2, &[object], 0.0).is_err());
}

#[test]
fn later_masks_lie_on_top() {
    let (a, b) = (drawn(&["##."]), drawn(&[".##"]));
    assert_eq!(label_map(3, 1, &[&a, &b]).unwrap(), [1, 2, 2]);
    assert_eq!(label_map(3, 1, &[]).unwrap(), [0, 0, 0]);
    assert!(label_map(2, 1, &[&a]).is_err());
}

proptest! {
    #[test]
    fn any_mask_survives(width in 1..24usize, height in 1..24usize, bits in proptest::collection::vec(any::<bool>(), 576), tolerance in 0.0..3.0f32) {
        let mask = Mask::from_fn(width, height, |x, y| bits[y * 24 + x]);
        check_round_trip(&mask);
        for ring in rings(&mask, tolerance) {
            prop_assert!(ring.len() >= 3);
            let within = |&[x, y]: &[f32; 2]| x >= 0.0 && y >= 0.0 && x <= width as f32 && y <= height as f32;
            prop_assert!(ring.iter().all(within));
        }
    }
}
