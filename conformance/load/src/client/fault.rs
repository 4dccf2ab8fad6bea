//! What can be wrong with a response.

use std::fmt;

/// A kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// The head is no HTTP/1.1 response head.
    Head,
    /// The body's framing is missing or malformed.
    Framing,
    /// The status is none that was asked for.
    Status,
    /// The head or its absence says that this answers another request.
    Id,
    /// The head names another path.
    Path,
    /// A backend answered that the request is not for.
    Backend,
    /// A byte of the body is not the one that belongs there.
    Byte,
    /// The body is longer or shorter than was asked for.
    Length,
    /// Bytes after the response that nothing was asked for.
    Extra,
    /// The backend got another body than was sent.
    RequestBody,
    /// The backend got a request twice that must not be repeated.
    Repeated,
    /// A response that breaks off was presented as a whole one.
    Whole,
    /// A part of the generator itself failed.
    Generator,
    /// Nothing came for as long as the timeout.
    Stalled,
    /// The connection was refused.
    Refused,
    /// The connection ended before the response.
    Closed,
    /// The connection ended within the response.
    CutOff,
    /// The connection was reset.
    Reset,
    /// 502, 503 or 504, which nobody asked for.
    Unavailable,
}

impl Kind {
    /// Whether the fault is that an answer did not come, and the client knows it: that may happen
    /// while backends are killed.
    pub fn is_loss(self) -> bool {
        matches!(
            self,
            Self::Refused | Self::Closed | Self::CutOff | Self::Reset | Self::Unavailable
        )
    }

    /// Its name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Head => "head",
            Self::Framing => "framing",
            Self::Status => "status",
            Self::Id => "id",
            Self::Path => "path",
            Self::Backend => "backend",
            Self::Byte => "byte",
            Self::Length => "length",
            Self::Extra => "extra",
            Self::RequestBody => "request_body",
            Self::Repeated => "repeated",
            Self::Whole => "whole",
            Self::Generator => "generator",
            Self::Stalled => "stalled",
            Self::Refused => "refused",
            Self::Closed => "closed",
            Self::CutOff => "cut_off",
            Self::Reset => "reset",
            Self::Unavailable => "unavailable",
        }
    }
}

/// A fault.
#[derive(Debug)]
pub struct Fault {
    /// Its kind.
    pub kind: Kind,
    /// What was expected, and what was found.
    pub detail: String,
}

impl Fault {
    /// One of this kind.
    pub fn new(kind: Kind, detail: impl fmt::Display) -> Self {
        Self {
            kind,
            detail: detail.to_string(),
        }
    }
}

/// Bytes as they are shown in a detail.
pub fn shown(bytes: &[u8]) -> String {
    let some = &bytes[..bytes.len().min(120)];
    some.escape_ascii().to_string()
}
