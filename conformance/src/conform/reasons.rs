//! Why requests were left undecided.

use std::collections::BTreeMap;

use twinmesh_engine::{Decision, Outcome};

use super::run::{Report, Row};
use crate::comparison::Verdict;

/// How many reasons of an engine are printed; the rest are counted.
const SHOWN: usize = 10;

/// Requests of a case that an engine left undecided for one reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    /// The engine's own words, or what keeps its decision from being compared.
    pub text: String,
    /// How many requests.
    pub requests: usize,
    /// The id of the first of them.
    pub first: String,
}

/// The reasons of one case, the most frequent first.
pub fn of(
    verdicts: &[Verdict],
    decisions: &[Decision],
    reference: Option<&[Decision]>,
) -> Vec<Reason> {
    let mut found: BTreeMap<String, Reason> = BTreeMap::new();
    for (index, (verdict, decision)) in verdicts.iter().zip(decisions).enumerate() {
        if *verdict != Verdict::Unsupported {
            continue;
        }
        let said = |decision: &Decision| {
            let is_it = decision.outcome == Outcome::Unsupported;
            is_it.then(|| decision.reason.clone().unwrap_or_default())
        };
        let of_reference = || reference?.get(index).and_then(said);
        let text = said(decision)
            .or_else(|| Some(format!("spec does not decide it: {}", of_reference()?)))
            .unwrap_or_else(|| "what decides it is drawn, or is not told to a server".to_owned());
        let reason = found.entry(text.clone()).or_insert_with(|| Reason {
            text,
            requests: 0,
            first: decision.id.clone(),
        });
        reason.requests += 1;
    }
    let mut found: Vec<Reason> = found.into_values().collect();
    found.sort_by_key(|reason| std::cmp::Reverse(reason.requests));
    found
}

/// All reasons of each engine, in lines: how many requests, of which the first is named.
pub fn lines(report: &Report) -> Vec<String> {
    let mut engines: Vec<&str> = Vec::new();
    for row in &report.rows {
        if !engines.contains(&row.engine) {
            engines.push(row.engine);
        }
    }
    let mut lines = Vec::new();
    for engine in engines {
        let rows = report.rows.iter().filter(|row| row.engine == engine);
        let all = merged(rows);
        if all.is_empty() {
            continue;
        }
        lines.push(format!("{engine} leaves undecided"));
        for (text, (requests, case, first)) in all.iter().take(SHOWN) {
            lines.push(format!(
                "  {requests:>8}  {text} (the first: {first} of {case})"
            ));
        }
        if all.len() > SHOWN {
            let rest = all.iter().skip(SHOWN);
            let rest: usize = rest.map(|(_, (requests, ..))| requests).sum();
            lines.push(format!(
                "  {rest:>8}  for {} more reasons",
                all.len() - SHOWN
            ));
        }
    }
    lines
}

type Merged<'a> = Vec<(&'a str, (usize, &'a str, &'a str))>;

fn merged<'a>(rows: impl Iterator<Item = &'a Row>) -> Merged<'a> {
    let mut all: BTreeMap<&str, (usize, &str, &str)> = BTreeMap::new();
    for row in rows {
        for reason in &row.unsupported {
            let entry = all
                .entry(&reason.text)
                .or_insert((0, &row.case, &reason.first));
            entry.0 += reason.requests;
        }
    }
    let mut all: Merged<'_> = all.into_iter().collect();
    all.sort_by_key(|(_, (requests, ..))| std::cmp::Reverse(*requests));
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decision(id: &str, reason: Option<&str>) -> Decision {
        Decision {
            id: id.to_owned(),
            outcome: match reason {
                Some(_) => Outcome::Unsupported,
                None => Outcome::Forward,
            },
            reason: reason.map(str::to_owned),
            ..Decision::default()
        }
    }

    #[test]
    fn reasons_are_counted_and_the_most_frequent_comes_first() {
        let decisions = [
            decision("a", Some("one")),
            decision("b", Some("two")),
            decision("c", Some("two")),
            decision("d", None),
            decision("e", None),
            decision("f", None),
        ];
        let reference: Vec<Decision> = ["a", "b", "c", "d"]
            .into_iter()
            .map(|id| decision(id, Some("its own")))
            .chain([decision("e", None), decision("f", None)])
            .collect();
        let mut verdicts = vec![Verdict::Unsupported; 5];
        verdicts.push(Verdict::Agrees);
        let found = of(&verdicts, &decisions, Some(&reference));
        let found: Vec<(&str, usize, &str)> = found
            .iter()
            .map(|it| (it.text.as_str(), it.requests, it.first.as_str()))
            .collect();
        let expected = [
            ("two", 2, "b"),
            ("one", 1, "a"),
            ("spec does not decide it: its own", 1, "d"),
            (
                "what decides it is drawn, or is not told to a server",
                1,
                "e",
            ),
        ];
        assert_eq!(found, expected);
    }
}
