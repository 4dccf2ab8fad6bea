//! Which priority of a cluster takes a request, and which of its endpoints may be used.

use crate::cluster::{Health, Host};

/// What decides over priorities, besides the endpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Options {
    /// `ClusterLoadAssignment.policy.overprovisioning_factor`, in percent.
    pub(crate) overprovisioning_factor: u32,
    /// `ClusterLoadAssignment.policy.weighted_priority_health`.
    pub(crate) weighted_priority_health: bool,
    /// `CommonLbConfig.healthy_panic_threshold`, in percent.
    pub(crate) healthy_panic_threshold: u32,
    /// `ZoneAwareLbConfig.fail_traffic_on_panic`.
    pub(crate) fail_traffic_on_panic: bool,
}

/// Envoy cuts off what is behind the point, after a division and a multiplication of doubles that
/// turn 29 into 28.
pub(crate) fn threshold_percent(percent: f64) -> u32 {
    (100.0 * (percent / 100.0)) as u32
}

/// Which endpoints of a priority a request may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Source {
    Healthy,
    Degraded,
    All,
}

/// The chosen priority.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Choice {
    pub(crate) priority: usize,
    /// The number 1..=100 that chose it.
    pub(crate) value: u32,
    /// Chosen from the degraded load.
    pub(crate) degraded: bool,
    pub(crate) panic: bool,
    /// `None`: a panic in which traffic shall fail.
    pub(crate) source: Option<Source>,
}

/// How the load is spread over priorities; healthy and degraded together make 100.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Loads {
    healthy: Vec<u32>,
    degraded: Vec<u32>,
    panic: Vec<bool>,
}

/// Chooses the priority by a number: a random one, or the request's hash.
pub(crate) fn select(priorities: &[Vec<Host>], options: Options, number: u64) -> Choice {
    let loads = loads(priorities, options);
    let value = number % 100 + 1;
    let mut upto = 0;
    let healthy = loads.healthy.iter().map(|load| (false, load));
    let degraded = loads.degraded.iter().map(|load| (true, load));
    let mut chosen = (0, false);
    for (index, (degraded, load)) in healthy.chain(degraded).enumerate() {
        upto += u64::from(*load);
        if value <= upto {
            chosen = (index % priorities.len().max(1), degraded);
            break;
        }
    }
    let (priority, degraded) = chosen;
    let panic = loads.panic.get(priority).copied().unwrap_or_default();
    let source = match (panic, degraded) {
        (true, _) if options.fail_traffic_on_panic => None,
        (true, _) => Some(Source::All),
        (false, true) => Some(Source::Degraded),
        (false, false) => Some(Source::Healthy),
    };
    Choice {
        priority,
        value: u32::try_from(value).unwrap_or_default(),
        degraded,
        panic,
        source,
    }
}

/// The endpoints that the source stands for.
pub(crate) fn usable(hosts: &[Host], source: Source) -> Vec<Host> {
    hosts
        .iter()
        .filter(|host| match source {
            Source::Healthy => host.health == Health::Healthy,
            Source::Degraded => host.health == Health::Degraded,
            Source::All => true,
        })
        .cloned()
        .collect()
}

fn loads(priorities: &[Vec<Host>], options: Options) -> Loads {
    let healthy: Vec<u32> = priorities
        .iter()
        .map(|hosts| availability(hosts, Health::Healthy, options))
        .collect();
    let degraded: Vec<u32> = priorities
        .iter()
        .map(|hosts| availability(hosts, Health::Degraded, options))
        .collect();
    let total: u32 = healthy.iter().chain(&degraded).sum::<u32>().min(100);
    let threshold = options.healthy_panic_threshold.min(100);
    if total == 0 && threshold == 0 {
        return all_to_the_first(priorities.len());
    }
    let panic: Vec<bool> = priorities
        .iter()
        .map(|hosts| total != 100 && is_in_panic(hosts, threshold))
        .collect();
    if panic.iter().all(|&panic| panic) {
        return Loads {
            panic,
            ..by_number_of_hosts(priorities)
        };
    }
    let mut left = 100;
    let mut healthy_loads = spread(&healthy, total, &mut left);
    let mut degraded_loads = spread(&degraded, total, &mut left);
    // What integer division left over.
    let first = |availability: &[u32]| availability.iter().position(|&percent| percent > 0);
    if let Some(load) = first(&healthy).and_then(|index| healthy_loads.get_mut(index)) {
        *load += left;
    } else if let Some(load) = first(&degraded).and_then(|index| degraded_loads.get_mut(index)) {
        *load += left;
    }
    Loads {
        healthy: healthy_loads,
        degraded: degraded_loads,
        panic,
    }
}

