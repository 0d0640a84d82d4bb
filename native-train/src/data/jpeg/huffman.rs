//! From bits to coefficients.

use super::NotMine;
use super::bits::Bits;

/// Bits that one look into a table decides by.
const LOOK: u32 = 11;
/// Place of the last coefficient of a block.
const LAST: usize = 63;
/// The symbol that ends a block.
const END: u32 = 0;
/// That of sixteen zeros.
const ZEROS: u32 = 0xF0;
/// Bits of the longest code.
const LONGEST: usize = 16;

/// A Huffman code of up to 256 symbols.
///
/// An entry of the table for the next [`LOOK`] bits is one of
/// - value (16 bits), zeros before it and 1 (8 bits), bits of code and value together (8 bits): a
///   coefficient, of a value that is not 0;
/// - 0 (16 bits), symbol (8 bits), bits of the code (8 bits);
/// - 0: the code is longer.
#[derive(Debug, Clone)]
pub(super) struct Codes {
    table: Box<[u32; 1 << LOOK]>,
    /// For the next [`LOOK`] bits, how many coefficients they hold (bits 4 to 14), in how many of the bits
    /// (0 to 3), and whether the block ends with them (15); too many to be true if there is no whole one.
    strides: Box<[u16; 1 << LOOK]>,
    /// For the next [`LOOK`] bits, one or two coefficients, of values that fit 8 bits: how many of the bits
    /// they take (bits 0 to 3), how many places they go on together (4 to 10; too many to be true if there
    /// is none) and from the first to the second (11 to 14), whether the block ends with them (15), their
    /// values.
    pairs: Box<[u32; 1 << LOOK]>,
    symbols: [u8; 256],
    /// For each length of codes: the first number, aligned to 16 bits, that is above all codes up to it.
    limits: [u32; LONGEST + 1],
    /// Index of the first symbol of a length, less its first code.
    offsets: [i32; LONGEST + 1],
}

impl Codes {
    /// From how many codes there are of each length, and the symbols; none if there are too many.
    fn new(definition: &[u8]) -> Option<Self> {
        let (counts, given) = definition.split_first_chunk::<LONGEST>()?;
        let mut symbols = [0; 256];
        symbols.get_mut(..given.len())?.copy_from_slice(given);
        let (mut limits, mut offsets) = ([0; LONGEST + 1], [0; LONGEST + 1]);
        let mut table = Box::new([0; 1 << LOOK]);
        let (mut code, mut index) = (0u32, 0usize);
        for length in 1..=LONGEST as u32 {
            let count = u32::from(counts[length as usize - 1]);
            code <<= 1;
            offsets[length as usize] = index as i32 - code as i32;
            if code + count > 1 << length {
                return None;
            }
            for _ in 0..count {
                enter(&mut table, code, length, *symbols.get(index)?);
                (code, index) = (code + 1, index + 1);
            }
            limits[length as usize] = code << (LONGEST as u32 - length);
        }
        Some(Self { strides: strides(&table), pairs: pairs(&table), table, symbols, limits, offsets })
    }

    /// The entry for the next bits.
    #[inline(always)]
    fn look(&self, bits: &Bits<'_>) -> u32 {
        self.table[bits.peek(LOOK) & ((1 << LOOK) - 1)]
    }

    /// Reads a symbol, of which `entry` was found.
    #[inline(always)]
    fn symbol(&self, bits: &mut Bits<'_>, entry: u32) -> Option<u8> {
        if entry == 0 {
            return self.long(bits);
        }
        bits.skip(entry & 0xFF);
        Some((entry >> 8) as u8)
    }

    /// Reads a symbol that came with no value: how many places it goes on (0 at the end of the block), and
    /// the bits of the value that follows.
    #[inline(always)]
    fn unusual(&self, bits: &mut Bits<'_>, entry: u32) -> Result<(usize, u32), NotMine> {
        let symbol = u32::from(self.symbol(bits, entry).ok_or(NotMine)?);
        match symbol {
            END => Ok((0, 0)),
            ZEROS => Ok((16, 0)),
            _ if (1..=10).contains(&(symbol & 15)) => Ok(((symbol >> 4) as usize + 1, symbol & 15)),
            _ => Err(NotMine),
        }
    }

