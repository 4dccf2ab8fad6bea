//! Clusters: policies, weights, health, priorities, panic thresholds.

use proptest::collection::vec;
use proptest::option::weighted;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};

use crate::balancing::{Spread, labels, metadata, policy as assignment_policy, spread};
use crate::matcher::{object, set};
use crate::texts::{CLUSTERS, OVERRIDE_HEADER};

const HEALTH: &[&str] = &[
    "HEALTHY",
    "UNHEALTHY",
    "DRAINING",
    "TIMEOUT",
    "DEGRADED",
    "UNKNOWN",
];

/// What comes before the number in an endpoint's address: IPv6 ones are not as Envoy writes them.
const NETWORKS: [&str; 3] = ["10.9.0.", "FD00:0:0::", "::10.9.0."];

/// The start of the address, weight, health, whether a key for hashing stands in the metadata, and labels.
type Endpoint = (
    &'static str,
    Option<u32>,
    Option<&'static str>,
    bool,
    Option<Value>,
);

fn endpoint(unhealthy: f64) -> impl Strategy<Value = Endpoint> {
    let [ipv4, ipv6, compatible] = NETWORKS;
    (
        prop_oneof![30 => Just(ipv4), 2 => Just(ipv6), 1 => Just(compatible)],
        weighted(0.3, 1..5u32),
        weighted(unhealthy, select(HEALTH)),
        prop::bool::weighted(0.1),
        weighted(0.6, labels()),
    )
}

/// The endpoints of a locality at a priority, and its weight.
type Locality = (u32, u32, Vec<Endpoint>, Option<u32>);

fn localities() -> BoxedStrategy<Vec<Locality>> {
    let of = |unhealthy| {
        let endpoints = vec(endpoint(unhealthy), 0..5);
        let weight = weighted(0.7, 1..4u32);
        let priority = prop_oneof![2 => Just(0), 1 => 0..3u32];
        vec((priority, 0..3u32, endpoints, weight), 1..5)
    };
    prop_oneof![2 => of(0.05), 1 => of(0.4), 2 => of(0.8)].boxed()
}

fn assignment(name: &str, localities: &[Locality], policy: &Value) -> Value {
    let mut next = 0;
    // Envoy wants the priorities without a gap.
    let mut priorities: Vec<u32> = localities.iter().map(|(priority, ..)| *priority).collect();
    priorities.sort_unstable();
    priorities.dedup();
    let endpoints: Vec<Value> = localities
        .iter()
        .map(|(priority, zone, endpoints, weight)| {
            let endpoints: Vec<Value> = endpoints
                .iter()
                .map(|(network, weight, health, has_key, labels)| {
                    next += 1;
                    let ip = ("address", json!(format!("{network}{next}")));
                    let socket = object([ip, ("port_value", json!(80))]);
                    let address = object([("socket_address", socket)]);
                    let mut endpoint = object([("endpoint", object([("address", address)]))]);
                    if let Some(weight) = weight {
                        set(&mut endpoint, "load_balancing_weight", json!(weight));
                    }
                    let mut known = labels.clone().unwrap_or(json!({}));
                    if *has_key {
                        set(&mut known, "hash_key", json!(format!("key-{next}")));
                    }
                    if *has_key || labels.is_some() {
                        set(&mut endpoint, "metadata", metadata(known));
                    }
                    if let Some(health) = health {
                        set(&mut endpoint, "health_status", json!(health));
                    }
                    endpoint
                })
                .collect();
            let priority = priorities.iter().position(|known| known == priority);
            let mut locality = object([
                ("priority", json!(priority.unwrap_or(0))),
                ("lb_endpoints", Value::Array(endpoints)),
            ]);
            if let Some(weight) = weight {
                set(&mut locality, "load_balancing_weight", json!(weight));
            }
            if *zone > 0 {
                let zone = format!("z{zone}");
                let place = json!({"region": "r", "zone": zone});
                set(&mut locality, "locality", place);
            }
            locality
        })
        .collect();
    object([
        ("cluster_name", json!(name)),
        ("endpoints", Value::Array(endpoints)),
        ("policy", policy.clone()),
    ])
}

const PACKAGE: &str = "type.googleapis.com/envoy.extensions.load_balancing_policies";

/// A balancer by `load_balancing_policy`.
fn extension(kind: &str, mut config: Value) -> Value {
    set(&mut config, "@type", json!(format!("{PACKAGE}.{kind}")));
    let extension = json!({"name": kind, "typed_config": config});
    json!({"load_balancing_policy": {"policies": [{"typed_extension_config": extension}]}})
}

const REPORTING: &str = "client_side_weighted_round_robin.v3.ClientSideWeightedRoundRobin";

/// The balancer that weighs endpoints by what they report.
fn reporting() -> Value {
    extension(REPORTING, json!({}))
}

/// What names endpoints of a cluster.
const OVERRIDE_SOURCES: &[&[&str]] = &[&[], &[OVERRIDE_HEADER], &["x-other", OVERRIDE_HEADER]];

