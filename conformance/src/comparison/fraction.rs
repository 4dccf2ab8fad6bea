//! Decisions that a fraction of the requests draws.

use envoy_types::pb::envoy::config::route::v3::VirtualHost;
use envoy_types::pb::envoy::r#type::v3::{FractionalPercent, fractional_percent::DenominatorType};
use twinmesh_engine::Decision;
use twinmesh_xds::{Snapshot, http_filter::FilterKind};

/// Whether a route of the decision's virtual host takes a share of its requests.
pub(super) fn is_fractional(snapshot: &Snapshot, decision: &Decision) -> bool {
    hosts(snapshot, decision)
        .flat_map(|host| &host.routes)
        .filter_map(|route| route.r#match.as_ref()?.runtime_fraction.as_ref())
        .filter_map(|fraction| fraction.default_value.as_ref())
        .any(is_some)
}

/// Whether it is some of the requests, neither none nor all.
fn is_some(share: &FractionalPercent) -> bool {
    let whole = match share.denominator() {
        DenominatorType::Hundred => 100,
        DenominatorType::TenThousand => 10_000,
        DenominatorType::Million => 1_000_000,
    };
    (1..whole).contains(&share.numerator)
}

/// What HTTP filters do: their own configurations, and what routes say to them.
pub(super) fn filters(snapshot: &Snapshot) -> impl Iterator<Item = &FilterKind> {
    let chains = snapshot.all_filter_chains();
    let own = chains.flat_map(|chain| &chain.http_filters);
    let said = snapshot
        .route_configurations
        .iter()
        .flat_map(|it| it.per_filters.values())
        .flat_map(|level| level.values())
        .filter_map(|said| said.config.as_ref());
    own.map(|filter| &filter.config).chain(said)
}

/// Whether some HTTP filter draws whether it does something with a request.
pub(super) fn draws_faults(snapshot: &Snapshot) -> bool {
    filters(snapshot).any(|config| match config {
        FilterKind::Fault(fault) => {
            let delay = fault.delay.as_ref().and_then(|it| it.percentage.as_ref());
            let abort = fault.abort.as_ref().and_then(|it| it.percentage.as_ref());
            delay.is_some_and(is_some) || abort.is_some_and(is_some)
        }
        FilterKind::Cors(Some(policy)) => {
            let enabled = policy.filter_enabled.as_ref();
            let enabled = enabled.and_then(|it| it.default_value.as_ref());
            enabled.is_some_and(is_some)
        }
        _ => false,
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
