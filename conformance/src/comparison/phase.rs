//! Picks that are exact up to where their sequence starts.

use std::borrow::Cow;

use twinmesh_engine::Decision;

use super::{Field, Fields, Inconsistent, Verdict};
use crate::case::Phase;

/// One pick: the values of a rule's fields.
type Pick<'a> = Vec<Option<Cow<'a, str>>>;

/// Compares the picks of the rule's cluster, in file order: there must be one rotation of the
/// recorded sequence that all of them follow.
pub fn compare(
    rule: &Phase,
    recorded: &[Decision],
    found: &[Decision],
    verdicts: &mut [Verdict],
) -> Result<(), Inconsistent> {
    let expected = picks(rule, recorded);
    let found = picks(rule, found);
    let mut cycle: Vec<Option<&Pick<'_>>> = vec![None; rule.period];
    for (index, (place, pick)) in expected.iter().enumerate() {
        let Some(known) = cycle.get_mut(index % rule.period) else {
            continue;
        };
        if known.is_some_and(|known| known != pick) {
            return Err(Inconsistent(format!(
                "the recorded picks of cluster `{}` do not repeat after {} as case.toml says: pick {index} (request `{}`) is {}",
                rule.cluster,
                rule.period,
                recorded.get(*place).map_or("", |decision| &decision.id),
                words(pick),
            )));
        }
        *known = Some(pick);
    }
    // Where less than a period was recorded, the rest of the cycle is unknown and fits anything.
    let fits = |shift: usize, index: usize, pick: &Pick<'_>| {
        cycle
            .get((index + shift) % rule.period)
            .is_none_or(|known| known.is_none_or(|known| known == pick))
    };
    let mismatches = |shift: usize| {
        let picks = found.iter().enumerate();
        picks
            .filter(|(index, (_, pick))| !fits(shift, *index, pick))
            .count()
    };
    let Some(shift) = (0..rule.period).min_by_key(|shift| mismatches(*shift)) else {
        return Ok(());
    };
    if mismatches(shift) == 0 {
        return Ok(());
    }
    let own: Vec<&Pick<'_>> = found.iter().map(|(_, pick)| pick).collect();
    let period = period(&own);
    let sequence = if period == rule.period {
        format!("both repeat after {period} picks, in another order")
    } else if period == own.len() {
        format!(
            "recorded picks repeat after {}, these {period} do not",
            rule.period
        )
    } else {
        format!(
            "recorded picks repeat after {}, these after {period}",
            rule.period
        )
    };
    let fields: Fields = rule.fields.iter().copied().collect();
    for (index, (place, pick)) in found.iter().enumerate() {
        if fits(shift, index, pick) {
            continue;
        }
        let wanted = cycle.get((index + shift) % rule.period).copied().flatten();
        let note = format!(
            "pick {index} of cluster `{}`: no rotation of the recorded sequence fits (the nearest has {} here, found {}); {sequence}",
            rule.cluster,
            wanted.map_or_else(String::new, words),
            words(pick),
        );
        if let Some(verdict) = verdicts.get_mut(*place) {
            verdict.diverge(fields, Some(note));
        }
    }
    Ok(())
}

/// The picks of the rule's cluster, each with the index of its request.
fn picks<'a>(rule: &Phase, decisions: &'a [Decision]) -> Vec<(usize, Pick<'a>)> {
    decisions
        .iter()
        .enumerate()
        .filter(|(_, decision)| rule.is_of(decision) && decision.endpoint.is_some())
        .map(|(index, decision)| {
            let pick = rule
                .fields
                .iter()
                .map(|field: &Field| field.value(decision));
            (index, pick.collect())
        })
        .collect()
}

/// After how many picks a sequence starts anew; its length where it does not.
fn period(picks: &[&Pick<'_>]) -> usize {
    (1..picks.len())
        .find(|period| {
            picks
                .iter()
                .zip(picks.iter().skip(*period))
                .all(|(one, next)| one == next)
        })
        .unwrap_or(picks.len())
}

fn words(pick: &Pick<'_>) -> String {
    let values: Vec<&str> = pick.iter().flatten().map(AsRef::as_ref).collect();
    values.join(" ")
}
