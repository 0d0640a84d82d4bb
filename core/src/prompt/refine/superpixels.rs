//! Superpixels: small patches of one colour whose borders follow the edges of the image
//! (simple linear iterative clustering, Achanta et al. 2012), and who touches whom.

use super::colour::{Lab, distance2};

/// How much a place counts against a colour.
const COMPACTNESS: f32 = 8.0;
const ROUNDS: usize = 5;

/// One superpixel.
#[derive(Clone, Default)]
pub(super) struct Patch {
    /// Pixels.
    pub(super) area: f32,
    /// Mean colour.
    pub(super) colour: Lab,
    /// Centre, in pixels.
    pub(super) centre: [f32; 2],
    /// Pixels on the border of the image.
    pub(super) border: f32,
}

/// One superpixel's view of a neighbour.
#[derive(Clone, Copy)]
pub(super) struct Touch {
    pub(super) other: u32,
    /// Length of the common border.
    pub(super) length: f32,
    /// The same, every piece weighed by how little the colours differ across it (0 to 1).
    pub(super) smooth: f32,
    /// Difference of the mean colours.
    pub(super) difference: f32,
}

/// A picture cut into superpixels.
pub(super) struct Superpixels {
    pub(super) labels: Vec<u32>,
    pub(super) patches: Vec<Patch>,
    touches: Vec<Touch>,
    starts: Vec<u32>,
}

impl Superpixels {
    /// Of about `step × step` pixels each.
    pub(super) fn new(lab: &[Lab], width: usize, height: usize, step: f32) -> Self {
        let clusters = Clusters::new(lab, width, height, step).run();
        let labels = connect(&clusters, lab, width, height, (step * step / 4.0) as u32);
        let patches = measure(&labels, lab, width, height);
        let (touches, starts) = touches(&labels, &patches, lab, width, height);
        Self { labels, patches, touches, starts }
    }

    pub(super) fn len(&self) -> usize {
        self.patches.len()
    }

    pub(super) fn around(&self, patch: usize) -> &[Touch] {
        &self.touches[self.starts[patch] as usize..self.starts[patch + 1] as usize]
    }
}

struct Centre {
    colour: Lab,
    x: f32,
    y: f32,
}

struct Clusters<'a> {
    lab: &'a [Lab],
    width: usize,
    height: usize,
    step: f32,
    centres: Vec<Centre>,
}

impl<'a> Clusters<'a> {
    fn new(lab: &'a [Lab], width: usize, height: usize, step: f32) -> Self {
        let cells = |side: usize| ((side as f32 / step).round() as usize).clamp(1, side);
        let (columns, rows) = (cells(width), cells(height));
        let mut centres = Vec::with_capacity(columns * rows);
        for row in 0..rows {
            for column in 0..columns {
                let x = (column as f32 + 0.5) * width as f32 / columns as f32;
                let y = (row as f32 + 0.5) * height as f32 / rows as f32;
                let (x, y) = calmest(lab, width, height, x as usize, y as usize);
                let colour = lab[y * width + x];
                centres.push(Centre { colour, x: x as f32, y: y as f32 });
            }
        }
        Self { lab, width, height, step, centres }
    }

    fn run(mut self) -> Vec<u32> {
        let mut labels = vec![0; self.lab.len()];
        let mut nearest = vec![f32::INFINITY; self.lab.len()];
        for _ in 0..ROUNDS {
            nearest.fill(f32::INFINITY);
            for at in 0..self.centres.len() {
                self.claim(at, &mut labels, &mut nearest);
            }
            self.move_to_means(&labels);
        }
        labels
    }

    /// Gives a centre the pixels around it to which it is nearest so far.
    fn claim(&self, at: usize, labels: &mut [u32], nearest: &mut [f32]) {
        let Centre { colour, x, y } = self.centres[at];
        let reach = 1.6 * self.step + 1.0;
        let span = |centre: f32, side: usize| {
            ((centre - reach).max(0.0) as usize, ((centre + reach + 1.0) as usize).min(side))
        };
        let ((left, right), (top, bottom)) = (span(x, self.width), span(y, self.height));
        let scale = (COMPACTNESS / self.step).powi(2);
        for row in top..bottom {
            let dy = row as f32 - y;
            let line = row * self.width;
            let pixels = line + left..line + right;
            let lab = &self.lab[pixels.clone()];
            let old = nearest[pixels.clone()].iter_mut().zip(&mut labels[pixels]);
            for ((column, &pixel), (old, label)) in (left..).zip(lab).zip(old) {
                let dx = column as f32 - x;
                let distance = distance2(pixel, colour) + scale * (dx * dx + dy * dy);
                if distance < *old {
                    (*old, *label) = (distance, at as u32);
                }
            }
        }
    }

