//! Matcher trees of virtual hosts.

use super::{
    Rule::{Decided, Inert, Judge, Part, Unsupported},
    Table, header,
};
use crate::matcher_tree::{FILTER_STATE_INPUT, HEADER_INPUT, ROUTE_LIST};

const CUSTOM: super::Rule = Unsupported("matchers by extension are not decided");

pub(super) const TABLES: &[Table] = &[
    Table {
        message: "xds.type.matcher.v3.Matcher",
        fields: &[
            ("matcher_list", Decided),
            ("matcher_tree", Decided),
            ("on_no_match", Decided),
        ],
    },
    Table {
        message: "xds.type.matcher.v3.Matcher.OnMatch",
        fields: &[
            ("matcher", Decided),
            ("action", Decided),
            ("keep_matching", Inert),
        ],
    },
    Table {
        message: "xds.type.matcher.v3.Matcher.MatcherList",
        fields: &[("matchers", Decided)],
    },
    Table {
        message: "xds.type.matcher.v3.Matcher.MatcherList.FieldMatcher",
        fields: &[("predicate", Decided), ("on_match", Decided)],
    },
    Table {
        message: "xds.type.matcher.v3.Matcher.MatcherList.Predicate",
        fields: &[
            ("single_predicate", Decided),
            ("or_matcher", Decided),
            ("and_matcher", Decided),
            ("not_matcher", Decided),
        ],
    },
    Table {
        message: "xds.type.matcher.v3.Matcher.MatcherList.Predicate.SinglePredicate",
        fields: &[
            ("input", Decided),
            ("value_match", Decided),
            ("custom_match", CUSTOM),
        ],
    },
    Table {
        message: "xds.type.matcher.v3.Matcher.MatcherList.Predicate.PredicateList",
        fields: &[("predicate", Decided)],
    },
    Table {
        message: "xds.type.matcher.v3.Matcher.MatcherTree",
        fields: &[
            ("input", Decided),
            ("exact_match_map", Decided),
            ("prefix_match_map", Decided),
            ("custom_match", CUSTOM),
        ],
    },
    Table {
        message: "xds.type.matcher.v3.Matcher.MatcherTree.MatchMap",
        fields: &[("map", Decided)],
    },
    Table {
        message: "xds.type.matcher.v3.Matcher.MatcherTree.MatchMap.MapEntry",
        fields: &[("key", Decided), ("value", Decided)],
    },
    Table {
        message: "xds.core.v3.TypedExtensionConfig",
        fields: &[("name", Inert), ("typed_config", Decided)],
    },
    Table {
        message: HEADER_INPUT,
        fields: &[("header_name", Judge(header::name))],
    },
    Table {
        message: FILTER_STATE_INPUT,
        fields: &[
            (
                "key",
                Unsupported("matchers of the filter state are not decided"),
            ),
            ("field", Inert),
        ],
    },
    Table {
        message: ROUTE_LIST,
        fields: &[("routes", Part)],
    },
    Table {
        message: "xds.type.matcher.v3.StringMatcher",
        fields: &[
            ("exact", Decided),
            ("prefix", Decided),
            ("suffix", Decided),
            ("safe_regex", Decided),
            ("contains", Decided),
            (
                "custom",
                Unsupported("string matcher extensions are not decided"),
            ),
            ("ignore_case", Decided),
        ],
    },
    Table {
        message: "xds.type.matcher.v3.RegexMatcher",
        fields: &[("google_re2", Inert), ("regex", Decided)],
    },
];
