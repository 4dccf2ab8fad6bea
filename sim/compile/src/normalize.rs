//! The path as a connection manager leaves it, in one pass over its bytes.

use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::{
    HttpConnectionManager, http_connection_manager::PathWithEscapedSlashesAction as Action,
};

/// What a connection manager does with a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Normal {
    /// Goes on with this one.
    Path(String),
    /// Sends the client to this one.
    Redirect(String),
    /// Refuses it.
    Refused,
}

/// Applies `path_with_escaped_slashes_action`, `normalize_path` and `merge_slashes` to a path with
/// its query.
pub fn normalize(manager: &HttpConnectionManager, target: &str) -> Normal {
    let (path, query) = match target.find('?') {
        Some(at) => target.split_at(at),
        None => (target, ""),
    };
    let action = Action::try_from(manager.path_with_escaped_slashes_action);
    let keeps = matches!(
        action,
        Ok(Action::KeepUnchanged | Action::ImplementationSpecificDefault) | Err(_)
    );
    let (mut bytes, unescaped) = if keeps {
        (path.as_bytes().to_vec(), false)
    } else {
        unescape_slashes(path.as_bytes())
    };
    if unescaped && action == Ok(Action::RejectRequest) {
        return Normal::Refused;
    }
    if manager
        .normalize_path
        .as_ref()
        .is_some_and(|value| value.value)
    {
        match resolve(&bytes) {
            Some(resolved) => bytes = resolved,
            None => return Normal::Refused,
        }
    }
    if manager.merge_slashes {
        merge_slashes(&mut bytes);
    }
    bytes.extend_from_slice(query.as_bytes());
    let path = String::from_utf8_lossy(&bytes).into_owned();
    if unescaped && action == Ok(Action::UnescapeAndRedirect) {
        Normal::Redirect(path)
    } else {
        Normal::Path(path)
    }
}

/// The byte that an escape at the start of `bytes` stands for.
fn escape(bytes: &[u8]) -> Option<u8> {
    let [b'%', high, low, ..] = bytes else {
        return None;
    };
    let digit = |byte: u8| char::from(byte).to_digit(16);
    u8::try_from(digit(*high)? << 4 | digit(*low)?).ok()
}

/// With the escaped slashes and backslashes as such; whether there were any.
fn unescape_slashes(path: &[u8]) -> (Vec<u8>, bool) {
    let mut text = Vec::with_capacity(path.len());
    let mut at = 0;
    let mut some = false;
    while let Some(&byte) = path.get(at) {
        match escape(path.get(at..).unwrap_or_default()) {
            Some(slash @ (b'/' | b'\\')) => {
                text.push(slash);
                some = true;
                at += 3;
            }
            _ => {
                text.push(byte);
                at += 1;
            }
        }
    }
    (text, some)
}

/// The length of the dot at the start of `bytes`, escaped or not; 0 where there is none.
fn dot(bytes: &[u8]) -> usize {
    match (bytes.first(), escape(bytes)) {
        (Some(b'.'), _) => 1,
        (_, Some(b'.')) => 3,
        _ => 0,
    }
}

/// How far the slash at the start of `bytes` goes, or the end; `None` where something else stands
/// there.
fn boundary(bytes: &[u8]) -> Option<usize> {
    match bytes.first() {
        None => Some(0),
        Some(b'/' | b'\\') => Some(1),
        Some(_) => None,
    }
}

/// Resolves dot segments and needless escapes, escapes what needs it; `None` where a zero byte
/// is escaped.
fn resolve(path: &[u8]) -> Option<Vec<u8>> {
    let mut text: Vec<u8> = Vec::with_capacity(path.len());
    let mut at = 0;
    // The last `%` in the text that begins no escape.
    let mut bare = None;
    while let Some(&byte) = path.get(at) {
        let rest = path.get(at..).unwrap_or_default();
        if at > 0 && path.get(at - 1) == Some(&b'/') {
            let (up_too, length) = dots_with_parameters(rest);
            if length != 0 {
                if up_too {
                    up(&mut text);
                }
                bare = None;
                at += length;
                continue;
            }
        }
        let after = |length: usize| rest.get(length..).unwrap_or_default();
        let first = dot(rest);
        if first != 0 && text.last() == Some(&b'/') {
            if let Some(slash) = boundary(after(first)) {
                at += first + slash;
                continue;
            }
            let both = first + dot(after(first));
            if both != first
                && let Some(slash) = boundary(after(both))
            {
                up(&mut text);
                bare = None;
                at += both + slash;
                continue;
            }
        }
        at += match (byte, escape(rest)) {
            (_, Some(0)) => return None,
            (_, Some(plain)) if is_unreserved(plain) => {
                text.push(plain);
                separate(&mut text, bare, after(3));
                3
            }
            (b'\\', _) => {
                text.push(b'/');
                1
            }
            (b'"' | b'<' | b'>' | b'^' | b'`' | b'{' | b'|' | b'}', _) => {
                text.extend_from_slice(format!("%{byte:02X}").as_bytes());
                1
            }
            (_, escape) => {
                if byte == b'%' && escape.is_none() {
                    bare = Some(text.len());
                }
                text.push(byte);
                1
            }
        };
    }
    Some(text)
}

