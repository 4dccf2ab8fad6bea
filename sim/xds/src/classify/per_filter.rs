//! `typed_per_filter_config`: what a route configuration, virtual host, route or weighted cluster
//! says to filters.
//!
//! A connection manager with a filter that may change decisions is undecided as a whole, so it is
//! enough to look for what makes an otherwise idle filter act, or enables a disabled one.

use super::{Judged, Verdict, filter};
use crate::view::AnyView;

const FILTER_CONFIG: &str = "envoy.config.route.v3.FilterConfig";

/// Types that leave decisions alone.
const INERT: &[&str] = &[
    "envoy.extensions.filters.http.bandwidth_limit.v3.BandwidthLimit",
    "envoy.extensions.filters.http.buffer.v3.BufferPerRoute",
    "envoy.extensions.filters.http.compressor.v3.CompressorPerRoute",
    "envoy.extensions.filters.http.grpc_stats.v3.FilterConfig",
    "envoy.extensions.filters.http.header_mutation.v3.HeaderMutationPerRoute",
    "envoy.extensions.filters.http.header_to_metadata.v3.Config",
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
    if acts(&any) {
        Verdict::Unsupported(format!("what it says to the filter {name} is not decided").into())
    } else {
        Verdict::ReadOver(format!("what it says to the filter {name} changes no decision").into())
    }
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
            // It enables the filter, whichever that is.
            None => true,
        },
        "envoy.extensions.filters.http.rbac.v3.RBACPerRoute" => content
            .child("rbac")
            .is_some_and(|rbac| rbac.has("rules") || rbac.has("matcher")),
        name if INERT.contains(&name) => false,
        _ => filter::effect(any).is_err(),
    }
}
