//! From a line of the access log and a response to a decision.

use std::collections::BTreeMap;

use envoy_types::pb::envoy::config::endpoint::v3::LocalityLbEndpoints;
use envoy_types::pb::envoy::config::route::v3::{
    Route, RouteConfiguration, route::Action, route_action::ClusterSpecifier,
};
use twinmesh_engine::{Decision, Outcome, Request, endpoint};
use twinmesh_xds::{FilterChain, Snapshot};

use crate::backend::{SEEN, seen};
use crate::client::Answer;
use crate::headers::{self, Levels, Of};
use crate::log::{Entry, Kind, NO_FILTER_CHAIN};
use crate::rewrite::{Place, Secured};

/// The engine's name.
pub const NAME: &str = "envoy";

/// What a log's indices and addresses mean.
pub struct Names<'a> {
    /// The snapshot.
    pub snapshot: &'a Snapshot,
    /// The endpoints by the IP address that stands for each.
    pub places: &'a BTreeMap<String, Place>,
    /// Clusters whose endpoints are not what Envoy would have.
    pub replaced: &'a BTreeMap<String, String>,
    /// The filter chains that take TLS.
    pub secured: &'a Secured,
}

/// A decision that was not made.
pub fn undecided(request: &Request, reason: impl Into<String>) -> Decision {
    Decision {
        id: request.id.clone(),
        outcome: Outcome::Unsupported,
        engine: Some(NAME.to_owned()),
        reason: Some(reason.into()),
        ..Decision::default()
    }
}

/// The decision that Envoy took.
pub fn decide(
    names: &Names<'_>,
    request: &Request,
    answer: &Answer,
    entry: Option<&Entry>,
) -> Decision {
    if let Some(failure) = &answer.failure {
        // It may have taken a turn all the same.
        return Decision {
            cluster: entry.and_then(|entry| entry.cluster.clone()),
            ..undecided(request, failure.clone())
        };
    }
    let Some(entry) = entry else {
        return undecided(
            request,
            match answer.response {
                Some(_) => "Envoy answered and logged nothing",
                None => "Envoy closed the connection and logged nothing",
            },
        );
    };
    match try_decide(names, request, answer, entry) {
        Ok(decision) => decision,
        // It may have taken a turn there.
        Err(reason) => Decision {
            cluster: entry.cluster.clone(),
            ..undecided(request, reason)
        },
    }
}

