//! How clusters choose among their endpoints: balancers, weighted localities, subsets, and what
//! routes ask of subsets. Boxed, as they stand in many places: their trees are large for a thread's
//! stack.

use proptest::collection::vec;
use proptest::option::weighted;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};

use crate::matcher::{object, set};

/// Keys of labels.
const KEYS: &[&str] = &["s", "v"];

/// Fallback policies of selectors.
const POLICIES: &[&str] = &[
    "NOT_DEFINED",
    "NO_FALLBACK",
    "ANY_ENDPOINT",
    "DEFAULT_SUBSET",
    "KEYS_SUBSET",
];

/// Metadata for the balancer.
pub fn metadata(labels: Value) -> Value {
    object([("filter_metadata", object([("envoy.lb", labels)]))])
}

/// A label's value, of which another may be equal but for its kind.
fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        6 => Just(json!("1")),
        4 => Just(json!("2")),
        1 => Just(json!(1)),
        1 => Just(json!(["1", "2"])),
        1 => Just(json!([])),
        1 => Just(Value::Null),
        1 => Just(json!({"a": ["1"]})),
    ]
}

/// Labels of an endpoint, or what is asked of one.
pub fn labels() -> BoxedStrategy<Value> {
    let pairs = [weighted(0.4, value()), weighted(0.7, value())];
    pairs
        .prop_map(|values| {
            let pairs = KEYS.iter().zip(values);
            let given = pairs.filter_map(|(key, value)| Some(((*key).to_owned(), value?)));
            Value::Object(given.collect())
        })
        .boxed()
}

/// `metadata_match`.
pub fn criteria() -> BoxedStrategy<Value> {
    let further = prop_oneof![5 => labels(), 1 => Just(json!(1))];
    let list = prop_oneof![9 => vec(further, 0..3).prop_map(Value::Array), 1 => Just(json!("1"))];
    (
        labels(),
        weighted(0.2, list),
        weighted(0.1, Just(json!("1"))),
    )
        .prop_map(|(mut labels, list, more)| {
            if let Some(list) = list {
                set(&mut labels, "fallback_list", list);
            }
            if let Some(more) = more {
                set(&mut labels, "x", more);
            }
            metadata(labels)
        })
        .boxed()
}

fn selector() -> impl Strategy<Value = Value> {
    let keys = prop_oneof![
        4 => Just(json!(["v"])),
        3 => Just(json!(["v", "s"])),
        2 => Just(json!(["s"])),
        1 => Just(json!([])),
        1 => Just(json!(["x"])),
    ];
    let single = prop::bool::weighted(0.15);
    (keys, select(POLICIES), select(KEYS), single).prop_map(|(keys, policy, key, single)| {
        let mut selector = json!({"keys": keys});
        let both = selector
            .get("keys")
            .and_then(Value::as_array)
            .map_or(0, Vec::len)
            > 1;
        if policy == "KEYS_SUBSET" && both {
            set(&mut selector, "fallback_keys_subset", json!([key]));
        }
        if policy != "KEYS_SUBSET" || both {
            set(&mut selector, "fallback_policy", json!(policy));
        }
        if single {
            set(&mut selector, "single_host_per_subset", json!(true));
        }
        selector
    })
}

/// What `lb_subset_config` and the extension have in common.
fn subsets() -> BoxedStrategy<Value> {
    let fallback = select(&["NO_FALLBACK", "ANY_ENDPOINT", "DEFAULT_SUBSET"][..]);
    let flags = [
        prop::bool::weighted(0.3),
        prop::bool::weighted(0.3),
        prop::bool::weighted(0.3),
        prop::bool::weighted(0.5),
        prop::bool::weighted(0.5),
    ];
    (vec(selector(), 1..4), fallback, labels(), flags)
        .prop_map(
            |(selectors, fallback, default, [panic, list, fallbacks, aware, scale])| {
                let metadata = match fallbacks {
                    true => "FALLBACK_LIST",
                    false => "METADATA_NO_FALLBACK",
                };
                json!({
                    "subset_selectors": selectors, "fallback_policy": fallback,
                    "default_subset": default, "panic_mode_any": panic, "list_as_any": list,
                    "metadata_fallback_policy": metadata, "locality_weight_aware": aware,
                    "scale_locality_weight": scale,
                })
            },
        )
        .boxed()
}

/// `zone_aware_lb_config`.
fn zones() -> BoxedStrategy<Value> {
    (
        weighted(0.8, 0..5u64),
        weighted(0.3, select(&[0.0, 50.0, 99.6][..])),
        prop::bool::weighted(0.3),
    )
        .prop_map(|(size, enabled, fails)| {
            let mut config = json!({"fail_traffic_on_panic": fails});
            if let Some(size) = size {
                set(&mut config, "min_cluster_size", json!(size));
            }
            if let Some(enabled) = enabled {
                set(&mut config, "routing_enabled", json!({"value": enabled}));
            }
            config
        })
        .boxed()
}

