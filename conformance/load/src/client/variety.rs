//! What a run draws its requests from.

use clap::ValueEnum;

/// Something that requests, responses or connections may be like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Feature {
    /// Response bodies of up to 4 MiB, most of them short.
    Sizes,
    /// POST, PUT and HEAD; bodies of up to 1 MiB.
    Bodies,
    /// Chunked responses.
    Chunked,
    /// Chunked requests.
    ChunkedRequest,
    /// Response heads in two writes.
    Split,
    /// 103 before the response.
    Early,
    /// Response bodies in pieces, with pauses.
    Slow,
    /// Pauses before responses.
    Delay,
    /// 204, 304, 404 and 500.
    Status,
    /// Requests in several writes, with pauses.
    Writes,
    /// Up to eight requests before the first response.
    Pipelining,
    /// `Connection: close` from either side.
    Close,
    /// Bodies that end with the connection.
    UntilClose,
    /// Responses that break off.
    Die,
    /// Clients that go away midway.
    Abort,
    /// Slow reading.
    SlowReading,
}

/// The features of a run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Variety(Vec<Feature>);

impl Variety {
    /// These; all, where there are none.
    pub fn of(features: &[Feature]) -> Self {
        if features.is_empty() {
            return Self(Feature::value_variants().to_vec());
        }
        Self(features.to_vec())
    }

    /// Whether this is among them.
    pub fn has(&self, feature: Feature) -> bool {
        self.0.contains(&feature)
    }
}