/// The share of a priority's endpoints that has this health, in percent, raised by the
/// overprovisioning factor.
fn availability(hosts: &[Host], health: Health, options: Options) -> u32 {
    let size = |host: &Host| match options.weighted_priority_health {
        true => u64::from(host.weight),
        false => 1,
    };
    let counted = hosts.iter().filter(|host| host.health != Health::Draining);
    let total: u64 = counted.clone().map(size).sum();
    let available: u64 = counted.filter(|host| host.health == health).map(size).sum();
    let percent = (u64::from(options.overprovisioning_factor) * available)
        .checked_div(total)
        .unwrap_or(0);
    u32::try_from(percent.min(100)).unwrap_or(100)
}

/// Whether less than the threshold of a priority's endpoints is healthy or degraded.
pub(crate) fn is_in_panic(hosts: &[Host], threshold: u32) -> bool {
    let count = |condition: fn(Health) -> bool| {
        hosts.iter().filter(|host| condition(host.health)).count() as u64
    };
    let counted = count(|health| health != Health::Draining);
    let available = count(|health| matches!(health, Health::Healthy | Health::Degraded));
    if counted == 0 {
        return threshold > 0;
    }
    100 * available < u64::from(threshold) * counted
}

/// Gives each priority in turn as much of the load as its availability allows.
fn spread(availability: &[u32], total: u32, left: &mut u32) -> Vec<u32> {
    availability
        .iter()
        .map(|percent| {
            let load = (percent * 100).checked_div(total).unwrap_or(0).min(*left);
            *left -= load;
            load
        })
        .collect()
}

/// The loads when every priority is in panic: by all their endpoints, whatever their health.
fn by_number_of_hosts(priorities: &[Vec<Host>]) -> Loads {
    let total: usize = priorities.iter().map(Vec::len).sum();
    let Some(first) = priorities.iter().position(|hosts| !hosts.is_empty()) else {
        return all_to_the_first(priorities.len());
    };
    let mut healthy: Vec<u32> = priorities
        .iter()
        .map(|hosts| (100 * hosts.len()).checked_div(total).unwrap_or(0))
        .map(|load| u32::try_from(load).unwrap_or(100))
        .collect();
    let given: u32 = healthy.iter().sum();
    if let Some(load) = healthy.get_mut(first) {
        *load += 100 - given;
    }
    Loads {
        degraded: vec![0; healthy.len()],
        panic: vec![true; healthy.len()],
        healthy,
    }
}

