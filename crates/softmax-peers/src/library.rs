//! Where the shared libraries of peers are looked for.

use std::env;
use std::path::{Path, PathBuf};

/// The file to load for a peer: what the environment variable `variable` names; else a file of
/// one of `names` below `peers/<folder>` beside this program's build folder, where the `fetch-*`
/// scripts put it; else the first name, for the system's own search.
pub fn locate(variable: &str, folder: &str, names: &[&str]) -> PathBuf {
    if let Some(path) = named(variable) {
        return path;
    }
    let fetched = env::current_exe().ok().and_then(|program| {
        program
            .ancestors()
            .map(|folder_above| folder_above.join("peers").join(folder))
            .filter(|candidate| candidate.is_dir())
            .find_map(|candidate| names.iter().find_map(|name| find(&candidate, name)))
    });
    fetched.unwrap_or_else(|| names[0].into())
}

/// What an environment variable names, if it is set.
pub fn named(variable: &str) -> Option<PathBuf> {
    env::var_os(variable).filter(|path| !path.is_empty()).map(PathBuf::from)
}

/// The first file below `folder` whose name starts with `name`, in the order of names.
fn find(folder: &Path, name: &str) -> Option<PathBuf> {
    let mut entries: Vec<PathBuf> = folder
        .read_dir()
        .ok()?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect();
    entries.sort();
    let is_it = |path: &&PathBuf| {
        path.is_file()
            && path
                .file_name()
                .is_some_and(|file| file.to_string_lossy().starts_with(name))
    };
    let found = entries.iter().find(is_it).cloned();
    found.or_else(|| {
        entries
            .iter()
            .filter(|path| path.is_dir())
            .find_map(|path| find(path, name))
    })
}

/// Loads a library for the rest of the process.
///
/// # Errors
/// The loader's own words.
///
/// # Safety
/// Its initialisers are sound to run.
#[cfg(any(feature = "onednn", feature = "xnnpack"))]
pub unsafe fn open(path: &Path) -> Result<&'static libloading::Library, String> {
    use std::error::Error;
    // SAFETY: the caller's precondition.
    match unsafe { libloading::Library::new(path) } {
        Ok(library) => Ok(Box::leak(Box::new(library))),
        Err(error) => Err(match error.source() {
            Some(source) => source.to_string(),
            None => error.to_string(),
        }),
    }
}

/// Declares a table of C functions of a shared library, filled by name.
#[cfg(any(feature = "onednn", feature = "xnnpack"))]
#[macro_export]
#[doc(hidden)]
macro_rules! c_functions {
    ($(#[$doc:meta])* struct $table:ident { $(fn $name:ident($($arg:ty),* $(,)?) $(-> $result:ty)?;)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy)]
        struct $table { $($name: unsafe extern "C" fn($($arg),*) $(-> $result)?,)* }

        impl $table {
            /// Looks up every function.
            ///
            /// # Safety
            /// The functions of these names have these signatures, and the library stays loaded.
            unsafe fn new(library: &libloading::Library) -> Result<Self, String> {
                Ok(Self {
                    $($name: {
                        // SAFETY: the caller's precondition.
                        let found = unsafe { library.get(stringify!($name)) };
                        *found.map_err(|_| format!("the library has no {}", stringify!($name)))?
                    },)*
                })
            }
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn environment_comes_first() {
        let path = locate("CARGO_MANIFEST_DIR", "none", &["libnone.so"]);
        assert_eq!(path, PathBuf::from(env!("CARGO_MANIFEST_DIR")));
        let path = locate("SOFTMAX_PEERS_NO_SUCH_VARIABLE", "none", &["libnone.so", "other"]);
        assert_eq!(path, PathBuf::from("libnone.so"));
    }

    #[test]
    fn files_are_found_by_the_start_of_their_name() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        assert_eq!(find(root, "library"), Some(root.join("src/library.rs")));
        assert_eq!(find(root, "no such file"), None);
    }
}
