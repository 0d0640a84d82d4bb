//! COCO run-length codes of binary masks.
//!
//! A code lists run lengths alternately of 0 and of 1, beginning with 0 (so the
//! first may be 0), down the columns, left to right. The *compressed* form
//! writes each length, from the fourth on as the difference to the length two
//! before it, in base 32 with 48 added to every digit: five bits a character,
//! least first, bit 5 set while more follow, the last digit's bit 4 the sign.

use super::{RegionError, check_buffer, check_sides};

/// Added to every digit of a compressed code.
const FIRST_CHARACTER: u8 = 48;
const DIGIT_BITS: u32 = 5;
const DIGIT_MASK: i64 = 0x1f;
const SIGN_BIT: i64 = 0x10;
const MORE_BIT: i64 = 0x20;
/// More than a run of 2^30 pixels or a difference of two needs.
const MAX_DIGITS: u32 = 7;

/// The run-length code of a binary mask, known to fit its size.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Rle {
    width: usize,
    height: usize,
    counts: Vec<u32>,
}

impl Rle {
    /// From the uncompressed list of run lengths (`counts` of a COCO crowd annotation).
    ///
    /// # Errors
    /// A side of zero, or lengths that do not add up to `width · height`.
    pub fn from_counts(width: usize, height: usize, counts: Vec<u32>) -> Result<Self, RegionError> {
        let mut total = PixelTotal::new(width, height)?;
        for (at, &count) in counts.iter().enumerate() {
            total.add(i64::from(count)).map_err(|problem| at_count(at, problem))?;
        }
        total.finish().map_err(|problem| at_count(counts.len(), problem))?;
        Ok(Self { width, height, counts })
    }

    /// From the compressed string. COCO's `size` is `[height, width]`: mind the order.
    ///
    /// # Errors
    /// A side of zero, a character outside the code, a number that is cut off or negative, or
    /// lengths that do not add up to `width · height`; the character's position is named.
    pub fn from_compressed(width: usize, height: usize, code: &str) -> Result<Self, RegionError> {
        let mut total = PixelTotal::new(width, height)?;
        let mut counts: Vec<u32> = Vec::new();
        let mut rest = code.as_bytes();
        while !rest.is_empty() {
            let position = code.len() - rest.len();
            let mut number = read_number(&mut rest)
                .map_err(|(offset, problem)| at_character(position + offset, problem))?;
            if counts.len() > 2 {
                number += i64::from(counts[counts.len() - 2]);
            }
            let count = total.add(number).map_err(|problem| at_character(position, problem))?;
            counts.push(count);
        }
        total.finish().map_err(|problem| at_character(code.len(), problem))?;
        Ok(Self { width, height, counts })
    }

    /// The code of a mask `[height, width]` in raster order; anything but 0 counts as inside.
    ///
    /// # Errors
    /// A side of zero or a wrong length.
    pub fn encode(mask: &[u8], width: usize, height: usize) -> Result<Self, RegionError> {
        check_buffer("mask", width, height, 1, mask.len())?;
        let mut counts = Vec::new();
        let (mut inside, mut run) = (false, 0);
        for x in 0..width {
            for y in 0..height {
                if (mask[y * width + x] != 0) != inside {
                    counts.push(run);
                    inside = !inside;
                    run = 0;
                }
                run += 1;
            }
        }
        counts.push(run);
        Ok(Self { width, height, counts })
    }

    /// The mask, `[height, width]` in raster order, of 0 and 1.
    #[must_use]
    pub fn decode(&self) -> Vec<u8> {
        let mut mask = vec![0; self.width * self.height];
        for (start, end) in self.inside_runs() {
            for at in start..end {
                mask[at % self.height * self.width + at / self.height] = 1;
            }
        }
        mask
    }

    /// The compressed string, as pycocotools writes it.
    #[must_use]
    pub fn to_compressed(&self) -> String {
        let mut code = String::new();
        for (at, &count) in self.counts.iter().enumerate() {
            let before = if at > 2 { self.counts[at - 2] } else { 0 };
            write_number(i64::from(count) - i64::from(before), &mut code);
        }
        code
    }

    /// Pixels inside.
    #[must_use]
    pub fn area(&self) -> usize {
        self.inside_runs().map(|(start, end)| end - start).sum()
    }

