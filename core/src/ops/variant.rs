//! Variants of the kernels that multiply matrices, and which of them a product takes.
//!
//! All compute the same sums, in other tiles; which is fastest depends on the adapter and on the shape,
//! and only measuring tells. Without a measurement a product takes the first of its machine.

use std::collections::BTreeMap;

#[cfg(feature = "training")]
use serde::{Deserialize, Serialize};

use super::kernel::{Machine, MatrixUnits, Open, Sizes};

/// The tiles that a workgroup of `matmul.wgsl` or `matmul_cooperative.wgsl` computes.
#[derive(Debug, PartialEq, Eq)]
pub struct Tile {
    /// Rows, columns and depth loaded at a time.
    pub name: &'static str,
    /// The kernel's constants.
    pub sizes: Sizes,
    /// Rows of the result.
    pub rows: usize,
    /// Columns of the result.
    pub columns: usize,
    /// Depth that is loaded at a time.
    pub step: usize,
}

/// A [`Tile`] of threads down and across, 4 × 4 matrices of a thread down and across, and a depth.
macro_rules! tile {
    ($name:literal, $threads_down:literal x $threads_across:literal, $down:literal x $across:literal, $step:literal) => {
        Tile {
            name: $name,
            sizes: &[
                ("THREADS_DOWN", Open::Size($threads_down)),
                ("THREADS_ACROSS", Open::Size($threads_across)),
                ("DOWN", Open::Size($down)),
                ("ACROSS", Open::Size($across)),
                ("STEP", Open::Size($step)),
            ],
            rows: 4 * $threads_down * $down,
            columns: 4 * $threads_across * $across,
            step: $step,
        }
    };
}

/// Tiles whose factors are loaded an element at a time; the first stands in where a variant does not take a
/// product. None takes more than WebGPU's default limits: 256 threads and 16 KiB of
/// workgroup memory.
pub(super) static TILES: [Tile; 6] = [
    tile!("64x64x16", 8 x 8, 2 x 2, 16),
    // Half the workgroup memory, so that more workgroups share a core.
    tile!("64x64x8", 8 x 8, 2 x 2, 8),
    // Larger tiles read less, and fill the device only where there is much to do.
    tile!("128x64x16", 16 x 8, 2 x 2, 16),
    tile!("128x128x8", 16 x 16, 2 x 2, 8),
    // Smaller ones waste less at the borders, and there are more of them.
    tile!("32x32x32", 8 x 8, 1 x 1, 32),
    // Few rows: the queries of prompts.
    tile!("16x64x32", 4 x 16, 1 x 1, 32),
];

/// Tiles whose factors are loaded in fours, the default first: fewer loads, and fewer looks at bounds.
static TILES_OF_FOURS: [Tile; 5] = [
    tile!("fours 64x64x16", 8 x 8, 2 x 2, 16),
    tile!("fours 128x64x16", 16 x 8, 2 x 2, 16),
    tile!("fours 128x128x8", 16 x 16, 2 x 2, 8),
    tile!("fours 32x32x32", 8 x 8, 1 x 1, 32),
    tile!("fours 16x64x32", 4 x 16, 1 x 1, 32),
];

/// A [`Tile`] of matrices of a side, subgroups down and across, matrices of a subgroup down and across, and
/// a depth.
macro_rules! cooperative {
    ($name:literal, $side:literal, $subgroups_down:literal x $subgroups_across:literal, $down:literal x $across:literal, $step:literal) => {
        Tile {
            name: concat!("cooperative ", $name),
            sizes: &[
                ("MatrixA", Open::Type(concat!("coop_mat", $side, "x", $side, "<f16, A>"))),
                ("MatrixB", Open::Type(concat!("coop_mat", $side, "x", $side, "<f16, B>"))),
                ("Sums", Open::Type(concat!("coop_mat", $side, "x", $side, "<f32, C>"))),
                ("SIDE", Open::Size($side)),
                ("SUBGROUPS_DOWN", Open::Size($subgroups_down)),
                ("SUBGROUPS_ACROSS", Open::Size($subgroups_across)),
                ("DOWN", Open::Size($down)),
                ("ACROSS", Open::Size($across)),
                ("STEP", Open::Size($step)),
            ],
            rows: $side * $subgroups_down * $down,
            columns: $side * $subgroups_across * $across,
            step: $step,
        }
    };
}

