//! The divergences of a case: where the engines decide alike and it is the recording that differs,
//! one for all of them.

use std::collections::HashMap;

use super::divergent::Divergent;
use super::{Report, Row};
use crate::comparison::Fields;

/// Divergences that the same engines of a case show.
#[derive(Debug)]
pub struct Group<'a> {
    /// The rows of these engines.
    pub rows: Vec<&'a Row>,
    /// The engines decide alike: what differs is the recording.
    pub is_of_recording: bool,
    /// Of each request that diverges, what was found with each of the engines.
    pub requests: Vec<Vec<&'a Divergent>>,
}

impl<'a> Group<'a> {
    /// The case.
    pub fn case(&self) -> &'a str {
        self.rows.first().map_or("", |row| row.case.as_str())
    }

    /// The engines, in the order of the report.
    pub fn engines(&self) -> Vec<&'static str> {
        self.rows.iter().map(|row| row.engine).collect()
    }

    /// Whether it is of this case and engine.
    pub fn is_of(&self, row: &Row) -> bool {
        let mut rows = self.rows.iter();
        rows.any(|own| own.case == row.case && own.engine == row.engine)
    }
}

/// All divergences of a report.
pub fn groups(report: &Report) -> Vec<Group<'_>> {
    let of_one_case = report.rows.chunk_by(|one, other| one.case == other.case);
    of_one_case.flat_map(of_case).collect()
}

fn of_case(rows: &[Row]) -> Vec<Group<'_>> {
    // What is told of a request, by which engines.
    let mut told: Vec<(Vec<usize>, Vec<&Divergent>)> = Vec::new();
    let mut of_recording: HashMap<(usize, Fields), usize> = HashMap::new();
    for (place, row) in rows.iter().enumerate() {
        for divergent in &row.observed.divergents {
            let key = (divergent.line, divergent.divergence.fields);
            let known = of_recording.get(&key).filter(|_| divergent.is_of_recording);
            if let Some((engines, all)) = known.and_then(|at| told.get_mut(*at)) {
                engines.push(place);
                all.push(divergent);
                continue;
            }
            if divergent.is_of_recording {
                of_recording.insert(key, told.len());
            }
            told.push((vec![place], vec![divergent]));
        }
    }
    let mut groups: Vec<Group<'_>> = Vec::new();
    let mut places: HashMap<(Vec<usize>, bool), usize> = HashMap::new();
    for (engines, all) in told {
        let is_of_recording = all.iter().any(|divergent| divergent.is_of_recording);
        let own = engines.iter().filter_map(|place| rows.get(*place));
        let own: Vec<&Row> = own.collect();
        let place = *places.entry((engines, is_of_recording)).or_insert_with(|| {
            groups.push(Group {
                rows: own,
                is_of_recording,
                requests: Vec::new(),
            });
            groups.len() - 1
        });
        if let Some(group) = groups.get_mut(place) {
            group.requests.push(all);
        }
    }
    groups
}

/// Names in a sentence.
pub fn listed(names: &[&str]) -> String {
    match names {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [before @ .., last] => format!("{} and {last}", before.join(", ")),
    }
}
