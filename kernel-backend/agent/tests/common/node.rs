//! A node of a test's own: network namespaces for its clients, the node and its endpoints, joined by
//! veth, and cgroups for the clients and the rest. It ends with the test, whatever its end.

use std::fs::File;
use std::io;
use std::net::IpAddr;
use std::os::fd::AsRawFd as _;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use super::LIMIT;
use super::cgroup::Cgroup;

/// Where a process runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Space {
    /// With the applications, in the cgroup whose connections the agent takes.
    Clients,
    /// Where the agent is.
    Node,
    /// Where the endpoints are.
    Endpoints,
}

/// The node. What runs on it is ended first, the rest is removed after it.
pub struct Node {
    children: Vec<Child>,
    pub clients: Cgroup,
    pub rest: Cgroup,
    spaces: [File; 3],
    net: u8,
    work: tempfile::TempDir,
}

impl Node {
    /// With addresses of its own, by the number of its network. Its processes end with the thread
    /// that makes it.
    pub fn new(net: u8) -> Self {
        let node = Self {
            children: Vec::new(),
            clients: Cgroup::new(),
            rest: Cgroup::new(),
            spaces: [(); 3].map(|()| namespace()),
            net,
            work: tempfile::tempdir().expect("a directory"),
        };
        for space in [Space::Clients, Space::Node, Space::Endpoints] {
            node.ip(space, "link set lo up");
        }
        for (to, of) in [
            ("to-clients", Space::Clients),
            ("to-endpoints", Space::Endpoints),
        ] {
            let namespace = node.path_of(of);
            node.ip(
                Space::Node,
                &format!("link add {to} type veth peer name eth0 netns {namespace}"),
            );
            node.ip(Space::Node, &format!("link set {to} up"));
            node.ip(of, "link set eth0 up");
            for six in [false, true] {
                node.add(Space::Node, to, node.address(of, 1, six));
                for host in 11..=13 {
                    node.add(of, "eth0", node.address(of, host, six));
                }
            }
        }
        node
    }

    /// A host in the network of the clients, or of the endpoints; 1 is the node's own.
    pub fn address(&self, space: Space, host: u8, six: bool) -> IpAddr {
        let third = if space == Space::Clients { 1 } else { 2 };
        if six {
            let [net, third, host] = [self.net, third, host].map(u16::from);
            return [0xfd00, net, third, 0, 0, 0, 0, host].into();
        }
        [10, self.net, third, host].into()
    }

    fn path_of(&self, space: Space) -> String {
        let fd = self.spaces[space as usize].as_raw_fd();
        format!("/proc/{}/fd/{fd}", std::process::id())
    }

    fn add(&self, space: Space, device: &str, address: IpAddr) {
        let (length, more) = match address {
            IpAddr::V4(_) => (24, ""),
            // Else it is of no use for the first second.
            IpAddr::V6(_) => (64, " nodad"),
        };
        self.ip(
            space,
            &format!("address add {address}/{length} dev {device}{more}"),
        );
    }

    fn ip(&self, space: Space, arguments: &str) {
        let mut command = self.command(space, "ip");
        let output = run(command.args(arguments.split(' ')));
        assert!(output.status.success(), "ip {arguments}: {output:?}");
    }

    /// A file of the node's.
    pub fn path(&self, name: &str) -> PathBuf {
        self.work.path().join(name)
    }

    /// A command that runs somewhere, for as long as this thread does.
    pub fn command(&self, space: Space, program: &str) -> Command {
        let mut command = Command::new(program);
        let cgroup = if space == Space::Clients {
            &self.clients
        } else {
            &self.rest
        };
        let cgroup = File::options()
            .write(true)
            .open(cgroup.path.join("cgroup.procs"))
            .expect("the cgroup is there");
        let namespace = self.spaces[space as usize].as_raw_fd();
        // SAFETY: nothing but system calls, whose arguments were made before.
        unsafe {
            command.pre_exec(move || {
                let done = libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) == 0
                    && libc::write(cgroup.as_raw_fd(), c"0".as_ptr().cast(), 1) == 1
                    && libc::setns(namespace, libc::CLONE_NEWNET) == 0;
                if done {
                    Ok(())
                } else {
                    Err(io::Error::last_os_error())
                }
            });
        }
        command.current_dir(self.work.path());
        command
    }

    /// Starts a program that ends with the node; what it says is in `NAME.log`.
    pub fn start(&mut self, name: &str, command: &mut Command) {
        let log = File::create(self.path(&format!("{name}.log"))).expect("a file");
        let child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a descriptor"))
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        self.children.push(child);
    }

    /// What a program has said.
    pub fn log(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(&format!("{name}.log"))).unwrap_or_default()
    }

    /// Ends everything in the order in which it was started, last things first. Nothing is left.
    pub fn end(&mut self) {
        for mut child in self.children.drain(..).rev() {
            let pid = i32::try_from(child.id()).expect("a pid");
            // SAFETY: a child of ours that has not been waited for.
            assert_eq!(unsafe { libc::kill(pid, libc::SIGTERM) }, 0);
            let status = child.wait().expect("it ends");
            assert!(status.success(), "{status} of {pid}");
        }
        assert_eq!(self.clients.processes(), "");
        assert_eq!(self.rest.processes(), "");
    }

    /// Numbers of the namespaces.
    pub fn namespaces(&self) -> Vec<u64> {
        use std::os::unix::fs::MetadataExt as _;
        let metadata = self.spaces.iter().map(File::metadata);
        metadata.map(|found| found.expect("open").ino()).collect()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A network namespace, for as long as the file is open.
fn namespace() -> File {
    let made = std::thread::spawn(|| {
        // SAFETY: the call takes no pointer.
        if unsafe { libc::unshare(libc::CLONE_NEWNET) } != 0 {
            return Err(io::Error::last_os_error());
        }
        File::open("/proc/thread-self/ns/net")
    });
    let made = made.join().expect("no panic");
    made.unwrap_or_else(|error| panic!("a network namespace (it takes root): {error}"))
}

/// Runs a command to its end.
pub fn run(command: &mut Command) -> Output {
    let output = command.stdin(Stdio::null()).output();
    output.unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

/// Waits until something holds.
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let pause = Duration::from_millis(20);
    for _ in 0..LIMIT.as_millis() / pause.as_millis() {
        if holds() {
            return;
        }
        std::thread::sleep(pause);
    }
    panic!("{what}: nothing happened within {LIMIT:?}");
}

/// Fails where something is missing that the test runs: shell commands that tell, and the Debian
/// packages that they take.
pub fn need(all: &[(&str, &str)]) {
    let missing = all.iter().filter(|(command, _)| {
        let tried = run(Command::new("sh").args(["-c", command]));
        !tried.status.success()
    });
    let missing: Vec<&str> = missing.map(|(_, package)| *package).collect();
    assert!(
        missing.is_empty(),
        "the test runs other programs; install Debian's packages {}",
        missing.join(", ")
    );
}
