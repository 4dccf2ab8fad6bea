//! What fits: every limit of the compiled tables, and the error that says which was passed.

use twinmesh_model::layout::TEXT_BYTES;

/// A snapshot is larger than the tables hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the snapshot has {count} {resource}; the limit is {limit}")]
pub struct CapacityError {
    /// What there is too much of.
    pub resource: &'static str,
    /// How much the snapshot has.
    pub count: u64,
    /// How much fits.
    pub limit: u64,
}

/// Routes of all virtual hosts.
pub const ROUTES: u64 = 1 << 20;
/// Clusters.
pub const CLUSTERS: u64 = 1 << 17;
/// Endpoints of all clusters.
pub const ENDPOINTS: u64 = 1 << 20;
/// Picks of one weighted round robin schedule: the sum of a priority's weights over their greatest
/// common divisor.
pub const SCHEDULE: u64 = 1 << 16;
/// Hashes of one ring.
pub const RING: u64 = 1 << 20;
/// Entries of one Maglev table: as many as Envoy takes.
pub const TABLE: u64 = 5_000_011;
/// Endpoints of one ring or Maglev table.
pub const HASHED: u64 = 1 << 16;

/// Bytes of one text that is compared or looked up: as far as the model's loops look.
pub const TEXT: u64 = TEXT_BYTES - 8;

impl CapacityError {
    /// The same, said of the one part of a snapshot that has too much.
    pub fn of_a_part(&self) -> String {
        let Self {
            resource,
            count,
            limit,
        } = self;
        format!("{count} {resource}; at most {limit} fit")
    }
}

/// Refuses what is over a limit.
///
/// # Errors
/// `count` is over `limit`.
pub fn check(resource: &'static str, count: u64, limit: u64) -> Result<(), CapacityError> {
    if count > limit {
        Err(CapacityError {
            resource,
            count,
            limit,
        })
    } else {
        Ok(())
    }
}

/// Refuses a text that is longer than the model's loops look.
///
/// # Errors
/// The text is longer.
pub fn text(text: &[u8]) -> Result<(), CapacityError> {
    check(
        "bytes in one path, domain, header name or value to match",
        text.len() as u64,
        TEXT,
    )
}

/// A text that is compared without regard to case, or searched for, needs too large a DFA.
pub fn dfa() -> CapacityError {
    let limit = twinmesh_re2::DEFAULT_STATE_CAP as u64;
    CapacityError {
        resource: "states for one text that is matched without regard to case",
        count: limit + 1,
        limit,
    }
}

/// The numbers that endpoints keep from one snapshot to the next are used up.
pub fn numbers(limit: u64) -> CapacityError {
    CapacityError {
        resource: "endpoints, with those of the snapshots just before",
        count: limit + 1,
        limit,
    }
}

impl From<twinmesh_re2::TooLarge> for CapacityError {
    fn from(_: twinmesh_re2::TooLarge) -> Self {
        dfa()
    }
}
