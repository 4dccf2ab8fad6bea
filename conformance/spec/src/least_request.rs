//! `LEAST_REQUEST`.

use crate::draw::{self, draw};
use crate::edf::Edf;
use crate::round_robin::all_equal;

/// What the cluster says of its balancer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Options {
    /// `choice_count`.
    pub(crate) choice_count: u32,
    /// `active_request_bias.default_value`.
    pub(crate) active_request_bias: f64,
    /// `selection_method: FULL_SCAN`, or `enable_full_scan`.
    pub(crate) full_scan: bool,
}

/// The scale of an endpoint's cost.
const COST_UNIT: f64 = 65_536.0;
/// An endpoint with more active requests counts as one with so many.
const MOST_ACTIVE: u64 = 4_095;
/// Most that deadlines are scaled by.
const MOST_SCALE: u64 = 1 << 24;

/// State of one least request balancer; without weights it has none.
#[derive(Debug, Clone)]
pub(crate) enum LeastRequest {
    /// All weights are equal.
    Equal,
    /// Weights differ: deadlines wrap, so one is earlier than another by the sign of their
    /// difference.
    Weighted {
        /// The endpoints and their deadlines.
        edf: Edf<u64>,
        /// What deadlines are scaled by.
        scale: u64,
    },
}

impl LeastRequest {
    /// A balancer over endpoints of these weights, before its first pick.
    pub(crate) fn new(weights: &[u32], options: Options) -> Self {
        if all_equal(weights) {
            return Self::Equal;
        }
        let scale = scale(weights);
        let edf = Edf::new(
            weights
                .iter()
                .map(|&weight| step(scale, weight, 0, options.active_request_bias)),
        );
        Self::Weighted { edf, scale }
    }

    /// Index of the next endpoint; `None` where there is none. `active` are the endpoints' active
    /// requests, this one not counted.
    pub(crate) fn pick(
        &mut self,
        weights: &[u32],
        active: &[u64],
        options: Options,
        random: u64,
    ) -> Option<usize> {
        match self {
            Self::Equal if options.full_scan => fewest_of_all(active, random),
            Self::Equal => fewest_of_choices(active, options.choice_count, random),
            Self::Weighted { edf, scale } => {
                let bias = options.active_request_bias;
                edf.pick(
                    |one, other| (one.wrapping_sub(*other) as i64) < 0,
                    |index, deadline| {
                        let weight = weights.get(index).copied().unwrap_or(1);
                        let active = active.get(index).copied().unwrap_or(0);
                        deadline.wrapping_add(step(*scale, weight, active, bias))
                    },
                )
            }
        }
    }
}

/// Those of endpoints of these weights that could be picked, whatever is active: by weights all of
/// them, else those that are drawn.
pub(crate) fn choices(weights: &[u32], options: Options, random: u64) -> Vec<usize> {
    if all_equal(weights) && !options.full_scan {
        drawn(weights.len(), options.choice_count, random).collect()
    } else {
        (0..weights.len()).collect()
    }
}

/// `choice_count` of so many endpoints, drawn with replacement.
fn drawn(count: usize, choice_count: u32, random: u64) -> impl Iterator<Item = usize> {
    (0..u64::from(choice_count)).filter_map(move |choice| {
        let drawn = draw(random, draw::ENDPOINT + choice).checked_rem(count as u64)?;
        usize::try_from(drawn).ok()
    })
}

/// Of the endpoints that are drawn, the first with the fewest active requests.
fn fewest_of_choices(active: &[u64], choice_count: u32, random: u64) -> Option<usize> {
    let mut best: Option<(usize, u64)> = None;
    for index in drawn(active.len(), choice_count, random) {
        let requests = *active.get(index)?;
        if best.is_none_or(|(_, fewest)| requests < fewest) {
            best = Some((index, requests));
        }
    }
    best.map(|(index, _)| index)
}

/// Of all endpoints one with the fewest active requests: each further one that has as few takes the
/// place of those before by the next number, so that in the end all have the same chance.
fn fewest_of_all(active: &[u64], random: u64) -> Option<usize> {
    let mut best = 0;
    let mut alike = 1;
    let mut ties = 0;
    for (index, &requests) in active.iter().enumerate().skip(1) {
        let fewest = *active.get(best)?;
        if requests < fewest {
            (best, alike) = (index, 1);
        } else if requests == fewest {
            alike += 1;
            if draw(random, draw::ENDPOINT + ties).is_multiple_of(alike) {
                best = index;
            }
            ties += 1;
        }
    }
    (!active.is_empty()).then_some(best)
}

/// How far an endpoint's deadline moves when it is picked.
fn step(scale: u64, weight: u32, active: u64, bias: f64) -> u64 {
    let scaled = u128::from(scale) * u128::from(cost(active, bias));
    let step = scaled / u128::from(weight.max(1));
    u64::try_from(step).unwrap_or(u64::MAX)
}

