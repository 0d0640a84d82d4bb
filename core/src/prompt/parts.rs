//! Connected parts of a mask.

/// A mask's runs along its rows, grouped to parts that hang together.
pub(super) struct Parts {
    /// Row, first column, end, group.
    runs: Vec<(u32, u32, u32, u32)>,
    groups: Vec<u32>,
}

impl Parts {
    /// Parts of the pixels of `value`, over sides, or over corners too.
    pub(super) fn new(mask: &[u8], width: usize, value: u8, corners: bool) -> Self {
        let mut parts = Self { runs: Vec::new(), groups: Vec::new() };
        let mut above = 0..0;
        for (row, line) in mask.chunks_exact(width.max(1)).enumerate() {
            let first = parts.runs.len();
            let mut end = 0;
            while let Some(start) = line[end..].iter().position(|&pixel| pixel == value) {
                let start = end + start;
                let length = line[start..].iter().position(|&pixel| pixel != value);
                end = length.map_or(width, |length| start + length);
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