/// Puts headers that name endpoints before the cluster's balancer, where an extension is that, and takes
/// the weights away where it does not know them.
fn override_host(cluster: &mut Value, headers: &[&str]) {
    let Some(policy) = cluster.get("load_balancing_policy").cloned() else {
        return;
    };
    if policy.to_string().contains(REPORTING) {
        let groups = cluster.pointer_mut("/load_assignment/endpoints");
        let groups = groups.and_then(Value::as_array_mut).into_iter().flatten();
        let endpoints = groups.filter_map(|group| group.get_mut("lb_endpoints")?.as_array_mut());
        for endpoint in endpoints.flatten().filter_map(Value::as_object_mut) {
            endpoint.remove("load_balancing_weight");
        }
    }
    if headers.is_empty() {
        return;
    }
    let sources = headers.iter().map(|name| json!({"header": name}));
    let sources: Vec<Value> = sources.collect();
    let config = json!({"override_host_sources": sources, "fallback_policy": policy});
    let new = extension("override_host.v3.OverrideHost", config);
    set(
        cluster,
        "load_balancing_policy",
        new["load_balancing_policy"].clone(),
    );
}

/// Rings: sizes that fit, that are cut off, and that make weights fall between hashes.
fn ring() -> impl Strategy<Value = Value> {
    let sizes = (
        weighted(0.8, 1..40u64),
        weighted(0.4, 0..40u64),
        prop::bool::weighted(0.2),
    );
    sizes.prop_map(|(minimum, more, murmur)| {
        let mut config = json!({});
        if let Some(minimum) = minimum {
            set(&mut config, "minimum_ring_size", json!(minimum));
        }
        if let Some(more) = more {
            let maximum = minimum.unwrap_or(1024) + more;
            set(&mut config, "maximum_ring_size", json!(maximum));
        }
        if murmur {
            set(&mut config, "hash_function", json!("MURMUR_HASH_2"));
        }
        config
    })
}

fn table() -> impl Strategy<Value = Value> {
    select(&[2u64, 7, 31, 251][..]).prop_map(|size| json!({"table_size": size}))
}

/// What bounds the load of a hash balancer's endpoints.
fn bound() -> impl Strategy<Value = Option<Value>> {
    let factor = select(&[100, 120, 300][..]);
    weighted(
        0.4,
        factor.prop_map(|factor| json!({"hash_balance_factor": factor})),
    )
}

/// With it where `lb_policy` stands.
fn bounded(mut fields: Value, bound: Option<Value>) -> Value {
    if let Some(bound) = bound {
        let common = json!({"consistent_hashing_lb_config": bound});
        set(&mut fields, "common_lb_config", common);
    }
    fields
}

/// With it in an extension.
fn bounded_extension(kind: &str, mut config: Value, bound: Option<Value>) -> Value {
    if let Some(bound) = bound {
        set(&mut config, "consistent_hashing_lb_config", bound);
    }
    extension(kind, config)
}

/// The fields of a cluster that say how its endpoints are chosen by hash or at random.
fn in_userspace() -> impl Strategy<Value = Value> {
    prop_oneof![
        2 => (ring(), bound()).prop_map(|(config, bound)| {
            bounded(json!({"lb_policy": "RING_HASH", "ring_hash_lb_config": config}), bound)
        }),
        2 => (table(), bound()).prop_map(|(config, bound)| {
            bounded(json!({"lb_policy": "MAGLEV", "maglev_lb_config": config}), bound)
        }),
        1 => (ring(), bound())
            .prop_map(|(config, bound)| bounded_extension("ring_hash.v3.RingHash", config, bound)),
        1 => (table(), bound())
            .prop_map(|(config, bound)| bounded_extension("maglev.v3.Maglev", config, bound)),
        2 => Just(json!({"lb_policy": "RANDOM"})),
        1 => Just(extension("random.v3.Random", json!({}))),
        1 => Just(extension("round_robin.v3.RoundRobin", json!({}))),
        1 => Just(reporting()),
        1 => Just(extension("wrr_locality.v3.WrrLocality", {
            json!({"endpoint_picking_policy": reporting()["load_balancing_policy"]})
        })),
        2 => Just(extension("least_request.v3.LeastRequest", json!({"selection_method": "FULL_SCAN"}))),
    ]
}

/// The fields of a cluster that say how its endpoints are chosen.
fn policy() -> BoxedStrategy<Value> {
    let least_request = (
        weighted(0.5, 2..4u32),
        weighted(0.5, select(&[0.0, 0.5, 1.0, 2.0][..])),
    );
    let least_request = least_request.prop_map(|(choices, bias)| {
        let mut config = json!({});
        if let Some(choices) = choices {
            set(&mut config, "choice_count", json!(choices));
        }
        if let Some(bias) = bias {
            let bias = json!({"default_value": bias, "runtime_key": "bias"});
            set(&mut config, "active_request_bias", bias);
        }
        json!({"lb_policy": "LEAST_REQUEST", "least_request_lb_config": config})
    });
    prop_oneof![
        4 => Just(json!({})),
        6 => least_request,
        2 => Just(json!({"lb_policy": "ROUND_ROBIN"})),
        5 => in_userspace(),
    ]
    .boxed()
}

