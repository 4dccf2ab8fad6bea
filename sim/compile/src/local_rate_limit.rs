//! Compiles the local rate limit filter's configurations.

use envoy_types::pb::envoy::config::route::v3::RateLimit;
use envoy_types::pb::envoy::extensions::filters::http::local_ratelimit::v3::LocalRateLimit;
use envoy_types::pb::envoy::r#type::v3::TokenBucket;
use twinmesh_model::layout::{pair, token_bucket};

use crate::compiler::Compiler;
use crate::fault::share;
use crate::http_filter::Left;
use crate::kept::Owner;

/// Statuses below this one are not taken.
const LEAST_STATUS: i32 = 400;
/// What is taken instead.
const TOO_MANY_REQUESTS: u64 = 429;

impl Compiler<'_> {
    /// The offset of the filter's record; its buckets are its own. `routes`: the route configuration
    /// whose routes may say which descriptors requests have.
    ///
    /// # Errors
    /// Something of the descriptors does not fit.
    pub fn local_rate_limit(
        &mut self,
        config: &LocalRateLimit,
        owner: Owner,
        routes: Option<usize>,
    ) -> Result<u64, Left> {
        let count = config.descriptors.len();
        let state = self.filter_state(owner, (count + 1) * token_bucket::STATES) as u64;
        let states = (state..).step_by(token_bucket::STATES);
        let buckets: Vec<[u64; 4]> = config
            .descriptors
            .iter()
            .zip(states)
            .map(|(it, state)| {
                let [most, per_fill, interval, state] = bucket(it.token_bucket.as_ref(), state);
                // One that holds nothing may have no interval.
                [most, per_fill, interval.max(1), state]
            })
            .collect();
        let own = match &config.token_bucket {
            Some(tokens) => {
                let state = state + (count * token_bucket::STATES) as u64;
                let record = bucket(Some(tokens), state);
                self.arena.words(&record)
            }
            None => 0,
        };
        let always = config
            .always_consume_default_token_bucket
            .is_none_or(|always| always.value);
        let (mut descriptors, mut by_route, mut of_filter) = (0, 0, 0);
        if count > 0 {
            let offset = self.arena.words(buckets.as_flattened());
            descriptors = pair(offset, u64::from(always));
            if config.rate_limits.is_empty() {
                by_route = self.rate_limits_of_routes(config, routes)?;
            } else {
                let limits: Vec<&RateLimit> = config.rate_limits.iter().collect();
                of_filter = self.rate_limits(config, &limits)?;
            }
        }
        let status = config.status.map_or(0, |status| status.code);
        let status = if status < LEAST_STATUS {
            TOO_MANY_REQUESTS
        } else {
            u64::from(status.unsigned_abs())
        };
        let fraction = |given: Option<&_>| share(default_value(given));
        Ok(self.arena.words(&[
            status,
            fraction(config.filter_enabled.as_ref()),
            fraction(config.filter_enforced.as_ref()),
            own,
            descriptors,
            by_route,
            of_filter,
        ]))
    }
}

/// The record of a bucket.
fn bucket(tokens: Option<&TokenBucket>, state: u64) -> [u64; 4] {
    let tokens = tokens.copied().unwrap_or_default();
    let interval = tokens.fill_interval.unwrap_or_default();
    let seconds = u64::try_from(interval.seconds).unwrap_or(0);
    let nanos = u64::try_from(interval.nanos).unwrap_or(0);
    [
        u64::from(tokens.max_tokens),
        tokens.tokens_per_fill.map_or(1, |it| u64::from(it.value)),
        seconds.saturating_mul(1_000_000_000).saturating_add(nanos),
        state,
    ]
}

fn default_value(
    fraction: Option<&envoy_types::pb::envoy::config::core::v3::RuntimeFractionalPercent>,
) -> Option<&envoy_types::pb::envoy::r#type::v3::FractionalPercent> {
    fraction.and_then(|it| it.default_value.as_ref())
}
