//! Balancers, by `lb_policy` and by extension.

use super::{
    Judged,
    Rule::{Decided, Inert, Judge, ReadOver, Unsupported},
    Table, Verdict, filter,
};
use crate::view::View;

pub(super) const TABLES: &[Table] = &[
    Table {
        message: "envoy.config.cluster.v3.Cluster.LeastRequestLbConfig",
        fields: &[
            ("choice_count", Decided),
            ("active_request_bias", Decided),
            ("slow_start_config", Judge(slow_start)),
        ],
    },
    Table {
        message: "envoy.config.cluster.v3.Cluster.SlowStartConfig",
        fields: SLOW_START,
    },
    Table {
        message: "envoy.extensions.load_balancing_policies.common.v3.SlowStartConfig",
        fields: SLOW_START,
    },
    Table {
        message: "envoy.config.cluster.v3.Cluster.RingHashLbConfig",
        fields: &[
            ("minimum_ring_size", Decided),
            ("hash_function", Decided),
            ("maximum_ring_size", Decided),
        ],
    },
    Table {
        message: "envoy.config.cluster.v3.Cluster.MaglevLbConfig",
        fields: &[("table_size", Decided)],
    },
    Table {
        message: "envoy.config.cluster.v3.Cluster.RoundRobinLbConfig",
        fields: &[("slow_start_config", Judge(slow_start))],
    },
    Table {
        message: "envoy.config.cluster.v3.LoadBalancingPolicy",
        fields: &[("policies", Judge(policy))],
    },
    Table {
        message: "envoy.config.cluster.v3.LoadBalancingPolicy.Policy",
        fields: &[("typed_extension_config", Decided)],
    },
    Table {
        message: "envoy.config.core.v3.TypedExtensionConfig",
        fields: &[("name", Inert), ("typed_config", Decided)],
    },
    Table {
        message: ROUND_ROBIN,
        fields: &[
            ("slow_start_config", Judge(slow_start)),
            ("locality_lb_config", Decided),
        ],
    },
    Table {
        message: LEAST_REQUEST,
        fields: &[
            ("choice_count", Decided),
            ("active_request_bias", Decided),
            ("slow_start_config", Judge(slow_start)),
            ("locality_lb_config", Decided),
            ("enable_full_scan", Decided),
            ("selection_method", Decided),
        ],
    },
    Table {
        message: RING_HASH,
        fields: &[
            ("hash_function", Decided),
            ("minimum_ring_size", Decided),
            ("maximum_ring_size", Decided),
            ("use_hostname_for_hashing", Decided),
            ("hash_balance_factor", Decided),
            ("consistent_hashing_lb_config", Judge(consistent_hashing)),
            ("locality_weighted_lb_config", Decided),
        ],
    },
    Table {
        message: MAGLEV,
        fields: &[
            ("table_size", Decided),
            ("consistent_hashing_lb_config", Judge(consistent_hashing)),
            ("locality_weighted_lb_config", Decided),
        ],
    },
    Table {
        message: RANDOM,
        fields: &[("locality_lb_config", Decided)],
    },
    Table {
        message: OVERRIDE_HOST,
        fields: &[
            ("override_host_sources", Decided),
            (
                "selected_host_key",
                Unsupported(
                    "what it writes into dynamic metadata may be read, which is not decided",
                ),
            ),
            ("fallback_policy", Decided),
        ],
    },
    Table {
        message: "envoy.extensions.load_balancing_policies.override_host.v3.OverrideHost.OverrideHostSource",
        fields: &[
            ("header", Judge(override_header)),
            (
                "metadata",
                ReadOver("no filter that is decided writes dynamic metadata: it names no endpoint"),
            ),
        ],
    },
    Table {
        message: WRR_LOCALITY,
        fields: &[("endpoint_picking_policy", Decided)],
    },
    Table {
        message: CLIENT_SIDE_WEIGHTED,
        fields: &[
            ("enable_oob_load_report", NO_REPORTS),
            ("oob_reporting_period", NO_REPORTS),
            ("blackout_period", NO_REPORTS),
            ("weight_expiration_period", NO_REPORTS),
            ("weight_update_period", NO_REPORTS),
            ("error_utilization_penalty", NO_REPORTS),
            ("metric_names_for_computing_utilization", NO_REPORTS),
            ("oob_reporting_config", NO_REPORTS),
            (
                "slow_start_config",
                Unsupported("slow start beside reported weights is not decided"),
            ),
        ],
    },
    Table {
        message: "envoy.extensions.load_balancing_policies.common.v3.LocalityLbConfig",
        fields: &[
            ("zone_aware_lb_config", Decided),
            ("locality_weighted_lb_config", Decided),
        ],
    },
    Table {
        message: "envoy.extensions.load_balancing_policies.common.v3.LocalityLbConfig.ZoneAwareLbConfig",
        fields: &[
            ("routing_enabled", Decided),
            ("min_cluster_size", Decided),
            ("fail_traffic_on_panic", Decided),
            ("force_locality_direct_routing", Decided),
            // Where they count, the cluster is undecided.
            ("force_local_zone", Inert),
            ("locality_basis", Inert),
        ],
    },
];

