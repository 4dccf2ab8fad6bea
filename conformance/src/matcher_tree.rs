//! Down every way of a matcher tree (`xds.type.matcher.v3.Matcher`): of connections, of routes, of RBAC.
//!
//! Depth first: of a list in its order, of a map in the order of its keys, and what `on_no_match` leads
//! to last; in that order a snapshot counts actions.

use std::rc::Rc;

use envoy_types::pb::envoy::config::core::v3::CidrRange;
use envoy_types::pb::envoy::extensions::matching::input_matchers::ip::v3::Ip;
use envoy_types::pb::envoy::r#type::matcher::v3::HttpRequestHeaderMatchInput;
use envoy_types::pb::google::protobuf::UInt32Value;
use envoy_types::pb::xds::core::v3::{CidrRange as XdsRange, TypedExtensionConfig};
use envoy_types::pb::xds::r#type::matcher::v3::{
    Matcher,
    matcher::{
        MatcherType, OnMatch,
        matcher_list::{Predicate, predicate::MatchType},
        matcher_tree::TreeType,
        on_match,
    },
};
use prost::Message as _;
use twinmesh_xds::rbac_matcher::IpMatcher;

/// What an input looks at.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Input {
    /// The name of its type, without the package.
    pub(crate) kind: String,
    /// Of `HttpRequestHeaderMatchInput`: the header.
    pub(crate) header: Option<String>,
}

/// What holds on the way to an action.
#[derive(Debug, Clone)]
pub(crate) enum Condition {
    /// The predicate of a list's entry.
    Predicate(Rc<Predicate>),
    /// The input says this text, which is the key of a map.
    Is(Input, String),
    /// The input starts with it.
    StartsWith(Input, String),
    /// The input's address is in one of these.
    In(Input, Vec<CidrRange>),
    /// Nothing that is asked before leads on.
    Otherwise,
    /// Nothing is asked: the tree has `on_no_match` alone.
    Always,
}

/// A condition and where what it leads to stands in the tree.
#[derive(Debug, Clone)]
pub(crate) struct Turn {
    pub(crate) condition: Condition,
    /// The path of the `OnMatch` below what holds it; empty at the top.
    pub(crate) path: String,
}

/// Goes down every way. `visit` gets the way so far, and the action that it leads to, or none where only
/// the last turn of it was taken.
pub(crate) fn walk(
    matcher: &Matcher,
    visit: &mut dyn FnMut(&[Turn], Option<&TypedExtensionConfig>),
) {
    Walk {
        way: Vec::new(),
        visit,
    }
    .matcher(matcher);
}

struct Walk<'v> {
    way: Vec<Turn>,
    visit: &'v mut dyn FnMut(&[Turn], Option<&TypedExtensionConfig>),
}

impl Walk<'_> {
    fn matcher(&mut self, matcher: &Matcher) {
        match &matcher.matcher_type {
            Some(MatcherType::MatcherList(list)) => {
                for (index, field) in list.matchers.iter().enumerate() {
                    let predicate = field.predicate.clone().unwrap_or_default();
                    let path = format!("matcher_list.matchers[{index}].on_match");
                    let condition = Condition::Predicate(Rc::new(predicate));
                    self.turn(condition, path, field.on_match.as_ref());
                }
            }
            Some(MatcherType::MatcherTree(tree)) => {
                let of = input(tree.input.as_ref());
                self.tree(&of, tree.tree_type.as_ref());
            }
            None => {}
        }
        let otherwise = matcher.on_no_match.as_deref();
        if otherwise.is_some() {
            let condition = match matcher.matcher_type {
                Some(_) => Condition::Otherwise,
                None => Condition::Always,
            };
            self.turn(condition, "on_no_match".to_owned(), otherwise);
        }
    }

    fn tree(&mut self, of: &Input, tree: Option<&TreeType>) {
        let (map, field) = match tree {
            Some(TreeType::ExactMatchMap(map)) => (map, "exact_match_map"),
            Some(TreeType::PrefixMatchMap(map)) => (map, "prefix_match_map"),
            Some(TreeType::CustomMatch(custom)) => {
                let matcher: IpMatcher = decoded(custom).unwrap_or_default();
                for (index, leads) in matcher.range_matchers.iter().enumerate() {
                    let field = "matcher_tree.custom_match.typed_config.range_matchers";
                    let ranges = leads.ranges.iter().map(core_range).collect();
                    let condition = Condition::In(of.clone(), ranges);
                    let path = format!("{field}[{index}].on_match");
                    self.turn(condition, path, leads.on_match.as_ref());
                }
                return;
            }
            None => return,
        };
        let mut entries: Vec<(&String, &OnMatch)> = map.map.iter().collect();
        entries.sort_by_key(|(key, _)| *key);
        for (key, on_match) in entries {
            let path = format!("matcher_tree.{field}.map[{key:?}]");
            let condition = match field {
                "exact_match_map" => Condition::Is(of.clone(), key.clone()),
                _ => Condition::StartsWith(of.clone(), key.clone()),
            };
            self.turn(condition, path, Some(on_match));
        }
    }

    fn turn(&mut self, condition: Condition, path: String, on_match: Option<&OnMatch>) {
        self.way.push(Turn { condition, path });
        (self.visit)(&self.way, None);
        match on_match.and_then(|it| it.on_match.as_ref()) {
            Some(on_match::OnMatch::Matcher(matcher)) => self.matcher(matcher),
            Some(on_match::OnMatch::Action(action)) => (self.visit)(&self.way, Some(action)),
            None => {}
        }
        self.way.pop();
    }
}

