//! Tuning profiles: every one of `tuning/` is right, and a wrong one is refused with words that lead to the mistake.

#[path = "../tuning/profile.rs"]
mod profile;

use profile::{KEYS, Kind, Profile, Value, choose, file, names, native_cpu, read, target_cpu};
use std::path::{Path, PathBuf};

fn folder() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tuning"))
}

fn generic() -> String {
    std::fs::read_to_string(folder().join("generic.toml")).expect("the profile of every build")
}

/// No CPU is claimed twice, and what is written is read back.
#[test]
fn profiles_of_this_repository() {
    let mut claimed = Vec::new();
    for name in names(folder()) {
        let profile = read(&file(folder(), &name)).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(
            Profile::parse(&profile.to_toml("A heading\nof two lines.")),
            Ok(profile.clone())
        );
        let Value::Text(cpus) = &profile.0[0] else {
            panic!("{name}: the first key is `cpus`")
        };
        claimed.extend(cpus.split_whitespace().map(str::to_owned));
        assert_eq!(cpus.is_empty(), name == "generic", "{name}");
    }
    claimed.sort();
    assert!(claimed.is_sorted_by(|a, b| a != b), "{claimed:?}");
}

#[test]
fn a_wrong_profile_is_refused() {
    let wrong = |from: &str, to: &str, words: &[&str]| {
        let text = generic();
        assert!(text.contains(from), "{from}");
        let error = Profile::parse(&text.replace(from, to)).expect_err(to);
        for word in words {
            assert!(error.contains(word), "{to}: {error}");
        }
    };
    wrong(
        "batch_rows = 8",
        "bach_rows = 8",
        &["line ", "unknown key `bach_rows`", "batch_rows"],
    );
    wrong("batch_rows = 8\n", "", &["`batch_rows` is missing"]);
    wrong(
        "batch_rows = 8",
        "batch_rows = 8\nbatch_rows = 8",
        &["`batch_rows`", "twice"],
    );
    wrong("batch_rows = 8", "batch_rows = 0", &["batch_rows = 0", "not in 1..=32"]);
    wrong("batch_rows = 8", "batch_rows = 33", &["not in 1..=32"]);
    wrong("batch_rows = 8", "batch_rows = -1", &["not an integer"]);
    wrong("batch_rows = 8", "batch_rows = \"8\"", &["not an integer"]);
    wrong(
        "batch_rows = 8",
        "batch_rows 8",
        &["`batch_rows 8` is not `key = value`"],
    );
    wrong("batch_rows = 8", "[rows]", &["`[rows]` is not"]);
    wrong("batch_rows = 8", "batch_rows = 8\nshort_row_vectors = 16", &["twice"]);
    wrong(
        "batch_rows = 8",
        "batch_rows = 32",
        &["batch_rows 32 × short_row_vectors 8", "8192 for small slices", "32768"],
    );
    wrong(
        "scratch_bytes = 32768",
        "scratch_bytes = 8192",
        &["batch_rows 8 × short_row_vectors 8", "scratch_bytes 8192"],
    );
    wrong("prefer_avx512 = true", "prefer_avx512 = yes", &["not true or false"]);
    wrong("cpus = \"\"", "cpus = x", &["not a string"]);
    wrong("cpus = \"\"", r#"cpus = "a\n""#, &["not a string"]);
}

/// Comments, spaces and blank lines are nothing; the line number counts them.
#[test]
fn comments_and_spaces() {
    let loose: String = generic()
        .lines()
        .map(|line| format!("  {} # so\r\n\n", line.replace(" = ", "=")))
        .collect();
    assert_eq!(Profile::parse(&loose), Profile::parse(&generic()));
    let error = Profile::parse("# one\n\nthree = 3\n").expect_err("no key");
    assert!(error.starts_with("line 3: "), "{error}");
}

#[test]
fn every_count_becomes_a_constant() {
    let rust = Profile::parse(&generic()).expect("as above").to_rust();
    for key in &KEYS {
        let constant = format!("pub const {}:", key.name.to_uppercase());
        assert_eq!(rust.contains(&constant), !matches!(key.kind, Kind::Cpus), "{rust}");
    }
    assert!(rust.contains("pub const BATCH_ROWS: usize = 8;"), "{rust}");
}

#[test]
fn the_choice() {
    fn of(wanted: Option<&str>, cpu: Option<&str>) -> Result<PathBuf, String> {
        choose(folder(), wanted, cpu)
    }
    let generic = Ok(folder().join("generic.toml"));
    assert_eq!(of(None, None), generic);
    assert_eq!(of(Some(""), None), generic);
    assert_eq!(of(Some("generic"), Some("rocketlake")), generic);
    assert_eq!(of(None, Some("no-such-cpu")), generic);
    assert_eq!(of(Some("a/b"), None), Ok("a/b".into()));
    assert_eq!(of(Some("b.toml"), None), Ok("b.toml".into()));
    let error = of(Some("no-such-profile"), None).expect_err("there is none");
    assert!(
        error.contains("no-such-profile") && error.contains("generic"),
        "{error}"
    );
    for name in names(folder()) {
        let file = file(folder(), &name);
        let profile = read(&file).expect("tested above");
        let Value::Text(cpus) = &profile.0[0] else { panic!() };
        for cpu in cpus.split_whitespace() {
            assert_eq!(of(None, Some(cpu)), Ok(file.clone()));
        }
    }
}

/// `zen5.1` is not `zen5` with another extension.
#[test]
fn names_with_a_dot() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("tuning");
    std::fs::create_dir_all(&folder).expect("cargo makes the folder above");
    let dotted = file(&folder, "zen5.1");
    assert_eq!(dotted, folder.join("zen5.1.toml"));
    std::fs::write(&dotted, generic().replace("cpus = \"\"", "cpus = \"zen5.1\"")).expect("the folder is there");
    assert_eq!(names(&folder), ["zen5.1"]);
    assert_eq!(choose(&folder, Some("zen5.1"), None), Ok(dotted.clone()));
    assert_eq!(choose(&folder, None, Some("zen5.1")), Ok(dotted));
    assert!(choose(&folder, Some("zen5"), None).is_err());
}

#[test]
fn the_cpu_of_the_flags() {
    assert_eq!(target_cpu(""), None);
    assert_eq!(target_cpu("-Copt-level=3\u{1f}-Ctarget-cpu=znver5"), Some("znver5"));
    assert_eq!(target_cpu("-C\u{1f}target-cpu=a\u{1f}-C\u{1f}target-cpu=b"), Some("b"));
    let list =
        "Available CPUs for this target:\n    native   - Select the CPU of the current host (currently znver4).\n";
    assert_eq!(native_cpu(list), Some("znver4"));
    assert_eq!(native_cpu("    znver4\n"), None);
}
