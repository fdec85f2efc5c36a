//! Tuning profiles: their keys, how they are read, and how one is chosen. Part of the build script, of
//! `softmax-tune`, which writes profiles, and of the tests.
//!
//! A profile is TOML without tables: lines `key = value`, where a value is an integer, `true`, `false` or a string in
//! double quotes without escapes; comments from `#` on. Each key of [`KEYS`] stands in it once, and no other.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

/// What a profile says of one thing.
pub struct Key {
    /// Its name in the profile; in capitals, that of the constant.
    pub name: &'static str,
    /// The values it may have.
    pub kind: Kind,
    /// What it means: the comment in a written profile, and the documentation of the constant.
    pub doc: &'static str,
}

/// The values that a key may have.
pub enum Kind {
    /// Names of CPUs as `-Ctarget-cpu` takes them, separated by spaces. For choosing only: no constant.
    Cpus,
    /// `true` or `false`.
    Flag,
    /// An integer of this range.
    Count(u64, u64),
}

/// Every key, in the order of a written profile.
pub const KEYS: [Key; 11] = [
    Key {
        name: "cpus",
        kind: Kind::Cpus,
        doc: "The values of -Ctarget-cpu for which the build takes this profile.",
    },
    Key {
        name: "prefer_avx512",
        kind: Kind::Flag,
        doc: "Whether AVX-512 runs where the CPU has it, rather than AVX2.",
    },
    Key {
        name: "batch_rows",
        kind: Kind::Count(1, 32),
        doc: "Short rows that are computed side by side.",
    },
    Key {
        name: "short_row_vectors",
        kind: Kind::Count(1, 64),
        doc: "The longest short row, in vectors of 32 f32 (16 f64); longer ones are computed one by one, but where a logarithm is wanted.",
    },
    Key {
        name: "scratch_bytes",
        kind: Kind::Count(8192, 32768),
        doc: "Stack for the exps of a row in place or of halves, and the bound of those of two batches; of longer rows of halves, and of masked ones in place, some may be computed twice.",
    },
    Key {
        name: "overlapped_columns",
        kind: Kind::Count(0, 1 << 16),
        doc: "The longest rows that are divided after the next is summed; longer ones (AVX-512, f32 and f64: from half of it on) end first, or beside the exps of the next.",
    },
    Key {
        name: "prefetch_bytes",
        kind: Kind::Count(0, 1 << 16),
        doc: "How far ahead of a vector the CPU is told what follows (x86). 0: not at all.",
    },
    Key {
        name: "l1_bytes",
        kind: Kind::Count(0, 1 << 40),
        doc: "The L1 data cache: a row in place longer than a third of it (f32 on AVX-512: a quarter) keeps its exps where the logits were. 0: what the CPU reports.",
    },
    Key {
        name: "l2_bytes",
        kind: Kind::Count(0, 1 << 40),
        doc: "The L2 cache: a longer row in place that cannot be stored over at once computes its exps twice; a row of at most a quarter of it is divided beside the exps of the next (AVX-512), or while the CPU is told of it. A row of halves of more than four times it keeps no exps in the place of its results. 0: what the CPU reports.",
    },
    Key {
        name: "l3_bytes",
        kind: Kind::Count(0, 1 << 40),
        doc: "The share of the L3 cache: a row longer than half of it is stored past the caches. 0: what the CPU reports.",
    },
    Key {
        name: "task_elements",
        kind: Kind::Count(256, 1 << 30),
        doc: "Elements that a thread takes at least (feature rayon); less than 8192 count as 8192.",
    },
];

/// Bytes of a vector of exps.
const VECTOR_BYTES: u64 = 128;

/// Stack that all scratch of a path may take.
const PATH_BYTES: u64 = 32_768;

/// Stack for the small slices of a tensor, whose rows are computed in batches, or for the masks of some rows of one.
const SLICES_BYTES: u64 = 8192;

/// A value of a profile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// Of [`Kind::Cpus`].
    Text(String),
    /// Of [`Kind::Flag`].
    Flag(bool),
    /// Of [`Kind::Count`].
    Count(u64),
}

/// The values of all [`KEYS`], in their order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile(pub Vec<Value>);

