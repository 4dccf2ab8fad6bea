//! Which matchers of a virtual host's routes refuse a request alone.
//!
//! A table may have ten thousand routes and as many requests, so not every route is asked: a
//! route whose other matchers have to accept is found by its path or by a header's value. A
//! refusal counts once; a route of which all are found is not looked at again.

use std::collections::{BTreeSet, HashMap};

use envoy_types::pb::envoy::config::route::v3::{
    HeaderMatcher, QueryParameterMatcher, RouteMatch, VirtualHost,
    header_matcher::HeaderMatchSpecifier, query_parameter_matcher::QueryParameterMatchSpecifier,
    route_match::PathSpecifier,
};
use envoy_types::pb::envoy::r#type::matcher::v3::string_matcher::MatchPattern;
use twinmesh_spec::reading::{Matchers, Seen};
use twinmesh_xds::Unsupported;

use super::Part;
use super::catalogue::{match_undecided, parts};

/// The refusals of one virtual host that have not been seen yet.
#[derive(Debug, Default)]
pub(crate) struct Refusals {
    /// Of each route, those that are open.
    open: HashMap<usize, Vec<Part>>,
    /// Routes with nothing but a path matcher, in order: the path refuses whatever gets past them.
    plain: Vec<usize>,
    passed: usize,
    paths: Paths,
    /// Header name, value, routes.
    by_value: HashMap<String, HashMap<String, Vec<usize>>>,
    /// By the name of a query parameter that has to be there.
    by_parameter: HashMap<String, Vec<usize>>,
    by_neither: Vec<usize>,
}

/// Routes by their path matchers, the case folded where `case_sensitive` says so.
#[derive(Debug, Default)]
struct Paths {
    exact: HashMap<(bool, String), Vec<usize>>,
    prefix: HashMap<(bool, String), Vec<usize>>,
    lengths: BTreeSet<(bool, usize)>,
    other: Vec<usize>,
}

impl Refusals {
    /// Of the virtual host; `marks` are the reader's, one for each route.
    pub(crate) fn of(host: &VirtualHost, marks: &[Option<Unsupported>]) -> Self {
        let mut all = Self::default();
        for (index, route) in host.routes.iter().enumerate() {
            let mark = marks.get(index).and_then(Option::as_ref);
            let Some(route_match) = &route.r#match else {
                continue;
            };
            if match_undecided(route, mark).is_none() {
                all.add(index, route_match);
            }
        }
        all
    }

    fn add(&mut self, index: usize, route_match: &RouteMatch) {
        let mut parts = parts(route_match);
        if takes_any_path(route_match) {
            parts.retain(|part| *part != Part::Path);
        }
        if parts.is_empty() {
            return;
        }
        if parts == [Part::Path] {
            self.plain.push(index);
            return;
        }
        self.paths.add(index, route_match);
        if parts.contains(&Part::Path) {
            let parameter = route_match
                .query_parameters
                .iter()
                .find(|it| has_to_be_there(it));
            if let Some((name, value)) = route_match.headers.iter().find_map(exact) {
                let values = self.by_value.entry(name).or_default();
                values.entry(value).or_default().push(index);
            } else if let Some(parameter) = parameter {
                let name = parameter.name.clone();
                self.by_parameter.entry(name).or_default().push(index);
            } else {
                self.by_neither.push(index);
            }
        }
        self.open.insert(index, parts);
    }

    /// Hands out what refuses the request alone, of the routes before `end`, and was not handed out
    /// before.
    pub(crate) fn take(
        &mut self,
        host: &VirtualHost,
        matchers: &Matchers,
        seen: &Seen,
        end: usize,
        found: &mut dyn FnMut(usize, Part),
    ) {
        while let Some(route) = self.plain.get(self.passed).filter(|route| **route < end) {
            found(*route, Part::Path);
            self.passed += 1;
        }
        let open = &mut self.open;
        // Routes found by their path wait for the other matchers, and the other way round.
        let mut ask = |bucket: &mut Vec<usize>, by_path: bool| {
            bucket.retain(|route| {
                if *route >= end {
                    return true;
                }
                let Some(parts) = open.get_mut(route) else {
                    return false;
                };
                let waits = |part: &Part| (*part == Part::Path) != by_path;
                if !parts.iter().any(waits) {
                    return false;
                }
                let config = host.routes.get(*route).and_then(|it| it.r#match.as_ref());
                let refusing = config.map(|config| matchers.refusing(config, seen, 2));
                if let Some([only]) = refusing.as_deref() {
                    let only = *only;
                    if let Some(place) = parts.iter().position(|part| *part == only) {
                        parts.remove(place);
                        found(*route, only);
                    }
                }
                let still = parts.iter().any(waits);
                if parts.is_empty() {
                    open.remove(route);
                }
                still
            });
        };
        self.paths
            .each(seen.path(), &mut |bucket| ask(bucket, true));
        for (name, values) in &mut self.by_value {
            for value in seen.values(name) {
                if let Some(bucket) = values.get_mut(&value) {
                    ask(bucket, false);
                }
            }
        }
        let query = seen.target().split_once('?').map_or("", |(_, query)| query);
        let names = query.split('&').map(|parameter| {
            parameter
                .split_once('=')
                .map_or(parameter, |(name, _)| name)
        });
        for name in names {
            if let Some(bucket) = self.by_parameter.get_mut(name) {
                ask(bucket, false);
            }
        }
        ask(&mut self.by_neither, false);
    }
}

