//! Route configurations: virtual hosts, routes, and what routes do.

use std::collections::HashSet;

use proptest::collection::vec;
use proptest::option::weighted;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use serde_json::{Value, json};
use twinmesh_xds::uri_template;

use crate::balancing::criteria;
use crate::http_filter::{per_filter, rate_limits};
use crate::matcher::{at, header, object, query_parameter, set, string};
use crate::matcher_tree::matchers;
use crate::mutation::{metadata, mirrors, mutations, rewrite as format, value_format};
use crate::texts::{
    CLUSTER_HEADER, CLUSTERS, COOKIES, DOMAINS, HEADERS, PARAMETERS, PATH_REGEXES, PATHS,
    URI_TEMPLATES,
};
use crate::upgrade;

fn path_specifier() -> BoxedStrategy<Value> {
    prop_oneof![
        5 => select(PATHS).prop_map(|text| json!({"prefix": text})),
        4 => select(PATHS).prop_map(|text| json!({"path": text})),
        // No trailing slash, and not the root: Envoy refuses both.
        2 => select(PATHS).prop_filter_map("ends in a slash", |text| {
            (!text.ends_with('/')).then(|| json!({"path_separated_prefix": text}))
        }),
        2 => select(PATH_REGEXES).prop_map(|(pattern, _)| json!({"safe_regex": {"regex": pattern}})),
        1 => select(URI_TEMPLATES).prop_map(|(template, ..)| json!({"path_match_policy": {
            "name": "t", "typed_config": {
                "@type": format!("type.googleapis.com/{}", uri_template::MATCH),
                "path_template": template}}})),
        1 => Just(json!({"prefix": ""})),
        2 => Just(json!({"connect_matcher": {}})),
    ]
    .boxed()
}

/// What a route may ask beside path, headers and query, by the field's name.
fn beside() -> impl Strategy<Value = (&'static str, Value)> {
    let cookie = (select(COOKIES), string(), prop::bool::weighted(0.2));
    let cookie = cookie.prop_map(|(name, string, inverted)| {
        let mut matcher = json!({"name": name, "string_match": string});
        if inverted {
            set(&mut matcher, "invert_match", json!(true));
        }
        matcher
    });
    let side = || weighted(0.6, any::<bool>());
    prop_oneof![
        3 => Just(("grpc", json!({}))),
        4 => vec(cookie, 1..3).prop_map(|cookies| ("cookies", Value::Array(cookies))),
        4 => (side(), side()).prop_map(|(presented, validated)| {
            let mut asked = json!({});
            if let Some(presented) = presented {
                set(&mut asked, "presented", json!(presented));
            }
            if let Some(validated) = validated {
                set(&mut asked, "validated", json!(validated));
            }
            ("tls_context", asked)
        }),
        4 => prop::bool::weighted(0.85).prop_map(|invert| ("dynamic_metadata", json!([{
            "filter": "f", "path": [{"key": "k"}], "value": {"present_match": true},
            "invert": invert}]))),
    ]
}

fn route_match() -> BoxedStrategy<Value> {
    (
        path_specifier(),
        weighted(0.25, any::<bool>()),
        prop_oneof![3 => vec(header(), 0..1), 2 => vec(header(), 1..4)],
        prop_oneof![4 => vec(query_parameter(), 0..1), 1 => vec(query_parameter(), 1..3)],
        weighted(
            0.12,
            (
                select(&[0u32, 30, 50, 99, 100][..]),
                select(&["HUNDRED", "TEN_THOUSAND"][..]),
            ),
        ),
        weighted(0.16, beside()),
    )
        .prop_map(
            |(mut matched, case, headers, parameters, fraction, beside)| {
                if let Some(case) = case {
                    set(&mut matched, "case_sensitive", json!(case));
                }
                if !headers.is_empty() {
                    set(&mut matched, "headers", Value::Array(headers));
                }
                if !parameters.is_empty() {
                    set(&mut matched, "query_parameters", Value::Array(parameters));
                }
                if let Some((numerator, denominator)) = fraction {
                    let share = json!({"numerator": numerator, "denominator": denominator});
                    let fraction = json!({"default_value": share});
                    set(&mut matched, "runtime_fraction", fraction);
                }
                if let Some((field, value)) = beside {
                    set(&mut matched, field, value);
                }
                matched
            },
        )
        .boxed()
}

