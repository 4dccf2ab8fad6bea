//! RouteConfiguration, virtual hosts and routes.

use super::{
    HEEDED, Judged, METADATA, RATE_LIMITS, RETRIES,
    Rule::{Decided, Inert, Judge, Part, ReadOver, Unsupported},
    STATISTICS, TIMING, TRACING, Table, Verdict, header, mutation, per_filter, unless_set,
};
use crate::{format, uri_template, view::View};

pub(super) const TABLES: &[Table] = &[
    Table {
        message: "envoy.config.route.v3.RouteConfiguration",
        fields: &[
            ("name", Decided),
            ("virtual_hosts", Part),
            (
                "vhds",
                Unsupported("virtual hosts that come on demand are not in the snapshot"),
            ),
            ("internal_only_headers", Judge(header::internal_only)),
            ("response_headers_to_add", Decided),
            ("response_headers_to_remove", Decided),
            ("request_headers_to_add", Decided),
            ("request_headers_to_remove", Decided),
            ("most_specific_header_mutations_wins", Decided),
            ("validate_clusters", Inert),
            ("max_direct_response_body_size_bytes", Inert),
            (
                "cluster_specifier_plugins",
                ReadOver("routes that use a cluster specifier plugin are not decided"),
            ),
            ("request_mirror_policies", Decided),
            ("ignore_port_in_host_matching", Decided),
            (
                "vhost_header",
                Unsupported("virtual hosts are chosen by another header than the host"),
            ),
            (
                "ignore_path_parameters_in_path_matching",
                Judge(|judged| {
                    unless_set(
                        judged,
                        "path parameters are taken off before paths are matched",
                    )
                }),
            ),
            ("typed_per_filter_config", Judge(per_filter::judge)),
            ("metadata", METADATA),
            (
                "route_specifiers",
                Unsupported("route specifier extensions are not decided"),
            ),
        ],
    },
    Table {
        message: "envoy.config.route.v3.VirtualHost",
        fields: &[
            ("name", Decided),
            ("domains", Decided),
            ("routes", Part),
            ("matcher", Decided),
            ("require_tls", Decided),
            ("virtual_clusters", STATISTICS),
            ("rate_limits", RATE_LIMITS),
            ("request_headers_to_add", Decided),
            ("request_headers_to_remove", Decided),
            ("response_headers_to_add", Decided),
            ("response_headers_to_remove", Decided),
            (
                "cors",
                Unsupported("a CORS policy may answer preflight requests"),
            ),
            ("typed_per_filter_config", Judge(per_filter::judge)),
            ("include_request_attempt_count", Inert),
            ("include_attempt_count_in_response", Inert),
            ("retry_policy", RETRIES),
            ("retry_policy_typed_config", RETRIES),
            ("hedge_policy", RETRIES),
            ("include_is_timeout_retry_header", Inert),
            ("per_request_buffer_limit_bytes", Inert),
            ("request_body_buffer_limit", Inert),
            ("request_mirror_policies", Decided),
            ("metadata", METADATA),
            (
                "route_specifiers",
                Unsupported("route specifier extensions are not decided"),
            ),
        ],
    },
    Table {
        message: "envoy.config.route.v3.Route",
        fields: &[
            ("name", Decided),
            ("match", Decided),
            ("route", Decided),
            ("redirect", Decided),
            ("direct_response", Decided),
            (
                "filter_action",
                Unsupported("a filter answers in the route's place"),
            ),
            (
                "non_forwarding_action",
                Unsupported("a filter answers in the route's place"),
            ),
            ("metadata", METADATA),
            ("decorator", TRACING),
            ("typed_per_filter_config", Judge(per_filter::judge)),
            ("request_headers_to_add", Decided),
            ("request_headers_to_remove", Decided),
            ("response_headers_to_add", Decided),
            ("response_headers_to_remove", Decided),
            ("tracing", TRACING),
            ("per_request_buffer_limit_bytes", Inert),
            ("stat_prefix", STATISTICS),
            ("request_body_buffer_limit", Inert),
            (
                "route_specifiers",
                Unsupported("route specifier extensions are not decided"),
            ),
        ],
    },
    Table {
        message: "envoy.config.route.v3.RouteAction.UpgradeConfig",
        fields: &[
            ("upgrade_type", Decided),
            ("enabled", Decided),
            ("connect_config", Decided),
        ],
    },
    Table {
        message: "envoy.config.route.v3.RouteAction.UpgradeConfig.ConnectConfig",
        fields: &[
            (
                "proxy_protocol_config",
                ReadOver("what an endpoint gets before the bytes of a tunnel is not told"),
            ),
            ("allow_post", Decided),
        ],
    },
    Table {
        message: "envoy.config.route.v3.RouteMatch.ConnectMatcher",
        fields: &[],
    },
    Table {
        message: "envoy.config.route.v3.RouteMatch",
        fields: &[
            ("prefix", Decided),
            ("path", Decided),
            ("safe_regex", Decided),
            ("connect_matcher", Decided),
            ("path_separated_prefix", Decided),
            ("path_match_policy", Judge(path_match)),
            ("case_sensitive", Decided),
            ("runtime_fraction", Decided),
            ("headers", Decided),
            ("query_parameters", Decided),
            ("cookies", Decided),
            ("grpc", Decided),
            ("tls_context", Decided),
            ("dynamic_metadata", Decided),
            (
                "filter_state",
                Unsupported("matchers of the filter state are not decided"),
            ),
        ],
    },
    Table {
        message: "envoy.config.route.v3.CookieMatcher",
        fields: &[
            ("name", Decided),
            ("string_match", Decided),
            ("invert_match", Decided),
        ],
    },
    Table {
        message: "envoy.config.route.v3.RouteMatch.TlsContextMatchOptions",
        fields: &[("presented", Decided), ("validated", Decided)],
    },
    // Nothing writes metadata before a route is chosen, so that only `invert` counts.
    Table {
        message: "envoy.type.matcher.v3.MetadataMatcher",
        fields: &[
            ("filter", Inert),
            ("path", Inert),
            ("value", Inert),
            ("invert", Decided),
        ],
    },
    Table {
        message: uri_template::MATCH,
        fields: &[("path_template", Decided)],
    },
    Table {
        message: uri_template::REWRITE,
        fields: &[("path_template_rewrite", Decided)],
    },
    Table {
        message: "envoy.config.route.v3.RouteAction",
        fields: &[
            ("cluster", Decided),
            ("cluster_header", Decided),
            ("weighted_clusters", Decided),
            (
                "cluster_specifier_plugin",
                Unsupported("cluster specifier plugins are not decided"),
            ),
            (
                "inline_cluster_specifier_plugin",
                Unsupported("cluster specifier plugins are not decided"),
            ),
            ("cluster_not_found_response_code", Decided),
            ("metadata_match", Decided),
            ("prefix_rewrite", Decided),
            ("regex_rewrite", Decided),
            ("path_rewrite_policy", Judge(path_rewrite)),
            ("path_rewrite", Judge(mutation::rewrite)),
            ("host_rewrite_literal", Decided),
            ("auto_host_rewrite", Decided),
            ("host_rewrite_header", Judge(header::name)),
            ("host_rewrite_path_regex", Decided),
            ("host_rewrite", Judge(mutation::rewrite)),
            ("append_x_forwarded_host", Decided),
            ("timeout", TIMING),
            ("idle_timeout", HEEDED),
            ("flush_timeout", TIMING),
            ("early_data_policy", TIMING),
            ("retry_policy", RETRIES),
            ("retry_policy_typed_config", RETRIES),
            ("request_mirror_policies", Decided),
            (
                "priority",
                ReadOver(
                    "circuit breakers have priorities, and are decided only where endpoints follow a script (--endpoints)",
                ),
            ),
            ("rate_limits", RATE_LIMITS),
            ("include_vh_rate_limits", RATE_LIMITS),
            ("hash_policy", Decided),
            (
                "cors",
                Unsupported("a CORS policy may answer preflight requests"),
            ),
            ("max_grpc_timeout", HEEDED),
            ("grpc_timeout_offset", TIMING),
            ("upgrade_configs", Decided),
            (
                "internal_redirect_policy",
                ReadOver(
                    "no response is followed; where endpoints follow a script (--endpoints) such requests are not decided",
                ),
            ),
            (
                "internal_redirect_action",
                ReadOver(
                    "no response is followed; where endpoints follow a script (--endpoints) such requests are not decided",
                ),
            ),
            (
                "max_internal_redirects",
                ReadOver(
                    "no response is followed; where endpoints follow a script (--endpoints) such requests are not decided",
                ),
            ),
            ("hedge_policy", RETRIES),
            ("max_stream_duration", HEEDED),
        ],
    },
    Table {
        message: "envoy.config.route.v3.WeightedCluster",
        fields: &[
            ("clusters", Decided),
            (
                "total_weight",
                ReadOver("it is deprecated: the total is the sum of the weights"),
            ),
            (
                "runtime_key_prefix",
                Unsupported("weights that the runtime may override are not decided"),
            ),
            ("header_name", Decided),
            ("use_hash_policy", Decided),
        ],
    },
    Table {
        message: "envoy.config.route.v3.RouteAction.HashPolicy",
        fields: &[
            ("header", Decided),
            ("cookie", Decided),
            ("connection_properties", Decided),
            ("query_parameter", Decided),
            (
                "filter_state",
                ReadOver("a request whose hash takes the filter state is not decided"),
            ),
            ("terminal", Decided),
        ],
    },
    Table {
        message: "envoy.config.route.v3.RouteAction.HashPolicy.Header",
        fields: &[("header_name", Decided), ("regex_rewrite", Decided)],
    },
    Table {
        message: "envoy.config.route.v3.RouteAction.HashPolicy.Cookie",
        fields: &[
            ("name", Decided),
            ("ttl", Decided),
            ("path", Inert),
            ("attributes", Inert),
        ],
    },
    Table {
        message: "envoy.config.route.v3.RouteAction.HashPolicy.ConnectionProperties",
        fields: &[("source_ip", Decided)],
    },
    Table {
        message: "envoy.config.route.v3.RouteAction.HashPolicy.QueryParameter",
        fields: &[("name", Decided)],
    },
    Table {
        message: "envoy.config.route.v3.WeightedCluster.ClusterWeight",
        fields: &[
            ("name", Decided),
            ("cluster_header", Decided),
            ("weight", Decided),
            ("metadata_match", Decided),
            ("request_headers_to_add", Decided),
            ("request_headers_to_remove", Decided),
            ("response_headers_to_add", Decided),
            ("response_headers_to_remove", Decided),
            ("typed_per_filter_config", Judge(per_filter::judge)),
            ("host_rewrite_literal", Decided),
        ],
    },
    Table {
        message: "envoy.config.route.v3.RedirectAction",
        fields: &[
            ("https_redirect", Decided),
            ("scheme_redirect", Decided),
            ("host_redirect", Decided),
            ("port_redirect", Decided),
            ("path_redirect", Decided),
            ("prefix_rewrite", Decided),
            ("regex_rewrite", Decided),
            ("path_rewrite", Judge(mutation::rewrite)),
            ("response_code", Decided),
            ("strip_query", Decided),
        ],
    },
    Table {
        message: "envoy.config.route.v3.DirectResponseAction",
        fields: &[
            ("status", Decided),
            ("body", Judge(body)),
            ("body_format", Judge(body_format)),
        ],
    },
];

