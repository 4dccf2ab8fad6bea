//! The engine `kmesh`: where Kmesh's kernel-native mode sends a request, for operators who want to
//! know what changes when Envoy's semantics decide instead.
//!
//! What Kmesh does otherwise than Envoy is a list of quirks, read in its sources (kmesh-net/kmesh
//! at ec501a98); each has a file in `quirks`. The engine asks `spec` what Envoy would do, and a
//! decision that differs names the quirks that made it so. Where `spec` does not decide, nor where it
//! is not known what Kmesh does, neither does this engine.

#![allow(deprecated)] // snapshots hold what Envoy has deprecated

mod cluster;
mod engine;
mod head;
mod quirk;
mod quirks;
mod route;
mod run;

pub use engine::{Explained, Kmesh, Log};
pub use quirk::Quirk;