fn try_decide(
    names: &Names<'_>,
    request: &Request,
    answer: &Answer,
    entry: &Entry,
) -> Result<Decision, String> {
    if let Some(listener) = entry.listener {
        let takes_tls = names.secured.takes_tls((listener, entry.filter_chain));
        match (entry.kind, request.is_tls()) {
            (Kind::Http, true) if !takes_tls => {
                let reason = "it comes over TLS to a filter chain that takes none in this run";
                return Err(reason.to_owned());
            }
            // A TCP proxy has chosen an endpoint before the handshake fails; network filters wait for data.
            (Kind::Tcp, false)
                if takes_tls && (entry.endpoint.is_none() || names.has_network_filters(entry)) =>
            {
                let reason = "it comes in plain text to a filter chain that takes TLS in this run";
                return Err(reason.to_owned());
            }
            _ => {}
        }
    }
    let details = entry.details.as_deref().unwrap_or_default();
    let flags = entry.flags.as_deref().filter(|flags| *flags != "-");
    let closed = entry.closed.as_deref();
    let reason = [Some(details), closed, flags].into_iter().flatten();
    let reason: Vec<&str> = reason.filter(|part| !part.is_empty()).collect();
    let reason = reason.join(" ");
    let levels = names.levels(entry);
    let route = names
        .route(entry)
        .and_then(|(route, _)| route.action.as_ref());
    let redirects = match route {
        Some(Action::Redirect(_)) => true,
        Some(Action::DirectResponse(_)) => false,
        // A virtual host that requires TLS redirects without a route; to gRPC it is inside a 200,
        // and CONNECT requests are not told where to.
        _ => {
            let has_moved = |it: u32| it == 200 || (301..400).contains(&it);
            let is_told = location(answer).is_some() || request.method == "CONNECT";
            entry.status.is_some_and(has_moved) && is_told
        }
    };
    let (outcome, reach) = outcome(entry, redirects).ok_or_else(|| {
        format!(
            "no outcome is called so: status {:?}, {reason}",
            entry.status
        )
    })?;
    let mut decision = Decision {
        id: request.id.clone(),
        outcome,
        engine: Some(NAME.to_owned()),
        reason: Some(reason),
        ..Decision::default()
    };
    names.up_to(&mut decision, entry, reach);
    if entry.kind == Kind::Listener && reach >= Reach::FilterChain {
        decision.filter_chain.clone_from(&entry.chain);
    }
    if reach >= Reach::Cluster {
        decision.cluster.clone_from(&entry.cluster);
        if outcome == Outcome::NoCluster && decision.cluster.is_none() {
            decision.cluster = names.named_cluster(entry);
        }
    }
    let cluster = decision.cluster.as_deref().unwrap_or_default();
    if let Some(reason) = names.replaced.get(cluster) {
        return Err(format!("cluster `{cluster}`: {reason}"));
    }
    if outcome == Outcome::Forward {
        names.picked(&mut decision, entry)?;
        let sent = answer.response.as_ref().and_then(|it| it.header(SEEN));
        if let Some(came) = sent.and_then(seen).filter(|_| entry.kind == Kind::Http) {
            if let Some(levels) = levels {
                if !levels.rewrites_are_told(request, decision.cluster.as_deref()) {
                    let reason = "what its path or authority is made of is another thing here";
                    return Err(reason.to_owned());
                }
                let named = levels.named(Of::Request, Some(request), decision.cluster.as_deref());
                decision.request_headers = headers::values(&named, came.lines());
            }
            decision.path = (came.target != request.path).then_some(came.target);
            decision.authority =
                (Some(&came.host) != request.authority.as_ref()).then_some(came.host);
        }
    } else if entry.kind == Kind::Http {
        decision.status = entry.status.filter(|status| *status != 0);
        // What was to be sent has an endpoint, where a circuit breaker refused it.
        if outcome == Outcome::Overflow && entry.endpoint.is_some() {
            names.picked(&mut decision, entry)?;
        }
    }
    if outcome == Outcome::DirectResponse && details == "direct_response" {
        if levels.is_some_and(|levels| !levels.body_is_told(request)) {
            return Err("what its body is made of is another thing here".to_owned());
        }
        decision.body = String::from_utf8(answer.body.clone()).ok();
    }
    if outcome == Outcome::Redirect {
        if levels.is_some_and(|levels| !levels.location_is_told(request)) {
            return Err("what its location is made of is another thing here".to_owned());
        }
        decision.location = location(answer);
    }
    // Of an answer of a filter's, or to an upgrade, only a route that forwards changes the headers,
    // and of a preflight's none.
    let is_changed = |levels: &Levels<'_>| {
        !(by_filter(details) || details == "upgrade_failed")
            || levels.forwards() && details != "cors_response"
    };
    if let (Some(levels), Some(response)) = (levels.filter(is_changed), &answer.response)
        && reach >= Reach::Route
    {
        // Where there is no such cluster, Envoy logs none.
        let named = levels.named(Of::Response, Some(request), decision.cluster.as_deref());
        let lines = response.headers.iter();
        let lines = lines.map(|(name, value)| (name.as_str(), value.as_slice()));
        decision.response_headers = headers::values(&named, lines);
    }
    Ok(decision)
}

/// What a connection manager says where it refuses a head before any route is looked for; the log
/// names a virtual host all the same.
const MANAGERS_OWN: [&str; 5] = [
    "absolute_path_rejected",
    "low_version",
    "missing_host_header",
    "missing_path_rejected",
    "path_normalization_failed",
];

/// How far a decision got.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Reach {
    Nothing,
    Listener,
    FilterChain,
    RouteConfiguration,
    VirtualHost,
    Route,
    Cluster,
}