impl Profile {
    /// Reads a profile.
    ///
    /// # Errors
    /// What is wrong in it, behind the number of the line where there is one.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut values = [const { None }; KEYS.len()];
        for (number, line) in text.lines().enumerate() {
            let at = |error| format!("line {}: {error}", number + 1);
            let Some((index, value)) = parse_line(line).map_err(at)? else {
                continue;
            };
            if values[index].replace(value).is_some() {
                return Err(at(format!("`{}` stands there twice", KEYS[index].name)));
            }
        }
        let mut profile = Vec::new();
        for (key, value) in KEYS.iter().zip(values) {
            profile.push(value.ok_or_else(|| format!("the key `{}` is missing", key.name))?);
        }
        let profile = Self(profile);
        profile.check()?;
        Ok(profile)
    }

    /// What single values cannot tell.
    pub fn check(&self) -> Result<(), String> {
        let (rows, vectors, scratch) = (
            self.count("batch_rows"),
            self.count("short_row_vectors"),
            self.count("scratch_bytes"),
        );
        // The exps of one batch while the one before is divided.
        let batches = 2 * rows * vectors * VECTOR_BYTES;
        if batches > PATH_BYTES - SLICES_BYTES {
            return Err(format!(
                "twice batch_rows {rows} × short_row_vectors {vectors} × {VECTOR_BYTES} bytes and {SLICES_BYTES} for small slices do not fit the {PATH_BYTES} that a path may use"
            ));
        }
        if batches > scratch {
            return Err(format!(
                "twice batch_rows {rows} × short_row_vectors {vectors} × {VECTOR_BYTES} bytes do not fit scratch_bytes {scratch}"
            ));
        }
        Ok(())
    }

    /// The value of a key of [`Kind::Count`].
    pub fn count(&self, name: &str) -> u64 {
        match &self.0[index(name)] {
            Value::Count(count) => *count,
            value => unreachable!("{name} is {value:?}"),
        }
    }

    /// The value of a key of [`Kind::Flag`].
    #[allow(dead_code, reason = "only softmax-tune asks for one")]
    pub fn flag(&self, name: &str) -> bool {
        match &self.0[index(name)] {
            Value::Flag(flag) => *flag,
            value => unreachable!("{name} is {value:?}"),
        }
    }

    /// Whether the profile is made for a CPU of this name.
    pub fn is_for(&self, cpu: &str) -> bool {
        match &self.0[index("cpus")] {
            Value::Text(cpus) => cpus.split_whitespace().any(|name| name == cpu),
            value => unreachable!("cpus is {value:?}"),
        }
    }

    /// The same with another value.
    #[allow(dead_code, reason = "the build script only reads")]
    pub fn with(&self, name: &str, value: Value) -> Self {
        let mut profile = self.clone();
        profile.0[index(name)] = value;
        profile
    }

    /// The profile as a file, each key below what it means.
    #[allow(dead_code, reason = "the build script only reads")]
    pub fn to_toml(&self, heading: &str) -> String {
        let mut text = String::new();
        for line in heading.lines() {
            let _ = writeln!(text, "# {line}");
        }
        for (key, value) in KEYS.iter().zip(&self.0) {
            let _ = match value {
                Value::Text(value) => writeln!(text, "\n# {}\n{} = \"{value}\"", key.doc, key.name),
                Value::Flag(value) => writeln!(text, "\n# {}\n{} = {value}", key.doc, key.name),
                Value::Count(value) => writeln!(text, "\n# {}\n{} = {value}", key.doc, key.name),
            };
        }
        text
    }

    /// The profile as constants.
    #[allow(dead_code, reason = "only the build script writes constants")]
    pub fn to_rust(&self) -> String {
        let mut text = String::new();
        for (key, value) in KEYS.iter().zip(&self.0) {
            let name = key.name.to_uppercase();
            let _ = match value {
                Value::Text(_) => continue,
                Value::Flag(value) => writeln!(text, "/// {}\npub const {name}: bool = {value};", key.doc),
                Value::Count(value) if u32::try_from(*value).is_ok() => {
                    writeln!(text, "/// {}\npub const {name}: usize = {value};", key.doc)
                }
                // As many bytes as there can be where they are counted in 32 bits.
                Value::Count(value) => writeln!(
                    text,
                    "/// {}\npub const {name}: usize = if usize::BITS > 32 {{ {value}_u64 as usize }} else {{ usize::MAX }};",
                    key.doc
                ),
            };
        }
        text
    }
}

fn index(name: &str) -> usize {
    let index = KEYS.iter().position(|key| key.name == name);
    index.unwrap_or_else(|| unreachable!("no key {name}"))
}

