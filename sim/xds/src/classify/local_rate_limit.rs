//! The local rate limit filter.

use super::{
    Rule::{Decided, Inert, Judge, Unsupported},
    STATISTICS, Table, unless_set,
};

const DESCRIPTORS: super::Rule = Unsupported("rate limits by descriptors are not decided");

pub(super) const TABLES: &[Table] = &[
    Table {
        message: "envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit",
        fields: &[
            ("stat_prefix", STATISTICS),
            ("status", Decided),
            ("token_bucket", Decided),
            ("filter_enabled", Decided),
            ("filter_enforced", Decided),
            (
                "request_headers_to_add_when_not_enforced",
                Unsupported("headers that it adds may be seen by filters behind it"),
            ),
            ("response_headers_to_add", Inert),
            ("descriptors", DESCRIPTORS),
            ("stage", Inert),
            (
                "local_rate_limit_per_downstream_connection",
                Judge(|judged| unless_set(judged, "buckets of connections are not decided")),
            ),
            (
                "local_cluster_rate_limit",
                Unsupported("shares of a cluster of Envoys are not decided"),
            ),
            ("enable_x_ratelimit_headers", Inert),
            ("vh_rate_limits", Inert),
            ("always_consume_default_token_bucket", Inert),
            ("rate_limited_as_resource_exhausted", Inert),
            ("rate_limits", Inert),
            ("max_dynamic_descriptors", Inert),
            ("enable_retry_after_header", Inert),
        ],
    },
    Table {
        message: "envoy.type.v3.TokenBucket",
        fields: &[
            ("max_tokens", Decided),
            ("tokens_per_fill", Decided),
            ("fill_interval", Decided),
        ],
    },
    Table {
        message: "envoy.type.v3.HttpStatus",
        fields: &[("code", Decided)],
    },
];
