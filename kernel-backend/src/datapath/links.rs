//! Links between programs and cgroups, by bpf(2) itself: links of every program type can be pinned
//! this way, found again, and be given another program without a moment in which there is none.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Commands of bpf(2).
mod command {
    pub const OBJ_PIN: libc::c_long = 6;
    pub const OBJ_GET: libc::c_long = 7;
    pub const OBJ_GET_INFO_BY_FD: libc::c_long = 15;
    pub const LINK_CREATE: libc::c_long = 28;
    pub const LINK_UPDATE: libc::c_long = 29;
    pub const LINK_DETACH: libc::c_long = 34;
}

/// `bpf_attr` of `BPF_OBJ_PIN` and `BPF_OBJ_GET`.
#[repr(C)]
struct Object {
    path: u64,
    fd: u32,
    flags: u32,
}

/// `bpf_attr` of `BPF_OBJ_GET_INFO_BY_FD`.
#[repr(C)]
struct Info {
    fd: u32,
    length: u32,
    info: u64,
}

/// `bpf_link_info` of a link to a cgroup.
#[repr(C)]
#[derive(Default)]
struct LinkInfo {
    kind: u32,
    id: u32,
    program: u32,
    cgroup: u64,
    attach_type: u32,
}

/// `bpf_attr` of `BPF_LINK_CREATE`: program, cgroup, attach type, flags. Of `BPF_LINK_UPDATE`: link,
/// program, flags, program before.
type Words = [u32; 4];

fn call<Attributes>(command: libc::c_long, attributes: &Attributes) -> io::Result<i32> {
    // SAFETY: the kernel reads as many bytes as are said, and what they point to lives as long as
    // the call.
    let done = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            std::ptr::from_ref(attributes),
            size_of::<Attributes>(),
        )
    };
    match i32::try_from(done) {
        Ok(done) if done >= 0 => Ok(done),
        _ => Err(io::Error::last_os_error()),
    }
}

fn descriptor(number: i32) -> OwnedFd {
    // SAFETY: the kernel has just made it, for this caller.
    unsafe { OwnedFd::from_raw_fd(number) }
}

fn number(fd: BorrowedFd<'_>) -> u32 {
    fd.as_raw_fd() as u32
}

fn path_of(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(io::Error::other)
}

/// Attaches a program to a cgroup.
///
/// # Errors
/// The kernel refuses.
pub fn create(
    program: BorrowedFd<'_>,
    cgroup: BorrowedFd<'_>,
    attach_type: u32,
) -> io::Result<OwnedFd> {
    let words: Words = [number(program), number(cgroup), attach_type, 0];
    call(command::LINK_CREATE, &words).map(descriptor)
}

/// Puts another program in the place of a link's.
///
/// # Errors
/// The kernel refuses.
pub fn update(link: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    let words: Words = [number(link), number(program), 0, 0];
    call(command::LINK_UPDATE, &words).map(|_| ())
}

/// Ends a link: its program does not run any more when this returns, whoever still holds the link. The
/// end that a link finds when its last holder goes comes later, when the kernel has time for it.
///
/// # Errors
/// The kernel refuses.
pub fn detach(link: BorrowedFd<'_>) -> io::Result<()> {
    let words: Words = [number(link), 0, 0, 0];
    call(command::LINK_DETACH, &words).map(|_| ())
}

/// The id of the cgroup that a link is to, which is the inode number of its folder; 0 where the
/// cgroup is gone.
///
/// # Errors
/// The kernel does not say.
pub fn cgroup(link: BorrowedFd<'_>) -> io::Result<u64> {
    let info = LinkInfo::default();
    let attributes = Info {
        fd: number(link),
        length: size_of::<LinkInfo>() as u32,
        info: &raw const info as u64,
    };
    call(command::OBJ_GET_INFO_BY_FD, &attributes)?;
    // SAFETY: the kernel has written into the structure, which the compiler cannot know.
    Ok(unsafe { (&raw const info.cgroup).read_volatile() })
}

/// Pins an object.
///
/// # Errors
/// The path is on no BPF file system, or something is there already.
pub fn pin(object: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    let path = path_of(path)?;
    let attributes = Object {
        path: path.as_ptr() as u64,
        fd: number(object),
        flags: 0,
    };
    call(command::OBJ_PIN, &attributes).map(|_| ())
}

/// Opens what is pinned.
///
/// # Errors
/// Nothing is.
pub fn open(path: &Path) -> io::Result<OwnedFd> {
    let path = path_of(path)?;
    let attributes = Object {
        path: path.as_ptr() as u64,
        fd: 0,
        flags: 0,
    };
    call(command::OBJ_GET, &attributes).map(descriptor)
}
