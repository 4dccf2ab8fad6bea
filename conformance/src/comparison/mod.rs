//! Whether two lists of decisions agree: an engine's with a recording, and an engine's with
//! another's.

mod distribution;
mod engines;
mod field;
mod fraction;
mod headers;
mod live;
mod phase;
mod recorded;
mod unseen;

pub use engines::{compare_traces, compare_with_engine};
pub use field::{Field, Fields, outcome_name};
pub use live::{Compared, Test, compare_live_with_recorded, compare_with_live};
pub use recorded::{Inconsistent, compare_with_recorded};

/// What comparing one request's decisions came to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Verdict {
    /// They agree in all that is compared.
    #[default]
    Agrees,
    /// The engine cannot decide the request and says so: neither an agreement nor a divergence.
    Unsupported,
    /// They do not agree.
    Diverges(Divergence),
}

/// In what two decisions do not agree.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Divergence {
    /// The fields that differ.
    pub fields: Fields,
    /// What does not hold, where that is more than one field against another: a sequence, a
    /// distribution, a trace.
    pub note: Option<String>,
}

impl Verdict {
    /// Takes note of a divergence, beside those found before.
    fn diverge(&mut self, fields: Fields, note: Option<String>) {
        if let Self::Diverges(divergence) = self {
            divergence.fields = divergence.fields.union(fields);
            divergence.note = divergence.note.take().or(note);
        } else {
            *self = Self::Diverges(Divergence { fields, note });
        }
    }

    /// Of two comparisons of one answer, the one that counts: a divergence above all, then that
    /// the request is not decided.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Diverges(mut one), Self::Diverges(other)) => {
                one.fields = one.fields.union(other.fields);
                one.note = one.note.or(other.note);
                Self::Diverges(one)
            }
            (diverges @ Self::Diverges(_), _) | (_, diverges @ Self::Diverges(_)) => diverges,
            (Self::Unsupported, _) | (_, Self::Unsupported) => Self::Unsupported,
            (Self::Agrees, Self::Agrees) => Self::Agrees,
        }
    }
}