/// Tiles of matrices of 8 × 8.
static COOPERATIVE_8: [Tile; 3] = [
    cooperative!("64x64x32", 8, 2 x 2, 4 x 4, 32),
    cooperative!("32x32x32", 8, 2 x 2, 2 x 2, 32),
    cooperative!("128x64x32", 8, 4 x 2, 4 x 4, 32),
];

/// Tiles of matrices of 16 × 16: the more of them a subgroup keeps, the less it loads for each.
static COOPERATIVE_16: [Tile; 3] = [
    cooperative!("64x64x32", 16, 2 x 2, 2 x 2, 32),
    cooperative!("128x64x32", 16, 2 x 2, 4 x 2, 32),
    cooperative!("128x128x32", 16, 2 x 2, 4 x 4, 32),
];

/// How a product is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variant {
    /// By `matmul`, in tiles.
    Tiled(&'static Tile),
    /// By `matmul_fours` where the layout of the matrices allows it, else by `matmul`.
    Fours(&'static Tile),
    /// By `matmul_cooperative` where the layout of the matrices allows it, else by `matmul`.
    Cooperative(&'static Tile, MatrixUnits),
    /// By `matmul_lanes`, or `matmul_quads` for subgroups of four threads, where the layout of the matrices
    /// allows it, else by `matmul_direct`.
    Lanes,
    /// By `matmul_direct`.
    Direct,
}

impl Variant {
    /// Those that a machine has, its default first.
    #[must_use]
    pub fn of(machine: Machine) -> Vec<Self> {
        match machine {
            Machine::Gpu => {
                TILES_OF_FOURS.iter().map(Self::Fours).chain(TILES.iter().map(Self::Tiled)).collect()
            }
            Machine::Cooperative(units) => {
                let tiles: &[Tile] = if units.side == 8 { &COOPERATIVE_8 } else { &COOPERATIVE_16 };
                let cooperative = tiles.iter().map(|tile| Self::Cooperative(tile, units));
                Self::of(Machine::Gpu).into_iter().chain(cooperative).collect()
            }
            Machine::Processor { lanes: Some(_) } => vec![Self::Lanes, Self::Direct],
            Machine::Processor { lanes: None } => vec![Self::Direct],
        }
    }

    /// Its name in files and print-outs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Tiled(tile) | Self::Fours(tile) | Self::Cooperative(tile, _) => tile.name,
            Self::Lanes => "lanes",
            Self::Direct => "direct",
        }
    }
}

/// A product `C [m, n] = A [m, k]·B [k, n]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Product {
    /// Rows of the result.
    pub m: usize,
    /// Its columns.
    pub n: usize,
    /// Length of the sums.
    pub k: usize,
    /// `A` is stored `[k, m]`.
    pub trans_a: bool,
    /// `B` is stored `[n, k]`.
    pub trans_b: bool,
    /// Whether a bias is added to every row.
    pub bias: bool,
}

impl Product {
    /// Floating-point operations.
    #[must_use]
    pub fn flops(&self) -> u64 {
        2 * self.m as u64 * self.n as u64 * self.k as u64
    }

    /// Whether A and B lie in rows whose lengths are multiples of four.
    #[must_use]
    pub fn in_fours(&self) -> bool {
        let a = if self.trans_a { self.m } else { self.k };
        let b = if self.trans_b { self.k } else { self.n };
        a.is_multiple_of(4) && b.is_multiple_of(4)
    }

