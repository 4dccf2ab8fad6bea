//! What the connection manager makes of the path before it routes: escaped slashes, then
//! `normalize_path`, then `merge_slashes` (measured on Envoy 1.40).

use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::{
    HttpConnectionManager, http_connection_manager::PathWithEscapedSlashesAction as Action,
};

/// What became of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Normalized {
    /// The request goes on with it.
    Path(String),
    /// The client is sent to it.
    Redirect(String),
    /// The request is refused.
    Refused,
}

/// The path with its query, which is never touched, as the connection manager leaves it.
pub(crate) fn normalize(manager: &HttpConnectionManager, path: &str) -> Normalized {
    let (path, query) = path.split_at(path.find('?').unwrap_or(path.len()));
    let mut path = path.to_owned();
    let unescaped = unescape_slashes(&path);
    let has_escaped_slashes = unescaped != path;
    let action = Action::try_from(manager.path_with_escaped_slashes_action)
        .unwrap_or(Action::ImplementationSpecificDefault);
    if has_escaped_slashes {
        match action {
            Action::ImplementationSpecificDefault | Action::KeepUnchanged => {}
            Action::RejectRequest => return Normalized::Refused,
            Action::UnescapeAndRedirect | Action::UnescapeAndForward => path = unescaped,
        }
    }
    let normalizes = manager
        .normalize_path
        .as_ref()
        .is_some_and(|normalize_path| normalize_path.value);
    if normalizes {
        match canonical(&path) {
            Some(canonical) => path = canonical,
            None => return Normalized::Refused,
        }
    }
    if manager.merge_slashes {
        path = merge_slashes(&path);
    }
    path.push_str(query);
    if has_escaped_slashes && action == Action::UnescapeAndRedirect {
        Normalized::Redirect(path)
    } else {
        Normalized::Path(path)
    }
}

fn unescape_slashes(path: &str) -> String {
    path.replace("%2F", "/")
        .replace("%2f", "/")
        .replace("%5C", "\\")
        .replace("%5c", "\\")
}

/// The path without needless escapes and without dot segments; `None` where it has an escaped
/// zero byte.
fn canonical(path: &str) -> Option<String> {
    let path = without_parameters_of_dots(path);
    let mut text = String::new();
    // Where a `%` stands that begins no escape.
    let mut bare = Vec::new();
    let mut rest = path.as_str();
    while let Some(character) = rest.chars().next() {
        rest = rest.get(character.len_utf8()..).unwrap_or_default();
        if character != '%' {
            push_escaped(&mut text, character);
            continue;
        }
        match escaped_byte(rest) {
            Some(0) => return None,
            Some(byte) if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) => {
                text.push(char::from(byte));
                rest = rest.get(2..).unwrap_or_default();
            }
            found => {
                if found.is_none() {
                    bare.push(text.len());
                }
                text.push('%');
            }
        }
    }
    // What was decoded may have made it the start of one.
    for at in bare.into_iter().rev() {
        let behind = text.get(at + 1..).unwrap_or_default();
        if escaped_byte(behind).is_some() {
            text.insert_str(at + 1, "25");
        }
    }
    Some(without_dot_segments(&text))
}

/// Segments of one or two dots lose what a semicolon adds to them. A dot that is escaped is none here, nor is
/// `\` a slash.
fn without_parameters_of_dots(path: &str) -> String {
    let segments = path
        .split('/')
        .map(|segment| match segment.split_once(';') {
            Some((dots @ ("." | ".."), _)) => dots,
            _ => segment,
        });
    segments.collect::<Vec<_>>().join("/")
}

/// The byte that the two digits at the start of a text stand for.
fn escaped_byte(text: &str) -> Option<u8> {
    let digits = text.get(..2)?;
    let are_digits = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    are_digits.then(|| u8::from_str_radix(digits, 16).ok())?
}

/// Appends a character of a path: `\` as the slash that it stands for, some others escaped.
fn push_escaped(text: &mut String, character: char) {
    match character {
        '\\' => text.push('/'),
        '"' | '<' | '>' | '^' | '`' | '{' | '|' | '}' => {
            text.push_str(&format!("%{:02X}", u32::from(character)));
        }
        _ => text.push(character),
    }
}

/// An empty segment is one that `..` takes away, too.
fn without_dot_segments(path: &str) -> String {
    let segments: Vec<&str> = path.split('/').skip(1).collect();
    let mut kept: Vec<&str> = Vec::new();
    let last = segments.len().saturating_sub(1);
    for (index, segment) in segments.into_iter().enumerate() {
        match segment {
            "." | ".." => {
                if segment == ".." {
                    kept.pop();
                }
                if index == last {
                    kept.push("");
                }
            }
            _ => kept.push(segment),
        }
    }
    format!("/{}", kept.join("/"))
}

/// The slashes at both ends stay, each as one: `//` has two ends.
fn merge_slashes(path: &str) -> String {
    if !path.contains("//") {
        return path.to_owned();
    }
    let segments: Vec<&str> = path
        .split('/')
        .filter(|segment| !segment.is_empty())
        .collect();
    let end = if path.ends_with('/') { "/" } else { "" };
    format!("/{}{end}", segments.join("/"))
}

#[cfg(test)]
mod tests {
    use envoy_types::pb::google::protobuf::BoolValue;
    use rstest::rstest;

    use super::*;

