//! What leads to each route of a matcher tree.

use envoy_types::pb::envoy::config::route::v3::RouteList;
use envoy_types::pb::envoy::r#type::matcher::v3::HttpRequestHeaderMatchInput;
use envoy_types::pb::xds::core::v3::TypedExtensionConfig;
use envoy_types::pb::xds::r#type::matcher::v3::{
    Matcher, StringMatcher,
    matcher::{
        MatcherType, OnMatch,
        matcher_list::{
            Predicate,
            predicate::{MatchType, single_predicate},
        },
        matcher_tree::TreeType,
        on_match,
    },
    string_matcher::MatchPattern,
};
use prost::Message as _;

use super::sample;

/// Headers and the values with which a request gets somewhere.
pub(crate) type Hints = Vec<(String, String)>;

/// For each route of the tree, in the virtual host's order, the headers with which a request may get
/// to it: what accepts is told, what has to refuse before is not.
pub(crate) fn hints(matcher: &Matcher) -> Vec<Hints> {
    let mut all = Vec::new();
    in_matcher(matcher, &Hints::new(), &mut all);
    all
}

fn in_matcher(matcher: &Matcher, above: &Hints, all: &mut Vec<Hints>) {
    match &matcher.matcher_type {
        Some(MatcherType::MatcherList(list)) => {
            for field in &list.matchers {
                let mut own = above.clone();
                if let Some(predicate) = &field.predicate {
                    in_predicate(predicate, &mut own);
                }
                in_on_match(field.on_match.as_ref(), &own, all);
            }
        }
        Some(MatcherType::MatcherTree(tree)) => {
            let name = input(tree.input.as_ref());
            if let Some(TreeType::ExactMatchMap(map) | TreeType::PrefixMatchMap(map)) =
                &tree.tree_type
            {
                let mut entries: Vec<(&String, &OnMatch)> = map.map.iter().collect();
                entries.sort_by_key(|(key, _)| *key);
                for (key, on_match) in entries {
                    let mut own = above.clone();
                    own.extend(name.clone().map(|name| (name, key.clone())));
                    in_on_match(Some(on_match), &own, all);
                }
            }
        }
        None => {}
    }
    in_on_match(matcher.on_no_match.as_deref(), above, all);
}

fn in_on_match(on_match: Option<&OnMatch>, own: &Hints, all: &mut Vec<Hints>) {
    match on_match.and_then(|on_match| on_match.on_match.as_ref()) {
        Some(on_match::OnMatch::Matcher(matcher)) => in_matcher(matcher, own, all),
        Some(on_match::OnMatch::Action(action)) => {
            let config = action.typed_config.as_ref();
            let list = config.filter(|any| any.type_url.ends_with(".RouteList"));
            let list = list.and_then(|any| RouteList::decode(any.value.as_slice()).ok());
            let count = list.map_or(1, |list| list.routes.len());
            all.extend(std::iter::repeat_n(own.clone(), count));
        }
        None => {}
    }
}

fn in_predicate(predicate: &Predicate, own: &mut Hints) {
    match &predicate.match_type {
        Some(MatchType::SinglePredicate(single)) => {
            if let (Some(name), Some(single_predicate::Matcher::ValueMatch(matcher))) =
                (input(single.input.as_ref()), &single.matcher)
            {
                own.extend(value(matcher).map(|value| (name, value)));
            }
        }
        Some(MatchType::AndMatcher(list)) => {
            for one in &list.predicate {
                in_predicate(one, own);
            }
        }
        Some(MatchType::OrMatcher(list)) => {
            if let Some(first) = list.predicate.first() {
                in_predicate(first, own);
            }
        }
        Some(MatchType::NotMatcher(_)) | None => {}
    }
}

/// The header that an input names.
fn input(input: Option<&TypedExtensionConfig>) -> Option<String> {
    let config = input?.typed_config.as_ref()?;
    let input = HttpRequestHeaderMatchInput::decode(config.value.as_slice()).ok()?;
    Some(input.header_name)
}

/// A value that the matcher accepts.
fn value(matcher: &StringMatcher) -> Option<String> {
    match matcher.match_pattern.as_ref()? {
        MatchPattern::Exact(text)
        | MatchPattern::Prefix(text)
        | MatchPattern::Suffix(text)
        | MatchPattern::Contains(text) => Some(text.clone()),
        MatchPattern::SafeRegex(regex) => sample::matching(&regex.regex).into_iter().next(),
        MatchPattern::Custom(_) => None,
    }
}
