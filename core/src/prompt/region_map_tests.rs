use super::super::{BoxPrompt, Click, Scribble};
use super::*;

/// 8×8 patches of 4 pixels over an image of 64×64: a pixel of the square is two of the image.
fn grid() -> Grid {
    Grid { side: 32, patch: 4, area: Rect::whole(64, 64), image: (64, 64) }
}

fn click(x: f32, y: f32, positive: bool) -> Click {
    Click { x, y, positive, radius: None }
}

fn clicks(clicks: Vec<Click>) -> ObjectPrompts {
    ObjectPrompts { clicks, ..Default::default() }
}

fn boxed(x0: f32, y0: f32, x1: f32, y1: f32) -> ObjectPrompts {
    ObjectPrompts { boxes: vec![BoxPrompt { x0, y0, x1, y1 }], ..Default::default() }
}

fn map(prompts: &ObjectPrompts) -> RegionMap {
    RegionMap::new(prompts, grid(), &MapRules::default(), 0.25)
}

/// The pixels of a visible patch; empty where it is masked.
fn values(map: &RegionMap, patch: usize) -> Vec<f32> {
    if !map.visible.contains(&(patch as u32)) {
        return vec![];
    }
    grid().pixels(patch).map(|(x, y)| map.values[y * 32 + x]).collect()
}

#[test]
fn a_click_shows_its_patch() {
    let map = map(&clicks(vec![click(20.0, 9.0, true), click(63.9, 63.9, false)]));
    assert_eq!(map.visible, [10, 63]);
    assert_eq!(values(&map, 10), [1.0; 16]);
    assert_eq!(values(&map, 63), [0.0; 16]);
}

#[test]
fn a_click_on_the_last_edge_shows_the_last_patch() {
    assert_eq!(map(&clicks(vec![click(64.0, 64.0, true)])).visible, [63]);
}

#[test]
fn a_radius_shows_what_it_covers() {
    let mut wide = click(32.0, 32.0, true);
    wide.radius = Some(12.0);
    // The four patches that meet there, and the eight that reach the circle at more than half.
    let shown = map(&clicks(vec![wide])).visible;
    assert!([27, 28, 35, 36].iter().all(|patch| shown.contains(patch)), "{shown:?}");
    assert!(!shown.contains(&0) && shown.len() <= 12, "{shown:?}");
}

#[test]
fn mixed_patches_take_the_nearest_sign() {
    let map = map(&clicks(vec![click(1.0, 4.0, true), click(7.0, 4.0, false)]));
    assert_eq!(map.visible, [0]);
    assert_eq!(values(&map, 0), [1.0, 1.0, 0.0, 0.0].repeat(4));
}

#[test]
fn a_scribble_shows_the_patches_that_it_runs_through() {
    let line = Scribble { points: vec![[4.0, 4.0], [60.0, 4.0], [60.0, 20.0]], width: None, positive: false };
    let map = map(&ObjectPrompts { scribbles: vec![line], ..Default::default() });
    let mut shown = map.visible.clone();
    shown.sort_unstable();
    assert_eq!(shown, [0, 1, 2, 3, 4, 5, 6, 7, 15, 23]);
    assert!(map.values.iter().all(|&v| v == 0.0));
}

#[test]
fn a_box_shows_zeros_outside_and_nothing_inside() {
    let rules = MapRules { visible_share: Some(1.0), box_centre: false, ..MapRules::default() };
    let map = RegionMap::new(&boxed(16.0, 16.0, 39.0, 32.0), grid(), &rules, 0.25);
    // Patches 2..5 across, 2..4 down are touched by the box.
    let inside = |patch: u32| (2..5).contains(&(patch % 8)) && (2..4).contains(&(patch / 8));
    assert_eq!(map.visible.len(), 64 - 6);
    assert!(map.visible.iter().all(|&patch| !inside(patch)));
    assert!(map.values.iter().all(|&v| v == 0.0));
}

