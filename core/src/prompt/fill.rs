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
const SWEEPS: usize = 30;
/// How far a pixel goes towards the mean of its neighbours, and beyond it: near the best for a membrane
/// as wide as a patch, and as exact after 30 sweeps there as going to the mean is after 300.
const RELAXATION: f32 = 1.7;

/// Replaces the logits `[S, S]` of visible patches.
pub(super) fn fill_visible(logits: &mut Vec<f32>, map: &RegionMap, side: usize, patch: usize) {
    let visible = visible_pixels(map, side, patch);
    let firm = |i: usize| if map.values[i] > 0.5 { FIRM } else { -FIRM };
    let start = mean_at_rim(logits, &visible, side);
    let mut open: Vec<Open> = vec![];
    for (y, line) in visible.chunks_exact(side).enumerate().filter(|(_, line)| line.contains(&true)) {
        for x in (0..side).filter(|&x| line[x]) {
            let i = y * side + x;
            // Fully certain pixels stand like predictions: the membrane is held by them too.
            if map.certain[i] >= 1.0 {
                logits[i] = firm(i);
            } else {
                logits[i] = start;
                open.push(Open::new(x, y, side));
            }
        }
    }
    relax(logits, &open);
    for i in open.iter().map(|open| open.at as usize) {
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

/// A pixel that takes the mean of its neighbours.
struct Open {
    at: u32,
    /// The left, right, upper and lower neighbour; where there is none, the place after the last pixel.
    beside: [u32; 4],
    /// One over their number.
    share: f32,
}

impl Open {
    fn new(x: usize, y: usize, side: usize) -> Self {
        let (at, none) = (y * side + x, side * side);
        let beside = [
            if x > 0 { at - 1 } else { none },
            if x + 1 < side { at + 1 } else { none },
            if y > 0 { at - side } else { none },
            if y + 1 < side { at + side } else { none },
        ];
        let count = beside.iter().filter(|&&j| j != none).count();
        Self { at: at as u32, beside: beside.map(|j| j as u32), share: 1.0 / count.max(1) as f32 }
    }
}

/// Mean prediction beside visible patches; 0 where everything is visible.
fn mean_at_rim(logits: &[f32], visible: &[bool], side: usize) -> f32 {
    let (mut sum, mut count) = (0.0, 0);
    let nothing = vec![false; side];
    let row = |y: Option<usize>| y.and_then(|y| visible.chunks_exact(side).nth(y)).unwrap_or(&nothing);
    for (y, line) in visible.chunks_exact(side).enumerate() {
        let (above, below) = (row(y.checked_sub(1)), row(Some(y + 1)));
        if ![above, line, below].iter().any(|row| row.contains(&true)) {
            continue;
        }
        for x in (0..side).filter(|&x| !line[x]) {
            let beside = x > 0 && line[x - 1] || x + 1 < side && line[x + 1];
            if beside || above[x] || below[x] {
                sum += logits[y * side + x];
                count += 1;
            }
        }
    }
    if count == 0 { 0.0 } else { sum / count as f32 }
}

/// Successive over-relaxation: each open pixel moves to the mean of its neighbours and on, again and again.
fn relax(logits: &mut Vec<f32>, open: &[Open]) {
    // Stands for neighbours beyond the edge.
    logits.push(0.0);
    let mean = |logits: &mut [f32], open: &Open| {
        let [left, right, above, below] = open.beside.map(|j| logits[j as usize]);
        // What the sweep has just written comes last, so that little waits for it.
        let here = &mut logits[open.at as usize];
        *here += RELAXATION * (((above + below) + (left + right)) * open.share - *here);
    };
    for sweep in 0..SWEEPS {
        // Back and forth, so that no direction is favoured.
        if sweep % 2 == 0 {
            open.iter().for_each(|open| mean(logits, open));
        } else {
            open.iter().rev().for_each(|open| mean(logits, open));
        }
    }
    logits.pop();
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
