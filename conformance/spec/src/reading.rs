//! What a route's matchers say of a request one by one, for whoever asks beyond the first that
//! refuses.

mod filter;
mod seen;

use std::ops::Range;

use envoy_types::pb::envoy::config::route::v3::{
    HeaderMatcher, QueryParameterMatcher, Route, RouteConfiguration, RouteMatch, VirtualHost,
};
use twinmesh_engine::{Domain, Failed, Request};
use twinmesh_xds::{Profile, Snapshot};

use crate::connect;
use crate::cookie;
use crate::head;
use crate::header;
use crate::message::Message;
use crate::path;
use crate::query_parameter;
use crate::regex::Regexes;
use crate::route;
use crate::tls_context;

pub use crate::http_filter::At;
pub use seen::Seen;

/// The matchers of a snapshot's routes.
#[derive(Debug)]
pub struct Matchers {
    regexes: Regexes,
    profile: Profile,
}

impl Matchers {
    /// Those of the snapshot.
    ///
    /// # Errors
    /// One of its patterns cannot be compiled; the text names it.
    pub fn of(snapshot: &Snapshot) -> Result<Self, String> {
        Ok(Self {
            regexes: Regexes::of(snapshot)?,
            profile: snapshot.profile,
        })
    }

    /// The matchers of a route that refuse the request, in Envoy's order, at most `most` of them.
    /// A matcher that is not decided counts as accepting.
    pub fn refusing(&self, route_match: &RouteMatch, seen: &Seen, most: usize) -> Vec<Failed> {
        let message = &seen.message;
        let headers = route_match.headers.iter().enumerate();
        let headers = headers
            .filter(|(_, matcher)| !header::matches(matcher, message, &self.regexes))
            .map(|(index, _)| Failed::Header(index));
        let parameters = route_match.query_parameters.iter().enumerate();
        let parameters = parameters
            .filter(|(_, matcher)| !query_parameter::matches(matcher, &message.path, &self.regexes))
            .map(|(index, _)| Failed::QueryParameter(index));
        let grpc = route_match.grpc.iter().filter(|_| !message.is_grpc());
        let grpc = grpc.map(|_| Failed::Grpc);
        let cookies = route_match.cookies.iter().enumerate();
        let cookies = cookies
            .filter(|(_, matcher)| !cookie::matches(matcher, message, &self.regexes))
            .map(|(index, _)| Failed::Cookie(index));
        let tls_context = route_match.tls_context.iter();
        let tls_context = tls_context
            .filter(|asked| !tls_context::matches(asked, message.client_certificate))
            .map(|_| Failed::TlsContext);
        let metadata = route_match.dynamic_metadata.iter().enumerate();
        let metadata = metadata
            .filter(|(_, matcher)| !matcher.invert)
            .map(|(index, _)| Failed::DynamicMetadata(index));
        let takes_path = match message.is_connect() {
            true => connect::takes(route_match),
            false => path::matches(route_match, message.path_without_query(), &self.regexes),
        };
        let path = std::iter::once(Failed::Path).filter(|_| !takes_path);
        grpc.chain(headers)
            .chain(parameters)
            .chain(cookies)
            .chain(tls_context)
            .chain(metadata)
            .chain(path)
            .take(most)
            .collect()
    }

    /// The first matcher of a route that refuses the request, in Envoy's order; `None`: the route
    /// takes it.
    pub fn first_refusing(
        &self,
        route_match: &RouteMatch,
        seen: &Seen,
        random: u64,
    ) -> Option<Failed> {
        route::first_failed(route_match, &seen.message, &self.regexes, random)
    }

    /// The routes of the virtual host that are looked at for the request: all, or those that its
    /// matcher tree leads to.
    pub fn looked_at(&self, virtual_host: &VirtualHost, seen: &Seen) -> Range<usize> {
        let message = &seen.message;
        route::looked_at(virtual_host, message, &self.regexes)
    }

