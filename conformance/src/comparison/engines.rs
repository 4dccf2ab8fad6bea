//! One engine's decisions against another's: every field, and every step.

use twinmesh_engine::{Decision, Outcome, Strictness, Trace};

use super::{Divergence, Field, Fields, Verdict};

/// Compares an engine's decision with the reference's. Only an engine that has limits of its own
/// may answer `unsupported` where the reference decides; none may decide where the reference
/// cannot.
pub fn compare_with_engine(
    reference: &Decision,
    found: &Decision,
    strictness: Strictness,
) -> Verdict {
    let undecided = |decision: &Decision| decision.outcome == Outcome::Unsupported;
    if undecided(found) && (undecided(reference) || strictness == Strictness::ExactWithinLimits) {
        return Verdict::Unsupported;
    }
    let compared = Fields::EVERY.without(Field::NEVER_COMPARED);
    let fields = compared.differing(reference, found);
    if fields.is_empty() {
        Verdict::Agrees
    } else {
        Verdict::Diverges(Divergence { fields, note: None })
    }
}

/// The first step in which two traces part, and what stands there in each; `None` where they are
/// equal.
pub fn compare_traces(one: &Trace, other: &Trace) -> Option<usize> {
    let common = one
        .steps
        .iter()
        .zip(&other.steps)
        .take_while(|(one, other)| one == other)
        .count();
    (common < one.steps.len() || common < other.steps.len()).then_some(common)
}
