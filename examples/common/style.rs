//! How values look in a terminal: colours, bars, numbers. Knows nothing of logits.

use std::io::{self, IsTerminal};

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Colour {
    Plain,
    Bold,
    Dim,
    Red,
    Green,
    Yellow,
    Cyan,
}

/// Paints text, or leaves it alone where the reader wants no colour.
#[derive(Clone, Copy)]
pub struct Style {
    colour: bool,
}

impl Style {
    /// Colour if standard output is a terminal that shows it, and `NO_COLOR` is unset or empty.
    pub fn of_stdout() -> Self {
        let no_colour = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|value| value == "dumb");
        Self {
            colour: io::stdout().is_terminal() && !no_colour && !dumb,
        }
    }

    pub fn paint(self, colour: Colour, text: &str) -> String {
        let code = match colour {
            Colour::Plain => 0,
            Colour::Bold => 1,
            Colour::Dim => 2,
            Colour::Red => 31,
            Colour::Green => 32,
            Colour::Yellow => 33,
            Colour::Cyan => 36,
        };
        if self.colour && code != 0 && !text.is_empty() {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }
}

/// `p` as a bar of `width` cells, in eighths of a cell; a dot if it is shorter than that.
pub fn bar(p: f64, width: usize) -> String {
    const PART: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    let eighths = (p * (8 * width) as f64).round() as usize;
    let text = match eighths {
        0 => "·".to_owned(),
        _ => "█".repeat(eighths / 8) + PART[eighths % 8],
    };
    format!("{text:<width$}")
}

/// `p` as the height of a single cell.
pub fn column(p: f64) -> char {
    ['·', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'][(p * 8.0).round() as usize]
}

/// Four decimals that never round to a certainty: 1.0000 and 0.0000 are exact.
pub fn decimal(p: f64) -> String {
    match format!("{p:.4}").as_str() {
        "1.0000" if p < 1.0 => ">.9999".to_owned(),
        "0.0000" if p > 0.0 => "<.0001".to_owned(),
        text => text.to_owned(),
    }
}

/// A whole number with its thousands set apart: 1,234,567.
pub fn thousands(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// "1 row", "2 rows".
pub fn count(n: usize, noun: &str) -> String {
    format!("{n} {noun}{}", if n == 1 { "" } else { "s" })
}
