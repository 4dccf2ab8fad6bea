//! What the server does on purpose that no server should do.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::Deserialize;
use twinmesh_ads::Kind;

/// How the server behaves; the default is well.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Behaviour {
    /// Which nonces responses have.
    pub nonce: Nonce,
    /// Route configurations first, clusters last, and the resources of a response from the end.
    pub reverse: bool,
    /// Each response is sent twice.
    pub duplicate: bool,
    /// A stream is closed after so many responses.
    pub close_after: Option<u32>,
    /// Types that are never answered.
    pub silent: BTreeSet<Kind>,
    /// How much later responses of a type are sent.
    pub delay: BTreeMap<Kind, Duration>,
    /// A type that is sent as soon as a stream opens, whether it is asked for or not.
    pub early: Option<Kind>,
    /// What is wrong with the resources of a type.
    pub poison: BTreeMap<Kind, Poison>,
}

impl Behaviour {
    /// How often each response is sent.
    pub(crate) fn copies(&self) -> u32 {
        if self.duplicate { 2 } else { 1 }
    }
}

/// Which nonces responses have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Nonce {
    /// A new one each.
    #[default]
    Fresh,
    /// None.
    Empty,
    /// The same one.
    Repeated,
}

/// What is wrong with a resource that is added to each response of a type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Poison {
    /// Its bytes are not a message.
    Garbage,
    /// Envoy refuses it.
    Constraint,
    /// It is of another type than the response.
    OtherType,
    /// The first one a second time.
    Twice,
    /// It has no name.
    Nameless,
}

/// Something that is done once, on every stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// The stream is closed.
    Close,
    /// The last state of a type is sent again, so many times.
    Repeat(Kind, u32),
    /// A response of a type that was not asked for.
    Unsolicited(String),
}