fn weighted_clusters() -> BoxedStrategy<Value> {
    let asked = weighted(0.5, criteria());
    let entry = (
        select(CLUSTERS),
        prop::bool::weighted(0.1),
        asked,
        (mutations(), prop::bool::weighted(0.1)),
    );
    vec((entry, 0..4u32), 1..5)
        .prop_map(|mut entries| {
            // Envoy refuses weights that add up to 0.
            if entries.iter().all(|(_, weight)| *weight == 0)
                && let Some((_, weight)) = entries.last_mut()
            {
                *weight = 1;
            }
            let clusters: Vec<Value> = entries
                .into_iter()
                .map(
                    |((name, by_header, asked, (mutations, rewrites)), weight)| {
                        let mut entry = match by_header {
                            true => json!({"cluster_header": CLUSTER_HEADER, "weight": weight}),
                            false => json!({"name": name, "weight": weight}),
                        };
                        if let Some(asked) = asked {
                            set(&mut entry, "metadata_match", asked);
                        }
                        for (name, value) in mutations {
                            set(&mut entry, name, value);
                        }
                        if rewrites {
                            set(&mut entry, "host_rewrite_literal", json!("w.com"));
                        }
                        entry
                    },
                )
                .collect();
            let clusters = object([("clusters", Value::Array(clusters))]);
            object([("weighted_clusters", clusters)])
        })
        .boxed()
}

/// What a hashed header is rewritten by.
const HASH_REWRITES: &[(&str, &str)] = &[
    ("^.", ""),
    ("(a)|b", r"[\1]"),
    (".*", "one"),
    ("x*", "-"),
    ("a", r"\1"),
];

/// A header that a hash takes: mostly one that no filter changes, beside which the hash is undecided.
fn hashed_header() -> impl Strategy<Value = &'static str> {
    prop_oneof![3 => Just("x-hashed"), 1 => select(HEADERS)]
}

/// A `HashPolicy`.
fn hash_policy() -> impl Strategy<Value = Value> {
    let specifier = prop_oneof![
        5 => hashed_header().prop_map(|name| json!({"header": {"header_name": name}})),
        2 => (hashed_header(), select(HASH_REWRITES)).prop_map(|(name, (regex, text))| {
            let rule = json!({"pattern": {"regex": regex}, "substitution": text});
            json!({"header": {"header_name": name, "regex_rewrite": rule}})
        }),
        2 => select(PARAMETERS).prop_map(|name| json!({"query_parameter": {"name": name}})),
        3 => (select(COOKIES), prop::bool::weighted(0.1)).prop_map(|(name, made_up)| {
            let mut cookie = json!({"name": name});
            if made_up {
                set(&mut cookie, "ttl", json!("10s"));
            }
            json!({"cookie": cookie})
        }),
        1 => prop::bool::weighted(0.8)
            .prop_map(|given| json!({"connection_properties": {"source_ip": given}})),
    ];
    (specifier, prop::bool::weighted(0.3)).prop_map(|(mut policy, terminal)| {
        if terminal {
            set(&mut policy, "terminal", json!(true));
        }
        policy
    })
}

fn rewrite() -> BoxedStrategy<Option<Value>> {
    weighted(
        0.14,
        prop_oneof![
            2 => select(PATHS).prop_map(|text| json!({"prefix_rewrite": text})),
            2 => Just(json!({"host_rewrite_literal": "z.com"})),
            1 => Just(json!({"host_rewrite_literal": "z.com", "append_x_forwarded_host": true})),
            3 => format().prop_map(|format| json!({"path_rewrite": format})),
            3 => format().prop_map(|format| json!({"host_rewrite": format})),
            2 => Just(json!({"host_rewrite_header": "x-a"})),
            2 => Just(json!({"regex_rewrite": {"pattern": {"regex": "a+"}, "substitution": "b"}})),
        ],
    )
    .boxed()
}

