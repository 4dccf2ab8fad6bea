//! The headers that mutations of a route name: which they are, and what of them a live Envoy can
//! show.

use std::collections::{BTreeMap, BTreeSet};

use envoy_types::pb::envoy::config::core::v3::HeaderValueOption;
use envoy_types::pb::envoy::config::route::v3::{
    Route, RouteConfiguration, VirtualHost, redirect_action::PathRewriteSpecifier, route::Action,
    route_action::ClusterSpecifier, route_action::HostRewriteSpecifier,
    weighted_cluster::ClusterWeight,
};
use prost::Message;
use twinmesh_engine::{HeaderValues, Request};
use twinmesh_xds::header_mutation::{
    HeaderChange, HeaderMutationFilter, PerLevels, effective, of_request, of_response,
};
use twinmesh_xds::{Snapshot, http_filter::Level};

/// What formats ask for that is another thing here: endpoints have stand-ins, and connections come
/// from the client of this engine, with the addresses that the request says.
fn elsewhere(request: Option<&Request>) -> Vec<&'static str> {
    let mut parts = vec!["%UPSTREAM_HOST", "%UPSTREAM_REMOTE_", "%DOWNSTREAM_DIRECT_"];
    if request.is_none_or(|request| request.source.is_none()) {
        parts.push("%DOWNSTREAM_REMOTE_");
    }
    if request.is_none_or(|request| request.destination.is_none()) {
        parts.push("%DOWNSTREAM_LOCAL_");
    }
    parts
}

/// What formats read of a request as its mutations left it: `%PATH%` and its like too, by the header
/// of the original path.
const READS_REQUEST: [&str; 3] = ["%REQ", "%PATH", "%QUERY_"];

/// What formats read of a response as its mutations left it.
const READS_RESPONSE: &str = "%RESP";

/// Headers by name in lower case, and whether their values can be told.
pub type Named = BTreeMap<String, bool>;

/// Whose headers are changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Of {
    /// The request's.
    Request,
    /// The response's.
    Response,
}

/// The levels that a request came through.
#[derive(Debug, Clone, Copy)]
pub struct Levels<'a> {
    /// The route configuration.
    pub table: &'a RouteConfiguration,
    /// The virtual host.
    pub host: &'a VirtualHost,
    /// The route.
    pub route: &'a Route,
    /// The filters that change headers, and what the route configuration says to them.
    pub filters: (&'a [HeaderMutationFilter], Option<&'a PerLevels>),
    /// The indices of the virtual host and the route.
    pub at: (usize, usize),
}

