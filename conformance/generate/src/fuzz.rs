//! Bodies of the fuzz targets: each takes bytes, and panics where something is wrong.

use std::sync::Arc;

use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde_json::json;
use twinmesh_compile::{Compiled, Input, compile};
use twinmesh_engine::Outcome;
use twinmesh_model::layout::{input, work};
use twinmesh_model::{Machine, Span};
use twinmesh_sim::Memory;
use twinmesh_xds::ReadOptions;

use crate::{Tape, bootstrap, read, tapes, traffic};

/// The tables of [`catch_all`].
pub type CatchAll = Compiled;

/// A snapshot whose only route takes every request.
///
/// # Panics
/// It does not read or compile.
pub fn catch_all() -> CatchAll {
    let snapshot = json!({
        "name": "r",
        "virtual_hosts": [{"name": "v", "domains": ["*"], "routes": [
            {"match": {"prefix": "/"}, "direct_response": {"status": 200}},
        ]}],
        "@type": "type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
    });
    let text = json!({"resources": [snapshot]}).to_string();
    let options = ReadOptions::default();
    let snapshot = twinmesh_xds::read_bytes("catch-all.json", text.as_bytes(), &options);
    compile(&Arc::new(snapshot.expect("it reads"))).expect("it compiles")
}

/// What the model takes as a request head, httparse reads to the same method and target. Returns
/// whether the model took it.
///
/// # Panics
/// They part.
pub fn head(compiled: &CatchAll, bytes: &[u8]) -> bool {
    let mut memory = Memory::new(compiled);
    if bytes.len() as u64 > memory.head_bytes() {
        return false;
    }
    let request = traffic::plain(&mut Tape::new(&[]));
    let prepared = compiled.prepare(&request, 0, 1, &mut memory);
    prepared.expect("a plain request can be laid out");
    memory.set_bytes(input::HEAD, bytes);
    Input::set_word(&mut memory, work::HEAD_LENGTH, bytes.len() as u64);
    twinmesh_model::decide(&mut memory);
    let answer = compiled.answer(&request, &memory.left(), None);
    if answer.decision.outcome != Outcome::DirectResponse {
        return false;
    }
    // Before the request line Envoy takes CRs alone, between its tokens tabs and CRs too, and blanks
    // behind the last, and httparse does not.
    let start = bytes
        .iter()
        .position(|byte| !b"\r\n".contains(byte))
        .unwrap_or(0);
    let line = bytes[start..]
        .split(|byte| *byte == b'\n')
        .next()
        .unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if line.ends_with(b" ") || line.iter().any(|byte| b"\t\r".contains(byte)) {
        return true;
    }
    let mut headers = [httparse::EMPTY_HEADER; 128];
    let mut parsed = httparse::Request::new(&mut headers);
    let read = httparse::ParserConfig::default()
        .allow_multiple_spaces_in_request_line_delimiters(true)
        .parse_request(&mut parsed, &bytes[start..]);
    let shown = String::from_utf8_lossy(bytes);
    assert!(
        matches!(read, Ok(httparse::Status::Complete(_))),
        "httparse: {read:?} of {shown:?}"
    );
    let text = |word| {
        let span = Span(memory.word(word));
        let bytes = (span.offset()..span.offset() + span.length())
            .map(|at| memory.input8(at) as u8)
            .collect::<Vec<u8>>();
        String::from_utf8_lossy(&bytes).into_owned()
    };
    assert_eq!(
        parsed.method,
        Some(text(work::METHOD).as_str()),
        "{shown:?}"
    );
    // The absolute form is taken apart: the target that routes see is its end.
    let target = parsed.path.unwrap_or_default();
    let seen = text(work::TARGET);
    let same =
        target == seen || (!target.starts_with('/') && (target.ends_with(&seen) || seen == "/"));
    assert!(same, "{seen:?} of {shown:?}");
    let hosts = parsed
        .headers
        .iter()
        .filter(|header| header.name.eq_ignore_ascii_case("host"));
    // A target of the absolute form names the host itself.
    let hosts = hosts.count();
    assert!(
        hosts == 1 || (hosts == 0 && !target.starts_with('/')),
        "{shown:?}"
    );
    true
}

/// Any bytes are read, and what reads compiles, or is refused, without a panic; the tables say of
/// what reads how much there is of it. Returns whether the bytes were read.
///
/// # Panics
/// The tables do not fit the snapshot.
pub fn snapshot(bytes: &[u8]) -> bool {
    let options = ReadOptions::default();
    let Ok(snapshot) = twinmesh_xds::read_bytes("fuzz", bytes, &options) else {
        return false;
    };
    let snapshot = Arc::new(snapshot);
    if let Ok(compiled) = compile(&snapshot) {
        let sizes = compiled.sizes;
        assert_eq!(sizes.listeners, snapshot.listeners.len() as u64);
        assert_eq!(sizes.clusters, snapshot.clusters.len() as u64);
        assert_eq!(sizes.policy_bytes, compiled.policy.len() as u64 * 8);
        assert_eq!(sizes.state_bytes, compiled.state.len() as u64 * 8);
    }
    true
}

/// A snapshot generated from these bytes (the first 32 seed the generator) compiles, and every request generated with it is decided
/// without a panic, the same twice over. Returns how many requests were decided.
///
/// # Panics
/// It does not compile, a request cannot be laid out, or it is decided in two ways.
pub fn tables(bytes: &[u8]) -> usize {
    let mut seed = [0; 32];
    seed.iter_mut()
        .zip(bytes)
        .for_each(|(to, from)| *to = *from);
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &seed);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let Ok(tree) = (bootstrap(), tapes(8)).new_tree(&mut runner) else {
        return 0;
    };
    let (bootstrap, tapes) = tree.current();
    let Ok(snapshot) = read(&bootstrap) else {
        return 0;
    };
    let compiled = compile(&Arc::new(snapshot)).expect("a generated snapshot compiles");
    let requests = traffic::requests(&bootstrap, &tapes);
    let decide = || -> Vec<_> {
        let mut memory = Memory::new(&compiled);
        let decide = |(sequence, request)| {
            let prepared = compiled.prepare(request, 7, sequence, &mut memory);
            prepared.expect("a generated request can be laid out");
            twinmesh_model::decide(&mut memory);
            compiled.answer(request, &memory.left(), None).decision
        };
        (1..).zip(&requests).map(decide).collect()
    };
    assert_eq!(decide(), decide(), "{bootstrap}");
    requests.len()
}
