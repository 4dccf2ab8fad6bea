//! `envoy.extensions.filters.http.cors.v3`: preflight requests are answered.
//!
//! A policy stands at a level of the route; what one does not say, the next less specific one does.

use envoy_types::pb::envoy::extensions::filters::http::cors::v3::CorsPolicy;
use envoy_types::pb::envoy::r#type::v3::fractional_percent::DenominatorType;

use crate::draw::{self, draw};
use crate::http_filter::Verdict;
use crate::message::Message;
use crate::regex::Regexes;
use crate::string_match;

/// What the filter does with a request of a route that forwards. `policies` are those of its levels,
/// the most specific first.
pub(crate) fn verdict(
    policies: &[&CorsPolicy],
    index: usize,
    message: &Message,
    random: u64,
    regexes: &Regexes,
) -> Verdict {
    let Some(first) = policies.first() else {
        return Verdict::Ignore;
    };
    if !is_enabled(first, index, random) {
        return Verdict::Ignore;
    }
    let header = |name: &str| message.first_value(name).unwrap_or_default();
    let origin = header("origin");
    if origin.is_empty() {
        return Verdict::Ignore;
    }
    if message.method != "OPTIONS" || header("access-control-request-method").is_empty() {
        return Verdict::Pass;
    }
    let mut lists = policies.iter().map(|it| &it.allow_origin_string_match);
    let origins = lists.find(|list| !list.is_empty());
    let is_allowed = origins.into_iter().flatten().any(|matcher| {
        // What takes an asterisk takes everything.
        [origin.as_str(), "*"]
            .into_iter()
            .any(|value| string_match::matches(matcher, value, regexes))
    });
    let mut said = policies
        .iter()
        .filter_map(|it| it.forward_not_matching_preflights);
    let forwards_others = said.next().is_none_or(|said| said.value);
    if !is_allowed && forwards_others {
        return Verdict::Pass;
    }
    Verdict::Answer(200)
}

/// `filter_enabled` of the most specific policy; every request where it does not say.
fn is_enabled(policy: &CorsPolicy, index: usize, random: u64) -> bool {
    let Some(enabled) = &policy.filter_enabled else {
        return true;
    };
    let percent = enabled.default_value.unwrap_or_default();
    let all = match DenominatorType::try_from(percent.denominator) {
        Ok(DenominatorType::TenThousand) => 10_000,
        Ok(DenominatorType::Million) => 1_000_000,
        Ok(DenominatorType::Hundred) | Err(_) => 100,
    };
    draw(random, draw::FILTER + 4 * index as u64) % all < u64::from(percent.numerator)
}

#[cfg(test)]
mod tests {
    use envoy_types::pb::envoy::r#type::matcher::v3::{
        StringMatcher, string_matcher::MatchPattern,
    };
    use envoy_types::pb::google::protobuf::BoolValue;
    use rstest::rstest;

    use super::*;
    use crate::message::tests::message;

    fn policy(origins: &[&str], forwards: Option<bool>) -> CorsPolicy {
        CorsPolicy {
            allow_origin_string_match: origins
                .iter()
                .map(|&origin| StringMatcher {
                    match_pattern: Some(MatchPattern::Exact(origin.to_owned())),
                    ..StringMatcher::default()
                })
                .collect(),
            forward_not_matching_preflights: forwards.map(|value| BoolValue { value }),
            ..CorsPolicy::default()
        }
    }

    #[rstest]
    #[case::listed(&[policy(&["a"], None)], "a", "GET", true)]
    #[case::unlisted(&[policy(&["a"], None)], "b", "GET", false)]
    #[case::unlisted_and_not_forwarded(&[policy(&["a"], Some(false))], "b", "GET", true)]
    #[case::asterisk(&[policy(&["*"], None)], "b", "GET", true)]
    #[case::no_method(&[policy(&["a"], None)], "a", "", false)]
    #[case::origins_of_the_next(&[policy(&[], None), policy(&["a"], None)], "a", "GET", true)]
    #[case::others_of_the_next(&[policy(&["a"], None), policy(&[], Some(false))], "b", "GET", true)]
    #[case::no_policy(&[], "a", "GET", false)]
    fn preflights(
        #[case] policies: &[CorsPolicy],
        #[case] origin: &str,
        #[case] method: &str,
        #[case] is_answered: bool,
    ) {
        let headers = [
            ("origin", origin),
            ("access-control-request-method", method),
        ];
        let mut message = message(&headers);
        message.method = "OPTIONS".to_owned();
        let policies: Vec<&CorsPolicy> = policies.iter().collect();
        let verdict = verdict(&policies, 0, &message, 0, &Regexes::default());
        assert_eq!(matches!(verdict, Verdict::Answer(200)), is_answered);
    }
}
