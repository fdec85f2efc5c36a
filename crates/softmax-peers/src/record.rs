//! One measured line, its CSV form, and the ratios between lines.

use crate::peer::Role;
use crate::task::{Cap, Dtype, Op, Place, Shape};
use std::fmt::{Display, Write};
use std::str::FromStr;

/// The first line of the CSV that is not a comment. Older records lack the last column.
pub const HEADER: &str = "isa,op,dtype,place,threads,rows,cols,peer,role,ns_per_element,\
    median_ns_per_element,cpu_ns_per_element,wall_ns_per_element,max_ulp,row_sum_error,right,\
    avx512_used,version,samples";

/// What is compared within one table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Group {
    /// The cap of the measuring process.
    pub cap: Cap,
    /// The function.
    pub op: Op,
    /// The element type.
    pub dtype: Dtype,
    /// Where the result goes.
    pub place: Place,
    /// The threads every peer may use.
    pub threads: usize,
}

/// One peer on one task.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// The table it belongs to.
    pub group: Group,
    /// The matrix.
    pub shape: Shape,
    /// The column.
    pub peer: String,
    /// What the measurement means.
    pub role: Role,
    /// The figure: least CPU time of one thread, least wall time of several.
    pub ns: f64,
    /// The median of the same clock.
    pub median_ns: f64,
    /// Least CPU time of the process.
    pub cpu_ns: f64,
    /// Least wall time.
    pub wall_ns: f64,
    /// The largest error, in units of the last place.
    pub max_ulp: f64,
    /// The largest distance of a row's sum from 1.
    pub row_sum_error: f64,
    /// Whether the result is a softmax at all.
    pub right: bool,
    /// Whether the calling thread executed AVX-512, where the CPU can tell.
    pub avx512_used: Option<bool>,
    /// The version of the peer.
    pub version: String,
    /// How many samples the figures are the least and the median of.
    pub samples: Option<usize>,
}

impl Record {
    /// As [`is_rival`].
    pub fn is_rival(&self) -> bool {
        is_rival(self.role, self.right, self.group.cap, self.avx512_used)
    }

    /// The line of the CSV, without its end.
    pub fn to_csv(&self) -> String {
        let Group {
            cap,
            op,
            dtype,
            place,
            threads,
        } = self.group;
        let Shape { rows, cols } = self.shape;
        let mut line = format!("{cap},{op},{dtype},{place},{threads},{rows},{cols},");
        let peer = plain(&self.peer);
        let _ = write!(
            line,
            "{peer},{},{:.5},{:.5},",
            self.role.name(),
            self.ns,
            self.median_ns
        );
        let _ = write!(line, "{:.5},{:.5},", self.cpu_ns, self.wall_ns);
        let _ = write!(line, "{:.3},{:.3e},{},", self.max_ulp, self.row_sum_error, self.right);
        let avx512 = self
            .avx512_used
            .map_or("unknown", |used| if used { "yes" } else { "no" });
        let samples = self.samples.map_or(String::new(), |samples| samples.to_string());
        let _ = write!(line, "{avx512},{},{samples}", plain(&self.version));
        line
    }

    /// Reads a line of the CSV.
    ///
    /// # Errors
    /// The line has another form than [`HEADER`] says.
    pub fn from_csv(line: &str) -> Result<Self, String> {
        let mut fields = line.split(',');
        let mut next = || fields.next().ok_or_else(|| format!("a field is missing: `{line}`"));
        let record = Self {
            group: Group {
                cap: parse(next()?)?,
                op: parse(next()?)?,
                dtype: parse(next()?)?,
                place: parse(next()?)?,
                threads: parse(next()?)?,
            },
            shape: Shape::new(parse(next()?)?, parse(next()?)?),
            peer: next()?.into(),
            role: parse(next()?)?,
            ns: parse(next()?)?,
            median_ns: parse(next()?)?,
            cpu_ns: parse(next()?)?,
            wall_ns: parse(next()?)?,
            max_ulp: parse(next()?)?,
            row_sum_error: parse(next()?)?,
            right: parse(next()?)?,
            avx512_used: match next()? {
                "yes" => Some(true),
                "no" => Some(false),
                _ => None,
            },
            version: next()?.into(),
            samples: match fields.next() {
                None | Some("") => None,
                Some(samples) => Some(parse(samples)?),
            },
        };
        match fields.next() {
            None => Ok(record),
            Some(_) => Err(format!("a field too many: `{line}`")),
        }
    }
}

/// Whether it is one of those our figure is divided into: a library whose result is right and
/// that, in a capped process, was not seen to use AVX-512.
pub fn is_rival(role: Role, right: bool, cap: Cap, avx512_used: Option<bool>) -> bool {
    role == Role::Peer && right && !(cap == Cap::Avx2 && avx512_used == Some(true))
}

/// Reads a CSV: its comments without the mark, and its records.
///
/// # Errors
/// A line is neither comment nor header nor record.
pub fn read_csv(text: &str) -> Result<(Vec<String>, Vec<Record>), String> {
    let (mut comments, mut records) = (Vec::new(), Vec::new());
    for line in text.lines() {
        if let Some(comment) = line.strip_prefix('#') {
            comments.push(comment.trim().to_owned());
        } else if line != HEADER && HEADER.strip_suffix(",samples") != Some(line) {
            records.push(Record::from_csv(line)?);
        }
    }
    Ok((comments, records))
}

