//! Polygons to pixels.

/// The pixels, `[height, width]` of 0 and 1, whose middle lies within a polygon (by the even-odd
/// rule, each polygon by itself). A polygon is `x0, y0, x1, y1, …`, closed, with pixel corners at
/// whole numbers; one of fewer than three corners holds nothing.
pub(super) fn fill(polygons: &[Vec<f64>], width: usize, height: usize) -> Vec<u8> {
    let mut pixels = vec![0; width * height];
    let mut crossings = vec![];
    for polygon in polygons {
        let corners: Vec<[f64; 2]> = polygon.as_chunks::<2>().0.to_vec();
        if corners.len() < 3 {
            continue;
        }
        for (y, row) in pixels.chunks_exact_mut(width.max(1)).enumerate() {
            crossings.clear();
            crossings.extend(edges(&corners).filter_map(|edge| crossing(edge, y as f64 + 0.5)));
            crossings.sort_by(f64::total_cmp);
            for &[from, to] in crossings.as_chunks::<2>().0 {
                row[column(from, width)..column(to, width)].fill(1);
            }
        }
    }
    pixels
}

/// The first column whose middle lies at or right of a place.
fn column(x: f64, width: usize) -> usize {
    ((x - 0.5).ceil().max(0.0) as usize).min(width)
}

fn edges(corners: &[[f64; 2]]) -> impl Iterator<Item = [[f64; 2]; 2]> + '_ {
    let next = corners.iter().cycle().skip(1);
    corners.iter().zip(next).map(|(&from, &to)| [from, to])
}

/// Where an edge meets a row's middle line; its lower end does not count, so that a corner on the
/// line counts once.
fn crossing([[x0, y0], [x1, y1]]: [[f64; 2]; 2], y: f64) -> Option<f64> {
    ((y0 <= y) != (y1 <= y)).then(|| x0 + (y - y0) / (y1 - y0) * (x1 - x0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(polygons: &[Vec<f64>], width: usize, height: usize) -> Vec<String> {
        let pixels = fill(polygons, width, height);
        pixels.chunks(width).map(|row| row.iter().map(|v| char::from(b'0' + v)).collect()).collect()
    }

    #[test]
    fn boxes_and_triangles() {
        let square = vec![1.0, 1.0, 4.0, 1.0, 4.0, 3.0, 1.0, 3.0];
        assert_eq!(rows(&[square], 5, 4), ["00000", "01110", "01110", "00000"]);
        let triangle = vec![0.0, 0.0, 4.0, 4.0, 0.0, 4.0];
        assert_eq!(rows(&[triangle], 4, 4), ["0000", "1000", "1100", "1110"]);
    }

    #[test]
    fn a_bow_tie_has_two_wings_and_what_is_outside_or_too_short_is_cut_off() {
        let tie = vec![0.0, 0.0, 6.0, 4.0, 6.0, 0.0, 0.0, 4.0];
        let drawn = rows(&[tie], 6, 4);
        assert_eq!(drawn[0], "100001", "{drawn:?}");
        let large = vec![-9.0, -9.0, 99.0, -9.0, 99.0, 99.0, -9.0, 99.0];
        assert_eq!(fill(&[large], 3, 2), [1; 6]);
        assert_eq!(fill(&[vec![0.0, 0.0, 3.0, 3.0], vec![]], 3, 2), [0; 6]);
    }
}