impl Levels<'_> {
    /// The headers that mutations of a request name; `cluster` tells the entries of weighted
    /// clusters.
    pub fn named(&self, of: Of, request: Option<&Request>, cluster: Option<&str>) -> Named {
        let mut elsewhere = self.elsewhere(request, cluster);
        let named = self.noted(of, &elsewhere, cluster);
        if of == Of::Response && named.values().any(|is_told| !is_told) {
            elsewhere.push(READS_RESPONSE);
            return self.noted(of, &elsewhere, cluster);
        }
        named
    }

    fn elsewhere(&self, request: Option<&Request>, cluster: Option<&str>) -> Vec<&'static str> {
        let mut elsewhere = elsewhere(request);
        let of_request = self.noted(Of::Request, &elsewhere, cluster);
        if of_request.values().any(|is_told| !is_told) {
            elsewhere.extend(READS_REQUEST);
        }
        elsewhere
    }

    /// Whether where a redirect goes can be told.
    pub fn location_is_told(&self, request: &Request) -> bool {
        let elsewhere = self.elsewhere(Some(request), None);
        let made = match &self.route.action {
            Some(Action::Redirect(action)) => match &action.path_rewrite_specifier {
                Some(PathRewriteSpecifier::PathRewrite(format)) => format.as_str(),
                _ => "",
            },
            _ => "",
        };
        let named = self.noted(Of::Response, &elsewhere, None);
        named.get("location") != Some(&false) && !elsewhere.iter().any(|part| made.contains(part))
    }

    /// Whether the body of a direct response can be told.
    pub fn body_is_told(&self, request: &Request) -> bool {
        let Some(Action::DirectResponse(action)) = &self.route.action else {
            return true;
        };
        // A format may be a text or a tree of them.
        let format = action.body_format.as_ref().map(Message::encode_to_vec);
        let format = format.unwrap_or_default();
        let format = String::from_utf8_lossy(&format);
        let elsewhere = self.elsewhere(Some(request), None);
        !elsewhere.iter().any(|part| format.contains(part))
    }

    /// Whether the path and the authority that the endpoint gets can be told.
    pub fn rewrites_are_told(&self, request: &Request, cluster: Option<&str>) -> bool {
        let Some(Action::Route(action)) = &self.route.action else {
            return true;
        };
        let elsewhere = self.elsewhere(Some(request), cluster);
        let is_told = |format: &str| !elsewhere.iter().any(|part| format.contains(part));
        let host_is_told = match &action.host_rewrite_specifier {
            Some(HostRewriteSpecifier::HostRewriteHeader(name)) => {
                let named = self.noted(Of::Request, &elsewhere, cluster);
                named.get(&name.to_ascii_lowercase()) != Some(&false)
            }
            Some(HostRewriteSpecifier::HostRewrite(format)) => is_told(format),
            _ => true,
        };
        host_is_told && is_told(&action.path_rewrite)
    }

    fn noted(&self, of: Of, elsewhere: &[&str], cluster: Option<&str>) -> Named {
        let mut named = Named::new();
        macro_rules! add {
            ($message:expr) => {
                match of {
                    Of::Request => note(
                        &mut named,
                        &$message.request_headers_to_add,
                        &$message.request_headers_to_remove,
                        elsewhere,
                    ),
                    Of::Response => note(
                        &mut named,
                        &$message.response_headers_to_add,
                        &$message.response_headers_to_remove,
                        elsewhere,
                    ),
                }
            };
        }
        add!(self.route);
        add!(self.host);
        add!(self.table);
        self.note_filters(of, elsewhere, &mut named);
        // What a header names may be any cluster; of an answer of a filter's Envoy logs none.
        let chosen = entries(self.route).iter().filter(|entry| {
            cluster.is_none_or(|cluster| entry.name == cluster) || !entry.cluster_header.is_empty()
        });
        let is_one = chosen.clone().count() < 2;
        let sure = named.clone();
        for entry in chosen {
            add!(entry);
        }
        if !is_one {
            // Which of them was taken nobody says.
            for (name, is_told) in &mut named {
                *is_told &= sure.contains_key(name);
            }
        }
        named
    }

    /// What filters change. Which entry of weighted clusters was taken, and what is said there, is not
    /// known.
    fn note_filters(&self, of: Of, elsewhere: &[&str], named: &mut Named) {
        let (filters, said) = self.filters;
        let (host, route) = self.at;
        let levels = [
            Level::Route(host, route),
            Level::VirtualHost(host),
            Level::RouteConfiguration,
        ];
        let nothing = PerLevels::new();
        for filter in filters {
            for mutations in effective(filter, said.unwrap_or(&nothing), &levels) {
                let changes: Vec<HeaderChange<'_>> = match of {
                    Of::Request => of_request(mutations).collect(),
                    Of::Response => of_response(mutations).collect(),
                };
                for change in changes {
                    match change {
                        HeaderChange::Put(option) => {
                            note(named, std::slice::from_ref(option), &[], elsewhere);
                        }
                        HeaderChange::Remove(name) => {
                            note(named, &[], std::slice::from_ref(name), elsewhere);
                        }
                    }
                }
            }
        }
    }

    /// Whether the route sends requests on.
    pub fn forwards(&self) -> bool {
        matches!(self.route.action, Some(Action::Route(_)))
    }
}

fn entries(route: &Route) -> &[ClusterWeight] {
    match &route.action {
        Some(Action::Route(action)) => match &action.cluster_specifier {
            Some(ClusterSpecifier::WeightedClusters(weighted)) => &weighted.clusters,
            _ => &[],
        },
        _ => &[],
    }
}

fn note(named: &mut Named, add: &[HeaderValueOption], remove: &[String], elsewhere: &[&str]) {
    for name in remove {
        named.entry(name.to_ascii_lowercase()).or_insert(true);
    }
    for header in add.iter().filter_map(|option| option.header.as_ref()) {
        let is_told = !elsewhere.iter().any(|part| header.value.contains(part));
        let entry = named.entry(header.key.to_ascii_lowercase()).or_insert(true);
        *entry &= is_told;
    }
}

