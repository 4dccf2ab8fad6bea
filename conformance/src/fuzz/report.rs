//! What a run found, for people and for programs.

use comfy_table::{Table, presets};
use serde_json::json;
use twinmesh_generate::reached::RULES;

use super::{Arguments, Report};
use crate::conform::rate;
use crate::engines::REFERENCE;
use crate::failure::Failure;
use crate::output::{Output, Style};
use crate::words::counted;

/// Writes the table of engines, each cause, and what was gone through.
pub fn write(
    arguments: &Arguments,
    report: &Report,
    not_run: &[String],
    style: Style,
    output: &mut Output,
) -> Result<(), Failure> {
    let (reference, others) = engines(report);
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table.set_header([
        "engine",
        "compared with",
        "decisions",
        "decided by both",
        "over the engine's limits",
        "undecided by both",
        "known divergences",
        "causes of divergence",
    ]);
    for (name, counts) in others.iter().zip(&report.counts) {
        let causes = report.found.iter();
        let causes = causes.filter(|found| found.divergence.engine == name);
        let decided = counts.requests - counts.limits - counts.undecided;
        table.add_row([
            name.clone(),
            reference.to_owned(),
            counts.requests.to_string(),
            decided.to_string(),
            counts.limits.to_string(),
            counts.undecided.to_string(),
            counts.known.to_string(),
            causes.count().to_string(),
        ]);
    }
    output.data(table)?;
    for found in &report.found {
        let divergence = &found.divergence;
        output.line("")?;
        let times = found.times;
        let heading = format!(
            "{}: {} ({})",
            divergence.engine,
            divergence.kind,
            counted(times, "input")
        );
        output.line(style.red(&heading))?;
        output.line(format!("  request   {}", divergence.request))?;
        output.line(format!("  expected  {}", divergence.expected))?;
        output.line(format!("  found     {}", divergence.found))?;
        match &found.case {
            Ok(folder) => output.line(format!(
                "  twinmesh conform --trace --engines {} {}",
                conform_engines(&report.engines),
                folder.display()
            ))?,
            Err(why) => output.line(format!(
                "  no case was written: {why}; twinmesh fuzz --seed {} --first {} --snapshots 1 --requests {}",
                arguments.seed, found.snapshot, arguments.requests
            ))?,
        }
    }
    reached(report, style, output)?;
    output.line("")?;
    for line in not_run {
        output.line(style.yellow(line))?;
    }
    output.lines(summary(arguments, report, style))
}

/// The engines that show a case to `conform`, which compares with its own reference where nothing is
/// recorded.
fn conform_engines(engines: &[String]) -> String {
    let others = engines.iter().map(String::as_str);
    let others = others.filter(|name| *name != REFERENCE);
    let all: Vec<&str> = std::iter::once(REFERENCE).chain(others).collect();
    all.join(",")
}

/// How often the decisions went through each rule, and why some are undecided.
fn reached(report: &Report, style: Style, output: &mut Output) -> Result<(), Failure> {
    let Some(counts) = report.counts.first() else {
        return Ok(());
    };
    output.line("")?;
    output.line(style.bold(&format!(
        "What the decisions of {} traced snapshots went through:",
        report.traced
    )))?;
    for rule in RULES {
        let times = counts.reached.count(rule);
        let line = format!("{times:>9} {rule}");
        output.line(if times == 0 {
            style.yellow(&line)
        } else {
            line
        })?;
    }
    let (_, others) = engines(report);
    for (name, counts) in others.iter().zip(&report.counts) {
        let mut reasons: Vec<(&String, &usize)> = counts.reasons.iter().collect();
        reasons.sort_by_key(|(_, times)| std::cmp::Reverse(**times));
        for (reason, times) in reasons {
            output.line(format!("{times:>9} undecided, {name}: {reason}"))?;
        }
    }
    Ok(())
}

fn engines(report: &Report) -> (&str, &[String]) {
    match report.engines.as_slice() {
        [reference, others @ ..] => (reference, others),
        [] => ("", &[]),
    }
}

fn compared(report: &Report) -> usize {
    report.counts.iter().map(|counts| counts.requests).sum()
}

fn summary(arguments: &Arguments, report: &Report, style: Style) -> String {
    let verdict = match report.found.len() {
        0 => style.green("no divergence"),
        1 => style.red("1 cause of divergence"),
        causes => style.red(&format!("{causes} causes of divergence")),
    };
    let ended = if report.interrupted {
        ", interrupted"
    } else if report.found.len() >= arguments.causes {
        ", ended as there are so many (--causes)"
    } else {
        ""
    };
    format!(
        "{verdict}: {} ({} refused by the reader), {} compared, {} a second, seed {}{ended}",
        counted(report.snapshots, "snapshot"),
        report.refused,
        counted(compared(report), "decision"),
        rate(compared(report), report.elapsed),
        arguments.seed
    )
}

/// The same as JSON.
///
/// # Errors
/// It cannot be written as JSON.
pub fn json(arguments: &Arguments, report: &Report, not_run: &[String]) -> Result<String, Failure> {
    let (reference, others) = engines(report);
    let engines: Vec<_> = others
        .iter()
        .zip(&report.counts)
        .map(|(name, counts)| {
            let reached = RULES.iter().map(|rule| (*rule, counts.reached.count(rule)));
            json!({
                "engine": name,
                "decisions": counts.requests,
                "over_limits": counts.limits,
                "undecided": counts.undecided,
                "known": counts.known,
                "reasons": counts.reasons,
                "reached": reached.collect::<std::collections::BTreeMap<_, _>>(),
            })
        })
        .collect();
    let causes: Vec<_> = report
        .found
        .iter()
        .map(|found| {
            json!({
                "engine": found.divergence.engine,
                "kind": found.divergence.kind,
                "inputs": found.times,
                "snapshot": found.snapshot,
                "request": found.divergence.request,
                "expected": found.divergence.expected,
                "found": found.divergence.found,
                "case": found.case.as_ref().ok(),
                "no_case": found.case.as_ref().err(),
            })
        })
        .collect();
    let whole = json!({
        "seed": arguments.seed,
        "first": arguments.first,
        "snapshots": report.snapshots,
        "refused": report.refused,
        "traced": report.traced,
        "seconds": report.elapsed.as_secs_f64(),
        "interrupted": report.interrupted,
        "reference": reference,
        "engines": engines,
        "causes": causes,
        "not_run": not_run,
    });
    serde_json::to_string_pretty(&whole)
        .map_err(|error| Failure(format!("the report is no JSON: {error}")))
}
