//! Exact Euclidean distances in a binary picture, in linear time.

/// For each pixel of `inside [height, width]` the squared distance, in pixels, to the nearest pixel
/// that is not inside; the outside of the picture counts as such. 0 where the pixel is not inside.
///
/// Two passes of the lower envelope of parabolas (Felzenszwalb and Huttenlocher, "Distance
/// Transforms of Sampled Functions"), down the columns and along the rows.
#[must_use]
pub fn squared_distances(inside: &[bool], width: usize, height: usize) -> Vec<f32> {
    transform(inside, width, height, 0.0)
}

/// For each pixel of `inside [height, width]` the signed distance, in pixels, to the border between
/// inside and outside, negative inside: half a pixel for neighbours of that border. The picture's own border
/// is none. All 0 where everything is inside, or nothing.
#[must_use]
pub fn signed_distances(inside: &[bool], width: usize, height: usize) -> Vec<f32> {
    let outside: Vec<bool> = inside.iter().map(|&inside| !inside).collect();
    let within = transform(inside, width, height, f32::INFINITY);
    let beyond = transform(&outside, width, height, f32::INFINITY);
    let signed = |(&within, &beyond): (&f32, &f32)| {
        if within.is_infinite() || beyond.is_infinite() {
            return 0.0;
        }
        if within > 0.0 { 0.5 - within.sqrt() } else { beyond.sqrt() - 0.5 }
    };
    within.iter().zip(&beyond).map(signed).collect()
}

/// `beyond` is the squared distance to an outside pixel of the places around the picture: 0, or infinity where
/// these count for nothing.
fn transform(inside: &[bool], width: usize, height: usize, beyond: f32) -> Vec<f32> {
    let mut out = vec![0.0; width * height];
    if width == 0 || height == 0 || inside.len() < width * height {
        return out;
    }
    let longest = width.max(height) + 2;
    let mut envelope = Envelope::new(longest);
    let mut line = Vec::with_capacity(longest);
    for x in 0..width {
        let column = (0..height).map(|y| if inside[y * width + x] { f32::INFINITY } else { 0.0 });
        bordered(&mut line, beyond, column);
        envelope.transform(&line, |y, d| out[y * width + x] = d);
    }
    for row in out.chunks_exact_mut(width) {
        bordered(&mut line, beyond, row.iter().copied());
        envelope.transform(&line, |x, d| row[x] = d);
    }
    out
}

/// A line between what stands for the picture's outside.
fn bordered(line: &mut Vec<f32>, border: f32, values: impl Iterator<Item = f32>) {
    line.clear();
    line.push(border);
    line.extend(values);
    line.push(border);
}

/// The parabolas that are lowest somewhere, from left to right.
struct Envelope {
    vertex: Vec<usize>,
    /// Where each parabola begins to be the lowest.
    from: Vec<f32>,
}

impl Envelope {
    fn new(longest: usize) -> Self {
        Self { vertex: Vec::with_capacity(longest), from: Vec::with_capacity(longest) }
    }

    /// `min_q (p − q)² + line[q]` for each `p` but the borders, given to `put(p − 1, value)`.
    fn transform(&mut self, line: &[f32], mut put: impl FnMut(usize, f32)) {
        self.build(line);
        if self.vertex.is_empty() {
            return (0..line.len() - 2).for_each(|at| put(at, f32::INFINITY));
        }
        let mut k = 0;
        for p in 1..line.len() - 1 {
            while k + 1 < self.from.len() && self.from[k + 1] < p as f32 {
                k += 1;
            }
            let q = self.vertex[k];
            let step = p as f32 - q as f32;
            put(p - 1, step * step + line[q]);
        }
    }

    fn build(&mut self, line: &[f32]) {
        self.vertex.clear();
        self.from.clear();
        for (q, &height) in line.iter().enumerate() {
            if height.is_infinite() {
                continue;
            }
            let mut start = f32::NEG_INFINITY;
            while let Some(&v) = self.vertex.last() {
                start = crossing(v, line[v], q, height);
                if start > self.from[self.vertex.len() - 1] {
                    break;
                }
                self.vertex.pop();
                self.from.pop();
                start = f32::NEG_INFINITY;
            }
            self.vertex.push(q);
            self.from.push(start);
        }
    }
}

/// Where the parabola over `q` becomes lower than the one over `v < q`.
fn crossing(v: usize, at_v: f32, q: usize, at_q: f32) -> f32 {
    let (v, q) = (v as f32, q as f32);
    ((at_q + q * q) - (at_v + v * v)) / (2.0 * (q - v))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn by_search(inside: &[bool], width: usize, height: usize) -> Vec<f32> {
        let outside = |x: i64, y: i64| {
            x < 0
                || y < 0
                || x >= width as i64
                || y >= height as i64
                || !inside[y as usize * width + x as usize]
        };
        let mut out = vec![];
        for y in 0..height as i64 {
            for x in 0..width as i64 {
                let places = (-1..=height as i64).flat_map(|v| (-1..=width as i64).map(move |u| (u, v)));
                let nearest = places
                    .filter(|&(u, v)| outside(u, v))
                    .map(|(u, v)| (x - u).pow(2) + (y - v).pow(2))
                    .min();
                out.push(nearest.unwrap_or(0) as f32);
            }
        }
        out
    }

    proptest! {
        #[test]
        fn equal_to_a_search_of_all_pixels(
            width in 1usize..12, height in 1usize..12, bits in prop::collection::vec(prop::bool::weighted(0.8), 144),
        ) {
            let inside = &bits[..width * height];
            prop_assert_eq!(squared_distances(inside, width, height), by_search(inside, width, height));
        }
    }

    proptest! {
        #[test]
        fn signed_distances_are_those_of_a_search(
            width in 1usize..10, height in 1usize..10, bits in prop::collection::vec(any::<bool>(), 100),
        ) {
            let inside = &bits[..width * height];
            let signed = signed_distances(inside, width, height);
            let mixed = inside.contains(&true) && inside.contains(&false);
            for (at, &have) in signed.iter().enumerate() {
                let apart = |other: usize| {
                    let (dx, dy) = ((at % width).abs_diff(other % width), (at / width).abs_diff(other / width));
                    ((dx * dx + dy * dy) as f32).sqrt()
                };
                let others = (0..inside.len()).filter(|&other| inside[other] != inside[at]);
                let nearest = others.map(apart).fold(f32::INFINITY, f32::min) - 0.5;
                let want = if inside[at] { -nearest } else { nearest };
                prop_assert_eq!(have, if mixed { want } else { 0.0 });
            }
        }
    }

    #[test]
    fn the_middle_of_a_full_picture_is_farthest() {
        let distances = squared_distances(&[true; 35], 7, 5);
        assert_eq!(distances[2 * 7 + 3], 9.0);
        assert_eq!(distances[0], 1.0);
        assert!(squared_distances(&[], 0, 0).is_empty());
    }
}
