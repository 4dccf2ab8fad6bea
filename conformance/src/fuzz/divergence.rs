//! How two engines part, and what makes two divergences one.

use twinmesh_engine::{Engine, Request, Step, Strictness, Trace};

use crate::comparison::{self, Field, compare_traces};
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
        let kind = format!("fails: {}", cause(&message));
        Self::without_request(engine, &kind, "an answer", message)
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

    /// Of the request at `index`, in what was `compared`; `None` where there are no decisions of it.
    pub fn of(
        engine: &dyn Engine,
        request: &Request,
        index: usize,
        compared: &comparison::Divergence,
        expected: &Run,
        found: &Run,
    ) -> Option<Self> {
        let (one, other) = (expected.decisions.get(index)?, found.decisions.get(index)?);
        // A server says where it got, and not how.
        let says_how = engine.strictness() != Strictness::Live;
        let trace = |run: &Run| run.traces.get(index).filter(|_| says_how).cloned();
        let traces = (trace(expected), trace(found));
        let is_traced = traces.0.is_some();
        let mut kind = format!("{:?} for {:?}", other.outcome, one.outcome);
        let fields = Field::ALL.into_iter();
        let fields = fields.filter(|field| compared.fields.contains(*field));
        let fields: Vec<&str> = fields.map(Field::name).collect();
        if !fields.is_empty() {
            kind += &format!(", in {}", fields.join(" "));
        }
        let mut shown = [line(one), line(other)];
        if let Some(note) = &compared.note {
            shown[1] += &format!("\n    {note}");
        }
        if let (Some(one), Some(other)) = &traces {
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
            engine: engine.name(),
            kind,
            expected,
            found,
            request: line(request),
            traced: is_traced || !says_how,
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

/// As in files of traffic and decisions.
fn line<T: serde::Serialize + std::fmt::Debug>(of: &T) -> String {
    serde_json::to_string(of).unwrap_or_else(|_| format!("{of:?}"))
}

/// What a message says at its end, without the names and numbers of the input at hand.
fn cause(message: &str) -> String {
    let last = message.trim_end().lines().next_back().unwrap_or_default();
    let is_name =
        |word: &str| word.contains(|it: char| it.is_ascii_digit() || "'\"`/".contains(it));
    let words = last.split_whitespace();
    let words = words.map(|word| if is_name(word) { "…" } else { word });
    words.collect::<Vec<_>>().join(" ")
}

/// The kind of a step.
fn step_name(trace: &Trace, at: Option<usize>) -> String {
    let step: Option<&Step> = at.and_then(|at| trace.steps.get(at));
    let step = step.map_or("nothing".to_owned(), |step| format!("{step:?}"));
    step.split([' ', '(']).next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::Divergence;

    #[test]
    fn failures_are_alike_but_for_names() {
        let failed = |message: &str| Divergence::failed("envoy", message.to_owned());
        let one = failed("refused:\nOnly one domain 'a.com' in virtual host 3");
        assert!(one.is_like(&failed("refused:\nOnly one domain 'b' in virtual host 12")));
        assert!(!one.is_like(&failed("refused:\nno such cluster")));
    }
}
