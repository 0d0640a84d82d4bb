//! Masks as a drawing.

use std::fmt::Write as _;

use super::super::Mask;
use super::{check_size, polygons};
use crate::error::Result;

/// One object.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SvgObject<'a> {
    /// Its title.
    pub name: &'a str,
    /// A colour as CSS has it.
    pub colour: &'a str,
    /// Of the size of the drawing.
    pub mask: &'a Mask,
}

/// A drawing of the image's size in which every object is one path, with a title.
///
/// # Errors
/// [`crate::Error::Image`] for a mask of another size.
pub fn svg(width: usize, height: usize, objects: &[SvgObject<'_>], tolerance: f32) -> Result<String> {
    let mut drawing = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {width} {height}\">\n"
    );
    for (at, object) in objects.iter().enumerate() {
        check_size(width, height, object.mask, at)?;
        let (name, colour) = (escape(object.name), escape(object.colour));
        let path = path(object.mask, tolerance);
        drawing += &format!(
            "<path fill=\"{colour}\" fill-rule=\"evenodd\" d=\"{path}\"><title>{name}</title></path>\n"
        );
    }
    drawing += "</svg>\n";
    Ok(drawing)
}

/// Horizontal and vertical lines have their own, shorter letters.
fn path(mask: &Mask, tolerance: f32) -> String {
    let mut path = String::new();
    for polygon in polygons(mask, tolerance) {
        for ring in polygon.rings() {
            let Some(&[mut x, mut y]) = ring.first() else { continue };
            // Writing to a string cannot fail.
            let _ = write!(path, "M{x} {y}");
            for &[next_x, next_y] in &ring[1..] {
                let _ = match (next_x == x, next_y == y) {
                    (_, true) => write!(path, "H{next_x}"),
                    (true, _) => write!(path, "V{next_y}"),
                    _ => write!(path, "L{next_x} {next_y}"),
                };
                (x, y) = (next_x, next_y);
            }
            path.push('Z');
        }
    }
    path
}

/// Text as XML may hold it, in quotes too; characters that it may not hold are left out.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped += "&amp;",
            '<' => escaped += "&lt;",
            '>' => escaped += "&gt;",
            '"' => escaped += "&quot;",
            '\u{fffe}' | '\u{ffff}' => {}
            _ if character.is_control() && !matches!(character, '\t' | '\n' | '\r') => {}
            _ => escaped.push(character),
        }
    }
    escaped
}
