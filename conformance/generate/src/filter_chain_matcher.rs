//! Matcher trees of listeners, which choose a filter chain by name.

use std::net::SocketAddr;

use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};
use twinmesh_engine::Request;

use crate::Tape;
use crate::matcher_tree::tree;
use crate::rbac_matcher::{
    ADDRESSES, CERTIFICATES, PORTS, SERVER_NAMES, Texts, by_range, by_text, in_ranges, of_text,
};

const NAME: &str = "type.googleapis.com/google.protobuf.StringValue";

/// Inputs, and texts that they may say or that stand right beside.
const TEXTS: Texts = &[
    (
        ADDRESSES,
        &[
            "10.1.0.1",
            "10.1.0.2",
            "127.0.0.1",
            "fd00::1",
            "10.",
            "127",
            "::1",
        ],
    ),
    (PORTS, &["80", "81", "8080", "8", "0", "1000"]),
    (PORTS, &["80", "81", "1001", "1"]),
    (SERVER_NAMES, &["a.com", "b.a.com", "A.com", "x.a.com", "b"]),
    (
        &["network.v3.TransportProtocolInput"],
        &["tls", "raw_buffer", "raw", ""],
    ),
    (
        &["network.v3.ApplicationProtocolInput"],
        &[
            "'h2'",
            "'http/1.1'",
            "'h2','http/1.1'",
            "h2",
            "'http/1.1',",
            "'",
        ],
    ),
    (&["network.v3.SourceTypeInput"], &["local", "l", "external"]),
];
/// The same with those that are not there before there is a filter chain.
const LACKING: Texts = &[(CERTIFICATES, &["a", "b", ""])];

/// A matcher that leads to the filter chains `f0` and on, or seldom to none.
pub fn matcher() -> BoxedStrategy<Value> {
    let names = prop_oneof![
        12 => select(&["f0", "f1"][..]),
        1 => Just("f2"),
        1 => Just("none"),
    ];
    let action = names.prop_map(|name| {
        let config = json!({"@type": NAME, "value": name});
        json!({"action": {"name": "a", "typed_config": config}})
    });
    let single = prop_oneof![8 => of_text(TEXTS), 4 => in_ranges(), 1 => of_text(LACKING)];
    let keyed = prop_oneof![6 => by_text(TEXTS), 6 => by_range(), 1 => by_text(LACKING)];
    tree(action.boxed(), single.boxed(), keyed.boxed())
}

/// Has the request say what trees look at, mostly.
pub fn connect(request: &mut Request, tape: &mut Tape<'_>) {
    let mut end = |texts: &[&str]| -> Option<SocketAddr> { tape.text(texts).parse().ok() };
    let from = end(&[
        "10.1.0.1:1000",
        "10.1.0.2:1001",
        "127.0.0.1:1000",
        "[fd00::1]:80",
        "11.0.0.1:999",
        "10.0.0.9:8080",
        "[::1]:1001",
        "127.0.0.2:80",
        "10.1.0.1:1001",
        "-",
    ]);
    let to = end(&[
        "10.1.0.1:80",
        "10.1.0.2:81",
        "127.0.0.1:80",
        "[fd00::1]:81",
        "[fd00::2]:81",
        "10.0.0.9:8080",
        "127.0.0.1:8080",
        "10.1.0.1:8080",
        "11.0.0.1:80",
    ]);
    request.source = request.source.or(from);
    request.destination = request.destination.or(to);
    if tape.once_in(3) {
        request.sni = Some(tape.text(&["a.com", "b.a.com", "A.com", "x.b.a.com"]));
    }
    if tape.once_in(3) {
        request.alpn = Some(tape.text(&["h2", "http/1.1", "h2,http/1.1", "h3"]));
    }
}
