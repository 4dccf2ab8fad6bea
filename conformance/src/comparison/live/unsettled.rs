//! Decisions that a live server makes by what it is not told, or draws itself.

use envoy_types::pb::envoy::config::core::v3::CidrRange;
use envoy_types::pb::envoy::config::listener::v3::FilterChainMatch;
use envoy_types::pb::envoy::config::rbac::v3::{Principal, principal::Identifier};
use envoy_types::pb::envoy::extensions::filters::common::fault::v3::fault_delay::FaultDelaySecifier;
use envoy_types::pb::envoy::extensions::filters::http::fault::v3::{
    HttpFault, fault_abort::ErrorType,
};
use envoy_types::pb::envoy::extensions::filters::network::tcp_proxy::v3::{
    TcpProxy, tcp_proxy::ClusterSpecifier,
};
use envoy_types::pb::xds::r#type::matcher::v3::Matcher;
use prost::Message as _;
use twinmesh_engine::{Decision, Outcome};
use twinmesh_xds::network_rbac::Judge;
use twinmesh_xds::{Balancer, Listener, Snapshot, Terminal, http_filter::FilterKind};

use super::super::{
    Field, Verdict,
    fraction::{draws_faults, filters},
};

/// What the reference's reason begins with where a filter answers.
const FILTER: &str = "the HTTP filter ";
/// What it says of a request that a fault delays.
const DELAYED: &str = "HTTP filters delay it by";

/// Says of nothing that differs for such a reason that it does.
pub(super) fn leave(
    snapshot: &Snapshot,
    expected: &[Decision],
    found: &[Decision],
    verdicts: &mut [Verdict],
) {
    let by_source = looks_at_source(snapshot);
    let by_clock = filters(snapshot).any(is_by_clock);
    let by_share = draws_faults(snapshot);
    for ((expected, found), verdict) in expected.iter().zip(found).zip(verdicts) {
        let Verdict::Diverges(divergence) = &*verdict else {
            continue;
        };
        let fields = &divergence.fields;
        // The address that a PROXY header names is the client's, not the connection's.
        // Where they are left open for another reason, what follows from them is not.
        let fate = expected.outcome != found.outcome
            || expected.status != found.status
            || answered_by_another(expected, found);
        if fate && by_source
            || (by_clock || by_share)
                && (fate && by_filter(expected, found) || delays_otherwise(expected, found))
            || fields.contains(Field::Cluster) && draws_both(snapshot, expected, found)
            || is_of_a_zone(snapshot, expected, found)
            || lacks_original_destination(snapshot, expected)
            || takes_another_chain(snapshot, expected, found)
        {
            *verdict = Verdict::Unsupported;
        }
    }
}

/// Whether the server chose another filter chain where that is a matter of chance.
pub(super) fn takes_another_chain(
    snapshot: &Snapshot,
    expected: &Decision,
    found: &Decision,
) -> bool {
    let is_other = expected.filter_chain != found.filter_chain;
    is_other && found.outcome != Outcome::Unsupported && has_whole_range(snapshot, expected)
}

/// Whether the listener has a filter chain for the range of all addresses beside one without
/// ranges: Envoy puts both in one place, and which of them it takes is a matter of where they are
/// in its memory.
fn has_whole_range(snapshot: &Snapshot, decision: &Decision) -> bool {
    let listeners = snapshot.listeners.iter();
    let listeners = listeners.filter(|it| it.config.filter_chain_matcher.is_none());
    let mut named = listeners.filter(|it| Some(&it.name) == decision.listener.as_ref());
    let ranges: [fn(&FilterChainMatch) -> &Vec<CidrRange>; 3] = [
        |matched| &matched.prefix_ranges,
        |matched| &matched.source_prefix_ranges,
        |matched| &matched.direct_source_prefix_ranges,
    ];
    named.any(|listener| {
        let chains = listener.filter_chains.iter();
        let matches = chains.map(|chain| chain.config.filter_chain_match.as_ref());
        ranges.iter().any(|ranges| {
            let is_whole = |range: &CidrRange| range.prefix_len.is_none_or(|it| it.value == 0);
            let has_whole = |matched: &FilterChainMatch| ranges(matched).iter().any(is_whole);
            let mut matches = matches.clone();
            matches.clone().flatten().any(has_whole)
                && matches.any(|matched| matched.is_none_or(|it| ranges(it).is_empty()))
        })
    })
}

