//! The datapath in a BPF file system: maps, programs and links that outlive the process that made
//! them, in one folder a version.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::{MAPS, Sizes, links};
use crate::Object;

/// What the folder of a version is called besides its id: changes with what agents keep beside
/// the maps.
const FORMAT: u32 = 1;
/// `BPF_FS_MAGIC`.
const FILE_SYSTEM: libc::c_long = 0xcafe_4a11;

/// The pins of one version of the datapath: of an object and of sizes.
#[derive(Debug, Clone)]
pub struct Pins {
    folder: PathBuf,
    root: PathBuf,
    id: String,
}

impl Pins {
    /// The pins of this version under `root`, which is made where it is not there.
    ///
    /// # Errors
    /// It is on no BPF file system: what to do.
    pub fn new(root: &Path, sizes: Sizes) -> Result<Self, String> {
        let failed = |error: io::Error| format!("{}: {error}", root.display());
        let is_mounted = || {
            let there = root.ancestors().find(|folder| folder.is_dir());
            there.is_some_and(is_bpf_file_system)
        };
        if !is_mounted() && root.starts_with(USUAL) {
            // Where nothing else has done it, as on machines without systemd.
            mount(Path::new(USUAL))
                .map_err(|error| format!("mounting a BPF file system at {USUAL}: {error}"))?;
        }
        if !is_mounted() {
            return Err(format!(
                "{} is on no BPF file system: `mount -t bpf bpf {}`",
                root.display(),
                root.parent().unwrap_or(root).display()
            ));
        }
        fs::create_dir_all(root).map_err(failed)?;
        let object = Object::datapath().map_err(|why| why.to_string())?;
        let mut hash = Sha256::new();
        hash.update(object.bytes());
        hash.update(format!("{FORMAT} {sizes:?}"));
        let id: String = hash
            .finalize()
            .iter()
            .take(8)
            .map(|byte| format!("{byte:02x}"))
            .collect();
        Ok(Self {
            folder: root.join(&id),
            root: root.to_owned(),
            id,
        })
    }

    /// The version.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Where the pins of all versions are.
    pub fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn map(&self, name: &str) -> PathBuf {
        self.folder.join(format!("map_{name}"))
    }

    pub(super) fn link(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{LINK}{name}"))
    }

    /// Whether all maps are there.
    pub fn are_whole(&self) -> bool {
        MAPS.iter().all(|name| self.map(name).exists())
    }

    pub(super) fn make_folder(&self) -> io::Result<()> {
        fs::create_dir_all(&self.folder)
    }

    /// Pins a program, in the place of another of its name.
    pub(super) fn pin_program(&self, name: &str, program: BorrowedFd<'_>) -> io::Result<()> {
        let path = self.folder.join(format!("program_{name}"));
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => links::pin(program, &path),
        }
    }

    /// Removes the links: no connection is taken any more.
    ///
    /// # Errors
    /// One cannot be removed.
    pub fn remove_links(&self) -> io::Result<()> {
        remove_links(&self.folder)
    }

    /// Removes everything of this version.
    ///
    /// # Errors
    /// Something cannot be removed.
    pub fn remove(&self) -> io::Result<()> {
        remove_folder(&self.folder)
    }

    /// The folders of other versions.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn others(&self) -> io::Result<Vec<PathBuf>> {
        let mut all = versions(&self.root)?;
        all.retain(|folder| *folder != self.folder);
        Ok(all)
    }
}

/// Where the BPF file system is mounted.
const USUAL: &str = "/sys/fs/bpf";

/// Mounts a BPF file system.
///
/// # Errors
/// The kernel refuses.
pub fn mount(at: &Path) -> io::Result<()> {
    let at = std::ffi::CString::new(at.as_os_str().as_encoded_bytes())?;
    let kind = c"bpf".as_ptr();
    // SAFETY: texts that end in a zero, and no data.
    let done = unsafe { libc::mount(kind, at.as_ptr(), kind, 0, std::ptr::null()) };
    if done == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Begins the names of links.
const LINK: &str = "link_";

fn is_bpf_file_system(folder: &Path) -> bool {
    let Ok(path) = std::ffi::CString::new(folder.as_os_str().as_encoded_bytes()) else {
        return false;
    };
    // SAFETY: any bytes are a value of the structure, which the call fills.
    let mut of: libc::statfs = unsafe { std::mem::zeroed() };
    // SAFETY: a path that ends in a zero, and a structure of the call's own type.
    let done = unsafe { libc::statfs(path.as_ptr(), &raw mut of) };
    done == 0 && of.f_type == FILE_SYSTEM
}

/// The folders of all versions under a root; none where that is not there.
///
/// # Errors
/// It cannot be read.
pub fn versions(root: &Path) -> io::Result<Vec<PathBuf>> {
    let list = match fs::read_dir(root) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        list => list?,
    };
    let mut folders = Vec::new();
    for entry in list {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            folders.push(entry.path());
        }
    }
    folders.sort();
    Ok(folders)
}

/// Whether connections are taken by links under a root.
pub fn has_links(root: &Path) -> bool {
    let folders = versions(root).unwrap_or_default();
    folders.iter().any(|folder| {
        fs::read_dir(folder).is_ok_and(|list| {
            list.flatten()
                .any(|entry| entry.file_name().to_string_lossy().starts_with(LINK))
        })
    })
}

/// Removes the links of a version.
///
/// # Errors
/// One cannot be removed.
pub fn remove_links(folder: &Path) -> io::Result<()> {
    for file in files(folder, |name| name.starts_with(LINK))? {
        let link = links::open(&file)?;
        // One whose cgroup is gone has ended already.
        if let Err(error) = links::detach(link.as_fd())
            && links::cgroup(link.as_fd())? != 0
        {
            return Err(error);
        }
        fs::remove_file(file)?;
    }
    Ok(())
}

/// Removes all of a version: links first, so that nothing is taken that nobody would carry.
///
/// # Errors
/// Something cannot be removed.
pub fn remove_folder(folder: &Path) -> io::Result<()> {
    remove_links(folder)?;
    for file in files(folder, |_| true)? {
        fs::remove_file(file)?;
    }
    match fs::remove_dir(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// What stands in a folder; nothing where that is not there.
fn files(folder: &Path, is_one: impl Fn(&str) -> bool) -> io::Result<Vec<PathBuf>> {
    let list = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        list => list?,
    };
    let mut files = Vec::new();
    for entry in list {
        let entry = entry?;
        if is_one(&entry.file_name().to_string_lossy()) {
            files.push(entry.path());
        }
    }
    Ok(files)
}