/// The key and value of a line, if there is one.
fn parse_line(line: &str) -> Result<Option<(usize, Value)>, String> {
    // No value holds a `#`.
    let line = line.split('#').next().unwrap_or_default().trim();
    if line.is_empty() {
        return Ok(None);
    }
    let (name, value) = line
        .split_once('=')
        .ok_or_else(|| format!("`{line}` is not `key = value`"))?;
    let (name, value) = (name.trim(), value.trim());
    let Some(index) = KEYS.iter().position(|key| key.name == name) else {
        let names: Vec<&str> = KEYS.iter().map(|key| key.name).collect();
        return Err(format!("unknown key `{name}`; the keys are {}", names.join(", ")));
    };
    let value = parse_value(&KEYS[index].kind, value).map_err(|wanted| format!("{name} = {value}: {wanted}"))?;
    Ok(Some((index, value)))
}

/// The value, or what was wanted instead.
fn parse_value(kind: &Kind, text: &str) -> Result<Value, String> {
    match *kind {
        Kind::Cpus => text
            .strip_prefix('"')
            .and_then(|text| text.strip_suffix('"'))
            .filter(|text| !text.contains(['"', '\\']))
            .map(|text| Value::Text(text.to_owned()))
            .ok_or_else(|| "not a string in double quotes without escapes".to_owned()),
        Kind::Flag => text
            .parse()
            .map(Value::Flag)
            .map_err(|_| "not true or false".to_owned()),
        Kind::Count(least, most) => {
            let count = text.parse().map_err(|_| "not an integer".to_owned())?;
            if !(least..=most).contains(&count) {
                return Err(format!("not in {least}..={most}"));
            }
            Ok(Value::Count(count))
        }
    }
}

/// Reads a profile from a file.
///
/// # Errors
/// What is wrong, behind the name of the file.
pub fn read(file: &Path) -> Result<Profile, String> {
    let text = fs::read_to_string(file).map_err(|error| error.to_string());
    text.and_then(|text| Profile::parse(&text))
        .map_err(|error| format!("{}: {error}", file.display()))
}

/// The file to take from `folder`: the one that `wanted` names (a path if it has a separator or ends with `.toml`,
/// else the name of a file in the folder); else the one for `cpu`; else `generic`.
///
/// # Errors
/// There is none of the name wanted, or one that had to be read for its CPUs is wrong.
pub fn choose(folder: &Path, wanted: Option<&str>, cpu: Option<&str>) -> Result<PathBuf, String> {
    let named = |name: &str| file(folder, name);
    match (wanted.filter(|wanted| !wanted.is_empty()), cpu) {
        (Some(path), _) if path.contains(['/', '\\']) || path.ends_with(".toml") => Ok(path.into()),
        (Some(name), _) if named(name).is_file() => Ok(named(name)),
        (Some(name), _) => Err(format!(
            "there is no profile `{name}`; there are {} (a path has a `/` or ends with `.toml`)",
            names(folder).join(", ")
        )),
        (None, Some(cpu)) => {
            for name in names(folder) {
                if read(&named(&name))?.is_for(cpu) {
                    return Ok(named(&name));
                }
            }
            Ok(named("generic"))
        }
        (None, None) => Ok(named("generic")),
    }
}

/// The file of a profile in `folder`. A name may have a dot, as those of CPUs may.
pub fn file(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}.toml"))
}

/// The profiles in `folder`, by name.
pub fn names(folder: &Path) -> Vec<String> {
    let files = fs::read_dir(folder).into_iter().flatten().flatten();
    let name = |path: PathBuf| {
        let is_profile = path.extension().is_some_and(|extension| extension == "toml");
        is_profile.then(|| path.file_stem().map(|name| name.to_string_lossy().into_owned()))?
    };
    let mut names: Vec<String> = files.filter_map(|file| name(file.path())).collect();
    names.sort();
    names
}

/// The value of `-Ctarget-cpu` among compiler flags, each part of which is separated by U+001F; the last one counts.
#[allow(dead_code, reason = "only the build script has flags")]
pub fn target_cpu(encoded_flags: &str) -> Option<&str> {
    let flags = encoded_flags.split('\u{1f}');
    let mut values = flags.filter_map(|flag| {
        let flag = flag.strip_prefix("-C").unwrap_or(flag);
        flag.strip_prefix("target-cpu=").or(flag.strip_prefix("target_cpu="))
    });
    values.next_back()
}

/// The name of this machine's CPU in what `rustc --print target-cpus` says: `native - … (currently NAME).`
pub fn native_cpu(target_cpus: &str) -> Option<&str> {
    let native = target_cpus
        .lines()
        .find(|line| line.trim_start().starts_with("native "))?;
    native.split_once("(currently ")?.1.split(')').next()
}
