//! What Envoy refuses in a message wherever it stands, beyond the constraints in its .proto files:
//! what it finds out when it builds a matcher, a route or a header mutation from the message.

use std::net::IpAddr;

use envoy_types::pb::envoy::config::core::v3::proxy_protocol_config::Version;
use envoy_types::pb::envoy::extensions::filters::listener::proxy_protocol::v3::ProxyProtocol;
use prost::Message as _;

use crate::{classify::TCP_PROXY, format, header_mutation, network_rbac::NETWORK_RBAC, view::View};

/// A field of the message, or the message itself, and what is wrong with it.
type Fault = (Option<Place>, String);

/// A field, and the element of it where it is repeated.
pub(super) struct Place {
    pub(super) field: &'static str,
    pub(super) index: Option<usize>,
}

impl Place {
    fn field(field: &'static str) -> Option<Place> {
        Some(Place { field, index: None })
    }

    fn item(field: &'static str, index: usize) -> Option<Place> {
        let index = Some(index);
        Some(Place { field, index })
    }
}

/// Checks a message by its name.
pub(super) fn check(view: &View<'_>) -> Result<(), Fault> {
    durations(view)?;
    match view.message.name.as_str() {
        "envoy.type.matcher.v3.StringMatcher" => string_matcher(view),
        "envoy.config.route.v3.RouteConfiguration"
        | "envoy.config.route.v3.VirtualHost"
        | "envoy.config.route.v3.Route"
        | "envoy.config.route.v3.WeightedCluster.ClusterWeight" => header_mutations(view),
        header_mutation::MUTATIONS => mutations_of_filter(view),
        "envoy.config.route.v3.RouteAction.RequestMirrorPolicy" => mirror_policy(view),
        "envoy.config.route.v3.FilterConfig" => filter_config(view),
        "envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit" => local_rate_limit(view),
        "xds.type.matcher.v3.IPMatcher.IPRangeMatcher" => range_matcher(view),
        "envoy.extensions.matching.input_matchers.ip.v3.Ip" => ranges(view, "cidr_ranges"),
        TCP_PROXY => tcp_proxy(view),
        "envoy.config.accesslog.v3.AccessLog" if !view.has("typed_config") => Err((
            None,
            "typed_config is required: Envoy finds no extension by its name".to_owned(),
        )),
        "envoy.extensions.filters.http.health_check.v3.HealthCheck" => health_check(view),
        "envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol" => proxy_protocol(view),
        "envoy.config.rbac.v3.Permission" | "envoy.config.rbac.v3.Principal" => rbac_rule(view),
        "envoy.config.bootstrap.v3.LayeredRuntime" => layered_runtime(view),
        _ => Ok(()),
    }
}

/// The layers of the runtime.
fn layered_runtime(view: &View<'_>) -> Result<(), Fault> {
    let (mut names, mut has_admin) = (Vec::new(), false);
    for (index, layer) in view.children("layers").iter().enumerate() {
        let (name, is_admin) = (layer.text("name"), layer.has("admin_layer"));
        let problem = if names.contains(&name) {
            format!("a second layer of the name {name:?}")
        } else if is_admin && has_admin {
            "a second admin_layer".to_owned()
        } else {
            names.push(name);
            has_admin |= is_admin;
            continue;
        };
        return Err((Place::item("layers", index), problem));
    }
    Ok(())
}

fn tcp_proxy(view: &View<'_>) -> Result<(), Fault> {
    let is_late = view.number("upstream_connect_mode") != 0;
    match is_late && !view.has("max_early_data_bytes") {
        true => Err((
            Place::field("upstream_connect_mode"),
            "max_early_data_bytes is required beside it".to_owned(),
        )),
        false => Ok(()),
    }
}

/// Envoy counts milliseconds.
fn health_check(view: &View<'_>) -> Result<(), Fault> {
    let kept = view
        .child("cache_time")
        .is_some_and(|time| time.number("seconds") != 0 || time.number("nanos") >= 1_000_000);
    match kept && view.wrapped("pass_through_mode") == Some(0) {
        true => Err((
            Place::field("cache_time"),
            "it may stand only beside a pass_through_mode that is true".to_owned(),
        )),
        false => Ok(()),
    }
}

fn proxy_protocol(view: &View<'_>) -> Result<(), Fault> {
    let config = ProxyProtocol::decode(view.bytes).unwrap_or_default();
    let all = [Version::V1, Version::V2].map(|version| version as i32);
    match all
        .iter()
        .all(|version| config.disallowed_versions.contains(version))
    {
        true => Err((
            Place::field("disallowed_versions"),
            "all versions are disallowed".to_owned(),
        )),
        false => Ok(()),
    }
}

