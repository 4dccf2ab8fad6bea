//! Where this machine's cgroups are.

use std::path::{Path, PathBuf};

/// The root of the cgroup v2 tree.
///
/// # Errors
/// None is mounted; what to do about it.
pub fn root() -> Result<PathBuf, String> {
    let mounts = std::fs::read_to_string("/proc/self/mounts")
        .map_err(|error| format!("/proc/self/mounts: {error}"))?;
    let found = mounts.lines().find_map(|line| {
        let mut fields = line.split(' ');
        let path = fields.nth(1)?;
        (fields.next()? == "cgroup2").then(|| Path::new(path).to_owned())
    });
    found.ok_or_else(|| {
        "no cgroup2 file system is mounted (cgroup v1 only?): `mount -t cgroup2 none /sys/fs/cgroup/unified`"
            .to_owned()
    })
}

/// The cgroup that this process is in.
///
/// # Errors
/// As [`root`].
pub fn own() -> Result<PathBuf, String> {
    let root = root()?;
    let own = std::fs::read_to_string("/proc/self/cgroup")
        .map_err(|error| format!("/proc/self/cgroup: {error}"))?;
    let own = own.lines().find_map(|line| line.strip_prefix("0::/"));
    Ok(root.join(own.unwrap_or_default()))
}