pub(crate) const ROUND_ROBIN: &str =
    "envoy.extensions.load_balancing_policies.round_robin.v3.RoundRobin";

pub(crate) const LEAST_REQUEST: &str =
    "envoy.extensions.load_balancing_policies.least_request.v3.LeastRequest";

pub(crate) const RING_HASH: &str = "envoy.extensions.load_balancing_policies.ring_hash.v3.RingHash";

pub(crate) const MAGLEV: &str = "envoy.extensions.load_balancing_policies.maglev.v3.Maglev";

pub(crate) const RANDOM: &str = "envoy.extensions.load_balancing_policies.random.v3.Random";

pub(crate) const SUBSET: &str = "envoy.extensions.load_balancing_policies.subset.v3.Subset";

pub(crate) const WRR_LOCALITY: &str =
    "envoy.extensions.load_balancing_policies.wrr_locality.v3.WrrLocality";

pub(crate) const OVERRIDE_HOST: &str =
    "envoy.extensions.load_balancing_policies.override_host.v3.OverrideHost";

pub(crate) const CLIENT_SIDE_WEIGHTED: &str = "envoy.extensions.load_balancing_policies.client_side_weighted_round_robin.v3.ClientSideWeightedRoundRobin";

const NO_REPORTS: super::Rule =
    ReadOver("endpoints are weighed as if none reported its load, which is not known here");

/// The balancers that are decided.
const BALANCERS: [&str; 9] = [
    ROUND_ROBIN,
    LEAST_REQUEST,
    RING_HASH,
    MAGLEV,
    RANDOM,
    SUBSET,
    OVERRIDE_HOST,
    WRR_LOCALITY,
    CLIENT_SIDE_WEIGHTED,
];

const SLOW_START: &[(&str, super::Rule)] = &[
    ("slow_start_window", Decided),
    ("aggression", Decided),
    ("min_weight_percent", Decided),
];

/// Whether Envoy has a balancer whose configuration is of this type: it has those that are part of
/// its API.
pub(crate) fn is_known_balancer(type_name: &str) -> bool {
    type_name.starts_with("envoy.extensions.load_balancing_policies.")
}

/// `Cluster.lb_policy`, which is not looked at beside `load_balancing_policy`.
pub(super) fn balancer(judged: &Judged<'_>) -> Verdict {
    if judged.parent.has("load_balancing_policy") {
        return Verdict::Inert;
    }
    match judged.number() {
        0..=3 | 5..=7 => Verdict::Decided,
        _ => Verdict::Unsupported("the balancer of this number is not decided".into()),
    }
}

/// The type of a policy's configuration, also of one in a TypedStruct.
pub(super) fn kind(policy: &View<'_>) -> String {
    let extension = policy.child("typed_extension_config");
    let any = extension.and_then(|extension| extension.any("typed_config"));
    any.map(|any| filter::content_type(&any))
        .unwrap_or_default()
}

/// Of a list the first policy that Envoy has is taken.
fn policy(judged: &Judged<'_>) -> Verdict {
    let policies = judged.parent.children("policies");
    let taken = policies
        .iter()
        .position(|policy| is_known_balancer(&kind(policy)));
    if taken.unwrap_or(0) != judged.index {
        return Verdict::Inert;
    }
    let kind = judged.child.map(kind).unwrap_or_default();
    let any = judged
        .child
        .and_then(|policy| policy.child("typed_extension_config"))
        .and_then(|extension| extension.any("typed_config"));
    let is_plain = any.is_some_and(|any| any.type_name() == kind);
    if is_plain && BALANCERS.iter().any(|name| kind == *name) {
        Verdict::Decided
    } else {
        Verdict::Unsupported(format!("the balancer {kind} is not decided").into())
    }
}

/// A header that names endpoints.
fn override_header(judged: &Judged<'_>) -> Verdict {
    let name = judged.text().to_ascii_lowercase();
    if name.starts_with(':') || name == "host" {
        Verdict::Unsupported(
            "an endpoint that the request's own address names is not decided".into(),
        )
    } else {
        Verdict::Decided
    }
}

/// Each subset would have a slow start of its own.
fn slow_start(judged: &Judged<'_>) -> Verdict {
    if judged.context.in_subsets {
        Verdict::Unsupported("slow start within subsets is not decided".into())
    } else {
        Verdict::Decided
    }
}

/// Only the hash balancers read it.
pub(super) fn consistent_hashing(judged: &Judged<'_>) -> Verdict {
    match judged.child {
        Some(config) if judged.context.by_hash => {
            if config.has("hash_policy") {
                Verdict::Unsupported("a cluster's own hash policies are not decided".into())
            } else {
                Verdict::Inert
            }
        }
        _ => Verdict::Inert,
    }
}
