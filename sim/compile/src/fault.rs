//! Compiles the fault filter's configurations.

use envoy_types::pb::envoy::config::route::v3::HeaderMatcher;
use envoy_types::pb::envoy::extensions::filters::common::fault::v3::fault_delay::FaultDelaySecifier;
use envoy_types::pb::envoy::extensions::filters::http::fault::v3::{
    HttpFault, fault_abort::ErrorType,
};
use envoy_types::pb::envoy::r#type::matcher::v3::{StringMatcher, string_matcher::MatchPattern};
use envoy_types::pb::envoy::r#type::v3::FractionalPercent;
use envoy_types::pb::envoy::r#type::v3::fractional_percent::DenominatorType;
use twinmesh_model::layout::{fault, pair};

use crate::compiler::Compiler;
use crate::http_filter::Left;
use crate::{CapacityError, matcher as compile_matcher};

/// Faults that are counted at once.
const ACTIVE: usize = 1024;

const DELAY: &str = "x-envoy-fault-delay-request";
const DELAYED: &str = "x-envoy-fault-delay-request-percentage";
const ABORT: &str = "x-envoy-fault-abort-request";
const ABORTED: &str = "x-envoy-fault-abort-request-percentage";
const GRPC_ABORT: &str = "x-envoy-fault-abort-grpc-request";
const NODE: &str = "x-envoy-downstream-service-node";

/// How many words of state a filter has that goes by these configurations: one for each active
/// fault, where some configuration limits them.
pub fn words<'a>(faults: impl Iterator<Item = &'a HttpFault>) -> usize {
    let mut limited = false;
    let mut most = 0;
    for fault in faults.filter(|fault| fault.delay.is_some() || fault.abort.is_some()) {
        let limit = fault.max_active_faults.map(|limit| limit.value as usize);
        limited |= limit.is_some();
        most = most.max(limit.unwrap_or(ACTIVE));
    }
    if limited { most.min(ACTIVE) } else { 0 }
}

/// A share of the requests. Low: numerator; high: denominator.
pub fn share(percent: Option<&FractionalPercent>) -> u64 {
    let percent = percent.copied().unwrap_or_default();
    let all = match DenominatorType::try_from(percent.denominator) {
        Ok(DenominatorType::TenThousand) => 10_000,
        Ok(DenominatorType::Million) => 1_000_000,
        _ => 100,
    };
    pair(u64::from(percent.numerator), all)
}

impl Compiler<'_> {
    /// The offset of the filter's record.
    ///
    /// # Errors
    /// A matcher is not decided, or something does not fit.
    pub fn fault(&mut self, config: &HttpFault) -> Result<u64, Left> {
        let mut flags = 0;
        let (mut delay, mut delayed) = (0, share(None));
        if let Some(configured) = &config.delay {
            flags |= fault::DELAYS;
            delayed = share(configured.percentage.as_ref());
            match &configured.fault_delay_secifier {
                Some(FaultDelaySecifier::FixedDelay(fixed)) => {
                    let seconds = u64::try_from(fixed.seconds).unwrap_or(0);
                    let nanos = u64::try_from(fixed.nanos).unwrap_or(0);
                    delay = seconds
                        .saturating_mul(1000)
                        .saturating_add(nanos / 1_000_000);
                }
                Some(FaultDelaySecifier::HeaderDelay(_)) => flags |= fault::DELAY_BY_HEADER,
                None => {}
            }
        }
        let (mut status, mut aborted) = (0, share(None));
        if let Some(configured) = &config.abort {
            flags |= fault::ABORTS;
            aborted = share(configured.percentage.as_ref());
            match configured.error_type {
                Some(ErrorType::HttpStatus(code)) => status = u64::from(code),
                // Its status is inside a 200.
                Some(ErrorType::GrpcStatus(_)) => status = 200,
                Some(ErrorType::HeaderAbort(_)) => flags |= fault::ABORT_BY_HEADER,
                None => {}
            }
        }
        let limit = config.max_active_faults.map_or(fault::UNLIMITED, |limit| {
            u64::from(limit.value).min(fault::UNLIMITED - 1)
        });
        let headers = self.all_matchers(&config.headers)?;
        let nodes = self.node_matchers(&config.downstream_nodes)?;
        let name = &config.upstream_cluster;
        crate::capacity::text(name.as_bytes()).map_err(|it| it.of_a_part())?;
        let cluster = if name.is_empty() {
            0
        } else {
            let record = self.cluster_offset(name);
            pair(record, self.arena.text(name.as_bytes()))
        };
        let mut slot = |name: &str| self.names.header(name).map_err(|it| it.of_a_part());
        let slots = [
            slot(DELAY)?,
            slot(DELAYED)?,
            slot(ABORT)?,
            slot(ABORTED)?,
            slot(GRPC_ABORT)?,
        ];
        let [
            delay_slot,
            delayed_slot,
            abort_slot,
            aborted_slot,
            grpc_slot,
        ] = slots;
        Ok(self.arena.words(&[
            pair(flags, limit),
            delay,
            delayed,
            status,
            aborted,
            headers,
            nodes,
            cluster,
            name.len() as u64,
            pair(delay_slot, delayed_slot),
            pair(abort_slot, aborted_slot),
            grpc_slot,
        ]))
    }

    /// Matchers that all have to hold. Low: their offset; high: how many.
    ///
    /// # Errors
    /// One is not decided, or does not fit.
    pub fn all_matchers(&mut self, matchers: &[HeaderMatcher]) -> Result<u64, Left> {
        let mut records = Vec::with_capacity(matchers.len());
        for (index, matcher) in matchers.iter().enumerate() {
            let (arena, names) = (&mut self.arena, &mut self.names);
            let compiled = compile_matcher::header(
                arena,
                names,
                self.snapshot,
                matcher,
                index,
                self.snapshot.profile,
            );
            let compiled = compiled.map_err(|it| it.of_a_part())?;
            let compiled = compiled.ok_or("a header matcher of its is not decided")?;
            records.push(compiled.record);
        }
        let offset = self.arena.words(records.as_flattened());
        Ok(pair(offset, records.len() as u64))
    }

    /// Matchers of a node's name, which the model asks only where the header arrives as it was sent.
    fn node_matchers(&mut self, nodes: &[String]) -> Result<u64, Left> {
        let over = |it: CapacityError| it.of_a_part();
        let mut records = Vec::with_capacity(nodes.len());
        for node in nodes {
            let matcher = StringMatcher {
                match_pattern: Some(MatchPattern::Exact(node.clone())),
                ..StringMatcher::default()
            };
            let slot = self.names.header(NODE).map_err(over)?;
            let (arena, names) = (&mut self.arena, &mut self.names);
            let compiled = compile_matcher::text(arena, names, self.snapshot, &matcher, slot);
            records.extend(compiled.map_err(over)?.map(|it| it.record));
        }
        let offset = self.arena.words(records.as_flattened());
        Ok(pair(offset, records.len() as u64))
    }
}