/// Slow starts: windows that traffic goes beyond, that it does not, and none.
fn slow_start() -> BoxedStrategy<Value> {
    (
        select(&["0.005s", "0.040s", "2s", "3600s", "0s"][..]),
        weighted(0.5, select(&[0.0, 0.5, 1.0, 3.0][..])),
        weighted(0.5, select(&[0.0, 25.0, 100.0][..])),
    )
        .prop_map(|(window, aggression, least)| {
            let mut config = json!({"slow_start_window": window});
            if let Some(aggression) = aggression {
                let aggression = json!({"default_value": aggression, "runtime_key": "a"});
                set(&mut config, "aggression", aggression);
            }
            if let Some(least) = least {
                set(&mut config, "min_weight_percent", json!({"value": least}));
            }
            config
        })
        .boxed()
}

/// Gives a cluster a slow start, where its balancer has one.
fn start_slowly(cluster: &mut Value, slow_start: &Value) {
    let field = match cluster.get("lb_policy").and_then(Value::as_str) {
        None | Some("ROUND_ROBIN") => "round_robin_lb_config",
        Some("LEAST_REQUEST") => "least_request_lb_config",
        Some(_) => return,
    };
    let policy = "/load_balancing_policy/policies/0/typed_extension_config/typed_config";
    if let Some(config) = cluster.pointer_mut(policy) {
        let kind = config.get("@type").and_then(Value::as_str).unwrap_or("");
        if kind.ends_with(".RoundRobin") || kind.ends_with("LeastRequest") {
            set(config, "slow_start_config", slow_start.clone());
        }
        return;
    }
    let mut config = cluster.get(field).cloned().unwrap_or(json!({}));
    set(&mut config, "slow_start_config", slow_start.clone());
    set(cluster, field, config);
}

/// `circuit_breakers`, of which those of 0 count.
fn breakers() -> BoxedStrategy<Value> {
    let most = || weighted(0.5, select(&[0u32, 1, 1][..]));
    let priority = select(&["DEFAULT", "DEFAULT", "HIGH"][..]);
    let all = vec((priority, most(), most()), 1..3);
    all.prop_map(|all| {
        let thresholds = all.into_iter().map(|(priority, requests, pending)| {
            let mut own = json!({"priority": priority});
            for (field, most) in [
                ("max_requests", requests),
                ("max_pending_requests", pending),
            ] {
                if let Some(most) = most {
                    set(&mut own, field, json!(most));
                }
            }
            own
        });
        json!({"thresholds": thresholds.collect::<Vec<_>>()})
    })
    .boxed()
}

fn cluster(name: &'static str) -> BoxedStrategy<Value> {
    (
        policy(),
        localities(),
        weighted(0.4, select(&[0.0, 25.0, 29.0, 33.0, 50.0, 75.0, 100.0][..])),
        assignment_policy(),
        weighted(0.7, spread()),
        weighted(0.2, breakers()),
        weighted(0.25, slow_start()),
        select(OVERRIDE_SOURCES),
    )
        .prop_map(
            move |(
                policy,
                localities,
                panic,
                of_assignment,
                spread,
                breakers,
                slow_start,
                headers,
            )| {
                let assignment = assignment(name, &localities, &of_assignment);
                let mut cluster = policy;
                for (field, value) in [
                    ("name", json!(name)),
                    ("type", json!("STATIC")),
                    ("connect_timeout", json!("1s")),
                    ("load_assignment", assignment),
                ] {
                    set(&mut cluster, field, value);
                }
                // Within subsets it is not decided.
                let in_subsets = spread.as_ref().is_some_and(Spread::has_subsets);
                if let Some(slow_start) = slow_start.filter(|_| !in_subsets) {
                    start_slowly(&mut cluster, &slow_start);
                }
                if let Some(spread) = spread {
                    Spread::add_to(&spread, &mut cluster);
                }
                override_host(&mut cluster, headers);
                if let Some(breakers) = breakers {
                    set(&mut cluster, "circuit_breakers", breakers);
                }
                if let Some(panic) = panic {
                    let threshold = json!({"value": panic});
                    let common = cluster.get("common_lb_config").cloned();
                    let mut common = common.unwrap_or(json!({}));
                    set(&mut common, "healthy_panic_threshold", threshold);
                    set(&mut cluster, "common_lb_config", common);
                }
                cluster
            },
        )
        .boxed()
}

/// One cluster for each of [`CLUSTERS`].
pub fn clusters() -> impl Strategy<Value = Vec<Value>> {
    CLUSTERS
        .iter()
        .map(|&name| cluster(name))
        .collect::<Vec<_>>()
}
