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
}

/// Checks a message by its name.
pub(super) fn check(view: &View<'_>) -> Result<(), Fault> {
    match view.message.name.as_str() {
        "envoy.type.matcher.v3.StringMatcher" => string_matcher(view),
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
