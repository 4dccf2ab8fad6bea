//! A place of a test's own, in which every address is this machine's: a network namespace, so that
//! nothing leaves it, and a cgroup, so that programs take the connections of this process alone.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};

use twinmesh_kernel_backend::datapath::cgroup;

/// Runs a test on threads of its own. Where the kernel takes part ([`super::kernel`]), they are in a
/// [`Place`]; where that cannot be, as in [`super::kernel::load`].
pub fn run<F, T>(test: F)
where
    F: FnOnce() -> T + Send + 'static,
    T: Future<Output = ()>,
{
    // A namespace belongs to threads: the runtime's inherit it, and it goes with the last of them.
    let thread = std::thread::spawn(move || {
        let place = super::kernel::takes_part().then(Place::enter).transpose();
        let _place = match place {
            Ok(place) => place,
            Err(why) if super::kernel::is_required() => {
                panic!("the kernel cannot take part: {why}")
            }
            Err(why) => return println!("the kernel does not take part: {why}"),
        };
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime = builder.worker_threads(2).enable_all().build();
        runtime.expect("a runtime").block_on(test());
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

/// Dropped, the process is back in the cgroup in which it was.
struct Place {
    before: PathBuf,
    cgroup: PathBuf,
    /// A process is in one cgroup at a time.
    _turn: MutexGuard<'static, ()>,
}

impl Place {
    /// Puts this thread into a namespace of its own, and the process into a cgroup.
    fn enter() -> Result<Self, String> {
        static TURN: Mutex<()> = Mutex::new(());
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let before = cgroup::own()?;
        let place = Self {
            cgroup: before.join(format!("twinmesh-test-{}", std::process::id())),
            before,
            _turn: turn,
        };
        std::fs::create_dir_all(&place.cgroup)
            .and_then(|()| move_to(&place.cgroup))
            .map_err(|error| format!("the cgroup {}: {error}", place.cgroup.display()))?;
        own_network()?;
        Ok(place)
    }
}

/// Puts this thread into a network namespace in which every address is this machine's.
pub fn own_network() -> Result<(), String> {
    // SAFETY: the call takes no pointer.
    if unsafe { libc::unshare(libc::CLONE_NEWNET) } != 0 {
        let error = std::io::Error::last_os_error();
        return Err(format!("a network namespace: {error}"));
    }
    for arguments in [
        "link set lo up",
        "route add local 0.0.0.0/0 dev lo",
        "-6 route add local ::/0 dev lo",
    ] {
        let run = Command::new("ip").args(arguments.split(' ')).output();
        let run = run.map_err(|error| format!("ip (Debian's iproute2): {error}"))?;
        if !run.status.success() {
            let said = String::from_utf8_lossy(&run.stderr);
            return Err(format!("ip {arguments}: {said}"));
        }
    }
    // Routes that make addresses local are enough for IPv4.
    std::fs::write("/proc/sys/net/ipv6/ip_nonlocal_bind", "1")
        .map_err(|error| format!("net.ipv6.ip_nonlocal_bind: {error}"))
}

impl Drop for Place {
    fn drop(&mut self) {
        let left = move_to(&self.before).and_then(|()| std::fs::remove_dir(&self.cgroup));
        if let Err(error) = left
            && !std::thread::panicking()
        {
            panic!("the cgroup {} stays: {error}", self.cgroup.display());
        }
    }
}

/// Moves this process to a cgroup.
fn move_to(cgroup: &Path) -> std::io::Result<()> {
    let all = cgroup.join("cgroup.procs");
    std::fs::write(all, std::process::id().to_string())
}
