//! What a backend does wrong on purpose, so that a test sees the checker find it.

use clap::ValueEnum;

/// One thing that a backend does wrong, in every tenth response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Wrong {
    /// One byte of the body is another.
    Byte,
    /// The body is that of another request.
    Body,
    /// The head names another request.
    Id,
    /// The head names another path.
    Path,
    /// Head and body are another backend's.
    Backend,
    /// The status is another.
    Status,
    /// Content-Length and body are a byte short.
    Short,
    /// Content-Length and body are a byte long.
    Long,
    /// Eight bytes of the body are missing, and others stand at its end.
    Gap,
    /// The response comes twice.
    Twice,
    /// A few bytes follow the response.
    Extra,
    /// The head says that the request's body was another.
    Sum,
    /// The head says that the request came before.
    Times,
    /// No Content-Length, no chunked coding, and an open connection.
    Framing,
    /// The head is no HTTP.
    Head,
    /// No response.
    Silence,
    /// The connection ends in place of a response.
    Close,
    /// The connection ends within the body.
    Cut,
    /// A response that was to break off is whole.
    Whole,
}