/// What Envoy's own words mean; `None`: nothing that is known here.
/// `redirects`: whether what answers by itself redirects.
fn outcome(entry: &Entry, redirects: bool) -> Option<(Outcome, Reach)> {
    let details = entry.details.as_deref().unwrap_or_default();
    let flagged = |flag: &str| {
        let flags = entry.flags.as_deref().unwrap_or_default();
        flags.split(',').any(|found| found == flag)
    };
    let status = entry.status.unwrap_or_default();
    match entry.kind {
        Kind::Front if details == "direct_response" => {
            return Some((Outcome::NoListener, Reach::Nothing));
        }
        // Its PROXY header was refused.
        Kind::Front => return None,
        Kind::Listener if details == NO_FILTER_CHAIN => {
            return Some((Outcome::NoFilterChain, Reach::Listener));
        }
        Kind::Listener if entry.is_closed_by_filter() => {
            return Some((Outcome::DirectResponse, Reach::FilterChain));
        }
        Kind::Listener => return None,
        Kind::Tcp => {
            let outcome = if entry.endpoint.is_some() {
                Outcome::Forward
            } else if flagged("NC") {
                Outcome::NoCluster
            } else if flagged("UH") {
                Outcome::NoHealthyUpstream
            } else {
                return None;
            };
            return Some((outcome, Reach::Cluster));
        }
        Kind::Http => {}
    }
    Some(match details {
        // The latter: the endpoint answered, and did not switch protocols.
        "via_upstream" | "websocket_handshake_unsuccessful" => (Outcome::Forward, Reach::Cluster),
        // It became a tunnel, which the client has closed.
        "downstream_remote_disconnect" if entry.endpoint.is_some() => {
            (Outcome::Forward, Reach::Cluster)
        }
        "upgrade_failed" => (Outcome::BadRequest, Reach::Route),
        "direct_response" if redirects => (Outcome::Redirect, Reach::Route),
        "direct_response" => (Outcome::DirectResponse, Reach::Route),
        _ if by_filter(details) => (Outcome::DirectResponse, Reach::Route),
        "path_normalization_failed" if status == 307 => {
            (Outcome::Redirect, Reach::RouteConfiguration)
        }
        "route_not_found" if entry.virtual_host.is_some() => (Outcome::NoRoute, Reach::VirtualHost),
        "route_not_found" => (Outcome::NoVirtualHost, Reach::RouteConfiguration),
        "cluster_not_found" => (Outcome::NoCluster, Reach::Cluster),
        "no_healthy_upstream" => (Outcome::NoHealthyUpstream, Reach::Cluster),
        _ if details.starts_with("http1.") || details.starts_with("http.") => {
            (Outcome::BadRequest, Reach::FilterChain)
        }
        "drop_overload" | "unconditional_drop_overload" => (Outcome::Overflow, Reach::Cluster),
        _ if flagged("UO") => (Outcome::Overflow, Reach::Cluster),
        // It was sent where nothing listens: to an address of the request's.
        _ if flagged("UF") && entry.endpoint.is_some() => (Outcome::Forward, Reach::Cluster),
        _ if MANAGERS_OWN.contains(&details) => (Outcome::BadRequest, Reach::RouteConfiguration),
        _ if entry.virtual_host.is_none() && matches!(status, 400 | 404 | 426) => {
            (Outcome::BadRequest, Reach::RouteConfiguration)
        }
        _ => return None,
    })
}

/// Whether an HTTP filter answered.
fn by_filter(details: &str) -> bool {
    ["cors_response", "fault_filter_abort", "local_rate_limited"].contains(&details)
        || details.starts_with("rbac_access_denied")
        || details.starts_with("health_check")
}

fn location(answer: &Answer) -> Option<String> {
    let value = answer.response.as_ref()?.header("location")?;
    Some(value.iter().copied().map(char::from).collect())
}

