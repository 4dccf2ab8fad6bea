//! What filters look at.

use std::net::SocketAddr;

use serde_json::Value;
use twinmesh_engine::Request;

use super::place::address;
use super::{list, terminal};
use crate::Tape;
use crate::texts::VALUES;

/// What the filters of the chain look at.
pub(super) fn filtered(chain: &Value, request: &mut Request, tape: &mut Tape<'_>) {
    if list(chain, "filters").len() > 1 && request.source.is_none() && tape.once_in(2) {
        request.source = Some(SocketAddr::new(address(&[], tape), 1000));
    }
    let filters = list(terminal(chain), "http_filters");
    // The router is one of them.
    if filters.len() < 2 {
        return;
    }
    let mut add = |name: &str, value: String| {
        request.headers.push((name.to_owned(), value));
    };
    if tape.once_in(3) {
        let values = [
            "10.0.0.1",
            "10.1.0.1",
            "x",
            "10.1.0.1, 127.0.0.1",
            "::FFFF:10.1.0.1",
            "::10.1.0.1",
            "fd00::1,",
            "",
        ];
        add("x-forwarded-for", tape.text(&values));
    }
    for (name, values) in [
        ("x-envoy-fault-abort-request", ["503", "200", "x", "600"]),
        (
            "x-envoy-fault-abort-request-percentage",
            ["0", "100", "20", "x"],
        ),
        ("x-envoy-fault-abort-grpc-request", ["5", "x", "0", "14"]),
        ("x-envoy-fault-delay-request", ["1", "0", "x", "+20"]),
        (
            "x-envoy-fault-delay-request-percentage",
            ["0", "100", "70", ""],
        ),
    ] {
        if tape.once_in(4) {
            add(name, tape.text(&values));
        }
    }
    if tape.once_in(3) {
        for (name, values) in [
            ("origin", VALUES),
            ("access-control-request-method", &["GET", "GET", ""][..]),
        ] {
            if !tape.once_in(6) {
                request.headers.push((name.to_owned(), tape.text(values)));
            }
        }
        request.method = tape.text(&["OPTIONS", "OPTIONS", "OPTIONS", "GET", "options"]);
    }
    if request.source.is_none() && tape.once_in(2) {
        request.source = Some(SocketAddr::new(address(&[], tape), 1000));
    }
}
