//! `envoy.extensions.filters.http.fault.v3`: requests that are delayed or aborted on purpose.

use envoy_types::pb::envoy::extensions::filters::common::fault::v3::fault_delay::FaultDelaySecifier;
use envoy_types::pb::envoy::extensions::filters::http::fault::v3::{
    HttpFault, fault_abort::ErrorType,
};
use envoy_types::pb::envoy::r#type::v3::FractionalPercent;
use envoy_types::pb::envoy::r#type::v3::fractional_percent::DenominatorType;

use crate::draw::{self, draw};
use crate::header;
use crate::http_filter::Place;
use crate::integer;
use crate::message::Message;
use crate::regex::Regexes;

/// The filter's draws: whether it delays, and whether it aborts.
const DELAYS: u64 = 0;
const ABORTS: u64 = 1;

/// The configuration that counts, and whose it is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fault<'a> {
    pub(crate) config: &'a HttpFault,
    /// The filter's index in the connection manager.
    pub(crate) index: usize,
    pub(crate) place: Place,
    /// The connection manager takes the node's name from requests from outside.
    pub(crate) hides_nodes: bool,
}

/// What the request meets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Met {
    /// In milliseconds.
    pub(crate) delay: Option<u64>,
    /// Of the abort.
    pub(crate) status: Option<u32>,
}

/// What a request meets while so many faults of the filter are active. The error is why that is
/// not decided.
pub(crate) fn meets(
    fault: Fault<'_>,
    message: &Message,
    cluster: Option<&str>,
    random: u64,
    active: usize,
    regexes: &Regexes,
) -> Result<Met, &'static str> {
    let config = fault.config;
    if !config.upstream_cluster.is_empty() && cluster != Some(&config.upstream_cluster) {
        return Ok(Met::default());
    }
    if !config.downstream_nodes.is_empty() {
        if fault.hides_nodes {
            return Err(
                "the node's name is taken from requests from outside, which is not decided",
            );
        }
        let node = message.first_value("x-envoy-downstream-service-node");
        if !node.is_some_and(|node| config.downstream_nodes.contains(&node)) {
            return Ok(Met::default());
        }
    }
    let accepts = |matcher| header::matches(matcher, message, regexes);
    if !config.headers.iter().all(accepts) {
        return Ok(Met::default());
    }
    let is_hit = |percent: FractionalPercent, index: u64| {
        let all = match DenominatorType::try_from(percent.denominator) {
            Ok(DenominatorType::TenThousand) => 10_000,
            Ok(DenominatorType::Million) => 1_000_000,
            Ok(DenominatorType::Hundred) | Err(_) => 100,
        };
        let index = draw::FILTER + 4 * fault.index as u64 + index;
        draw(random, index) % all < u64::from(percent.numerator)
    };
    let is_free = config
        .max_active_faults
        .is_none_or(|limit| active < limit.value as usize);
    let met = Met {
        delay: delay(config, message, is_hit).filter(|delay| *delay != 0),
        status: status(config, message, is_hit),
    };
    Ok(if is_free { met } else { Met::default() })
}

/// The share of the requests; the header of this name may ask for less of it.
fn share(
    percent: Option<FractionalPercent>,
    by_header: Option<&str>,
    message: &Message,
) -> FractionalPercent {
    let mut percent = percent.unwrap_or_default();
    let asked = by_header.and_then(|name| number(message, name));
    if let Some(asked) = asked.and_then(|asked| u32::try_from(asked).ok()) {
        percent.numerator = percent.numerator.min(asked);
    }
    percent
}

fn number(message: &Message, name: &str) -> Option<u64> {
    integer::unsigned(&message.first_value(name)?)
}

fn delay(
    config: &HttpFault,
    message: &Message,
    is_hit: impl Fn(FractionalPercent, u64) -> bool,
) -> Option<u64> {
    let delay = config.delay.as_ref()?;
    let by_header = matches!(
        delay.fault_delay_secifier,
        Some(FaultDelaySecifier::HeaderDelay(_))
    );
    let name = by_header.then_some("x-envoy-fault-delay-request-percentage");
    if !is_hit(share(delay.percentage, name, message), DELAYS) {
        return None;
    }
    match delay.fault_delay_secifier.as_ref()? {
        FaultDelaySecifier::FixedDelay(fixed) => {
            let whole = u64::try_from(fixed.seconds).ok()?.saturating_mul(1000);
            Some(whole.saturating_add(u64::try_from(fixed.nanos).ok()? / 1_000_000))
        }
        FaultDelaySecifier::HeaderDelay(_) => number(message, "x-envoy-fault-delay-request"),
    }
}

fn status(
    config: &HttpFault,
    message: &Message,
    is_hit: impl Fn(FractionalPercent, u64) -> bool,
) -> Option<u32> {
    let abort = config.abort.as_ref()?;
    let by_header = matches!(abort.error_type, Some(ErrorType::HeaderAbort(_)));
    let name = by_header.then_some("x-envoy-fault-abort-request-percentage");
    if !is_hit(share(abort.percentage, name, message), ABORTS) {
        return None;
    }
    match abort.error_type.as_ref()? {
        ErrorType::HttpStatus(status) => Some(*status),
        ErrorType::GrpcStatus(_) => Some(200),
        ErrorType::HeaderAbort(_) => {
            let said = number(message, "x-envoy-fault-abort-request");
            let said = said.filter(|status| (200..600).contains(status));
            match said.and_then(|status| u32::try_from(status).ok()) {
                Some(status) => Some(status),
                None => number(message, "x-envoy-fault-abort-grpc-request").map(|_| 200),
            }
        }
    }
}
