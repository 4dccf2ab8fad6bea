//! The filters for CORS and for health checks.

use super::{
    Judged,
    Rule::{Decided, Inert, Judge},
    Table, Verdict,
};

pub(super) const TABLES: &[Table] = &[
    Table {
        message: "envoy.extensions.filters.http.cors.v3.CorsPolicy",
        fields: &[
            ("allow_origin_string_match", Decided),
            ("allow_methods", Inert),
            ("allow_headers", Inert),
            ("expose_headers", Inert),
            ("max_age", Inert),
            ("allow_credentials", Inert),
            ("filter_enabled", Decided),
            ("shadow_enabled", Inert),
            ("allow_private_network_access", Inert),
            ("forward_not_matching_preflights", Decided),
        ],
    },
    Table {
        message: "envoy.extensions.filters.http.health_check.v3.HealthCheck",
        fields: &[
            ("pass_through_mode", Decided),
            ("cache_time", Judge(cache_time)),
            ("cluster_min_healthy_percentages", Decided),
            ("headers", Decided),
        ],
    },
    Table {
        message: "envoy.extensions.filters.http.health_check.v3.HealthCheck.ClusterMinHealthyPercentagesEntry",
        fields: &[("key", Decided), ("value", Decided)],
    },
];

/// Only a filter that passes health checks on keeps what was answered.
fn cache_time(judged: &Judged<'_>) -> Verdict {
    if judged
        .parent
        .wrapped("pass_through_mode")
        .unwrap_or_default()
        == 0
    {
        return Verdict::Inert;
    }
    Verdict::Unsupported("answers to health checks that are kept for a time are not decided".into())
}
