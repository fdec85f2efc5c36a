//! What a library must offer to take part: [`Peer`], and [`Kernel`] for one task.

use crate::data::{Data, Io};
use crate::pool::Pool;
use crate::task::{Cap, Task};
use std::sync::Arc;

/// A library, a loop or a bound that computes softmax.
pub trait Peer {
    /// The name of the column.
    fn name(&self) -> &'static str;

    /// Version and backend, as the library itself states them where it does.
    fn version(&self) -> String;

    /// What the measurement means.
    fn role(&self) -> Role {
        Role::Peer
    }

    /// Everything that a caller does once: sessions, plans, own copies of `data`'s input.
    ///
    /// # Errors
    /// The reason, when the library does not offer this task.
    fn prepare(&self, task: &Task, data: &Data) -> Result<Box<dyn Kernel>, String>;
}

/// One prepared task.
pub trait Kernel {
    /// One call, timed.
    fn run(&mut self, io: Io<'_>);

    /// Copies the result of the last call to the output, for a library that owns its results.
    fn collect(&mut self, _io: Io<'_>) {}
}

impl<F: FnMut(Io<'_>)> Kernel for F {
    fn run(&mut self, io: Io<'_>) {
        self(io);
    }
}

/// What a measurement means in the ratios.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The crate under test.
    Ours,
    /// A library to compare with.
    Peer,
    /// A bound that computes no softmax: it has no part in the ratios.
    Ceiling,
}

impl Role {
    /// The name used in the CSV.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ours => "ours",
            Self::Peer => "peer",
            Self::Ceiling => "ceiling",
        }
    }
}

impl std::str::FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        [Self::Ours, Self::Peer, Self::Ceiling]
            .into_iter()
            .find(|role| role.name() == text)
            .ok_or_else(|| format!("`{text}` is not a role"))
    }
}

/// What holds for a whole measuring process.
#[derive(Clone)]
pub struct Context {
    /// The widest instruction set allowed.
    pub cap: Cap,
    /// The threads every peer may use.
    pub pool: Arc<Pool>,
}

impl Context {
    /// A context with `threads` threads, of which the calling thread is one.
    ///
    /// # Errors
    /// The threads could not be started, or the calling thread already belongs to a context.
    pub fn new(cap: Cap, threads: usize) -> Result<Self, String> {
        let pool = Arc::new(Pool::new(threads)?);
        Ok(Self { cap, pool })
    }
}

/// A peer that was asked for, present or not.
pub struct Entry {
    /// The name of the column.
    pub name: &'static str,
    /// The peer, or why it is absent.
    pub peer: Result<Box<dyn Peer>, String>,
}

impl Entry {
    /// The result of opening a peer.
    pub fn new<P: Peer + 'static>(name: &'static str, peer: Result<P, String>) -> Self {
        Self {
            name,
            peer: peer.map(|peer| Box::new(peer) as Box<dyn Peer>),
        }
    }

    /// A peer left out of this build.
    pub fn not_built(name: &'static str, feature: &str) -> Self {
        Self {
            name,
            peer: Err(format!("built without the cargo feature `{feature}`")),
        }
    }
}
