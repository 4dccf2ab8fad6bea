//! A decision, line by line.

use twinmesh_engine::{Answer, Request, Step};
use twinmesh_spec::Judged;
use twinmesh_spec::reading::Matchers;
use twinmesh_xds::{Profile, Snapshot};

use crate::comparison::{Field, Fields, outcome_name};
use crate::failure::Failure;
use crate::output::Style;
use crate::words::{self, Narrator, counted};

/// What is told beside the steps.
pub struct Beside<'a> {
    /// What RBAC filters went by.
    pub judged: Vec<Judged>,
    /// The matchers of the snapshot.
    pub matchers: Matchers,
    /// The request's random number.
    pub random: u64,
    /// How many routes, filter chains and candidates of one kind are shown.
    pub routes: usize,
    /// The route that is asked about.
    pub asked: Option<&'a str>,
}

/// The words for an answer, line by line.
///
/// # Errors
/// There is no route that is asked about.
pub fn explain(
    snapshot: &Snapshot,
    request: &Request,
    answer: &Answer,
    beside: Beside<'_>,
    style: Style,
) -> Result<Vec<String>, Failure> {
    let mut lines = Vec::new();
    let (routes, matchers, random) = (beside.routes, &beside.matchers, beside.random);
    if snapshot.profile != Profile::default() {
        lines.push(entry(style, "profile", snapshot.profile.name()));
    }
    lines.push(entry(style, "request", &words::request_line(request)));
    for (name, value) in &request.headers {
        lines.push(entry(style, "", &format!("{name}: {value}")));
    }
    if let Some(connection) = connection(request) {
        lines.push(entry(style, "connection", &connection));
    }
    let mut narrator = Narrator::new(snapshot, request).with_judged(beside.judged);
    let mut unmatched = Vec::new();
    for step in &answer.trace.steps {
        let sentence = narrator.tell(step);
        if let Step::RouteNotMatched { route, failed } = step {
            let nearness = narrator.nearness(*route, *failed);
            unmatched.push((nearness, *route, sentence));
            continue;
        }
        lines.extend(not_matched(std::mem::take(&mut unmatched), routes, style));
        if matches!(step, Step::FilterChain(_)) {
            lines.extend(chains_not_taken(
                narrator.filter_chains_not_taken(),
                routes,
                style,
            ));
        }
        told(&sentence, style, &mut lines);
        match step {
            Step::FilterChain(_) => {
                for change in narrator.changes() {
                    told(&change, style, &mut lines);
                }
            }
            Step::Route(_) => {
                let (later, others) = words::later(&narrator, matchers, random, routes);
                lines.extend(listed(&later, others, LATER, style));
            }
            _ => {}
        }
    }
    lines.extend(not_matched(unmatched, routes, style));
    let outcome = answer.decision.outcome;
    if let Some((heading, candidates)) =
        words::alternatives(&narrator, &answer.trace, &answer.decision, routes)
    {
        lines.push(entry(style, "nothing", &heading));
        let candidates = candidates.iter();
        lines.extend(candidates.map(|candidate| entry(style, "", &style.dim(candidate))));
    }
    lines.extend(attempts(answer, style));
    lines.extend(decision(answer, style));
    if let Some(wanted) = beside.asked {
        let asked = words::asked(&narrator, matchers, request, outcome, random, wanted);
        let asked = asked.map_err(|why| Failure(format!("--route: {why}")))?;
        for one in asked {
            lines.push(entry(style, "asked about", &one.choice));
            let because = one.because.iter();
            lines.extend(because.map(|why| entry(style, "", &style.dim(why))));
        }
    }
    Ok(lines)
}

const LATER: &str = "that would match, but come later";

fn told(sentence: &words::Sentence, style: Style, lines: &mut Vec<String>) {
    lines.push(entry(style, sentence.topic, &sentence.choice));
    if !sentence.because.is_empty() {
        lines.push(entry(style, "", &style.dim(&sentence.because)));
    }
}