fn path_match(judged: &Judged<'_>) -> Verdict {
    let any = judged.child.and_then(|child| child.any("typed_config"));
    let content = any.as_ref().and_then(|any| any.content());
    let template = content.map_or("", |content| content.text("path_template"));
    if uri_template::has_star_in_text(template) {
        return Verdict::Unsupported(
            "Envoy takes a `*` in a template's text as the regex's, and here it repeats more than a character".into(),
        );
    }
    only(judged, uri_template::MATCH, "the path match extension")
}

fn path_rewrite(judged: &Judged<'_>) -> Verdict {
    only(judged, uri_template::REWRITE, "the path rewrite extension")
}

/// An extension that is decided where its configuration is of one type.
fn only(judged: &Judged<'_>, known: &str, what: &str) -> Verdict {
    let any = judged.child.and_then(|child| child.any("typed_config"));
    match any {
        Some(any) if any.type_name() == known => Verdict::Decided,
        Some(any) => {
            Verdict::Unsupported(format!("{what} {} is not decided", any.type_name()).into())
        }
        None => Verdict::Unsupported(format!("{what} has no configuration").into()),
    }
}

/// What of a body's format leaves the body undecided.
fn body_format(judged: &Judged<'_>) -> Verdict {
    let Some(config) = judged.child else {
        return Verdict::Inert;
    };
    let source = config.child("text_format_source");
    let is_elsewhere =
        |source: &View<'_>| !source.has("inline_string") && !source.has("inline_bytes");
    let problem = if config.has("formatters") {
        "extensions of formats are not decided"
    } else if source.as_ref().is_some_and(is_elsewhere) {
        "the format is not in the snapshot"
    } else {
        let mut formats = vec![config.text("text_format")];
        formats.extend(source.iter().map(|source| source.text("inline_string")));
        if let Some(fields) = config.child("json_format") {
            strings(&fields, &mut formats);
        }
        let commands = formats.into_iter().flat_map(format::undecided_in_body);
        let commands: Vec<String> = commands.map(|command| command.to_string()).collect();
        if commands.is_empty() {
            return Verdict::Decided;
        }
        let commands = commands.join(", ");
        return Verdict::ReadOver(format!("{commands} is not decided, nor is the body").into());
    };
    Verdict::ReadOver(format!("{problem}, nor is the body").into())
}

