//! HTTP filters in front of the router, and what routes say to them.

use proptest::collection::vec;
use proptest::option::weighted;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};

use crate::matcher::{header, set, string};
use crate::mutation::changes;
use crate::rbac::{Of, rbac};
use crate::texts::CLUSTERS;

const RBAC: &str = "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC";
const RBAC_PER_ROUTE: &str =
    "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBACPerRoute";
const FAULT: &str = "type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault";
const LIMIT: &str =
    "type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit";
const CORS: &str = "type.googleapis.com/envoy.extensions.filters.http.cors.v3.Cors";
const CORS_POLICY: &str = "type.googleapis.com/envoy.extensions.filters.http.cors.v3.CorsPolicy";
const HEALTH_CHECK: &str =
    "type.googleapis.com/envoy.extensions.filters.http.health_check.v3.HealthCheck";
const HEADER_MUTATION: &str =
    "type.googleapis.com/envoy.extensions.filters.http.header_mutation.v3.HeaderMutation";
const HEADER_MUTATION_PER_ROUTE: &str =
    "type.googleapis.com/envoy.extensions.filters.http.header_mutation.v3.HeaderMutationPerRoute";
const FILTER_CONFIG: &str = "type.googleapis.com/envoy.config.route.v3.FilterConfig";

/// The names that filters have.
const NAMES: [&str; 6] = ["rbac", "fault", "limit", "late", "cors", "cors"];

fn percentage() -> impl Strategy<Value = Value> {
    let numerator = select(&[0_u32, 50, 100, 100, 100][..]);
    let denominator = select(&["HUNDRED", "HUNDRED", "TEN_THOUSAND"][..]);
    (numerator, denominator).prop_map(|(share, of)| json!({"numerator": share, "denominator": of}))
}

/// The fields of a fault filter.
fn fault() -> BoxedStrategy<Value> {
    let delay = prop_oneof![
        2 => Just(json!({"fixed_delay": "0.001s"})),
        2 => Just(json!({"fixed_delay": "0.0015s"})),
        1 => Just(json!({"header_delay": {}})),
    ];
    let abort = prop_oneof![
        Just(json!({"http_status": 503})),
        Just(json!({"grpc_status": 14})),
        Just(json!({"header_abort": {}})),
    ];
    (
        weighted(0.9, (delay, percentage())),
        weighted(0.6, (abort, percentage())),
        weighted(0.1, select(CLUSTERS)),
        prop_oneof![4 => vec(header(), 0..1), 1 => vec(header(), 1..2)],
        weighted(0.3, 0..3_u32),
    )
        .prop_map(|(delay, abort, cluster, headers, limit)| {
            let mut fault = json!({});
            for (name, part) in [("delay", delay), ("abort", abort)] {
                if let Some((mut part, share)) = part {
                    set(&mut part, "percentage", share);
                    set(&mut fault, name, part);
                }
            }
            if let Some(cluster) = cluster {
                set(&mut fault, "upstream_cluster", json!(cluster));
            }
            if !headers.is_empty() {
                set(&mut fault, "headers", Value::Array(headers));
            }
            if let Some(limit) = limit {
                set(&mut fault, "max_active_faults", json!(limit));
            }
            fault
        })
        .boxed()
}

/// Actions, and an entry that they may make.
fn action() -> BoxedStrategy<(Value, Value)> {
    let value = || select(&["a", "b"][..]);
    let entry = |key: &str, value: &str| json!({"key": key, "value": value});
    let skipped = prop::bool::ANY;
    let name = select(&["x-a", "x-b", ":method"][..]);
    prop_oneof![
        2 => (value(), value()).prop_map(move |(made, wanted)| {
            (json!({"generic_key": {"descriptor_value": made}}), entry("generic_key", wanted))
        }),
        3 => (name, skipped, select(&["a", "b", "GET"][..])).prop_map(move |(name, skipped, wanted)| {
            let action = json!({"header_name": name, "descriptor_key": "h", "skip_if_absent": skipped});
            (json!({"request_headers": action}), entry("h", wanted))
        }),
        2 => (header(), value(), prop::bool::ANY).prop_map(move |(header, value, expects)| {
            let action = json!({"descriptor_value": value, "expect_match": expects, "headers": [header]});
            (json!({"header_value_match": action}), entry("header_match", "a"))
        }),
        1 => select(CLUSTERS).prop_map(move |name| {
            (json!({"destination_cluster": {}}), entry("destination_cluster", name))
        }),
        1 => Just((json!({"remote_address": {}}), entry("remote_address", "127.0.0.1"))),
        1 => select(&[0_u32, 8, 32][..]).prop_map(move |length| {
            let action = json!({"masked_remote_address": {"v4_prefix_mask_len": length}});
            (action, entry("masked_remote_address", "127.0.0.0/8"))
        }),
    ]
    .boxed()
}

