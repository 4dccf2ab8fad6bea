//! What the connection manager would make of the path before it routes.
//!
//! A path that it would leave as it is is decided; one that it would change, refuse or redirect is
//! not.

use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::{
    HttpConnectionManager, http_connection_manager::PathWithEscapedSlashesAction,
};

/// Why the path (with its query, which is never touched) is not decided; `None` where it is.
pub(crate) fn undecided(manager: &HttpConnectionManager, path: &str) -> Option<&'static str> {
    let path = path.split('?').next().unwrap_or_default();
    let action = manager.path_with_escaped_slashes_action;
    let keeps_escaped_slashes = action == PathWithEscapedSlashesAction::KeepUnchanged as i32
        || action == PathWithEscapedSlashesAction::ImplementationSpecificDefault as i32;
    if !keeps_escaped_slashes && has_escaped_slash(path) {
        return Some(
            "path_with_escaped_slashes_action would act on its path, which is not decided",
        );
    }
    let normalizes = manager
        .normalize_path
        .as_ref()
        .is_some_and(|normalize_path| normalize_path.value);
    if normalizes && normalization_changes(path) {
        return Some("normalize_path would change its path, which is not decided");
    }
    if manager.merge_slashes && path.contains("//") {
        return Some("merge_slashes would change its path, which is not decided");
    }
    None
}

fn has_escaped_slash(path: &str) -> bool {
    let path = path.to_ascii_lowercase();
    path.contains("%2f") || path.contains("%5c")
}

/// Envoy resolves dot segments, turns `\` into `/`, decodes some escapes and escapes the bytes
/// listed here (measured on 1.40). A path with any escape counts as changed.
fn normalization_changes(path: &str) -> bool {
    path.contains(['%', '\\', '"', '<', '>', '^', '`', '{', '|', '}'])
        || path
            .split('/')
            .any(|segment| segment == "." || segment == "..")
}

#[cfg(test)]
mod tests {
    use envoy_types::pb::google::protobuf::BoolValue;
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("/a/b", true)]
    #[case("/", true)]
    #[case("/a//b", true)]
    #[case("/a/", true)]
    #[case("/.a", true)]
    #[case("/a.", true)]
    #[case("/...", true)]
    #[case("/a..b/c", true)]
    #[case("/a;b=1", true)]
    #[case("/a?x=/../b%2e\\", true)]
    #[case("/~!$&'()*+,:=@_-[]", true)]
    #[case("/.", false)]
    #[case("/..", false)]
    #[case("/a/./b", false)]
    #[case("/a/..", false)]
    #[case("/a%65", false)]
    #[case("/a\\b", false)]
    #[case("/a\"b", false)]
    #[case("/a<b", false)]
    #[case("/a>b", false)]
    #[case("/a^b", false)]
    #[case("/a`b", false)]
    #[case("/a{b", false)]
    #[case("/a|b", false)]
    #[case("/a}b", false)]
    fn normalize_path(#[case] path: &str, #[case] is_decided: bool) {
        let manager = HttpConnectionManager {
            normalize_path: Some(BoolValue { value: true }),
            ..HttpConnectionManager::default()
        };
        assert_eq!(undecided(&manager, path).is_none(), is_decided);
        let off = HttpConnectionManager {
            normalize_path: Some(BoolValue { value: false }),
            ..HttpConnectionManager::default()
        };
        assert_eq!(undecided(&off, path), None);
        assert_eq!(undecided(&HttpConnectionManager::default(), path), None);
    }

    #[rstest]
    #[case("/a/b", true)]
    #[case("/a//b", false)]
    #[case("//", false)]
    #[case("/a//", false)]
    #[case("/a?//", true)]
    #[case("/a/./b%65", true)]
    fn merge_slashes(#[case] path: &str, #[case] is_decided: bool) {
        let manager = HttpConnectionManager {
            merge_slashes: true,
            ..HttpConnectionManager::default()
        };
        assert_eq!(undecided(&manager, path).is_none(), is_decided);
    }

    #[rstest]
    #[case("/a%2Fb", false)]
    #[case("/a%2fb", false)]
    #[case("/a%5Cb", false)]
    #[case("/a%5cb", false)]
    #[case("/a%2Eb", true)]
    #[case("/a?%2F", true)]
    fn escaped_slashes(#[case] path: &str, #[case] is_decided: bool) {
        use PathWithEscapedSlashesAction as Action;
        for (action, acts) in [
            (Action::ImplementationSpecificDefault, false),
            (Action::KeepUnchanged, false),
            (Action::RejectRequest, true),
            (Action::UnescapeAndRedirect, true),
            (Action::UnescapeAndForward, true),
        ] {
            let manager = HttpConnectionManager {
                path_with_escaped_slashes_action: action as i32,
                ..HttpConnectionManager::default()
            };
            assert_eq!(undecided(&manager, path).is_none(), is_decided || !acts);
        }
    }
}
