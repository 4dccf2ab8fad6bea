//! Matcher trees: lists, maps and trees of address ranges; those of virtual hosts, with routes in them,
//! and requests that get to these.

use proptest::collection::vec;
use proptest::option::weighted;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use serde_json::{Map, Value, json};

use crate::Tape;
use crate::matcher::{at, set, string, value};
use crate::texts::{HEADERS, PATHS, VALUES};

const INPUT: &str = "type.googleapis.com/envoy.type.matcher.v3.HttpRequestHeaderMatchInput";
const IP_MATCHER: &str = "type.googleapis.com/xds.type.matcher.v3.IPMatcher";
const ROUTE: &str = "type.googleapis.com/envoy.config.route.v3.Route";
const ROUTE_LIST: &str = "type.googleapis.com/envoy.config.route.v3.RouteList";

/// The input of a header.
pub fn input(name: &str) -> Value {
    json!({"name": "i", "typed_config": {"@type": INPUT, "header_name": name}})
}

/// A string matcher as trees have it.
pub fn tree_string() -> BoxedStrategy<Value> {
    let string = string().prop_map(|mut string| {
        if let Some(regex) = string.get_mut("safe_regex") {
            set(regex, "google_re2", json!({}));
        }
        string
    });
    string.boxed()
}

/// A predicate of a header.
pub fn of_header() -> BoxedStrategy<Value> {
    let single = (select(HEADERS), tree_string()).prop_map(
        |(name, string)| json!({"single_predicate": {"input": input(name), "value_match": string}}),
    );
    single.boxed()
}

fn predicate(single: BoxedStrategy<Value>) -> BoxedStrategy<Value> {
    single
        .prop_recursive(2, 6, 3, |inner| {
            prop_oneof![
                vec(inner.clone(), 2..4).prop_map(|all| json!({"and_matcher": {"predicate": all}})),
                vec(inner.clone(), 2..4).prop_map(|all| json!({"or_matcher": {"predicate": all}})),
                inner.prop_map(|one| json!({"not_matcher": one})),
            ]
        })
        .boxed()
}

/// What a match leads to; the place of a route is taken by its number among all that there are.
fn action() -> impl Strategy<Value = Value> {
    let one = json!({"action": {"name": "a", "typed_config": {"@type": ROUTE}}});
    let several = vec(Just(json!({})), 1..4).prop_map(|routes| {
        let list = json!({"@type": ROUTE_LIST, "routes": routes});
        json!({"action": {"name": "a", "typed_config": list}})
    });
    prop_oneof![2 => Just(one), 1 => several]
}

/// An input, and keys or ranges for what it says.
#[derive(Debug, Clone)]
pub struct Keyed {
    /// The input.
    pub input: Value,
    /// The keys, or the ranges with their length behind a slash.
    pub keys: Vec<String>,
    /// The keys are ranges.
    pub ranges: bool,
}

/// A header, and keys for its values.
pub fn by_header() -> BoxedStrategy<Keyed> {
    let keyed = |name: &str, keys: Vec<&str>| Keyed {
        input: input(name),
        keys: keys.into_iter().map(str::to_owned).collect(),
        ranges: false,
    };
    let by_value = (select(HEADERS), subsequence(VALUES, 1..4));
    let by_value = by_value.prop_map(move |(name, keys)| keyed(name, keys));
    let by_path = subsequence(PATHS, 1..4).prop_map(move |keys| keyed(":path", keys));
    prop_oneof![3 => by_value, 2 => by_path].boxed()
}

/// What goes by an input, in a matcher tree.
fn keyed_tree(keyed: Keyed, kind: &str, leads: Vec<Value>, exclusive: bool) -> Value {
    let mut tree = json!({"input": keyed.input});
    let pairs = keyed.keys.into_iter().zip(leads);
    if keyed.ranges {
        let matchers = pairs.map(|(range, leads)| {
            let (prefix, length) = range.split_once('/').unwrap_or((&range, "0"));
            let length: u32 = length.parse().unwrap_or(0);
            let range = json!({"address_prefix": prefix, "prefix_len": length});
            json!({"ranges": [range], "on_match": leads, "exclusive": exclusive && length.is_multiple_of(16)})
        });
        let matchers: Vec<Value> = matchers.collect();
        let config = json!({"@type": IP_MATCHER, "range_matchers": matchers});
        set(
            &mut tree,
            "custom_match",
            json!({"name": "c", "typed_config": config}),
        );
    } else {
        let map: Map<String, Value> = pairs.collect();
        set(&mut tree, kind, json!({"map": map}));
    }
    json!({"matcher_tree": tree})
}

/// A matcher of these parts.
pub fn tree(
    leaf: BoxedStrategy<Value>,
    single: BoxedStrategy<Value>,
    keyed: BoxedStrategy<Keyed>,
) -> BoxedStrategy<Value> {
    let predicate = predicate(single);
    leaf.prop_recursive(3, 16, 4, move |inner| {
        let list = vec((predicate.clone(), inner.clone()), 1..4).prop_map(|fields| {
            let fields: Vec<Value> = fields
                .into_iter()
                .map(|(predicate, leads)| json!({"predicate": predicate, "on_match": leads}))
                .collect();
            json!({"matcher_list": {"matchers": fields}})
        });
        let kind = select(&["exact_match_map", "prefix_match_map"][..]);
        let map = (keyed.clone(), kind, vec(inner.clone(), 3), any::<bool>());
        let map = map
            .prop_map(|(keyed, kind, leads, exclusive)| keyed_tree(keyed, kind, leads, exclusive));
        let nested = prop_oneof![2 => list, 2 => map];
        let all = (nested.boxed(), weighted(0.5, inner));
        all.prop_map(|(mut matcher, otherwise)| {
            if let Some(otherwise) = otherwise {
                set(&mut matcher, "on_no_match", otherwise);
            }
            json!({"matcher": matcher})
        })
        .boxed()
    })
    .prop_map(|leads| match leads.get("matcher") {
        Some(matcher) => matcher.clone(),
        None => json!({"on_no_match": leads}),
    })
    .boxed()
}