impl Paths {
    fn add(&mut self, index: usize, route_match: &RouteMatch) {
        let folded = folds_case(route_match);
        let key = |text: &str| {
            if folded {
                (true, text.to_ascii_lowercase())
            } else {
                (false, text.to_owned())
            }
        };
        match &route_match.path_specifier {
            Some(PathSpecifier::Path(text)) => {
                self.exact.entry(key(text)).or_default().push(index);
            }
            Some(PathSpecifier::Prefix(text) | PathSpecifier::PathSeparatedPrefix(text)) => {
                self.lengths.insert((folded, text.len()));
                self.prefix.entry(key(text)).or_default().push(index);
            }
            _ => self.other.push(index),
        }
    }

    fn each(&mut self, path: &str, ask: &mut dyn FnMut(&mut Vec<usize>)) {
        let lower = path.to_ascii_lowercase();
        for (folded, path) in [(false, path), (true, lower.as_str())] {
            if let Some(bucket) = self.exact.get_mut(&(folded, path.to_owned())) {
                ask(bucket);
            }
        }
        for (folded, length) in &self.lengths {
            let path = if *folded { lower.as_str() } else { path };
            let Some(start) = path.get(..*length) else {
                continue;
            };
            if let Some(bucket) = self.prefix.get_mut(&(*folded, start.to_owned())) {
                ask(bucket);
            }
        }
        ask(&mut self.other);
    }
}

/// Whether letters of the path match in either case.
pub(crate) fn folds_case(route_match: &RouteMatch) -> bool {
    let sensitive = route_match.case_sensitive.as_ref();
    sensitive.is_some_and(|sensitive| !sensitive.value)
}

/// Whether the path matcher accepts every path there is: each starts with a slash and has no line
/// breaks.
pub(crate) fn takes_any_path(route_match: &RouteMatch) -> bool {
    match &route_match.path_specifier {
        Some(PathSpecifier::Prefix(prefix)) => prefix.is_empty() || prefix == "/",
        Some(PathSpecifier::SafeRegex(pattern)) => matches!(pattern.regex.as_str(), ".*" | "/.*"),
        _ => false,
    }
}

fn has_to_be_there(matcher: &QueryParameterMatcher) -> bool {
    !matches!(
        matcher.query_parameter_match_specifier,
        Some(QueryParameterMatchSpecifier::PresentMatch(false))
    )
}

/// The name and the value, where the header must have exactly that one.
pub(crate) fn exact(matcher: &HeaderMatcher) -> Option<(String, String)> {
    if matcher.invert_match || matcher.treat_missing_header_as_empty {
        return None;
    }
    #[expect(deprecated, reason = "snapshots have them")]
    let value = match matcher.header_match_specifier.as_ref()? {
        HeaderMatchSpecifier::ExactMatch(value) if !value.is_empty() => value,
        HeaderMatchSpecifier::StringMatch(string) if !string.ignore_case => {
            match string.match_pattern.as_ref()? {
                MatchPattern::Exact(value) => value,
                _ => return None,
            }
        }
        _ => return None,
    };
    Some((matcher.name.to_ascii_lowercase(), value.clone()))
}