/// The strings of a Struct, in depth.
fn strings<'v>(fields: &View<'v>, found: &mut Vec<&'v str>) {
    let mut left: Vec<View<'v>> = fields
        .entries("fields")
        .into_iter()
        .map(|(_, it)| it)
        .collect();
    while let Some(value) = left.pop() {
        if value.has("string_value") {
            found.push(value.text("string_value"));
        }
        if let Some(inner) = value.child("struct_value") {
            left.extend(inner.entries("fields").into_iter().map(|(_, it)| it));
        }
        if let Some(list) = value.child("list_value") {
            left.extend(list.children("values"));
        }
    }
}

/// Where a body is not in the snapshot, it is not decided, and neither is what Envoy checks of it.
fn body(judged: &Judged<'_>) -> Verdict {
    let has = |field| judged.child.is_some_and(|child| child.has(field));
    let what = if has("filename") {
        "file"
    } else if has("environment_variable") {
        "environment variable"
    } else {
        let bytes = judged.child.map(|child| child.bytes("inline_bytes"));
        return match bytes.map(std::str::from_utf8) {
            Some(Err(_)) => Verdict::ReadOver("a body that is no text is not decided".into()),
            _ => Verdict::Decided,
        };
    };
    Verdict::ReadOver(
        format!(
            "the {what} is not looked at, so that the body is not decided: Envoy refuses the route where it is missing or too long"
        )
        .into(),
    )
}
