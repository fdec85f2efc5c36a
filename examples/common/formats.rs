//! The two file formats. NPY: headers checked against the data, values in row-major order. CSV: records with
//! their line. Every error names the file; none of this knows what the numbers mean.

use std::io::ErrorKind;
use std::path::Path;

use npyz::{DType, NpyFile, NpyHeader, Order, TypeChar};

use super::Result;

/// An NPY file whose data is as long as its header says.
pub struct Npy<'a> {
    source: &'a str,
    file: NpyFile<&'a [u8]>,
    pub shape: Vec<usize>,
    /// The element type, by its Rust name: `f32`, `u8`.
    pub kind: String,
}

impl<'a> Npy<'a> {
    /// `None` if the bytes are of some other format; a file named `.npy` must be one.
    pub fn open(source: &'a str, bytes: &'a [u8]) -> Result<Option<Self>> {
        if !bytes.starts_with(b"\x93NUMPY") {
            let extension = Path::new(source).extension().unwrap_or_default();
            if extension.eq_ignore_ascii_case("npy") {
                let problem = "not a NumPy file: it does not begin with \\x93NUMPY";
                return Err(format!("{source}: {problem}").into());
            }
            return Ok(None);
        }
        let truncated = || format!("{source}: truncated inside the NumPy header");
        if bytes.len() < 10 {
            return Err(truncated().into()); // npyz would take it for another format
        }
        let mut data = bytes;
        let header = NpyHeader::from_reader(&mut data).map_err(|error| match error.kind() {
            ErrorKind::UnexpectedEof => truncated(),
            _ => format!("{source}: bad NumPy header: {error}"),
        })?;
        check_length(source, &header, data.len())?;
        let shape = header.shape().iter().map(|&n| usize::try_from(n));
        let shape = shape.collect::<std::result::Result<_, _>>()?;
        let kind = rust_name(&header.dtype());
        let file = NpyFile::with_header(header, data);
        Ok(Some(Self {
            source,
            file,
            shape,
            kind,
        }))
    }

    /// Every value, in row-major order whatever the order of the file.
    pub fn values<T: npyz::Deserialize + Copy>(self) -> Result<Vec<T>> {
        let Self {
            source, file, shape, ..
        } = self;
        let order = file.order();
        let stored = file.into_vec().map_err(|error| format!("{source}: {error}"))?;
        Ok(match order {
            Order::C => stored,
            Order::Fortran => row_major(&stored, &shape),
        })
    }
}

fn check_length(source: &str, header: &NpyHeader, found: usize) -> Result<()> {
    let item = header.dtype().num_bytes().unwrap_or(0) as u64;
    let needed = header.shape().iter().try_fold(item, |size, &n| size.checked_mul(n));
    let problem = match needed {
        Some(needed) if needed == found as u64 => return Ok(()),
        Some(needed) if needed < found as u64 => "too long",
        _ => "truncated",
    };
    let axes: Vec<_> = header.shape().iter().map(u64::to_string).collect();
    let (shape, kind) = (axes.join(" × "), rust_name(&header.dtype()));
    let needed = needed.map_or("more than 2^64".to_owned(), |size| size.to_string());
    let counts = format!("{shape} values of {kind} need {needed} bytes after the header, not {found}");
    Err(format!("{source}: {problem}: {counts}").into())
}

/// `<f4` is `f32`; what Rust has no number for keeps NumPy's name.
fn rust_name(kind: &DType) -> String {
    let DType::Plain(plain) = kind else {
        return kind.descr();
    };
    let letter = match plain.type_char() {
        TypeChar::Float => 'f',
        TypeChar::Int => 'i',
        TypeChar::Uint => 'u',
        _ => return kind.descr(),
    };
    format!("{letter}{}", 8 * plain.size_field())
}

/// Column-major values in row-major order, for any number of axes.
fn row_major<T: Copy>(stored: &[T], shape: &[usize]) -> Vec<T> {
    let mut index = vec![0; shape.len()];
    let mut values = Vec::with_capacity(stored.len());
    for _ in stored {
        values.push(stored[index.iter().zip(shape).rev().fold(0, |at, (&i, &n)| at * n + i)]);
        for (i, &n) in index.iter_mut().zip(shape).rev() {
            *i = (*i + 1) % n;
            if *i > 0 {
                break;
            }
        }
    }
    values
}

/// Calls `f` with each record and its line. A first record without a number in it is a heading, and skipped.
pub fn for_each_record(
    source: &str,
    bytes: &[u8],
    mut f: impl FnMut(u64, &csv::StringRecord) -> Result<()>,
) -> Result<()> {
    let mut builder = csv::ReaderBuilder::new();
    builder.has_headers(false).trim(csv::Trim::All).comment(Some(b'#'));
    for (i, record) in builder.from_reader(bytes).records().enumerate() {
        let record = record.map_err(|error| format!("{source}: {}", csv_problem(&error)))?;
        if i == 0 && record.iter().all(|field| field.parse::<f64>().is_err()) {
            continue;
        }
        f(record.position().map_or(0, csv::Position::line), &record)?;
    }
    Ok(())
}

fn csv_problem(error: &csv::Error) -> String {
    let line = error.position().map_or(0, csv::Position::line);
    match error.kind() {
        csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
            format!("line {line}: {len} values where the first line has {expected_len}")
        }
        csv::ErrorKind::Utf8 { .. } => format!("line {line}: neither NPY nor CSV: not text"),
        _ => error.to_string(),
    }
}
