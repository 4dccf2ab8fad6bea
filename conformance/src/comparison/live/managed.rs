//! What a connection manager leaves of a request, of which clusters and endpoints may be chosen.

use twinmesh_engine::{Chain, Decision, Request};
use twinmesh_spec::reading::Seen;
use twinmesh_xds::{FilterChain, Snapshot, Terminal};

/// A request behind the connection manager.
pub(super) struct Managed {
    /// As routes see it; `None` where that is not known.
    seen: Option<Seen>,
    /// The names of the headers that only a request from inside keeps, in lower case, where some may be.
    pub(super) uncertain: Vec<String>,
}

impl Managed {
    /// All values of a header or pseudo header.
    pub(super) fn values(&self, name: &str) -> Vec<String> {
        let seen = self.seen.as_ref();
        seen.map_or_else(Vec::new, |seen| seen.values(name))
    }

    /// The query of the path; empty where there is none.
    pub(super) fn query(&self) -> &str {
        let target = self.seen.as_ref().map_or("", Seen::target);
        target.split_once('?').map_or("", |(_, query)| query)
    }

    /// Whether it is known.
    pub(super) fn is_known(&self) -> bool {
        self.seen.is_some()
    }
}

/// The request as the connection manager that the decision went through leaves it.
pub(super) fn managed(snapshot: &Snapshot, request: &Request, decision: &Decision) -> Managed {
    let at = place_of(snapshot, decision);
    let chain = at.and_then(|(listener, chain)| chain_at(snapshot, listener, chain));
    let unnamed = decision.listener.is_none();
    let seen = match (unnamed, at) {
        (false, None) => None,
        _ => Seen::new(snapshot, request, at),
    };
    Managed {
        seen,
        uncertain: chain.map_or_else(Vec::new, |chain| uncertain(snapshot, chain)),
    }
}

fn place_of(snapshot: &Snapshot, decision: &Decision) -> Option<(usize, Chain)> {
    let mut listeners = snapshot.listeners.iter();
    let index = listeners.position(|it| Some(&it.name) == decision.listener.as_ref())?;
    let listener = snapshot.listeners.get(index)?;
    let named = decision.filter_chain.as_deref().unwrap_or_default();
    let mut chains = listener.filter_chains.iter();
    let chain = chains.position(|chain| chain.config.name == named);
    let default = listener.default_filter_chain.iter();
    let mut default = default.filter(|chain| chain.config.name == named);
    let chain = chain.map(Chain::Index);
    Some((
        index,
        chain.or_else(|| default.next().map(|_| Chain::Default))?,
    ))
}

fn chain_at(snapshot: &Snapshot, listener: usize, chain: Chain) -> Option<&FilterChain> {
    let listener = snapshot.listeners.get(listener)?;
    match chain {
        Chain::Index(index) => listener.filter_chains.get(index),
        Chain::Default => listener.default_filter_chain.as_ref(),
    }
}

/// `internal_only_headers`, where the ranges of addresses that are inside may hold the server's own client.
fn uncertain(snapshot: &Snapshot, chain: &FilterChain) -> Vec<String> {
    let Terminal::Http {
        manager,
        route_configuration: Some(index),
    } = &chain.terminal
    else {
        return Vec::new();
    };
    let may_be_inside = manager.internal_address_config.is_some();
    let table = snapshot.route_configurations.get(*index);
    let internal = table.filter(|_| may_be_inside);
    let internal = internal.map_or(&[][..], |table| &table.config.internal_only_headers);
    internal.iter().map(|it| it.to_ascii_lowercase()).collect()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const SNAPSHOT: &str = r#"
static_resources:
  listeners:
  - name: l
    address: {socket_address: {address: 10.0.0.1, port_value: 80}}
    filter_chains:
    - name: f
      filters:
      - name: m
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: s
          append_x_forwarded_port: true
          via: gw
          common_http_protocol_options: {headers_with_underscores_action: DROP_HEADER}
          http_filters:
          - name: router
            typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
          route_config: {name: rc, internal_only_headers: [x-inside]}
"#;

    #[rstest]
    #[case("x-a", &["1"])]
    #[case("x-named", &[])]
    #[case("x_b", &[])]
    #[case("x-inside", &[])]
    #[case("x-forwarded-port", &["80"])]
    #[case("via", &["gw"])]
    #[case(":path", &["/p?q"])]
    fn what_is_left(#[case] name: &str, #[case] expected: &[&str]) {
        let options = twinmesh_xds::ReadOptions::default();
        let snapshot = twinmesh_xds::read_bytes("f.yaml", SNAPSHOT.as_bytes(), &options);
        let snapshot = snapshot.expect("it is read");
        let headers = [
            ("x-a", "1"),
            ("Connection", "close, X-Named"),
            ("x-named", "1"),
            ("x_b", "1"),
            ("x-inside", "1"),
        ];
        let request = Request {
            authority: Some("h.test".to_owned()),
            path: "/p?q".to_owned(),
            headers: headers
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
            source: "9.9.9.9:9".parse().ok(),
            destination: "10.0.0.1:80".parse().ok(),
            ..Request::default()
        };
        let decision = Decision {
            listener: Some("l".to_owned()),
            filter_chain: Some("f".to_owned()),
            ..Decision::default()
        };
        let managed = managed(&snapshot, &request, &decision);
        assert!(managed.is_known());
        assert_eq!(managed.values(name), expected);
        assert_eq!(managed.query(), "q");
    }
}
