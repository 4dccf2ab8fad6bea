//! Requests that ask for an upgrade, and `upgrade_configs` that allow some.

use proptest::prelude::*;
use serde_json::{Value, json};
use twinmesh_engine::Request;

use crate::Tape;
use crate::matcher::set;

/// Upgrades that are asked for, of which configurations may allow some.
const ASKED: [&str; 7] = [
    "websocket",
    "WebSocket",
    "foo",
    "h2c",
    "",
    "h2c, foo",
    "foo ",
];

/// Has the request ask for an upgrade, or nearly so.
pub fn ask(request: &mut Request, tape: &mut Tape<'_>) {
    let connection = tape.text(&[
        "upgrade",
        "Upgrade",
        "keep-alive, upgrade",
        "upgrade ,x-a",
        "upgrade, x-forwarded-for",
        "upgrade;q=1",
    ]);
    let headers = [("connection", connection), ("upgrade", tape.text(&ASKED))];
    for (name, value) in headers {
        request.headers.push((name.to_owned(), value));
    }
}

/// Whether the request asks for an upgrade that a configuration may allow.
pub fn asks(request: &Request) -> bool {
    let has = |wanted: &str, holds: &dyn Fn(&str) -> bool| {
        let mut lines = request.headers.iter();
        lines.any(|(name, value)| name.eq_ignore_ascii_case(wanted) && holds(&value.to_lowercase()))
    };
    has("connection", &|value| {
        value.split(',').any(|it| it.trim() == "upgrade")
    }) && has("upgrade", &|value| {
        ["websocket", "foo"].contains(&value.trim())
    })
}

/// `upgrade_configs` of a connection manager, or none.
pub fn of_manager() -> BoxedStrategy<Option<Value>> {
    configs(Just(None).boxed())
}

/// Those of a route, which may end tunnels.
pub fn of_route() -> BoxedStrategy<Option<Value>> {
    let ends = prop_oneof![
        3 => Just(json!({})),
        1 => Just(json!({"allow_post": true})),
    ];
    configs(prop::option::weighted(0.5, ends).boxed())
}

/// `upgrade_configs`, or none; `ends` is the `connect_config` of one of the type CONNECT.
fn configs(ends: BoxedStrategy<Option<Value>>) -> BoxedStrategy<Option<Value>> {
    let enabled = prop::option::weighted(0.3, any::<bool>());
    let config = |kind: &'static str| {
        enabled.clone().prop_map(move |enabled| match enabled {
            Some(enabled) => json!({"upgrade_type": kind, "enabled": enabled}),
            None => json!({"upgrade_type": kind}),
        })
    };
    let both = (config("websocket"), config("FOO"));
    let upgrades = prop_oneof![
        1 => Just(Vec::new()),
        1 => config("WebSocket").prop_map(|one| vec![one]),
        1 => both.prop_map(|(one, other)| vec![one, other]),
    ];
    let connect = prop_oneof![config("CONNECT"), config("connect")];
    let connect = (connect, ends).prop_map(|(mut config, ends)| {
        if let Some(ends) = ends {
            set(&mut config, "connect_config", ends);
        }
        config
    });
    (upgrades, prop::option::weighted(0.8, connect))
        .prop_map(|(mut configs, connect)| {
            configs.extend(connect);
            (!configs.is_empty()).then_some(Value::Array(configs))
        })
        .boxed()
}
