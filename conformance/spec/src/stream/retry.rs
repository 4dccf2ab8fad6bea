//! Whether a request is tried again, and when.

use envoy_types::pb::envoy::config::route::v3::{
    HeaderMatcher, RetryPolicy,
    header_matcher::HeaderMatchSpecifier,
    retry_policy::{ResetHeader, ResetHeaderFormat},
};
use envoy_types::pb::envoy::r#type::matcher::v3::string_matcher::MatchPattern;
use twinmesh_engine::Failure;
use twinmesh_engine::stream::Response;
use twinmesh_xds::Profile;

use super::internal::Told;
use super::plan::microseconds;
use crate::draw::draw;
use crate::header;
use crate::integer;
use crate::message::{Message, as_matched};
use crate::regex::Regexes;

const CONDITIONS: [&str; 10] = [
    "5xx",
    "gateway-error",
    "connect-failure",
    "envoy-ratelimited",
    "retriable-4xx",
    "refused-stream",
    "retriable-status-codes",
    "retriable-headers",
    "reset",
    "reset-before-request",
];
/// With the `grpc-status` that each stands for.
const GRPC_CONDITIONS: [(&str, u64); 5] = [
    ("cancelled", 1),
    ("deadline-exceeded", 4),
    ("resource-exhausted", 8),
    ("internal", 13),
    ("unavailable", 14),
];
const DEFAULT_BASE_MS: u64 = 25;
const DEFAULT_RESET_MAX_MS: u64 = 300_000;
/// The draw for the back off before the second attempt; those of further ones follow.
const BACK_OFF: u64 = 1 << 33;
const PREVIOUS_HOSTS: &str =
    "type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate";

/// What is said of retries, by the route or its virtual host and by the request.
#[derive(Debug, Clone, Default)]
pub(super) struct Retry {
    /// Names of conditions.
    on: Vec<String>,
    retries: u64,
    base_ms: u64,
    max_ms: u64,
    status_codes: Vec<u64>,
    headers: Vec<HeaderMatcher>,
    profile: Profile,
    header_names: Vec<String>,
    reset_headers: Vec<ResetHeader>,
    reset_max_ms: u64,
    /// An endpoint that was tried before is passed over.
    pub(super) passes_over_tried: bool,
    /// How often another endpoint is chosen for that.
    pub(super) selections: u64,
}

/// What an attempt came to.
#[derive(Debug, Clone, Copy)]
pub(super) enum Ended<'a> {
    Response(&'a Response),
    Failure(Failure),
}

/// How many retries are left, and the next back off's bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Left {
    pub(super) retries: u64,
    next_ms: u64,
}

impl Retry {
    pub(super) fn new(
        policy: Option<&RetryPolicy>,
        message: &Message,
        told: &Told,
    ) -> Result<Self, String> {
        let nothing = RetryPolicy::default();
        let policy = policy.unwrap_or(&nothing);
        undecided(policy)?;
        let mut on = listed(&policy.retry_on);
        on.retain(|name| {
            CONDITIONS.contains(&name.as_str()) || GRPC_CONDITIONS.iter().any(|it| it.0 == name)
        });
        let asked = listed(told.retry_on.as_deref().unwrap_or_default()).into_iter();
        on.extend(asked.filter(|name| CONDITIONS.contains(&name.as_str())));
        let asked = listed(told.retry_grpc_on.as_deref().unwrap_or_default()).into_iter();
        on.extend(asked.filter(|name| GRPC_CONDITIONS.iter().any(|it| it.0 == name)));
        let asks = &policy.retriable_request_headers;
        let regexes = Regexes::default();
        if !asks.is_empty()
            && !asks.iter().any(|matcher| {
                header::accepts(matcher, message.matched_values(&matcher.name), &regexes)
            })
        {
            on.clear();
        }
        let configured = policy.num_retries.as_ref().map_or(1, |number| number.value);
        // Envoy keeps the low 32 bits.
        let asked = told.max_retries.as_deref().and_then(integer::unsigned);
        let asked = asked.map(|number| number & u64::from(u32::MAX));
        let mut status_codes: Vec<u64> = policy
            .retriable_status_codes
            .iter()
            .map(|code| u64::from(*code))
            .collect();
        let codes = told.status_codes.as_deref().unwrap_or_default();
        status_codes.extend(
            codes
                .split(',')
                .filter_map(|code| integer::unsigned(code.trim())),
        );
        let back_off = policy.retry_back_off.as_ref();
        let interval_ms = |interval| microseconds(interval).map(|time| (time / 1000).max(1));
        let base_ms = back_off
            .and_then(|it| interval_ms(it.base_interval.as_ref()))
            .unwrap_or(DEFAULT_BASE_MS);
        let max_ms = back_off
            .and_then(|it| interval_ms(it.max_interval.as_ref()))
            .unwrap_or(base_ms * 10);
        let limited = policy.rate_limited_retry_back_off.as_ref();
        let reset_max_us = limited.and_then(|it| microseconds(it.max_interval.as_ref()));
        Ok(Self {
            retries: asked.unwrap_or(u64::from(configured)),
            on,
            base_ms,
            max_ms,
            status_codes,
            headers: policy.retriable_headers.clone(),
            profile: message.profile,
            header_names: listed(told.header_names.as_deref().unwrap_or_default()),
            reset_headers: limited
                .map(|it| it.reset_headers.clone())
                .unwrap_or_default(),
            reset_max_ms: reset_max_us.map_or(DEFAULT_RESET_MAX_MS, |time| time / 1000),
            passes_over_tried: !policy.retry_host_predicate.is_empty(),
            selections: match u64::try_from(policy.host_selection_retry_max_attempts) {
                Ok(0) | Err(_) => 1,
                Ok(number) => number,
            },
        })
    }

