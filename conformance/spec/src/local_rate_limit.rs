//! `envoy.extensions.filters.http.local_ratelimit.v3`: so many requests and no more.
//!
//! A token comes back all the time, not at the end of an interval: with 10 tokens a second one
//! comes back every 100 ms (measured). A bucket starts full.

use std::collections::BTreeMap;

use envoy_types::pb::envoy::config::core::v3::RuntimeFractionalPercent;
use envoy_types::pb::envoy::extensions::common::ratelimit::v3::LocalRateLimitDescriptor;
use envoy_types::pb::envoy::extensions::filters::http::local_ratelimit::v3::LocalRateLimit;
use envoy_types::pb::envoy::r#type::v3::TokenBucket;
use envoy_types::pb::envoy::r#type::v3::fractional_percent::DenominatorType;

use crate::draw::{self, draw};
use crate::http_filter::Verdict;
use crate::rate_limit::Descriptor;

/// The filter's draws: whether it is enabled, and whether it is enforced.
const ENABLED: u64 = 0;
const ENFORCED: u64 = 1;

/// The statuses from which on one is taken; else it is 429.
const LEAST_STATUS: i32 = 400;
const TOO_MANY_REQUESTS: u32 = 429;

/// A bucket, told by the time since which it fills: one that is full has been filling for long
/// enough. Times are in nanoseconds times `tokens_per_fill`, so that none is rounded.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Bucket {
    empty_at: Option<i128>,
}

impl Bucket {
    /// Takes a token.
    fn take(&mut self, config: &TokenBucket, now_us: u64) -> bool {
        let interval = config.fill_interval.unwrap_or_default();
        let interval = i128::from(interval.seconds) * 1_000_000_000 + i128::from(interval.nanos);
        let per_fill = i128::from(config.tokens_per_fill.map_or(1, |tokens| tokens.value));
        let now = i128::from(now_us) * 1000 * per_fill;
        // One token takes an interval, in these units; so long a full bucket has filled.
        let full = i128::from(config.max_tokens) * interval;
        let since = self.empty_at.unwrap_or(now - full).max(now - full);
        let has_one = now - since >= interval;
        self.empty_at = Some(if has_one { since + interval } else { since });
        has_one
    }
}

/// The buckets of a configuration.
#[derive(Debug, Clone, Default)]
pub(crate) struct Buckets {
    /// `token_bucket`.
    own: Bucket,
    /// By index into `descriptors`.
    of_descriptors: BTreeMap<usize, Bucket>,
}

impl Buckets {
    /// Whether a request with these descriptors finds a token in each bucket that it has to: those of
    /// its descriptors, the one that fills slowest first, then the configuration's own. The tokens
    /// that it has taken when it does not are gone.
    fn take(&mut self, config: &LocalRateLimit, descriptors: &[Descriptor], now_us: u64) -> bool {
        let is = |known: &LocalRateLimitDescriptor, descriptor: &Descriptor| {
            let entries = known.entries.iter();
            let entries = entries.map(|it| (it.key.as_str(), it.value.as_str()));
            entries.eq(descriptor
                .iter()
                .map(|(key, value)| (key.as_str(), value.as_str())))
        };
        let find = |descriptor| {
            let mut known = config.descriptors.iter().enumerate();
            known.find(|(_, known)| is(known, descriptor))
        };
        let mut found: Vec<_> = descriptors.iter().filter_map(find).collect();
        found.sort_by(|(_, one), (_, other)| fill_rate(one).total_cmp(&fill_rate(other)));
        for (index, descriptor) in &found {
            let tokens = descriptor.token_bucket.unwrap_or_default();
            let bucket = self.of_descriptors.entry(*index).or_default();
            if tokens.max_tokens == 0 || !bucket.take(&tokens, now_us) {
                return false;
            }
        }
        let always = config.always_consume_default_token_bucket;
        let asks_own = found.is_empty() || always.is_none_or(|always| always.value);
        match &config.token_bucket {
            Some(tokens) if asks_own => self.own.take(tokens, now_us),
            _ => true,
        }
    }
}

