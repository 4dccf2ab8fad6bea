//! What Envoy refuses in a message wherever it stands, beyond the constraints in its .proto files:
//! what it finds out when it builds a matcher, a route or a header mutation from the message.

use crate::view::View;

/// A field of the message, or the message itself, and what is wrong with it.
type Fault = (Option<Place>, String);

/// A field, and the element of it where it is repeated.
pub(super) struct Place {
    pub(super) field: &'static str,
    pub(super) index: Option<usize>,
}

impl Place {
    fn field(field: &'static str) -> Option<Place> {
        Some(Place { field, index: None })
    }

    fn item(field: &'static str, index: usize) -> Option<Place> {
        let index = Some(index);
        Some(Place { field, index })
    }
}

/// Checks a message by its name.
pub(super) fn check(view: &View<'_>) -> Result<(), Fault> {
    match view.message.name.as_str() {
        "envoy.type.matcher.v3.StringMatcher" => string_matcher(view),
        "envoy.config.route.v3.RouteConfiguration"
        | "envoy.config.route.v3.VirtualHost"
        | "envoy.config.route.v3.Route"
        | "envoy.config.route.v3.WeightedCluster.ClusterWeight" => header_mutations(view),
        _ => Ok(()),
    }
}

fn string_matcher(view: &View<'_>) -> Result<(), Fault> {
    if view.has("safe_regex") && view.number("ignore_case") != 0 {
        let problem = "it has no effect beside safe_regex; (?i) in the regex does it";
        return Err((Place::field("ignore_case"), problem.to_owned()));
    }
    Ok(())
}

/// Routing needs the host and what HTTP/2 has pseudo headers for, so they are not to be changed.
fn header_mutations(view: &View<'_>) -> Result<(), Fault> {
    let is_kept = |name: &str| name.starts_with(':') || name.eq_ignore_ascii_case("host");
    for field in ["request_headers_to_add", "response_headers_to_add"] {
        for (index, option) in view.children(field).iter().enumerate() {
            let header = option.child("header");
            let name = header.as_ref().map_or("", |header| header.text("key"));
            if is_kept(name) {
                return Err((
                    Place::item(field, index),
                    format!("the header {name:?} may not be changed"),
                ));
            }
        }
    }
    for field in ["request_headers_to_remove", "response_headers_to_remove"] {
        for (index, name) in view.texts(field).iter().enumerate() {
            if is_kept(name) {
                return Err((
                    Place::item(field, index),
                    format!("the header {name:?} may not be removed"),
                ));
            }
        }
    }
    Ok(())
}
