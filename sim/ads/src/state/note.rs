//! What happened in a step, for logs and counters.

use std::fmt;

use crate::kind::Kind;

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Note {
    /// A response was accepted, and an ACK is among the requests.
    Acknowledged {
        /// Type of the response.
        kind: Kind,
        /// Its version.
        version: String,
    },
    /// A response was refused, and a NACK is among the requests.
    Refused {
        /// Type of the response.
        kind: Kind,
        /// Its version.
        version: String,
        /// Why: what the server gets as `error_detail`.
        message: String,
    },
    /// A response was neither taken nor answered.
    Ignored {
        /// Its type URL.
        type_url: String,
        /// Why.
        reason: &'static str,
    },
    /// A resource did not come in time, or the server says that it is not there.
    Absent {
        /// Its type.
        kind: Kind,
        /// Its name.
        name: String,
        /// Why it is counted as absent.
        reason: String,
    },
    /// The server has not answered a subscription to all resources of a type in time.
    Unanswered {
        /// The type.
        kind: Kind,
    },
    /// The server removed a resource that others still name; it stays in force, as in Envoy.
    KeptRemoved {
        /// Its type.
        kind: Kind,
        /// Its name.
        name: String,
    },
    /// A resource that nobody asked for was left aside.
    Unasked {
        /// Its type.
        kind: Kind,
        /// Its name.
        name: String,
    },
    /// What is ready cannot be in force together with what is still at an older version.
    Inconsistent {
        /// Why.
        message: String,
    },
}

impl fmt::Display for Note {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Note::Acknowledged { kind, version } => write!(formatter, "ACK {kind} {version:?}"),
            Note::Refused {
                kind,
                version,
                message,
            } => write!(
                formatter,
                "NACK {kind} {version:?}; the last good policy stays: {message}"
            ),
            Note::Ignored { type_url, reason } => {
                write!(
                    formatter,
                    "a response of type {type_url:?} is left aside: {reason}"
                )
            }
            Note::Absent { kind, name, reason } => {
                write!(
                    formatter,
                    "{kind} resource {name:?} counts as absent: {reason}"
                )
            }
            Note::Unanswered { kind } => write!(
                formatter,
                "the management server has sent no acceptable answer to {kind} in time; it is still awaited"
            ),
            Note::KeptRemoved { kind, name } => write!(
                formatter,
                "{kind} resource {name:?} was removed by the management server while others name \
                 it; it stays in force"
            ),
            Note::Unasked { kind, name } => write!(
                formatter,
                "{kind} resource {name:?} came without being asked for and is left aside"
            ),
            Note::Inconsistent { message } => write!(
                formatter,
                "the last good policy stays, because a part of the new one is warming and the \
                 rest cannot be in force without it: {message}"
            ),
        }
    }
}
