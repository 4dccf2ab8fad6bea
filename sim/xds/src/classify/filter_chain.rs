//! Filter chains, what they match, and their network filters.

use super::{
    Judged, MANAGER, METADATA,
    Rule::{Decided, Inert, Judge, ReadOver, Unsupported},
    TCP_PROXY, TIMING, Table, Verdict, filter, transport_socket,
};
use crate::network_rbac::NETWORK_RBAC;

pub(super) const TABLES: &[Table] = &[
    Table {
        message: "envoy.config.listener.v3.FilterChain",
        fields: &[
            ("filter_chain_match", Decided),
            ("filters", Judge(network_filter)),
            (
                "use_proxy_proto",
                ReadOver("a request's source and destination are already the connection's own"),
            ),
            ("metadata", METADATA),
            ("transport_socket", Judge(transport_socket::downstream)),
            ("transport_socket_connect_timeout", TIMING),
            ("name", Decided),
        ],
    },
    Table {
        message: "envoy.config.listener.v3.FilterChainMatch",
        fields: &[
            ("destination_port", ADDRESS),
            ("prefix_ranges", ADDRESS),
            (
                "address_suffix",
                Unsupported("address suffixes are not decided"),
            ),
            (
                "suffix_len",
                Unsupported("address suffixes are not decided"),
            ),
            ("direct_source_prefix_ranges", Judge(direct_source)),
            ("source_type", ADDRESS),
            ("source_prefix_ranges", ADDRESS),
            ("source_ports", ADDRESS),
            ("server_names", Decided),
            ("transport_protocol", Decided),
            ("application_protocols", Decided),
        ],
    },
    Table {
        message: "envoy.config.core.v3.CidrRange",
        fields: &[("address_prefix", Decided), ("prefix_len", Decided)],
    },
    Table {
        message: "envoy.config.listener.v3.Filter",
        fields: &[
            ("name", Inert),
            ("typed_config", Decided),
            ("config_discovery", Decided),
        ],
    },
];

/// What a filter chain asks of a connection's addresses.
const ADDRESS: super::Rule = Judge(address);

fn address(judged: &Judged<'_>) -> Verdict {
    match judged.context.without_addresses && !judged.context.by_tree {
        true => Verdict::Unsupported(
            "connections to a pipe or an internal listener have no address to match".into(),
        ),
        false => Verdict::Decided,
    }
}

fn direct_source(judged: &Judged<'_>) -> Verdict {
    match address(judged) {
        Verdict::Decided if !judged.context.by_tree => super::direct_peer(judged),
        verdict => verdict,
    }
}

/// A network filter: the terminal one, or one before it.
fn network_filter(judged: &Judged<'_>) -> Verdict {
    let Some(network_filter) = judged.child else {
        return Verdict::Decided;
    };
    let is_last = judged.parent.children("filters").len() == judged.index + 1;
    let name = network_filter.text("name");
    let Some(any) = network_filter.any("typed_config") else {
        return Verdict::Decided;
    };
    let kind = filter::content_type(&any);
    if kind == MANAGER || kind == TCP_PROXY {
        return if is_last {
            Verdict::Decided
        } else {
            Verdict::Unsupported(format!("the filter {name} is not the last of its chain").into())
        };
    }
    if is_last {
        return Verdict::Unsupported(
            format!("the chain ends in the filter {name}, which is not decided").into(),
        );
    }
    if filter::is_istio_inert(&kind) {
        return Verdict::Inert;
    }
    let limits = [
        "envoy.extensions.filters.network.connection_limit.v3.ConnectionLimit",
        "envoy.extensions.filters.network.local_ratelimit.v3.LocalRateLimit",
    ];
    if limits.contains(&kind.as_str()) {
        return Verdict::Caution("connections are decided as if its limit is not reached".into());
    }
    let watchers = [
        "envoy.extensions.filters.network.mongo_proxy.v3.MongoProxy",
        "envoy.extensions.filters.network.tcp_bandwidth_limit.v3.TcpBandwidthLimit",
        "envoy.extensions.filters.network.zookeeper_proxy.v3.ZooKeeperProxy",
    ];
    if watchers.contains(&kind.as_str()) {
        return Verdict::ReadOver(format!("the filter {name} only watches the bytes").into());
    }
    // In a TypedStruct it has no fields that could be looked at.
    if any.type_name() == NETWORK_RBAC {
        return Verdict::Decided;
    }
    if kind.ends_with(".wasm.v3.Wasm") && filter::is_reporting_wasm(&any) {
        return Verdict::ReadOver(format!("the filter {name} reports").into());
    }
    Verdict::Unsupported(
        format!("the filter {name} may close connections or send them elsewhere").into(),
    )
}
