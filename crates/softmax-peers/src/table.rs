//! The tables, in Markdown, aligned to be read as they are.

use crate::peer::Role;
use crate::peers::{NAMES, OURS};
use crate::record::{Duel, Group, Record, distinct, groups};
use crate::task::{CALL, Cap, Place, Shape};

/// All tables of `records`.
pub fn render(records: &[Record]) -> String {
    let tables = groups(records).into_iter().map(|group| {
        let of_group: Vec<&Record> = records.iter().filter(|record| record.group == group).collect();
        format!("{}\n\n{}\n{}", title(group), times(&of_group), accuracies(&of_group))
    });
    tables.collect::<Vec<_>>().join("\n")
}

/// What a group is, and the clock of its figures.
pub fn title(group: Group) -> String {
    let place = match group.place {
        Place::Out => "out of place",
        Place::In => "in place",
    };
    let isa = match group.cap {
        Cap::Native => "all instruction sets",
        Cap::Avx2 => "capped to AVX2",
    };
    let (threads, clock) = match group.threads {
        1 => ("1 thread".into(), "CPU"),
        threads => (format!("{threads} threads"), "wall"),
    };
    let (op, dtype) = (group.op, group.dtype);
    format!("## {op} {dtype}, {place}, {threads}, {isa}: ns per element ({clock} time)")
}

fn times(records: &[&Record]) -> String {
    let peers = peers(records);
    let shapes = distinct(records.iter().map(|record| record.shape));
    let mut head = vec!["rows x cols".to_owned()];
    head.extend(peers.iter().map(|peer| (*peer).to_owned()));
    head.extend(["best peer", "best / ours", "copy / ours"].map(String::from));
    let mut lines = vec![head];
    for shape in shapes {
        let of_shape = || records.iter().copied().filter(move |record| record.shape == shape);
        let cell = |peer: &&str| {
            let record = of_shape().find(|record| record.peer == *peer);
            record.map_or("-".into(), |record| figure(record) + mark(record))
        };
        let mut line = vec![label(shape)];
        line.extend(peers.iter().map(cell));
        line.extend(duel(shape, Duel::new(of_shape())));
        lines.push(line);
    }
    let mut text = align(&lines);
    let marks = [
        ("*", "used AVX-512, no part in the ratio"),
        ("!", "wrong, no part in the ratio"),
    ];
    for (sign, meaning) in marks {
        if records.iter().any(|record| mark(record).contains(sign)) {
            text += &format!("\n`{sign}` {meaning}\n");
        }
    }
    text
}

/// The columns, in the order of [`NAMES`].
fn peers<'a>(records: &[&'a Record]) -> Vec<&'a str> {
    let mut peers = distinct(records.iter().map(|record| record.peer.as_str()));
    peers.sort_by_key(|peer| NAMES.iter().position(|name| name == peer));
    peers
}

fn label(shape: Shape) -> String {
    if shape == CALL {
        format!("call {shape}")
    } else {
        shape.to_string()
    }
}

fn figure(record: &Record) -> String {
    match record.ns {
        ns if ns < 100.0 => format!("{ns:.3}"),
        ns => format!("{ns:.0}"),
    }
}

fn mark(record: &Record) -> &'static str {
    match record.role {
        Role::Ceiling => "",
        _ if !record.right => "!",
        Role::Peer if !record.is_rival() => "*",
        _ => "",
    }
}

fn duel(shape: Shape, duel: Option<Duel>) -> [String; 3] {
    let none = || "-".to_owned();
    match duel {
        Some(duel) if shape != CALL => [
            duel.best,
            format!("{:.2}", duel.ratio),
            duel.of_copy.map_or_else(none, |ratio| format!("{ratio:.2}")),
        ],
        _ => [none(), none(), none()],
    }
}

fn accuracies(records: &[&Record]) -> String {
    let head = ["peer", "version", "max ULP", "row sum error", "AVX-512", "call, ns"];
    let mut lines = vec![head.map(String::from).to_vec()];
    for peer in peers(records) {
        let of_peer = || records.iter().filter(|record| record.peer == peer);
        let Some(first) = of_peer().next() else { continue };
        let worst = |value: fn(&Record) -> f64| {
            of_peer().map(|record| value(record)).fold(0.0, |worst: f64, value| {
                if value >= worst || value.is_nan() { value } else { worst }
            })
        };
        let is_bound = first.role == Role::Ceiling;
        let used = distinct(of_peer().map(|record| record.avx512_used));
        let call = of_peer().find(|record| record.shape == CALL);
        lines.push(vec![
            peer.to_owned(),
            first.version.clone(),
            if is_bound {
                "-".into()
            } else {
                format!("{:.2}", worst(|record| record.max_ulp))
            },
            if is_bound {
                "-".into()
            } else {
                format!("{:.1e}", worst(|record| record.row_sum_error))
            },
            match used.contains(&Some(true)) {
                true => "used",
                false if used.contains(&None) => "unknown",
                false => "not seen",
            }
            .to_owned(),
            call.map_or("-".into(), |record| format!("{:.0}", record.ns)),
        ]);
    }
    align(&lines)
}

/// A Markdown table whose first line is the head: first column to the left, others to the right.
fn align(lines: &[Vec<String>]) -> String {
    let columns = lines.first().map_or(0, Vec::len);
    let width = |column: usize| {
        lines
            .iter()
            .map(|line| line[column].chars().count())
            .max()
            .unwrap_or(0)
            .max(3)
    };
    let mut text = String::new();
    for (number, line) in lines.iter().enumerate() {
        for (column, cell) in line.iter().enumerate() {
            let width = width(column);
            text += &if column == 0 {
                format!("| {cell:<width$} ")
            } else {
                format!("| {cell:>width$} ")
            };
        }
        text += "|\n";
        if number == 0 {
            for column in 0..columns {
                let dashes = "-".repeat(width(column));
                text += &if column == 0 {
                    format!("|:{dashes}-")
                } else {
                    format!("|-{dashes}:")
                };
            }
            text += "|\n";
        }
    }
    text
}

/// One line: over the shapes of a group, the least and the geometric mean of our ratio.
pub fn summary(records: &[Record]) -> String {
    let mut text = String::new();
    for group in groups(records) {
        let of_group = || records.iter().filter(move |record| record.group == group);
        let ratios: Vec<(Shape, Duel)> = distinct(of_group().map(|record| record.shape))
            .into_iter()
            .filter(|shape| *shape != CALL)
            .filter_map(|shape| {
                let duel = Duel::new(of_group().filter(|record| record.shape == shape))?;
                Some((shape, duel))
            })
            .collect();
        let Some((shape, least)) = ratios.iter().min_by(|a, b| a.1.ratio.total_cmp(&b.1.ratio)) else {
            continue;
        };
        let mean = (ratios.iter().map(|(_, duel)| duel.ratio.ln()).sum::<f64>() / ratios.len() as f64).exp();
        let (title, best) = (title(group), &least.best);
        let title = title.trim_start_matches("## ").split(':').next().unwrap_or_default();
        text += &format!(
            "{title}: {OURS} is {mean:.2} times as fast as the best peer (geometric mean of {} \
             shapes), at least {:.2} ({shape}, {best})\n",
            ratios.len(),
            least.ratio,
        );
    }
    text
}
