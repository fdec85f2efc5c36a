//! The constants of the tuning profile that the build chose (`build.rs`). None of them changes a bit of any result.
//!
//! `tuning/profile.rs` lists the keys with their ranges. Here stands what the kernels take from them.

// Some belong to features.
#![allow(dead_code)]

include!(concat!(env!("OUT_DIR"), "/tuning.rs"));