impl Names<'_> {
    fn table(&self, entry: &Entry) -> Option<&RouteConfiguration> {
        let all = &self.snapshot.route_configurations;
        Some(&all.get(entry.route_config?)?.config)
    }

    fn route(&self, entry: &Entry) -> Option<(&Route, usize)> {
        let host = self.table(entry)?.virtual_hosts.get(entry.virtual_host?)?;
        let index = entry.route?;
        Some((host.routes.get(index)?, index))
    }

    /// What the request came through, where a route took it.
    fn levels(&self, entry: &Entry) -> Option<Levels<'_>> {
        let table = self.table(entry)?;
        let at = entry.virtual_host?;
        let host = table.virtual_hosts.get(at)?;
        let (route, index) = self.route(entry)?;
        let all = &self.snapshot.route_configurations;
        let said = all.get(entry.route_config?);
        let filters = self.chain(entry).map_or(&[][..], |it| &it.header_mutations);
        Some(Levels {
            table,
            host,
            route,
            filters: (filters, said.map(|said| &said.header_mutations)),
            at: (at, index),
        })
    }

    /// The filter chain that took the connection.
    fn chain(&self, entry: &Entry) -> Option<&FilterChain> {
        let listener = self.snapshot.listeners.get(entry.listener?)?;
        match entry.filter_chain {
            Some(index) => listener.filter_chains.get(index),
            None => listener.default_filter_chain.as_ref(),
        }
    }

    /// Whether network filters may close the connection.
    fn has_network_filters(&self, entry: &Entry) -> bool {
        self.chain(entry)
            .is_some_and(|chain| !chain.network_rbac.is_empty())
    }

    /// Names what was reached; what has no name is absent.
    fn up_to(&self, decision: &mut Decision, entry: &Entry, reach: Reach) {
        let named = |name: &String| (!name.is_empty()).then(|| name.clone());
        let listener = entry
            .listener
            .and_then(|it| self.snapshot.listeners.get(it));
        if reach >= Reach::Listener {
            decision.listener = listener.and_then(|it| named(&it.name));
        }
        if reach >= Reach::FilterChain {
            let chain = listener.and_then(|it| match entry.filter_chain {
                Some(index) => it.filter_chains.get(index),
                None => it.default_filter_chain.as_ref(),
            });
            decision.filter_chain = chain.and_then(|it| named(&it.config.name));
        }
        if reach >= Reach::RouteConfiguration {
            decision.route_config = self.table(entry).and_then(|it| named(&it.name));
        }
        if reach >= Reach::VirtualHost {
            let hosts = self.table(entry).map(|it| &it.virtual_hosts);
            let host = hosts.zip(entry.virtual_host);
            let host = host.and_then(|(hosts, index)| hosts.get(index));
            decision.virtual_host = host.and_then(|it| named(&it.name));
        }
        if reach >= Reach::Route {
            decision.route = self
                .route(entry)
                .map(|(route, index)| named(&route.name).unwrap_or_else(|| format!("#{index}")));
        }
    }

    /// The missing cluster, where its route names one outright: Envoy logs none.
    fn named_cluster(&self, entry: &Entry) -> Option<String> {
        let (route, _) = self.route(entry)?;
        let Some(Action::Route(action)) = &route.action else {
            return None;
        };
        match &action.cluster_specifier {
            Some(ClusterSpecifier::Cluster(name)) => Some(name.clone()),
            _ => None,
        }
    }

    /// The endpoint that was picked. One that stands for none of the snapshot's is the request's
    /// own destination.
    fn picked(&self, decision: &mut Decision, entry: &Entry) -> Result<(), String> {
        let address = entry.endpoint.clone().unwrap_or_default();
        let ip = address.rsplit_once(':').map_or("", |(ip, _)| ip);
        let Some(place) = self.places.get(ip) else {
            decision.endpoint = Some(address);
            decision.priority = Some(0);
            return Ok(());
        };
        let clusters = &self.snapshot.clusters;
        let cluster = clusters.get(place.cluster);
        let group = cluster
            .and_then(|it| it.load_assignment.as_ref())
            .and_then(|it| it.endpoints.get(place.locality));
        let picked = group.and_then(|it| it.lb_endpoints.get(place.endpoint));
        let (Some(cluster), Some(group), Some(picked)) = (cluster, group, picked) else {
            return Err(format!("{address} stands for no endpoint"));
        };
        if decision.cluster.as_deref() != Some(cluster.name.as_str()) {
            return Err(format!(
                "{address} stands for an endpoint of cluster `{}`",
                cluster.name
            ));
        }
        decision.endpoint = endpoint::address(picked);
        decision.priority = Some(group.priority);
        decision.locality = locality(group);
        Ok(())
    }
}

/// As decisions name it.
fn locality(group: &LocalityLbEndpoints) -> Option<String> {
    let locality = group.locality.as_ref()?;
    let parts = [&locality.region, &locality.zone, &locality.sub_zone].map(String::as_str);
    let named = parts.iter().any(|part| !part.is_empty());
    named.then(|| parts.join("/"))
}
