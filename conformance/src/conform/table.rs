//! The report for people.

use std::time::Duration;

use comfy_table::{Cell, CellAlignment, Color, Table, presets};

use super::{Counts, FALSE_ALARM, Report, details};
use crate::failure::Failure;
use crate::output::{Output, Style, printable};
use crate::words::counted;

/// Writes the table, of each case and engine so many divergences, the engines that did not run, and the summary.
pub fn write(
    report: &Report,
    show: usize,
    style: Style,
    output: &mut Output,
) -> Result<(), Failure> {
    output.data(table(report, style))?;
    details::write(&report.rows, show, style, output)?;
    output.line("")?;
    for not_run in &report.not_run {
        output.line(style.yellow(&not_run.to_string()))?;
    }
    for error in &report.errors {
        if let Some(engine) = error.engine {
            let text = format!("{}: {engine} failed: {}", error.case, error.message);
            output.line(style.red(&text))?;
        }
    }
    write_random(report, output)?;
    for known in report.known.iter().filter(|known| known.count > 0) {
        output.line(format!(
            "{}: {} known divergence{}: {} ({})",
            known.engine,
            known.count,
            if known.count == 1 { "" } else { "s" },
            known.reason,
            known.source
        ))?;
    }
    output.line(summary(report, style))
}

/// What was tested of a live server's draws: how often, how strictly, and what came nearest to a
/// divergence.
fn write_random(report: &Report, output: &mut Output) -> Result<(), Failure> {
    let tests = report
        .rows
        .iter()
        .flat_map(|row| row.tests.iter().map(move |test| (row, test)));
    let nearest = tests
        .clone()
        .min_by(|(_, one), (_, other)| one.probability.total_cmp(&other.probability));
    let Some((row, test)) = nearest else {
        return Ok(());
    };
    output.line(format!(
        "{}: {} chi-square tests of what is drawn at random, which raise a false alarm in at most 1 of {:.0} runs; the least probable, of {}: {test}",
        row.engine,
        tests.count(),
        1.0 / FALSE_ALARM,
        row.case,
    ))
}

fn table(report: &Report, style: Style) -> Table {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    if style.enabled {
        table.enforce_styling();
    } else {
        table.force_no_tty();
    }
    table.set_header([
        "case",
        "engine",
        "requests",
        "agreements",
        "divergences",
        "unsupported",
        "decisions/s",
    ]);
    for row in &report.rows {
        table.add_row(cells(&row.case, row.engine, row.counts, row.elapsed, style));
    }
    for error in &report.errors {
        if let Some(engine) = error.engine {
            let dashes = std::iter::repeat_n(Cell::new("-"), 4);
            let mut cells = vec![Cell::new(printable(&error.case)), Cell::new(engine)];
            cells.extend(dashes);
            cells.push(Cell::new("failed"));
            table.add_row(cells);
        }
    }
    let mut engines: Vec<&'static str> = Vec::new();
    for row in &report.rows {
        if !engines.contains(&row.engine) {
            engines.push(row.engine);
        }
    }
    for engine in engines {
        let rows = report.rows.iter().filter(|row| row.engine == engine);
        let (counts, elapsed, number) = rows.fold(
            (Counts::default(), Duration::ZERO, 0),
            |(counts, elapsed, number), row| {
                (counts.plus(row.counts), elapsed + row.elapsed, number + 1)
            },
        );
        if number > 1 {
            let name = format!("all {number} cases");
            table.add_row(cells(&name, engine, counts, elapsed, style));
        }
    }
    for column in 2..7 {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

fn cells(case: &str, engine: &str, counts: Counts, elapsed: Duration, style: Style) -> Vec<Cell> {
    let coloured = |count: usize, color: Color| {
        let cell = Cell::new(count);
        if style.enabled && count > 0 {
            cell.fg(color)
        } else {
            cell
        }
    };
    vec![
        Cell::new(printable(case)),
        Cell::new(engine),
        Cell::new(counts.requests),
        coloured(counts.agreements, Color::Green),
        coloured(counts.divergences, Color::Red),
        coloured(counts.unsupported, Color::Yellow),
        Cell::new(rate(counts.requests, elapsed)),
    ]
}

/// Decisions per second, as a whole number.
#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
pub fn rate(requests: usize, elapsed: Duration) -> String {
    if requests == 0 || elapsed.is_zero() {
        return "-".to_owned();
    }
    format!("{:.0}", requests as f64 / elapsed.as_secs_f64())
}

fn summary(report: &Report, style: Style) -> String {
    let compared = report.rows.iter().filter(|row| !row.against.is_empty());
    let counts = compared.fold(Counts::default(), |counts, row| counts.plus(row.counts));
    let mut text = format!(
        "{}, {} compared: {}, {}, {} unsupported",
        counted(report.cases - report.left_out, "case"),
        counted(counts.requests, "decision"),
        counted(counts.agreements, "agreement"),
        counted(counts.divergences, "divergence"),
        counts.unsupported
    );
    if counts.known > 0 {
        text.push_str(&format!(", {}", counted(counts.known, "known divergence")));
    }
    if report.left_out > 0 {
        text.push_str(&format!(
            "; --fail-fast left out {}",
            counted(report.left_out, "case")
        ));
    }
    if report.errors.is_empty() && counts.divergences == 0 {
        style.green(&text)
    } else {
        style.red(&text)
    }
}
