//! The report, at most 96 columns wide, one method per section. Nothing is computed here that the library computes.

use std::fmt::Write;

use softmax::Isa;

use crate::Prediction;
use crate::input::Logits;
use crate::style::{Colour, Style, bar, column, count, decimal, thousands};

/// Rows in the first table, and in each of the two lists.
const FIRST: usize = 12;
const LISTED: usize = 5;
/// Terminal columns for the bars of one row, and for the classes of one row in a list.
const BARS: usize = 60;
const LIST: usize = 80;

pub struct Report<'a> {
    pub logits: &'a Logits,
    pub labels: Option<&'a [usize]>,
    pub prediction: &'a Prediction,
    /// What a row is: "image" or "row".
    pub noun: &'a str,
    pub style: Style,
}

impl Report<'_> {
    pub fn render(&self) -> String {
        let mut out = String::new();
        self.title(&mut out);
        self.first_rows(&mut out);
        self.lists(&mut out);
        self.beside_sigmoid(&mut out);
        self.totals(&mut out);
        out
    }

    fn title(&self, out: &mut String) {
        let Logits {
            rows,
            cols,
            source,
            format,
            ..
        } = self.logits;
        let isa = self.paint(Colour::Bold, &format!("softmax on {}", self.prediction.isa.name()));
        let names = Isa::available().map(Isa::name).collect::<Vec<_>>().join(", ");
        line(out, &format!("\n {isa}   (this CPU runs {names})"));
        let (rows, classes) = (count(*rows, self.noun), if *cols == 1 { "class" } else { "classes" });
        line(out, &format!(" {rows} × {cols} {classes} from {source} ({format})"));
    }

    /// The first rows: a bar for each class where they fit, else the most probable classes.
    fn first_rows(&self, out: &mut String) {
        let shown = self.logits.rows.min(FIRST);
        let title = format!("The first {}", count(shown, self.noun));
        let cols = self.logits.cols;
        if cols > BARS {
            return self.list(out, &title, 0..shown);
        }
        self.heading(out, &format!("{title}: a bar for each class"));
        let cell = BARS / cols.max(10);
        let header = match cell {
            0..=2 => format!("classes 0 to {}", cols - 1),
            _ => (0..cols).map(|class| format!("{class:<cell$}")).collect(),
        };
        let width = header.chars().count().max(cell * cols);
        let truth = if self.labels.is_some() { "truth" } else { "" };
        let header = format!(" {:>7} │ {header:<width$}│ predicted        {truth}", self.noun);
        line(out, &self.paint(Colour::Dim, header.trim_end()));
        for row in 0..shown {
            let (best, probability) = self.prediction.best(row);
            let mut bars = String::new();
            for (class, &p) in self.prediction.distribution(row).iter().enumerate() {
                let text = match cell {
                    0..=2 => format!("{:<cell$}", column(p)),
                    _ => format!("{:<cell$}", bar(p, cell - 1)),
                };
                bars += &self.paint(
                    if class == best {
                        self.verdict(row)
                    } else {
                        Colour::Plain
                    },
                    &text,
                );
            }
            let pad = width - cell * cols;
            let best = self.paint(Colour::Bold, &format!("{best:>3}"));
            let end = format!(
                "{:pad$}{} {best}   {}{}",
                "",
                self.rule(),
                decimal(probability),
                self.truth(row)
            );
            line(out, &format!(" {row:>7} {} {bars}{end}", self.rule()));
        }
    }

    /// The rows worth a look: the unsure ones, and the sure ones that are wrong.
    fn lists(&self, out: &mut String) {
        let probability = |row: usize| self.prediction.best(row).1;
        let mut rows: Vec<usize> = (0..self.logits.rows).collect();
        rows.sort_by(|&a, &b| probability(a).total_cmp(&probability(b)));
        let unsure = rows.iter().copied().take(LISTED);
        self.list(out, &format!("The least certain {}s", self.noun), unsure);
        let wrong = rows
            .iter()
            .rev()
            .copied()
            .filter(|&row| self.right(row) == Some(false))
            .take(LISTED);
        if self.labels.is_some() {
            self.list(out, &format!("The most confidently wrong {}s", self.noun), wrong);
        }
    }

    /// Each row with its `k` most probable classes.
    fn list(&self, out: &mut String, title: &str, rows: impl Iterator<Item = usize>) {
        let k = self.prediction.k;
        let digits = (self.logits.cols - 1).to_string().len();
        let entry = digits + 17;
        let per_line = LIST / entry;
        let mut rows = rows.peekable();
        self.heading(
            out,
            &match (rows.peek(), k) {
                (None, _) => format!("{title}: none"),
                (_, 1) => format!("{title}: the most probable class"),
                _ => format!("{title}: the {k} most probable classes"),
            },
        );
        for row in rows {
            let top: Vec<_> = self.prediction.top(row).collect();
            for (i, entries) in top.chunks(per_line).enumerate() {
                let (label, truth) = if i == 0 {
                    (row.to_string(), self.truth(row))
                } else {
                    Default::default()
                };
                let mut text = String::new();
                for (j, &(class, p)) in entries.iter().enumerate() {
                    let colour = if i + j == 0 { self.verdict(row) } else { Colour::Plain };
                    let name_and_bar = self.paint(colour, &format!("{class:>digits$} {}", bar(p, 6)));
                    text += &format!("{name_and_bar} {}   ", decimal(p));
                }
                let pad = (k.min(per_line) - entries.len()) * entry;
                line(
                    out,
                    &format!(" {label:>7} {} {text}{:pad$}{}{truth}", self.rule(), "", self.rule()),
                );
            }
        }
    }

    fn totals(&self, out: &mut String) {
        let Prediction {
            k,
            predict_rows_per_second,
            softmax_rows_per_second,
            ..
        } = *self.prediction;
        self.heading(out, "In total");
        if let Some(labels) = self.labels {
            let right = (0..labels.len()).filter(|&row| self.right(row) == Some(true)).count();
            let score = self.paint(Colour::Bold, &format!("{right} of {}", labels.len()));
            let percent = 100.0 * right as f64 / labels.len() as f64;
            line(out, &format!(" accuracy    {score} ({percent:.2} %)"));
        }
        let (predict, softmax) = (thousands(predict_rows_per_second), thousands(softmax_rows_per_second));
        let width = predict.len().max(softmax.len());
        line(
            out,
            &format!(" prediction  {predict:>width$} rows/s  (top {k}, nothing written per row; one thread)"),
        );
        line(
            out,
            &format!(" softmax     {softmax:>width$} rows/s  (every probability written; one thread)\n"),
        );
    }

    pub fn heading(&self, out: &mut String, title: &str) {
        line(out, &format!("\n {}", self.paint(Colour::Bold, title)));
    }

    pub fn rule(&self) -> String {
        self.paint(Colour::Dim, "│")
    }

    pub fn paint(&self, colour: Colour, text: &str) -> String {
        self.style.paint(colour, text)
    }

    fn right(&self, row: usize) -> Option<bool> {
        self.labels.map(|labels| labels[row] == self.prediction.best(row).0)
    }

    pub fn verdict(&self, row: usize) -> Colour {
        match self.right(row) {
            Some(true) => Colour::Green,
            Some(false) => Colour::Red,
            None => Colour::Cyan,
        }
    }

    fn truth(&self, row: usize) -> String {
        let Some(labels) = self.labels else {
            return String::new();
        };
        let mark = if self.right(row) == Some(true) { "✓" } else { "✗" };
        format!("   {:>4} {}", labels[row], self.paint(self.verdict(row), mark))
    }
}

pub fn line(out: &mut String, text: &str) {
    let _ = writeln!(out, "{}", text.trim_end_matches(' ')); // writing to a String cannot fail
}
