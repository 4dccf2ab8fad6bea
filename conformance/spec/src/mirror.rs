//! `request_mirror_policies`: which clusters get a copy of a request.

use envoy_types::pb::envoy::config::cluster::v3::Cluster as ClusterConfig;
use envoy_types::pb::envoy::config::core::v3::RuntimeFractionalPercent;
use envoy_types::pb::envoy::config::route::v3::{
    RouteAction, RouteConfiguration, VirtualHost, route_action::RequestMirrorPolicy,
};
use envoy_types::pb::envoy::extensions::upstreams::http::v3::HttpProtocolOptions;
use prost::Message as _;
use twinmesh_engine::MirrorLevel;

use crate::fraction;

const PROTOCOL_OPTIONS: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";

/// The policies that count: those of the first level that has some.
pub(crate) fn policies(
    table: Option<&RouteConfiguration>,
    host: Option<&VirtualHost>,
    action: &RouteAction,
    cluster: &ClusterConfig,
) -> (MirrorLevel, Vec<RequestMirrorPolicy>) {
    let of_cluster = cluster
        .typed_extension_protocol_options
        .get(PROTOCOL_OPTIONS)
        .and_then(|any| HttpProtocolOptions::decode(any.value.as_slice()).ok())
        .map(|options| options.request_mirror_policies);
    let levels = [
        (MirrorLevel::Cluster, of_cluster),
        (
            MirrorLevel::Route,
            Some(action.request_mirror_policies.clone()),
        ),
        (
            MirrorLevel::VirtualHost,
            host.map(|host| host.request_mirror_policies.clone()),
        ),
        (
            MirrorLevel::RouteConfiguration,
            table.map(|table| table.request_mirror_policies.clone()),
        ),
    ];
    levels
        .into_iter()
        .find_map(|(level, policies)| {
            let policies = policies.filter(|policies| !policies.is_empty())?;
            Some((level, policies))
        })
        .unwrap_or((MirrorLevel::Route, Vec::new()))
}

/// Whether a policy takes the request, whose one random number this is.
pub(crate) fn takes(policy: &RequestMirrorPolicy, random: u64) -> bool {
    let share: Option<&RuntimeFractionalPercent> = policy.runtime_fraction.as_ref();
    let share = share.and_then(|share| share.default_value.as_ref());
    match (&policy.runtime_fraction, share) {
        (None, _) => true,
        (Some(_), Some(share)) => fraction::contains(share, random),
        // Its runtime key is not set.
        (Some(_), None) => false,
    }
}
