//! Load assignments and their endpoints.

use super::{
    METADATA,
    Rule::{Decided, Inert, Unsupported},
    TIMING, Table,
};

pub(super) const TABLES: &[Table] = &[
    Table {
        message: crate::form::LOAD_ASSIGNMENT,
        fields: &[
            ("cluster_name", Decided),
            ("endpoints", Decided),
            (
                "named_endpoints",
                Unsupported("endpoints by name are not decided"),
            ),
            ("policy", Decided),
        ],
    },
    Table {
        message: "envoy.config.endpoint.v3.ClusterLoadAssignment.Policy",
        fields: &[
            ("drop_overloads", Decided),
            ("overprovisioning_factor", Decided),
            ("endpoint_stale_after", TIMING),
            ("weighted_priority_health", Decided),
        ],
    },
    Table {
        message: "envoy.config.endpoint.v3.ClusterLoadAssignment.Policy.DropOverload",
        fields: &[("category", Inert), ("drop_percentage", Decided)],
    },
    Table {
        message: "envoy.config.endpoint.v3.LocalityLbEndpoints",
        fields: &[
            ("locality", Decided),
            ("metadata", METADATA),
            ("lb_endpoints", Decided),
            (
                "load_balancer_endpoints",
                Unsupported("endpoints in a list of their own are not decided"),
            ),
            (
                "leds_cluster_locality_config",
                Unsupported("endpoints that come by LEDS are not in the snapshot"),
            ),
            ("load_balancing_weight", Decided),
            ("priority", Decided),
            ("proximity", Inert),
        ],
    },
    Table {
        message: "envoy.config.endpoint.v3.LbEndpoint",
        fields: &[
            ("endpoint", Decided),
            (
                "endpoint_name",
                Unsupported("endpoints by name are not decided"),
            ),
            ("health_status", Decided),
            ("metadata", Decided),
            ("load_balancing_weight", Decided),
        ],
    },
    Table {
        message: "envoy.config.endpoint.v3.Endpoint",
        fields: &[
            ("address", Decided),
            ("health_check_config", Inert),
            ("hostname", Inert),
            ("additional_addresses", Inert),
            ("observability_name", Inert),
        ],
    },
];
