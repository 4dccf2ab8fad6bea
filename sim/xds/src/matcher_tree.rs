//! Matcher trees (`xds.type.matcher.v3.Matcher`): what stands in them, and where the routes of a virtual
//! host's (`VirtualHost.matcher`) do.
//!
//! A snapshot lists routes in `VirtualHost.routes`, which is empty in Envoy beside a matcher: depth
//! first, of a list in its order, of a map in the order of its keys, and what `on_no_match` leads to
//! last.

use envoy_types::pb::envoy::config::route::v3::{Route, RouteConfiguration};
use prost::Message;

use crate::{
    error::ReadError,
    path::Path,
    source::Source,
    view::{AnyView, View},
};

/// The action that is one route.
pub(crate) const ROUTE: &str = "envoy.config.route.v3.Route";
/// The action that is several.
pub(crate) const ROUTE_LIST: &str = "envoy.config.route.v3.RouteList";
/// The input that route tables look at.
pub(crate) const HEADER_INPUT: &str = "envoy.type.matcher.v3.HttpRequestHeaderMatchInput";
/// The other that Envoy takes.
pub(crate) const FILTER_STATE_INPUT: &str =
    "envoy.extensions.matching.common_inputs.network.v3.FilterStateInput";

/// The custom matcher of a tree that is one of address ranges.
pub(crate) const IP_MATCHER: &str = "xds.type.matcher.v3.IPMatcher";
/// The custom matcher of a predicate that is a list of address ranges.
pub(crate) const IP_RANGES: &str = "envoy.extensions.matching.input_matchers.ip.v3.Ip";

/// What stands in a tree.
#[derive(Default)]
pub(crate) struct Found<'a> {
    /// The routes, in the order in which a snapshot has them.
    pub(crate) routes: Vec<View<'a>>,
    /// The inputs.
    pub(crate) inputs: Vec<AnyView<'a>>,
    /// The actions, in the order in which a snapshot has routes.
    pub(crate) actions: Vec<AnyView<'a>>,
    /// Where `keep_matching` is set.
    pub(crate) kept: Vec<Path>,
    /// The regexes of its predicates, and where each stands.
    pub(crate) regexes: Vec<(Path, &'a str)>,
}

/// The routes of a virtual host: those in its matcher, or those of its list.
pub(crate) fn routes<'a>(host: &View<'a>) -> Vec<View<'a>> {
    match host.child("matcher") {
        Some(matcher) => Found::of(&matcher).routes,
        None => host.children("routes"),
    }
}

/// Lists the routes of matcher trees with their virtual hosts.
///
/// # Errors
/// The bytes of one are no route.
pub(crate) fn list_routes(
    config: &mut RouteConfiguration,
    view: &View<'_>,
    source: &Source<'_>,
) -> Result<(), ReadError> {
    let hosts = view.children("virtual_hosts");
    for (host, view) in config.virtual_hosts.iter_mut().zip(hosts) {
        if host.matcher.is_none() {
            continue;
        }
        if !host.routes.is_empty() {
            let problem = "routes may not stand beside a matcher";
            return Err(source.invalid(&view.path.field("routes"), problem));
        }
        for route in routes(&view) {
            let decoded = Route::decode(route.bytes)
                .map_err(|error| source.wire(&route.path, ROUTE, error.to_string()))?;
            host.routes.push(decoded);
        }
    }
    Ok(())
}

impl<'a> Found<'a> {
    /// All of a tree.
    pub(crate) fn of(matcher: &View<'a>) -> Self {
        let mut found = Self::default();
        found.matcher(matcher);
        found
    }

    fn matcher(&mut self, matcher: &View<'a>) {
        if let Some(list) = matcher.child("matcher_list") {
            for field in list.children("matchers") {
                if let Some(predicate) = field.child("predicate") {
                    self.predicate(&predicate);
                }
                self.on_match(field.child("on_match"));
            }
        }
        if let Some(tree) = matcher.child("matcher_tree") {
            self.input(&tree);
            for kind in ["exact_match_map", "prefix_match_map"] {
                let map = tree.child(kind);
                let mut entries = map.map(|map| map.entries("map")).unwrap_or_default();
                entries.sort_by_key(|(key, _)| *key);
                for (_, on_match) in entries {
                    self.on_match(Some(on_match));
                }
            }
            let custom = tree.child("custom_match");
            let custom = custom.and_then(|it| it.any("typed_config")?.content());
            for ranges in custom.iter().flat_map(|it| it.children("range_matchers")) {
                self.on_match(ranges.child("on_match"));
            }
        }
        self.on_match(matcher.child("on_no_match"));
    }

    fn predicate(&mut self, predicate: &View<'a>) {
        if let Some(single) = predicate.child("single_predicate") {
            self.input(&single);
            let regex = single
                .child("value_match")
                .and_then(|matcher| matcher.child("safe_regex"));
            let place = |regex: View<'a>| (regex.path.field("regex"), regex.text("regex"));
            self.regexes.extend(regex.map(place));
        }
        for kind in ["or_matcher", "and_matcher"] {
            let several = predicate.child(kind);
            for one in several.iter().flat_map(|it| it.children("predicate")) {
                self.predicate(&one);
            }
        }
        if let Some(not) = predicate.child("not_matcher") {
            self.predicate(&not);
        }
    }

    fn input(&mut self, of: &View<'a>) {
        let input = of.child("input").and_then(|it| it.any("typed_config"));
        self.inputs.extend(input);
    }

    fn on_match(&mut self, on_match: Option<View<'a>>) {
        let Some(on_match) = on_match else {
            return;
        };
        if on_match.number("keep_matching") != 0 {
            self.kept.push(on_match.path.field("keep_matching"));
        }
        if let Some(matcher) = on_match.child("matcher") {
            self.matcher(&matcher);
        }
        let action = on_match.child("action");
        let Some(action) = action.and_then(|it| it.any("typed_config")) else {
            return;
        };
        if let Some(content) = action.content() {
            match content.message.name.as_str() {
                ROUTE => self.routes.push(content),
                ROUTE_LIST => self.routes.extend(content.children("routes")),
                _ => {}
            }
        }
        self.actions.push(action);
    }
}
