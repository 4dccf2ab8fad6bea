//! Feeds the model every request head in `fixtures/heads`, byte for byte, and compares with what a
//! real Envoy made of it.

use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};
use twinmesh_compile::{Compiled, Input, compile};
use twinmesh_engine::{Decision, Engine, Outcome, Request};
use twinmesh_model::layout::{input, work};
use twinmesh_model::{Machine, Span};
use twinmesh_sim::{Memory, Sim};
use twinmesh_spec::Spec;
use twinmesh_xds::Snapshot;

/// The options of the listeners that the heads were sent to; `null`: of those that name none.
fn listeners() -> Vec<(Value, Value)> {
    let (dot, port) = ("strip_trailing_host_dot", "strip_any_host_port");
    vec![
        (Value::Null, json!({})),
        (json!(dot), json!({dot: true})),
        (json!(port), json!({port: true})),
        (json!("strip_dot_and_port"), json!({dot: true, port: true})),
    ]
}

/// A snapshot whose only route takes every request, under these options.
fn catch_all(options: &Value) -> Compiled {
    compile(&snapshot(options)).expect("it compiles")
}

fn snapshot(options: &Value) -> Arc<Snapshot> {
    let types = "type.googleapis.com/envoy.extensions.filters";
    let mut manager = json!({
        "@type": format!("{types}.network.http_connection_manager.v3.HttpConnectionManager"),
        "stat_prefix": "s",
        "route_config": {"name": "r", "virtual_hosts": [{
            "name": "v", "domains": ["*"],
            "routes": [{"match": {"prefix": "/"}, "direct_response": {"status": 200}}],
        }]},
        "http_filters": [{"name": "router", "typed_config": {
            "@type": format!("{types}.http.router.v3.Router"),
        }}],
    });
    for (name, value) in options.as_object().expect("an object") {
        manager[name] = value.clone();
    }
    let snapshot = json!({"static_resources": {"listeners": [{
        "name": "l",
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": 80}},
        "filter_chains": [{"filters": [{"name": "hcm", "typed_config": manager}]}],
    }]}});
    let options = twinmesh_xds::ReadOptions::default();
    let snapshot = twinmesh_xds::read_bytes("r.json", snapshot.to_string().as_bytes(), &options);
    Arc::new(snapshot.expect("it reads"))
}

/// A line's bytes: its `head`, or its `parts`.
fn head(line: &Value) -> Vec<u8> {
    let latin_1 = |text: &str| -> Vec<u8> { text.chars().map(|letter| letter as u8).collect() };
    if let Some(head) = line["head"].as_str() {
        return latin_1(head);
    }
    let parts = line["parts"].as_array().expect("a head or its parts");
    parts
        .iter()
        .flat_map(|part| {
            let count = part[1].as_u64().expect("a count") as usize;
            latin_1(part[0].as_str().expect("a text")).repeat(count)
        })
        .collect()
}

/// What the model makes of the bytes: its decision, and method, target and authority as it sees
/// them.
fn decide(compiled: &Compiled, bytes: &[u8]) -> Option<(Decision, [Vec<u8>; 3])> {
    let mut memory = Memory::new(compiled);
    if bytes.len() as u64 > memory.head_bytes() {
        return None;
    }
    let request: Request =
        serde_json::from_value(json!({"id": "r", "listener": "l"})).expect("a request");
    let prepared = compiled.prepare(&request, 0, 1, &mut memory);
    prepared.expect("a plain request can be laid out");
    memory.set_bytes(input::HEAD, bytes);
    Input::set_word(&mut memory, work::HEAD_LENGTH, bytes.len() as u64);
    twinmesh_model::decide(&mut memory);
    let answer = compiled.answer(&request, &memory.left(), None);
    let seen = [work::METHOD, work::TARGET, work::HOST].map(|word| {
        let span = Span(memory.word(word));
        (span.offset()..span.end())
            .map(|at| memory.input8(at) as u8)
            .collect()
    });
    Some((answer.decision, seen))
}

/// What differs from the line; `None` where the model leaves it undecided.
fn difference(compiled: &Compiled, line: &Value, bytes: &[u8]) -> Option<Result<(), String>> {
    let (decision, seen) = decide(compiled, bytes)?;
    if decision.outcome == Outcome::Unsupported {
        return None;
    }
    let accepted = decision.outcome == Outcome::DirectResponse;
    if accepted != (line["outcome"] == "accepted") {
        return Some(Err(format!("{:?}", decision.outcome)));
    }
    if !accepted {
        // An unfinished head, and what is not HTTP/1 at all, have no status of a refusal.
        let status = line["status"].as_u64().filter(|status| *status != 408);
        let same = status.is_none() || status == decision.status.map(u64::from);
        return Some(same.then_some(()).ok_or(format!("{:?}", decision.status)));
    }
    for (field, seen) in ["method", "path", "authority"].into_iter().zip(seen) {
        let seen: String = seen.into_iter().map(char::from).collect();
        if line[field].as_str().is_some_and(|text| text != seen) {
            return Some(Err(format!("{field} {seen:?}")));
        }
    }
    Some(Ok(()))
}

