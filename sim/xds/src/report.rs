//! What the reader found in a snapshot and does not decide: nothing is dropped without a line here.
//!
//! What has no part in a decision by its meaning alone has none: timeouts, sizes of buffers, names
//! for statistics, metadata. The tables in `classify` say of each field which it is.

use std::fmt;

/// All findings of one snapshot, in the order of the source.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// The findings.
    pub findings: Vec<Finding>,
}

/// One field or extension that this build does not know or does not decide.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Name of the xDS resource it stands in, with its type: `listener "0.0.0.0_80"`.
    pub resource: String,
    /// Field path inside the resource; empty where it as a whole is meant.
    pub path: String,
    /// What it is.
    pub kind: FindingKind,
    /// What follows for decisions.
    pub effect: Effect,
    /// One sentence for the reader.
    pub message: String,
}

/// What a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FindingKind {
    /// A field that Envoy 1.40's API, as built in here, does not have.
    UnknownField,
    /// An extension type that is not built in here.
    UnknownType,
    /// A field that is known and not decided.
    NotDecided,
}

/// What follows from a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// It cannot influence a decision, or only by load or failures (circuit breakers), and is read over.
    ReadOver,
    /// Requests that get this far have the outcome `unsupported`.
    Unsupported,
    /// Decisions follow from what is in force in the snapshot. This is not (an update that is warming
    /// or was refused), stands elsewhere, is a value or a load that is not looked at, or is refused by the
    /// published Envoy and not by every one, so that an Envoy may decide otherwise.
    Caution,
}

impl fmt::Display for Finding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: ", self.resource)?;
        if !self.path.is_empty() {
            write!(formatter, "{}: ", self.path)?;
        }
        formatter.write_str(&self.message)
    }
}