/// The path of the action that a way leads to, below the tree.
pub(crate) fn path(way: &[Turn]) -> String {
    let parts: Vec<&str> = way.iter().map(|turn| turn.path.as_str()).collect();
    format!("{}.action", parts.join(".matcher."))
}

/// What an extension's bytes say.
pub(crate) fn decoded<T: prost::Message + Default>(extension: &TypedExtensionConfig) -> Option<T> {
    T::decode(extension.typed_config.as_ref()?.value.as_slice()).ok()
}

/// What the input looks at.
pub(crate) fn input(input: Option<&TypedExtensionConfig>) -> Input {
    let config = input.and_then(|input| input.typed_config.as_ref());
    let url = config.map_or("", |config| config.type_url.as_str());
    let kind = url.rsplit('.').next().unwrap_or(url).to_owned();
    let header = config.filter(|_| kind == "HttpRequestHeaderMatchInput");
    let header =
        header.and_then(|it| HttpRequestHeaderMatchInput::decode(it.value.as_slice()).ok());
    Input {
        kind,
        header: header.map(|it| it.header_name),
    }
}

/// The ranges of a predicate's custom matcher.
pub(crate) fn ranges(custom: &TypedExtensionConfig) -> Vec<CidrRange> {
    let ip: Ip = decoded(custom).unwrap_or_default();
    ip.cidr_ranges
}

fn core_range(range: &XdsRange) -> CidrRange {
    CidrRange {
        address_prefix: range.address_prefix.clone(),
        prefix_len: range.prefix_len.map(|length| UInt32Value {
            value: length.value,
        }),
    }
}

/// The parts of a predicate that are several, and which of the two it is: whether all have to hold.
pub(crate) fn several(predicate: &Predicate) -> Option<(&[Predicate], bool)> {
    match &predicate.match_type {
        Some(MatchType::AndMatcher(list)) => Some((&list.predicate, true)),
        Some(MatchType::OrMatcher(list)) => Some((&list.predicate, false)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use envoy_types::pb::google::protobuf::Any;
    use envoy_types::pb::xds::r#type::matcher::v3::matcher::{
        MatcherList, MatcherTree, matcher_list::FieldMatcher, matcher_tree::MatchMap,
    };

    use super::*;

    fn action(name: &str) -> OnMatch {
        OnMatch {
            on_match: Some(on_match::OnMatch::Action(TypedExtensionConfig {
                name: name.to_owned(),
                typed_config: Some(Any::default()),
            })),
            ..OnMatch::default()
        }
    }

    #[test]
    fn every_way_in_order() {
        let map = [("b", action("3")), ("a", action("2"))];
        let map = map.map(|(key, leads)| (key.to_owned(), leads));
        let inner = Matcher {
            matcher_type: Some(MatcherType::MatcherTree(MatcherTree {
                input: None,
                tree_type: Some(TreeType::ExactMatchMap(MatchMap { map: map.into() })),
            })),
            on_no_match: Some(Box::new(action("4"))),
        };
        let inner = OnMatch {
            on_match: Some(on_match::OnMatch::Matcher(Box::new(inner))),
            ..OnMatch::default()
        };
        let fields = [action("1"), inner].map(|leads| FieldMatcher {
            predicate: None,
            on_match: Some(leads),
        });
        let tree = Matcher {
            matcher_type: Some(MatcherType::MatcherList(MatcherList {
                matchers: fields.to_vec(),
            })),
            on_no_match: Some(Box::new(OnMatch::default())),
        };
        let mut turns = 0;
        let mut found = Vec::new();
        walk(&tree, &mut |way, action| match action {
            Some(action) => found.push((action.name.clone(), path(way))),
            None => turns += 1,
        });
        let second = "matcher_list.matchers[1].on_match.matcher";
        let expected = [
            ("1", "matcher_list.matchers[0].on_match.action".to_owned()),
            (
                "2",
                format!("{second}.matcher_tree.exact_match_map.map[\"a\"].action"),
            ),
            (
                "3",
                format!("{second}.matcher_tree.exact_match_map.map[\"b\"].action"),
            ),
            ("4", format!("{second}.on_no_match.action")),
        ];
        let expected = expected.map(|(name, path)| (name.to_owned(), path));
        assert_eq!(found, expected);
        // Those that lead nowhere are taken, too.
        assert_eq!(turns, 6);
    }
}
