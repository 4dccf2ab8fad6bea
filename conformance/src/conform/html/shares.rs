//! Shares with their expected values and confidence intervals, a chart beside each.

use super::super::Report;
use super::super::shares::{Member, Split};
use super::super::wilson;
use super::numbers::percent;

/// What is shared out among.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Clusters,
    Endpoints,
}

/// The splits of a case.
pub struct CaseShares<'a> {
    pub case: &'a str,
    pub splits: Vec<Table<'a>>,
}

/// A split, with what each engine made of it.
pub struct Table<'a> {
    pub what: &'a str,
    pub remark: &'a str,
    pub lines: Vec<Line<'a>>,
}

/// A member of a split through one engine.
pub struct Line<'a> {
    pub name: &'a str,
    /// The first of its member's lines: how many there are of them.
    pub span: Option<usize>,
    pub who: &'a str,
    pub count: u64,
    pub total: u64,
    pub share: String,
    pub interval: String,
    pub expected: String,
    /// The expected share lies outside the interval, and should not.
    pub is_outside: bool,
    pub chart: Chart,
}

/// Positions in a chart that is 200 units wide.
pub struct Chart {
    pub bar: String,
    pub from: String,
    pub to: String,
    pub expected: Option<String>,
    pub label: String,
}

pub fn of(report: &Report, kind: Kind) -> Vec<CaseShares<'_>> {
    let mut cases = Vec::new();
    for seen in &report.seen {
        let mut runs: Vec<(&str, &[Split])> = Vec::new();
        let recorded = match kind {
            Kind::Clusters => &seen.splits,
            Kind::Endpoints => &seen.endpoints,
        };
        runs.push(("recorded", recorded));
        for row in report.rows.iter().filter(|row| row.case == seen.case) {
            let splits = match kind {
                Kind::Clusters => &row.observed.splits,
                Kind::Endpoints => &row.observed.endpoints,
            };
            runs.push((row.engine, splits));
        }
        let mut names: Vec<&str> = Vec::new();
        for split in runs.iter().flat_map(|(_, splits)| splits.iter()) {
            if !names.contains(&split.what.as_str()) {
                names.push(&split.what);
            }
        }
        let splits: Vec<Table<'_>> = names.iter().map(|name| table(name, &runs)).collect();
        if !splits.is_empty() {
            cases.push(CaseShares {
                case: &seen.case,
                splits,
            });
        }
    }
    cases
}

fn table<'a>(what: &'a str, runs: &[(&'a str, &'a [Split])]) -> Table<'a> {
    let of_runs: Vec<(&str, &Split)> = runs
        .iter()
        .filter_map(|(who, splits)| Some((*who, splits.iter().find(|split| split.what == what)?)))
        .collect();
    let remark = of_runs.iter().map(|(_, split)| split.remark.as_str());
    let remark = remark.max_by_key(|remark| remark.len()).unwrap_or("");
    let mut members: Vec<&str> = Vec::new();
    let mut widest: f64 = 0.0;
    for (_, split) in &of_runs {
        for member in &split.members {
            if !members.contains(&member.name.as_str()) {
                members.push(&member.name);
            }
            let interval = wilson::interval(member.count, split.total());
            let expected = split.expected(member).unwrap_or(0.0);
            widest = widest.max(interval.to).max(expected);
        }
    }
    let mut lines = Vec::new();
    for name in members {
        let of_member: Vec<(&str, &Split, &Member)> = of_runs
            .iter()
            .filter_map(|(who, split)| {
                let mut members = split.members.iter();
                Some((*who, *split, members.find(|member| member.name == name)?))
            })
            .collect();
        let span = of_member.len();
        for (index, (who, split, member)) in of_member.into_iter().enumerate() {
            let first = (index == 0).then_some(span);
            lines.push(line(name, first, who, split, member, widest, remark));
        }
    }
    Table {
        what,
        remark,
        lines,
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
fn line<'a>(
    name: &'a str,
    span: Option<usize>,
    who: &'a str,
    split: &Split,
    member: &Member,
    widest: f64,
    remark: &str,
) -> Line<'a> {
    const WIDTH: f64 = 200.0;
    let total = split.total();
    let share = member.count as f64 / total.max(1) as f64;
    let interval = wilson::interval(member.count, total);
    let expected = split.expected(member);
    let at = |share: f64| format!("{:.1}", share / widest.max(f64::MIN_POSITIVE) * WIDTH);
    let is_outside = remark.is_empty() && expected.is_some_and(|share| !interval.holds(share));
    let expected_text = expected.map_or_else(|| "–".to_owned(), percent);
    let interval_text = format!("{} to {}", percent(interval.from), percent(interval.to));
    let label = match expected {
        Some(expected) => format!(
            "share {}, interval {interval_text}, expected {}",
            percent(share),
            percent(expected)
        ),
        None => format!("share {}, interval {interval_text}", percent(share)),
    };
    Line {
        name,
        span,
        who,
        count: member.count,
        total,
        share: percent(share),
        interval: interval_text,
        expected: expected_text,
        is_outside,
        chart: Chart {
            bar: at(share),
            from: at(interval.from),
            to: at(interval.to),
            expected: expected.map(at),
            label,
        },
    }
}
