//! `typed_per_filter_config`: what a route configuration, virtual host, route or weighted cluster
//! says to filters.
//!
//! What it says to filters that are decided is, too. Of the others it is enough to look for what
//! makes an otherwise idle filter act: a connection manager with one that acts by itself is
//! undecided as a whole.

use super::{
    Judged,
    Rule::{Decided, Inert},
    Table, Verdict, filter,
};
use crate::{header_mutation, http_filter, view::AnyView};

const FILTER_CONFIG: &str = "envoy.config.route.v3.FilterConfig";

const ENTRY: &[(&str, super::Rule)] = &[("key", Decided), ("value", Decided)];

pub(super) const TABLES: &[Table] = &[
    Table {
        message: FILTER_CONFIG,
        fields: &[
            ("config", Decided),
            ("is_optional", Inert),
            ("disabled", Decided),
        ],
    },
    Table {
        message: "envoy.config.route.v3.RouteConfiguration.TypedPerFilterConfigEntry",
        fields: ENTRY,
    },
    Table {
        message: "envoy.config.route.v3.VirtualHost.TypedPerFilterConfigEntry",
        fields: ENTRY,
    },
    Table {
        message: "envoy.config.route.v3.Route.TypedPerFilterConfigEntry",
        fields: ENTRY,
    },
    Table {
        message: "envoy.config.route.v3.WeightedCluster.ClusterWeight.TypedPerFilterConfigEntry",
        fields: ENTRY,
    },
];

/// Types that leave decisions alone.
const INERT: &[&str] = &[
    "envoy.extensions.filters.http.bandwidth_limit.v3.BandwidthLimit",
    "envoy.extensions.filters.http.buffer.v3.BufferPerRoute",
    "envoy.extensions.filters.http.compressor.v3.CompressorPerRoute",
    "envoy.extensions.filters.http.grpc_stats.v3.FilterConfig",
    "envoy.extensions.filters.http.set_metadata.v3.Config",
];

/// One entry of the map.
pub(super) fn judge(judged: &Judged<'_>) -> Verdict {
    let Some(entry) = judged.child else {
        return Verdict::Decided;
    };
    let name = entry.text("key");
    let Some(any) = entry.any("value") else {
        return Verdict::Inert;
    };
    if is_decided(&any) {
        Verdict::Decided
    } else if acts(&any) || filter::writes_for_balancers(judged, &any) {
        Verdict::Unsupported(format!("what it says to the filter {name} is not decided").into())
    } else {
        Verdict::ReadOver(format!("what it says to the filter {name} changes no decision").into())
    }
}

/// Whether it speaks to a filter that is decided, or only switches one on or off.
fn is_decided(any: &AnyView<'_>) -> bool {
    let is_known =
        |name: &str| http_filter::is_decided_per_route(name) || name == header_mutation::PER_ROUTE;
    if any.type_name() != FILTER_CONFIG {
        return is_known(any.type_name());
    }
    let Some(wrapper) = any.content() else {
        return false;
    };
    wrapper.number("disabled") != 0
        || wrapper
            .any("config")
            .is_none_or(|config| config.type_url.is_empty() || is_known(config.type_name()))
}

fn acts(any: &AnyView<'_>) -> bool {
    let Some(content) = any.content() else {
        return !filter::is_istio_inert(any.type_name());
    };
    if content.number("disabled") != 0 {
        return false;
    }
    match any.type_name() {
        FILTER_CONFIG => match content.any("config") {
            Some(inner) => acts(&inner),
            None => false,
        },
        name if INERT.contains(&name) => false,
        _ => filter::effect(any).is_err(),
    }
}
