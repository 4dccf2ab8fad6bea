//! RBAC's rules, and the network filter that goes by them.

use proptest::collection::vec;
use proptest::option::weighted;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Map, Value, json};

use crate::listener::{PORTS, RANGES, SERVER_NAMES};
use crate::matcher::{header, set};
use crate::rbac_matcher;
use crate::texts::PATHS;

/// The type of the network filter's configuration.
pub const NETWORK_RBAC: &str = "type.googleapis.com/envoy.extensions.filters.network.rbac.v3.RBAC";

/// What rules are asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Of {
    /// Requests, by an HTTP filter.
    Requests,
    /// Connections, by a network filter.
    Connections,
}

fn range() -> impl Strategy<Value = Value> {
    select(RANGES)
        .prop_map(|(prefix, length)| json!({"address_prefix": prefix, "prefix_len": length}))
}

fn path() -> impl Strategy<Value = Value> {
    (select(PATHS), select(&["exact", "prefix"][..]))
        .prop_map(|(text, kind)| json!({"url_path": {"path": {kind: text}}}))
}

/// A condition by a header, or by the path where those are refused.
fn by_header(of: Of) -> BoxedStrategy<Value> {
    match of {
        Of::Requests => header()
            .prop_map(|matcher| json!({"header": matcher}))
            .boxed(),
        Of::Connections => path().boxed(),
    }
}

fn permission(of: Of) -> BoxedStrategy<Value> {
    let leaf = prop_oneof![
        2 => Just(json!({"any": true})),
        4 => by_header(of),
        4 => path(),
        1 => range().prop_map(|range| json!({"destination_ip": range})),
        1 => select(PORTS).prop_map(|port| json!({"destination_port": port})),
        1 => select(PORTS)
            .prop_map(|port| json!({"destination_port_range": {"start": port, "end": port + 1}})),
        1 => select(SERVER_NAMES)
            .prop_map(|name| json!({"requested_server_name": {"suffix": name.trim_start_matches('*')}})),
    ];
    leaf.prop_recursive(3, 8, 3, |inner| {
        prop_oneof![
            inner.clone().prop_map(|rule| json!({"not_rule": rule})),
            vec(inner.clone(), 1..3).prop_map(|rules| json!({"and_rules": {"rules": rules}})),
            vec(inner, 1..3).prop_map(|rules| json!({"or_rules": {"rules": rules}})),
        ]
    })
    .boxed()
}

fn principal(of: Of) -> BoxedStrategy<Value> {
    let leaf = prop_oneof![
        5 => Just(json!({"any": true})),
        3 => by_header(of),
        1 => path(),
        1 => range().prop_map(|range| json!({"direct_remote_ip": range})),
        1 => range().prop_map(|range| json!({"remote_ip": range})),
        1 => Just(json!({"authenticated": {}})),
    ];
    leaf.prop_recursive(2, 6, 3, |inner| {
        prop_oneof![
            inner.clone().prop_map(|id| json!({"not_id": id})),
            vec(inner.clone(), 1..3).prop_map(|ids| json!({"and_ids": {"ids": ids}})),
            vec(inner, 1..3).prop_map(|ids| json!({"or_ids": {"ids": ids}})),
        ]
    })
    .boxed()
}

/// The fields of an RBAC filter.
pub fn rbac(of: Of) -> BoxedStrategy<Value> {
    let policy = (vec(permission(of), 1..3), vec(principal(of), 1..3)).prop_map(
        |(permissions, principals)| json!({"permissions": permissions, "principals": principals}),
    );
    let action = select(&["ALLOW", "DENY", "DENY", "LOG"][..]);
    let matcher = weighted(0.5, rbac_matcher::matcher(of));
    let (both, opens) = (prop::bool::weighted(0.2), prop::bool::weighted(0.4));
    (action, vec(policy, 0..3), matcher, (both, opens))
        .prop_map(|(action, policies, matcher, (both, opens))| {
            let policies: Map<String, Value> = policies
                .into_iter()
                .enumerate()
                .map(|(index, policy)| (format!("p{index}"), policy))
                .collect();
            let rules = json!({"action": action, "policies": policies});
            let mut config = match matcher {
                Some(matcher) if both => json!({"rules": rules, "matcher": matcher}),
                Some(matcher) => json!({"matcher": matcher}),
                None => json!({"rules": rules}),
            };
            if opens {
                // What is refused reaches nothing else.
                rbac_matcher::open(&mut config);
            }
            config
        })
        .boxed()
}

/// Network filters of a chain; mostly none.
pub fn network_filters() -> BoxedStrategy<Vec<Value>> {
    let config = (
        rbac(Of::Connections),
        weighted(0.2, rbac(Of::Connections)),
        (any::<bool>(), prop::bool::weighted(0.55)),
    );
    let filter = config.prop_map(|(mut config, shadow, (always, opens))| {
        if opens {
            // What is closed reaches nothing else.
            let everybody = json!({"permissions": [{"any": true}], "principals": [{"any": true}]});
            if let Some(rules) = config.get_mut("rules") {
                set(rules, "action", json!("ALLOW"));
                if let Some(policies) = rules.get_mut("policies") {
                    set(policies, "p9", everybody);
                }
            }
            rbac_matcher::open(&mut config);
        }
        for (part, name) in [("rules", "shadow_rules"), ("matcher", "shadow_matcher")] {
            if let Some(part) = shadow.as_ref().and_then(|shadow| shadow.get(part)) {
                set(&mut config, name, part.clone());
            }
        }
        if always {
            set(&mut config, "enforcement_type", json!("CONTINUOUS"));
        }
        set(&mut config, "@type", json!(NETWORK_RBAC));
        set(&mut config, "stat_prefix", json!("s"));
        json!({"name": "rbac", "typed_config": config})
    });
    weighted(0.07, vec(filter, 1..3))
        .prop_map(Option::unwrap_or_default)
        .boxed()
}
