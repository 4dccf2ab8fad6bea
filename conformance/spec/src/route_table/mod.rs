//! One request against a route configuration alone, as Envoy's route table check tool asks it:
//! without listener and connection manager, so that every header is as it was given, and without
//! clusters and endpoints.
//!
//! Header mutations, rewrites and their order are as measured on Envoy 1.40.

mod action;
mod matching;

use envoy_types::pb::envoy::config::route::v3::{
    HeaderMatcher, Route, RouteConfiguration, VirtualHost, virtual_host::TlsRequirementType,
};
use twinmesh_xds::Profile;

use crate::header;
use crate::message::as_matched;
use crate::redirect;
use crate::regex::{self, Regexes};
use crate::substitution::Substitutions;
use crate::virtual_host;

pub use crate::lines::{Known, Lines, Undecided};
use matching::Verdict;

/// A request, and what the tool sets beside it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Input {
    /// `:method`.
    pub method: String,
    /// `:authority`.
    pub authority: String,
    /// `:path`, with its query.
    pub path: String,
    /// The scheme is https, and so is `x-forwarded-proto`.
    pub ssl: bool,
    /// `x-envoy-internal: true` is there.
    pub internal: bool,
    /// Chooses among weighted clusters, and whether a runtime fraction lets the request through.
    pub random_value: u64,
    /// The runtime key that is set; routes whose `runtime_fraction` has another one take nothing.
    pub runtime: String,
    /// Further headers of the request.
    pub request_headers: Vec<(String, String)>,
    /// Headers of the response, before the route changes them.
    pub response_headers: Vec<(String, String)>,
}

/// What took the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Taker {
    /// A route that forwards.
    Forward {
        /// Index of the virtual host.
        virtual_host: usize,
        /// Index of the route in it.
        route: usize,
        /// Index of the weighted cluster, where the route has some.
        entry: Option<usize>,
    },
    /// A route that redirects, or answers by itself.
    Answer {
        /// Index of the virtual host.
        virtual_host: usize,
        /// Index of the route in it.
        route: usize,
    },
    /// A virtual host whose `require_tls` redirects.
    Tls {
        /// Index of the virtual host.
        virtual_host: usize,
    },
    /// No virtual host has the authority, or none of its routes the request.
    Nothing,
}

/// What becomes of a request. Texts are empty where there is nothing of the kind, as in the tool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Routed {
    /// What took it.
    pub taker: Taker,
    /// The cluster; of a route that forwards only, like the next four.
    pub cluster: Known<String>,
    /// The virtual cluster: the first whose matchers accept the request as it is sent upstream,
    /// `other` where none does and the virtual host has some.
    pub virtual_cluster: Known<String>,
    /// The virtual host's name.
    pub virtual_host: String,
    /// The path as it is sent upstream.
    pub path: Known<String>,
    /// The authority as it is sent upstream.
    pub authority: Known<String>,
    /// Where an answer sends the client; the request's own URL where it is no redirect.
    pub location: Known<String>,
    /// The answer's status; 0 of none.
    pub status: u32,
    /// The route's timeout in nanoseconds: 15 s where it says nothing. Of a route that forwards
    /// only.
    pub timeout: Option<u128>,
    /// The request as it is sent upstream.
    pub request: Lines,
    /// The response.
    pub response: Lines,
}

/// A route configuration, ready to be asked.
#[derive(Debug)]
pub struct RouteTable<'a> {
    config: &'a RouteConfiguration,
    regexes: Regexes,
    substitutions: Substitutions,
    profile: Profile,
}

