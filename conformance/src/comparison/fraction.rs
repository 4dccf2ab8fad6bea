//! Decisions that a runtime fraction draws.

use envoy_types::pb::envoy::config::route::v3::VirtualHost;
use envoy_types::pb::envoy::r#type::v3::fractional_percent::DenominatorType;
use twinmesh_engine::Decision;
use twinmesh_xds::Snapshot;

/// Whether a route of the decision's virtual host takes a share of its requests.
pub(super) fn is_fractional(snapshot: &Snapshot, decision: &Decision) -> bool {
    hosts(snapshot, decision)
        .flat_map(|host| &host.routes)
        .filter_map(|route| route.r#match.as_ref()?.runtime_fraction.as_ref())
        .filter_map(|fraction| fraction.default_value.as_ref())
        .any(|share| {
            let whole = match share.denominator() {
                DenominatorType::Hundred => 100,
                DenominatorType::TenThousand => 10_000,
                DenominatorType::Million => 1_000_000,
            };
            (1..whole).contains(&share.numerator)
        })
}

/// The virtual hosts that a decision can mean.
pub(super) fn hosts<'a>(
    snapshot: &'a Snapshot,
    decision: &Decision,
) -> impl Iterator<Item = &'a VirtualHost> {
    let table = decision.route_config.clone().unwrap_or_default();
    let host = decision.virtual_host.clone().unwrap_or_default();
    let tables = snapshot.route_configurations.iter();
    tables
        .filter(move |it| it.name == table)
        .flat_map(|it| &it.config.virtual_hosts)
        .filter(move |it| it.name == host)
}
