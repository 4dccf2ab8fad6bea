//! The way down a matcher tree of a listener, in words.

use envoy_types::pb::envoy::config::core::v3::CidrRange;
use envoy_types::pb::xds::r#type::matcher::v3::{
    Matcher, StringMatcher,
    matcher::matcher_list::{
        Predicate,
        predicate::{MatchType, SinglePredicate, single_predicate},
    },
    string_matcher::MatchPattern,
};

use crate::matcher_tree::{self, Condition, Turn, decoded, several};

/// What holds on the way to the action of this place, and the name that it gives; actions are counted depth
/// first, a map's in the order of its keys.
pub fn way(matcher: &Matcher, action: usize) -> Option<(Vec<String>, String)> {
    let mut place = 0;
    let mut found = None;
    matcher_tree::walk(matcher, &mut |way, leads_to| {
        let Some(leads_to) = leads_to else {
            return;
        };
        if place == action {
            found = decoded(leads_to).map(|name| (way.iter().filter_map(turn).collect(), name));
        }
        place += 1;
    });
    found
}

fn turn(turn: &Turn) -> Option<String> {
    Some(match &turn.condition {
        Condition::Predicate(of) => predicate(of),
        Condition::Is(input, text) => format!("{} is {text:?}", input.kind),
        Condition::StartsWith(input, text) => format!("{} starts with {text:?}", input.kind),
        Condition::In(input, ranges) => is_in(&input.kind, ranges),
        Condition::Otherwise => "nothing else leads on".to_owned(),
        Condition::Always => return None,
    })
}

fn is_in(input: &str, ranges: &[CidrRange]) -> String {
    let ranges = ranges.iter().map(|range| {
        let length = range.prefix_len.as_ref().map_or(0, |length| length.value);
        format!("{}/{length}", range.address_prefix)
    });
    let ranges: Vec<String> = ranges.collect();
    format!("{input} is in {}", ranges.join(", "))
}

fn predicate(of: &Predicate) -> String {
    if let Some((all, is_and)) = several(of) {
        let all: Vec<String> = all.iter().map(predicate).collect();
        let word = if is_and { " and " } else { " or " };
        return format!("({})", all.join(word));
    }
    match &of.match_type {
        Some(MatchType::SinglePredicate(one)) => single(one),
        Some(MatchType::NotMatcher(not)) => format!("not {}", predicate(not)),
        _ => String::new(),
    }
}

fn single(of: &SinglePredicate) -> String {
    let input = matcher_tree::input(of.input.as_ref()).kind;
    match &of.matcher {
        Some(single_predicate::Matcher::ValueMatch(matcher)) => {
            format!("{input} {}", text(matcher))
        }
        Some(single_predicate::Matcher::CustomMatch(custom)) => {
            is_in(&input, &matcher_tree::ranges(custom))
        }
        None => input,
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
