//! How many instructions RE2's program for a pattern has, to refuse what RE2 refuses as too large.
//!
//! RE2 allows a program two thirds of its memory budget (`RE2::Options::max_mem`, 8 MiB unless
//! set; Envoy does not set it), at eight bytes an instruction. The count is RE2's own, but for what
//! RE2 rewrites first:
//! - Of an alternation the largest branch alone counts, since RE2 factors out what the branches
//!   share. Some patterns that RE2 finds too large pass, and then need more DFA states than any
//!   cap.
//! - A literal behind `^`, and repeats of the empty pattern, count in full; RE2 takes them out of
//!   the program. It shows where they make up half a megabyte of program.

use crate::class_size::class_size;
use crate::encoding::Encoding;
use crate::rune_set::RuneSet;

/// The most instructions of RE2's program, measured.
const MAX_INSTRUCTIONS: u64 = 698_996;

/// Instructions of any program: fail, match, and the loop of a search without an anchor.
const FIXED: u64 = 4;

/// Instructions for a part of a pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ProgramSize(u64);

impl ProgramSize {
    pub(crate) const ONE: Self = Self(1);

    /// One instruction a byte.
    pub(crate) fn of_literal(bytes: &[u8]) -> Self {
        Self(u64::try_from(bytes.len()).unwrap_or(u64::MAX))
    }

    pub(crate) fn of_concatenation(parts: impl IntoIterator<Item = Self>) -> Self {
        let sum = parts
            .into_iter()
            .fold(0, |sum: u64, part| sum.saturating_add(part.0));
        // An empty concatenation is a no-op instruction.
        Self(sum.max(1))
    }

    pub(crate) fn of_alternation(branches: impl IntoIterator<Item = Self>) -> Self {
        let largest = branches.into_iter().map(|branch| branch.0).max();
        Self(largest.unwrap_or(1))
    }

    pub(crate) fn followed_by(self, next: Self) -> Self {
        Self(self.0.saturating_add(next.0))
    }

    /// With the two instructions of a capture.
    pub(crate) fn captured(self) -> Self {
        Self(self.0.saturating_add(2))
    }

    /// RE2 unrolls repeats: `x{2,4}` is `xx(x(x)?)?`, `x{2,}` is `xx+`.
    pub(crate) fn repeated(self, min: u32, max: Option<u32>) -> Self {
        let min = u64::from(min);
        let copies = |n: u64, size: u64| n.saturating_mul(size);
        match max.map(u64::from) {
            Some(0) => Self(1),
            Some(max) => Self(
                copies(min, self.0)
                    .saturating_add(copies(max.saturating_sub(min), self.0.saturating_add(1))),
            ),
            None => Self(copies(min.max(1), self.0).saturating_add(1)),
        }
    }

    pub(crate) fn over_limit(self) -> bool {
        self.0.saturating_add(FIXED) > MAX_INSTRUCTIONS
    }
}

/// Instructions for a class.
pub(crate) fn of_class(set: &mut RuneSet, encoding: Encoding) -> ProgramSize {
    ProgramSize(class_size(set, encoding))
}
