//! A QR code in half blocks: two of its rows in a line of the screen. The screen is light on dark, and a code is dark on light; so the
//! light modules are drawn.
use qrcode::{Color, EcLevel, QrCode};

/// Light modules around it: the standard asks for four, readers do with two, and the screen has no more.
const QUIET: usize = 2;

/// The lines of a code; none where it is larger than `rows` by `columns`.
pub(super) fn lines(text: &str, rows: usize, columns: usize) -> Vec<String> {
    let Ok(code) = QrCode::with_error_correction_level(text, EcLevel::L) else { return Vec::new() };
    let width = code.width() + 2 * QUIET;
    let height = width.div_ceil(2);
    if width > columns || height > rows {
        return Vec::new();
    }
    let colors = code.to_colors();
    let is_light = |x: usize, y: usize| {
        let inside = |at: usize| at.checked_sub(QUIET).filter(|at| *at < code.width());
        match (inside(x), inside(y)) {
            (Some(x), Some(y)) => colors[y * code.width() + x] == Color::Light,
            // Below the last row there is nothing.
            _ => y < width,
        }
    };
    let block = |x: usize, y: usize| match (is_light(x, 2 * y), is_light(x, 2 * y + 1)) {
        (true, true) => '█',
        (true, false) => '▀',
        (false, true) => '▄',
        (false, false) => ' ',
    };
    (0..height).map(|y| (0..width).map(|x| block(x, y)).collect()).collect()
}
