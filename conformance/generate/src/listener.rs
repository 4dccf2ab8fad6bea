//! Listeners and filter chains.

use std::collections::HashSet;

use proptest::collection::vec;
use proptest::option::weighted;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use serde_json::{Value, json};

use crate::balancing::criteria;
use crate::filter_chain_matcher;
use crate::http_filter::http_filters;
use crate::matcher::{object, set};
use crate::mutation::{mirrors, mutations};
use crate::rbac::network_filters;
use crate::route::virtual_hosts;
use crate::texts::CLUSTERS;
use crate::upgrade;

/// Address ranges of filter chain matches.
pub const RANGES: &[(&str, u32)] = &[
    ("10.0.0.0", 8),
    ("10.1.0.0", 16),
    ("10.1.0.1", 32),
    ("127.0.0.0", 8),
    ("0.0.0.0", 0),
    ("fd00::", 8),
    ("fd00::1", 128),
];
/// Server names of filter chain matches.
pub const SERVER_NAMES: &[&str] = &["a.com", "*.a.com", "b.a.com", "*.b.a.com", "*.com"];
/// Ports of listeners and filter chain matches.
pub const PORTS: &[u32] = &[80, 81, 8080];

const MANAGER: &str = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
const ROUTER: &str = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router";
const TCP_PROXY: &str =
    "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy";
const INSPECTOR: &str =
    "type.googleapis.com/envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector";

const HTTP_INSPECTOR: &str =
    "type.googleapis.com/envoy.extensions.filters.listener.http_inspector.v3.HttpInspector";

fn ranges(share: f64) -> impl Strategy<Value = Option<Value>> {
    weighted(
        share,
        subsequence(RANGES, 1..3).prop_map(|ranges| {
            ranges
                .into_iter()
                .map(|(prefix, length)| json!({"address_prefix": prefix, "prefix_len": length}))
                .collect::<Value>()
        }),
    )
}

fn chain_match() -> BoxedStrategy<Value> {
    let array = |of: &'static [&'static str], share: f64| {
        weighted(share, subsequence(of, 1..3).prop_map(|texts| json!(texts)))
    };
    (
        weighted(0.2, select(PORTS).prop_map(|port| json!(port))),
        ranges(0.2),
        array(SERVER_NAMES, 0.3),
        weighted(
            0.15,
            select(&["tls", "raw_buffer"][..]).prop_map(|it| json!(it)),
        ),
        array(&["h2", "http/1.1"], 0.15),
        ranges(0.2),
        // Rare: a live server is told of it by nothing.
        ranges(0.04),
        weighted(
            0.1,
            subsequence(&[1000, 1001][..], 1..=2).prop_map(|it| json!(it)),
        ),
        weighted(
            0.1,
            select(&["SAME_IP_OR_LOOPBACK", "EXTERNAL"][..]).prop_map(|it| json!(it)),
        ),
    )
        .prop_map(
            |(port, to, names, transport, protocols, from, direct, ports, kind)| {
                let mut matched = json!({});
                for (name, value) in [
                    ("destination_port", port),
                    ("prefix_ranges", to),
                    ("server_names", names),
                    ("transport_protocol", transport),
                    ("application_protocols", protocols),
                    ("source_prefix_ranges", from),
                    ("direct_source_prefix_ranges", direct),
                    ("source_ports", ports),
                    ("source_type", kind),
                ] {
                    if let Some(value) = value {
                        set(&mut matched, name, value);
                    }
                }
                matched
            },
        )
        .boxed()
}

