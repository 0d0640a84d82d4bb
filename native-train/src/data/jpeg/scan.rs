//! The walk over all blocks of a scan.

use multiversion::multiversion;

use super::NotMine;
use super::bits::{Bits, Entropy};
use super::header::{Component, Header};
use super::huffman::{self, Codes, Known};
use super::layout::{Blocks, Layout};
use super::transform::Transform;

/// A component's samples, `[height, width]`.
#[derive(Debug, Default)]
pub(super) struct Samples {
    /// Columns.
    pub(super) width: usize,
    /// At least as many as there are.
    pub(super) samples: Vec<u8>,
}

/// Memory that is used again from one file to the next.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    entropy: Entropy,
    codes: Known,
    samples: [Samples; 3],
}

#[cfg(test)]
impl Buffers {
    /// Samples for which there is memory.
    pub(super) fn allocated(&self) -> usize {
        self.samples.iter().map(|samples| samples.samples.capacity()).sum()
    }
}

/// How the blocks of a component are read.
struct Reader<'a> {
    dc: &'a Codes,
    ac: &'a Codes,
    blocks: Blocks,
    transform: Transform,
}

/// The samples that a layout names, for each component.
pub(super) fn samples<'a>(
    header: &Header<'_>, layout: &Layout, buffers: &'a mut Buffers,
) -> Result<&'a [Samples], NotMine> {
    let Buffers { entropy, codes, samples } = buffers;
    entropy.set(header.scan, header.restart > 0)?;
    codes.learn(header.dc.iter().chain(&header.ac).flatten().copied())?;
    let readers = readers(header, layout, codes).ok_or(NotMine)?;
    let of_unit: usize = readers.iter().map(|r| r.blocks.of_unit.0 * r.blocks.of_unit.1).sum();
    // Two codes of one bit are the least that a block can be: nothing is allocated on the header's word alone.
    if layout.rows.end * layout.units_across * of_unit > entropy.len() * 4 {
        return Err(NotMine);
    }
    for (samples, reader) in samples.iter_mut().zip(&readers) {
        let (width, height) = reader.blocks.size;
        samples.width = width;
        samples.samples.resize(width * height, 0);
    }
    walk(&readers, entropy, layout, header.restart, samples)?;
    Ok(&samples[..readers.len()])
}

fn readers<'a>(header: &Header<'_>, layout: &Layout, known: &'a Known) -> Option<Vec<Reader<'a>>> {
    let reader = |(c, &blocks): (&Component, &Blocks)| {
        let codes = |tables: &[Option<&[u8]>; 4], at: usize| known.get((*tables.get(at)?)?);
        let transform = Transform::new(header.steps.get(c.steps)?.as_ref()?, blocks.side);
        Some(Reader { dc: codes(&header.dc, c.dc)?, ac: codes(&header.ac, c.ac)?, blocks, transform })
    };
    header.components.iter().zip(&layout.blocks).map(reader).collect()
}

/// Reads all units down to the last row that is wanted.
#[multiversion(targets("x86_64+avx+avx2+bmi1+bmi2"))]
fn walk<'a>(
    readers: &[Reader<'a>], entropy: &Entropy, layout: &Layout, restart: usize, out: &mut [Samples],
) -> Result<(), NotMine> {
    let mut part = 0;
    let mut bits = entropy.part(part)?;
    let mut means = [0; 3];
    let mut until_restart = restart;
    for row in 0..layout.rows.end {
        for column in 0..layout.units_across {
            if restart > 0 && until_restart == 0 {
                if !bits.is_at_end() {
                    return Err(NotMine);
                }
                part += 1;
                (bits, means, until_restart) = (entropy.part(part)?, [0; 3], restart);
            }
            until_restart = until_restart.wrapping_sub(1);
            let place = (row.wrapping_sub(layout.rows.start), column.wrapping_sub(layout.columns.start));
            if row >= layout.rows.start && layout.columns.contains(&column) {
                unit(readers, &mut bits, &mut means, place, out)?;
            } else {
                pass_over(readers, &mut bits, &mut means)?;
            }
        }
        if bits.is_overrun() {
            return Err(NotMine);
        }
    }
    Ok(())
}

/// Reads the blocks of a unit, the one at `(row, column)` of those wanted.
#[inline(always)]
fn unit(
    readers: &[Reader<'_>], bits: &mut Bits<'_>, means: &mut [i32; 3], place: (usize, usize),
    out: &mut [Samples],
) -> Result<(), NotMine> {
    for ((reader, out), mean) in readers.iter().zip(out).zip(means) {
        let Blocks { of_unit, side, .. } = reader.blocks;
        for down in 0..of_unit.1 {
            for across in 0..of_unit.0 {
                bits.refill();
                *mean = mean.wrapping_add(huffman::first(bits, reader.dc)?);
                let y = (place.0 * of_unit.1 + down) * side.1;
                let x = (place.1 * of_unit.0 + across) * side.0;
                let from = out.samples.get_mut(y * out.width + x..).ok_or(NotMine)?;
                reader.transform.block(bits, reader.ac, *mean, from, out.width)?;
            }
        }
    }
    Ok(())
}

/// Reads over the blocks of a unit.
#[inline(always)]
fn pass_over(readers: &[Reader<'_>], bits: &mut Bits<'_>, means: &mut [i32; 3]) -> Result<(), NotMine> {
    for (reader, mean) in readers.iter().zip(means) {
        for _ in 0..reader.blocks.of_unit.0 * reader.blocks.of_unit.1 {
            bits.refill();
            *mean = mean.wrapping_add(huffman::first(bits, reader.dc)?);
            huffman::pass_over(bits, reader.ac, 0)?;
        }
    }
    Ok(())
}