/// Whether the segment that begins here is two dots, and the length up to the next segment, where it is one or
/// two dots and parameters behind a semicolon; else 0. Escaped dots and backslashes do not count.
fn dots_with_parameters(bytes: &[u8]) -> (bool, usize) {
    let up_too = bytes.starts_with(b"..;");
    if !up_too && !bytes.starts_with(b".;") {
        return (false, 0);
    }
    let slash = bytes.iter().position(|byte| *byte == b'/');
    (up_too, slash.map_or(bytes.len(), |slash| slash + 1))
}

/// Escapes the bare `%` at this place where the byte that was just decoded makes an escape of it, by itself
/// or with the one that follows.
fn separate(text: &mut Vec<u8>, bare: Option<usize>, follows: &[u8]) {
    let Some(at) = bare else {
        return;
    };
    let is_digit = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_hexdigit);
    let second = match text.len() - at {
        2 => follows.first(),
        3 => text.get(at + 2),
        _ => return,
    };
    if is_digit(text.get(at + 1)) && is_digit(second) {
        text.splice(at + 1..at + 1, *b"25");
    }
}

const fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// Takes the last segment off a path that ends in a slash; the first slash stays.
fn up(text: &mut Vec<u8>) {
    if text.len() > 1 {
        text.pop();
        while text.len() > 1 && text.last() != Some(&b'/') {
            text.pop();
        }
    }
}

/// One slash for each run of them, but for a path that is nothing else: that keeps two.
fn merge_slashes(path: &mut Vec<u8>) {
    let only_slashes = path.len() > 1 && path.iter().all(|byte| *byte == b'/');
    path.dedup_by(|next, before| *next == b'/' && *before == b'/');
    if only_slashes {
        path.push(b'/');
    }
}

#[cfg(test)]
mod tests {
    use envoy_types::pb::google::protobuf::BoolValue;

    use super::*;

    fn manager(normalize: bool, merge: bool, action: Action) -> HttpConnectionManager {
        HttpConnectionManager {
            normalize_path: Some(BoolValue { value: normalize }),
            merge_slashes: merge,
            path_with_escaped_slashes_action: action as i32,
            ..HttpConnectionManager::default()
        }
    }

    /// A path, and what Envoy 1.40 sends with `normalize_path`, with `merge_slashes`, and with
    /// both and `UNESCAPE_AND_FORWARD`.
    const RECORDED: &[(&str, &str, &str, &str)] = &[
        ("/a/../../b", "/b", "/a/../../b", "/b"),
        ("/a/b/..", "/a/", "/a/b/..", "/a/"),
        ("/a//../b", "/a/b", "/a/../b", "/a/b"),
        ("/a/.//b", "/a//b", "/a/./b", "/a/b"),
        ("///", "///", "//", "//"),
        ("//", "//", "//", "//"),
        ("/a/b//", "/a/b//", "/a/b/", "/a/b/"),
        ("/a%2F%2Fb", "/a%2F%2Fb", "/a%2F%2Fb", "/a/b"),
        ("/a%5C..%5cb", "/a%5C..%5cb", "/a%5C..%5cb", "/b"),
        ("/a%2f%2e%2e%2fb", "/a%2f..%2fb", "/a%2f%2e%2e%2fb", "/b"),
        ("/a%62%7E%3f\"", "/ab~%3f%22", "/a%62%7E%3f\"", "/ab~%3f%22"),
        ("/%0%41", "/%250A", "/%0%41", "/%250A"),
        ("/%%34%31", "/%2541", "/%%34%31", "/%2541"),
        ("/%%341", "/%2541", "/%%341", "/%2541"),
        ("/%%%41%41", "/%%25AA", "/%%%41%41", "/%%25AA"),
        ("/a/..;%2f/b", "/b", "/a/..;%2f/b", "/b"),
        ("/a/.;x", "/a/", "/a/.;x", "/a/"),
        ("/a/..;\\..\\b", "/", "/a/..;\\..\\b", "/"),
        (
            "/a%?b/../%61",
            "/a%?b/../%61",
            "/a%?b/../%61",
            "/a%?b/../%61",
        ),
    ];

    #[test]
    fn paths_become_what_envoy_makes_of_them() {
        for (path, normalized, merged, all) in RECORDED {
            for (manager, expected) in [
                (manager(true, false, Action::KeepUnchanged), normalized),
                (manager(false, true, Action::KeepUnchanged), merged),
                (manager(true, true, Action::UnescapeAndForward), all),
            ] {
                let found = normalize(&manager, path);
                assert_eq!(found, Normal::Path((*expected).to_owned()), "{path}");
            }
        }
    }

    #[test]
    fn escaped_slashes_and_zero_bytes_may_end_a_request() {
        let reject = manager(true, true, Action::RejectRequest);
        assert_eq!(normalize(&reject, "/a%2Fb"), Normal::Refused);
        assert_eq!(normalize(&reject, "/a%00"), Normal::Refused);
        let redirect = manager(true, true, Action::UnescapeAndRedirect);
        let to = Normal::Redirect("/a/b?%2F".to_owned());
        assert_eq!(normalize(&redirect, "/a%2F/b?%2F"), to);
        assert_eq!(
            normalize(&redirect, "/a?%2F"),
            Normal::Path("/a?%2F".to_owned())
        );
    }
}
