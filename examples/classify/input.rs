//! Reads logits and labels. Whatever leaves this file is checked: every row has a softmax, every label names a
//! class. Every error names the file, and where there is one the row and the value.

use std::fmt;
use std::path::Path;

pub use crate::common::Result;
use crate::common::read_file;
use crate::formats::{Npy, for_each_record};

/// `rows` × `cols` logits, row by row.
pub struct Logits {
    pub values: Values,
    pub rows: usize,
    pub cols: usize,
    /// The file.
    pub source: String,
    /// How the file held them.
    pub format: String,
}

/// Logits in the type that they came in.
pub enum Values {
    F32(Vec<f32>),
    F64(Vec<f64>),
}

impl Logits {
    pub fn bundled() -> Result<Self> {
        Self::parse(
            "the bundled digits_logits.npy",
            include_bytes!("../data/digits_logits.npy"),
        )
    }

    pub fn read(path: &Path) -> Result<Self> {
        Self::parse(&path.display().to_string(), &read_file(path)?)
    }

    pub fn row(&self, row: usize) -> Vec<f64> {
        let range = row * self.cols..(row + 1) * self.cols;
        match &self.values {
            Values::F32(x) => x[range].iter().copied().map(f64::from).collect(),
            Values::F64(x) => x[range].to_vec(),
        }
    }

    fn parse(source: &str, bytes: &[u8]) -> Result<Self> {
        let logits = match Npy::open(source, bytes)? {
            Some(npy) => Self::from_npy(source, npy)?,
            None => Self::from_csv(source, bytes)?,
        };
        let (rows, cols) = (logits.rows, logits.cols);
        if rows == 0 || cols == 0 {
            return Err(format!("{source}: no logits in it: {rows} rows of {cols} classes").into());
        }
        Ok(logits)
    }

    /// The last axis is the classes; the others, however many, are the rows.
    fn from_npy(source: &str, npy: Npy) -> Result<Self> {
        let Some((&cols, outer)) = npy.shape.split_last() else {
            return Err(format!("{source}: a single number, not rows of logits").into());
        };
        let rows = outer.iter().product();
        let mut format = npy.kind.clone();
        if outer.len() > 1 {
            let axes: Vec<_> = npy.shape.iter().map(usize::to_string).collect();
            format = format!("{} {format}", axes.join(" × "));
        }
        let values = match npy.kind.as_str() {
            "f32" => Values::F32(npy.values()?),
            "f64" => Values::F64(npy.values()?),
            kind => return Err(format!("{source}: holds {kind}, logits are f32 or f64").into()),
        };
        let source = source.to_owned();
        let logits = Self {
            values,
            rows,
            cols,
            source,
            format,
        };
        for row in (0..rows).take_while(|_| cols > 0) {
            check_row(&logits.row(row), &logits.source, format_args!("row {row}"))?;
        }
        Ok(logits)
    }

    fn from_csv(source: &str, bytes: &[u8]) -> Result<Self> {
        let (mut values, mut rows) = (Vec::new(), 0);
        for_each_record(source, bytes, |line, record| {
            for (class, field) in record.iter().enumerate() {
                let number = field.parse();
                values.push(
                    number.map_err(|_| format!("{source}: line {line}, class {class}: {field:?} is not a number"))?,
                );
            }
            rows += 1;
            check_row(
                &values[values.len() - record.len()..],
                source,
                format_args!("line {line}"),
            )
        })?;
        let cols = values.len().checked_div(rows).unwrap_or(0);
        let (source, format) = (source.to_owned(), "CSV, as f64".to_owned());
        Ok(Self {
            values: Values::F64(values),
            rows,
            cols,
            source,
            format,
        })
    }
}

/// The true digits of the bundled images.
pub fn bundled_labels(logits: &Logits) -> Result<Vec<usize>> {
    parse_labels(
        "the bundled digits_labels.npy",
        include_bytes!("../data/digits_labels.npy"),
        logits,
    )
}

/// The true class of each row of `logits`.
pub fn read_labels(path: &Path, logits: &Logits) -> Result<Vec<usize>> {
    parse_labels(&path.display().to_string(), &read_file(path)?, logits)
}

fn parse_labels(source: &str, bytes: &[u8], logits: &Logits) -> Result<Vec<usize>> {
    let labels = match Npy::open(source, bytes)? {
        Some(npy) => labels_from_npy(source, npy)?,
        None => labels_from_csv(source, bytes)?,
    };
    let Logits {
        rows, cols, source: of, ..
    } = logits;
    if labels.len() != *rows {
        return Err(format!("{source}: {} labels for the {rows} rows of {of}", labels.len()).into());
    }
    let mut classes = Vec::with_capacity(labels.len());
    for (row, label) in labels.into_iter().enumerate() {
        match usize::try_from(label) {
            Ok(class) if class < *cols => classes.push(class),
            _ => {
                let last = cols - 1;
                let problem = format!("label {label} is not one of the classes 0 to {last} of {of}");
                return Err(format!("{source}: row {row}: {problem}").into());
            }
        }
    }
    Ok(classes)
}

fn labels_from_npy(source: &str, npy: Npy) -> Result<Vec<i128>> {
    macro_rules! widen {
        ($($kind:ident)*) => {
            match npy.kind.as_str() {
                $(stringify!($kind) => npy.values::<$kind>()?.into_iter().map(i128::from).collect(),)*
                kind => return Err(format!("{source}: holds {kind}, labels are integers").into()),
            }
        };
    }
    Ok(widen!(u8 u16 u32 u64 i8 i16 i32 i64))
}

fn labels_from_csv(source: &str, bytes: &[u8]) -> Result<Vec<i128>> {
    let mut labels = Vec::new();
    for_each_record(source, bytes, |line, record| {
        if record.len() != 1 {
            let problem = format!("{} values, labels stand one per line", record.len());
            return Err(format!("{source}: line {line}: {problem}").into());
        }
        let label = record[0].parse();
        labels.push(label.map_err(|_| format!("{source}: line {line}: the label {:?} is not an integer", &record[0]))?);
        Ok(())
    })?;
    Ok(labels)
}

/// A row without a softmax is an error.
fn check_row(x: &[f64], source: &str, place: fmt::Arguments) -> Result<()> {
    if let Some(class) = x.iter().position(|logit| logit.is_nan() || *logit == f64::INFINITY) {
        let logit = x[class];
        return Err(
            format!("{source}: {place}, class {class}: the logit {logit} leaves the row without a softmax").into(),
        );
    }
    if x.iter().all(|&logit| logit == f64::NEG_INFINITY) {
        return Err(format!("{source}: {place}: every logit is -inf, no class is possible").into());
    }
    Ok(())
}
