//! Logits where the prompt showed the map.
//!
//! Training scores masked patches only, so what the decoder says about a visible one means nothing.
//! There, the prompt itself and the predictions around it are put in its place: the predictions at
//! the rim of the visible patches are spread over them as a membrane (the solution of Laplace's
//! equation), and towards a stroke, or all over a patch that a box or a mask shows, the certain value
//! takes over.

use super::region_map::RegionMap;

/// Logit of a pixel that a prompt is certain about.
const FIRM: f32 = 6.0;
/// Sweeps over the membrane; it is as wide as a few patches, and need not be exact.
const SWEEPS: usize = 80;

/// Replaces the logits `[S, S]` of visible patches.
pub(super) fn fill_visible(logits: &mut [f32], map: &RegionMap, side: usize, patch: usize) {
    let visible = visible_pixels(map, side, patch);
    let firm = |i: usize| if map.values[i] > 0.5 { FIRM } else { -FIRM };
    let start = mean_at_rim(logits, &visible, side);
    let mut open: Vec<usize> = vec![];
    for (i, _) in visible.iter().enumerate().filter(|(_, seen)| **seen) {
        // Fully certain pixels stand like predictions: the membrane is held by them too.
        if map.certain[i] >= 1.0 {
            logits[i] = firm(i);
        } else {
            logits[i] = start;
            open.push(i);
        }
    }
    relax(logits, &open, side);
    for i in open {
        let certain = map.certain[i];
        logits[i] = certain * firm(i) + (1.0 - certain) * logits[i];
    }
}

fn visible_pixels(map: &RegionMap, side: usize, patch: usize) -> Vec<bool> {
    let n = side / patch;
    let mut visible = vec![false; side * side];
    for &id in &map.visible {
        let (left, top) = (id as usize % n * patch, id as usize / n * patch);
        for row in top..top + patch {
            visible[row * side + left..][..patch].fill(true);
        }
    }
    visible
}

fn neighbours(i: usize, side: usize) -> impl Iterator<Item = usize> {
    let (x, y) = (i % side, i / side);
    let left = (x > 0).then(|| i - 1);
    let right = (x + 1 < side).then_some(i + 1);
    let above = (y > 0).then(|| i - side);
    let below = (y + 1 < side).then_some(i + side);
    [left, right, above, below].into_iter().flatten()
}

/// Mean prediction beside visible patches; 0 where everything is visible.
fn mean_at_rim(logits: &[f32], visible: &[bool], side: usize) -> f32 {
    let (mut sum, mut count) = (0.0, 0);
    for i in (0..visible.len()).filter(|&i| !visible[i]) {
        if neighbours(i, side).any(|j| visible[j]) {
            sum += logits[i];
            count += 1;
        }
    }
    if count == 0 { 0.0 } else { sum / count as f32 }
}

/// Gauss-Seidel: each open pixel becomes the mean of its neighbours, again and again.
fn relax(logits: &mut [f32], open: &[usize], side: usize) {
    for sweep in 0..SWEEPS {
        let mean = |logits: &mut [f32], i: usize| {
            let (mut sum, mut count) = (0.0, 0.0);
            for j in neighbours(i, side) {
                sum += logits[j];
                count += 1.0;
            }
            logits[i] = sum / f32::max(count, 1.0);
        };
        // Back and forth, so that no direction is favoured.
        if sweep % 2 == 0 {
            open.iter().for_each(|&i| mean(logits, i));
        } else {
            open.iter().rev().for_each(|&i| mean(logits, i));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(certain: f32, value: f32) -> RegionMap {
        RegionMap { values: vec![value; 144], visible: vec![4], certain: vec![certain; 144] }
    }

    #[test]
    fn a_certain_patch_is_firm_and_the_rest_stays() {
        let mut logits: Vec<f32> = (0..144).map(|i| i as f32).collect();
        let before = logits.clone();
        fill_visible(&mut logits, &map(1.0, 0.0), 12, 4);
        for i in 0..144 {
            let inside = (4..8).contains(&(i % 12)) && (4..8).contains(&(i / 12));
            assert_eq!(logits[i], if inside { -FIRM } else { before[i] });
        }
    }

    #[test]
    fn an_uncertain_patch_continues_what_is_around_it() {
        // A plane is its own membrane, whatever stood in the patch.
        let plane = |i: usize| 0.5 * (i % 12) as f32 - (i / 12) as f32;
        let mut logits: Vec<f32> = (0..144).map(plane).collect();
        for y in 4..8 {
            logits[y * 12 + 4..y * 12 + 8].fill(1000.0);
        }
        fill_visible(&mut logits, &map(0.0, 1.0), 12, 4);
        assert!((0..144).all(|i| (logits[i] - plane(i)).abs() < 1e-2));
    }

    #[test]
    fn without_a_masked_patch_only_the_prompt_counts() {
        let mut all = map(0.25, 1.0);
        all.visible = (0..9).collect();
        let mut logits = vec![9.0; 144];
        fill_visible(&mut logits, &all, 12, 4);
        assert!(logits.iter().all(|&v| (v - 0.25 * FIRM).abs() < 1e-6));
    }
}
