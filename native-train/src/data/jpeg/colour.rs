//! From samples to red, green and blue.

use multiversion::multiversion;

use super::Planes;
use super::layout::Layout;
use super::scan::Samples;

/// Bits after the point of the factors.
const POINT: u32 = 14;
/// Red of a unit of Cr; green of one; green of one of Cb; blue of one (BT.601).
const FACTORS: [i32; 4] = [22970, -11700, -5638, 29032];

/// Memory that is used again from one file to the next: the pixels, and rows of chroma at their size.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    planes: Planes,
    rows: [Row; 2],
}

#[derive(Debug, Default)]
struct Row {
    blended: Vec<u8>,
    doubled: Vec<u8>,
}

/// The pixels of a layout's crop.
pub(super) fn convert<'a>(samples: &[Samples], layout: &Layout, buffers: &'a mut Buffers) -> &'a Planes {
    let Buffers { planes, rows: [b, r] } = buffers;
    let (width, height) = (layout.x.len(), layout.y.len());
    (planes.width, planes.height) = (width, height);
    planes.planes.iter_mut().for_each(|plane| plane.resize(width * height, 0));
    for (y, at) in layout.y.clone().zip((0..).step_by(width)) {
        let out = planes.planes.each_mut().map(|plane| &mut plane[at..at + width]);
        match samples {
            [luma, cb, cr] => {
                let luma = &luma.samples[y * luma.width..][layout.x.clone()];
                let (cb, cr) = (b.at(cb, y, layout), r.at(cr, y, layout));
                to_rgb(luma, &cb[layout.x.clone()], &cr[layout.x.clone()], out);
            }
            [grey, ..] => {
                let grey = &grey.samples[y * grey.width..][layout.x.clone()];
                out.into_iter().for_each(|out| out.copy_from_slice(grey));
            }
            [] => (),
        }
    }
    planes
}

impl Row {
    /// Row `y` of chroma, with as many columns and rows as luma: where they are half as many, each new
    /// sample is three parts its own old one and one part the neighbour that it lies nearest to.
    fn at<'a>(&'a mut self, chroma: &'a Samples, y: usize, layout: &Layout) -> &'a [u8] {
        let rows = chroma.samples.len() / chroma.width;
        let row = |y: usize| &chroma.samples[y * chroma.width..(y + 1) * chroma.width];
        let mut found = row(if layout.is_halved.1 { y / 2 } else { y });
        if layout.is_halved.1 {
            let next =
                if y.is_multiple_of(2) { (y / 2).saturating_sub(1) } else { (y / 2 + 1).min(rows - 1) };
            self.blended.resize(chroma.width, 0);
            blend(found, row(next), &mut self.blended);
            found = &self.blended;
        }
        if layout.is_halved.0 {
            self.doubled.resize(2 * chroma.width, 0);
            double(found, &mut self.doubled);
            found = &self.doubled;
        }
        found
    }
}

/// Three parts of one, one of the other.
#[inline(always)]
fn mixed(near: u8, far: u8) -> u8 {
    ((3 * u16::from(near) + u16::from(far) + 2) >> 2) as u8
}

#[multiversion(targets("x86_64+avx+avx2"))]
fn blend(near: &[u8], far: &[u8], out: &mut [u8]) {
    for ((out, &near), &far) in out.iter_mut().zip(near).zip(far) {
        *out = mixed(near, far);
    }
}

#[multiversion(targets("x86_64+avx+avx2"))]
fn double(row: &[u8], out: &mut [u8]) {
    if let ([first, ..], [last_out, ..]) = (row, &mut *out) {
        *last_out = *first;
    }
    for (pair, near) in out[1..].chunks_exact_mut(2).zip(row.windows(2)) {
        pair[0] = mixed(near[0], near[1]);
        pair[1] = mixed(near[1], near[0]);
    }
    if let (Some(last), Some(out)) = (row.last(), out.last_mut()) {
        *out = *last;
    }
}

#[multiversion(targets("x86_64+avx+avx2"))]
fn to_rgb(luma: &[u8], cb: &[u8], cr: &[u8], [red, green, blue]: [&mut [u8]; 3]) {
    let n = luma.len();
    let (cb, cr) = (&cb[..n], &cr[..n]);
    let (red, green, blue) = (&mut red[..n], &mut green[..n], &mut blue[..n]);
    for i in 0..n {
        let y = (i32::from(luma[i]) << POINT) + (1 << (POINT - 1)) - 1;
        let (cb, cr) = (i32::from(cb[i]) - 128, i32::from(cr[i]) - 128);
        let level = |sum: i32| (sum >> POINT).clamp(0, 255) as u8;
        red[i] = level(y + FACTORS[0] * cr);
        green[i] = level(y + FACTORS[1] * cr + FACTORS[2] * cb);
        blue[i] = level(y + FACTORS[3] * cb);
    }
}
