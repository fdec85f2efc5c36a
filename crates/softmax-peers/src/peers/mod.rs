//! The peers: one file each.

#[cfg(any(feature = "burn-flex", feature = "burn-ndarray"))]
mod burn;
#[cfg(feature = "candle")]
mod candle;
mod copy;
mod naive;
#[cfg(feature = "onednn")]
mod onednn;
#[cfg(feature = "onnxruntime")]
mod onnx_model;
#[cfg(feature = "onnxruntime")]
mod onnxruntime;
mod ours;
#[cfg(feature = "rten")]
mod rten;
#[cfg(feature = "tract")]
mod tract;
#[cfg(feature = "xnnpack")]
mod xnnpack;

use crate::data::{Io, Rows};
use crate::peer::{Context, Entry};

/// The column of the crate under test.
pub const OURS: &str = "ours";
/// The column of the plain copy.
pub const COPY: &str = "copy";

/// All columns, in the order of the table.
pub const NAMES: [&str; 11] = [
    OURS,
    "xnnpack",
    "onnxruntime",
    "onednn",
    "tract-linalg",
    "rten-vecmath",
    "candle",
    "burn-flex",
    "burn-ndarray",
    "naive",
    COPY,
];

/// Opens the peers that `is_wanted`, in the order of the table.
pub fn open(context: &Context, is_wanted: impl Fn(&str) -> bool) -> Vec<Entry> {
    let wanted = NAMES.into_iter().filter(|name| is_wanted(name));
    wanted.map(|name| open_one(context, name)).collect()
}

/// Opens a peer built from the module and type given, or says which feature is off.
macro_rules! optional {
    ($name:ident, $feature:literal, $open:expr) => {{
        #[cfg(feature = $feature)]
        let entry = Entry::new($name, $open);
        #[cfg(not(feature = $feature))]
        let entry = Entry::not_built($name, $feature);
        entry
    }};
}

fn open_one(context: &Context, name: &'static str) -> Entry {
    match name {
        "xnnpack" => optional!(name, "xnnpack", xnnpack::Xnnpack::open(context)),
        "onnxruntime" => optional!(name, "onnxruntime", onnxruntime::OnnxRuntime::open(context)),
        "onednn" => optional!(name, "onednn", onednn::OneDnn::open(context)),
        "tract-linalg" => optional!(name, "tract", tract::Tract::open(context)),
        "rten-vecmath" => optional!(name, "rten", rten::Rten::open(context)),
        "candle" => optional!(name, "candle", candle::Candle::open(context)),
        "burn-flex" => optional!(name, "burn-flex", burn::flex(context)),
        "burn-ndarray" => optional!(name, "burn-ndarray", burn::ndarray(context)),
        "naive" => Entry::new(name, Ok(naive::Naive::new(context))),
        COPY => Entry::new(name, Ok(copy::Copy::new(context))),
        _ => Entry::new(name, Ok(ours::Ours::new(context))),
    }
}

/// The binary32 rows of `io`.
///
/// # Panics
/// The rows are of another type: `prepare` should have refused them.
fn f32_rows(io: Io<'_>) -> Rows<'_, f32> {
    match io {
        Io::F32(rows) => rows,
        _ => unreachable!("prepared for f32"),
    }
}
