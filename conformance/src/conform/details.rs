//! The divergences in the report for people: one of the recording, from which engines differ alike, once.

use comfy_table::{Cell, Color, Table, presets};

use super::grouping::listed;
use super::{Detail, Row};
use crate::comparison::{Field, Fields};
use crate::failure::Failure;
use crate::output::{Output, Style, printable};

/// Writes so many divergences of each case and engine, and how many more there are.
pub fn write(rows: &[Row], show: usize, style: Style, output: &mut Output) -> Result<(), Failure> {
    for rows in rows.chunk_by(|one, other| one.case == other.case) {
        for (engines, detail) in told(rows, show) {
            write_detail(&engines, detail, style, output)?;
        }
        for (engines, count) in left_out(rows, show) {
            let more = if show > 0 { "more " } else { "" };
            let plural = if count == 1 { "" } else { "s" };
            let each = if engines.len() == 1 { "" } else { " each" };
            let text = format!("{}: {count} {more}divergence{plural}{each}", of(&engines));
            output.line(style.red(&text))?;
        }
        let hidden = rows.iter().filter_map(|row| row.details.get(show));
        let mut hidden: Vec<&Detail> = hidden.collect();
        hidden.dedup_by_key(|detail| &detail.reproducer);
        for detail in hidden {
            write_reproducer(detail, output)?;
        }
    }
    Ok(())
}

/// The divergences of a case that are shown, and the engines that show each.
fn told(rows: &[Row], show: usize) -> Vec<(Vec<&Row>, &Detail)> {
    let mut told: Vec<(Vec<&Row>, &Detail)> = Vec::new();
    for row in rows {
        for detail in row.details.iter().take(show) {
            match told.iter_mut().find(|(_, known)| known.is_as(detail)) {
                Some((engines, _)) => engines.push(row),
                None => told.push((vec![row], detail)),
            }
        }
    }
    told
}

/// How many divergences of a case are not shown, and with which engines.
fn left_out(rows: &[Row], show: usize) -> Vec<(Vec<&Row>, usize)> {
    let mut all: Vec<(Vec<&Row>, usize)> = Vec::new();
    for row in rows {
        let shown = row.details.len().min(show);
        let count = row.counts.divergences.saturating_sub(shown);
        if count == 0 {
            continue;
        }
        match all.iter_mut().find(|(_, known)| *known == count) {
            Some((engines, _)) => engines.push(row),
            None => all.push((vec![row], count)),
        }
    }
    all
}

/// A case and engines of it.
fn of(rows: &[&Row]) -> String {
    let case = rows.first().map_or("", |row| row.case.as_str());
    let engines: Vec<&str> = rows.iter().map(|row| row.engine).collect();
    format!("{case} {}", listed(&engines))
}

fn write_detail(
    rows: &[&Row],
    detail: &Detail,
    style: Style,
    output: &mut Output,
) -> Result<(), Failure> {
    output.line("")?;
    let heading = format!(
        "divergence: {}: request `{}` (line {})",
        of(rows),
        detail.id,
        detail.line
    );
    output.line(style.red(&heading))?;
    output.line(format!("  {}", detail.request))?;
    for line in side_by_side(detail, style).lines() {
        output.data(format!("  {line}"))?;
    }
    for (who, decision) in &detail.decisions {
        if let Some(reason) = &decision.reason {
            output.line(format!("  reason of {who}: {reason}"))?;
        }
    }
    if let Some(note) = &detail.divergence.note {
        output.line(format!("  {note}"))?;
    }
    for step in &detail.steps {
        output.line(format!("  {step}"))?;
    }
    write_reproducer(detail, output)
}

fn write_reproducer(detail: &Detail, output: &mut Output) -> Result<(), Failure> {
    match &detail.reproducer {
        Some(Ok(folder)) => output.line(format!("  reproducer: {}", folder.display())),
        Some(Err(message)) => output.line(format!("  no reproducer: {message}")),
        None => Ok(()),
    }
}

/// The decisions, a column each; a field that differs is marked.
fn side_by_side(detail: &Detail, style: Style) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    if style.enabled {
        table.enforce_styling();
    } else {
        table.force_no_tty();
    }
    let mut header = vec![String::new()];
    header.extend(detail.decisions.iter().map(|(who, _)| (*who).to_owned()));
    table.set_header(header);
    for field in Fields::EVERY.without(Field::NEVER_COMPARED).iter() {
        let values: Vec<Option<String>> = detail
            .decisions
            .iter()
            .map(|(_, decision)| field.value(decision).map(std::borrow::Cow::into_owned))
            .collect();
        if values.iter().all(Option::is_none) {
            continue;
        }
        let differs = detail.divergence.fields.contains(field);
        let mark = if differs { "*" } else { " " };
        let mut cells = vec![Cell::new(format!("{mark} {}", field.name()))];
        for value in values {
            let cell = Cell::new(printable(value.as_deref().unwrap_or("-")));
            cells.push(if differs && style.enabled {
                cell.fg(Color::Red)
            } else {
                cell
            });
        }
        table.add_row(cells);
    }
    let text = table.to_string();
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    lines.join("\n")
}
