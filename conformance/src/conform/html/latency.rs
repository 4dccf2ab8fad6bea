//! What single decisions took, engine by engine, over one scale.

use hdrhistogram::Histogram;

use super::super::Report;
use super::numbers::duration;

/// One engine's decisions.
pub struct Latency {
    pub engine: &'static str,
    pub decisions: u64,
    /// Quantile and time.
    pub quantiles: Vec<(&'static str, String)>,
    pub bars: Vec<Bar>,
    pub ticks: Vec<Tick>,
    pub label: String,
}

/// A bar of the chart, [`WIDTH`] by [`HEIGHT`] units.
pub struct Bar {
    pub x: String,
    pub y: String,
    pub width: String,
    pub height: String,
    /// What it counts.
    pub title: String,
}

/// A mark below the chart.
pub struct Tick {
    pub x: String,
    pub anchor: &'static str,
    pub text: String,
}

/// The charts' width.
const WIDTH: f64 = 360.0;

/// The charts' height, without the marks below.
const HEIGHT: f64 = 100.0;

/// A bar ends at so many times the time at which it begins.
const RATIO: f64 = 1.25;

pub fn of(report: &Report) -> Vec<Latency> {
    let mut engines: Vec<(&'static str, Histogram<u64>)> = Vec::new();
    for row in &report.rows {
        let Some(latencies) = &row.observed.latencies else {
            continue;
        };
        match engines.iter_mut().find(|(engine, _)| *engine == row.engine) {
            // All have the same bounds and digits, so that one takes in the other.
            Some((_, sum)) => {
                if sum.add(latencies).is_err() {
                    return Vec::new();
                }
            }
            None => engines.push((row.engine, latencies.clone())),
        }
    }
    let first = engines.iter().map(|(_, taken)| taken.min()).min();
    let last = engines.iter().map(|(_, taken)| taken.max()).max();
    let (Some(first), Some(last)) = (first, last) else {
        return Vec::new();
    };
    let scale = Scale::new(first.max(1), last.max(1));
    engines
        .into_iter()
        .map(|(engine, taken)| one(engine, &taken, &scale))
        .collect()
}

/// Times as positions, by their logarithm.
struct Scale {
    first: f64,
    bars: usize,
}

impl Scale {
    #[expect(clippy::cast_precision_loss, reason = "a minute at most")]
    fn new(first: u64, last: u64) -> Self {
        let first = first as f64;
        let mut bars = 1;
        let mut end = first * RATIO;
        while end <= last as f64 {
            bars += 1;
            end *= RATIO;
        }
        Self { first, bars }
    }

    /// Where a bar begins, in nanoseconds.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a positive number of nanoseconds"
    )]
    fn start(&self, bar: usize) -> u64 {
        let exponent = i32::try_from(bar).unwrap_or(i32::MAX);
        (self.first * RATIO.powi(exponent)).ceil() as u64
    }

    #[expect(clippy::cast_precision_loss, reason = "some hundred bars")]
    fn x(&self, bar: usize) -> f64 {
        bar as f64 / self.bars as f64 * WIDTH
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
fn one(engine: &'static str, taken: &Histogram<u64>, scale: &Scale) -> Latency {
    let counts: Vec<u64> = (0..scale.bars)
        .map(|bar| {
            let from = scale.start(bar);
            let to = scale.start(bar + 1).saturating_sub(1);
            if to < from {
                0
            } else {
                between(taken, from, to)
            }
        })
        .collect();
    let most = counts.iter().copied().max().unwrap_or(0).max(1) as f64;
    let mut bars = Vec::new();
    for (bar, count) in counts.iter().enumerate().filter(|(_, count)| **count > 0) {
        let height = (*count as f64 / most * HEIGHT).max(1.0);
        bars.push(Bar {
            x: format!("{:.2}", scale.x(bar)),
            y: format!("{:.2}", HEIGHT - height),
            width: format!("{:.2}", (scale.x(1) - 0.5).max(0.5)),
            height: format!("{height:.2}"),
            title: format!(
                "{} to {}: {count}",
                duration(scale.start(bar)),
                duration(scale.start(bar + 1))
            ),
        });
    }
    let ticks = [
        (0, "start"),
        (scale.bars / 2, "middle"),
        (scale.bars, "end"),
    ];
    let quantile = |at: f64| duration(taken.value_at_quantile(at));
    Latency {
        engine,
        decisions: taken.len(),
        quantiles: vec![
            ("median", quantile(0.5)),
            ("90 %", quantile(0.9)),
            ("99 %", quantile(0.99)),
            ("99.9 %", quantile(0.999)),
            ("longest", duration(taken.max())),
        ],
        bars,
        ticks: ticks
            .into_iter()
            .map(|(bar, anchor)| Tick {
                x: format!("{:.1}", scale.x(bar)),
                anchor,
                text: duration(scale.start(bar)),
            })
            .collect(),
        label: format!(
            "Histogram of the time of single decisions of {engine}: median {}, 99 percent within {}, longest {}",
            quantile(0.5),
            quantile(0.99),
            duration(taken.max())
        ),
    }
}

/// How many took from `from` to `to`, both counted. What the histogram does not tell apart counts
/// where it begins, so that every decision counts once.
fn between(taken: &Histogram<u64>, from: u64, to: u64) -> u64 {
    taken
        .iter_recorded()
        .map(|step| (taken.lowest_equivalent(step.value_iterated_to()), step))
        .filter(|(start, _)| (from..=to).contains(start) || (*start < from && from == 1))
        .map(|(_, step)| step.count_at_value())
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_decision_is_in_one_bar() {
        let mut taken = Histogram::<u64>::new_with_bounds(1, 60_000_000_000, 3).expect("bounds");
        for value in [250, 251, 300, 1_000, 4_321, 99_999, 12_345_678] {
            taken.record(value).expect("in the bounds");
        }
        let scale = Scale::new(taken.min(), taken.max());
        let counted: u64 = (0..scale.bars)
            .map(|bar| between(&taken, scale.start(bar), scale.start(bar + 1) - 1))
            .sum();
        assert_eq!(counted, taken.len());
        let chart = one("sim", &taken, &scale);
        assert_eq!(chart.decisions, 7);
        assert!(chart.bars.len() > 3);
        assert_eq!(chart.quantiles[0].1, "1.00 µs");
    }
}
