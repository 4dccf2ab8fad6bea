//! Clusters: policies, weights, health, priorities, panic thresholds.

use proptest::collection::vec;
use proptest::option::weighted;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};

use crate::matcher::set;
use crate::texts::CLUSTERS;

const HEALTH: &[&str] = &[
    "HEALTHY",
    "UNHEALTHY",
    "DRAINING",
    "TIMEOUT",
    "DEGRADED",
    "UNKNOWN",
];

type Endpoint = (Option<u32>, Option<&'static str>);

fn endpoint(unhealthy: f64) -> impl Strategy<Value = Endpoint> {
    (weighted(0.3, 1..5u32), weighted(unhealthy, select(HEALTH)))
}

/// The endpoints of a locality at a priority.
type Locality = (u32, bool, Vec<Endpoint>);

fn localities() -> impl Strategy<Value = Vec<Locality>> {
    let of = |unhealthy| {
        vec(
            (0..3u32, any::<bool>(), vec(endpoint(unhealthy), 0..5)),
            1..4,
        )
    };
    prop_oneof![2 => of(0.05), 1 => of(0.4), 2 => of(0.8)]
}

fn assignment(name: &str, localities: &[Locality], overprovisioning: Option<u32>) -> Value {
    let mut next = 0;
    // Envoy wants the priorities without a gap.
    let mut priorities: Vec<u32> = localities.iter().map(|(priority, ..)| *priority).collect();
    priorities.sort_unstable();
    priorities.dedup();
    let endpoints: Vec<Value> = localities
        .iter()
        .enumerate()
        .map(|(index, (priority, named, endpoints))| {
            let endpoints: Vec<Value> = endpoints
                .iter()
                .map(|(weight, health)| {
                    next += 1;
                    let address = json!({"address": format!("10.9.0.{next}"), "port_value": 80});
                    let mut endpoint =
                        json!({"endpoint": {"address": {"socket_address": address}}});
                    if let Some(weight) = weight {
                        set(&mut endpoint, "load_balancing_weight", json!(weight));
                    }
                    if let Some(health) = health {
                        set(&mut endpoint, "health_status", json!(health));
                    }
                    endpoint
                })
                .collect();
            let priority = priorities.iter().position(|known| known == priority);
            let mut locality = json!({
                "priority": priority.unwrap_or(0), "lb_endpoints": endpoints,
            });
            let zone = if *named {
                format!("z{index}")
            } else {
                String::new()
            };
            set(
                &mut locality,
                "locality",
                json!({"region": "r", "zone": zone}),
            );
            locality
        })
        .collect();
    let mut assignment = json!({"cluster_name": name, "endpoints": endpoints});
    if let Some(factor) = overprovisioning {
        set(
            &mut assignment,
            "policy",
            json!({"overprovisioning_factor": factor}),
        );
    }
    assignment
}

fn cluster(name: &'static str) -> impl Strategy<Value = Value> {
    let least_request = (
        weighted(0.5, 2..4u32),
        weighted(0.5, select(&[0.0, 0.5, 1.0, 2.0][..])),
    );
    let policy = prop_oneof![
        2 => Just((None, None)),
        3 => least_request.prop_map(|options| (Some("LEAST_REQUEST"), Some(options))),
        1 => Just((Some("ROUND_ROBIN"), None)),
    ];
    (
        policy,
        localities(),
        weighted(0.4, select(&[0.0, 25.0, 29.0, 33.0, 50.0, 75.0, 100.0][..])),
        weighted(0.2, select(&[100u32, 120, 200][..])),
    )
        .prop_map(
            move |((policy, options), localities, panic, overprovisioning)| {
                let mut cluster = json!({
                    "name": name, "type": "STATIC", "connect_timeout": "1s",
                    "load_assignment": assignment(name, &localities, overprovisioning),
                });
                if let Some(policy) = policy {
                    set(&mut cluster, "lb_policy", json!(policy));
                }
                if let Some((choices, bias)) = options {
                    let mut config = json!({});
                    if let Some(choices) = choices {
                        set(&mut config, "choice_count", json!(choices));
                    }
                    if let Some(bias) = bias {
                        let bias = json!({"default_value": bias, "runtime_key": "bias"});
                        set(&mut config, "active_request_bias", bias);
                    }
                    set(&mut cluster, "least_request_lb_config", config);
                }
                if let Some(panic) = panic {
                    let threshold = json!({"healthy_panic_threshold": {"value": panic}});
                    set(&mut cluster, "common_lb_config", threshold);
                }
                cluster
            },
        )
}

/// One cluster for each of [`CLUSTERS`].
pub fn clusters() -> impl Strategy<Value = Vec<Value>> {
    CLUSTERS
        .iter()
        .map(|&name| cluster(name))
        .collect::<Vec<_>>()
}
