//! Matchers of headers, query parameters and strings.

use super::{
    Judged,
    Rule::{Decided, Inert, Judge, ReadOver, Unsupported},
    Table, Verdict,
};

pub(super) const TABLES: &[Table] = &[
    Table {
        message: "envoy.config.route.v3.HeaderMatcher",
        fields: &[
            ("name", Judge(matched_name)),
            ("exact_match", Decided),
            ("safe_regex_match", Decided),
            ("range_match", Decided),
            ("present_match", Decided),
            ("prefix_match", Decided),
            ("suffix_match", Decided),
            ("contains_match", Decided),
            ("string_match", Decided),
            ("invert_match", Decided),
            ("treat_missing_header_as_empty", Decided),
        ],
    },
    Table {
        message: "envoy.config.route.v3.QueryParameterMatcher",
        fields: &[
            ("name", Decided),
            ("string_match", Decided),
            ("present_match", Decided),
        ],
    },
    Table {
        message: "envoy.type.matcher.v3.StringMatcher",
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
        message: "envoy.type.matcher.v3.RegexMatcher",
        fields: &[("google_re2", Decided), ("regex", Decided)],
    },
    Table {
        message: "envoy.type.matcher.v3.RegexMatchAndSubstitute",
        fields: &[("pattern", Decided), ("substitution", Decided)],
    },
    Table {
        message: "envoy.type.matcher.v3.RegexMatcher.GoogleRE2",
        fields: &[(
            "max_program_size",
            ReadOver("the size of RE2's program is not limited here"),
        )],
    },
    Table {
        message: "envoy.config.core.v3.Metadata",
        fields: &[("filter_metadata", Inert), ("typed_filter_metadata", Inert)],
    },
];

/// Headers that Envoy's connection manager writes, changes or strips before a route is chosen, so
/// that what the client sent is not what a matcher sees.
const WRITTEN_BY_ENVOY: [&str; 15] = [
    ":protocol",
    ":scheme",
    "connection",
    "expect",
    "forwarded",
    "http2-settings",
    "keep-alive",
    "proxy-connection",
    "te",
    "transfer-encoding",
    "upgrade",
    "x-client-trace-id",
    "x-request-id",
    "x-ot-span-context",
    "x-b3-sampled",
];

const PREFIXES_WRITTEN_BY_ENVOY: [&str; 2] = ["x-envoy-", "x-forwarded-"];

/// Headers that the connection manager takes off, changes or leaves by rules that are decided, so
/// that it is known what a header matcher sees of them.
const KNOWN_TO_MATCHERS: [&str; 9] = [
    ":scheme",
    "connection",
    "forwarded",
    "keep-alive",
    "proxy-connection",
    "transfer-encoding",
    "upgrade",
    "x-forwarded-host",
    "x-forwarded-proto",
];

/// The name of a header that a header matcher looks at.
fn matched_name(judged: &Judged<'_>) -> Verdict {
    let known = judged.text().to_ascii_lowercase();
    if KNOWN_TO_MATCHERS.contains(&known.as_str()) {
        return Verdict::Decided;
    }
    name(judged)
}

/// The name of a header whose value a matcher or a rewrite reads.
pub(super) fn name(judged: &Judged<'_>) -> Verdict {
    let name = judged.text().to_ascii_lowercase();
    let written = WRITTEN_BY_ENVOY.contains(&name.as_str())
        || PREFIXES_WRITTEN_BY_ENVOY
            .iter()
            .any(|prefix| name.starts_with(prefix))
            && name != "x-forwarded-port";
    if written {
        return Verdict::Unsupported(
            format!("Envoy itself writes or strips the header {name} before it chooses a route")
                .into(),
        );
    }
    Verdict::Decided
}

/// A header that is taken from requests that come from outside.
pub(super) fn internal_only(judged: &Judged<'_>) -> Verdict {
    let name = judged.text().to_ascii_lowercase();
    if name.starts_with(':') || ["host", "upgrade", "x-forwarded-proto"].contains(&name.as_str()) {
        return Verdict::Unsupported(
            format!("it is not decided what becomes of a request without {name}").into(),
        );
    }
    Verdict::Decided
}