/// The durations that Envoy counts in nanoseconds from 0 on, by message.
const DURATIONS: &[(&str, &[&str])] = &[
    (
        "envoy.config.route.v3.RouteAction",
        &[
            "timeout",
            "idle_timeout",
            "flush_timeout",
            "max_grpc_timeout",
            "grpc_timeout_offset",
        ],
    ),
    (
        "envoy.config.route.v3.RouteAction.MaxStreamDuration",
        &[
            "max_stream_duration",
            "grpc_timeout_header_max",
            "grpc_timeout_header_offset",
        ],
    ),
    (
        "envoy.config.route.v3.RetryPolicy",
        &["per_try_timeout", "per_try_idle_timeout"],
    ),
    (
        "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        &[
            "stream_idle_timeout",
            "request_timeout",
            "request_headers_timeout",
            "drain_timeout",
            "delayed_close_timeout",
        ],
    ),
    (
        "envoy.config.listener.v3.Listener",
        &["listener_filters_timeout"],
    ),
    ("envoy.config.cluster.v3.Cluster", &["cleanup_interval"]),
    (
        "envoy.config.cluster.v3.Cluster.CommonLbConfig",
        &["update_merge_window"],
    ),
    (
        "envoy.config.cluster.v3.Cluster.SlowStartConfig",
        &["slow_start_window"],
    ),
    (
        "envoy.extensions.load_balancing_policies.common.v3.SlowStartConfig",
        &["slow_start_window"],
    ),
    (
        "envoy.config.core.v3.HttpProtocolOptions",
        &[
            "idle_timeout",
            "max_connection_duration",
            "max_stream_duration",
        ],
    ),
    (
        "envoy.config.route.v3.RouteAction.HashPolicy.Cookie",
        &["ttl"],
    ),
    (
        TCP_PROXY,
        &[
            "idle_timeout",
            "downstream_idle_timeout",
            "upstream_idle_timeout",
            "max_downstream_connection_duration",
        ],
    ),
    (NETWORK_RBAC, &["delay_deny"]),
];

/// The first second that nanoseconds in 63 bits do not hold as a whole.
const SECONDS_END: i64 = i64::MAX / 1_000_000_000;

fn durations(view: &View<'_>) -> Result<(), Fault> {
    let fields = DURATIONS
        .iter()
        .find(|(message, _)| *message == view.message.name);
    for &field in fields.map_or(&[][..], |(_, fields)| fields) {
        let Some(duration) = view.child(field) else {
            continue;
        };
        let (seconds, nanos) = (
            duration.number("seconds") as i64,
            duration.number("nanos") as i32,
        );
        if seconds < 0 || nanos < 0 || seconds >= SECONDS_END {
            return Err((
                Place::field(field),
                format!(
                    "a duration from 0 to less than {SECONDS_END} seconds was expected, {} found",
                    seconds as f64 + f64::from(nanos) / 1e9
                ),
            ));
        }
    }
    Ok(())
}

fn string_matcher(view: &View<'_>) -> Result<(), Fault> {
    if view.has("safe_regex") && view.number("ignore_case") != 0 {
        let problem = "it has no effect beside safe_regex; (?i) in the regex does it";
        return Err((Place::field("ignore_case"), problem.to_owned()));
    }
    Ok(())
}

/// Headers that are not to be changed.
fn header_mutations(view: &View<'_>) -> Result<(), Fault> {
    for field in ["request_headers_to_add", "response_headers_to_add"] {
        for (index, option) in view.children(field).iter().enumerate() {
            if let Some(problem) = put_header(option) {
                return Err((Place::item(field, index), problem));
            }
        }
    }
    for field in ["request_headers_to_remove", "response_headers_to_remove"] {
        for (index, name) in view.texts(field).iter().enumerate() {
            if is_kept(name) {
                return Err((
                    Place::item(field, index),
                    format!("the header {name:?} may not be removed"),
                ));
            }
        }
    }
    Ok(())
}

/// What is wrong with a header that is added.
fn put_header(option: &View<'_>) -> Option<String> {
    let header = option.child("header");
    let name = header.as_ref().map_or("", |header| header.text("key"));
    if is_kept(name) {
        return Some(format!("the header {name:?} may not be changed"));
    }
    let value = header.as_ref().map_or("", |header| header.text("value"));
    if let Err(fault) = format::parse(value) {
        return Some(format!("the format {value:?}, {fault}"));
    }
    (option.has("append") && option.number("append_action") != 0)
        .then(|| "append stands beside append_action, which takes its place".to_owned())
}

