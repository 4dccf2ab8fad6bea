//! Matcher trees of virtual hosts: routes in lists and maps, and requests that get to them.

use proptest::collection::vec;
use proptest::option::weighted;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use serde_json::{Map, Value, json};

use crate::Tape;
use crate::matcher::{set, string, value};
use crate::texts::{HEADERS, PATHS, VALUES};

const INPUT: &str = "type.googleapis.com/envoy.type.matcher.v3.HttpRequestHeaderMatchInput";
const ROUTE: &str = "type.googleapis.com/envoy.config.route.v3.Route";
const ROUTE_LIST: &str = "type.googleapis.com/envoy.config.route.v3.RouteList";

fn input(name: &str) -> Value {
    json!({"name": "i", "typed_config": {"@type": INPUT, "header_name": name}})
}

fn predicate() -> BoxedStrategy<Value> {
    let single = (select(HEADERS), string()).prop_map(|(name, mut string)| {
        if let Some(regex) = string.get_mut("safe_regex") {
            set(regex, "google_re2", json!({}));
        }
        json!({"single_predicate": {"input": input(name), "value_match": string}})
    });
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

/// A matcher whose routes are empty yet.
fn matcher() -> BoxedStrategy<Value> {
    let leaf = action().boxed();
    leaf.prop_recursive(3, 16, 4, |inner| {
        let list = vec((predicate(), inner.clone()), 1..4).prop_map(|fields| {
            let fields: Vec<Value> = fields
                .into_iter()
                .map(|(predicate, leads)| json!({"predicate": predicate, "on_match": leads}))
                .collect();
            json!({"matcher_list": {"matchers": fields}})
        });
        let by_value = (select(HEADERS), subsequence(VALUES, 1..4)).prop_map(|(name, keys)| {
            let keys: Vec<String> = keys.into_iter().map(str::to_owned).collect();
            (name.to_owned(), keys)
        });
        let by_path = subsequence(PATHS, 1..4).prop_map(|keys| {
            let keys: Vec<String> = keys.into_iter().map(str::to_owned).collect();
            (":path".to_owned(), keys)
        });
        let keyed = prop_oneof![3 => by_value, 2 => by_path].boxed();
        let kind = select(&["exact_match_map", "prefix_match_map"][..]);
        let map = (keyed, kind, vec(inner.clone(), 3)).prop_map(|((name, keys), kind, leads)| {
            let map: Map<String, Value> = keys.into_iter().zip(leads).collect();
            json!({"matcher_tree": {"input": input(&name), kind: {"map": map}}})
        });
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
    let filled = matcher().prop_map(move |mut matcher| {
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
    let mut at = matcher;
    for _ in 0..6 {
        let fields = at
            .pointer("/matcher_list/matchers")
            .and_then(Value::as_array);
        let tree = at.get("matcher_tree");
        let leads = if let Some(field) = fields.and_then(|fields| tape.pick(fields)) {
            in_predicate(field.get("predicate"), &mut given, tape);
            field.get("on_match")
        } else if let Some(tree) = tree.filter(|_| !tape.once_in(5)) {
            let maps = ["/exact_match_map/map", "/prefix_match_map/map"];
            let map = maps
                .into_iter()
                .find_map(|map| tree.pointer(map)?.as_object());
            let keys: Vec<&String> = map.into_iter().flat_map(Map::keys).collect();
            let name = tree.pointer("/input/typed_config/header_name");
            let (Some(key), Some(name)) = (tape.pick(&keys), name.and_then(Value::as_str)) else {
                break;
            };
            let text = crate::texts::around(key, tape);
            let text = text + &tape.text(&["", "", "a", "/b"]);
            given.push((name.to_owned(), text));
            map.and_then(|map| map.get(key.as_str()))
        } else {
            at.get("on_no_match")
        };
        match leads.and_then(|leads| leads.get("matcher")) {
            Some(matcher) => at = matcher,
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
        let name = single.pointer("/input/typed_config/header_name");
        let string = single.get("value_match").cloned().unwrap_or_default();
        let asked = json!({"string_match": string});
        if let (Some(name), Some(value)) = (name.and_then(Value::as_str), value(&asked, tape)) {
            given.push((name.to_owned(), value));
        }
    }
    for kind in ["/and_matcher/predicate", "/or_matcher/predicate"] {
        for one in predicate
            .pointer(kind)
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
        {
            in_predicate(Some(one), given, tape);
        }
    }
    if tape.once_in(2) {
        in_predicate(predicate.get("not_matcher"), given, tape);
    }
}