/// Sentences under their one topic, and how many other routes there are of the kind.
fn listed(told: &[words::Sentence], others: usize, kind: &str, style: Style) -> Vec<String> {
    let mut lines = Vec::new();
    let mut title = "";
    for sentence in told {
        let topic = if sentence.topic == title {
            ""
        } else {
            sentence.topic
        };
        title = sentence.topic;
        lines.push(entry(style, topic, &sentence.choice));
        lines.push(entry(style, "", &style.dim(&sentence.because)));
    }
    if others > 0 {
        let text = format!("and {} {kind}", counted(others, "other route"));
        lines.push(entry(style, "", &text));
    }
    lines
}

/// What is known of the request's connection, in one line.
fn connection(request: &Request) -> Option<String> {
    let parts = [
        request.source.map(|source| format!("from {source}")),
        request
            .destination
            .map(|destination| format!("to {destination}")),
        request.is_tls().then(|| "TLS".to_owned()),
        request.sni.as_ref().map(|sni| format!("SNI {sni}")),
        request.alpn.as_ref().map(|alpn| format!("ALPN {alpn}")),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

/// The attempts, one a line.
fn attempts(answer: &Answer, style: Style) -> Vec<String> {
    let mut title = "attempts";
    let mut lines = Vec::new();
    for attempt in &answer.decision.tries {
        let endpoint = attempt.endpoint.as_deref().unwrap_or("no endpoint");
        let came = match (attempt.status, attempt.failure) {
            (Some(status), None) => format!("status {status}"),
            (Some(status), Some(failure)) => format!("status {status}, {}", failure.words()),
            (None, Some(failure)) => failure.words().to_owned(),
            (None, None) => "nothing".to_owned(),
        };
        let (from, to) = (attempt.start_us, attempt.end_us);
        let text = format!("{endpoint}, {from} to {to} µs: {came}");
        lines.push(entry(style, title, &text));
        title = "";
    }
    lines
}

/// The filter chains that do not take the connection: the nearest, and how many others.
fn chains_not_taken(mut out: Vec<words::Sentence>, shown: usize, style: Style) -> Vec<String> {
    let others = out.len().saturating_sub(shown);
    out.drain(..others);
    let mut lines = Vec::new();
    let mut title = "not matched";
    for sentence in &out {
        lines.push(entry(style, title, &sentence.choice));
        lines.push(entry(style, "", &style.dim(&sentence.because)));
        title = "";
    }
    if others > 0 {
        let text = format!(
            "and {} that do not take the connection",
            counted(others, "other filter chain")
        );
        lines.push(entry(style, title, &text));
    }
    lines
}

/// The routes that did not match: the nearest, and how many others.
fn not_matched(
    mut unmatched: Vec<(words::Nearness, usize, words::Sentence)>,
    shown: usize,
    style: Style,
) -> Vec<String> {
    if unmatched.is_empty() {
        return Vec::new();
    }
    let total = unmatched.len();
    unmatched.sort_by(|one, other| other.0.cmp(&one.0).then(one.1.cmp(&other.1)));
    unmatched.truncate(shown);
    unmatched.sort_by_key(|(_, route, _)| *route);
    let mut lines = Vec::new();
    let mut title = "not matched";
    for (_, _, sentence) in &unmatched {
        lines.push(entry(style, title, &sentence.choice));
        lines.push(entry(style, "", &style.dim(&sentence.because)));
        title = "";
    }
    let others = total - unmatched.len();
    if others > 0 {
        let text = format!("and {} that did not match", counted(others, "other route"));
        lines.push(entry(style, title, &text));
    }
    lines
}

fn decision(answer: &Answer, style: Style) -> Vec<String> {
    let decision = &answer.decision;
    let mut lines = vec![entry(style, "decision", outcome_name(decision.outcome))];
    let hidden = Fields::from_iter([Field::Outcome, Field::Engine]);
    for field in Fields::EVERY.without(hidden).iter() {
        if let Some(value) = field.value(decision) {
            lines.push(entry(style, "", &format!("{}: {value}", field.name())));
        }
    }
    lines
}

fn entry(style: Style, topic: &str, text: &str) -> String {
    let padded = format!("{topic:<20}");
    let line = if topic.is_empty() {
        format!("{padded}{text}")
    } else {
        format!("{}{text}", style.bold(&padded))
    };
    line.trim_end().to_owned()
}