/// A CSV: comments, header, records.
pub fn write_csv(comments: &[String], records: &[Record]) -> String {
    let comments = comments.iter().map(|comment| format!("# {comment}"));
    let lines = comments
        .chain([HEADER.into()])
        .chain(records.iter().map(Record::to_csv));
    lines.map(|line| line + "\n").collect()
}

/// The groups of `records`, in order of appearance.
pub fn groups(records: &[Record]) -> Vec<Group> {
    distinct(records.iter().map(|record| record.group))
}

/// `values` without repetitions, in order of appearance.
pub fn distinct<T: PartialEq>(values: impl Iterator<Item = T>) -> Vec<T> {
    values.fold(Vec::new(), |mut seen, value| {
        if !seen.contains(&value) {
            seen.push(value);
        }
        seen
    })
}

/// Our figure beside the others of one shape.
#[derive(Clone, Debug, PartialEq)]
pub struct Duel {
    /// The fastest rival.
    pub best: String,
    /// The rival's time over ours: above 1 where we are faster.
    pub ratio: f64,
    /// The plain copy's time over ours, where it was measured.
    pub of_copy: Option<f64>,
}

impl Duel {
    /// The duel among the records of one group and shape, if both sides are there.
    pub fn new<'a>(records: impl Iterator<Item = &'a Record> + Clone) -> Option<Self> {
        let ours = records.clone().find(|record| record.role == Role::Ours)?;
        let best = records
            .clone()
            .filter(|record| record.is_rival())
            .min_by(|a, b| a.ns.total_cmp(&b.ns))?;
        let copy = records.clone().find(|record| record.role == Role::Ceiling);
        Some(Self {
            best: best.peer.clone(),
            ratio: best.ns / ours.ns,
            of_copy: copy.map(|copy| copy.ns / ours.ns),
        })
    }
}

fn parse<T: FromStr<Err: Display>>(field: &str) -> Result<T, String> {
    field.parse().map_err(|error| format!("`{field}`: {error}"))
}

/// `text` without what separates fields and lines.
fn plain(text: &str) -> String {
    text.replace([',', '\n', '\r'], ";")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(peer: &str, role: Role, ns: f64) -> Record {
        let group = Group {
            cap: Cap::Avx2,
            op: Op::Softmax,
            dtype: Dtype::F32,
            place: Place::Out,
            threads: 2,
        };
        Record {
            group,
            shape: Shape::new(16, 32_000),
            peer: peer.into(),
            role,
            ns,
            median_ns: ns + 0.5,
            cpu_ns: 2.0 * ns,
            wall_ns: ns,
            max_ulp: 1.5,
            row_sum_error: 1.25e-7,
            right: true,
            avx512_used: Some(false),
            version: "1.0 (avx2)".into(),
            samples: Some(40),
        }
    }

    #[test]
    fn csv_round_trip() {
        let mut records = vec![record("ours", Role::Ours, 0.25), record("a", Role::Peer, 1.0)];
        records[0].avx512_used = None;
        records[1].right = false;
        let comments = vec!["cpu: some, with a comma".to_owned(), "date: today".to_owned()];
        let text = write_csv(&comments, &records);
        assert_eq!(text.lines().nth(2), Some(HEADER));
        assert_eq!(read_csv(&text), Ok((comments, records.clone())));
        let columns = HEADER.split(',').count();
        assert!(
            records
                .iter()
                .all(|record| record.to_csv().split(',').count() == columns)
        );

        records[1].version = "one, two\nthree".into();
        let read = Record::from_csv(&records[1].to_csv()).unwrap();
        assert_eq!(read.version, "one; two;three");
    }

    #[test]
    fn older_records_are_read() {
        let expected = Record {
            samples: None,
            ..record("ours", Role::Ours, 0.25)
        };
        let older = |line: &str| line.rsplit_once(',').unwrap().0.to_owned();
        let text = format!("{}\n{}\n", older(HEADER), older(&expected.to_csv()));
        assert_eq!(read_csv(&text), Ok((vec![], vec![expected.clone()])));
        assert_eq!(Record::from_csv(&expected.to_csv()), Ok(expected));
    }

    #[test]
    fn wrong_csv_is_refused() {
        let line = record("ours", Role::Ours, 0.25).to_csv();
        assert!(Record::from_csv(&line).is_ok());
        assert!(Record::from_csv(&format!("{line},more")).is_err());
        assert!(Record::from_csv(line.rsplitn(3, ',').last().unwrap()).is_err());
        assert!(Record::from_csv(&line.replace("f32", "f33")).is_err());
        assert!(read_csv("no record\n").is_err());
    }

    #[test]
    fn ratio_to_the_best_rival() {
        let mut records = [
            record("ours", Role::Ours, 0.5),
            record("slow", Role::Peer, 2.0),
            record("fast", Role::Peer, 1.0),
            record("copy", Role::Ceiling, 0.25),
        ];
        let duel = Duel::new(records.iter()).unwrap();
        assert_eq!(
            duel,
            Duel {
                best: "fast".into(),
                ratio: 2.0,
                of_copy: Some(0.5)
            }
        );

        // In a capped process, what used AVX-512 is no rival; a wrong result never is.
        records[2].avx512_used = Some(true);
        assert_eq!(Duel::new(records.iter()).unwrap().best, "slow");
        records[2].group.cap = Cap::Native;
        assert_eq!(Duel::new(records.iter()).unwrap().best, "fast");
        records[2].right = false;
        assert_eq!(Duel::new(records.iter()).unwrap().ratio, 4.0);
        assert_eq!(Duel::new(records[1..].iter()), None);
        assert_eq!(Duel::new(records[..1].iter()), None);
    }
}
