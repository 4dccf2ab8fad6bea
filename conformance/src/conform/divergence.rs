//! What is said of a divergence: both decisions, where their traces part, a reproducer.

use twinmesh_engine::{Decision, Engine, Request, Step, Strictness, Trace};
use twinmesh_xds::Snapshot;

use super::{Arguments, Detail, Row};
use crate::case::Case;
use crate::comparison::{Field, Fields, Verdict, compare_traces};
use crate::engines::REFERENCE;
use crate::failure::Failure;
use crate::judge::{Question, Run};
use crate::reproducer;
use crate::words::{self, Narrator};

/// What a divergence was found in.
pub struct Compared<'a> {
    /// The engine's run.
    pub run: &'a Run,
    /// The reference's.
    pub reference: Option<&'a Run>,
    /// The verdicts on the engine's.
    pub verdicts: &'a [Verdict],
    /// What was found in the case with engines before.
    pub before: &'a [Row],
}

/// The first divergences of a case through an engine; the first of them with a reproducer.
pub fn details(
    arguments: &Arguments,
    case: &Case,
    question: &Question<'_>,
    engine: &mut dyn Engine,
    mut reference: Option<&mut (dyn Engine + '_)>,
    compared: &Compared<'_>,
) -> Result<Vec<Detail>, Failure> {
    let shown: Vec<usize> = compared
        .verdicts
        .iter()
        .enumerate()
        .filter(|(_, verdict)| matches!(verdict, Verdict::Diverges(_)))
        .map(|(index, _)| index)
        .take(arguments.show.max(1))
        .collect();
    let Some(last) = shown.last() else {
        return Ok(Vec::new());
    };
    // The same requests once more, for the traces; nothing else in them changes.
    let again = Question {
        requests: question.requests.get(..=*last).unwrap_or_default(),
        recorded: None,
        ..question.clone()
    };
    // A live server makes none, and would draw other numbers.
    let is_live = engine.strictness() == Strictness::Live;
    let traces = if is_live {
        Vec::new()
    } else {
        again.put(engine, true)?.traces
    };
    let reference_traces = match &mut reference {
        Some(reference) => again.put(*reference, true)?.traces,
        None => Vec::new(),
    };
    let mut details = Vec::new();
    for index in shown {
        let Some((request, Verdict::Diverges(divergence))) = question
            .requests
            .get(index)
            .zip(compared.verdicts.get(index))
        else {
            continue;
        };
        let decisions = [
            ("recorded", question.recorded),
            (
                REFERENCE,
                compared.reference.map(|run| run.decisions.as_slice()),
            ),
            (engine.name(), Some(compared.run.decisions.as_slice())),
        ];
        let decisions: Vec<(&'static str, Decision)> = decisions
            .into_iter()
            .filter_map(|(who, decisions)| Some((who, decisions?.get(index)?.clone())))
            .collect();
        let snapshot = question.snapshot_at(index)?;
        let narrate =
            |trace: &Trace, from: usize, to: usize| narrate(&snapshot, request, trace, from, to);
        let steps = match (traces.get(index), reference_traces.get(index)) {
            (Some(trace), Some(expected)) => match compare_traces(expected, trace) {
                Some(parting) => vec![
                    format!("the traces part at step {}:", parting + 1),
                    format!(
                        "  {REFERENCE}: {}",
                        one(narrate(expected, parting, parting + 1))
                    ),
                    format!(
                        "  {}: {}",
                        engine.name(),
                        one(narrate(trace, parting, parting + 1))
                    ),
                ],
                None => vec![format!(
                    "the traces of {REFERENCE} and {} are equal, step by step",
                    engine.name()
                )],
            },
            (Some(trace), None) => how(engine.name(), narrate(trace, 0, trace.steps.len())),
            (None, Some(trace)) => how(REFERENCE, narrate(trace, 0, trace.steps.len())),
            _ => Vec::new(),
        };
        details.push(Detail {
            id: request.id.clone(),
            line: index + 1,
            request: words::request_line(request),
            divergence: divergence.clone(),
            decisions,
            steps,
            is_of_recording: is_of_recording(engine.name(), compared, index)
                && !divergence.fields.is_empty(),
            reproducer: None,
        });
    }
    if !arguments.no_reproducers
        && let Some(detail) = details.first_mut()
    {
        let rows = compared.before.iter();
        let known = rows.flat_map(|row| &row.details);
        let known = known.filter(|known| known.is_as(detail));
        let known = known.filter_map(|known| known.reproducer.as_ref()).next();
        if let Some(known) = known {
            detail.reproducer = Some(known.clone());
            return Ok(details);
        }
        let written = if is_live {
            let message = "a live server is not asked again and again for a smaller one";
            Err(Failure(message.to_owned()))
        } else {
            reproducer::write(
                &arguments.reproducers,
                case,
                question,
                detail.line - 1,
                engine,
                reference,
            )
        };
        detail.reproducer = Some(written.map_err(|Failure(message)| message));
    }
    Ok(details)
}

/// Whether an engine decides a request as the reference does, so that the recording is what differs.
fn is_of_recording(engine: &str, compared: &Compared<'_>, index: usize) -> bool {
    let own = compared.run.decisions.get(index);
    let reference = compared.reference.and_then(|run| run.decisions.get(index));
    let all_fields = Fields::EVERY.without(Field::NEVER_COMPARED);
    let alike = own.zip(reference);
    alike.map_or(engine == REFERENCE, |(own, reference)| {
        all_fields.differing(own, reference).is_empty()
    })
}

fn how(engine: &str, told: Vec<String>) -> Vec<String> {
    let told = told.into_iter().map(|line| format!("  {line}"));
    std::iter::once(format!("how {engine} decided:"))
        .chain(told)
        .collect()
}

/// Steps in words; those of routes that did not match only where they are asked for one by one.
fn narrate(
    snapshot: &Snapshot,
    request: &Request,
    trace: &Trace,
    from: usize,
    to: usize,
) -> Vec<String> {
    let mut narrator = Narrator::new(snapshot, request);
    let mut lines = Vec::new();
    for (index, step) in trace.steps.iter().enumerate() {
        let sentence = narrator.tell(step);
        let wanted = (from..to).contains(&index);
        let skipped = to > from + 1 && matches!(step, Step::RouteNotMatched { .. });
        if wanted && !skipped {
            lines.push(format!(
                "{} {}: {}",
                sentence.topic, sentence.choice, sentence.because
            ));
        }
    }
    lines
}

fn one(lines: Vec<String>) -> String {
    let first = lines.into_iter().next();
    first.unwrap_or_else(|| "no further step".to_owned())
}