fn manager() -> BoxedStrategy<Value> {
    let option = prop_oneof![
        12 => Just(json!({})),
        1 => Just(json!({"normalize_path": true})),
        1 => Just(json!({"merge_slashes": true})),
        1 => Just(json!({"strip_any_host_port": true})),
        1 => Just(json!({"strip_matching_host_port": true})),
        1 => Just(json!({"strip_trailing_host_dot": true})),
        1 => Just(json!({"use_remote_address": true})),
        1 => Just(json!({"xff_num_trusted_hops": 1})),
        2 => (any::<bool>(), prop::bool::weighted(0.2)).prop_map(|(own, hops)| {
            let ranges = RANGES.iter().filter(|(base, _)| !base.starts_with("0.")).step_by(2);
            let ranges = ranges.map(|(base, length)| json!({"address_prefix": base, "prefix_len": length}));
            json!({"use_remote_address": own, "xff_num_trusted_hops": u32::from(hops),
                "internal_address_config": {"cidr_ranges": ranges.collect::<Vec<_>>()}})
        }),
    ];
    let option = (option, managed_headers()).prop_map(|(mut option, managed)| {
        if let (Some(option), Value::Object(managed)) = (option.as_object_mut(), managed) {
            option.extend(managed);
        }
        option
    });
    let internal = weighted(0.15, vec(select(&INTERNAL_ONLY[..]), 1..3));
    let ignore_port = (weighted(0.1, Just(true)), internal);
    let wins = prop::bool::weighted(0.3);
    let changes = (mutations(), mirrors(), wins, upgrade::of_manager());
    (
        option,
        virtual_hosts(),
        ignore_port,
        http_filters(),
        changes,
    )
        .prop_map(
            |(
                mut manager,
                virtual_hosts,
                (ignore_port, internal),
                mut filters,
                (mutations, mirrors, wins, upgrades),
            )| {
                let mut routes = object([
                    ("virtual_hosts", Value::Array(virtual_hosts)),
                    ("validate_clusters", json!(false)),
                ]);
                for (name, value) in mutations.into_iter().chain(mirrors) {
                    set(&mut routes, name, value);
                }
                if wins {
                    set(
                        &mut routes,
                        "most_specific_header_mutations_wins",
                        json!(true),
                    );
                }
                if let Some(ignore) = ignore_port {
                    set(&mut routes, "ignore_port_in_host_matching", json!(ignore));
                }
                if let Some(internal) = internal {
                    set(&mut routes, "internal_only_headers", json!(internal));
                }
                set(&mut manager, "@type", json!(MANAGER));
                set(&mut manager, "stat_prefix", json!("s"));
                if let Some(upgrades) = upgrades {
                    set(&mut manager, "upgrade_configs", upgrades);
                }
                set(&mut manager, "route_config", routes);
                filters.push(json!({"name": "router", "typed_config": {"@type": ROUTER}}));
                set(&mut manager, "http_filters", Value::Array(filters));
                manager
            },
        )
        .boxed()
}

/// Headers that are taken off requests from outside.
const INTERNAL_ONLY: [&str; 5] = ["x-a", "X-B", "via", "x-forwarded-port", "referer"];

/// Headers that the connection manager writes.
fn managed_headers() -> BoxedStrategy<Value> {
    prop_oneof![
        16 => Just(json!({})),
        1 => Just(json!({"via": "gw"})),
        1 => Just(json!({"append_x_forwarded_port": true})),
        1 => Just(json!({"append_x_forwarded_port": true, "via": "a, b"})),
    ]
    .boxed()
}

fn tcp_proxy() -> BoxedStrategy<Value> {
    let asked = || weighted(0.4, criteria());
    let entry = (select(CLUSTERS), 1..4u32, asked());
    let clusters = prop_oneof![
        1 => select(CLUSTERS).prop_map(|name| json!({"cluster": name})),
        2 => vec(entry, 1..4).prop_map(|entries| {
            let entries = entries.into_iter().map(|(name, weight, asked)| {
                let mut entry = json!({"name": name, "weight": weight});
                if let Some(asked) = asked {
                    set(&mut entry, "metadata_match", asked);
                }
                entry
            });
            json!({"weighted_clusters": {"clusters": entries.collect::<Vec<_>>()}})
        }),
    ];
    let waits = prop::bool::weighted(0.3);
    (clusters, asked(), waits)
        .prop_map(|(mut proxy, asked, waits)| {
            if waits {
                let mode = json!("ON_DOWNSTREAM_DATA");
                set(&mut proxy, "upstream_connect_mode", mode);
                set(&mut proxy, "max_early_data_bytes", json!(1024));
            }
            set(&mut proxy, "@type", json!(TCP_PROXY));
            set(&mut proxy, "stat_prefix", json!("s"));
            if let Some(asked) = asked {
                set(&mut proxy, "metadata_match", asked);
            }
            proxy
        })
        .boxed()
}

fn terminal() -> BoxedStrategy<Value> {
    let last = prop_oneof![
        12 => manager(),
        1 => tcp_proxy(),
    ];
    (network_filters(), last)
        .prop_map(|(mut filters, config)| {
            let name = ("name", json!("terminal"));
            filters.push(object([name, ("typed_config", config)]));
            Value::Array(filters)
        })
        .boxed()
}