/// Rate limits of a route, a virtual host or a filter.
pub fn rate_limits() -> BoxedStrategy<Value> {
    let limit = (vec(action(), 1..3), weighted(0.2, 0..2_u32));
    let limit = limit.prop_map(|(actions, stage)| {
        let actions: Vec<Value> = actions.into_iter().map(|(action, _)| action).collect();
        let mut limit = json!({"actions": actions});
        if let Some(stage) = stage {
            set(&mut limit, "stage", json!(stage));
        }
        limit
    });
    vec(limit, 1..3).prop_map(Value::from).boxed()
}

/// What a local rate limit filter says of descriptors.
fn descriptors() -> BoxedStrategy<Value> {
    let descriptor = (vec(action(), 1..3), 0..3_u32, select(&[1_u32, 5000][..]));
    let own = weighted(0.4, vec(vec(action(), 1..3), 1..3));
    let rule = select(&["OVERRIDE", "INCLUDE", "IGNORE"][..]);
    (vec(descriptor, 1..4), own, rule, prop::bool::ANY)
        .prop_map(|(descriptors, own, rule, always)| {
            let mut known: Vec<Value> = Vec::new();
            let mut all = Vec::new();
            for (entries, tokens, per_fill) in descriptors {
                let entries: Vec<Value> = entries.into_iter().map(|(_, entry)| entry).collect();
                let entries = Value::from(entries);
                // Envoy refuses one that stands there twice.
                if known.contains(&entries) {
                    continue;
                }
                known.push(entries.clone());
                let bucket = json!({"max_tokens": tokens, "tokens_per_fill": per_fill,
                    "fill_interval": "0.05s"});
                all.push(json!({"entries": entries, "token_bucket": bucket}));
            }
            let mut fields = json!({"descriptors": all, "vh_rate_limits": rule,
                "always_consume_default_token_bucket": always});
            if let Some(own) = own {
                let limits = own.into_iter().map(|actions| {
                    let actions: Vec<Value> =
                        actions.into_iter().map(|(action, _)| action).collect();
                    json!({"actions": actions})
                });
                set(
                    &mut fields,
                    "rate_limits",
                    Value::from(limits.collect::<Vec<_>>()),
                );
            }
            fields
        })
        .boxed()
}

/// The fields of a local rate limit filter. Requests come a few microseconds apart, so that
/// buckets fill between them.
fn limit() -> impl Strategy<Value = Value> {
    let share = || {
        select(&[100_u32, 100, 100, 50, 0][..])
            .prop_map(|share| json!({"default_value": {"numerator": share}}))
    };
    let status = weighted(0.3, select(&[200, 404, 503][..]));
    (
        0..4_u32,
        select(&[1_u32, 5000, 10_000, 40_000][..]),
        share(),
        share(),
        status,
        weighted(0.8, descriptors()),
    )
        .prop_map(
            |(tokens, per_fill, enabled, enforced, status, descriptors)| {
                let mut limit = json!({
                    "stat_prefix": "s",
                    "token_bucket": {
                        "max_tokens": tokens, "tokens_per_fill": per_fill, "fill_interval": "0.05s",
                    },
                    "filter_enabled": enabled,
                    "filter_enforced": enforced,
                });
                if let Some(status) = status {
                    set(&mut limit, "status", json!({"code": status}));
                }
                for (field, value) in descriptors.iter().filter_map(Value::as_object).flatten() {
                    set(&mut limit, field, value.clone());
                }
                limit
            },
        )
}

/// A CORS policy.
fn cors() -> BoxedStrategy<Value> {
    let origins = vec(string(), 0..3);
    let enabled = weighted(0.3, select(&[0_u32, 50, 100][..]));
    let forwards = weighted(0.5, any::<bool>());
    let all = (origins, enabled, forwards);
    all.prop_map(|(origins, enabled, forwards)| {
        let mut policy = json!({"allow_origin_string_match": origins});
        if let Some(share) = enabled {
            let enabled = json!({"default_value": {"numerator": share}});
            set(&mut policy, "filter_enabled", enabled);
        }
        if let Some(forwards) = forwards {
            set(
                &mut policy,
                "forward_not_matching_preflights",
                json!(forwards),
            );
        }
        policy
    })
    .boxed()
}

