//! One test: what it expects, against what the route table makes of its request.

use std::fmt::Display;

use envoy_types::pb::envoy::config::core::v3::HeaderValue;
use envoy_types::pb::envoy::config::route::v3::{
    HeaderMatcher, header_matcher::HeaderMatchSpecifier,
};
use envoy_types::pb::envoy::r#type::matcher::v3::string_matcher::MatchPattern;
use envoy_types::pb::google::protobuf::StringValue;
use serde::Serialize;
use twinmesh_spec::route_table::{Known, Lines, RouteTable, Routed, Taker, Undecided};

use super::coverage::Field;
use super::test_file::{Test, ValidationAssert};

/// What became of a test.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Judged {
    /// The test's name.
    pub test_name: String,
    /// Whether all that it expects is so.
    pub test_passed: bool,
    /// What is not, or is not known.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub failures: Vec<Finding>,
    /// What took the request, and which of its fields the test checked and found as expected.
    #[serde(skip)]
    pub checked: Option<(Taker, Vec<Field>)>,
}

/// Something that a test expects and that is not so, or not known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// As the tool names it: `cluster_name`, `response_header_matches.range_match`.
    pub test_type: String,
    /// What was expected, where that is one value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected: Option<String>,
    /// What was found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actual: Option<String>,
    /// The value is expected to be another one.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub inverted: bool,
    /// Why it is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub undecided: Option<String>,
}

impl Display for Finding {
    /// The tool's own line.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(reason) = &self.undecided {
            write!(formatter, "undecided: {reason}")?;
        } else {
            if let Some(expected) = &self.expected {
                write!(formatter, "expected: [{expected}], ")?;
            }
            let not = if self.inverted { "NOT " } else { "" };
            let actual = self.actual.as_deref().unwrap_or_default();
            write!(formatter, "actual: {not}[{actual}]")?;
        }
        write!(formatter, ", test type: {}", self.test_type)
    }
}

/// Runs a test.
pub fn judge(table: &RouteTable<'_>, test: &Test) -> Judged {
    let nothing = ValidationAssert::default();
    let expected = test.validate.as_ref().unwrap_or(&nothing);
    let mut run = Run {
        table,
        failures: Vec::new(),
        checked: Vec::new(),
    };
    let taker = match table.route(&test.request()) {
        Ok(routed) => {
            run.compare(expected, &routed);
            Some(routed.taker)
        }
        Err(reason) => {
            run.undecided("route", &reason);
            None
        }
    };
    let has_metadata = test
        .input
        .as_ref()
        .is_some_and(|input| !input.dynamic_metadata.is_empty());
    if has_metadata && taker.is_none() {
        run.undecided(
            "dynamic_metadata",
            &Undecided("matchers of dynamic metadata are not decided".to_owned()),
        );
    }
    Judged {
        test_name: test.test_name.clone(),
        test_passed: run.failures.is_empty(),
        failures: run.failures,
        checked: taker.map(|taker| (taker, run.checked)),
    }
}

struct Run<'t, 'a> {
    table: &'t RouteTable<'a>,
    failures: Vec<Finding>,
    checked: Vec<Field>,
}

impl Run<'_, '_> {
    fn compare(&mut self, expected: &ValidationAssert, routed: &Routed) {
        let virtual_host = Ok(routed.virtual_host.clone());
        for (expected, actual, field) in [
            (&expected.cluster_name, &routed.cluster, Field::Cluster),
            (
                &expected.virtual_cluster_name,
                &routed.virtual_cluster,
                Field::VirtualCluster,
            ),
            (
                &expected.virtual_host_name,
                &virtual_host,
                Field::VirtualHost,
            ),
            (&expected.path_rewrite, &routed.path, Field::PathRewrite),
            (
                &expected.host_rewrite,
                &routed.authority,
                Field::HostRewrite,
            ),
            (
                &expected.path_redirect,
                &routed.location,
                Field::PathRedirect,
            ),
        ] {
            self.text(expected.as_ref(), actual, field);
        }
        if let Some(code) = &expected.code_redirect {
            self.equal(&code.value, &Ok(routed.status), Field::CodeRedirect.name());
            self.check(Field::CodeRedirect, code.value == routed.status);
        }
        if let Some(timeout) = &expected.timeout {
            let nanoseconds =
                i128::from(timeout.seconds) * 1_000_000_000 + i128::from(timeout.nanos);
            let actual = routed
                .timeout
                .and_then(|timeout| i128::try_from(timeout).ok())
                .map_or_else(|| "none".to_owned(), seconds);
            self.equal(&seconds(nanoseconds), &Ok(actual), "timeout");
        }
        if !expected.route_metadata.is_empty() {
            self.undecided(
                "route_metadata",
                &Undecided("a route's metadata is not compared".to_owned()),
            );
        }
        let requests = ("request_header_matches", "request_header_fields");
        let responses = ("response_header_matches", "response_header_fields");
        let all = [
            (
                requests,
                &routed.request,
                &expected.request_header_matches,
                &expected.request_header_fields,
            ),
            (
                responses,
                &routed.response,
                &expected.response_header_matches,
                &expected.response_header_fields,
            ),
        ];
        for ((matches, fields), lines, matchers, values) in all {
            for matcher in matchers {
                self.matcher(matcher, lines, matches);
            }
            for value in values {
                self.value(value, lines, fields);
            }
        }
    }

