//! What Envoy refuses of a virtual host's matcher tree, beside its routes.

use crate::{
    error::ReadError,
    matcher_tree::{FILTER_STATE_INPUT, Found, HEADER_INPUT, ROUTE, ROUTE_LIST},
    source::Source,
};

/// Route tables look at headers and the filter state only, and lead to routes.
pub(crate) fn check(found: &Found<'_>, source: &Source<'_>) -> Result<(), ReadError> {
    for input in &found.inputs {
        let name = input.type_name();
        if ![HEADER_INPUT, FILTER_STATE_INPUT].contains(&name) {
            let problem = format!("routes are matched by request headers only, not by {name}");
            return Err(source.invalid(&input.path, problem));
        }
    }
    for action in &found.actions {
        let name = action.type_name();
        if ![ROUTE, ROUTE_LIST].contains(&name) {
            let problem = format!("a Route or a RouteList was expected, {name:?} found");
            return Err(source.invalid(&action.path, problem));
        }
    }
    match found.kept.first() {
        Some(path) => Err(source.invalid(path, "matching may not go on where routes are matched")),
        None => Ok(()),
    }
}
