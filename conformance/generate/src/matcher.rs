//! Matchers of strings, headers and query parameters, and values at their boundaries.

use proptest::option::weighted;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Map, Value, json};

use crate::Tape;
use crate::texts::{self, HEADERS, MANAGED_HEADERS, PARAMETERS, VALUE_REGEXES, VALUES, around};

fn regex() -> impl Strategy<Value = Value> {
    select(VALUE_REGEXES).prop_map(|(pattern, _)| json!({"regex": pattern}))
}

/// A `StringMatcher`.
pub fn string() -> impl Strategy<Value = Value> {
    let plain = (
        select(&["exact", "prefix", "suffix", "contains"][..]),
        select(VALUES),
        weighted(0.3, any::<bool>()),
    )
        .prop_map(|(kind, text, ignore_case)| match ignore_case {
            Some(ignore_case) => json!({kind: text, "ignore_case": ignore_case}),
            None => json!({kind: text}),
        });
    prop_oneof![
        8 => plain,
        1 => Just(json!({"exact": ""})),
        3 => regex().prop_map(|regex| json!({"safe_regex": regex})),
    ]
}

/// A `HeaderMatcher`, of the current and of the deprecated kinds.
pub fn header() -> impl Strategy<Value = Value> {
    let kind = prop_oneof![
        6 => string().prop_map(|string| object([("string_match", string)])),
        3 => (0..12i64, -1..4i64).prop_map(|(start, length)| {
            json!({"range_match": {"start": start, "end": start + length}})
        }),
        2 => any::<bool>().prop_map(|present| json!({"present_match": present})),
        1 => select(&["exact_match", "prefix_match", "suffix_match", "contains_match"][..])
            .prop_flat_map(|kind| select(VALUES).prop_map(move |text| json!({kind: text}))),
        1 => Just(json!({"exact_match": ""})),
        1 => regex().prop_map(|regex| json!({"safe_regex_match": regex})),
        1 => Just(json!({})),
    ];
    let bits = (weighted(0.25, any::<bool>()), weighted(0.25, any::<bool>()));
    let name = prop_oneof![12 => select(HEADERS), 1 => select(MANAGED_HEADERS)];
    (name, kind, bits).prop_map(|(name, mut matcher, (invert, empty))| {
        let name = if name == ":method" {
            matcher = json!({"string_match": {"exact": "POST"}});
            ":method"
        } else {
            name
        };
        set(&mut matcher, "name", json!(name));
        if let Some(invert) = invert {
            set(&mut matcher, "invert_match", json!(invert));
        }
        if let Some(empty) = empty {
            set(&mut matcher, "treat_missing_header_as_empty", json!(empty));
        }
        matcher
    })
}

/// A `QueryParameterMatcher`.
pub fn query_parameter() -> impl Strategy<Value = Value> {
    let kind = prop_oneof![
        3 => string().prop_map(|string| object([("string_match", string)])),
        2 => any::<bool>().prop_map(|present| json!({"present_match": present})),
        1 => Just(json!({})),
    ];
    (select(PARAMETERS), kind).prop_map(|(name, mut matcher)| {
        set(&mut matcher, "name", json!(name));
        matcher
    })
}

/// An object of these members. (`json!` copies what it is given.)
pub fn object<const N: usize>(members: [(&str, Value); N]) -> Value {
    let members = members.map(|(name, value)| (name.to_owned(), value));
    Value::Object(members.into_iter().collect())
}

/// What these names lead to through objects. (`Value::pointer` copies each name.)
pub fn at<'a>(of: &'a Value, names: &[&str]) -> Option<&'a Value> {
    names.iter().try_fold(of, |of, name| of.get(name))
}

/// Sets a member of an object.
pub fn set(object: &mut Value, name: &str, value: Value) {
    if let Some(members) = object.as_object_mut() {
        members.insert(name.to_owned(), value);
    }
}

/// A value at the boundary of what a header or query parameter matcher takes; `None`: it is
/// missing. Where the request is to hit, one that the matcher takes.
pub fn value(matcher: &Value, tape: &mut Tape<'_>) -> Option<String> {
    let empty = Map::new();
    let members = matcher.as_object().unwrap_or(&empty);
    let is = |name: &str| members.get(name).and_then(Value::as_bool);
    if tape.is_aimed() {
        let inverted = is("invert_match").unwrap_or(false);
        if let Some(present) = is("present_match") {
            return (present != inverted).then(|| tape.text(VALUES));
        }
        if inverted {
            // Nothing here takes it, as text or as a number.
            return Some("zz".to_owned());
        }
        if let Some(range) = members.get("range_match") {
            return range.get("start").map(Value::to_string);
        }
    }
    if let Some(range) = members.get("range_match") {
        let bound = |name: &str| range.get(name).and_then(Value::as_i64).unwrap_or(0);
        let (start, end) = (bound("start"), bound("end"));
        return Some(match tape.below(16) {
            0 | 1 => start.to_string(),
            2 | 12 => (start - 1).to_string(),
            3 | 13 => (end - 1).to_string(),
            4 | 14 | 15 => end.to_string(),
            5 => format!("+{start}"),
            6 => format!("00{start}"),
            7 => format!("{start}.0"),
            8 => format!("-{start}"),
            9 => String::new(),
            10 => format!("{start}{}", tape.text(&["a", " ", "\t", ",1"])),
            _ => tape.text(&[
                "9223372036854775807",
                "9223372036854775808",
                "-9223372036854775808",
                "18446744073709551616",
            ]),
        });
    }
    let deprecated = members
        .iter()
        .find_map(|(name, text)| Some((name.strip_suffix("_match")?, text)));
    let (kind, of) = match deprecated {
        Some(("string", string)) => match string.as_object() {
            Some(members) => members
                .iter()
                .find(|(name, _)| *name != "ignore_case")
                .map(|(name, of)| (name.as_str(), of)),
            None => None,
        },
        Some((kind, of)) if kind != "invert" && kind != "present" => Some((kind, of)),
        _ => None,
    }
    .unwrap_or(("present", &Value::Null));
    let text = of.as_str().unwrap_or_default();
    let around = around(text, tape);
    Some(match kind {
        "exact" => around,
        "prefix" => around + &tape.text(&["", "a", "b", "/"]),
        _ if tape.is_aimed() && kind == "present" => tape.text(VALUES),
        "suffix" => tape.text(&["", "a", "b"]) + &around,
        "contains" => tape.text(&["", "a", "b"]) + &around + &tape.text(&["", "b"]),
        "safe_regex" => {
            let pattern = of.get("regex").and_then(Value::as_str).unwrap_or_default();
            texts::of_regex(pattern, tape)
        }
        _ if tape.once_in(3) => return None,
        _ => tape.text(VALUES),
    })
}
