//! What can go wrong with a running Envoy.

use std::io;

/// Envoy could not be asked, or not in full.
#[derive(Debug, thiserror::Error)]
pub enum EnvoyError {
    /// Something on this machine refused what the run needs.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// The refusal.
        source: io::Error,
    },
    /// Envoy does not take the snapshot.
    #[error("Envoy refuses the snapshot: {message}")]
    Refused {
        /// The end of its log.
        message: String,
    },
    /// Envoy came up and then ended before all requests were sent.
    #[error(
        "Envoy ended by itself ({status}) at request `{id}`, the {number}. of {count}; its log: {message}"
    )]
    Ended {
        /// Its exit status.
        status: String,
        /// The request that it had last.
        id: String,
        /// Which that is, from 1.
        number: usize,
        /// How many there are.
        count: usize,
        /// The end of its log.
        message: String,
    },
    /// Envoy behaves as this engine does not expect.
    #[error("{0}")]
    Unexpected(String),
}

impl EnvoyError {
    /// Says what an IO error happened in.
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }
}
