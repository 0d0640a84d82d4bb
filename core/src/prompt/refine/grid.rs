//! Minimum cut of pixels that are joined to their eight neighbours.
//!
//! Most pixels of a narrow band are decided by what is beside them: one that is drawn to a side more
//! strongly than all undecided neighbours together could draw it to the other is on that side in
//! every minimum cut, and draws its neighbours there. What is left, often a tenth, is a small graph
//! for [`Network`].

use super::maxflow::Network;

/// How many neighbours come after a pixel in raster order: the right one and the three below it.
pub(super) const AFTER: usize = 4;

/// Steps to the neighbours, right and down: those after a pixel, then those before it, so that the
/// neighbour in direction `d` sees the pixel in direction `(d + AFTER) % 8`.
pub(super) const STEPS: [(isize, isize); 2 * AFTER] =
    [(1, 0), (-1, 1), (0, 1), (1, 1), (-1, 0), (1, -1), (0, -1), (-1, -1)];

/// Which neighbours of a pixel are in the graph, and where.
#[derive(Clone, Copy, Default, Debug, PartialEq)]
pub(super) struct Links {
    /// Bit `d`: the neighbour in direction `d` of [`STEPS`].
    present: u8,
    /// The first pixel that does not come before the neighbours above, and below.
    above: u32,
    below: u32,
}

impl Links {
    pub(super) fn has(self, direction: usize) -> bool {
        self.present >> direction & 1 == 1
    }

    pub(super) fn all(self) -> bool {
        self.present == u8::MAX
    }

    /// The number of the neighbour in `direction`, which must be present, of pixel `number`.
    pub(super) fn to(self, number: usize, direction: usize) -> usize {
        let (above, below) = (self.above as usize, self.below as usize);
        let one_of = |direction: usize| usize::from(self.has(direction));
        match direction {
            0 => number + 1,
            1 => below,
            2 => below + one_of(1),
            3 => below + one_of(1) + one_of(2),
            4 => number - 1,
            5 => above + one_of(7) + one_of(6),
            6 => above + one_of(7),
            _ => above,
        }
    }
}

/// Links of the pixels of `list`, places in raster order in an image `width` wide, among each other.
pub(super) fn link(list: &[u32], width: usize) -> Vec<Links> {
    let (mut y, mut above, mut below) = (0, 0, 0);
    let link = |(number, &at): (usize, &u32)| {
        let at = at as usize;
        while at >= (y + 1) * width {
            y += 1;
        }
        let x = at - y * width;
        let sides = [x > 0, x + 1 < width];
        let reach = width + usize::from(sides[0]);
        while list[above] as usize + reach < at {
            above += 1;
        }
        while list.get(below).is_some_and(|&other| other as usize + reach < at + 2 * width) {
            below += 1;
        }
        let [upper_left, up, upper_right] =
            if at < width { [false; 3] } else { beside(list, above, at - width, sides) };
        let [lower_left, down, lower_right] = beside(list, below, at + width, sides);
        let left = sides[0] && number > 0 && list[number - 1] as usize + 1 == at;
        let right = sides[1] && list.get(number + 1).is_some_and(|&other| other as usize == at + 1);
        // The last is bit 0.
        let there = [upper_left, up, upper_right, left, lower_right, down, lower_left, right];
        let present = there.into_iter().fold(0, |bits, there| bits << 1 | u8::from(there));
        Links { present, above: above as u32, below: below as u32 }
    };
    list.iter().enumerate().map(link).collect()
}

/// Whether the pixels to the left of `place`, at it and to its right are in the list, where `first` is
/// the first that does not come before them. `sides`: whether the image has one on the left and right.
fn beside(list: &[u32], first: usize, place: usize, sides: [bool; 2]) -> [bool; 3] {
    let mut next = first;
    let mut met = |place: usize| {
        let there = list.get(next).is_some_and(|&other| other as usize == place);
        next += usize::from(there);
        there
    };
    let left = sides[0] && met(place - 1);
    [left, met(place), sides[1] && met(place + 1)]
}

/// Where a pixel is for certain.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Open,
    Source,
    Sink,
}

impl Side {
    /// Where a pixel is that is drawn to the source with `terminal` (to the sink if negative), while
    /// undecided neighbours could draw it with no more than `pull`. Drawn equally, it is with the sink:
    /// not among the fewest of the source's side.
    fn of(terminal: i32, pull: i32) -> Self {
        if terminal > pull {
            Self::Source
        } else if terminal <= -pull {
            Self::Sink
        } else {
            Self::Open
        }
    }
}

/// Pixels with what it costs to part them.
pub(super) struct Grid {
    pub(super) links: Vec<Links>,
    /// What it costs to part a pixel from its neighbours after it, either way round; 0 or more.
    pub(super) capacity: Vec<[i32; AFTER]>,
}

impl Grid {
    /// Which pixels are on the source's side of the minimum cut; of several such cuts, the one with the
    /// fewest there. `terminal` is what it costs to part each from the source (positive) or the sink
    /// (negative).
    pub(super) fn solve(&self, mut terminal: Vec<i32>) -> Vec<bool> {
        let side = self.settle(&mut terminal);
        let open: Vec<usize> = (0..side.len()).filter(|&number| side[number] == Side::Open).collect();
        let mut names = vec![0; side.len()];
        open.iter().enumerate().for_each(|(name, &number)| names[number] = name);
        let mut network = Network::new(open.len());
        for (name, &number) in open.iter().enumerate() {
            network.add_terminal(name, terminal[number]);
            for (other, capacity) in self.after(number).filter(|&(other, _)| side[other] == Side::Open) {
                network.add_edge(name, names[other], capacity, capacity);
            }
        }
        network.solve();
        let inside = |(side, &name): (&Side, &usize)| match side {
            Side::Open => network.at_source(name),
            side => *side == Side::Source,
        };
        side.iter().zip(&names).map(inside).collect()
    }

