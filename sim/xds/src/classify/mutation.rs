//! Header mutations, format strings and mirrors.

use super::{
    Judged,
    Rule::{Decided, Inert, Judge, Unsupported},
    Table, Verdict,
};
use crate::{format, header_mutation};

pub(super) const TABLES: &[Table] = &[
    Table {
        message: "envoy.config.core.v3.HeaderValueOption",
        fields: &[
            ("header", Decided),
            ("append", Decided),
            ("append_action", Decided),
            ("keep_empty_value", Decided),
        ],
    },
    Table {
        message: "envoy.config.core.v3.HeaderValue",
        fields: &[
            ("key", Judge(name)),
            ("value", Judge(value)),
            // Envoy does not read it where a route writes headers.
            ("raw_value", Inert),
        ],
    },
    Table {
        message: header_mutation::FILTER,
        fields: &[
            ("mutations", Decided),
            ("most_specific_header_mutations_wins", Decided),
        ],
    },
    Table {
        message: header_mutation::PER_ROUTE,
        fields: &[("mutations", Decided)],
    },
    Table {
        message: header_mutation::MUTATIONS,
        fields: &[
            ("request_mutations", Decided),
            (
                "formatters",
                Unsupported("formats with commands of extensions are not decided"),
            ),
            (
                "query_parameter_mutations",
                Unsupported("a filter that changes the query is not decided"),
            ),
            ("response_mutations", Decided),
            ("response_trailers_mutations", Inert),
            ("request_trailers_mutations", Inert),
        ],
    },
    Table {
        message: "envoy.config.common.mutation_rules.v3.HeaderMutation",
        fields: &[
            ("remove", Judge(removed)),
            ("append", Decided),
            (
                "remove_on_match",
                Unsupported("headers that a filter removes by a matcher are not decided"),
            ),
        ],
    },
    Table {
        message: "envoy.config.route.v3.RouteAction.RequestMirrorPolicy",
        fields: &[
            ("cluster", Decided),
            ("cluster_header", Decided),
            ("runtime_fraction", Decided),
            ("trace_sampled", Inert),
            ("disable_shadow_host_suffix_append", Inert),
            ("request_headers_mutations", Inert),
            ("host_rewrite_literal", Inert),
        ],
    },
];

/// The name of a header that is added: one that is no token breaks the message.
fn name(judged: &Judged<'_>) -> Verdict {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if judged.text().bytes().all(is_token) {
        return Verdict::Decided;
    }
    Verdict::Unsupported("no header can have this name: Envoy takes it, and requests fail".into())
}

/// The name of a header that a filter takes away.
fn removed(judged: &Judged<'_>) -> Verdict {
    let name = judged.text();
    if name.starts_with(':') || name.eq_ignore_ascii_case("host") {
        return Verdict::Unsupported("what a request without it comes to is not decided".into());
    }
    Verdict::Decided
}

/// The value of a header that is added.
fn value(judged: &Judged<'_>) -> Verdict {
    match undecided(judged.text()) {
        Some(commands) => Verdict::ReadOver(
            format!("{commands} is not decided, and the header's value is null in decisions")
                .into(),
        ),
        None => Verdict::Decided,
    }
}

/// A format that a path or a host is made from.
pub(super) fn rewrite(judged: &Judged<'_>) -> Verdict {
    match undecided(judged.text()) {
        Some(commands) => {
            Verdict::Unsupported(format!("{commands} is not decided in a rewrite").into())
        }
        None => Verdict::Decided,
    }
}

/// The commands of a format that are not decided.
fn undecided(text: &str) -> Option<String> {
    let commands = format::undecided(text);
    let names: Vec<String> = commands.iter().map(ToString::to_string).collect();
    (!names.is_empty()).then(|| names.join(", "))
}