impl<'a> RouteTable<'a> {
    /// Takes a route configuration that was read and validated, and the matchers that
    /// [`RouteTable::accepts`] will be asked about.
    ///
    /// # Errors
    /// A regex is not RE2's, or too large; the text names it.
    pub fn new<'m>(
        config: &'a RouteConfiguration,
        matchers: impl IntoIterator<Item = &'m HeaderMatcher>,
    ) -> Result<Self, String>
    where
        'a: 'm,
    {
        let routes = config.virtual_hosts.iter().flat_map(|host| &host.routes);
        let virtual_clusters = config
            .virtual_hosts
            .iter()
            .flat_map(|host| &host.virtual_clusters)
            .flat_map(|cluster| &cluster.headers);
        let patterns = routes
            .filter_map(|route| route.r#match.as_ref())
            .flat_map(regex::patterns)
            .chain(virtual_clusters.filter_map(regex::of_header))
            .chain(matchers.into_iter().filter_map(regex::of_header));
        Ok(Self {
            config,
            regexes: Regexes::compile(patterns)?,
            substitutions: Substitutions::of_routes(&config.virtual_hosts),
            profile: Profile::default(),
        })
    }

    /// By this profile's rules.
    #[must_use]
    pub fn with_profile(self, profile: Profile) -> Self {
        Self { profile, ..self }
    }

    /// Whether a matcher accepts these lines.
    ///
    /// # Errors
    /// The value of the header that it asks for is not known.
    pub fn accepts(&self, matcher: &HeaderMatcher, lines: &Lines) -> Known<bool> {
        let values = as_matched(lines.values(&matcher.name)?, self.profile);
        Ok(header::accepts(matcher, values, &self.regexes))
    }

    /// Routes a request.
    ///
    /// # Errors
    /// The route that takes it cannot be told.
    pub fn route(&self, input: &Input) -> Known<Routed> {
        if let Some(reason) = self.undecided() {
            return Err(Undecided::new(reason));
        }
        let request = of_request(input)?;
        let nothing = Routed::nothing(request, input);
        let selected = virtual_host::select(self.config, &input.authority);
        let Some((index, _)) = selected else {
            return Ok(nothing);
        };
        let Some(host) = self.config.virtual_hosts.get(index) else {
            return Ok(nothing);
        };
        if host.matcher.is_some() {
            return Err(Undecided::new(format!(
                "the virtual host {} has a matcher tree, which is not decided",
                host.name
            )));
        }
        if redirects_to_tls(host, input) {
            return Ok(Routed {
                taker: Taker::Tls {
                    virtual_host: index,
                },
                location: Ok(redirect::to_tls(&nothing.request.message()?)),
                status: 301,
                ..nothing
            });
        }
        for (route, config) in host.routes.iter().enumerate() {
            match matching::matches(config, &nothing.request, input, self)? {
                Verdict::Fails => {}
                Verdict::Matches => return self.take(index, route, host, config, nothing, input),
                Verdict::Undecided(what) => {
                    let name = crate::route::name(config, route);
                    return Err(Undecided::new(format!(
                        "route {name} of virtual host {}: {what}",
                        host.name
                    )));
                }
            }
        }
        Ok(nothing)
    }

    /// What of the route configuration as a whole is not decided.
    fn undecided(&self) -> Option<&'static str> {
        let config = self.config;
        [
            (config.vhds.is_some(), "vhds: virtual hosts come on demand"),
            (
                !config.vhost_header.is_empty(),
                "vhost_header: virtual hosts are chosen by another header than the host",
            ),
            (
                config.ignore_path_parameters_in_path_matching,
                "ignore_path_parameters_in_path_matching is not decided",
            ),
        ]
        .into_iter()
        .find_map(|(is_there, what)| is_there.then_some(what))
    }

    fn take(
        &self,
        virtual_host: usize,
        route: usize,
        host: &VirtualHost,
        config: &Route,
        nothing: Routed,
        input: &Input,
    ) -> Known<Routed> {
        let at = action::At {
            table: self.config,
            regexes: &self.regexes,
            profile: self.profile,
            substitutions: &self.substitutions,
            host,
            route: config,
            virtual_host,
            index: route,
        };
        at.act(nothing, input)
    }
}

impl Routed {
    /// Nothing takes it.
    fn nothing(request: Lines, input: &Input) -> Self {
        Self {
            taker: Taker::Nothing,
            cluster: Ok(String::new()),
            virtual_cluster: Ok(String::new()),
            virtual_host: String::new(),
            path: Ok(String::new()),
            authority: Ok(String::new()),
            location: Ok(String::new()),
            status: 0,
            timeout: None,
            request,
            response: Lines::new(&input.response_headers),
        }
    }
}

/// What the tool's input has fields of its own for.
const GIVEN: [&str; 7] = [
    ":authority",
    ":method",
    ":path",
    ":scheme",
    "host",
    "x-envoy-internal",
    "x-forwarded-proto",
];

/// The request as the tool puts it together.
///
/// # Errors
/// A further header is one that the input has a field for.
fn of_request(input: &Input) -> Known<Lines> {
    let scheme = if input.ssl { "https" } else { "http" };
    let mut lines = Lines::default();
    for (name, value) in [
        (":authority", input.authority.as_str()),
        (":path", &input.path),
        (":method", &input.method),
        ("x-forwarded-proto", scheme),
        (":scheme", scheme),
    ] {
        lines.add(name, value.to_owned());
    }
    if input.internal {
        lines.add("x-envoy-internal", "true".to_owned());
    }
    for (name, value) in &input.request_headers {
        if GIVEN.contains(&name.to_ascii_lowercase().as_str()) {
            return Err(Undecided::new(format!(
                "additional_request_headers has {name}, which a field of the input gives"
            )));
        }
        lines.add(name, value.clone());
    }
    Ok(lines)
}

/// Whether the virtual host's `require_tls` redirects the request.
fn redirects_to_tls(host: &VirtualHost, input: &Input) -> bool {
    if input.ssl {
        return false;
    }
    match TlsRequirementType::try_from(host.require_tls) {
        Ok(TlsRequirementType::All) => true,
        Ok(TlsRequirementType::ExternalOnly) => !input.internal,
        Ok(TlsRequirementType::None) | Err(_) => false,
    }
}

#[cfg(test)]
mod tests;