    fn move_to_means(&mut self, labels: &[u32]) {
        let mut sums = vec![[0.0f32; 6]; self.centres.len()];
        for (row, line) in labels.chunks_exact(self.width).enumerate() {
            for (column, &label) in line.iter().enumerate() {
                let [l, a, b] = self.lab[row * self.width + column];
                let values = [l, a, b, column as f32, row as f32, 1.0];
                for (sum, value) in sums[label as usize].iter_mut().zip(values) {
                    *sum += value;
                }
            }
        }
        for (centre, [l, a, b, x, y, count]) in self.centres.iter_mut().zip(sums) {
            if count > 0.0 {
                let colour = [l / count, a / count, b / count];
                *centre = Centre { colour, x: x / count, y: y / count };
            }
        }
    }
}

/// The pixel of the 3×3 around a place where the colours change least.
fn calmest(lab: &[Lab], width: usize, height: usize, x: usize, y: usize) -> (usize, usize) {
    let (x, y) = (x.min(width - 1), y.min(height - 1));
    let mut best = (f32::INFINITY, x, y);
    for row in y.saturating_sub(1)..=(y + 1).min(height - 1) {
        for column in x.saturating_sub(1)..=(x + 1).min(width - 1) {
            let at = |x: usize, y: usize| lab[y.min(height - 1) * width + x.min(width - 1)];
            let across = distance2(at(column.saturating_sub(1), row), at(column + 1, row));
            let along = distance2(at(column, row.saturating_sub(1)), at(column, row + 1));
            if across + along < best.0 {
                best = (across + along, column, row);
            }
        }
    }
    (best.1, best.2)
}

/// Splits clusters into connected parts, and joins parts of fewer than `least` pixels to the
/// neighbour most like them.
fn connect(clusters: &[u32], lab: &[Lab], width: usize, height: usize, least: u32) -> Vec<u32> {
    let (parts, count) = components(clusters, width, height);
    let patches = measure_counted(&parts, lab, width, height, count);
    let mut group: Vec<u32> = (0..count as u32).collect();
    let mut area: Vec<u32> = patches.iter().map(|patch| patch.area as u32).collect();
    let mut nearest = vec![(f32::INFINITY, 0u32); count];
    for (a, b) in borders(&parts, width) {
        let difference = distance2(patches[a as usize].colour, patches[b as usize].colour);
        for (from, to) in [(a, b), (b, a)] {
            if difference < nearest[from as usize].0 {
                nearest[from as usize] = (difference, to);
            }
        }
    }
    for part in 0..count as u32 {
        let root = find(&mut group, part);
        let (difference, to) = nearest[part as usize];
        let to = find(&mut group, to);
        if area[root as usize] < least && difference.is_finite() && to != root {
            group[root as usize] = to;
            area[to as usize] += area[root as usize];
        }
    }
    let joined: Vec<u32> = parts.iter().map(|&part| find(&mut group, part)).collect();
    renumber(joined, count)
}

pub(super) fn find(group: &mut [u32], mut part: u32) -> u32 {
    while group[part as usize] != part {
        group[part as usize] = group[group[part as usize] as usize];
        part = group[part as usize];
    }
    part
}

fn renumber(mut labels: Vec<u32>, count: usize) -> Vec<u32> {
    let mut numbers = vec![u32::MAX; count];
    let mut next = 0;
    for label in &mut labels {
        let number = &mut numbers[*label as usize];
        if *number == u32::MAX {
            *number = next;
            next += 1;
        }
        *label = *number;
    }
    labels
}

/// Parts of equal value that hang together over sides, and their number.
pub(super) fn components<T: PartialEq>(values: &[T], width: usize, height: usize) -> (Vec<u32>, usize) {
    let mut parts = vec![u32::MAX; values.len()];
    let mut stack = Vec::new();
    let mut count = 0;
    for seed in 0..values.len() {
        if parts[seed] != u32::MAX {
            continue;
        }
        parts[seed] = count;
        stack.push(seed);
        while let Some(at) = stack.pop() {
            for next in sides(at, width, height) {
                if parts[next] == u32::MAX && values[next] == values[seed] {
                    parts[next] = count;
                    stack.push(next);
                }
            }
        }
        count += 1;
    }
    (parts, count as usize)
}

