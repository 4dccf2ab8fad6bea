//! A cgroup that a test makes, and programs of a test's own in it.

use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use twinmesh_kernel_backend::datapath::cgroup;

/// Dropped, it is removed, once the processes in it have ended.
pub struct Cgroup {
    pub path: PathBuf,
}

impl Cgroup {
    /// Below the cgroup v2 root.
    pub fn new() -> Self {
        Self::below(&cgroup::root().expect("cgroup2 is mounted"))
    }

    /// Whose processes have so many bytes of memory, by whichever version has the controller.
    pub fn with_memory(bytes: u64) -> Self {
        let mounts = std::fs::read_to_string("/proc/self/mounts").expect("it is readable");
        let v1 = mounts.lines().find_map(|line| {
            let mut fields = line.split(' ').skip(1);
            let (path, kind, options) = (fields.next()?, fields.next()?, fields.next()?);
            let has = kind == "cgroup" && options.split(',').any(|option| option == "memory");
            has.then(|| PathBuf::from(path))
        });
        let (cgroup, limit) = match v1 {
            Some(root) => (Self::below(&root), "memory.limit_in_bytes"),
            None => {
                let root = cgroup::root().expect("cgroup2 is mounted");
                let given = std::fs::write(root.join("cgroup.subtree_control"), "+memory");
                given.expect("the memory controller");
                (Self::below(&root), "memory.max")
            }
        };
        let limited = std::fs::write(cgroup.path.join(limit), bytes.to_string());
        limited.unwrap_or_else(|error| panic!("{limit}: {error}"));
        cgroup
    }

    fn below(root: &Path) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::SeqCst);
        let path = root.join(format!("twinmesh-test-{}-{number}", std::process::id()));
        let made = std::fs::create_dir(&path);
        made.unwrap_or_else(|error| panic!("{} (it takes root): {error}", path.display()));
        Self { path }
    }

    pub fn path(&self) -> &str {
        self.path.to_str().expect("text")
    }

    /// A command that executes its arguments in the cgroup.
    pub fn enter(&self) -> [&str; 4] {
        let script = r#"echo $$ > "$0/cgroup.procs" && exec "$@""#;
        ["sh", "-c", script, self.path()]
    }

    /// IPv4 connections of its processes to a port are refused with EPERM, while this is kept.
    pub fn deny(&self, port: u16) -> OwnedFd {
        let program = load(&[
            // r6 = context->user_port, in network order
            instruction(0x61, 6, 1, 24, 0),
            instruction(0xb7, 0, 0, 0, 1),
            // Another port: over the next.
            instruction(0x55, 6, 0, 1, i32::from(port.to_be())),
            instruction(0xb7, 0, 0, 0, 0),
            instruction(0x95, 0, 0, 0, 0),
        ]);
        let program = program.unwrap_or_else(|error| panic!("the test's own program: {error}"));
        let link = attach(&program, &self.path);
        link.unwrap_or_else(|error| panic!("to {}: {error}", self.path.display()))
    }

    /// The processes in it.
    pub fn processes(&self) -> String {
        let processes = std::fs::read_to_string(self.path.join("cgroup.procs"));
        processes.expect("the cgroup is there")
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // What a failed test has left behind.
        let _ = std::fs::write(self.path.join("cgroup.kill"), "1");
        for _ in 0..500 {
            match std::fs::remove_dir(&self.path) {
                Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
                    std::thread::sleep(Duration::from_millis(10));
                }
                _ => break,
            }
        }
        if self.path.exists() && !std::thread::panicking() {
            panic!("{} stays", self.path.display());
        }
    }
}

const CONNECT_PROGRAM: u32 = 18;
const INET4_CONNECT: u32 = 10;
const LOAD: i64 = 5;
const CREATE_LINK: i64 = 28;

fn instruction(code: u8, to: u8, from: u8, offset: i16, immediate: i32) -> u64 {
    u64::from(code)
        | u64::from(from << 4 | to) << 8
        | u64::from(offset as u16) << 16
        | u64::from(immediate as u32) << 32
}

fn put(attributes: &mut [u8; 128], at: usize, bytes: &[u8]) {
    attributes[at..at + bytes.len()].copy_from_slice(bytes);
}

fn bpf(command: i64, attributes: &[u8; 128]) -> io::Result<OwnedFd> {
    // SAFETY: the attributes are as long as is said; what they point to outlives the call.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            attributes.as_ptr(),
            attributes.len(),
        )
    };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is new, and nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

fn load(program: &[u64]) -> io::Result<OwnedFd> {
    let mut attributes = [0; 128];
    put(&mut attributes, 0, &CONNECT_PROGRAM.to_ne_bytes());
    put(&mut attributes, 4, &(program.len() as u32).to_ne_bytes());
    put(&mut attributes, 8, &(program.as_ptr() as u64).to_ne_bytes());
    put(&mut attributes, 16, &(c"GPL".as_ptr() as u64).to_ne_bytes());
    put(&mut attributes, 68, &INET4_CONNECT.to_ne_bytes());
    bpf(LOAD, &attributes)
}

fn attach(program: &OwnedFd, cgroup: &Path) -> io::Result<OwnedFd> {
    let cgroup = std::fs::File::open(cgroup)?;
    let mut attributes = [0; 128];
    put(&mut attributes, 0, &program.as_raw_fd().to_ne_bytes());
    put(&mut attributes, 4, &cgroup.as_raw_fd().to_ne_bytes());
    put(&mut attributes, 8, &INET4_CONNECT.to_ne_bytes());
    bpf(CREATE_LINK, &attributes)
}
