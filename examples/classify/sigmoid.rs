//! The section of the report that shows what softmax is for: one row beside the same row through sigmoid.

use crate::report::{Report, line};
use crate::style::{Colour, bar, decimal};

/// With more classes than this, the table shows the best ones only.
const TABLE: usize = 16;

impl Report<'_> {
    /// The row with the most classes over sigmoid's threshold, through softmax and through sigmoid.
    pub fn beside_sigmoid(&self, out: &mut String) {
        let passing = |row: usize| self.logits.row(row).iter().filter(|&&x| sigmoid(x) > 0.5).count();
        let row = (0..self.logits.rows).rev().max_by_key(|&row| passing(row)).unwrap_or(0);
        let (x, y) = (self.logits.row(row), self.prediction.distribution(row));
        let (best, _) = self.prediction.best(row);

        let truth = self
            .labels
            .map_or(String::new(), |labels| format!(", truth {}", labels[row]));
        self.heading(out, &format!("Softmax beside sigmoid: {} {row}{truth}", self.noun));
        let header = format!(" {:>7} │ {:>9}   {:<29} sigmoid", "class", "logit", "softmax");
        line(out, &self.paint(Colour::Dim, &header));
        let mut classes: Vec<usize> = (0..x.len()).collect();
        if x.len() > TABLE {
            classes.sort_by(|&a, &b| x[b].total_cmp(&x[a]));
            classes.truncate(TABLE);
        }
        for &class in &classes {
            let (p, q) = (y[class], sigmoid(x[class]));
            let (q_colour, mark) = if q > 0.5 {
                (Colour::Yellow, "  over 0.5")
            } else {
                (Colour::Plain, "")
            };
            let p_colour = if class == best {
                self.verdict(row)
            } else {
                Colour::Plain
            };
            let p_text = format!("{} {}", self.paint(p_colour, &bar(p, 20)), decimal(p));
            let q_text = format!("{} {}", self.paint(q_colour, &bar(q, 20)), decimal(q));
            let mark = self.paint(q_colour, mark);
            line(
                out,
                &format!(
                    " {class:>7} {} {:>9.3}   {p_text}   {q_text}{mark}",
                    self.rule(),
                    x[class]
                ),
            );
        }
        let y_sum: f64 = y.iter().sum();
        let q_sum: f64 = x.iter().map(|&x| sigmoid(x)).sum();
        let name = if classes.len() < x.len() {
            format!("all {}", x.len())
        } else {
            "sum".to_owned()
        };
        line(
            out,
            &format!(" {name:>7} {}{:32}{y_sum:>8.4}{:22}{q_sum:>8.4}", self.rule(), "", ""),
        );

        let (passing, of) = (passing(row), x.len());
        line(out, "");
        line(
            out,
            &format!(" Sigmoid judges each class alone: {passing} of {of} pass 0.5, and the values sum to {q_sum:.4}."),
        );
        line(
            out,
            &format!(
                " Softmax weighs one against the other: a distribution that sums to {y_sum:.4}, and one answer, {best}."
            ),
        );
    }
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}