    /// Whether the matcher accepts a header with these values, one on each line; none: it is
    /// missing. Of a pseudo header the first value counts.
    pub fn header(&self, matcher: &HeaderMatcher, values: &[String]) -> bool {
        let mut message = Message {
            profile: self.profile,
            ..Message::default()
        };
        let first = values.first().cloned().unwrap_or_default();
        match matcher.name.to_ascii_lowercase().as_str() {
            ":method" => message.method = first,
            ":scheme" => message.scheme = first,
            ":authority" | "host" => message.authority = first,
            ":path" => message.path = first,
            name => {
                let lines = values.iter().map(|value| (name.to_owned(), value.clone()));
                message.headers = lines.collect();
            }
        }
        header::matches(matcher, &message, &self.regexes)
    }

    /// Whether the matcher accepts a target, which is given with its query.
    pub fn query_parameter(&self, matcher: &QueryParameterMatcher, target: &str) -> bool {
        query_parameter::matches(matcher, target, &self.regexes)
    }

    /// Whether the route's path matcher accepts the path, which is given without its query.
    pub fn path(&self, route_match: &RouteMatch, path: &str) -> bool {
        path::matches(route_match, path, &self.regexes)
    }
}

/// Which virtual host of a route configuration has the authority, and by which kind of domain.
pub fn virtual_host(config: &RouteConfiguration, authority: &str) -> Option<(usize, Domain)> {
    crate::virtual_host::select(config, authority)
}

/// Where the port of an authority starts, with its colon.
pub fn port_start(authority: &str) -> Option<usize> {
    crate::host::port_start(authority)
}

/// Whether Envoy's parser takes a request line of this method and target.
pub fn takes_request_line(request: &Request, method: &str, target: &str) -> bool {
    let request = Request {
        method: method.to_owned(),
        path: target.to_owned(),
        ..request.clone()
    };
    head::request_line(&request).is_some()
}

/// Whether `runtime_fraction` or `dynamic_metadata` lets no request through.
pub fn is_never_taken(route_match: &RouteMatch) -> bool {
    let mut metadata = route_match.dynamic_metadata.iter();
    crate::fraction::is_nothing(route_match) || metadata.any(|matcher| !matcher.invert)
}

/// Whether `runtime_fraction` and `dynamic_metadata` let every request through.
pub fn is_always_taken(route_match: &RouteMatch) -> bool {
    crate::fraction::is_everything(route_match) && !is_never_taken(route_match)
}

/// What of the route's `match` is not decided: whether it takes a request is not known, then.
pub fn undecided_match(route: &Route) -> Option<&'static str> {
    route.r#match.as_ref().and_then(route::undecided_match)
}

#[cfg(test)]
mod tests {
    use envoy_types::pb::envoy::config::route::v3::route_match::PathSpecifier;

    use super::*;
    use crate::message::tests::message;

    fn header(name: &str) -> HeaderMatcher {
        HeaderMatcher {
            name: name.to_owned(),
            ..HeaderMatcher::default()
        }
    }

    #[test]
    fn all_that_refuse_are_named_in_order() {
        let route_match = RouteMatch {
            path_specifier: Some(PathSpecifier::Prefix("/other".to_owned())),
            headers: vec![header("x"), header("y"), header("z")],
            query_parameters: vec![QueryParameterMatcher {
                name: "none".to_owned(),
                ..QueryParameterMatcher::default()
            }],
            ..RouteMatch::default()
        };
        let matchers = Matchers {
            regexes: Regexes::default(),
            profile: Profile::default(),
        };
        let seen = Seen::from(message(&[("y", "1")]));
        let all = [
            Failed::Header(0),
            Failed::Header(2),
            Failed::QueryParameter(0),
            Failed::Path,
        ];
        assert_eq!(matchers.refusing(&route_match, &seen, 9), all);
        assert_eq!(matchers.refusing(&route_match, &seen, 2), all[..2]);
    }

    #[test]
    fn values_of_one_header() {
        let matchers = Matchers {
            regexes: Regexes::default(),
            profile: Profile::default(),
        };
        assert!(matchers.header(&header("X"), &["1".to_owned()]));
        assert!(!matchers.header(&header("X"), &[]));
    }
}
