//! How two engines part, and what makes two divergences one.

use twinmesh_engine::{Decision, Request, Step, Trace};

use crate::comparison::{Field, compare_traces};
use crate::judge::Run;

/// How an engine and the reference part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Divergence {
    /// The engine.
    pub engine: &'static str,
    /// The cause, as far as it can be told: outcomes, the fields that differ, and the first step in
    /// which the traces part. It stays while the input is shrunk, and is reported once.
    pub kind: String,
    /// What the reference made of the request.
    pub expected: String,
    /// What the engine made of it.
    pub found: String,
    /// The request.
    pub request: String,
    /// Whether traces were compared: without them the step is not part of the kind.
    traced: bool,
}

impl Divergence {
    /// The engine could not answer.
    pub fn failed(engine: &'static str, message: String) -> Self {
        Self::without_request(engine, "fails", "an answer", message)
    }

    /// The engine panicked.
    pub fn panicked(engine: &'static str, message: String) -> Self {
        Self::without_request(engine, "panics", "no panic", message)
    }

    fn without_request(engine: &'static str, kind: &str, expected: &str, found: String) -> Self {
        Self {
            engine,
            kind: kind.to_owned(),
            expected: expected.to_owned(),
            found,
            request: String::new(),
            traced: true,
        }
    }

    /// Of the request at `index`; `None` where there are no decisions of it.
    pub fn of(
        engine: &'static str,
        request: &Request,
        index: usize,
        expected: &Run,
        found: &Run,
    ) -> Option<Self> {
        let (one, other) = (expected.decisions.get(index)?, found.decisions.get(index)?);
        let traces = (expected.traces.get(index), found.traces.get(index));
        let mut kind = format!("{:?} for {:?}", other.outcome, one.outcome);
        let fields = differing(one, other);
        if !fields.is_empty() {
            kind += &format!(", in {}", fields.join(" "));
        }
        let mut shown = [format!("{one:?}"), format!("{other:?}")];
        if let (Some(one), Some(other)) = traces {
            let parted = compare_traces(one, other);
            kind += &format!(
                ", {} for {}",
                step_name(other, parted),
                step_name(one, parted)
            );
            let [shown_one, shown_other] = &mut shown;
            *shown_one += &format!("\n    {one:?}");
            *shown_other += &format!("\n    {other:?}");
        }
        let [expected, found] = shown;
        Some(Self {
            engine,
            kind,
            expected,
            found,
            request: format!("{request:?}"),
            traced: traces.0.is_some(),
        })
    }

    /// Whether they have one cause.
    pub fn is_like(&self, other: &Self) -> bool {
        let same = match (self.traced, other.traced) {
            (true, false) => self.kind.starts_with(&other.kind),
            (false, true) => other.kind.starts_with(&self.kind),
            _ => self.kind == other.kind,
        };
        same && self.engine == other.engine
    }
}

fn differing(one: &Decision, other: &Decision) -> Vec<&'static str> {
    Field::ALL
        .into_iter()
        .filter(|field| !matches!(field, Field::Engine | Field::Reason))
        .filter(|field| field.value(one) != field.value(other))
        .map(Field::name)
        .collect()
}

/// The kind of a step.
fn step_name(trace: &Trace, at: Option<usize>) -> String {
    let step: Option<&Step> = at.and_then(|at| trace.steps.get(at));
    let step = step.map_or("nothing".to_owned(), |step| format!("{step:?}"));
    step.split([' ', '(']).next().unwrap_or_default().to_owned()
}
