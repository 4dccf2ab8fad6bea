//! `referer`: Envoy removes one that is no URL before it routes.

use crate::target;

/// Whether Envoy keeps the value: an absolute URL without fragment and user information, or
/// something that may be a relative one.
pub(crate) fn is_kept(value: &str) -> bool {
    match target::parse_url(value) {
        Some(url) => !url.has_user_information && !value.contains('#'),
        None => is_relative(value),
    }
}

/// Path and query characters only, and no colon in the first segment.
fn is_relative(value: &str) -> bool {
    let in_reference =
        |byte: u8| byte.is_ascii_alphanumeric() || b"!$%&'()*+,-./:;=?@_~".contains(&byte);
    let first_segment = value.split('/').next().unwrap_or_default();
    !first_segment.contains(':') && value.bytes().all(in_reference)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    // What Envoy 1.40 did.
    #[rstest]
    #[case("http://x.test/a?b", true)]
    #[case("https://x.test:8443", true)]
    #[case("http://x.test/a#b", false)]
    #[case("http://u@x.test/", false)]
    #[case("/a/b:c?d", true)]
    #[case("a,b", true)]
    #[case("", true)]
    #[case("about:blank", false)]
    #[case("foo://x/", true)]
    #[case("http://x.test/\"", true)]
    #[case("http://x.test/a b", false)]
    #[case("http://x.test:/", false)]
    #[case("http://a,b/", false)]
    #[case("x/http://u@y", true)]
    #[case("?a:b", false)]
    #[case("/ü", false)]
    #[case("a b", false)]
    #[case("a#b", false)]
    #[case("\"", false)]
    fn values(#[case] value: &str, #[case] expected: bool) {
        assert_eq!(is_kept(value), expected);
    }
}
