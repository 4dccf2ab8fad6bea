//! Matcher trees of virtual hosts, of RBAC filters and of listeners.

use super::{
    Judged,
    Rule::{Decided, Inert, Judge, Part, Unsupported},
    STATISTICS, Table, Verdict, direct_peer, header,
};
use crate::filter_chain_matcher::{OF_FILTER_CHAINS, STRING_VALUE};
use crate::matcher_tree::{FILTER_STATE_INPUT, HEADER_INPUT, IP_MATCHER, IP_RANGES, ROUTE_LIST};
use crate::rbac_matcher::{
    ACTION, ADDRESSES, CEL_INPUT, CERTIFICATES, DIRECT_SOURCE_INPUT, ENVIRONMENT_INPUT,
    METADATA_INPUT, NAMESPACE_INPUT, OF_CONNECTIONS,
};

/// The input of a predicate or a tree.
const INPUT: super::Rule = Judge(input);
const CUSTOM: super::Rule = Judge(custom);
const CEL: &str = "conditions in CEL are not decided";

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
            ("input", INPUT),
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
            ("input", INPUT),
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
        message: ACTION,
        fields: &[("name", Decided), ("action", Decided)],
    },
    Table {
        message: STRING_VALUE,
        fields: &[("value", Decided)],
    },
    Table {
        message: IP_MATCHER,
        fields: &[("range_matchers", Decided)],
    },
    Table {
        message: "xds.type.matcher.v3.IPMatcher.IPRangeMatcher",
        fields: &[
            ("ranges", Decided),
            ("on_match", Decided),
            ("exclusive", Decided),
        ],
    },
    Table {
        message: IP_RANGES,
        fields: &[("cidr_ranges", Decided), ("stat_prefix", STATISTICS)],
    },
    Table {
        message: "xds.core.v3.CidrRange",
        fields: &[("address_prefix", Decided), ("prefix_len", Decided)],
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

fn extension<'j>(of: Option<&'j crate::view::View<'j>>) -> &'j str {
    let config = of.and_then(|it| it.any("typed_config"));
    config.map_or("", |it| it.type_name())
}

fn input(judged: &Judged<'_>) -> Verdict {
    let name = extension(judged.child);
    let reason = match name {
        // What is not decided of the filter state says its own table.
        HEADER_INPUT | FILTER_STATE_INPUT => return Verdict::Decided,
        DIRECT_SOURCE_INPUT => return direct_peer(judged),
        _ if OF_CONNECTIONS.contains(&name)
            || OF_FILTER_CHAINS.contains(&name)
            || CERTIFICATES.contains(&name) =>
        {
            return Verdict::Decided;
        }
        CEL_INPUT => CEL.into(),
        METADATA_INPUT => "matchers of dynamic metadata are not decided".into(),
        NAMESPACE_INPUT => "matchers of network namespaces are not decided".into(),
        ENVIRONMENT_INPUT => "Envoy's environment variables are not known here".into(),
        _ => format!("the input {name} is not decided").into(),
    };
    Verdict::Unsupported(reason)
}

fn custom(judged: &Judged<'_>) -> Verdict {
    let input = judged.parent.child("input");
    let of_address = ADDRESSES.contains(&extension(input.as_ref()));
    let reason = match extension(judged.child) {
        IP_MATCHER | IP_RANGES if of_address => return Verdict::Decided,
        IP_MATCHER | IP_RANGES => {
            "ranges are decided where the input is an address of the connection".into()
        }
        "xds.type.matcher.v3.CelMatcher" => CEL.into(),
        name => format!("the matcher {name} is not decided").into(),
    };
    Verdict::Unsupported(reason)
}