/// The up to four pixels that share a side with `at`.
fn sides(at: usize, width: usize, height: usize) -> impl Iterator<Item = usize> {
    let (x, y) = (at % width, at / width);
    let left = (x > 0).then(|| at - 1);
    let right = (x + 1 < width).then_some(at + 1);
    let above = (y > 0).then(|| at - width);
    let below = (y + 1 < height).then_some(at + width);
    [left, right, above, below].into_iter().flatten()
}

/// Every pair of unlike labels side by side.
fn borders(labels: &[u32], width: usize) -> impl Iterator<Item = (u32, u32)> {
    let across = labels.chunks_exact(width).flat_map(|line| line.iter().zip(&line[1..]));
    let down = labels.iter().zip(&labels[width.min(labels.len())..]);
    across.chain(down).filter(|(a, b)| a != b).map(|(&a, &b)| (a, b))
}

fn measure(labels: &[u32], lab: &[Lab], width: usize, height: usize) -> Vec<Patch> {
    let count = labels.iter().max().map_or(0, |&most| most as usize + 1);
    measure_counted(labels, lab, width, height, count)
}

fn measure_counted(labels: &[u32], lab: &[Lab], width: usize, height: usize, count: usize) -> Vec<Patch> {
    let mut patches = vec![Patch::default(); count];
    for (y, (line, colours)) in labels.chunks_exact(width).zip(lab.chunks_exact(width)).enumerate() {
        for (x, (&label, colour)) in line.iter().zip(colours).enumerate() {
            let patch = &mut patches[label as usize];
            patch.area += 1.0;
            patch.centre[0] += x as f32 + 0.5;
            patch.centre[1] += y as f32 + 0.5;
            let at_border = x == 0 || y == 0 || x + 1 == width || y + 1 == height;
            patch.border += f32::from(u8::from(at_border));
            for (sum, value) in patch.colour.iter_mut().zip(colour) {
                *sum += value;
            }
        }
    }
    for patch in &mut patches {
        let area = patch.area.max(1.0);
        patch.colour = patch.colour.map(|sum| sum / area);
        patch.centre = patch.centre.map(|sum| sum / area);
    }
    patches
}

/// Neighbours of every patch, in compressed rows.
fn touches(
    labels: &[u32], patches: &[Patch], lab: &[Lab], width: usize, height: usize,
) -> (Vec<Touch>, Vec<u32>) {
    let mut pairs = Vec::new();
    for (right, down, length) in [(1, 0, 1.0), (0, 1, 1.0), (1, 1, 0.707), (-1, 1, 0.707)] {
        pieces(labels, lab, (width, height), (right, down), length, &mut pairs);
    }
    let mean = pairs.iter().map(|piece| piece.3).sum::<f32>() / pairs.len().max(1) as f32;
    let scale = -0.5 / mean.max(1e-6);
    pairs.sort_unstable_by_key(|&(a, b, ..)| (a, b));
    let mut touches: Vec<Touch> = Vec::new();
    let mut starts = vec![0u32; patches.len() + 1];
    let mut last = (u32::MAX, u32::MAX);
    for (a, b, length, difference2) in pairs {
        if (a, b) != last {
            last = (a, b);
            starts[a as usize + 1] += 1;
            let difference = distance2(patches[a as usize].colour, patches[b as usize].colour).sqrt();
            touches.push(Touch { other: b, length: 0.0, smooth: 0.0, difference });
        }
        if let Some(touch) = touches.last_mut() {
            touch.length += length;
            touch.smooth += length * (scale * difference2).exp();
        }
    }
    for at in 1..starts.len() {
        starts[at] += starts[at - 1];
    }
    (touches, starts)
}

type Piece = (u32, u32, f32, f32);

/// Pieces of border between a pixel and the one `step` away, seen from both sides.
fn pieces(
    labels: &[u32], lab: &[Lab], (width, height): (usize, usize), (right, down): (isize, usize), length: f32,
    pairs: &mut Vec<Piece>,
) {
    for y in 0..height.saturating_sub(down) {
        for x in usize::from(right < 0)..width.saturating_sub(usize::from(right > 0)) {
            let at = y * width + x;
            let to = (at + down * width).wrapping_add_signed(right);
            let (a, b) = (labels[at], labels[to]);
            if a != b {
                let difference2 = distance2(lab[at], lab[to]);
                pairs.push((a, b, length, difference2));
                pairs.push((b, a, length, difference2));
            }
        }
    }
}
