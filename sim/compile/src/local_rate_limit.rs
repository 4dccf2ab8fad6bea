//! Compiles the local rate limit filter's configurations.

use envoy_types::pb::envoy::extensions::filters::http::local_ratelimit::v3::LocalRateLimit;
use twinmesh_model::layout::token_bucket;

use crate::compiler::Compiler;
use crate::fault::share;
use crate::kept::Owner;

/// Statuses below this one are not taken.
const LEAST_STATUS: i32 = 400;
/// What is taken instead.
const TOO_MANY_REQUESTS: u64 = 429;

impl Compiler<'_> {
    /// The offset of the filter's record; its bucket is its own.
    pub fn local_rate_limit(&mut self, config: &LocalRateLimit, owner: Owner) -> u64 {
        let tokens = config.token_bucket.unwrap_or_default();
        let interval = tokens.fill_interval.unwrap_or_default();
        let seconds = u64::try_from(interval.seconds).unwrap_or(0);
        let nanos = u64::try_from(interval.nanos).unwrap_or(0);
        let state = self.filter_state(owner, token_bucket::STATES);
        let bucket = self.arena.words(&[
            u64::from(tokens.max_tokens),
            tokens.tokens_per_fill.map_or(1, |it| u64::from(it.value)),
            seconds.saturating_mul(1_000_000_000).saturating_add(nanos),
            state as u64,
        ]);
        let status = config.status.map_or(0, |status| status.code);
        let status = if status < LEAST_STATUS {
            TOO_MANY_REQUESTS
        } else {
            u64::from(status.unsigned_abs())
        };
        let fraction = |given: Option<&_>| share(default_value(given));
        self.arena.words(&[
            status,
            fraction(config.filter_enabled.as_ref()),
            fraction(config.filter_enforced.as_ref()),
            bucket,
        ])
    }
}

fn default_value(
    fraction: Option<&envoy_types::pb::envoy::config::core::v3::RuntimeFractionalPercent>,
) -> Option<&envoy_types::pb::envoy::r#type::v3::FractionalPercent> {
    fraction.and_then(|it| it.default_value.as_ref())
}