/// Gives a cluster subsets and weighted localities, by the fields that stand beside `lb_policy` or
/// in the extensions, as the cluster has it.
pub fn spread() -> BoxedStrategy<Spread> {
    (
        prop::bool::weighted(0.5),
        weighted(0.6, zones()),
        weighted(0.3, subsets()),
        prop::bool::weighted(0.3),
        prop::bool::weighted(0.3),
    )
        .prop_map(
            |(by_locality, zones, subsets, redundant, behind_unknown)| Spread {
                by_locality,
                zones,
                subsets,
                redundant,
                behind_unknown,
            },
        )
        .boxed()
}

/// What [`spread`] made.
#[derive(Debug, Clone)]
pub struct Spread {
    by_locality: bool,
    /// Where localities are not weighed.
    zones: Option<Value>,
    subsets: Option<Value>,
    redundant: bool,
    behind_unknown: bool,
}

/// The balancers that may be told how localities are chosen.
const KNOW_LOCALITIES: [&str; 3] = [".RoundRobin", ".LeastRequest", ".Random"];

impl Spread {
    /// Whether it has subsets.
    pub fn has_subsets(&self) -> bool {
        self.subsets.is_some()
    }

    /// Adds it to a cluster.
    pub fn add_to(&self, cluster: &mut Value) {
        let Some(policies) = cluster.pointer_mut("/load_balancing_policy/policies") else {
            self.add_to_old(cluster);
            return;
        };
        let config = policies.pointer_mut("/0/typed_extension_config/typed_config");
        if let Some(config) = config {
            let kind = config.get("@type").and_then(Value::as_str).unwrap_or("");
            let hashes = kind.ends_with("RingHash") || kind.ends_with("Maglev");
            if hashes && self.by_locality {
                set(config, "locality_weighted_lb_config", json!({}));
            } else if KNOW_LOCALITIES.iter().any(|own| kind.ends_with(own))
                && let Some(localities) = self.localities()
            {
                set(config, "locality_lb_config", localities);
            }
        }
        if let Some(subsets) = &self.subsets {
            let mut config = subsets.clone();
            let kind =
                "type.googleapis.com/envoy.extensions.load_balancing_policies.subset.v3.Subset";
            set(&mut config, "@type", json!(kind));
            set(&mut config, "allow_redundant_keys", json!(self.redundant));
            set(
                &mut config,
                "subset_lb_policy",
                json!({"policies": policies.clone()}),
            );
            let extension = json!({"name": "subset", "typed_config": config});
            *policies = json!([{"typed_extension_config": extension}]);
        }
        if let (true, Some(list)) = (self.behind_unknown, policies.as_array_mut()) {
            let unknown =
                json!({"@type": "type.googleapis.com/google.protobuf.Struct", "value": {}});
            let extension = json!({"name": "unknown", "typed_config": unknown});
            list.insert(0, json!({"typed_extension_config": extension}));
        }
    }

    /// How localities are chosen.
    fn localities(&self) -> Option<Value> {
        if self.by_locality {
            return Some(json!({"locality_weighted_lb_config": {}}));
        }
        let zones = self.zones.clone()?;
        Some(json!({"zone_aware_lb_config": zones}))
    }

    fn add_to_old(&self, cluster: &mut Value) {
        for (field, value) in self
            .localities()
            .iter()
            .filter_map(Value::as_object)
            .flatten()
        {
            let common = cluster.get("common_lb_config").cloned();
            let mut common = common.unwrap_or(json!({}));
            set(&mut common, field, value.clone());
            set(cluster, "common_lb_config", common);
        }
        if let Some(subsets) = &self.subsets {
            let mut config = subsets.clone();
            if !self.by_locality {
                set(&mut config, "locality_weight_aware", json!(false));
            }
            set(cluster, "lb_subset_config", config);
        }
    }
}

/// `ClusterLoadAssignment.policy`.
pub fn policy() -> BoxedStrategy<Value> {
    (
        // With the smallest, a part of a priority rounds to nothing.
        weighted(0.2, select(&[1u32, 100, 120, 200][..])),
        prop::bool::weighted(0.1),
        weighted(
            0.15,
            (
                select(&[0u32, 30, 99, 100][..]),
                select(&["HUNDRED", "TEN_THOUSAND", "MILLION"][..]),
            ),
        ),
    )
        .prop_map(|(overprovisioning, weighted, dropped)| {
            let mut policy = json!({});
            if let Some(factor) = overprovisioning {
                set(&mut policy, "overprovisioning_factor", json!(factor));
            }
            if weighted {
                set(&mut policy, "weighted_priority_health", json!(true));
            }
            if let Some((numerator, denominator)) = dropped {
                let share = json!({"numerator": numerator, "denominator": denominator});
                let overload = json!({"category": "c", "drop_percentage": share});
                set(&mut policy, "drop_overloads", json!([overload]));
            }
            policy
        })
        .boxed()
}
