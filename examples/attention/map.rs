//! One head as a picture: shades in the terminal, or an SVG.

use crate::Weights;
use crate::common::style::{Colour, Style};

/// Terminal cells across and down, at most.
const ACROSS: usize = 64;
const DOWN: usize = 32;
const SHADES: [char; 6] = [' ', '·', '░', '▒', '▓', '█'];

/// The sum of a row, in f64.
pub fn sum(row: &[f32]) -> f64 {
    row.iter().map(|&p| f64::from(p)).sum()
}

/// How dark a weight is, 0 to 1: attention spans decades, so the scale is a fourth root.
fn darkness(weight: f64) -> f64 {
    weight.max(0.0).sqrt().sqrt()
}

/// The head in shades, each cell the largest weight of the places it stands for, and the least and the largest sum of
/// its rows.
pub fn terminal(weights: &Weights, head: usize, style: Style) -> String {
    let (queries, keys) = (weights.queries.div_ceil(DOWN), weights.keys.div_ceil(ACROSS));
    let rows: Vec<&[f32]> = weights.rows(head).collect();
    let mut text = String::new();
    for (i, rows) in rows.chunks(queries).enumerate() {
        let mut cells = String::new();
        for key in (0..weights.keys).step_by(keys) {
            let cell = rows.iter().flat_map(|row| &row[key..weights.keys.min(key + keys)]);
            let largest = cell.fold(0.0, |largest, &p| f64::from(p).max(largest));
            // Anything at all is a dot at least.
            let shade = (darkness(largest) * 5.0).round() as usize;
            cells.push(SHADES[if largest > 0.0 { shade.max(1) } else { 0 }]);
        }
        let sums = rows.iter().map(|row| sum(row));
        let (least, largest) = sums.fold((f64::INFINITY, 0.0_f64), |(a, b), s| (a.min(s), b.max(s)));
        let bar = style.paint(Colour::Dim, "│");
        let cells = style.paint(Colour::Cyan, &cells);
        text += &format!(" {:>4} {bar}{cells}{bar} {least:.7} {largest:.7}\n", i * queries);
    }
    text
}

/// The head as an SVG, a square to each weight that can be seen.
pub fn svg(weights: &Weights, head: usize) -> String {
    let (queries, keys) = (weights.queries, weights.keys);
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {keys} {queries}\" width=\"{}\" height=\"{}\">\n\
         <title>head {head}: queries down, keys across</title>\n<rect width=\"{keys}\" height=\"{queries}\" fill=\"#fff\"/>\n\
         <g fill=\"#08306b\">\n",
        6 * keys,
        6 * queries
    );
    for (query, row) in weights.rows(head).enumerate() {
        for (key, &p) in row.iter().enumerate() {
            let dark = darkness(f64::from(p));
            if dark >= 0.1 {
                text += &format!("<rect x=\"{key}\" y=\"{query}\" width=\"1\" height=\"1\" opacity=\"{dark:.2}\"/>\n");
            }
        }
    }
    text + "</g>\n</svg>\n"
}