    /// The neighbours after a pixel, and what it costs to part them.
    fn after(&self, number: usize) -> impl Iterator<Item = (usize, i32)> {
        let (links, capacity) = (self.links[number], self.capacity[number]);
        let present = (0..AFTER).filter(move |&direction| links.has(direction));
        present.map(move |direction| (links.to(number, direction), capacity[direction]))
    }

    /// Calls `each` with every neighbour of a pixel, and what it costs to part them.
    fn around(&self, number: usize, mut each: impl FnMut(usize, i32)) {
        let (links, after) = (self.links[number], self.capacity[number]);
        if !links.all() {
            self.after(number).for_each(|(other, capacity)| each(other, capacity));
            for direction in (AFTER..STEPS.len()).filter(|&direction| links.has(direction)) {
                let other = links.to(number, direction);
                each(other, self.capacity[other][direction - AFTER]);
            }
            return;
        }
        // Most have all, at places that need no looking up.
        let (above, below) = (links.above as usize, links.below as usize);
        each(number + 1, after[0]);
        (below..).zip(&after[1..]).for_each(|(other, &capacity)| each(other, capacity));
        each(number - 1, self.capacity[number - 1][0]);
        for (other, direction) in (above..).zip([3, 2, 1]) {
            each(other, self.capacity[other][direction]);
        }
    }

    /// Decides what no neighbour can change, and adds to the terminals of the others what those that are
    /// decided draw them with.
    fn settle(&self, terminal: &mut [i32]) -> Vec<Side> {
        let mut side = vec![Side::Open; self.links.len()];
        let mut pull = self.pulls();
        let mut next = Vec::new();
        for start in 0..side.len() {
            next.push((start, Side::of(terminal[start], pull[start])));
            while let Some((number, decided)) = next.pop() {
                if side[number] != Side::Open || decided == Side::Open {
                    continue;
                }
                side[number] = decided;
                self.around(number, |other, capacity| {
                    if side[other] != Side::Open {
                        return;
                    }
                    let drawn = if decided == Side::Source { capacity } else { -capacity };
                    terminal[other] = terminal[other].saturating_add(drawn);
                    pull[other] = pull[other].saturating_sub(capacity);
                    // Whatever else is decided leaves it on its side.
                    match Side::of(terminal[other], pull[other]) {
                        Side::Open => {}
                        found => next.push((other, found)),
                    }
                });
            }
        }
        side
    }

    /// What all neighbours together could draw each pixel with.
    fn pulls(&self) -> Vec<i32> {
        let pull = |number| {
            let mut pull = 0i32;
            self.around(number, |_, capacity| pull = pull.saturating_add(capacity));
            pull
        };
        (0..self.links.len()).map(pull).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Pixels of an image, some of them, from a number whose bits say which.
    fn some(width: usize, height: usize, bits: u64) -> Vec<u32> {
        (0..(width * height) as u32).filter(|at| bits >> (at * 7 % 61) & 1 == 1).collect()
    }

    #[test]
    fn links_lead_to_the_neighbours_that_are_there() {
        for (width, height) in [(1, 1), (1, 9), (9, 1), (2, 5), (8, 7)] {
            for bits in [0, u64::MAX, 0x5555_5555_5555_5555, 0x0f3a_9c71_26d8_be45] {
                let list = some(width, height, bits);
                let links = link(&list, width);
                assert_eq!(links.len(), list.len());
                for (number, links) in links.iter().enumerate() {
                    let (x, y) = (list[number] as usize % width, list[number] as usize / width);
                    for (direction, &(right, down)) in STEPS.iter().enumerate() {
                        let (x, y) = (x.wrapping_add_signed(right), y.wrapping_add_signed(down));
                        let there = (x < width && y < height)
                            .then(|| list.iter().position(|&at| at as usize == y * width + x));
                        let found = links.has(direction).then(|| links.to(number, direction));
                        assert_eq!(found, there.flatten(), "{width} x {height}: {number} to {direction}");
                    }
                }
            }
        }
    }

    proptest! {
        /// What is settled beforehand is what a search for the minimum cut finds, equal costs included.
        #[test]
        fn the_cut_is_that_of_the_whole_graph(
            (width, height) in (1usize..7, 1usize..7),
            bits: u64,
            strength in 1i32..40,
            numbers in proptest::collection::vec((-9i32..10, [0i32..5, 0..5, 0..5, 0..5]), 36),
        ) {
            let list = some(width, height, bits);
            let links = link(&list, width);
            let (terminal, capacity): (Vec<i32>, Vec<[i32; AFTER]>) =
                numbers.into_iter().take(list.len()).map(|(t, c)| (t * strength / 10, c)).unzip();
            let grid = Grid { links, capacity };
            let mut network = Network::new(list.len());
            for (number, &terminal) in terminal.iter().enumerate() {
                network.add_terminal(number, terminal);
                grid.after(number).for_each(|(other, c)| network.add_edge(number, other, c, c));
            }
            network.solve();
            let right: Vec<bool> = (0..list.len()).map(|number| network.at_source(number)).collect();
            prop_assert_eq!(grid.solve(terminal), right);
        }
    }
}