    fn manager(normalize: bool, merge: bool, action: Action) -> HttpConnectionManager {
        HttpConnectionManager {
            normalize_path: Some(BoolValue { value: normalize }),
            merge_slashes: merge,
            path_with_escaped_slashes_action: action as i32,
            ..HttpConnectionManager::default()
        }
    }

    // What Envoy 1.40 sent.
    #[rstest]
    #[case("/a/./b", "/a/b")]
    #[case("/a/c/../b", "/a/b")]
    #[case("/..", "/")]
    #[case("/a/b/..", "/a/")]
    #[case("/a/b/.", "/a/b/")]
    #[case("/a/..", "/")]
    #[case("/a//../b", "/a/b")]
    #[case("/a/.//b", "/a//b")]
    #[case("/a\\..\\b", "/b")]
    #[case("/a%62b", "/abb")]
    #[case("/a/%2e/b", "/a/b")]
    #[case("/a/%2E./b", "/b")]
    #[case("/a%2f%2e%2e%2fb", "/a%2f..%2fb")]
    #[case("/a%7e%2d%5f%2e", "/a~-_.")]
    #[case("/a\"<>{}|^`[]'b", "/a%22%3C%3E%7B%7D%7C%5E%60[]'b")]
    #[case("/a%", "/a%")]
    #[case("/%0%41", "/%250A")]
    #[case("/%%341", "/%2541")]
    #[case("/%%34%31", "/%2541")]
    #[case("/%%%41%41", "/%%25AA")]
    #[case("/%2%65%2%65;/b", "/%252e%252e;/b")]
    #[case("/a/%2e%2%65/b", "/a/.%252e/b")]
    #[case("/%%34", "/%4")]
    #[case("/a/..;/b", "/b")]
    #[case("/a/.;x", "/a/")]
    #[case("/a;x/..;y/b", "/b")]
    #[case("/a//..;/b", "/a/b")]
    #[case("/a/..;%2f/b", "/b")]
    #[case("/a/%2E.;/b", "/a/..;/b")]
    #[case("/a\\..;\\b", "/a/..;/b")]
    #[case("/a/..;\\..\\b", "/")]
    #[case("/a/...;/b", "/a/...;/b")]
    #[case("/a%2", "/a%2")]
    #[case("/a%zz", "/a%zz")]
    #[case("/a%2500b%25%2b", "/a%2500b%25%2b")]
    #[case("/a/.../..b/b..", "/a/.../..b/b..")]
    #[case("/a/./b?x/./y%61", "/a/b?x/./y%61")]
    fn normalize_path(#[case] path: &str, #[case] expected: &str) {
        let on = manager(true, false, Action::KeepUnchanged);
        assert_eq!(normalize(&on, path), Normalized::Path(expected.to_owned()));
        let off = manager(false, false, Action::KeepUnchanged);
        assert_eq!(normalize(&off, path), Normalized::Path(path.to_owned()));
        let unset = HttpConnectionManager::default();
        assert_eq!(normalize(&unset, path), Normalized::Path(path.to_owned()));
    }

    #[rstest]
    #[case("/a//b", "/a/b")]
    #[case("//a/b", "/a/b")]
    #[case("/a/b//", "/a/b/")]
    #[case("//", "//")]
    #[case("///", "//")]
    #[case("/a//../b", "/a/../b")]
    #[case("/a?b//c", "/a?b//c")]
    fn merged(#[case] path: &str, #[case] expected: &str) {
        let on = manager(false, true, Action::KeepUnchanged);
        assert_eq!(normalize(&on, path), Normalized::Path(expected.to_owned()));
    }

    #[rstest]
    #[case("/a%2Fb", "/a/b", "/a/b")]
    #[case("/a%5cb", "/a\\b", "/a/b")]
    #[case("/a%2F..%2Fadmin?q", "/a/../admin?q", "/admin?q")]
    #[case("/a/%2Fb", "/a//b", "/a//b")]
    fn escaped_slashes(#[case] path: &str, #[case] alone: &str, #[case] normalized: &str) {
        for (normalize_path, expected) in [(false, alone), (true, normalized)] {
            let with = |action| normalize(&manager(normalize_path, false, action), path);
            assert_eq!(with(Action::RejectRequest), Normalized::Refused);
            let expected = expected.to_owned();
            assert_eq!(
                with(Action::UnescapeAndRedirect),
                Normalized::Redirect(expected.clone())
            );
            assert_eq!(with(Action::UnescapeAndForward), Normalized::Path(expected));
        }
    }

    #[rstest]
    #[case(Action::RejectRequest)]
    #[case(Action::UnescapeAndRedirect)]
    #[case(Action::UnescapeAndForward)]
    fn what_has_no_escaped_slash_goes_on(#[case] action: Action) {
        let path = "/a%2Eb?%2F";
        let found = normalize(&manager(false, false, action), path);
        assert_eq!(found, Normalized::Path(path.to_owned()));
    }

    #[test]
    fn an_escaped_zero_byte_is_refused_where_paths_are_normalized() {
        let on = manager(true, false, Action::KeepUnchanged);
        assert_eq!(normalize(&on, "/a%00b"), Normalized::Refused);
        let off = manager(false, true, Action::KeepUnchanged);
        assert_eq!(
            normalize(&off, "/a%00b"),
            Normalized::Path("/a%00b".to_owned())
        );
    }
}