/// `(active + 1) ^ bias` in units of 1/65536.
fn cost(active: u64, bias: f64) -> u64 {
    let requests = active.min(MOST_ACTIVE) + 1;
    if bias == 1.0 {
        return requests * COST_UNIT as u64;
    }
    ((requests as f64).powf(bias) * COST_UNIT).floor() as u64
}

/// The least common multiple of the weights, as far as it is small enough.
fn scale(weights: &[u32]) -> u64 {
    let mut multiple = 1;
    for &weight in weights {
        let weight = u64::from(weight.max(1));
        multiple = multiple / greatest_common_divisor(multiple, weight) * weight;
        if multiple > MOST_SCALE {
            return MOST_SCALE;
        }
    }
    multiple
}

fn greatest_common_divisor(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const DEFAULT: Options = Options {
        choice_count: 2,
        active_request_bias: 1.0,
        full_scan: false,
    };

    #[rstest]
    #[case(&[1, 2, 3], 6)]
    #[case(&[4, 6], 12)]
    #[case(&[1 << 24, 1], 1 << 24)]
    #[case(&[1 << 24, 3], 1 << 24)]
    #[case(&[u32::MAX, u32::MAX - 1], 1 << 24)]
    fn scales(#[case] weights: &[u32], #[case] expected: u64) {
        assert_eq!(scale(weights), expected);
    }

    #[rstest]
    #[case(0, 1.0, 65_536)]
    #[case(3, 1.0, 262_144)]
    #[case(4_095, 1.0, 4_096 * 65_536)]
    #[case(4_096, 1.0, 4_096 * 65_536)]
    #[case(3, 0.0, 65_536)]
    #[case(3, 0.5, 131_072)]
    #[case(1, 0.5, 92_681)]
    #[case(1, 2.0, 262_144)]
    fn costs(#[case] active: u64, #[case] bias: f64, #[case] expected: u64) {
        assert_eq!(cost(active, bias), expected);
    }

    #[test]
    fn sequential_requests_are_spread_by_weight() {
        let weights = [3, 1];
        let mut balancer = LeastRequest::new(&weights, DEFAULT);
        let picks: Vec<_> = (0..8)
            .filter_map(|_| balancer.pick(&weights, &[0, 0], DEFAULT, 0))
            .collect();
        assert_eq!(picks, [0, 0, 1, 0, 0, 0, 1, 0]);
    }

    #[test]
    fn a_busy_endpoint_is_picked_less() {
        let weights = [2, 1];
        let mut balancer = LeastRequest::new(&weights, DEFAULT);
        let picks: Vec<_> = (0..6)
            .filter_map(|_| balancer.pick(&weights, &[3, 0], DEFAULT, 0))
            .collect();
        // Every pick of the first moves its deadline by 2, of the second by 1 of its own.
        assert_eq!(picks, [0, 1, 1, 0, 1, 1]);
    }

    #[test]
    fn the_first_choice_wins_ties() {
        let mut balancer = LeastRequest::new(&[1, 1, 1], DEFAULT);
        let random = 99;
        let first = (draw(random, 2) % 3) as usize;
        let second = (draw(random, 3) % 3) as usize;
        assert_ne!(first, second);
        let mut active = [0, 0, 0];
        assert_eq!(
            balancer.pick(&[1, 1, 1], &active, DEFAULT, random),
            Some(first)
        );
        active[first] = 1;
        assert_eq!(
            balancer.pick(&[1, 1, 1], &active, DEFAULT, random),
            Some(second)
        );
        active[second] = 1;
        assert_eq!(
            balancer.pick(&[1, 1, 1], &active, DEFAULT, random),
            Some(first)
        );
    }

    #[test]
    fn no_endpoint_no_pick() {
        let mut balancer = LeastRequest::new(&[], DEFAULT);
        assert_eq!(balancer.pick(&[], &[], DEFAULT, 1), None);
    }

    #[test]
    fn a_full_scan_finds_the_fewest() {
        for random in 0..50 {
            assert_eq!(fewest_of_all(&[3, 1, 2], random), Some(1));
            assert_eq!(fewest_of_all(&[1], random), Some(0));
        }
        assert_eq!(fewest_of_all(&[], 1), None);
    }

    #[test]
    fn a_full_scan_treats_all_of_the_fewest_alike() {
        let mut counts = [0; 4];
        for random in 0..9_000 {
            let found = fewest_of_all(&[2, 1, 1, 1], random).expect("there are some");
            counts[found] += 1;
        }
        assert_eq!(counts[0], 0);
        for count in &counts[1..] {
            assert!((2_700..3_300).contains(count), "{counts:?}");
        }
    }
}
