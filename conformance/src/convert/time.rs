//! Points in time, as logs write them.

use jiff::Timestamp;

/// Reads RFC 3339, or a number of seconds, milliseconds or microseconds since 1970, told apart by
/// their size. Returns microseconds.
///
/// # Errors
/// It is none of them.
pub fn parse(text: &str) -> Result<i64, String> {
    if let Ok(number) = text.parse::<f64>() {
        return of_number(number).ok_or_else(|| format!("`{text}` is no point in time"));
    }
    let timestamp: Timestamp = text
        .parse()
        .map_err(|_| format!("expected a time as in 2026-01-31T12:00:00.000Z, found `{text}`"))?;
    Ok(timestamp.as_microsecond())
}

#[expect(clippy::cast_possible_truncation, reason = "its range is checked")]
fn of_number(number: f64) -> Option<i64> {
    let microseconds = if number < 1e11 {
        number * 1e6
    } else if number < 1e14 {
        number * 1e3
    } else {
        number
    };
    (0.0..1e18)
        .contains(&microseconds)
        .then(|| microseconds.round() as i64)
}

/// Writes a point in time, given in microseconds.
pub fn text(microseconds: i64) -> String {
    match Timestamp::from_microsecond(microseconds) {
        Ok(timestamp) => timestamp.to_string(),
        Err(_) => format!("{microseconds} µs after 1970"),
    }
}

/// A duration in milliseconds as whole microseconds; negative ones are none.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "its range is checked"
)]
pub fn microseconds(milliseconds: f64) -> Option<u64> {
    let microseconds = (milliseconds * 1000.0).round();
    (0.0..1e15)
        .contains(&microseconds)
        .then_some(microseconds as u64)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("1970-01-01T00:00:01Z", Some(1_000_000))]
    #[case("1970-01-01T01:00:01.000002+01:00", Some(1_000_002))]
    #[case("1700000000", Some(1_700_000_000_000_000))]
    #[case("1700000000.5", Some(1_700_000_000_500_000))]
    #[case("1700000000123", Some(1_700_000_000_123_000))]
    #[case("1700000000123456", Some(1_700_000_000_123_456))]
    #[case("-5", None)]
    #[case("NaN", None)]
    #[case("inf", None)]
    #[case("yesterday", None)]
    #[case("", None)]
    fn times(#[case] text: &str, #[case] expected: Option<i64>) {
        assert_eq!(parse(text).ok(), expected);
    }

    #[rstest]
    #[case(1.5, Some(1500))]
    #[case(0.0, Some(0))]
    #[case(-1.0, None)]
    #[case(f64::NAN, None)]
    fn durations(#[case] milliseconds: f64, #[case] expected: Option<u64>) {
        assert_eq!(microseconds(milliseconds), expected);
    }
}