fn action() -> BoxedStrategy<Value> {
    let cluster = prop_oneof![
        6 => select(CLUSTERS).prop_map(|name| json!({"cluster": name})),
        4 => weighted_clusters(),
        1 => Just(json!({"cluster": "missing"})),
        1 => Just(json!({"cluster_header": CLUSTER_HEADER})),
    ];
    let hash_policies = prop_oneof![1 => Just(Vec::new()), 1 => vec(hash_policy(), 1..4)];
    let by_hash = prop::bool::weighted(0.25);
    prop_oneof![
        8 => (cluster, rewrite(), hash_policies, by_hash, weighted(0.4, criteria()), (prop::bool::weighted(0.2), mirrors(), upgrade::of_route(), weighted(0.3, (rate_limits(), any::<bool>())))).prop_map(|(mut route, rewrite, policies, by_hash, asked, (high, mirrors, upgrades, limits))| {
            if let Some(upgrades) = upgrades {
                set(&mut route, "upgrade_configs", upgrades);
            }
            if let Some((limits, includes)) = limits {
                set(&mut route, "rate_limits", limits);
                set(&mut route, "include_vh_rate_limits", json!(includes));
            }
            for (name, value) in mirrors {
                set(&mut route, name, value);
            }
            if high {
                set(&mut route, "priority", json!("HIGH"));
            }
            if let Some(asked) = asked {
                set(&mut route, "metadata_match", asked);
            }
            if let Some(weighted) = route.get_mut("weighted_clusters").filter(|_| by_hash) {
                set(weighted, "use_hash_policy", json!(true));
            }
            if !policies.is_empty() {
                set(&mut route, "hash_policy", Value::Array(policies));
            }
            for (name, value) in rewrite.iter().flat_map(|it| it.as_object()).flatten() {
                set(&mut route, name, value.clone());
            }
            object([("route", route)])
        }),
        1 => direct_response(),
        1 => prop_oneof![
            Just(json!({"host_redirect": "z.com"})),
            Just(json!({"https_redirect": true})),
            Just(json!({"port_redirect": 81, "response_code": "FOUND"})),
            Just(json!({"path_redirect": "/z", "strip_query": true})),
            Just(json!({"prefix_rewrite": "/z"})),
            format().prop_map(|format| json!({"path_rewrite": format})),
        ].prop_map(|redirect| json!({"redirect": redirect})),
    ]
    .boxed()
}

/// Answers of routes, with bodies and formats of bodies.
fn direct_response() -> impl Strategy<Value = Value> {
    let status = select(&[200, 204, 404, 503][..]);
    let body = prop_oneof![
        2 => Just(None),
        3 => select(&["text", "\u{e9}\"\n\t\u{1}", ""][..]).prop_map(|text| Some(json!({"inline_string": text}))),
        1 => select(&["aGk=", "/wA="][..]).prop_map(|bytes| Some(json!({"inline_bytes": bytes}))),
        1 => Just(Some(json!({"environment_variable": "HOME"}))),
    ];
    (status, body, weighted(0.5, body_format())).prop_map(|(status, body, format)| {
        let mut answer = json!({"status": status});
        if let Some(body) = body {
            set(&mut answer, "body", body);
        }
        if let Some(format) = format {
            set(&mut answer, "body_format", format);
        }
        json!({"direct_response": answer})
    })
}

fn body_format() -> impl Strategy<Value = Value> {
    let text = || prop_oneof![body_text(), value_format()];
    let item = prop_oneof![
        4 => text().prop_map(Value::from),
        1 => select(vec![Value::Null, json!(true), json!(-7), json!(999_999), json!(1.5), json!({}), json!([])]),
    ];
    let inner = vec(item.clone(), 0..3);
    let object =
        inner.prop_map(|items| json!({"o": {"z": items.first(), "a": items.get(1)}, "l": items}));
    let json_format = (item, object).prop_map(|(one, mut object)| {
        set(&mut object, "b\"%", one);
        json!({"json_format": object})
    });
    let text_format =
        text().prop_map(|text| json!({"text_format_source": {"inline_string": text}}));
    (prop_oneof![text_format, json_format], any::<bool>()).prop_map(|(mut format, omits)| {
        set(&mut format, "omit_empty_values", omits.into());
        format
    })
}

fn body_text() -> impl Strategy<Value = &'static str> {
    select(
        &[
            "%LOCAL_REPLY_BODY%",
            "a %LOCAL_REPLY_BODY%%REQ(x-none)%",
            "100%%",
        ][..],
    )
}

