//! Header mutations, format strings and mirrors of routes, virtual hosts and route configurations.

use proptest::collection::vec;
use proptest::option::weighted;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};

use crate::matcher::set;
use crate::texts::{CLUSTER_HEADER, CLUSTERS};

/// Names of headers that mutations change: some that matchers and formats read, some that Envoy
/// joins, and some that it writes itself.
const NAMES: &[&str] = &[
    "x-a",
    "x-c",
    "X-New",
    "x-new",
    "accept",
    "location",
    "x-request-id",
    "x-envoy-original-path",
];

/// Formats whose values may be empty, missing, cut, or not known.
const FORMATS: &[&str] = &[
    "a",
    "",
    "%REQ(x-a)%",
    "%REQ(x-none?x-b)%",
    "%REQ(x-none)%",
    "a%REQ(x-a):1%b%%",
    "%REQUEST_HEADER(:path)%",
    "%PATH(NQ)%",
    "%PATH(WQ:ORIG)%",
    "%QUERY_PARAM(a)%",
    "%QUERY_PARAMS%",
    "%RESP(:status)%",
    "%RESPONSE_HEADER(location)%",
    "%RESPONSE_CODE%/%RESPONSE_CODE_DETAILS%/%RESPONSE_FLAGS%",
    "%UPSTREAM_CLUSTER%",
    "%UPSTREAM_HOST%",
    "%UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%",
    "%DOWNSTREAM_REMOTE_ADDRESS%",
    "%DOWNSTREAM_DIRECT_REMOTE_PORT%",
    "%DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT%",
    "%DOWNSTREAM_TLS_VERSION%",
    "%REQUESTED_SERVER_NAME%",
    "%FILTER_CHAIN_NAME%",
    "%UPSTREAM_REQUEST_ATTEMPT_COUNT%",
    "%METADATA(ROUTE:m:k)%",
    "%METADATA(VIRTUAL_HOST:m:o:k)%",
    "%START_TIME%",
];

/// The format of a value.
pub fn value_format() -> impl Strategy<Value = &'static str> {
    select(FORMATS)
}

/// Formats of paths and hosts.
const REWRITES: &[&str] = &[
    "/z",
    "%PATH(NQ)%/z",
    "%REQ(x-a)%",
    "%REQ(x-none)%",
    "/%QUERY_PARAM(a)%?z",
    "/%REQ(:authority)%",
    "%DOWNSTREAM_REMOTE_PORT%",
];

fn added() -> impl Strategy<Value = Value> {
    let action = select(
        &[
            "APPEND_IF_EXISTS_OR_ADD",
            "ADD_IF_ABSENT",
            "OVERWRITE_IF_EXISTS",
            "OVERWRITE_IF_EXISTS_OR_ADD",
        ][..],
    );
    let old = weighted(0.1, any::<bool>());
    let keeps = prop::bool::weighted(0.3);
    (select(NAMES), select(FORMATS), action, old, keeps).prop_map(
        |(name, format, action, old, keeps)| {
            let mut option = json!({"header": {"key": name, "value": format}});
            match old {
                Some(append) => set(&mut option, "append", json!(append)),
                None => set(&mut option, "append_action", json!(action)),
            }
            if keeps {
                set(&mut option, "keep_empty_value", json!(true));
            }
            option
        },
    )
}

/// What a filter, or a level that speaks to it, changes of headers.
pub fn changes() -> BoxedStrategy<Value> {
    let change = || {
        prop_oneof![
            3 => added().prop_map(|option| json!({"append": option})),
            1 => select(NAMES).prop_map(|name| json!({"remove": name})),
        ]
    };
    (vec(change(), 0..4), vec(change(), 0..4))
        .prop_map(|(request, response)| {
            json!({"mutations": {"request_mutations": request, "response_mutations": response}})
        })
        .boxed()
}

/// The fields of a level that changes headers; mostly none.
pub fn mutations() -> BoxedStrategy<Vec<(&'static str, Value)>> {
    let add = || vec(added(), 0..4).prop_map(Value::Array);
    let remove = || vec(select(NAMES), 0..2).prop_map(|names| json!(names));
    let some = (add(), remove(), add(), remove()).prop_map(|(add, remove, added, removed)| {
        vec![
            ("request_headers_to_add", add),
            ("request_headers_to_remove", remove),
            ("response_headers_to_add", added),
            ("response_headers_to_remove", removed),
        ]
    });
    weighted(0.15, some)
        .prop_map(Option::unwrap_or_default)
        .boxed()
}

/// Mirror policies; mostly none.
pub fn mirrors() -> BoxedStrategy<Vec<(&'static str, Value)>> {
    let cluster = prop_oneof![
        4 => select(CLUSTERS).prop_map(|name| json!({"cluster": name})),
        1 => Just(json!({"cluster": "missing"})),
        1 => Just(json!({"cluster_header": CLUSTER_HEADER})),
    ];
    let share = weighted(0.5, select(&[0u32, 30, 50, 100][..]));
    let policy = (cluster, share).prop_map(|(mut policy, share)| {
        if let Some(numerator) = share {
            let share = json!({"default_value": {"numerator": numerator}});
            set(&mut policy, "runtime_fraction", share);
        }
        policy
    });
    weighted(0.1, vec(policy, 1..3))
        .prop_map(|policies| {
            let policies = policies.map(|policies| ("request_mirror_policies", json!(policies)));
            policies.into_iter().collect()
        })
        .boxed()
}

/// Metadata that formats read; mostly none.
pub fn metadata() -> BoxedStrategy<Vec<(&'static str, Value)>> {
    weighted(0.1, select(&["text", ""][..]))
        .prop_map(|text| {
            let metadata = text.map(|text| {
                let found = json!({"filter_metadata": {"m": {"k": text, "o": {"k": 3}}}});
                ("metadata", found)
            });
            metadata.into_iter().collect()
        })
        .boxed()
}

/// A format that a path or a host is made of.
pub fn rewrite() -> impl Strategy<Value = &'static str> {
    select(REWRITES)
}
