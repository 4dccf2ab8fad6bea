//! Decimal numbers as Envoy reads them from header values (`absl::SimpleAtoi`).

/// The digits of a number, and whether a minus sign stood before them; `None` where the text is
/// no number. White space around it is allowed, and one sign.
fn sign_and_digits(text: &str) -> Option<(bool, &str)> {
    let text = text.trim_matches([' ', '\t', '\n', '\x0b', '\x0c', '\r']);
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then_some((negative, digits))
}

/// An unsigned number. A minus sign is refused, before a zero too.
pub(crate) fn unsigned(text: &str) -> Option<u64> {
    let (negative, digits) = sign_and_digits(text)?;
    if negative {
        return None;
    }
    digits.parse().ok()
}

/// A signed number.
pub(crate) fn signed(text: &str) -> Option<i64> {
    let (negative, digits) = sign_and_digits(text)?;
    let magnitude: u64 = digits.parse().ok()?;
    if negative {
        0_i64.checked_sub_unsigned(magnitude)
    } else {
        i64::try_from(magnitude).ok()
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("0", Some(0))]
    #[case("95", Some(95))]
    #[case("+95", Some(95))]
    #[case("095", Some(95))]
    #[case(" 95\t", Some(95))]
    #[case("18446744073709551615", Some(u64::MAX))]
    #[case("18446744073709551616", None)]
    #[case("-1", None)]
    #[case("-0", None)]
    #[case("95.0", None)]
    #[case("0x5f", None)]
    #[case("", None)]
    #[case("+", None)]
    #[case("+ 5", None)]
    #[case("5abc", None)]
    fn unsigned_numbers(#[case] text: &str, #[case] expected: Option<u64>) {
        assert_eq!(unsigned(text), expected);
    }

    #[rstest]
    #[case("-9223372036854775808", Some(i64::MIN))]
    #[case("-9223372036854775809", None)]
    #[case("9223372036854775807", Some(i64::MAX))]
    #[case("9223372036854775808", None)]
    #[case("-0", Some(0))]
    #[case("007", Some(7))]
    #[case("5.0", None)]
    #[case("--5", None)]
    fn signed_numbers(#[case] text: &str, #[case] expected: Option<i64>) {
        assert_eq!(signed(text), expected);
    }
}
