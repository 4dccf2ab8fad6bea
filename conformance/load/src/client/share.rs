//! Whether backends got the shares that their weights give them.

/// A backend and its weight.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Share {
    /// The backend.
    pub backend: String,
    /// Its weight.
    pub weight: u32,
}

impl std::str::FromStr for Share {
    type Err = String;

    /// `BACKEND=WEIGHT`, or `BACKEND` for a weight of 1.
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("expected BACKEND=WEIGHT, found {text:?}");
        let (backend, weight) = text.rsplit_once('=').unwrap_or((text, "1"));
        let weight = weight.parse().map_err(|_| wrong())?;
        if backend.is_empty() {
            return Err(wrong());
        }
        Ok(Self {
            backend: backend.to_owned(),
            weight,
        })
    }
}

/// A run with the right weights is called wrong at most this often.
pub const MISTAKE: f64 = 1e-9;

/// An upper bound (Chernoff's) of the probability that a share `p` of `n` draws is as far from its
/// mean as `k`, on the same side.
pub fn tail(k: u64, n: u64, p: f64) -> f64 {
    if n == 0 {
        return 1.0;
    }
    let found = k as f64 / n as f64;
    let term = |a: f64, b: f64| if a == 0.0 { 0.0 } else { a * (a / b).ln() };
    let divergence = term(found, p) + term(1.0 - found, 1.0 - p);
    (-(n as f64) * divergence).exp()
}

/// What is wrong with the counts of backends; `None`: nothing that chance does not explain.
pub fn wrong(shares: &[Share], count: impl Fn(&str) -> u64) -> Option<String> {
    let weights: u64 = shares.iter().map(|share| u64::from(share.weight)).sum();
    let total: u64 = shares.iter().map(|share| count(&share.backend)).sum();
    if weights == 0 || total == 0 {
        return None;
    }
    shares.iter().find_map(|share| {
        let expected = f64::from(share.weight) / weights as f64;
        let found = count(&share.backend);
        // Two sides, and as many shares as there are.
        let mistakes = 2.0 * shares.len() as f64 * tail(found, total, expected);
        (mistakes < MISTAKE).then(|| {
            format!(
                "{}: expected a share of {expected:.4}, found {:.4} ({found} of {total}); \
                 by chance that happens at most once in {:.1e} runs",
                share.backend,
                found as f64 / total as f64,
                1.0 / mistakes.max(f64::MIN_POSITIVE)
            )
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The exact probability of `k` or more of `n`.
    fn exact(k: u64, n: u64, p: f64) -> f64 {
        let mut term = (1.0 - p).powi(n as i32);
        let mut sum = if k == 0 { term } else { 0.0 };
        for i in 1..=n {
            term *= (n - i + 1) as f64 / i as f64 * p / (1.0 - p);
            if i >= k {
                sum += term;
            }
        }
        sum
    }

    #[test]
    fn the_bound_is_one() {
        for (k, n, p) in [
            (60, 100, 0.5),
            (30, 100, 0.1),
            (20, 100, 0.1),
            (99, 100, 0.9),
        ] {
            let (bound, exact) = (tail(k, n, p), exact(k, n, p));
            assert!(bound >= exact, "{k} of {n} at {p}: {bound} < {exact}");
            assert!(
                bound <= exact * 100.0,
                "{k} of {n} at {p}: {bound} is far above {exact}"
            );
        }
    }

    #[test]
    fn shares_are_told_apart() {
        let shares = ["a=90".parse().unwrap(), "b=10".parse().unwrap()];
        let counts = |a: u64, b: u64| move |name: &str| if name == "a" { a } else { b };
        assert_eq!(wrong(&shares, counts(9000, 1000)), None);
        assert_eq!(wrong(&shares, counts(8900, 1100)), None);
        assert!(wrong(&shares, counts(8700, 1300)).is_some());
        assert!(wrong(&shares, counts(10000, 0)).is_some());
        assert!(wrong(&shares, counts(5000, 5000)).is_some());
        assert_eq!(wrong(&shares, counts(0, 0)), None);
        assert_eq!(wrong(&["a=1".parse().unwrap()], counts(5, 0)), None);
    }
}