    /// Reads a symbol whose code is longer than [`LOOK`] bits.
    #[cold]
    fn long(&self, bits: &mut Bits<'_>) -> Option<u8> {
        let next = bits.peek(LONGEST as u32);
        let length = (LOOK as usize + 1..=LONGEST).find(|&n| (next as u32) < self.limits[n])?;
        bits.skip(length as u32);
        let code = (next >> (LONGEST - length)) as i32;
        self.symbols.get((code + self.offsets[length]) as usize).copied()
    }
}

/// Codes that were made before: most files have the same ones.
#[derive(Debug, Default)]
pub(super) struct Known {
    list: Vec<(Vec<u8>, Codes)>,
}

impl Known {
    /// Makes the codes of a file's definitions, where they are not known.
    pub(super) fn learn<'a>(&mut self, definitions: impl Iterator<Item = &'a [u8]>) -> Result<(), NotMine> {
        /// Twice as many as a file can have.
        const MOST: usize = 16;
        if self.list.len() > MOST {
            self.list.clear();
        }
        for definition in definitions {
            if self.get(definition).is_none() {
                self.list.push((definition.to_vec(), Codes::new(definition).ok_or(NotMine)?));
            }
        }
        Ok(())
    }

    /// The codes of a definition that has been learnt.
    pub(super) fn get(&self, definition: &[u8]) -> Option<&Codes> {
        self.list.iter().find(|(known, _)| known == definition).map(|(_, codes)| codes)
    }
}

/// Enters a code of at most [`LOOK`] bits, with the values that fit behind it.
fn enter(table: &mut [u32; 1 << LOOK], code: u32, length: u32, symbol: u8) {
    let Some(left) = LOOK.checked_sub(length) else { return };
    let size = u32::from(symbol & 15);
    let plain = u32::from(symbol) << 8 | length;
    for rest in 0..1u32 << left {
        let entry = &mut table[(code << left | rest) as usize];
        *entry = if (1..=left).contains(&size) {
            let value = (rest >> (left - size)) as i32;
            let value = if value >> (size - 1) == 0 { value + 1 - (1 << size) } else { value };
            (value as u32) << 16 | (u32::from(symbol >> 4) + 1) << 8 | (length + size)
        } else {
            plain
        };
    }
}

/// How far the bits of each index reach, of the symbols in `table`.
fn strides(table: &[u32; 1 << LOOK]) -> Box<[u16; 1 << LOOK]> {
    let mut strides = Box::new([0; 1 << LOOK]);
    for (index, stride) in strides.iter_mut().enumerate() {
        let (mut used, mut places, mut is_end) = (0, 0, false);
        while places < LAST as u32 && !is_end {
            let entry = table[index << used & ((1 << LOOK) - 1)];
            let symbol = entry >> 8 & 0xFF;
            let (bits, more) = match entry as i32 >> 16 {
                0 if symbol == END => (entry & 0xFF, 0),
                0 if symbol == ZEROS => (entry & 0xFF, 16),
                0 => break,
                _ => (entry & 0xFF, symbol),
            };
            if bits == 0 || used + bits > LOOK {
                break;
            }
            (used, places, is_end) = (used + bits, places + more, more == 0);
        }
        if used == 0 {
            places = 2 * LAST as u32;
        }
        *stride = (u32::from(is_end) << 15 | places << 4 | used) as u16;
    }
    strides
}

