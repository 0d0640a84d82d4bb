//! The segments before the scan.

use image::metadata::Orientation;

use super::NotMine;

/// What the segments say, and the bytes after them.
#[derive(Debug)]
pub(super) struct Header<'a> {
    /// Columns.
    pub(super) width: usize,
    /// Rows.
    pub(super) height: usize,
    /// One for grey; luma and two of chroma for colour.
    pub(super) components: Vec<Component>,
    /// Steps of the coefficients, in the order of the file.
    pub(super) steps: [Option<[u8; 64]>; 4],
    /// Codes of the first coefficients: how many of each length, symbols.
    pub(super) dc: [Option<&'a [u8]>; 4],
    /// Codes of the others.
    pub(super) ac: [Option<&'a [u8]>; 4],
    /// Blocks of interleaved components between restart markers; 0 for none.
    pub(super) restart: usize,
    /// How the pixels are to be turned.
    pub(super) orientation: Orientation,
    /// From the first byte of the scan to the end of the file.
    pub(super) scan: &'a [u8],
}

/// A plane of the picture.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Component {
    id: u8,
    /// Blocks across in a unit of interleaving.
    pub(super) across: usize,
    /// Blocks down in it.
    pub(super) down: usize,
    /// Index into the steps.
    pub(super) steps: usize,
    /// Index into the codes of first coefficients.
    pub(super) dc: usize,
    /// Index into the codes of the others.
    pub(super) ac: usize,
}

/// Start of a frame: baseline, or extended with 8 bits, which is the same with more tables.
const FRAMES: [u8; 2] = [0xC0, 0xC1];
const CODES: u8 = 0xC4;
const START_OF_SCAN: u8 = 0xDA;
const STEPS: u8 = 0xDB;
const RESTART_INTERVAL: u8 = 0xDD;
const EXIF: u8 = 0xE1;
const ADOBE: u8 = 0xEE;
const COMMENT: u8 = 0xFE;

impl<'a> Header<'a> {
    /// Reads all segments up to the scan.
    pub(super) fn read(bytes: &'a [u8]) -> Result<Self, NotMine> {
        let mut rest = bytes.strip_prefix(&[0xFF, 0xD8]).ok_or(NotMine)?;
        let mut header = Self {
            width: 0,
            height: 0,
            components: Vec::new(),
            steps: [None; 4],
            dc: [None; 4],
            ac: [None; 4],
            restart: 0,
            orientation: Orientation::NoTransforms,
            scan: &[],
        };
        loop {
            let (marker, segment);
            (marker, segment, rest) = next_segment(rest).ok_or(NotMine)?;
            header.take(marker, segment).ok_or(NotMine)?;
            if marker == START_OF_SCAN {
                header.scan = rest;
                return if header.is_complete() { Ok(header) } else { Err(NotMine) };
            }
        }
    }

    /// Takes in one segment; none if it makes the file another's.
    fn take(&mut self, marker: u8, segment: &'a [u8]) -> Option<()> {
        match marker {
            _ if FRAMES.contains(&marker) => self.frame(segment),
            CODES => self.codes(segment),
            STEPS => self.quantisation(segment),
            RESTART_INTERVAL => {
                self.restart = usize::from(u16::from_be_bytes(segment.try_into().ok()?));
                Some(())
            }
            START_OF_SCAN => self.start_of_scan(segment),
            EXIF => self.exif(segment),
            // The last byte says how colours are stored: 1 is what colour files have without it.
            ADOBE if segment.starts_with(b"Adobe") => (segment.get(11) == Some(&1)).then_some(()),
            0xE0..=0xEF | COMMENT => Some(()),
            _ => None,
        }
    }

    fn frame(&mut self, segment: &[u8]) -> Option<()> {
        let (&[bits, h1, h0, w1, w0, count], rest) = segment.split_first_chunk()?;
        let count = usize::from(count);
        let is_known = bits == 8 && matches!(count, 1 | 3) && rest.len() == 3 * count;
        if !is_known || !self.components.is_empty() {
            return None;
        }
        self.height = usize::from(u16::from_be_bytes([h1, h0]));
        self.width = usize::from(u16::from_be_bytes([w1, w0]));
        for component in rest.chunks_exact(3) {
            let (across, down) = (usize::from(component[1] >> 4), usize::from(component[1] & 15));
            let steps = usize::from(component[2]);
            self.components.push(Component { id: component[0], across, down, steps, ..Component::default() });
        }
        let factors: Vec<_> = self.components.iter().map(|c| (c.across, c.down)).collect();
        let is_rgb = self.components.iter().map(|c| c.id).eq(*b"RGB");
        let is_known = matches!(factors[..], [(1, 1)] | [(1, 1) | (2, 1) | (2, 2), (1, 1), (1, 1)]);
        (is_known && !is_rgb && self.width > 0 && self.height > 0).then_some(())
    }

    fn codes(&mut self, mut segment: &'a [u8]) -> Option<()> {
        while let Some((&which, rest)) = segment.split_first() {
            let tables = if which & 0x10 == 0 { &mut self.dc } else { &mut self.ac };
            let counts = rest.get(..16)?;
            let number: usize = counts.iter().map(|&count| usize::from(count)).sum();
            let (codes, rest) = rest.split_at_checked(16 + number)?;
            *tables.get_mut(usize::from(which & !0x10))? = Some(codes);
            segment = rest;
        }
        Some(())
    }

    fn quantisation(&mut self, mut segment: &[u8]) -> Option<()> {
        while let Some((&which, rest)) = segment.split_first() {
            let (steps, rest) = rest.split_first_chunk::<64>()?;
            *self.steps.get_mut(usize::from(which))? = Some(*steps);
            segment = rest;
        }
        Some(())
    }

    fn exif(&mut self, segment: &[u8]) -> Option<()> {
        if let Some(exif) = segment.strip_prefix(b"Exif\0\0") {
            // A damaged orientation tag is no reason to lose the image.
            self.orientation = Orientation::from_exif_chunk(exif).unwrap_or(Orientation::NoTransforms);
        }
        Some(())
    }

    fn start_of_scan(&mut self, segment: &[u8]) -> Option<()> {
        let (&count, rest) = segment.split_first()?;
        let (tables, range) = rest.split_at_checked(2 * usize::from(count))?;
        if usize::from(count) != self.components.len() || range != [0, 63, 0] {
            return None;
        }
        for (component, which) in self.components.iter_mut().zip(tables.chunks_exact(2)) {
            if component.id != which[0] {
                return None;
            }
            component.dc = usize::from(which[1] >> 4);
            component.ac = usize::from(which[1] & 15);
        }
        Some(())
    }

    /// Whether there is a frame, and all tables that it names.
    fn is_complete(&self) -> bool {
        let has = |c: &Component| {
            let steps = self.steps.get(c.steps).is_some_and(Option::is_some);
            let has = |tables: &[Option<&[u8]>; 4], at: usize| tables.get(at).is_some_and(Option::is_some);
            steps && has(&self.dc, c.dc) && has(&self.ac, c.ac)
        };
        !self.components.is_empty() && self.components.iter().all(has)
    }
}

/// Marker, content and what follows.
fn next_segment(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&[0xFF, marker, high, low], rest) = bytes.split_first_chunk()? else { return None };
    let length = usize::from(u16::from_be_bytes([high, low])).checked_sub(2)?;
    let (segment, rest) = rest.split_at_checked(length)?;
    Some((marker, segment, rest))
}