fn listener() -> BoxedStrategy<Value> {
    let chains = prop_oneof![
        2 => (Just(Vec::new()), terminal().prop_map(Some)),
        2 => (vec((chain_match(), terminal()), 1..2), proptest::option::of(terminal())),
        1 => (vec((chain_match(), terminal()), 2..5), proptest::option::of(terminal())),
    ];
    let by_matches = (chains, Just(None), Just(false));
    // What the chains ask for themselves does not count beside a tree. All have the same filters, so that
    // requests get far through whichever is named.
    let asks = prop_oneof![4 => Just(json!({})), 1 => chain_match()];
    let named = (vec(asks, 2..4), terminal(), prop::bool::weighted(0.7));
    let named = named.prop_map(|(asks, filters, has_default)| {
        let chains = asks.into_iter().map(|asked| (asked, filters.clone()));
        let chains: Vec<(Value, Value)> = chains.collect();
        (chains, has_default.then_some(filters))
    });
    let matcher = filter_chain_matcher::matcher().prop_map(Some);
    let by_tree = (named, matcher, any::<bool>());
    let chosen = prop_oneof![7 => by_matches, 1 => by_tree];
    // Without an inspector nothing of TLS is known: rare, as most chains are out of reach then.
    (chosen, prop::bool::weighted(0.96))
        .prop_map(|(((chains, default), matcher, reads_http), reads_tls)| {
            let mut taken = HashSet::new();
            let chains: Vec<Value> = chains
                .into_iter()
                .filter(|(matched, _)| matcher.is_some() || taken.insert(matched.to_string()))
                .enumerate()
                .map(|(index, (matched, filters))| {
                    let name = ("name", json!(format!("f{index}")));
                    object([name, ("filter_chain_match", matched), ("filters", filters)])
                })
                .collect();
            let mut inspectors = Vec::new();
            if reads_tls {
                inspectors.push(json!({"name": "tls", "typed_config": {"@type": INSPECTOR}}));
            }
            if reads_http {
                inspectors.push(json!({"name": "http", "typed_config": {"@type": HTTP_INSPECTOR}}));
            }
            let chains = ("filter_chains", Value::Array(chains));
            let inspectors = ("listener_filters", Value::Array(inspectors));
            let mut listener = object([chains, inspectors]);
            if let Some(matcher) = matcher {
                set(&mut listener, "filter_chain_matcher", matcher);
            }
            if let Some(filters) = default {
                let chain = object([("name", json!("d")), ("filters", filters)]);
                set(&mut listener, "default_filter_chain", chain);
            }
            listener
        })
        .boxed()
}

/// One to three listeners, at addresses of which one covers another.
pub fn listeners() -> BoxedStrategy<Vec<Value>> {
    let bound = [("0.0.0.0", 80), ("127.0.0.1", 80), ("::", 81)];
    prop_oneof![3 => vec(listener(), 1..2), 1 => vec(listener(), 2..4)]
        .prop_map(move |listeners| {
            listeners
                .into_iter()
                .zip(bound)
                .enumerate()
                .map(|(index, (mut listener, (address, port)))| {
                    let socket = json!({"address": address, "port_value": port});
                    set(&mut listener, "name", json!(format!("l{index}")));
                    set(&mut listener, "address", json!({"socket_address": socket}));
                    name_route_configurations(&mut listener, index);
                    listener
                })
                .collect()
        })
        .boxed()
}

/// Route configurations have names that tell where they are.
fn name_route_configurations(listener: &mut Value, index: usize) {
    let name = |chain: &mut Value, suffix: String| {
        let filters = chain.get_mut("filters").and_then(Value::as_array_mut);
        let last = filters.and_then(|filters| filters.last_mut());
        if let Some(routes) = last.and_then(|it| it.pointer_mut("/typed_config/route_config")) {
            set(routes, "name", json!(format!("rc{index}-{suffix}")));
        }
    };
    for (at, chain) in listener
        .get_mut("filter_chains")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
        .enumerate()
    {
        name(chain, at.to_string());
    }
    if let Some(chain) = listener.get_mut("default_filter_chain") {
        name(chain, "d".to_owned());
    }
}