#[test]
fn a_box_shows_no_more_than_training_does() {
    let map = map(&boxed(24.0, 24.0, 40.0, 40.0));
    let zeros = map.visible.iter().filter(|&&p| values(&map, p as usize) == [0.0; 16]).count();
    assert_eq!(zeros, 16);
    // Half of them stand around it.
    let near = |p: u32| (2..6).contains(&(p % 8)) && (2..6).contains(&(p / 8));
    assert!(map.visible.iter().filter(|&&p| near(p)).count() >= 8);
    // The middle is the one patch of ones.
    assert_eq!(map.visible.len(), 17);
    assert!(map.values.contains(&1.0));
}

#[test]
fn a_click_outside_a_box_stays_outside() {
    let mut prompts = boxed(0.0, 0.0, 4.0, 64.0);
    prompts.clicks.push(click(2.0, 2.0, true));
    // The box ends in the middle of the patch.
    assert_eq!(values(&map(&prompts), 0), [1.0, 1.0, 0.0, 0.0].repeat(4));
}

#[test]
fn a_mask_shows_patches_that_its_border_does_not_cross() {
    let mask = Mask::from_fn(64, 64, |x, _| x < 20);
    let rules = MapRules { visible_share: Some(1.0), ..MapRules::default() };
    let prompts = ObjectPrompts { mask: Some(mask), ..Default::default() };
    let map = RegionMap::new(&prompts, grid(), &rules, 0.25);
    assert_eq!(map.visible.len(), 64 - 8);
    for row in 0..8 {
        assert_eq!(values(&map, 8 * row + 1), [1.0; 16]);
        assert!(values(&map, 8 * row + 2).is_empty());
        assert_eq!(values(&map, 8 * row + 3), [0.0; 16]);
    }
    let few = RegionMap::new(&prompts, grid(), &MapRules::default(), 0.25);
    let ones = few.visible.iter().filter(|&&p| values(&few, p as usize) == [1.0; 16]).count();
    assert_eq!((few.visible.len(), ones), (16, 8));
}

#[test]
fn a_mask_of_another_size_is_stretched() {
    let rules = MapRules { visible_share: Some(1.0), ..MapRules::default() };
    let of = |side: usize| {
        let mask = Some(Mask::from_fn(side, side, |x, y| 2 * x < side && 4 * y < side));
        RegionMap::new(&ObjectPrompts { mask, ..Default::default() }, grid(), &rules, 0.25)
    };
    assert_eq!(of(64), of(8));
}

#[test]
fn a_mask_smaller_than_a_patch_is_shown_as_it_is() {
    let mask = Mask::from_fn(64, 64, |x, y| (10..14).contains(&x) && (10..14).contains(&y));
    let rules = MapRules { visible_share: Some(0.0), ..MapRules::default() };
    let prompts = ObjectPrompts { mask: Some(mask), ..Default::default() };
    let map = RegionMap::new(&prompts, grid(), &rules, 0.25);
    assert_eq!(map.visible, [9]);
    assert_eq!(values(&map, 9).iter().sum::<f32>(), 4.0);
}

#[test]
fn strokes_are_shown_whatever_the_limit() {
    let line = Scribble { points: vec![[1.0, 1.0], [63.0, 1.0]], width: Some(40.0), positive: true };
    let prompts = ObjectPrompts { scribbles: vec![line], ..Default::default() };
    assert!(map(&prompts).visible.len() > 16);
}

#[test]
fn certainty_falls_away_from_a_click() {
    let map = map(&clicks(vec![click(4.0, 4.0, true)]));
    let at = |x: usize, y: usize| map.certain[y * 32 + x];
    assert!(at(2, 2) > 0.8 && at(2, 2) > at(3, 3) && at(3, 3) > 0.0);
    assert_eq!(at(10, 10), 0.0);
}

#[test]
fn prompts_beyond_the_square_do_no_harm() {
    let part = Grid { area: Rect { x0: 30.0, y0: 30.0, x1: 50.0, y1: 50.0 }, ..grid() };
    let prompts = clicks(vec![click(2.0, 2.0, true)]);
    let map = RegionMap::new(&prompts, part, &MapRules::default(), 0.25);
    assert_eq!(map.visible.len(), 1);
}
