//! The way down a matcher tree of a listener, in words.

use envoy_types::pb::envoy::extensions::matching::input_matchers::ip::v3::Ip;
use envoy_types::pb::xds::core::v3::TypedExtensionConfig;
use envoy_types::pb::xds::r#type::matcher::v3::{
    Matcher, StringMatcher,
    matcher::{
        MatcherType, OnMatch,
        matcher_list::{
            Predicate,
            predicate::{MatchType, SinglePredicate, single_predicate},
        },
        matcher_tree::TreeType,
        on_match,
    },
    string_matcher::MatchPattern,
};
use prost::Message as _;
use twinmesh_xds::rbac_matcher::IpMatcher;

/// What holds on the way to the action of this place, and the name that it gives; actions are counted depth
/// first, a map's in the order of its keys.
pub fn way(matcher: &Matcher, action: usize) -> Option<(Vec<String>, String)> {
    let mut left = action;
    let mut way = Vec::new();
    let name = in_matcher(matcher, &mut left, &mut way)?;
    Some((way, name))
}

fn in_matcher(matcher: &Matcher, left: &mut usize, way: &mut Vec<String>) -> Option<String> {
    let mut try_each = |condition: String, on_match: Option<&OnMatch>| {
        way.push(condition);
        let found = on_match.and_then(|it| in_on_match(it, left, way));
        if found.is_none() {
            way.pop();
        }
        found
    };
    match &matcher.matcher_type {
        Some(MatcherType::MatcherList(list)) => {
            for field in &list.matchers {
                let condition = field.predicate.as_ref().map_or_else(String::new, predicate);
                if let Some(name) = try_each(condition, field.on_match.as_ref()) {
                    return Some(name);
                }
            }
        }
        Some(MatcherType::MatcherTree(tree)) => {
            let input = input(tree.input.as_ref());
            match &tree.tree_type {
                Some(kind @ (TreeType::ExactMatchMap(map) | TreeType::PrefixMatchMap(map))) => {
                    let is = match kind {
                        TreeType::ExactMatchMap(_) => "is",
                        _ => "starts with",
                    };
                    let mut entries: Vec<(&String, &OnMatch)> = map.map.iter().collect();
                    entries.sort_by_key(|(key, _)| *key);
                    for (key, on_match) in entries {
                        let condition = format!("{input} {is} {key:?}");
                        if let Some(name) = try_each(condition, Some(on_match)) {
                            return Some(name);
                        }
                    }
                }
                Some(TreeType::CustomMatch(custom)) => {
                    let matcher: IpMatcher = decoded(custom)?;
                    for leads in &matcher.range_matchers {
                        let ranges = leads.ranges.iter().map(|range| {
                            let length = range.prefix_len.map_or(0, |length| length.value);
                            format!("{}/{length}", range.address_prefix)
                        });
                        let ranges: Vec<String> = ranges.collect();
                        let condition = format!("{input} is in {}", ranges.join(", "));
                        if let Some(name) = try_each(condition, leads.on_match.as_ref()) {
                            return Some(name);
                        }
                    }
                }
                None => {}
            }
        }
        None => {}
    }
    let otherwise = matcher.on_no_match.as_deref()?;
    match matcher.matcher_type {
        Some(_) => try_each("nothing else leads on".to_owned(), Some(otherwise)),
        None => in_on_match(otherwise, left, way),
    }
}

fn in_on_match(on_match: &OnMatch, left: &mut usize, way: &mut Vec<String>) -> Option<String> {
    match on_match.on_match.as_ref()? {
        on_match::OnMatch::Matcher(matcher) => in_matcher(matcher, left, way),
        on_match::OnMatch::Action(action) if *left == 0 => {
            let config = action.typed_config.as_ref()?;
            String::decode(config.value.as_slice()).ok()
        }
        on_match::OnMatch::Action(_) => {
            *left -= 1;
            None
        }
    }
}

fn decoded<T: prost::Message + Default>(extension: &TypedExtensionConfig) -> Option<T> {
    T::decode(extension.typed_config.as_ref()?.value.as_slice()).ok()
}

/// The name of an input's type, without where it is from.
fn input(input: Option<&TypedExtensionConfig>) -> &str {
    let config = input.and_then(|input| input.typed_config.as_ref());
    let url = config.map_or("", |config| config.type_url.as_str());
    url.rsplit('.').next().unwrap_or(url)
}

fn predicate(of: &Predicate) -> String {
    let several = |all: &[Predicate], word: &str| {
        let all: Vec<String> = all.iter().map(predicate).collect();
        format!("({})", all.join(word))
    };
    match &of.match_type {
        Some(MatchType::SinglePredicate(one)) => single(one),
        Some(MatchType::OrMatcher(list)) => several(&list.predicate, " or "),
        Some(MatchType::AndMatcher(list)) => several(&list.predicate, " and "),
        Some(MatchType::NotMatcher(not)) => format!("not {}", predicate(not)),
        None => String::new(),
    }
}

fn single(of: &SinglePredicate) -> String {
    let input = input(of.input.as_ref());
    match &of.matcher {
        Some(single_predicate::Matcher::ValueMatch(matcher)) => {
            format!("{input} {}", text(matcher))
        }
        Some(single_predicate::Matcher::CustomMatch(custom)) => {
            let ip: Ip = decoded(custom).unwrap_or_default();
            let ranges = ip.cidr_ranges.iter().map(|range| {
                let length = range.prefix_len.as_ref().map_or(0, |length| length.value);
                format!("{}/{length}", range.address_prefix)
            });
            let ranges: Vec<String> = ranges.collect();
            format!("{input} is in {}", ranges.join(", "))
        }
        None => input.to_owned(),
    }
}

fn text(matcher: &StringMatcher) -> String {
    match &matcher.match_pattern {
        Some(MatchPattern::Exact(text)) => format!("is {text:?}"),
        Some(MatchPattern::Prefix(text)) => format!("starts with {text:?}"),
        Some(MatchPattern::Suffix(text)) => format!("ends in {text:?}"),
        Some(MatchPattern::Contains(text)) => format!("contains {text:?}"),
        Some(MatchPattern::SafeRegex(regex)) => format!("matches {:?}", regex.regex),
        Some(MatchPattern::Custom(_)) | None => "matches".to_owned(),
    }
}
