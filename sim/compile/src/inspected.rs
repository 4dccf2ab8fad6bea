//! What an HTTP inspector takes for HTTP/1.1: a request line with any method and a target that fits it
//! (measured on Envoy 1.40).

use twinmesh_engine::Request;

/// Whether it takes the request's line; the connection manager may refuse it all the same.
pub fn is_http(request: &Request) -> bool {
    let method = request.method.trim_matches([' ', '\t']);
    let target = request.path.trim_matches([' ', '\t']);
    let is_token = !method.is_empty() && method.bytes().all(is_token_byte);
    is_token && fits(target.as_bytes(), method == "CONNECT")
}

fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

fn fits(target: &[u8], connects: bool) -> bool {
    if !target.iter().all(u8::is_ascii_graphic) {
        return false;
    }
    match target.first() {
        // The version is taken for the target then.
        None => connects,
        Some(b'/' | b'*') => true,
        Some(_) if connects => is_authority(target),
        Some(first) => {
            let scheme = target.iter().position(|byte| *byte == b':').unwrap_or(0);
            let (scheme, rest) = target.split_at(scheme);
            let in_scheme = |byte: &u8| byte.is_ascii_alphanumeric() || b"+-.".contains(byte);
            let authority = rest.strip_prefix(b"://");
            first.is_ascii_alphabetic()
                && scheme.iter().all(in_scheme)
                && authority.is_some_and(is_authority)
        }
    }
}

/// Whether what stands before path and query can name a host, perhaps with a user.
fn is_authority(text: &[u8]) -> bool {
    let mut parts = text.split(|byte| b"/?".contains(byte));
    let authority = parts.next().unwrap_or_default();
    let users = authority.iter().filter(|byte| **byte == b'@').count();
    users < 2 && !authority.iter().any(|byte| b"\"#<>\\^`{|}".contains(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    // Measured on Envoy 1.40, by the filter chain that takes `http/1.1`.
    #[test]
    fn lines() {
        for (method, path, expected) in [
            ("GET", "/", true),
            ("options", "/", true),
            (" GET", "/ ", true),
            ("M-SEARCH", "*", true),
            ("PRI", "*", true),
            ("G@T", "/", false),
            ("", "/", false),
            ("GET", "", false),
            ("CONNECT", "", true),
            ("CONNECT", "a:1", true),
            ("CONNECT", "a@b@c", false),
            ("GET", "a:1", false),
            ("GET", "/a b", false),
            ("GET", "/\u{e9}", false),
            ("FOO", "http://a", true),
            ("FOO", "http://", true),
            ("GET", "http://a#x", false),
            ("GET", "1http://a/", false),
            ("GET", "http:/a", false),
        ] {
            let request = serde_json::json!({"id": "r", "method": method, "path": path});
            let request = serde_json::from_value(request).expect("a request");
            assert_eq!(is_http(&request), expected, "{method} {path}");
        }
    }
}