/// The fields of a health check filter.
fn health_check() -> BoxedStrategy<Value> {
    let least = weighted(
        0.6,
        (select(CLUSTERS), select(&[0.0, 33.3, 50.0, 100.0][..])),
    );
    let all = (vec(header(), 1..3), least, prop::bool::weighted(0.2));
    all.prop_map(|(headers, least, passes)| {
        let mut check = json!({"pass_through_mode": passes, "headers": headers});
        if let Some((cluster, least)) = least {
            let least = json!({cluster: {"value": least}});
            set(&mut check, "cluster_min_healthy_percentages", least);
        }
        check
    })
    .boxed()
}

fn typed(kind: &str, mut config: Value) -> Value {
    set(&mut config, "@type", json!(kind));
    config
}

/// The filters of a connection manager, without the router; mostly none.
pub fn http_filters() -> BoxedStrategy<Vec<Value>> {
    let filter = (
        prop_oneof![
            4 => rbac(Of::Requests).prop_map(|config| ("rbac", typed(RBAC, config))),
            5 => fault().prop_map(|config| ("fault", typed(FAULT, config))),
            6 => limit().prop_map(|config| ("limit", typed(LIMIT, config))),
            1 => rbac(Of::Requests).prop_map(|config| ("late", typed(RBAC, config))),
            3 => Just(("cors", json!({"@type": CORS}))),
            1 => health_check().prop_map(|config| ("health", typed(HEALTH_CHECK, config))),
        ],
        prop::bool::weighted(0.2),
    )
        .prop_map(|((name, config), disabled)| {
            let mut filter = json!({"name": name, "typed_config": config});
            if disabled {
                set(&mut filter, "disabled", json!(true));
            }
            filter
        });
    let several = prop_oneof![4 => vec(filter.clone(), 0..1), 1 => vec(filter, 1..3)];
    let change = (
        select(&["change", "other"][..]),
        changes(),
        any::<bool>(),
        prop::bool::weighted(0.2),
    )
        .prop_map(|(name, mut config, wins, disabled)| {
            set(
                &mut config,
                "most_specific_header_mutations_wins",
                json!(wins),
            );
            let config = typed(HEADER_MUTATION, config);
            json!({"name": name, "typed_config": config, "disabled": disabled})
        });
    let changing = weighted(0.2, vec(change, 1..3));
    (several, changing)
        .prop_map(|(mut filters, changing)| {
            filters.extend(changing.into_iter().flatten());
            // Of two with one name neither would be decided.
            let mut taken = std::collections::HashSet::new();
            filters.retain(|filter| {
                taken.insert(filter.get("name").cloned().map(|it| it.to_string()))
            });
            filters
        })
        .boxed()
}

/// `typed_per_filter_config`.
pub fn per_filter() -> BoxedStrategy<Option<Value>> {
    let said = prop_oneof![
        2 => rbac(Of::Requests).prop_map(|rbac| {
            typed(RBAC_PER_ROUTE, json!({"rbac": rbac}))
        }),
        1 => Just(json!({"@type": RBAC_PER_ROUTE})),
        3 => fault().prop_map(|fault| typed(FAULT, fault)),
        1 => limit().prop_map(|limit| typed(LIMIT, limit)),
        4 => cors().prop_map(|policy| typed(CORS_POLICY, policy)),
        1 => Just(json!({"@type": FILTER_CONFIG, "disabled": true})),
        1 => Just(json!({"@type": FILTER_CONFIG, "config": {}})),
    ];
    let to_others = (select(&NAMES[..]), said).prop_map(|(name, said)| json!({name: said}));
    let change = prop_oneof![
        5 => changes().prop_map(|config| typed(HEADER_MUTATION_PER_ROUTE, config)),
        1 => Just(json!({"@type": FILTER_CONFIG, "disabled": true})),
        1 => Just(json!({"@type": FILTER_CONFIG, "config": {}})),
    ];
    let to_changing =
        (select(&["change", "other"][..]), change).prop_map(|(name, said)| json!({name: said}));
    weighted(0.16, prop_oneof![3 => to_others, 1 => to_changing]).boxed()
}