    /// Columns.
    #[must_use]
    pub fn width(&self) -> usize {
        self.width
    }

    /// Rows.
    #[must_use]
    pub fn height(&self) -> usize {
        self.height
    }

    /// Run lengths, alternately outside and inside.
    #[must_use]
    pub fn counts(&self) -> &[u32] {
        &self.counts
    }

    /// Start and end of every run inside, in column order.
    fn inside_runs(&self) -> impl Iterator<Item = (usize, usize)> {
        let mut end = 0;
        let runs = self.counts.iter().enumerate().map(move |(at, &count)| {
            let start = end;
            end += count as usize;
            (at, start, end)
        });
        runs.filter(|(at, ..)| at % 2 == 1).map(|(_, start, end)| (start, end))
    }
}

fn at_character(position: usize, problem: String) -> RegionError {
    RegionError::Rle { unit: "character", position, problem }
}

fn at_count(position: usize, problem: String) -> RegionError {
    RegionError::Rle { unit: "count", position, problem }
}

/// Watches that the runs fill the mask exactly.
struct PixelTotal {
    sum: i64,
    pixels: i64,
    sides: (usize, usize),
}

impl PixelTotal {
    fn new(width: usize, height: usize) -> Result<Self, RegionError> {
        let pixels = check_sides("mask", width, height)? as i64;
        Ok(Self { sum: 0, pixels, sides: (width, height) })
    }

    fn add(&mut self, count: i64) -> Result<u32, String> {
        let count = u32::try_from(count).map_err(|_| format!("a run of {count} pixels"))?;
        self.sum += i64::from(count);
        if self.sum > self.pixels {
            return Err(format!("the runs reach {} pixels, {}", self.sum, self.expected()));
        }
        Ok(count)
    }

    fn finish(&self) -> Result<(), String> {
        if self.sum < self.pixels {
            return Err(format!("it ends after {} pixels, {}", self.sum, self.expected()));
        }
        Ok(())
    }

    fn expected(&self) -> String {
        let (width, height) = self.sides;
        format!("but the mask has {width}x{height} = {}", self.pixels)
    }
}

/// Takes one number off the front; an error has its offset from the number's start.
fn read_number(rest: &mut &[u8]) -> Result<i64, (usize, String)> {
    let mut number = 0;
    for at in 0..MAX_DIGITS {
        let Some((&character, after)) = rest.split_first() else {
            return Err((at as usize, "it ends within a number".into()));
        };
        let digit = i64::from(character) - i64::from(FIRST_CHARACTER);
        if !(0..2 * MORE_BIT).contains(&digit) {
            let problem = format!("{:?} is not a character of the code", character as char);
            return Err((at as usize, problem));
        }
        *rest = after;
        number |= (digit & DIGIT_MASK) << (DIGIT_BITS * at);
        if digit & MORE_BIT == 0 {
            if digit & SIGN_BIT != 0 {
                number |= -1 << (DIGIT_BITS * (at + 1));
            }
            return Ok(number);
        }
    }
    Err((0, format!("a number of more than {MAX_DIGITS} digits")))
}

