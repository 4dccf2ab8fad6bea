//! The local rate limit filter.

use super::{
    Judged,
    Rule::{Decided, Inert, Judge, Unsupported},
    STATISTICS, Table, Verdict, header, unless_set,
};

/// The filter's configuration.
pub(crate) const LOCAL_RATE_LIMIT: &str =
    "envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit";
const METADATA: super::Rule = Unsupported("descriptors of metadata are not decided");
const QUERY: super::Rule = Unsupported("descriptors of query parameters are not decided");
const DEFAULT: super::Rule = Unsupported("descriptors by formats are not decided");

pub(super) const TABLES: &[Table] = &[
    Table {
        message: LOCAL_RATE_LIMIT,
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
            ("descriptors", Decided),
            ("stage", Decided),
            (
                "local_rate_limit_per_downstream_connection",
                Judge(|judged| unless_set(judged, "buckets of connections are not decided")),
            ),
            (
                "local_cluster_rate_limit",
                Unsupported("shares of a cluster of Envoys are not decided"),
            ),
            ("enable_x_ratelimit_headers", Inert),
            ("vh_rate_limits", Decided),
            ("always_consume_default_token_bucket", Decided),
            ("rate_limited_as_resource_exhausted", Inert),
            ("rate_limits", Judge(own)),
            ("max_dynamic_descriptors", Inert),
            ("enable_retry_after_header", Inert),
        ],
    },
    Table {
        message: "envoy.extensions.common.ratelimit.v3.LocalRateLimitDescriptor",
        fields: &[
            ("entries", Judge(entry)),
            ("token_bucket", Decided),
            (
                "shadow_mode",
                Judge(|judged| unless_set(judged, "descriptors that only count are not decided")),
            ),
        ],
    },
    Table {
        message: "envoy.extensions.common.ratelimit.v3.RateLimitDescriptor.Entry",
        fields: &[("key", Decided), ("value", Decided)],
    },
    Table {
        message: "envoy.config.route.v3.RateLimit",
        fields: &[
            ("stage", Decided),
            ("disable_key", Decided),
            ("actions", Decided),
            ("limit", Inert),
            (
                "hits_addend",
                Unsupported("descriptors that take several tokens are not decided"),
            ),
            (
                "apply_on_stream_done",
                Judge(|judged| {
                    unless_set(
                        judged,
                        "rate limits once a request has ended are not decided",
                    )
                }),
            ),
            ("x_ratelimit_option", Inert),
        ],
    },
    Table {
        message: "envoy.config.route.v3.RateLimit.Action",
        fields: &[
            (
                "source_cluster",
                Unsupported("descriptors of the node's cluster are not decided"),
            ),
            ("destination_cluster", Decided),
            ("request_headers", Decided),
            ("query_parameters", QUERY),
            ("remote_address", Decided),
            ("generic_key", Decided),
            ("header_value_match", Decided),
            ("dynamic_metadata", METADATA),
            ("metadata", METADATA),
            (
                "extension",
                Unsupported("descriptors of extensions are not decided"),
            ),
            ("masked_remote_address", Decided),
            ("query_parameter_value_match", QUERY),
            (
                "remote_address_match",
                Unsupported("descriptors of matched addresses are not decided"),
            ),
        ],
    },
    Table {
        message: "envoy.config.route.v3.RateLimit.Action.RequestHeaders",
        fields: &[
            ("header_name", Judge(header::name)),
            ("descriptor_key", Decided),
            ("skip_if_absent", Decided),
        ],
    },
    Table {
        message: "envoy.config.route.v3.RateLimit.Action.DestinationCluster",
        fields: &[],
    },
    Table {
        message: "envoy.config.route.v3.RateLimit.Action.RemoteAddress",
        fields: &[],
    },
    Table {
        message: "envoy.config.route.v3.RateLimit.Action.MaskedRemoteAddress",
        fields: &[
            ("v4_prefix_mask_len", Decided),
            ("v6_prefix_mask_len", Decided),
        ],
    },
    Table {
        message: "envoy.config.route.v3.RateLimit.Action.GenericKey",
        fields: &[
            ("descriptor_value", Judge(plain)),
            ("default_value", DEFAULT),
            ("descriptor_key", Decided),
        ],
    },
    Table {
        message: "envoy.config.route.v3.RateLimit.Action.HeaderValueMatch",
        fields: &[
            ("descriptor_value", Judge(plain)),
            ("default_value", DEFAULT),
            ("descriptor_key", Decided),
            ("expect_match", Decided),
            ("headers", Decided),
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

/// An entry of a filter's descriptor; one without a value stands for any.
fn entry(judged: &Judged<'_>) -> Verdict {
    match judged.child {
        Some(entry) if entry.text("value").is_empty() => {
            Verdict::Unsupported("descriptors of any value are not decided".into())
        }
        _ => Verdict::Decided,
    }
}

/// A value that is none of a format.
fn plain(judged: &Judged<'_>) -> Verdict {
    match judged.text().contains('%') {
        true => Verdict::Unsupported("descriptors by formats are not decided".into()),
        false => Verdict::Decided,
    }
}

/// A rate limit of the filter's own.
fn own(judged: &Judged<'_>) -> Verdict {
    match judged.child {
        Some(limit)
            if ["stage", "disable_key", "limit"]
                .iter()
                .any(|it| limit.has(it)) =>
        {
            Verdict::Unsupported("Envoy takes neither stage, disable_key nor limit here".into())
        }
        _ => Verdict::Decided,
    }
}

/// What routes and virtual hosts say to rate limit filters, where the snapshot has one that may
/// listen to it.
pub(super) fn of_routes(judged: &Judged<'_>) -> Verdict {
    match judged.context.rate_limits {
        true => Verdict::Decided,
        false => Verdict::ReadOver(
            "rate limits act only with a rate limit filter that is decided, and there is none"
                .into(),
        ),
    }
}