/// The request headers that some mutation of a snapshot names: what endpoints are to tell of.
pub fn of_requests(snapshot: &Snapshot) -> BTreeSet<String> {
    let mut named = Named::new();
    let chains = snapshot.all_filter_chains();
    let own = chains.flat_map(|chain| &chain.header_mutations);
    let own = own.filter_map(|filter| filter.config.mutations.as_ref());
    let said = snapshot.route_configurations.iter();
    let said = said.flat_map(|table| table.header_mutations.values());
    let said = said.flat_map(|level| level.values());
    let said = said.filter_map(|level| level.mutations.as_ref());
    for change in own.chain(said).flat_map(of_request) {
        named.insert(change.name(), true);
    }
    for table in snapshot.route_configurations.iter().map(|it| &it.config) {
        for host in &table.virtual_hosts {
            for route in &host.routes {
                let levels = Levels {
                    table,
                    host,
                    route,
                    filters: (&[], None),
                    at: (0, 0),
                };
                named.extend(levels.named(Of::Request, None, None));
                for entry in entries(route) {
                    named.extend(levels.named(Of::Request, None, Some(&entry.name)));
                }
            }
        }
    }
    named.into_keys().collect()
}

/// The values of these headers among lines; nothing where there are none to tell of.
pub fn values<'l>(
    named: &Named,
    lines: impl Iterator<Item = (&'l str, &'l [u8])> + Clone,
) -> Option<HeaderValues> {
    let values = named.iter().map(|(name, is_told)| {
        let own = lines
            .clone()
            .filter(|(other, _)| other.eq_ignore_ascii_case(name));
        let own = own.map(|(_, value)| String::from_utf8_lossy(value.trim_ascii()).into_owned());
        (name.clone(), is_told.then(|| own.collect()))
    });
    (!named.is_empty()).then(|| values.collect())
}

#[cfg(test)]
mod tests {
    use envoy_types::pb::envoy::config::core::v3::{
        DataSource, HeaderValue, SubstitutionFormatString, data_source::Specifier,
        substitution_format_string::Format,
    };
    use envoy_types::pb::envoy::config::route::v3::{
        DirectResponseAction, RedirectAction, RouteAction, WeightedCluster,
    };

    use super::*;

    fn add(key: &str, value: &str) -> HeaderValueOption {
        HeaderValueOption {
            header: Some(HeaderValue {
                key: key.to_owned(),
                value: value.to_owned(),
                ..HeaderValue::default()
            }),
            ..HeaderValueOption::default()
        }
    }