/// Measured on Envoy 1.40: details `http1.https_url_on_plaintext_connection`.
#[rstest::rstest]
#[case::at_the_edge("{\"use_remote_address\": true}", false, Some(403))]
#[case::behind_a_hop(
    "{\"use_remote_address\": true, \"xff_num_trusted_hops\": 1}",
    false,
    None
)]
#[case::inside("{}", false, None)]
#[case::over_tls("{\"use_remote_address\": true}", true, None)]
fn a_target_that_says_https_needs_tls_at_the_edge(
    #[case] options: &str,
    #[case] tls: bool,
    #[case] status: Option<u32>,
) {
    let options: Value = serde_json::from_str(options).expect("JSON");
    let snapshot = snapshot(&options);
    let request: Request = serde_json::from_value(json!({
        "id": "r", "path": "https://h.test/a", "authority": "h.test", "listener": "l", "tls": tls,
    }))
    .expect("a request");
    for mut engine in [
        Box::new(Sim::default()) as Box<dyn Engine>,
        Box::new(Spec::default()),
    ] {
        engine.load(&snapshot).expect("it loads");
        let answer = engine.decide(&request, 0, 0, true).expect("it is decided");
        let refused = answer.decision.outcome == Outcome::BadRequest;
        assert_eq!(refused.then_some(403), status, "{}", engine.name());
        if refused {
            assert_eq!(answer.decision.status, status);
        }
    }
}

#[test]
fn heads_are_taken_as_envoy_takes_them() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/heads/heads.jsonl");
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let listeners: Vec<(Value, Compiled)> = listeners()
        .into_iter()
        .map(|(name, options)| (name, catch_all(&options)))
        .collect();
    let (mut compared, mut undecided) = (0, 0);
    let mut different = Vec::new();
    for line in text.lines() {
        let line: Value = serde_json::from_str(line).expect("the line is JSON");
        let of = |(name, _): &&(Value, Compiled)| *name == line["listener"];
        let Some((_, compiled)) = listeners.iter().find(of) else {
            continue;
        };
        let bytes = head(&line);
        match difference(compiled, &line, &bytes) {
            None => undecided += 1,
            Some(Ok(())) => compared += 1,
            Some(Err(what)) => {
                let start: String = bytes.escape_ascii().to_string().chars().take(200).collect();
                let id = line["id"].as_str().unwrap_or_default();
                let (outcome, status) = (&line["outcome"], &line["status"]);
                different.push(format!(
                    "{id}: {what}, envoy {outcome} {status}\n    {start}"
                ));
            }
        }
    }
    println!(
        "{compared} heads as Envoy takes them, {undecided} undecided, {} different",
        different.len()
    );
    assert!(compared > 3000, "{compared} heads compared only");
    let count = different.len();
    assert!(different.is_empty(), "{count}:\n{}", different.join("\n"));
}

/// A head as a traffic line, where writing that line gives the very bytes back; a value may hold a
/// CR here.
fn request(id: &str, head: &str) -> Option<Request> {
    let (lines, rest) = head.split_once("\r\n\r\n")?;
    let mut lines = lines.split("\r\n");
    let mut first = lines.next()?.split(' ');
    let mut request: Request =
        serde_json::from_value(json!({"id": id, "listener": "l"})).expect("a request");
    request.method = first.next()?.to_owned();
    request.path = first.next()?.to_owned();
    for (index, line) in lines.enumerate() {
        let (name, value) = line.split_once(": ")?;
        if index == 0 && name == "host" {
            request.authority = Some(value.to_owned());
        } else {
            request.headers.push((name.to_owned(), value.to_owned()));
        }
    }
    let breaks = head.replace("\r\n", "").contains('\n');
    let in_line = [&request.method, &request.path]
        .iter()
        .any(|text| text.contains('\r'));
    let same = request.head() == head.as_bytes();
    (rest.is_empty() && same && !breaks && !in_line).then_some(request)
}

/// What of a decision Envoy's verdict on a head tells.
fn verdict(engine: &mut dyn Engine, request: &Request) -> Option<(bool, Option<u32>)> {
    let answer = engine.decide(request, 0, 0, true).expect("it decides");
    let decision = answer.decision;
    match decision.outcome {
        Outcome::Unsupported => None,
        // The latter: CONNECT, which no prefix takes.
        Outcome::DirectResponse | Outcome::NoRoute => Some((true, None)),
        _ => Some((false, decision.status)),
    }
}

#[test]
fn heads_are_decoded_as_envoy_decodes_them() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/heads/heads.jsonl");
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let plain = snapshot(&json!({}));
    let (mut sim, mut spec) = (Sim::default(), Spec::default());
    sim.load(&plain).expect("it loads");
    spec.load(&plain).expect("it loads");
    let (mut compared, mut undecided, mut by_spec_alone) = (0, 0, 0);
    let mut different = Vec::new();
    for line in text.lines() {
        let line: Value = serde_json::from_str(line).expect("the line is JSON");
        let id = line["id"].as_str().expect("an id");
        let head = String::from_utf8(head(&line)).ok();
        let Some(request) = head.and_then(|head| request(id, &head)) else {
            continue;
        };
        if !line["listener"].is_null() {
            continue;
        }
        let of_spec = verdict(&mut spec, &request);
        let Some((accepted, status)) = verdict(&mut sim, &request) else {
            undecided += 1;
            by_spec_alone += usize::from(of_spec.is_some());
            continue;
        };
        compared += 1;
        let is_so = accepted == (line["outcome"] == "accepted")
            && (accepted || line["status"].as_u64() == status.map(u64::from));
        if !is_so || of_spec.is_some_and(|other| other != (accepted, status)) {
            different.push(format!(
                "{accepted} {status:?}, spec {of_spec:?}, envoy {line}"
            ));
        }
    }
    println!("{compared} heads compared, {undecided} undecided, {by_spec_alone} by sim alone");
    assert!(compared > 1500, "{compared} heads compared only");
    assert!(different.is_empty(), "{}", different.join("\n"));
}
