//! The syntax of Envoy's substitution format strings.

/// Where a format string has a `%` that starts no command, as a place in its bytes. Whether Envoy
/// knows the command, and takes what stands in its parentheses, is not looked at.
pub(super) fn fault(format: &str) -> Option<usize> {
    let mut rest = format;
    while let Some(start) = rest.find('%') {
        let at = rest.get(start..)?;
        let length = match at.strip_prefix("%%") {
            Some(_) => Some(2),
            None => command(at),
        };
        match length.and_then(|length| at.get(length..)) {
            Some(after) => rest = after,
            None => return Some(format.len() - at.len()),
        }
    }
    None
}

/// The length of the command that a text starts with: `%NAME%`, `%NAME(parameters)%`, each with
/// `:length` before its end.
fn command(text: &str) -> Option<usize> {
    let name = text.get(1..)?;
    let is_name = |byte: &u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || *byte == b'_';
    let length = name.bytes().take_while(is_name).count();
    if length == 0 {
        return None;
    }
    let after = name.get(length..)?;
    let Some(parameters) = after.strip_prefix('(') else {
        return Some(text.len() - end(after)?.len());
    };
    // Parameters may hold parentheses: they end at the first that ends the command too.
    parameters
        .match_indices(')')
        .find_map(|(index, _)| end(parameters.get(index + 1..)?))
        .map(|after| text.len() - after.len())
}

/// What stands behind the end of a command.
fn end(text: &str) -> Option<&str> {
    if let Some(after) = text.strip_prefix('%') {
        return Some(after);
    }
    let (length, after) = text.strip_prefix(':')?.split_once('%')?;
    let is_number = length.bytes().all(|byte| byte.is_ascii_digit());
    (is_number && length.parse::<u64>().is_ok()).then_some(after)
}

#[cfg(test)]
mod tests {
    use super::fault;

    #[test]
    fn a_percent_sign_starts_a_command_or_stands_twice() {
        for format in [
            "",
            "%%",
            "100%%",
            "x%%%HOSTNAME%",
            "%HOSTNAME%%HOSTNAME%",
            "%REQ(x)%",
            "%REQ(x):3%",
            "%START_TIME(%s)%",
            "%START_TIME(%%s)%",
            "%START_TIME(a)b)%",
            "%START_TIME((ä))%",
            "%START_TIME()%",
            "%DYNAMIC_METADATA([\"a\",\"b\"])%",
        ] {
            assert_eq!(fault(format), None, "{format}");
        }
        for (format, at) in [
            ("%", 0),
            ("100%", 3),
            ("a%b", 1),
            ("%a%", 0),
            ("%Hostname%", 0),
            ("%HOSTNAME %", 0),
            ("%HOST-NAME%", 0),
            ("x%%%", 3),
            ("%PROTOCOL%x%", 11),
            ("%REQ(x)", 0),
            ("%REQ(x)%%", 8),
            ("%REQ(x?y):z%", 0),
            ("%REQ(a)b%", 0),
            ("%REQ(a):%", 0),
            ("%REQ(a):3", 0),
            ("%REQ(a)%c)%", 10),
            ("%REQ(a):99999999999999999999%", 0),
        ] {
            assert_eq!(fault(format), Some(at), "{format}");
        }
    }
}
