//! Format strings in the values of headers that routes add, as far as a route table alone can tell
//! what they come to.

use super::{Known, Lines, Undecided};

/// What a format may ask for.
pub(super) struct Context<'a> {
    /// The request.
    pub(super) request: &'a Lines,
    /// The response, where there is one.
    pub(super) response: Option<&'a Lines>,
}

/// The value of a format. A command that has nothing to say leaves nothing.
///
/// # Errors
/// It has a command whose value a route table cannot tell.
pub(super) fn value(format: &str, context: &Context<'_>) -> Known<String> {
    let mut value = String::new();
    let mut rest = format;
    while let Some((text, after)) = rest.split_once('%') {
        value.push_str(text);
        if let Some(after) = after.strip_prefix('%') {
            value.push('%');
            rest = after;
            continue;
        }
        let Some((command, after)) = split_command(after) else {
            return Err(Undecided::new(format!(
                "the format {format:?} has a % without an end"
            )));
        };
        value.push_str(&evaluate(command, context)?);
        rest = after;
    }
    value.push_str(rest);
    Ok(value)
}

/// A command up to its closing percent sign, which stands outside of parentheses.
fn split_command(text: &str) -> Option<(&str, &str)> {
    let mut depth = 0_usize;
    for (at, character) in text.char_indices() {
        match character {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            '%' if depth == 0 => return Some((text.get(..at)?, text.get(at + 1..)?)),
            _ => {}
        }
    }
    None
}

fn evaluate(command: &str, context: &Context<'_>) -> Known<String> {
    let unknown = || {
        Undecided::new(format!(
            "a route table cannot tell what %{command}% comes to"
        ))
    };
    // The tool's connection comes from the loopback address, at port 0.
    let fixed = match command {
        "PROTOCOL" => Some("HTTP/1.1"),
        "DOWNSTREAM_REMOTE_ADDRESS" | "DOWNSTREAM_DIRECT_REMOTE_ADDRESS" => Some("127.0.0.1:0"),
        "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT"
        | "DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT" => Some("127.0.0.1"),
        "DOWNSTREAM_REMOTE_PORT" | "DOWNSTREAM_DIRECT_REMOTE_PORT" => Some("0"),
        _ => None,
    };
    if let Some(fixed) = fixed {
        return Ok(fixed.to_owned());
    }
    let (name, arguments) = command.split_once('(').ok_or_else(unknown)?;
    let (names, length) = arguments.rsplit_once(')').ok_or_else(unknown)?;
    let lines = match (name, context.response) {
        ("REQ", _) => context.request,
        ("RESP", Some(response)) => response,
        _ => return Err(unknown()),
    };
    let length: Option<usize> = match length.strip_prefix(':') {
        Some(length) => Some(length.parse().map_err(|_| unknown())?),
        None if length.is_empty() => None,
        None => return Err(unknown()),
    };
    let mut found = None;
    for name in names.splitn(2, '?') {
        found = lines.first(name)?;
        if found.is_some() {
            break;
        }
    }
    let mut value = found.unwrap_or_default();
    if let Some(length) = length
        && value.len() > length
    {
        if !value.is_char_boundary(length) {
            return Err(Undecided::new(format!(
                "%{command}% cuts a character in two"
            )));
        }
        value.truncate(length);
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    // What Envoy 1.40 sent, the addresses aside, which are the tool's.
    #[rstest]
    #[case("plain", Some("plain"))]
    #[case("100%%", Some("100%"))]
    #[case("%REQ(x-a)%", Some("alpha"))]
    #[case("%REQ(X-A)%", Some("alpha"))]
    #[case("%REQ(nope)%", Some(""))]
    #[case("a-%REQ(nope)%-b", Some("a--b"))]
    #[case("%REQ(nope?x-a)%", Some("alpha"))]
    #[case("%REQ(x-a):2%", Some("al"))]
    #[case("%REQ(x-two)%", Some("t1"))]
    #[case("%REQ(:PATH)%", Some("/p"))]
    #[case("%PROTOCOL%", Some("HTTP/1.1"))]
    #[case("%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%", Some("127.0.0.1"))]
    #[case("%RESP(x-a)%", None)]
    #[case("%START_TIME(%s)%", None)]
    #[case("%UPSTREAM_HOST%", None)]
    #[case("%REQ(x-a):x%", None)]
    #[case("%REQ(x-u):1%", None)]
    #[case("%REQ", None)]
    fn values(#[case] format: &str, #[case] expected: Option<&str>) {
        let request = Lines::new(&[
            (":path".to_owned(), "/p".to_owned()),
            ("x-a".to_owned(), "alpha".to_owned()),
            ("x-two".to_owned(), "t1".to_owned()),
            ("x-two".to_owned(), "t2".to_owned()),
            ("x-u".to_owned(), "ü".to_owned()),
        ]);
        let context = Context {
            request: &request,
            response: None,
        };
        assert_eq!(value(format, &context).ok().as_deref(), expected);
    }
}