    fn levels<'a>(
        table: &'a RouteConfiguration,
        host: &'a VirtualHost,
        route: &'a Route,
    ) -> Levels<'a> {
        Levels {
            table,
            host,
            route,
            filters: (&[], None),
            at: (0, 0),
        }
    }

    const ELSEWHERE: &str = "%DOWNSTREAM_DIRECT_REMOTE_PORT%";

    fn table(request: &str, response: &str) -> RouteConfiguration {
        RouteConfiguration {
            request_headers_to_add: vec![add("x-envoy-original-path", request)],
            response_headers_to_add: vec![add("x-a", response)],
            ..RouteConfiguration::default()
        }
    }

    fn told(request: &str, response: &str) -> bool {
        let table = table(request, response);
        let (host, route) = (VirtualHost::default(), Route::default());
        let (table, host, route) = (&table, &host, &route);
        let named = levels(table, host, route).named(Of::Response, None, None);
        named.get("x-a").copied().expect("it is named")
    }

    fn route(action: RouteAction) -> Route {
        Route {
            action: Some(Action::Route(action)),
            ..Route::default()
        }
    }

    #[test]
    fn a_body_of_what_is_another_thing_here_cannot_be_told() {
        let request: Request = serde_json::from_str(r#"{"id":"r"}"#).expect("a line of traffic");
        let (table, host) = (table("a", "a"), VirtualHost::default());
        for (text, expected) in [(ELSEWHERE, false), ("%PROTOCOL%", true)] {
            let source = DataSource {
                specifier: Some(Specifier::InlineString(text.to_owned())),
                ..DataSource::default()
            };
            let format = SubstitutionFormatString {
                format: Some(Format::TextFormatSource(source)),
                ..SubstitutionFormatString::default()
            };
            let route = Route {
                action: Some(Action::DirectResponse(DirectResponseAction {
                    status: 200,
                    body_format: Some(format),
                    ..DirectResponseAction::default()
                })),
                ..Route::default()
            };
            let levels = levels(&table, &host, &route);
            assert_eq!(levels.body_is_told(&request), expected, "{text}");
        }
    }

    #[test]
    fn what_reads_a_header_that_cannot_be_told_cannot_be_told_itself() {
        assert!(told("a", "%PATH(NQ)%"));
        assert!(told(ELSEWHERE, "%PROTOCOL%"));
        assert!(!told(ELSEWHERE, "%PATH(NQ)%"));
        assert!(!told(ELSEWHERE, "%REQ(x-envoy-original-path)%"));
        assert!(!told("a", ELSEWHERE));
        let table = RouteConfiguration {
            response_headers_to_add: vec![add("x-b", "%UPSTREAM_HOST%"), add("x-c", "%RESP(x-b)%")],
            ..RouteConfiguration::default()
        };
        let (host, route) = (VirtualHost::default(), Route::default());
        let named = levels(&table, &host, &route).named(Of::Response, None, None);
        assert_eq!(named.get("x-c"), Some(&false));
    }

    #[test]
    fn a_rewrite_by_such_a_header_cannot_be_told() {
        let request: Request = serde_json::from_str(r#"{"id":"r"}"#).expect("a line of traffic");
        let host = VirtualHost::default();
        let told = |value: &str, action: &RouteAction| {
            let (table, route) = (table(value, ""), route(action.clone()));
            let (table, host, route) = (&table, &host, &route);
            levels(table, host, route).rewrites_are_told(&request, None)
        };
        let by_header = |name: &str| RouteAction {
            host_rewrite_specifier: Some(HostRewriteSpecifier::HostRewriteHeader(name.to_owned())),
            ..RouteAction::default()
        };
        assert!(told("a", &by_header("X-Envoy-Original-Path")));
        assert!(told(ELSEWHERE, &by_header("x-b")));
        assert!(!told(ELSEWHERE, &by_header("X-Envoy-Original-Path")));
        let by_format = RouteAction {
            path_rewrite: "/%PATH(NQ)%".to_owned(),
            ..RouteAction::default()
        };
        assert!(told("a", &by_format));
        assert!(!told(ELSEWHERE, &by_format));
    }

    #[test]
    fn a_redirect_by_such_a_header_or_format_cannot_be_told() {
        let request: Request = serde_json::from_str(r#"{"id":"r"}"#).expect("a line of traffic");
        let host = VirtualHost::default();
        let told = |format: &str, location: Option<&str>| {
            let table = RouteConfiguration {
                response_headers_to_add: location.iter().map(|it| add("Location", it)).collect(),
                ..RouteConfiguration::default()
            };
            let specifier = PathRewriteSpecifier::PathRewrite(format.to_owned());
            let route = Route {
                action: Some(Action::Redirect(RedirectAction {
                    path_rewrite_specifier: Some(specifier),
                    ..RedirectAction::default()
                })),
                ..Route::default()
            };
            levels(&table, &host, &route).location_is_told(&request)
        };
        assert!(told("/%PATH(NQ)%", None));
        assert!(told("/a", Some("%PATH(NQ)%")));
        assert!(!told(ELSEWHERE, None));
        assert!(!told("/a", Some(ELSEWHERE)));
    }

    #[test]
    fn one_of_several_entries_may_be_the_one_that_was_taken() {
        let entry = |name: &str, header: &str| ClusterWeight {
            name: name.to_owned(),
            cluster_header: header.to_owned(),
            ..ClusterWeight::default()
        };
        let mut changes = entry("c", "");
        changes.request_headers_to_remove = vec!["x-a".to_owned()];
        let told = |entries: Vec<ClusterWeight>, cluster: Option<&str>| {
            let weighted = WeightedCluster {
                clusters: entries,
                ..WeightedCluster::default()
            };
            let route = route(RouteAction {
                cluster_specifier: Some(ClusterSpecifier::WeightedClusters(weighted)),
                ..RouteAction::default()
            });
            let (table, host, route) = (
                &RouteConfiguration::default(),
                &VirtualHost::default(),
                &route,
            );
            let named = levels(table, host, route).named(Of::Request, None, cluster);
            named.get("x-a").copied()
        };
        let (changes, by_header) = (|| changes.clone(), || entry("", "x-cluster"));
        let cluster = Some("c");
        assert_eq!(told(vec![changes(), entry("d", "")], cluster), Some(true));
        assert_eq!(told(vec![changes(), by_header()], cluster), Some(false));
        // A filter answered.
        assert_eq!(told(vec![changes()], None), Some(true));
        assert_eq!(told(vec![changes(), by_header()], None), Some(false));
        assert_eq!(told(vec![changes(), entry("d", "")], None), Some(false));
    }
}