fn route() -> BoxedStrategy<Value> {
    let rewritten = any::<bool>();
    let changes = (mutations(), metadata());
    (route_match(), action(), rewritten, per_filter(), changes)
        .prop_map(
            |(matched, mut route, rewritten, said, (mutations, metadata))| {
                for (name, value) in mutations.into_iter().chain(metadata) {
                    set(&mut route, name, value);
                }
                if matched.get("path_match_policy").is_some()
                    && let Some(redirect) = route.get_mut("redirect")
                    && let Some(redirect) = redirect.as_object_mut()
                {
                    redirect.remove("prefix_rewrite");
                }
                if let Some(template) = at(
                    &matched,
                    &["path_match_policy", "typed_config", "path_template"],
                ) && let Some(action) = route.get_mut("route").and_then(Value::as_object_mut)
                {
                    // Envoy refuses a prefix's rewrite without a prefix, and two rewrites of one path.
                    action.remove("prefix_rewrite");
                    let known = URI_TEMPLATES.iter().find(|(known, ..)| template == known);
                    if let (Some((_, rewrite, _)), true) = (known, rewritten) {
                        action.remove("regex_rewrite");
                        action.remove("path_rewrite");
                        let policy = json!({"name": "r", "typed_config": {
                    "@type": format!("type.googleapis.com/{}", uri_template::REWRITE),
                    "path_template_rewrite": rewrite}});
                        action.insert("path_rewrite_policy".to_owned(), policy);
                    }
                }
                set(&mut route, "match", matched);
                if let Some(said) = said {
                    set(&mut route, "typed_per_filter_config", said);
                }
                route
            },
        )
        .boxed()
}

/// The routes of a virtual host: by the field in which they stand.
fn routes() -> BoxedStrategy<(&'static str, Value)> {
    let list =
        prop_oneof![1 => vec(route(), 0..2), 8 => vec(route(), 1..5), 3 => vec(route(), 5..12)];
    // Half of a tree's routes take whatever the tree leads to them.
    let plain = action().prop_map(|mut route| {
        set(&mut route, "match", json!({"prefix": ""}));
        if let Some(action) = route.get_mut("route").and_then(Value::as_object_mut) {
            action.remove("prefix_rewrite");
        }
        route
    });
    let tree = vec(prop_oneof![route(), plain].boxed(), 1..8).prop_flat_map(matchers);
    prop_oneof![
        12 => list.prop_map(|routes| ("routes", Value::Array(routes))).boxed(),
        1 => tree.prop_map(|matcher| ("matcher", matcher)).boxed(),
    ]
    .boxed()
}

/// Virtual hosts: their domains are distinct over the whole configuration.
pub fn virtual_hosts() -> BoxedStrategy<Vec<Value>> {
    let host = (
        subsequence(DOMAINS, 1..4),
        routes(),
        weighted(0.04, select(&["ALL", "EXTERNAL_ONLY", "EXTERNAL_ONLY"][..])),
        per_filter(),
        (mutations(), metadata(), mirrors()),
        weighted(0.5, rate_limits()),
    );
    vec(host, 1..5)
        .prop_map(|hosts| {
            let mut taken = HashSet::new();
            let mut list = Vec::new();
            for (index, (domains, routes, tls, said, changes, limits)) in
                hosts.into_iter().enumerate()
            {
                let domains: Vec<&str> = domains
                    .into_iter()
                    .filter(|domain| taken.insert(*domain))
                    .collect();
                if domains.is_empty() {
                    continue;
                }
                let (field, routes) = routes;
                let name = ("name", json!(format!("v{index}")));
                let mut host = object([name, ("domains", json!(domains)), (field, routes)]);
                if let Some(limits) = limits {
                    set(&mut host, "rate_limits", limits);
                }
                if let Some(tls) = tls {
                    set(&mut host, "require_tls", json!(tls));
                }
                if let Some(said) = said {
                    set(&mut host, "typed_per_filter_config", said);
                }
                let (mutations, metadata, mirrors) = changes;
                for (name, value) in mutations.into_iter().chain(metadata).chain(mirrors) {
                    set(&mut host, name, value);
                }
                list.push(host);
            }
            list
        })
        .boxed()
}