/// Whether headers of the request say what the fault is, and may ask for a smaller share of it.
fn asks_headers(fault: &HttpFault) -> bool {
    let delay = fault.delay.as_ref();
    let delay = delay.and_then(|it| it.fault_delay_secifier.as_ref());
    let abort = fault.abort.as_ref().and_then(|it| it.error_type.as_ref());
    matches!(delay, Some(FaultDelaySecifier::HeaderDelay(_)))
        || matches!(abort, Some(ErrorType::HeaderAbort(_)))
}

/// Whether the filter goes by the clock on the wall (how many tokens there are again, and which
/// delays have ended), or by a share that the request asks for.
fn is_by_clock(filter: &FilterKind) -> bool {
    match filter {
        FilterKind::LocalRateLimit(_) => true,
        FilterKind::Fault(fault) => fault.max_active_faults.is_some() || asks_headers(fault),
        _ => false,
    }
}

/// Whether a filter answered one of the two, and the route the other: to gRPC with one status.
fn answered_by_another(expected: &Decision, found: &Decision) -> bool {
    let reason = |decision: &Decision| decision.reason.clone().unwrap_or_default();
    let by_route = reason(found).starts_with("direct_response");
    expected.outcome == Outcome::DirectResponse
        && found.outcome == Outcome::DirectResponse
        && by_route == reason(expected).starts_with(FILTER)
}

/// Whether a filter answered one of the two.
fn by_filter(expected: &Decision, found: &Decision) -> bool {
    let by_server = found.reason.as_deref().unwrap_or_default();
    let names = ["local_rate_limited", "fault_filter_abort", "cors_response"];
    expected.outcome == Outcome::DirectResponse || names.iter().any(|name| by_server.contains(name))
}

/// Whether a fault delayed the request in one of the two only, which response flags tell.
fn delays_otherwise(expected: &Decision, found: &Decision) -> bool {
    let said = found.reason.as_deref().unwrap_or_default();
    let is_delayed = said.split([' ', ',']).any(|flag| flag == "DI");
    let reason = expected.reason.as_deref().unwrap_or_default();
    is_delayed != reason.contains(DELAYED)
}

/// Whether both went to one cluster, whose endpoints are chosen by the zone that the server is in: it is
/// told of none.
fn is_of_a_zone(snapshot: &Snapshot, expected: &Decision, found: &Decision) -> bool {
    let cluster = expected.cluster.as_deref();
    let cluster = cluster.and_then(|name| snapshot.cluster(name));
    expected.outcome == found.outcome
        && expected.cluster == found.cluster
        && cluster.is_some_and(|cluster| snapshot.spreads_by_zone(cluster))
}

/// Whether a cluster of kind ORIGINAL_DST is told of no address: the server is told each request's by a
/// PROXY header.
fn lacks_original_destination(snapshot: &Snapshot, expected: &Decision) -> bool {
    let cluster = expected.cluster.as_deref();
    let cluster = cluster.and_then(|name| snapshot.cluster(name));
    expected.outcome == Outcome::NoHealthyUpstream
        && cluster.is_some_and(|cluster| cluster.balancer == Balancer::OriginalDestination)
}

/// Whether a TCP proxy that draws a cluster may come to both of these.
fn draws_both(snapshot: &Snapshot, expected: &Decision, found: &Decision) -> bool {
    let listeners = snapshot.listeners.iter();
    let listeners = listeners.filter(|it| Some(&it.name) == expected.listener.as_ref());
    let chains = listeners.flat_map(Listener::all_filter_chains);
    let named = expected.filter_chain.as_deref().unwrap_or_default();
    let mut drawing = chains.filter(|chain| chain.config.name == named);
    drawing.any(|chain| match &chain.terminal {
        Terminal::Tcp(proxy) => {
            let may_close = !chain.network_rbac.is_empty();
            [expected, found]
                .into_iter()
                .all(|decision| may_come_to(proxy, may_close, decision))
        }
        _ => false,
    })
}

