//! Numbers as people read them.

/// A share in percent, with as many digits as say something.
pub fn percent(share: f64) -> String {
    let percent = share * 100.0;
    if percent == 0.0 || percent >= 99.95 {
        format!("{percent:.0} %")
    } else if percent < 1.0 {
        format!("{percent:.2} %")
    } else {
        format!("{percent:.1} %")
    }
}

/// A duration given in nanoseconds.
#[expect(clippy::cast_precision_loss, reason = "a minute at most")]
pub fn duration(nanoseconds: u64) -> String {
    let number = nanoseconds as f64;
    let (value, unit) = match nanoseconds {
        0..1_000 => return format!("{nanoseconds} ns"),
        1_000..1_000_000 => (number / 1e3, "µs"),
        1_000_000..1_000_000_000 => (number / 1e6, "ms"),
        _ => (number / 1e9, "s"),
    };
    if value < 10.0 {
        format!("{value:.2} {unit}")
    } else if value < 100.0 {
        format!("{value:.1} {unit}")
    } else {
        format!("{value:.0} {unit}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_and_durations() {
        assert_eq!(percent(0.0), "0 %");
        assert_eq!(percent(0.0042), "0.42 %");
        assert_eq!(percent(0.9), "90.0 %");
        assert_eq!(percent(1.0), "100 %");
        assert_eq!(duration(999), "999 ns");
        assert_eq!(duration(1_234), "1.23 µs");
        assert_eq!(duration(45_600_000), "45.6 ms");
        assert_eq!(duration(2_000_000_000), "2.00 s");
    }
}