    fn text(&mut self, expected: Option<&StringValue>, actual: &Known<String>, field: Field) {
        let Some(expected) = expected else {
            return;
        };
        let equal = self.equal(&expected.value, actual, field.name());
        self.check(field, equal);
    }

    fn check(&mut self, field: Field, is_as_expected: bool) {
        if is_as_expected {
            self.checked.push(field);
        }
    }

    fn equal<T: PartialEq + Display>(
        &mut self,
        expected: &T,
        actual: &Known<T>,
        test_type: &str,
    ) -> bool {
        match actual {
            Ok(actual) if actual == expected => return true,
            Ok(actual) => self.failures.push(Finding {
                test_type: test_type.to_owned(),
                expected: Some(expected.to_string()),
                actual: Some(actual.to_string()),
                inverted: false,
                undecided: None,
            }),
            Err(reason) => self.undecided(test_type, reason),
        }
        false
    }

    fn undecided(&mut self, test_type: &str, reason: &Undecided) {
        self.failures.push(Finding {
            test_type: test_type.to_owned(),
            expected: None,
            actual: None,
            inverted: false,
            undecided: Some(reason.to_string()),
        });
    }

    fn matcher(&mut self, matcher: &HeaderMatcher, lines: &Lines, of: &str) {
        let (kind, exact) = kind(matcher);
        let test_type = format!("{of}.{kind}");
        let first = match self.table.accepts(matcher, lines) {
            Ok(true) => return,
            Ok(false) => lines.first(&matcher.name),
            Err(reason) => Err(reason),
        };
        let first = match first {
            Ok(first) => first,
            Err(reason) => {
                self.undecided(&test_type, &reason);
                return;
            }
        };
        let name = &matcher.name;
        let found = format!("{name}: {}", first.as_deref().unwrap_or("NULL"));
        let (expected, actual, inverted) = if kind == "present_match" {
            let is_there = first.is_some();
            (
                Some(format!("has({name}):{}", !is_there)),
                format!("has({name}):{is_there}"),
                false,
            )
        } else if let Some(exact) = exact {
            let expected = format!("{name}: {exact}");
            (Some(expected), found, matcher.invert_match)
        } else {
            (None, found, false)
        };
        self.failures.push(Finding {
            test_type,
            expected,
            actual: Some(actual),
            inverted,
            undecided: None,
        });
    }

    fn value(&mut self, expected: &HeaderValue, lines: &Lines, test_type: &str) {
        let actual = lines.first(&expected.key).map(Option::unwrap_or_default);
        self.equal(&expected.value, &actual, test_type);
    }
}

/// What the tool calls a matcher, and the text of an exact one.
#[expect(deprecated, reason = "test files have what Envoy has deprecated")]
fn kind(matcher: &HeaderMatcher) -> (&'static str, Option<&str>) {
    match &matcher.header_match_specifier {
        None | Some(HeaderMatchSpecifier::PresentMatch(_)) => ("present_match", None),
        Some(HeaderMatchSpecifier::ExactMatch(_)) => ("exact_match", None),
        Some(HeaderMatchSpecifier::PrefixMatch(_)) => ("prefix_match", None),
        Some(HeaderMatchSpecifier::SuffixMatch(_)) => ("suffix_match", None),
        Some(HeaderMatchSpecifier::ContainsMatch(_)) => ("contains_match", None),
        Some(HeaderMatchSpecifier::SafeRegexMatch(_)) => ("safe_regex_match", None),
        Some(HeaderMatchSpecifier::RangeMatch(_)) => ("range_match", None),
        Some(HeaderMatchSpecifier::StringMatch(string)) => match &string.match_pattern {
            Some(MatchPattern::Exact(text)) => ("string_match.exact", Some(text)),
            Some(MatchPattern::Prefix(_)) => ("string_match.prefix", None),
            Some(MatchPattern::Suffix(_)) => ("string_match.suffix", None),
            Some(MatchPattern::Contains(_)) => ("string_match.contains", None),
            Some(MatchPattern::SafeRegex(_)) => ("string_match.safe_regex", None),
            Some(MatchPattern::Custom(_)) | None => ("string_match.match_pattern_not_set", None),
        },
    }
}

/// A duration as protobuf's JSON writes it.
fn seconds(nanoseconds: i128) -> String {
    let (whole, part) = (nanoseconds / 1_000_000_000, nanoseconds % 1_000_000_000);
    if part == 0 {
        return format!("{whole}s");
    }
    let part = format!("{part:09}");
    format!("{whole}.{}s", part.trim_end_matches('0'))
}