/// Whether the proxy may draw the decision's cluster; or another one, whose connection a network filter
/// closes once there is an endpoint, where one `may_close` it.
fn may_come_to(proxy: &TcpProxy, may_close: bool, decision: &Decision) -> bool {
    let Some(ClusterSpecifier::WeightedClusters(weighted)) = &proxy.cluster_specifier else {
        return false;
    };
    if decision.cluster.is_none() {
        return may_close && decision.outcome == Outcome::DirectResponse;
    }
    let mut clusters = weighted.clusters.iter();
    clusters.any(|it| it.weight > 0 && Some(&it.name) == decision.cluster.as_ref())
}

/// Whether nobody sees each turn that the cluster's endpoints take: a network filter may close connections
/// for which a TCP proxy has chosen.
pub(super) fn closes_some(snapshot: &Snapshot, cluster: &str) -> bool {
    snapshot
        .all_filter_chains()
        .any(|chain| match &chain.terminal {
            Terminal::Tcp(proxy) if !chain.network_rbac.is_empty() => {
                let specifier = proxy.cluster_specifier.as_ref();
                specifier.is_some_and(|specifier| match specifier {
                    ClusterSpecifier::Cluster(name) => name == cluster,
                    ClusterSpecifier::WeightedClusters(weighted) => {
                        weighted.clusters.iter().any(|it| it.name == cluster)
                    }
                })
            }
            _ => false,
        })
}

/// Whether a filter decides by the address that the connection itself comes from.
fn looks_at_source(snapshot: &Snapshot) -> bool {
    let of_requests = filters(snapshot).filter_map(|config| match config {
        FilterKind::Rbac(rbac) => Some((rbac.matcher.as_ref(), rbac.rules.as_ref())),
        _ => None,
    });
    let chains = snapshot.all_filter_chains();
    let of_connections = chains.flat_map(|chain| &chain.network_rbac);
    let of_connections = of_connections.map(|filter| match &filter.judge {
        Judge::Rules(rules) => (None, Some(&**rules)),
        Judge::Matcher(matcher) => (Some(&**matcher), None),
    });
    of_requests.chain(of_connections).any(|judge| match judge {
        (Some(matcher), _) => tree_looks_at_source(matcher),
        (None, rules) => rules
            .iter()
            .flat_map(|rules| rules.policies.values())
            .flat_map(|policy| &policy.principals)
            .any(is_source),
    })
}

/// Whether some input of a tree is the connection's own source. Extensions hold others' bytes, in which
/// their types stand by name.
fn tree_looks_at_source(matcher: &Matcher) -> bool {
    let (bytes, name) = (matcher.encode_to_vec(), b"DirectSourceIPInput");
    bytes.windows(name.len()).any(|window| window == name)
}