/// Routing needs the host and what HTTP/2 has pseudo headers for.
fn is_kept(name: &str) -> bool {
    name.starts_with(':') || name.eq_ignore_ascii_case("host")
}

/// What filters add to headers.
fn mutations_of_filter(view: &View<'_>) -> Result<(), Fault> {
    for field in [
        "request_mutations",
        "response_mutations",
        "response_trailers_mutations",
        "request_trailers_mutations",
    ] {
        for (index, change) in view.children(field).iter().enumerate() {
            let added = change.child("append");
            if let Some(problem) = added.as_ref().and_then(put_header) {
                return Err((Place::item(field, index), problem));
            }
        }
    }
    Ok(())
}

fn mirror_policy(view: &View<'_>) -> Result<(), Fault> {
    let problem = match (
        view.text("cluster").is_empty(),
        view.text("cluster_header").is_empty(),
    ) {
        (true, true) => "one of cluster and cluster_header is required",
        (false, false) => "only one of cluster and cluster_header may stand",
        _ => return Ok(()),
    };
    Err((None, problem.to_owned()))
}

fn filter_config(view: &View<'_>) -> Result<(), Fault> {
    if view.has("config") || view.number("disabled") != 0 {
        return Ok(());
    }
    Err((None, "one of config and disabled is required".to_owned()))
}

/// Milliseconds that a token bucket of the local rate limit filter takes to fill at least.
const LEAST_FILL_INTERVAL: u64 = 50;

fn local_rate_limit(view: &View<'_>) -> Result<(), Fault> {
    let mut known = Vec::new();
    for descriptor in view.children("descriptors") {
        let entries: Vec<(&str, &str)> = descriptor
            .children("entries")
            .iter()
            .map(|entry| (entry.text("key"), entry.text("value")))
            .collect();
        if known.contains(&entries) {
            let problem = "two descriptors have the same entries".to_owned();
            return Err((Place::field("descriptors"), problem));
        }
        known.push(entries);
        // One that holds nothing may fill as it likes.
        let bucket = descriptor.child("token_bucket");
        if let Some(bucket) = bucket.filter(|bucket| bucket.number("max_tokens") > 0) {
            fills_slowly(bucket.child("fill_interval").as_ref(), "descriptors")?;
        }
    }
    let bucket = view.child("token_bucket");
    match bucket.and_then(|bucket| bucket.child("fill_interval")) {
        Some(interval) => fills_slowly(Some(&interval), "token_bucket"),
        None => Ok(()),
    }
}

fn fills_slowly(interval: Option<&View<'_>>, field: &'static str) -> Result<(), Fault> {
    let whole = interval.is_some_and(|interval| interval.number("seconds") > 0);
    let milliseconds = interval.map_or(0, |interval| interval.number("nanos") / 1_000_000);
    if whole || milliseconds >= LEAST_FILL_INTERVAL {
        return Ok(());
    }
    let problem = format!("a fill_interval of at least {LEAST_FILL_INTERVAL} ms was expected");
    Err((Place::field(field), problem))
}

/// A range that leads nowhere, which Envoy does not survive.
fn range_matcher(view: &View<'_>) -> Result<(), Fault> {
    if !view.has("on_match") {
        return Err((None, "on_match is required".to_owned()));
    }
    ranges(view, "ranges")
}

/// The addresses of ranges.
fn ranges(view: &View<'_>, field: &'static str) -> Result<(), Fault> {
    for (index, range) in view.children(field).iter().enumerate() {
        let address = range.text("address_prefix");
        if address.parse::<IpAddr>().is_err() {
            let problem = format!("an IP address was expected, {address:?} found");
            return Err((Place::item(field, index), problem));
        }
    }
    Ok(())
}

/// Addresses and ports of a permission or a principal.
fn rbac_rule(view: &View<'_>) -> Result<(), Fault> {
    for field in [
        "destination_ip",
        "source_ip",
        "direct_remote_ip",
        "remote_ip",
    ] {
        let Some(range) = view.child(field) else {
            continue;
        };
        let address = range.text("address_prefix");
        if address.parse::<IpAddr>().is_err() {
            let problem = format!("an IP address was expected, {address:?} found");
            return Err((Place::field(field), problem));
        }
    }
    let field = "destination_port_range";
    if let Some(range) = view.child(field) {
        let [start, end] = ["start", "end"].map(|edge| range.number(edge) as i32);
        if !(0..=65_536).contains(&start) || !(0..=65_536).contains(&end) || start >= end {
            let problem = format!(
                "a range of ports from 0 to less than 65536 was expected, {start} to {end} found"
            );
            return Err((Place::field(field), problem));
        }
    }
    Ok(())
}
