//! How a command ends.

use twinmesh_engine::{EngineError, FormatError, ReplayError};

use crate::input::InputError;

/// A command that did its work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Everything agrees, or there was nothing to compare: exit code 0.
    Agreement,
    /// Something diverges: exit code 1.
    Divergence,
    /// Nothing that was compared diverges, and not everything could be: exit code 3.
    Partial,
}

/// A command that did not: the input or the call is wrong, or the output cannot be written. Exit
/// code 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Failure(pub String);

impl From<InputError> for Failure {
    fn from(error: InputError) -> Self {
        Self(error.to_string())
    }
}

impl From<FormatError> for Failure {
    fn from(error: FormatError) -> Self {
        Self(error.to_string())
    }
}

impl From<EngineError> for Failure {
    fn from(error: EngineError) -> Self {
        Self(error.to_string())
    }
}

impl From<ReplayError> for Failure {
    fn from(error: ReplayError) -> Self {
        Self(error.to_string())
    }
}
