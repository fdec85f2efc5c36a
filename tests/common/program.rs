//! Runs an example as a user would. `cargo test` builds the examples before it runs the tests; under an emulator they run
//! there too.
#![allow(dead_code)]

use std::path::{Path, PathBuf};
use std::process::Command;

/// The runs of one test: its folder for files, and the example.
pub struct Program {
    name: &'static str,
    pub folder: PathBuf,
}

impl Program {
    pub fn new(name: &'static str, test: &str) -> Self {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name).join(test);
        std::fs::create_dir_all(&folder).unwrap();
        Self { name, folder }
    }

    /// Writes `name` into the test's folder.
    pub fn file(&self, name: &str, content: impl AsRef<[u8]>) -> &Self {
        std::fs::write(self.folder.join(name), content).unwrap();
        self
    }

    pub fn run(&self, arguments: &[&str]) -> Run {
        let runner = runner().unwrap_or_default();
        let mut words = runner.split_whitespace();
        let emulator = words.next();
        let mut command = Command::new(emulator.map_or_else(|| self.example(), PathBuf::from));
        if emulator.is_some() {
            command.args(words).arg(self.example());
        }
        let output = command.current_dir(&self.folder).args(arguments).output().unwrap();
        let mut errors = String::from_utf8(output.stderr).unwrap();
        if let Some(emulator) = emulator {
            let own = format!("{emulator}: ");
            errors = errors
                .split_inclusive('\n')
                .filter(|line| !line.starts_with(&own))
                .collect();
        }
        Run {
            code: output.status.code(),
            text: String::from_utf8(output.stdout).unwrap(),
            errors,
        }
    }

    /// Standard output of a run that must succeed.
    #[track_caller]
    pub fn shows(&self, arguments: &[&str]) -> String {
        let run = self.run(arguments);
        assert_eq!((run.code, run.errors.as_str()), (Some(0), ""), "{arguments:?}");
        run.text
    }

    /// A run that must fail with `message`, after the name of the program, and print nothing else.
    #[track_caller]
    pub fn refuses(&self, arguments: &[&str], message: &str) {
        let run = self.run(arguments);
        assert_eq!(
            run.errors,
            format!("{}: error: {message}\n", self.name),
            "{arguments:?}"
        );
        assert_eq!((run.code, run.text.as_str()), (Some(1), ""), "{arguments:?}");
    }

    /// The example that was built with this test: `<profile>/examples/<name>` beside `<profile>/deps`.
    fn example(&self) -> PathBuf {
        let test = std::env::current_exe().unwrap();
        let profile = test.parent().and_then(Path::parent).unwrap();
        let name = format!("{}{}", self.name, std::env::consts::EXE_SUFFIX);
        let path = profile.join("examples").join(name);
        let hint = "`cargo test` builds it; with `--test` alone, `cargo build --examples` first";
        assert!(path.exists(), "{} is missing: {hint}", path.display());
        path
    }
}

/// What a run left behind.
pub struct Run {
    pub code: Option<i32>,
    pub text: String,
    pub errors: String,
}

/// The emulator that cargo was told to run this target's programs with.
fn runner() -> Option<String> {
    let target = format!("{}_UNKNOWN_LINUX_GNU", std::env::consts::ARCH.to_uppercase());
    std::env::var(format!("CARGO_TARGET_{target}_RUNNER")).ok()
}

/// An NPY file, version 1.0.
pub fn npy(descr: &str, fortran: bool, shape: &str, data: &[u8]) -> Vec<u8> {
    let order = if fortran { "True" } else { "False" };
    let header = format!("{{'descr': '{descr}', 'fortran_order': {order}, 'shape': {shape}, }}");
    let header = format!("{header:<117}\n");
    let mut file = b"\x93NUMPY\x01\x00".to_vec();
    file.extend((header.len() as u16).to_le_bytes());
    file.extend(header.bytes());
    file.extend(data);
    file
}

pub fn f32s(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|x| x.to_le_bytes()).collect()
}
