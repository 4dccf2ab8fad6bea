//! What a run found.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde_json::{Value, json};

use crate::client::Load;
use crate::client::fault::{Fault, Kind};
use crate::client::plan::Exchange;
use crate::client::response::Answer;
use crate::client::share;

/// Faults that are told in full.
const MOST_EXAMPLES: usize = 20;

/// Latencies in microseconds.
type Latency = Histogram<u64>;

/// What connections count.
#[derive(Debug, Default)]
pub struct Tally {
    /// Connections that were made.
    pub connections: u64,
    /// Connections that the other side ended between requests.
    pub idle_ends: u64,
    /// Requests that were cut by plan.
    pub cut: u64,
    /// Responses that broke off, as was asked for.
    pub broken: u64,
    /// Pipelined requests behind a fault.
    pub unanswered: u64,
    answered: u64,
    bytes: u64,
    latency: Option<Latency>,
    faults: BTreeMap<Kind, u64>,
    examples: Vec<String>,
    backends: BTreeMap<String, u64>,
    /// Of requests without a header that decides.
    shared: BTreeMap<String, u64>,
}

impl Tally {
    /// A right response.
    pub(crate) fn answer(&mut self, exchange: &Exchange, answer: &Answer, after: Duration) {
        self.answered += 1;
        self.bytes += answer.bytes;
        let latency = self.latency.get_or_insert_with(latency);
        latency.saturating_record(after.as_micros() as u64);
        let backend = answer.backend.as_deref().unwrap_or_default();
        count(&mut self.backends, backend, 1);
        if exchange.header.is_none() {
            count(&mut self.shared, backend, 1);
        }
    }

    /// A fault of the response to this request.
    pub(crate) fn fault(&mut self, id: u64, fault: &Fault) {
        *self.faults.entry(fault.kind).or_default() += 1;
        let of_kind = self.faults.get(&fault.kind).copied().unwrap_or(0);
        if of_kind <= 5 && self.examples.len() < MOST_EXAMPLES {
            self.examples.push(format!(
                "{}: request {id:016x}: {}",
                fault.kind.name(),
                fault.detail
            ));
        }
    }

    /// A part of the generator failed.
    pub(crate) fn panicked(&mut self, why: &str) {
        self.fault(0, &Fault::new(Kind::Generator, why));
    }

    /// Takes another's counts.
    pub(crate) fn add(&mut self, other: Self) {
        self.connections += other.connections;
        self.idle_ends += other.idle_ends;
        self.cut += other.cut;
        self.broken += other.broken;
        self.unanswered += other.unanswered;
        self.answered += other.answered;
        self.bytes += other.bytes;
        if let Some(of_other) = other.latency {
            // Both have the same bounds.
            let _ = self.latency.get_or_insert_with(latency).add(of_other);
        }
        for (kind, times) in other.faults {
            *self.faults.entry(kind).or_default() += times;
        }
        for (backend, times) in other.backends {
            count(&mut self.backends, &backend, times);
        }
        for (backend, times) in other.shared {
            count(&mut self.shared, &backend, times);
        }
        self.examples.extend(other.examples);
    }
}

fn count(counts: &mut BTreeMap<String, u64>, name: &str, times: u64) {
    match counts.get_mut(name) {
        Some(count) => *count += times,
        None => {
            counts.insert(name.to_owned(), times);
        }
    }
}

/// Up to a minute, three digits.
fn latency() -> Latency {
    Latency::new_with_max(60_000_000, 3)
        .unwrap_or_else(|_| unreachable!("the bounds are constants"))
}

/// What a run found.
#[derive(Debug)]
pub struct Report {
    tally: Tally,
    elapsed: Duration,
    share: Option<String>,
}

impl Report {
    /// Of a run that is over.
    pub(crate) fn new(load: &Load, tally: Tally, elapsed: Duration) -> Self {
        let share = share::wrong(&load.expected.shares, |backend| {
            tally.shared.get(backend).copied().unwrap_or(0)
        });
        Self {
            tally,
            elapsed,
            share,
        }
    }

    /// How often a fault was found.
    pub fn faults(&self, kind: Kind) -> u64 {
        self.tally.faults.get(&kind).copied().unwrap_or(0)
    }

    /// Responses that were right.
    pub fn answered(&self) -> u64 {
        self.tally.answered
    }

    /// Right responses of a backend.
    pub fn answered_by(&self, backend: &str) -> u64 {
        self.tally.backends.get(backend).copied().unwrap_or(0)
    }

    /// What is wrong with the shares, if something is.
    pub fn wrong_share(&self) -> Option<&str> {
        self.share.as_deref()
    }

    /// Whether nothing was wrong; with `losses`, answers that did not come, and of which the client
    /// was told so, are no fault.
    pub fn is_right(&self, losses: bool) -> bool {
        self.share.is_none()
            && self
                .tally
                .faults
                .keys()
                .all(|kind| losses && kind.is_loss())
    }

    /// Right responses a second.
    pub fn requests_a_second(&self) -> f64 {
        self.tally.answered as f64 / self.elapsed.as_secs_f64().max(1e-9)
    }

    fn quantile(&self, quantile: f64) -> u64 {
        let latency = self.tally.latency.as_ref();
        latency.map_or(0, |latency| latency.value_at_quantile(quantile))
    }

    /// As JSON: counts, latencies in microseconds.
    pub fn json(&self) -> Value {
        let tally = &self.tally;
        let faults: BTreeMap<&str, u64> = tally
            .faults
            .iter()
            .map(|(kind, times)| (kind.name(), *times))
            .collect();
        json!({
            "answered": tally.answered,
            "seconds": self.elapsed.as_secs_f64(),
            "requests_per_second": self.requests_a_second(),
            "body_bytes": tally.bytes,
            "latency_us": {
                "p50": self.quantile(0.5),
                "p99": self.quantile(0.99),
                "max": tally.latency.as_ref().map_or(0, Histogram::max),
            },
            "connections": tally.connections,
            "idle_ends": tally.idle_ends,
            "cut": tally.cut,
            "broken": tally.broken,
            "unanswered": tally.unanswered,
            "faults": faults,
            "wrong_share": self.share,
            "backends": tally.backends,
            "examples": tally.examples,
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tally = &self.tally;
        writeln!(
            f,
            "{} right responses in {:.2} s: {:.0} a second, {:.1} MB of bodies",
            tally.answered,
            self.elapsed.as_secs_f64(),
            self.requests_a_second(),
            tally.bytes as f64 / 1e6
        )?;
        writeln!(
            f,
            "latency in µs: p50 {}, p99 {}, max {}",
            self.quantile(0.5),
            self.quantile(0.99),
            tally.latency.as_ref().map_or(0, Histogram::max)
        )?;
        writeln!(
            f,
            "{} connections, {} of them ended while idle; {} requests cut and {} responses broken off by plan; {} behind a fault",
            tally.connections, tally.idle_ends, tally.cut, tally.broken, tally.unanswered
        )?;
        for (backend, times) in &tally.backends {
            let share = *times as f64 / tally.answered.max(1) as f64;
            writeln!(f, "backend {backend}: {times} ({:.2} %)", share * 100.0)?;
        }
        if let Some(wrong) = &self.share {
            writeln!(f, "wrong share: {wrong}")?;
        }
        for (kind, times) in &tally.faults {
            writeln!(f, "fault {}: {times}", kind.name())?;
        }
        for example in tally.examples.iter().take(MOST_EXAMPLES) {
            writeln!(f, "  {example}")?;
        }
        Ok(())
    }
}