/// A matcher in whose places these routes stand, in turns.
pub fn matchers(routes: Vec<Value>) -> BoxedStrategy<Value> {
    let filled = tree(action().boxed(), of_header(), by_header()).prop_map(move |mut matcher| {
        let mut all = routes.iter().cycle();
        for place in places(&mut matcher) {
            let members = place.as_object_mut();
            let route = all.next().and_then(Value::as_object);
            if let (Some(members), Some(route)) = (members, route) {
                members.extend(route.clone());
            }
        }
        matcher
    });
    filled.boxed()
}

/// The routes below a matcher: depth first, of a map in the order of its keys, which is that of JSON
/// here.
pub fn places(matcher: &mut Value) -> Vec<&mut Value> {
    let mut found = Vec::new();
    in_matcher(matcher, &mut found);
    found
}

fn in_matcher<'a>(matcher: &'a mut Value, found: &mut Vec<&'a mut Value>) {
    let mut last = None;
    for (name, member) in matcher.as_object_mut().into_iter().flatten() {
        match name.as_str() {
            "matcher_list" => {
                let fields = member.get_mut("matchers").and_then(Value::as_array_mut);
                for field in fields.into_iter().flatten() {
                    in_on_match(field.get_mut("on_match"), found);
                }
            }
            "matcher_tree" => {
                for (kind, map) in member.as_object_mut().into_iter().flatten() {
                    let map = map.get_mut("map").and_then(Value::as_object_mut);
                    for (_, leads) in map.into_iter().flatten().filter(|_| kind != "input") {
                        in_on_match(Some(leads), found);
                    }
                }
            }
            "on_no_match" => last = Some(member),
            _ => {}
        }
    }
    in_on_match(last, found);
}

fn in_on_match<'a>(leads: Option<&'a mut Value>, found: &mut Vec<&'a mut Value>) {
    let Some(leads) = leads else {
        return;
    };
    if leads.get("matcher").is_some() {
        if let Some(matcher) = leads.get_mut("matcher") {
            in_matcher(matcher, found);
        }
        return;
    }
    let Some(action) = leads.pointer_mut("/action/typed_config") else {
        return;
    };
    if action.get("@type").and_then(Value::as_str) == Some(ROUTE_LIST) {
        let routes = action.get_mut("routes").and_then(Value::as_array_mut);
        found.extend(routes.into_iter().flatten());
    } else {
        found.push(action);
    }
}

/// The headers, and perhaps the path, with which a request goes some way down the tree.
pub fn descend(matcher: &Value, tape: &mut Tape<'_>) -> Vec<(String, String)> {
    let mut given = Vec::new();
    let mut place = matcher;
    for _ in 0..6 {
        let fields = at(place, &["matcher_list", "matchers"]).and_then(Value::as_array);
        let tree = place.get("matcher_tree");
        let leads = if let Some(field) = fields.and_then(|fields| tape.pick(fields)) {
            in_predicate(field.get("predicate"), &mut given, tape);
            field.get("on_match")
        } else if let Some(tree) = tree.filter(|_| !tape.once_in(5)) {
            let maps = ["exact_match_map", "prefix_match_map"];
            let map = maps
                .into_iter()
                .find_map(|map| at(tree, &[map, "map"])?.as_object());
            let keys: Vec<&String> = map.into_iter().flat_map(Map::keys).collect();
            let name = at(tree, &["input", "typed_config", "header_name"]);
            let (Some(key), Some(name)) = (tape.pick(&keys), name.and_then(Value::as_str)) else {
                break;
            };
            let text = crate::texts::around(key, tape);
            let text = text + &tape.text(&["", "", "a", "/b"]);
            given.push((name.to_owned(), text));
            map.and_then(|map| map.get(key.as_str()))
        } else {
            place.get("on_no_match")
        };
        match leads.and_then(|leads| leads.get("matcher")) {
            Some(matcher) => place = matcher,
            None => break,
        }
    }
    given
}

fn in_predicate(predicate: Option<&Value>, given: &mut Vec<(String, String)>, tape: &mut Tape<'_>) {
    let Some(predicate) = predicate else {
        return;
    };
    if let Some(single) = predicate.get("single_predicate") {
        let name = at(single, &["input", "typed_config", "header_name"]);
        let string = single.get("value_match").cloned().unwrap_or_default();
        let asked = json!({"string_match": string});
        if let (Some(name), Some(value)) = (name.and_then(Value::as_str), value(&asked, tape)) {
            given.push((name.to_owned(), value));
        }
    }
    for kind in ["and_matcher", "or_matcher"] {
        let all = at(predicate, &[kind, "predicate"]).and_then(Value::as_array);
        for one in all.into_iter().flatten() {
            in_predicate(Some(one), given, tape);
        }
    }
    if tape.once_in(2) {
        in_predicate(predicate.get("not_matcher"), given, tape);
    }
}
