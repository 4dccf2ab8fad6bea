//! The filter that writes headers into metadata.

use crate::{error::ReadError, source::Source, view::View};

const CONFIG: &str = "envoy.extensions.filters.http.header_to_metadata.v3.Config";
const RULES: [&str; 2] = ["request_rules", "response_rules"];
const PER_FILTER: &str = "typed_per_filter_config";

/// Refuses rules that do nothing or not one thing, and what routes say to the filter without a rule. Other
/// messages pass.
pub(crate) fn check(config: &View<'_>, source: &Source<'_>) -> Result<(), ReadError> {
    for (_, said) in config.entries(PER_FILTER) {
        let without_rules = said
            .as_any()
            .content()
            .filter(|content| content.message.name == CONFIG)
            .filter(|content| !RULES.iter().any(|field| content.has(field)));
        if let Some(content) = without_rules {
            let problem = "request_rules or response_rules are required";
            return Err(source.invalid(&content.path, problem));
        }
    }
    if config.message.name != CONFIG {
        return Ok(());
    }
    for rule in RULES.iter().flat_map(|field| config.children(field)) {
        if let Some(problem) = problem(&rule) {
            return Err(source.invalid(&rule.path, problem));
        }
    }
    Ok(())
}

/// What is wrong with a rule.
fn problem(rule: &View<'_>) -> Option<&'static str> {
    let [header, cookie] = ["header", "cookie"].map(|field| !rule.text(field).is_empty());
    let [present, missing] = ["on_header_present", "on_header_missing"].map(|it| rule.child(it));
    if header == cookie {
        return Some("one of header and cookie was expected");
    }
    if cookie && rule.number("remove") != 0 {
        return Some("a cookie is not removed");
    }
    if present.is_none() && missing.is_none() {
        return Some("on_header_present or on_header_missing is required");
    }
    if missing.is_some_and(|missing| missing.text("value").is_empty()) {
        return Some("the value of on_header_missing is required");
    }
    let says_both =
        |pair: View<'_>| !pair.text("value").is_empty() && pair.has("regex_value_rewrite");
    present
        .is_some_and(says_both)
        .then_some("only one of value and regex_value_rewrite of on_header_present may stand")
}
