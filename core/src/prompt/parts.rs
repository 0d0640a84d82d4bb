//! Connected parts of a mask.

/// A mask's runs along its rows, grouped to parts that hang together.
pub(super) struct Parts {
    /// Row, first column, end, group.
    runs: Vec<(u32, u32, u32, u32)>,
    groups: Vec<u32>,
}

/// The first place from `start` on whose pixel is `wanted`; eight alike at a time, as runs are long.
fn next(line: &[u8], start: usize, wanted: impl Fn(u8) -> bool) -> Option<usize> {
    let mut at = start;
    while let Some(&pixel) = line.get(at) {
        if wanted(pixel) {
            return Some(at);
        }
        let alike = u64::from_ne_bytes([pixel; 8]);
        let eights = line[at..].as_chunks::<8>().0.iter();
        let skipped = eights.take_while(|&&pixels| u64::from_ne_bytes(pixels) == alike).count();
        at += (8 * skipped).max(1);
    }
    None
}

impl Parts {
    /// Parts of the pixels of `value`, over sides, or over corners too.
    pub(super) fn new(mask: &[u8], width: usize, value: u8, corners: bool) -> Self {
        let mut parts = Self { runs: Vec::new(), groups: Vec::new() };
        let mut above = 0..0;
        for (row, line) in mask.chunks_exact(width.max(1)).enumerate() {
            let first = parts.runs.len();
            let mut end = 0;
            while let Some(start) = next(line, end, |pixel| pixel == value) {
                end = next(line, start, |pixel| pixel != value).unwrap_or(width);
                let group = parts.groups.len() as u32;
                parts.groups.push(group);
                parts.runs.push((row as u32, start as u32, end as u32, group));
            }
            parts.join(above, first, u32::from(corners));
            above = first..parts.runs.len();
        }
        parts
    }

    /// Joins the runs of the last row with those above that they touch.
    fn join(&mut self, mut above: std::ops::Range<usize>, first: usize, slack: u32) {
        for at in first..self.runs.len() {
            let (_, start, end, group) = self.runs[at];
            while above.start < above.end && self.runs[above.start].2 + slack <= start {
                above.start += 1;
            }
            for other in above.clone() {
                let (_, left, _, other_group) = self.runs[other];
                if left >= end + slack {
                    break;
                }
                let (a, b) = (self.find(group), self.find(other_group));
                self.groups[a.max(b) as usize] = a.min(b);
            }
        }
    }

    fn find(&mut self, mut group: u32) -> u32 {
        while self.groups[group as usize] != group {
            self.groups[group as usize] = self.groups[self.groups[group as usize] as usize];
            group = self.groups[group as usize];
        }
        group
    }

    /// One more than the highest number of a group.
    pub(super) fn groups(&self) -> usize {
        self.groups.len()
    }

    /// The group of a pixel of the parts; 0 for any other.
    pub(super) fn group_at(&mut self, x: usize, y: usize) -> usize {
        let after = self.runs.partition_point(|run| (run.0 as usize, run.1 as usize) <= (y, x));
        after.checked_sub(1).map_or(0, |at| self.find(self.runs[at].3) as usize)
    }

    /// Pixels of every group, by its number.
    pub(super) fn areas(&mut self) -> Vec<usize> {
        let mut areas = vec![0; self.groups.len()];
        for at in 0..self.runs.len() {
            let (_, start, end, group) = self.runs[at];
            areas[self.find(group) as usize] += (end - start) as usize;
        }
        areas
    }

    /// Groups with a pixel of which `which` (row, first column, end) holds.
    pub(super) fn holding(&mut self, which: impl Fn(usize, usize, usize) -> bool) -> Vec<bool> {
        let mut holding = vec![false; self.groups.len()];
        for at in 0..self.runs.len() {
            let (row, start, end, group) = self.runs[at];
            if which(row as usize, start as usize, end as usize) {
                holding[self.find(group) as usize] = true;
            }
        }
        holding
    }

    /// Sets the pixels of all groups of which `which` holds.
    pub(super) fn paint(&mut self, mask: &mut [u8], width: usize, value: u8, which: impl Fn(usize) -> bool) {
        for at in 0..self.runs.len() {
            let (row, start, end, group) = self.runs[at];
            if which(self.find(group) as usize) {
                let line = row as usize * width;
                mask[line + start as usize..line + end as usize].fill(value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_pixel_is_found_behind_runs_of_any_length() {
        let mut line = vec![0; 100];
        for at in [0, 1, 9, 10, 30, 99] {
            line[at] = 1;
        }
        for start in 0..=line.len() {
            for value in [0, 1] {
                let right = (start..line.len()).find(|&at| line[at] == value);
                assert_eq!(next(&line, start, |pixel| pixel == value), right, "{value} from {start}");
            }
        }
    }

    #[test]
    fn parts_hang_together_over_sides_or_over_corners_too() {
        // Row by row: 1 1 0 0, then 0 0 1 1, then 1 0 0 0.
        let mask = [1, 1, 0, 0, 0, 0, 1, 1, 1, 0, 0, 0];
        for (corners, areas) in [(false, vec![2, 2, 1]), (true, vec![4, 1])] {
            let mut parts = Parts::new(&mask, 4, 1, corners);
            let found: Vec<usize> = parts.areas().into_iter().filter(|&area| area > 0).collect();
            assert_eq!(found, areas);
        }
    }
}