fn all_to_the_first(count: usize) -> Loads {
    let mut healthy = vec![0; count];
    if let Some(load) = healthy.first_mut() {
        *load = 100;
    }
    Loads {
        healthy,
        degraded: vec![0; count],
        panic: vec![false; count],
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const OPTIONS: Options = Options {
        overprovisioning_factor: 140,
        weighted_priority_health: false,
        healthy_panic_threshold: 50,
        fail_traffic_on_panic: false,
    };

    /// One word a priority, one letter an endpoint: healthy, degraded (g), unhealthy, draining.
    fn priorities(text: &str) -> Vec<Vec<Host>> {
        text.split(' ')
            .map(|word| {
                word.chars()
                    .filter(|letter| *letter != '-')
                    .map(|letter| Host {
                        locality: 0,
                        endpoint: 0,
                        weight: 1,
                        health: match letter {
                            'h' => Health::Healthy,
                            'g' => Health::Degraded,
                            'd' => Health::Draining,
                            _ => Health::Unhealthy,
                        },
                    })
                    .collect()
            })
            .collect()
    }

    fn percents(text: &str) -> (Vec<u32>, Vec<u32>, Vec<bool>) {
        let loads = loads(&priorities(text), OPTIONS);
        (loads.healthy, loads.degraded, loads.panic)
    }

    #[rstest]
    #[case::all("hhhh", &[100], &[0], &[false])]
    #[case::first_suffices("hh hh", &[100, 0], &[0, 0], &[false, false])]
    #[case::spill_over("hu hh", &[70, 30], &[0, 0], &[false, false])]
    #[case::measured("huuu huuu hh", &[35, 35, 30], &[0, 0, 0], &[false, false, false])]
    #[case::scaled("huuu", &[100], &[0], &[true])]
    #[case::half_is_no_panic("hhuu", &[100], &[0], &[false])]
    #[case::less_than_half_is("hhuuu", &[100], &[0], &[true])]
    #[case::degraded_count("hguu", &[50], &[50], &[false])]
    #[case::degraded_only("gguu", &[0], &[100], &[false])]
    #[case::degraded_after_healthy("guu h", &[0, 100], &[0, 0], &[false, false])]
    #[case::total_panic("huuuu huuuu", &[50, 50], &[0, 0], &[true, true])]
    #[case::one_in_panic("huuuu hu", &[29, 71], &[0, 0], &[true, false])]
    #[case::total_panic_by_hosts("ddd u", &[75, 25], &[0, 0], &[true, true])]
    #[case::draining_does_not_count("hddd", &[100], &[0], &[false])]
    #[case::draining_is_in_panic("uuhd", &[100], &[0], &[true])]
    #[case::empty("-", &[100], &[0], &[true])]
    #[case::gap("- hh", &[0, 100], &[0, 0], &[false, false])]
    fn spreads(
        #[case] text: &str,
        #[case] healthy: &[u32],
        #[case] degraded: &[u32],
        #[case] panic: &[bool],
    ) {
        let (actual_healthy, actual_degraded, actual_panic) = percents(text);
        assert_eq!(actual_healthy, healthy);
        assert_eq!(actual_degraded, degraded);
        assert_eq!(actual_panic, panic);
    }

    #[rstest]
    #[case(50.0, 50)]
    #[case(29.0, 28)]
    #[case(28.6, 28)]
    #[case(58.0, 57)]
    #[case(0.0, 0)]
    #[case(100.0, 100)]
    fn thresholds(#[case] percent: f64, #[case] expected: u32) {
        assert_eq!(threshold_percent(percent), expected);
    }

    #[test]
    fn no_panic_below_a_threshold_of_zero() {
        let options = Options {
            healthy_panic_threshold: 0,
            ..OPTIONS
        };
        let choice = select(&priorities("uu uu"), options, 5);
        assert_eq!((choice.priority, choice.panic), (0, false));
        assert_eq!(choice.source, Some(Source::Healthy));
    }

    #[test]
    fn traffic_may_fail_on_panic() {
        let options = Options {
            fail_traffic_on_panic: true,
            ..OPTIONS
        };
        let choice = select(&priorities("huuu"), options, 5);
        assert_eq!((choice.panic, choice.source), (true, None));
    }

    #[test]
    fn weights_may_count() {
        let mut priorities = priorities("hu hh");
        priorities[0][0].weight = 9;
        let options = Options {
            weighted_priority_health: true,
            ..OPTIONS
        };
        assert_eq!(loads(&priorities, options).healthy, [100, 0]);
    }

    #[test]
    fn the_number_modulo_100_chooses() {
        let priorities = priorities("hu hh");
        for number in 0..1000 {
            let value = number % 100 + 1;
            let choice = select(&priorities, OPTIONS, number);
            assert_eq!(u64::from(choice.value), value);
            assert_eq!(choice.priority, usize::from(value > 70));
        }
    }
}