fn is_source(principal: &Principal) -> bool {
    #[expect(deprecated, reason = "snapshots have it")]
    match &principal.identifier {
        Some(Identifier::SourceIp(_) | Identifier::DirectRemoteIp(_)) => true,
        Some(Identifier::AndIds(all) | Identifier::OrIds(all)) => all.ids.iter().any(is_source),
        Some(Identifier::NotId(inner)) => is_source(inner),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use envoy_types::pb::envoy::extensions::filters::network::tcp_proxy::v3::tcp_proxy::{
        WeightedCluster, weighted_cluster::ClusterWeight,
    };
    use rstest::rstest;

    use super::*;
    use crate::comparison::Fields;

    #[rstest]
    #[case(Outcome::Forward, Some("one"), false, true)]
    #[case(Outcome::NoHealthyUpstream, Some("one"), false, true)]
    #[case(Outcome::Forward, Some("never"), true, false)]
    #[case(Outcome::Forward, Some("other"), true, false)]
    #[case(Outcome::DirectResponse, None, true, true)]
    #[case(Outcome::DirectResponse, None, false, false)]
    #[case(Outcome::NoFilterChain, None, true, false)]
    fn what_a_proxy_that_draws_may_come_to(
        #[case] outcome: Outcome,
        #[case] cluster: Option<&str>,
        #[case] may_close: bool,
        #[case] expected: bool,
    ) {
        let entry = |(name, weight): (&str, u32)| ClusterWeight {
            name: name.to_owned(),
            weight,
            ..ClusterWeight::default()
        };
        let clusters = [("one", 3), ("two", 1), ("never", 0)].map(entry);
        let weighted = WeightedCluster {
            clusters: clusters.into(),
        };
        let proxy = TcpProxy {
            cluster_specifier: Some(ClusterSpecifier::WeightedClusters(weighted)),
            ..TcpProxy::default()
        };
        let decision = Decision {
            outcome,
            cluster: cluster.map(str::to_owned),
            ..Decision::default()
        };
        assert_eq!(may_come_to(&proxy, may_close, &decision), expected);
    }

    /// Two chains that take any connection, one of them by the range of all addresses.
    fn whole_range(length: u32) -> Snapshot {
        let chain = |name: &str, matched: &str| {
            format!(
                "    - name: {name}\n      filter_chain_match: {{{matched}}}\n      filters:\n      - name: t\n        \
                 typed_config: {{\"@type\": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy, \
                 stat_prefix: s, cluster: {name}}}\n"
            )
        };
        let range = format!("prefix_ranges: [{{address_prefix: 10.0.0.0, prefix_len: {length}}}]");
        let text = format!(
            "static_resources:\n  clusters: [{{name: none}}, {{name: all}}]\n  listeners:\n  - name: l\n    \
             address: {{socket_address: {{address: 10.0.0.1, port_value: 80}}}}\n    filter_chains:\n{}{}",
            chain("none", "transport_protocol: raw_buffer"),
            chain("all", &range),
        );
        twinmesh_xds::read_bytes("f.yaml", text.as_bytes(), &Default::default())
            .expect("it is read")
    }

    #[rstest]
    #[case(0, "all", "none", true)]
    #[case(0, "none", "all", true)]
    #[case(0, "all", "all", false)]
    #[case(8, "all", "none", false)]
    fn which_chain_is_a_matter_of_chance(
        #[case] length: u32,
        #[case] expected: &str,
        #[case] found: &str,
        #[case] by_chance: bool,
    ) {
        let snapshot = whole_range(length);
        let [expected, found] = [expected, found].map(|chain| Decision {
            outcome: Outcome::Forward,
            listener: Some("l".to_owned()),
            filter_chain: Some(chain.to_owned()),
            cluster: Some(chain.to_owned()),
            ..Decision::default()
        });
        assert_eq!(takes_another_chain(&snapshot, &expected, &found), by_chance);
        // The verdict may name the cluster alone, where that is drawn.
        let mut verdicts = [Verdict::Agrees];
        verdicts[0].diverge(Fields::from_iter([Field::Cluster]), None);
        leave(&snapshot, &[expected], &[found], &mut verdicts);
        assert_eq!(verdicts[0] == Verdict::Unsupported, by_chance);
    }

    fn answered(reason: &str) -> Decision {
        Decision {
            outcome: Outcome::DirectResponse,
            status: Some(200),
            reason: Some(reason.to_owned()),
            ..Decision::default()
        }
    }

    #[rstest]
    #[case("the HTTP filter \"limit\" answers", "direct_response", true)]
    #[case("the HTTP filter \"limit\" answers", "local_rate_limited RL", false)]
    #[case("the route answers by itself", "local_rate_limited RL", true)]
    #[case("the route answers by itself", "direct_response DI", false)]
    fn who_answered(#[case] expected: &str, #[case] found: &str, #[case] differs: bool) {
        let found = answered_by_another(&answered(expected), &answered(found));
        assert_eq!(found, differs);
    }

    #[rstest]
    #[case("the route redirects", "direct_response DI", true)]
    #[case(
        "the route redirects; HTTP filters delay it by 20 ms",
        "direct_response DI,UT",
        false
    )]
    #[case(
        "the route redirects; HTTP filters delay it by 20 ms",
        "direct_response",
        true
    )]
    #[case("the route redirects", "direct_response DIRECT", false)]
    fn who_was_delayed(#[case] expected: &str, #[case] found: &str, #[case] differs: bool) {
        let found = delays_otherwise(&answered(expected), &answered(found));
        assert_eq!(found, differs);
    }
}
