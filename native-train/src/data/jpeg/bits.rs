//! The bits of a scan.

use super::NotMine;

/// Zeros after the last byte of a scan, so that whole words can be read at its end.
const PADDING: usize = 16;
const EVERY_BYTE: u64 = 0x0101_0101_0101_0101;

/// A scan without stuffing and markers.
#[derive(Debug, Default)]
pub(super) struct Entropy {
    bytes: Vec<u8>,
    /// Where the parts end that restart markers make of it.
    ends: Vec<usize>,
}

impl Entropy {
    /// Takes stuffing and restart markers out of a scan, which must end with the end of the image.
    pub(super) fn set(&mut self, scan: &[u8], restarts: bool) -> Result<(), NotMine> {
        let Self { bytes, ends } = self;
        bytes.resize(scan.len() + PADDING, 0);
        ends.clear();
        let (mut from, mut to) = (0, 0);
        loop {
            let copied = copy_to_marker(&scan[from..], &mut bytes[to..]);
            (from, to) = (from + copied, to + copied);
            let &[0xFF, marker] = scan.get(from..from + 2).ok_or(NotMine)? else { return Err(NotMine) };
            from += 2;
            match marker {
                0 => {
                    bytes[to] = 0xFF;
                    to += 1;
                }
                0xD0..=0xD7 if restarts && ends.len() % 8 == usize::from(marker - 0xD0) => ends.push(to),
                0xD9 => break,
                _ => return Err(NotMine),
            }
        }
        ends.push(to);
        // What fast copying left after the last byte.
        bytes.truncate(to);
        bytes.resize(to + PADDING, 0);
        Ok(())
    }

    /// Bytes of all parts.
    pub(super) fn len(&self) -> usize {
        self.bytes.len() - PADDING
    }

    /// The bits of a part.
    pub(super) fn part(&self, number: usize) -> Result<Bits<'_>, NotMine> {
        let end = *self.ends.get(number).ok_or(NotMine)?;
        let at = if number == 0 { 0 } else { self.ends[number - 1] };
        Ok(Bits { rest: &self.bytes[at..], after: self.bytes.len() - end, buffer: 0, count: 0 })
    }
}

/// Copies up to a byte 0xFF or the end of either; how many bytes. `to` is at least 8 bytes longer than `from`.
fn copy_to_marker(from: &[u8], to: &mut [u8]) -> usize {
    let mut at = 0;
    while let (Some(word), Some(out)) = (from.get(at..at + 8), to.get_mut(at..at + 8)) {
        out.copy_from_slice(word);
        let inverted = !word.iter().rev().fold(0u64, |all, &byte| all << 8 | u64::from(byte));
        // The highest bit of each byte that is 0 (and of some above the first such).
        let found = inverted.wrapping_sub(EVERY_BYTE) & !inverted & (EVERY_BYTE << 7);
        if found != 0 {
            let before = found.trailing_zeros() as usize / 8;
            return at + before;
        }
        at += 8;
    }
    while at < from.len() && from[at] != 0xFF {
        to[at] = from[at];
        at += 1;
    }
    at
}

/// A reader of bits.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bits<'a> {
    rest: &'a [u8],
    /// How long `rest` is at the end of the part.
    after: usize,
    /// The next bits, the first one highest.
    buffer: u64,
    /// How many of them have been counted as taken from `rest`.
    count: u32,
}

impl Bits<'_> {
    /// Makes at least 56 bits ready; zeros after the end.
    #[inline(always)]
    pub(super) fn refill(&mut self) {
        if let Some(&word) = self.rest.first_chunk() {
            self.buffer |= u64::from_be_bytes(word) >> self.count;
            self.rest = &self.rest[((63 - self.count) >> 3) as usize..];
        }
        self.count |= 56;
    }

    /// The next `n` bits (1 to 32), which stay.
    #[inline(always)]
    pub(super) fn peek(&self, n: u32) -> usize {
        (self.buffer >> (64 - n)) as usize
    }

    /// Passes over `n` bits, at most those that are ready.
    #[inline(always)]
    pub(super) fn skip(&mut self, n: u32) {
        self.buffer <<= n & 63;
        self.count = self.count.wrapping_sub(n);
    }

    /// A number of `n` bits (1 to 16) as JPEG writes them: those that begin with 0 are negative.
    #[inline(always)]
    pub(super) fn signed(&mut self, n: u32) -> i32 {
        let value = self.peek(n) as i32;
        self.skip(n);
        if value >> (n - 1) == 0 { value + 1 - (1 << n) } else { value }
    }

    /// Bits left of the part; negative if more were read.
    fn left(&self) -> i64 {
        8 * (self.rest.len() as i64 - self.after as i64) + i64::from(self.count)
    }

    /// Whether more was read than there is.
    pub(super) fn is_overrun(&self) -> bool {
        self.left() < 0
    }

    /// Whether all was read, but for the bits that fill the last byte.
    pub(super) fn is_at_end(&self) -> bool {
        (0..8).contains(&self.left())
    }
}
