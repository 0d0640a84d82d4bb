//! Lines with fewer corners.

use super::polygon::doubled_area;

/// The ring with as few corners as stay within `tolerance`; itself when nothing is left of it, or
/// for a tolerance of 0.
pub(super) fn simplify(ring: Vec<[f32; 2]>, tolerance: f32) -> Vec<[f32; 2]> {
    if ring.len() < 4 || tolerance.is_nan() || tolerance <= 0.0 {
        return ring;
    }
    let far = farthest(&ring, |point| distance2(point, ring[0]));
    let mut keep = vec![false; ring.len() + 1];
    let closed: Vec<[f32; 2]> = ring.iter().copied().chain([ring[0]]).collect();
    (keep[0], keep[far]) = (true, true);
    let mut stack = vec![(0, far), (far, ring.len())];
    while let Some((start, end)) = stack.pop() {
        let middle = &closed[start + 1..end];
        if middle.is_empty() {
            continue;
        }
        let to_line = |point| distance2_to_segment(point, closed[start], closed[end]);
        let at = start + 1 + farthest(middle, to_line);
        if to_line(closed[at]) > tolerance * tolerance {
            keep[at] = true;
            stack.extend([(start, at), (at, end)]);
        }
    }
    let fewer: Vec<[f32; 2]> = ring.iter().zip(&keep).filter(|(_, keep)| **keep).map(|(p, _)| *p).collect();
    // A sliver would vanish, or turn over.
    if doubled_area(&fewer) * doubled_area(&ring) > 0.0 { fewer } else { ring }
}

fn farthest(points: &[[f32; 2]], distance: impl Fn([f32; 2]) -> f32) -> usize {
    let all = points.iter().map(|&point| distance(point)).enumerate();
    all.max_by(|a, b| a.1.total_cmp(&b.1)).map_or(0, |(at, _)| at)
}

fn distance2(a: [f32; 2], b: [f32; 2]) -> f32 {
    (a[0] - b[0]).powi(2) + (a[1] - b[1]).powi(2)
}

fn distance2_to_segment(point: [f32; 2], from: [f32; 2], to: [f32; 2]) -> f32 {
    let length2 = distance2(from, to);
    let dot = (point[0] - from[0]) * (to[0] - from[0]) + (point[1] - from[1]) * (to[1] - from[1]);
    let place = if length2 > 0.0 { (dot / length2).clamp(0.0, 1.0) } else { 0.0 };
    distance2(point, [from[0] + place * (to[0] - from[0]), from[1] + place * (to[1] - from[1])])
}