    pub(super) fn left(&self) -> Left {
        Left {
            retries: self.retries,
            next_ms: self.base_ms,
        }
    }

    fn is_on(&self, condition: &str) -> bool {
        self.on.iter().any(|name| name == condition)
    }

    /// Whether what an attempt came to is tried again, were there retries left.
    pub(super) fn would_retry(&self, ended: Ended<'_>) -> bool {
        match ended {
            Ended::Response(response) => self.response(response),
            Ended::Failure(failure) => self.failure(failure),
        }
    }

    fn response(&self, response: &Response) -> bool {
        if !response.values("x-envoy-ratelimited").is_empty() {
            return self.is_on("envoy-ratelimited");
        }
        let status = u64::from(response.status);
        let grpc_status = response.values("grpc-status").first().copied();
        let grpc_status = grpc_status.and_then(integer::unsigned);
        let headers = || {
            let regexes = Regexes::default();
            self.header_names
                .iter()
                .any(|name| !response.values(name).is_empty())
                || self.headers.iter().any(|matcher| {
                    let values = response.values(&matcher.name).into_iter();
                    let values = as_matched(values.map(str::to_owned).collect(), self.profile);
                    header::accepts(matcher, values, &regexes)
                })
        };
        (self.is_on("5xx") && (500..600).contains(&status))
            || (self.is_on("gateway-error") && (502..=504).contains(&status))
            || (self.is_on("retriable-4xx") && status == 409)
            || (self.is_on("retriable-status-codes") && self.status_codes.contains(&status))
            || (self.is_on("retriable-headers") && headers())
            || GRPC_CONDITIONS
                .iter()
                .any(|(name, code)| self.is_on(name) && grpc_status == Some(*code))
    }

    fn failure(&self, failure: Failure) -> bool {
        let any = ["5xx", "gateway-error", "reset"];
        let of = match failure {
            Failure::Overflow => return false,
            Failure::ConnectFailure | Failure::ConnectTimeout => {
                ["connect-failure", "reset-before-request"].as_slice()
            }
            Failure::RefusedStream => &["refused-stream"],
            _ => &[],
        };
        any.iter().chain(of).any(|condition| self.is_on(condition))
    }

    /// How long to wait before the attempt of this number, the first of all being 0; in
    /// microseconds.
    pub(super) fn back_off(
        &self,
        left: &mut Left,
        ended: Ended<'_>,
        random: u64,
        attempt: u64,
        now_us: u64,
    ) -> u64 {
        let number = draw(random, BACK_OFF + attempt);
        if let Ended::Response(response) = ended
            && let Some(asked) = self.asked_to_wait(response, now_us)
        {
            return (asked + number % (asked / 2)) * 1000;
        }
        let wait = number % left.next_ms;
        left.next_ms = if left.next_ms < self.max_ms / 2 {
            left.next_ms * 2
        } else {
            self.max_ms
        };
        wait * 1000
    }

    /// What the response's headers say, in milliseconds.
    fn asked_to_wait(&self, response: &Response, now_us: u64) -> Option<u64> {
        self.reset_headers.iter().find_map(|header| {
            let text = *response.values(&header.name).first()?;
            let mut seconds = integer::unsigned(text)?;
            if header.format == ResetHeaderFormat::UnixTimestamp as i32 {
                seconds = seconds.checked_sub(now_us / 1_000_000)?;
            }
            let milliseconds = seconds.checked_mul(1000)?;
            (milliseconds > 1 && milliseconds <= self.reset_max_ms).then_some(milliseconds)
        })
    }
}

fn listed(text: &str) -> Vec<String> {
    let names = text.split(',').map(str::trim);
    names
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect()
}

fn undecided(policy: &RetryPolicy) -> Result<(), String> {
    use envoy_types::pb::envoy::config::route::v3::retry_policy::retry_host_predicate::ConfigType;
    if policy.retry_priority.is_some() {
        return Err("retry_priority is not decided".to_owned());
    }
    if !policy.retry_options_predicates.is_empty() {
        return Err("retry_options_predicates are not decided".to_owned());
    }
    if policy.refresh_cluster_on_retry {
        return Err("refresh_cluster_on_retry is not decided".to_owned());
    }
    for predicate in &policy.retry_host_predicate {
        let kind = match &predicate.config_type {
            Some(ConfigType::TypedConfig(any)) => any.type_url.as_str(),
            None => predicate.name.as_str(),
        };
        if kind != PREVIOUS_HOSTS {
            return Err(format!("the retry_host_predicate {kind} is not decided"));
        }
    }
    let matchers = policy
        .retriable_headers
        .iter()
        .chain(&policy.retriable_request_headers);
    for matcher in matchers {
        let is_regex = match &matcher.header_match_specifier {
            Some(HeaderMatchSpecifier::SafeRegexMatch(_)) => true,
            Some(HeaderMatchSpecifier::StringMatch(string)) => matches!(
                string.match_pattern,
                Some(MatchPattern::SafeRegex(_) | MatchPattern::Custom(_))
            ),
            _ => false,
        };
        if is_regex {
            return Err("regexes in a retry policy are not decided".to_owned());
        }
    }
    Ok(())
}