/// The one or two coefficients of each index.
fn pairs(table: &[u32; 1 << LOOK]) -> Box<[u32; 1 << LOOK]> {
    let mut pairs = Box::new([0x7F << 4; 1 << LOOK]);
    // Value, places, bits; none for what is no small coefficient.
    let small = |index: usize| {
        let entry = table[index & ((1 << LOOK) - 1)];
        let value = i8::try_from(entry as i32 >> 16).ok().filter(|&value| value != 0)?;
        Some((u32::from(value as u8), entry >> 8 & 0xFF, entry & 0xFF))
    };
    for (index, pair) in pairs.iter_mut().enumerate() {
        let Some((value, places, bits)) = small(index) else { continue };
        let next = index << bits;
        let second = small(next).filter(|&(_, more, used)| bits + used <= LOOK && more < 16);
        let (second, more, used) = second.unwrap_or_default();
        let used = bits + used;
        // The end is a code of no value.
        let end = table[next << (used - bits) & ((1 << LOOK) - 1)];
        let is_end = end >> 8 == END && end != 0 && used + end <= LOOK;
        let used = used + if is_end { end } else { 0 };
        *pair =
            second << 24 | value << 16 | u32::from(is_end) << 15 | more << 11 | (places + more) << 4 | used;
    }
    pairs
}

/// Reads what the first coefficient of a block is above that of the block before.
#[inline(always)]
pub(super) fn first(bits: &mut Bits<'_>, codes: &Codes) -> Result<i32, NotMine> {
    let entry = codes.look(bits);
    let value = entry as i32 >> 16;
    if value != 0 {
        bits.skip(entry & 0xFF);
        // "Zeros before it" is what symbols of first coefficients have no bits for.
        return if entry >> 8 & 0xFF == 1 { Ok(value) } else { Err(NotMine) };
    }
    match codes.symbol(bits, entry).ok_or(NotMine)? {
        0 => Ok(0),
        size @ 1..=11 => Ok(bits.signed(u32::from(size))),
        _ => Err(NotMine),
    }
}

/// Reads the other coefficients of a block: `put(place, value)`, places in the order of the file, below 80;
/// some or all of those after `last` are passed over. The last place that was put, or one after it.
#[inline(always)]
pub(super) fn others(
    bits: &mut Bits<'_>, codes: &Codes, last: usize, mut put: impl FnMut(usize, i32),
) -> Result<usize, NotMine> {
    let mut place = 0;
    while place < last {
        bits.refill();
        let pair = codes.pairs[bits.peek(LOOK) & ((1 << LOOK) - 1)];
        let next = place + (pair >> 4 & 0x7F) as usize;
        // As in `pass_over`.
        if next < LAST {
            bits.skip(pair & 15);
            place = next;
            // Where there is no second one, the first is put into its place.
            put(place, pair as i32 >> 24);
            put(place - (pair >> 11 & 15) as usize, (pair << 8) as i32 >> 24);
            if pair >> 15 & 1 != 0 {
                return Ok(place);
            }
            continue;
        }
        let entry = codes.look(bits);
        let value = entry as i32 >> 16;
        if value != 0 {
            bits.skip(entry & 0xFF);
            place += (entry >> 8 & 0xFF) as usize;
            put(place, value);
            continue;
        }
        match codes.unusual(bits, entry)? {
            (0, _) => return Ok(place),
            (more, 0) => place += more,
            (more, size) => {
                place += more;
                put(place, bits.signed(size));
            }
        }
    }
    pass_over(bits, codes, place)?;
    Ok(place)
}

/// Reads over the coefficients of a block after that at `place`.
#[inline(always)]
pub(super) fn pass_over(bits: &mut Bits<'_>, codes: &Codes, mut place: usize) -> Result<(), NotMine> {
    while place < LAST {
        bits.refill();
        let stride = codes.strides[bits.peek(LOOK) & ((1 << LOOK) - 1)];
        let next = place + usize::from(stride >> 4 & 0x7FF);
        // Nothing says that a block has ended at the last place, so a stride could lead into the next one.
        if next < LAST {
            bits.skip(u32::from(stride & 15));
            place = next;
            if stride >> 15 != 0 {
                return Ok(());
            }
            continue;
        }
        let entry = codes.look(bits);
        if entry >> 16 != 0 {
            bits.skip(entry & 0xFF);
            place += (entry >> 8 & 0xFF) as usize;
            continue;
        }
        match codes.unusual(bits, entry)? {
            (0, _) => return Ok(()),
            (more, size) => {
                bits.skip(size);
                place += more;
            }
        }
    }
    if place == LAST { Ok(()) } else { Err(NotMine) }
}