    /// What it is like.
    #[must_use]
    pub fn class(&self) -> ShapeClass {
        let Self { m, n, k, trans_a, trans_b, bias } = *self;
        let bucket = |size: usize| size.max(1).ilog2() as u8;
        ShapeClass { m: bucket(m), n: bucket(n), k: bucket(k), trans_a, trans_b, bias }
    }
}

/// Products that are alike: sizes between the same powers of two, stored the same way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(feature = "training", derive(Serialize, Deserialize))]
pub struct ShapeClass {
    m: u8,
    n: u8,
    k: u8,
    trans_a: bool,
    trans_b: bool,
    bias: bool,
}

/// Which variant the products of each class take.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Choices {
    /// All take this one, where the machine has it.
    always: Option<&'static str>,
    by_class: BTreeMap<ShapeClass, String>,
}

impl Choices {
    /// One variant for every product: for measuring and testing it.
    #[must_use]
    pub fn always(variant: Variant) -> Self {
        Self { always: Some(variant.name()), ..Self::default() }
    }

    /// Lets the products of a class take a variant.
    pub fn set(&mut self, class: ShapeClass, variant: Variant) {
        self.by_class.insert(class, variant.name().into());
    }

    /// Whether something was chosen for a class.
    #[must_use]
    pub fn know(&self, class: ShapeClass) -> bool {
        self.by_class.contains_key(&class)
    }

    /// The variant that a product takes: the machine's default where nothing else was chosen.
    #[must_use]
    pub fn variant(&self, machine: Machine, product: &Product) -> Variant {
        let chosen = self.always.or_else(|| self.by_class.get(&product.class()).map(String::as_str));
        let known = Variant::of(machine);
        known.iter().copied().find(|variant| Some(variant.name()) == chosen).unwrap_or(known[0])
    }

    /// Each class with the name of its variant.
    pub fn iter(&self) -> impl Iterator<Item = (&ShapeClass, &str)> {
        self.by_class.iter().map(|(class, name)| (class, name.as_str()))
    }
}

impl FromIterator<(ShapeClass, String)> for Choices {
    fn from_iter<T: IntoIterator<Item = (ShapeClass, String)>>(all: T) -> Self {
        Self { always: None, by_class: all.into_iter().collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRODUCT: Product = Product { m: 50, n: 192, k: 768, trans_a: false, trans_b: true, bias: true };

    #[test]
    fn products_between_the_same_powers_of_two_are_alike() {
        assert_eq!(PRODUCT.class(), Product { m: 63, n: 128, k: 1023, ..PRODUCT }.class());
        assert_ne!(PRODUCT.class(), Product { m: 64, ..PRODUCT }.class());
        assert_ne!(PRODUCT.class(), Product { trans_b: false, ..PRODUCT }.class());
    }

    #[test]
    fn a_product_takes_what_was_chosen_where_the_machine_has_it() {
        let mut choices = Choices::default();
        assert_eq!(choices.variant(Machine::Gpu, &PRODUCT), Variant::Fours(&TILES_OF_FOURS[0]));
        choices.set(PRODUCT.class(), Variant::Tiled(&TILES[3]));
        assert_eq!(choices.variant(Machine::Gpu, &PRODUCT), Variant::Tiled(&TILES[3]));
        let other = Product { k: 3, ..PRODUCT };
        assert_eq!(choices.variant(Machine::Gpu, &other), Variant::Fours(&TILES_OF_FOURS[0]));
        let software = Machine::Processor { lanes: Some(8) };
        assert_eq!(choices.variant(software, &PRODUCT), Variant::Lanes);
    }

    #[test]
    fn tiles_are_called_what_they_are() {
        let of = |tile: &Tile| format!("{}x{}x{}", tile.rows, tile.columns, tile.step);
        for tile in &TILES {
            assert_eq!(tile.name, of(tile));
        }
        for tile in &TILES_OF_FOURS {
            assert_eq!(tile.name, format!("fours {}", of(tile)));
        }
        for tile in COOPERATIVE_8.iter().chain(&COOPERATIVE_16) {
            assert_eq!(tile.name, format!("cooperative {}", of(tile)));
        }
    }
}
