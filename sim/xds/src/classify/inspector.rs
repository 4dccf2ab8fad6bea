//! Listener filters that are disabled for some connections (`ListenerFilter.filter_disabled`).
//!
//! An inspector that does not run finds nothing out, and filter chains and RBAC rules that ask for it
//! are chosen as if there were nothing. That counts where some connection for which it is disabled could
//! get to such a chain.

use std::ops::Range;

use super::Verdict;
use crate::view::View;

pub(super) const HTTP_INSPECTOR: &str =
    "envoy.extensions.filters.listener.http_inspector.v3.HttpInspector";
pub(super) const TLS_INSPECTOR: &str =
    "envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector";

/// The application protocols that an HTTP inspector finds out.
const OF_HTTP: [&str; 3] = ["h2c", "http/1.0", "http/1.1"];

/// Filters that change the destination that those behind them see.
const READDRESS: [&[u8]; 2] = [
    b"envoy.extensions.filters.listener.original_dst.v3.OriginalDst",
    b"envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol",
];

const ALL: Range<i64> = 0..65_536;

/// A known filter of the listener, by its type and its place, which has `filter_disabled`.
pub(super) fn judge(listener: &View<'_>, index: usize, kind: &str, name: &str) -> Verdict {
    let asked: &[&str] = match kind {
        HTTP_INSPECTOR => &["application_protocols"],
        TLS_INSPECTOR => &[
            "application_protocols",
            "server_names",
            "transport_protocol",
        ],
        _ => &[],
    };
    let filters = listener.children("listener_filters");
    let is_readdressed = filters
        .iter()
        .skip(index)
        .any(|filter| READDRESS.iter().any(|name| contains(filter.bytes, name)));
    let predicate = filters
        .get(index)
        .and_then(|filter| filter.child("filter_disabled"));
    let disabled = match predicate {
        Some(predicate) if !is_readdressed => ports(&predicate),
        _ => vec![ALL],
    };
    let chains = listener.children("filter_chains");
    let asks = |chain: &View<'_>| {
        let matched = chain.child("filter_chain_match");
        let matched = matched.as_ref();
        matched.is_some_and(|matched| match kind {
            HTTP_INSPECTOR => matched
                .texts("application_protocols")
                .iter()
                .any(|protocol| OF_HTTP.contains(protocol)),
            _ => asked.iter().any(|field| matched.has(field)),
        }) || kind == TLS_INSPECTOR && contains(chain.bytes, b"rbac.v3.RBAC")
    };
    let by_tree = listener.has("filter_chain_matcher") && !asked.is_empty();
    let by_default = listener.child("default_filter_chain");
    let by_default = by_default.is_some_and(|chain| asks(&chain));
    if by_tree || by_default || disabled.iter().any(|range| reaches(&chains, range, &asks)) {
        return Verdict::Unsupported(
            format!("the listener filter {name} is disabled for connections whose filter chain or rules ask for what it finds out")
                .into(),
        );
    }
    Verdict::ReadOver("no filter chain asks for what it finds out where it is disabled".into())
}

/// Whether a connection to a port of this range can get to a chain that asks. A chain with the port
/// hides those without any.
fn reaches(chains: &[View<'_>], range: &Range<i64>, asks: &dyn Fn(&View<'_>) -> bool) -> bool {
    let port = |chain: &View<'_>| {
        let matched = chain.child("filter_chain_match")?;
        matched.wrapped("destination_port").map(|port| port as i64)
    };
    let mut own: Vec<i64> = chains.iter().filter_map(port).collect();
    own.retain(|port| range.contains(port));
    own.sort_unstable();
    own.dedup();
    let others = range.end - range.start > own.len() as i64;
    chains.iter().any(|chain| {
        let comes = match port(chain) {
            Some(port) => range.contains(&port),
            None => others,
        };
        comes && asks(chain)
    })
}

/// The destination ports of connections that a predicate may hold for: at least those.
fn ports(predicate: &View<'_>) -> Vec<Range<i64>> {
    if let Some(any_of) = predicate.child("or_match") {
        return any_of.children("rules").iter().flat_map(ports).collect();
    }
    match predicate.child("destination_port_range") {
        // Int32Range, without its end.
        Some(range) => Vec::from([Range {
            start: range.number("start") as i64,
            end: range.number("end") as i64,
        }]),
        None => vec![ALL],
    }
}

fn contains(bytes: &[u8], name: &[u8]) -> bool {
    bytes.windows(name.len()).any(|window| window == name)
}
