//! What a model makes of masked images, put back into pixels.

/// `[L, p·p·c]` (row in patch, column in patch, channel) to `[c, S, S]`.
#[must_use]
pub fn unpatchify(patches: &[f32], channels: usize, side: usize, patch: usize) -> Vec<f32> {
    let grid = side / patch;
    let mut image = vec![0.0; channels * side * side];
    for (at, value) in patches.iter().enumerate() {
        let (c, rest) = (at % channels, at / channels);
        let (column, rest) = (rest % patch, rest / patch);
        let (row, l) = (rest % patch, rest / patch);
        let (x, y) = (l % grid * patch + column, l / grid * patch + row);
        image[(c * side + y) * side + x] = *value;
    }
    image
}
