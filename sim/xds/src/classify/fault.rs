//! The fault filter.

use super::{
    Rule::{Decided, Inert, Judge, ReadOver, Unsupported},
    STATISTICS, Table, Verdict,
};

/// Without a runtime, what stands beside the key counts.
const RUNTIME: super::Rule = Unsupported("a fault that the runtime sets is not decided");

pub(super) const TABLES: &[Table] = &[
    Table {
        message: "envoy.extensions.filters.http.fault.v3.HTTPFault",
        fields: &[
            ("delay", Decided),
            ("abort", Decided),
            ("upstream_cluster", Decided),
            ("headers", Decided),
            ("downstream_nodes", Decided),
            ("max_active_faults", Decided),
            (
                "response_rate_limit",
                Judge(|judged| {
                    if judged.parent.has("max_active_faults") {
                        let reason = "a response that is slowed down is an active fault";
                        Verdict::Unsupported(reason.into())
                    } else {
                        Verdict::ReadOver("how fast responses go is not decided".into())
                    }
                }),
            ),
            ("delay_percent_runtime", RUNTIME),
            ("abort_percent_runtime", RUNTIME),
            ("delay_duration_runtime", RUNTIME),
            ("abort_http_status_runtime", RUNTIME),
            ("max_active_faults_runtime", RUNTIME),
            ("response_rate_limit_percent_runtime", Inert),
            ("abort_grpc_status_runtime", RUNTIME),
            ("disable_downstream_cluster_stats", STATISTICS),
            ("filter_metadata", ReadOver("no decision reads it")),
        ],
    },
    Table {
        message: "envoy.extensions.filters.http.fault.v3.FaultAbort",
        fields: &[
            ("http_status", Decided),
            ("grpc_status", Decided),
            ("header_abort", Decided),
            ("percentage", Decided),
            ("response_body", Inert),
        ],
    },
    Table {
        message: "envoy.extensions.filters.common.fault.v3.FaultDelay",
        fields: &[
            ("fixed_delay", Decided),
            ("header_delay", Decided),
            ("percentage", Decided),
        ],
    },
];
