//! Case by engine, with counts.

use super::super::grouping::Group;
use super::super::{Counts, Report, Row};
use super::numbers::duration;

/// The table.
pub struct Matrix<'a> {
    pub engines: Vec<&'static str>,
    pub lines: Vec<Line<'a>>,
    /// Of all cases, for each engine.
    pub totals: Vec<Cell>,
}

/// One case.
pub struct Line<'a> {
    pub case: &'a str,
    /// For each engine; `None` where it did not get through the case.
    pub cells: Vec<Option<Cell>>,
}

/// One case through one engine.
pub struct Cell {
    pub counts: Counts,
    /// It only served as the reference of others.
    pub is_reference: bool,
    /// What it was compared with.
    pub against: String,
    /// Where its divergences stand in the page.
    pub anchor: String,
    /// The median and the 99th percentile of single decisions.
    pub latency: String,
}

pub fn of<'a>(report: &'a Report, groups: &[Group<'_>]) -> Matrix<'a> {
    let engines = super::engines(report);
    let mut lines: Vec<Line<'_>> = Vec::new();
    for row in &report.rows {
        if lines.last().is_none_or(|line| line.case != row.case) {
            lines.push(Line {
                case: &row.case,
                cells: engines.iter().map(|_| None).collect(),
            });
        }
        let place = engines.iter().position(|engine| *engine == row.engine);
        if let (Some(line), Some(place)) = (lines.last_mut(), place)
            && let Some(slot) = line.cells.get_mut(place)
        {
            *slot = Some(cell(row, groups));
        }
    }
    let totals = engines.iter().map(|engine| total(report, engine)).collect();
    Matrix {
        engines,
        lines,
        totals,
    }
}

fn cell(row: &Row, groups: &[Group<'_>]) -> Cell {
    let place = groups.iter().position(|group| group.is_of(row));
    let latencies = row.observed.latencies.as_ref();
    Cell {
        counts: row.counts,
        is_reference: row.against.is_empty(),
        against: row.against.join(" and "),
        anchor: super::anchor(place.unwrap_or(0)),
        latency: latencies.map_or_else(String::new, |latencies| {
            format!(
                "median {}, 99 % within {}",
                duration(latencies.value_at_quantile(0.5)),
                duration(latencies.value_at_quantile(0.99))
            )
        }),
    }
}

fn total(report: &Report, engine: &str) -> Cell {
    let rows = || report.rows.iter().filter(|row| row.engine == engine);
    Cell {
        counts: rows().fold(Counts::default(), |counts, row| counts.plus(row.counts)),
        is_reference: rows().all(|row| row.against.is_empty()),
        against: String::new(),
        anchor: "divergences".to_owned(),
        latency: String::new(),
    }
}