fn write_number(mut number: i64, code: &mut String) {
    loop {
        let digit = number & DIGIT_MASK;
        number >>= DIGIT_BITS;
        let last = number == if digit & SIGN_BIT == 0 { 0 } else { -1 };
        let digit = if last { digit } else { digit | MORE_BIT };
        code.push(char::from(FIRST_CHARACTER + digit as u8));
        if last {
            return;
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Codes written by pycocotools for masks drawn by hand.
    #[test]
    fn agrees_with_pycocotools() {
        for (width, height, rows, code) in HAND_DRAWN {
            let mask: Vec<u8> = rows.bytes().map(|c| u8::from(c == b'#')).collect();
            let rle = Rle::encode(&mask, *width, *height).unwrap();
            assert_eq!(rle.to_compressed(), *code, "{rows}");
            let read = Rle::from_compressed(*width, *height, code).unwrap();
            assert_eq!(read.decode(), mask, "{code}");
            assert_eq!(read.area(), mask.iter().filter(|&&inside| inside == 1).count());
        }
    }

    const HAND_DRAWN: &[(usize, usize, &str, &str)] = &[
        (3, 2, "......", "6"),
        (3, 2, "######", "06"),
        (3, 2, "#..#..", "024"),
        (3, 2, "###...", "0110000"),
        (8, 5, ".........##..##.########.#....#....##...", "2132OO2OM010O001210NO"),
    ];

    #[test]
    fn runs_go_down_the_columns() {
        // .#
        // ##
        let rle = Rle::from_counts(2, 2, vec![1, 3]).unwrap();
        assert_eq!(rle.decode(), [0, 1, 1, 1]);
    }

    /// A hundred columns, so that numbers take several characters; written by pycocotools.
    #[test]
    fn agrees_with_pycocotools_on_long_runs() {
        let inside = |x, y| x >= 40 && !((60..70).contains(&x) && (10..20).contains(&y));
        let mask: Vec<u8> = (0..9000).map(|at| u8::from(inside(at % 100, at / 100))).collect();
        let code = "``3bh1:nYN00000000000000000Rd2";
        assert_eq!(Rle::encode(&mask, 100, 90).unwrap().to_compressed(), code);
        assert_eq!(Rle::from_compressed(100, 90, code).unwrap().decode(), mask);
    }

    #[test]
    fn malformed_codes_name_the_position() {
        let message = |code| Rle::from_compressed(3, 2, code).unwrap_err().to_string();
        assert_eq!(message("2 "), "run-length code, character 1: ' ' is not a character of the code");
        assert_eq!(message("2é"), "run-length code, character 1: 'Ã' is not a character of the code");
        assert_eq!(message("2Q"), "run-length code, character 2: it ends within a number");
        assert_eq!(message("2O"), "run-length code, character 1: a run of -1 pixels");
        assert_eq!(
            message("25"),
            "run-length code, character 1: the runs reach 7 pixels, but the mask has 3x2 = 6"
        );
        assert_eq!(
            message("22"),
            "run-length code, character 2: it ends after 4 pixels, but the mask has 3x2 = 6"
        );
        assert_eq!(message("PPPPPPPP"), "run-length code, character 0: a number of more than 7 digits");
        let lists = |counts| Rle::from_counts(3, 2, counts).unwrap_err().to_string();
        assert!(lists(vec![3, u32::MAX]).starts_with("run-length code, count 1: the runs reach"));
        assert!(lists(vec![]).starts_with("run-length code, count 0: it ends after 0"));
        assert!(matches!(Rle::from_compressed(0, 2, ""), Err(RegionError::Empty { .. })));
    }

    fn any_mask() -> impl Strategy<Value = (usize, usize, Vec<u8>)> {
        (1..40usize, 1..40usize, 0.0..1.0f64).prop_flat_map(|(width, height, density)| {
            let mask = proptest::collection::vec(proptest::bool::weighted(density), width * height);
            (Just(width), Just(height), mask.prop_map(|m| m.into_iter().map(u8::from).collect()))
        })
    }

    proptest! {
        #[test]
        fn masks_survive_both_forms((width, height, mask) in any_mask()) {
            let rle = Rle::encode(&mask, width, height).unwrap();
            prop_assert_eq!(&rle.decode(), &mask);
            let compressed = rle.to_compressed();
            prop_assert_eq!(&Rle::from_compressed(width, height, &compressed).unwrap(), &rle);
            let listed = Rle::from_counts(width, height, rle.counts().to_vec()).unwrap();
            prop_assert_eq!(&listed, &rle);
        }

        #[test]
        fn long_runs_survive(runs in proptest::collection::vec(0u32..60_000_000, 1..9)) {
            let pixels = runs.iter().sum::<u32>().max(1) as usize;
            let runs = if runs.iter().all(|&run| run == 0) { vec![1] } else { runs };
            let rle = Rle::from_counts(pixels, 1, runs).unwrap();
            let code = rle.to_compressed();
            prop_assert_eq!(Rle::from_compressed(pixels, 1, &code).unwrap(), rle);
        }

        #[test]
        fn any_text_is_read_or_refused(width in 1..9usize, height in 1..9usize, code in ".{0,20}") {
            if let Ok(rle) = Rle::from_compressed(width, height, &code) {
                prop_assert_eq!(rle.decode().len(), width * height);
            }
        }
    }
}