/// Tokens a second.
fn fill_rate(descriptor: &LocalRateLimitDescriptor) -> f64 {
    let tokens = descriptor.token_bucket.unwrap_or_default();
    let interval = tokens.fill_interval.unwrap_or_default();
    let milliseconds = interval.seconds * 1000 + i64::from(interval.nanos) / 1_000_000;
    let per_fill = tokens.tokens_per_fill.map_or(1, |tokens| tokens.value);
    f64::from(per_fill) / (milliseconds as f64 / 1000.0)
}

/// What the filter does with a request at this time. `buckets` are the configuration's own;
/// `descriptors` makes the request's, or says why they are not decided.
pub(crate) fn verdict(
    config: &LocalRateLimit,
    index: usize,
    buckets: &mut Buckets,
    descriptors: impl FnOnce() -> Result<Vec<Descriptor>, &'static str>,
    random: u64,
    now_us: u64,
) -> Verdict {
    if config.token_bucket.is_none() && config.descriptors.is_empty() {
        return Verdict::Ignore;
    }
    let is_hit = |fraction: Option<&RuntimeFractionalPercent>, number: u64| {
        let percent = fraction.and_then(|it| it.default_value).unwrap_or_default();
        let all = match DenominatorType::try_from(percent.denominator) {
            Ok(DenominatorType::TenThousand) => 10_000,
            Ok(DenominatorType::Million) => 1_000_000,
            Ok(DenominatorType::Hundred) | Err(_) => 100,
        };
        let number = draw(random, draw::FILTER + 4 * index as u64 + number);
        number % all < u64::from(percent.numerator)
    };
    if !is_hit(config.filter_enabled.as_ref(), ENABLED) {
        return Verdict::Ignore;
    }
    let descriptors = match config.descriptors.is_empty() {
        true => Ok(Vec::new()),
        false => descriptors(),
    };
    let descriptors = match descriptors {
        Ok(descriptors) => descriptors,
        Err(why) => return Verdict::Undecided(why),
    };
    if buckets.take(config, &descriptors, now_us)
        || !is_hit(config.filter_enforced.as_ref(), ENFORCED)
    {
        return Verdict::Pass;
    }
    let status = config.status.map_or(0, |status| status.code);
    Verdict::Answer(if status < LEAST_STATUS {
        TOO_MANY_REQUESTS
    } else {
        status.unsigned_abs()
    })
}

#[cfg(test)]
mod tests {
    use envoy_types::pb::google::protobuf::{Duration, UInt32Value};
    use rstest::rstest;

    use super::*;

    // Measured on Envoy 1.40: milliseconds at which requests came, and whether each found a token.
    #[rstest]
    #[case(2, 1, 1, &[(0, true), (10, true), (20, false), (500, false), (900, false), (1050, true), (1100, false), (2100, true), (3200, true), (3250, false)])]
    #[case(3, 5, 2, &[(0, true), (0, true), (0, true), (0, false), (200, false), (450, true), (500, false), (850, true), (900, false), (1900, true), (1950, true), (2000, true), (2050, false)])]
    #[case(1, 1, 1, &[(0, true), (0, false), (999, false), (1000, true), (1999, false), (2000, true)])]
    #[case(0, 1, 1, &[(0, false), (5000, false)])]
    fn buckets(
        #[case] max_tokens: u32,
        #[case] tokens_per_fill: u32,
        #[case] seconds: i64,
        #[case] requests: &[(u64, bool)],
    ) {
        let config = TokenBucket {
            max_tokens,
            tokens_per_fill: Some(UInt32Value {
                value: tokens_per_fill,
            }),
            fill_interval: Some(Duration { seconds, nanos: 0 }),
        };
        let mut bucket = Bucket::default();
        for (at, expected) in requests {
            assert_eq!(bucket.take(&config, at * 1000), *expected, "{at} ms");
        }
    }
}
