//! Which routes of each case were reached.

use super::super::Report;
use super::super::coverage::Coverage;

/// Of so many routes of a case each is listed.
const LISTED: usize = 2_000;

/// The routes of a case.
pub struct CaseCoverage<'a> {
    pub case: &'a str,
    pub snapshot: String,
    pub engine: &'static str,
    pub reached: usize,
    pub routes: usize,
    pub elsewhere: usize,
    pub lines: Vec<Line<'a>>,
    /// Routes that are not listed.
    pub left_out: usize,
}

/// One route.
pub struct Line<'a> {
    pub configuration: &'a str,
    pub host: &'a str,
    pub route: &'a str,
    pub count: u64,
    /// Requests that an HTTP filter answered before the route's action.
    pub answered: u64,
}

pub fn of(report: &Report) -> Vec<CaseCoverage<'_>> {
    let cases = report.seen.iter();
    cases
        .filter_map(|seen| {
            let coverage = seen.coverage.as_ref()?;
            let (reached, routes) = coverage.reached();
            Some(CaseCoverage {
                case: &seen.case,
                snapshot: seen.snapshot.display().to_string(),
                engine: coverage.engine,
                reached,
                routes,
                elsewhere: coverage.elsewhere,
                lines: lines(coverage),
                left_out: routes.saturating_sub(LISTED),
            })
        })
        .collect()
}

/// Those first that nothing reached: they are what one looks for.
fn lines(coverage: &Coverage) -> Vec<Line<'_>> {
    let mut lines = Vec::new();
    for host in &coverage.hosts {
        for route in &host.routes {
            lines.push(Line {
                configuration: &host.configuration,
                host: &host.name,
                route: &route.name,
                count: route.requests,
                answered: route.answered,
            });
        }
    }
    lines.sort_by_key(|line| line.count > 0);
    lines.truncate(LISTED);
    lines
}
