//! Agents that outlive each other.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{ExitStatus, Output, Stdio};
use std::time::Duration;

use serde_json::Value;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use twinmesh_kernel_backend::datapath::{cgroup, pins};

use super::soon;
use super::wire::Wire;

pub const AGENT: &str = env!("CARGO_BIN_EXE_twinmesh-agent");

/// Where agents of one test keep what outlives them.
pub struct Place {
    pub folder: tempfile::TempDir,
    pub mounted: PathBuf,
    pub pins: PathBuf,
    pub config: Value,
}

impl Place {
    pub fn new(config: Value) -> Self {
        let folder = tempfile::tempdir().expect("a directory");
        std::fs::write(folder.path().join("snapshot.json"), config.to_string()).expect("written");
        let mounted = folder.path().join("bpf");
        std::fs::create_dir(&mounted).expect("made");
        pins::mount(&mounted).expect("a BPF file system can be mounted");
        Self {
            pins: mounted.join("twinmesh"),
            mounted,
            folder,
            config,
        }
    }

    pub fn kept(&self) -> PathBuf {
        self.folder.path().join("kept")
    }

    pub fn arguments(&self) -> [String; 4] {
        let text = |path: PathBuf| path.to_str().expect("text").to_owned();
        [
            "--keep-folder".to_owned(),
            text(self.kept()),
            "--pins".to_owned(),
            text(self.pins.clone()),
        ]
    }

    pub async fn start(&self, more: &[&str]) -> Agent {
        self.start_with(&["--keep"], more).await
    }

    pub async fn start_with(&self, keep: &[&str], more: &[&str]) -> Agent {
        let port = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let admin = port.local_addr().expect("an address");
        drop(port);
        let own = cgroup::own().expect("cgroup2 is mounted");
        let snapshot = self.folder.path().join("snapshot.json");
        let child = Command::new(AGENT)
            .args(["run", "--kernel", "required", "--workers", "2"])
            .args(["--balance-requests", "--admin", &admin.to_string()])
            .arg("--snapshot")
            .arg(snapshot)
            .arg("--cgroup")
            .arg(own)
            .args(keep)
            .args(self.arguments())
            .args(more)
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("it starts");
        let mut agent = Agent { child, admin };
        soon("the agent is ready", async {
            loop {
                if let Some(status) = agent.child.try_wait().expect("a child") {
                    panic!("{status}: {}", agent.errors().await);
                }
                if let Some(reply) = agent.admin("/ready").await
                    && reply.0 == 200
                {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await;
        agent
    }

    pub async fn detach(&self) -> Output {
        let command = Command::new(AGENT)
            .arg("detach")
            .args(self.arguments())
            .output();
        soon("detach", command).await.expect("it runs")
    }

    pub fn destination(&self) -> SocketAddr {
        let address = &self.config["static_resources"]["listeners"][0]["address"];
        let address = &address["socket_address"];
        let ip = address["address"].as_str().expect("an address");
        let port = address["port_value"].as_u64().expect("a port");
        format!("{ip}:{port}").parse().expect("an address")
    }

    pub async fn connect(&self) -> Wire {
        let stream = soon("connect", TcpStream::connect(self.destination())).await;
        Wire::new(stream.expect("the connection is taken"))
    }

    pub fn pinned(&self) -> usize {
        std::fs::read_dir(&self.pins).map_or(0, Iterator::count)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // An agent that is still there has been told to end.
        for _ in 0..500 {
            let detached = std::process::Command::new(AGENT)
                .arg("detach")
                .args(self.arguments())
                .output();
            if detached.is_ok_and(|output| output.status.success()) {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let mounted = std::ffi::CString::new(self.mounted.as_os_str().as_encoded_bytes());
        // SAFETY: a text that ends in a zero.
        unsafe { libc::umount2(mounted.expect("no zero").as_ptr(), libc::MNT_DETACH) };
    }
}

pub struct Agent {
    pub child: Child,
    pub admin: SocketAddr,
}

impl Agent {
    pub async fn errors(&mut self) -> String {
        use tokio::io::AsyncReadExt as _;
        let mut text = String::new();
        if let Some(errors) = &mut self.child.stderr {
            // What it wrote before it ended.
            let _ = errors.read_to_string(&mut text).await;
        }
        text
    }

    pub async fn admin(&self, path: &str) -> Option<(u16, String)> {
        let mut wire = Wire::new(TcpStream::connect(self.admin).await.ok()?);
        let request = format!("GET {path} HTTP/1.1\r\nHost: admin\r\n\r\n");
        wire.send(request.as_bytes()).await;
        let reply = wire.reply().await;
        Some((reply.head.status(), reply.text()))
    }

    /// The sum of a metric over its labels.
    pub async fn metric(&self, name: &str) -> u64 {
        let (_, text) = self.admin("/metrics").await.expect("it answers");
        let name = format!("twinmesh_{name}");
        let lines = text.lines().filter_map(|line| line.strip_prefix(&name));
        let lines = lines.map(|rest| rest.strip_prefix("_total").unwrap_or(rest));
        let values = lines.filter(|rest| rest.starts_with(['{', ' ']));
        values
            .filter_map(|rest| rest.rsplit(' ').next()?.parse::<f64>().ok())
            .sum::<f64>() as u64
    }

    pub async fn until(&self, name: &str, holds: impl Fn(u64) -> bool) {
        soon(name, async {
            while !holds(self.metric(name).await) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await;
    }

    pub fn signal(&self, signal: i32) {
        let pid = i32::try_from(self.child.id().expect("it runs")).expect("a pid");
        // SAFETY: the process is a child of ours that has not been waited for.
        assert_eq!(unsafe { libc::kill(pid, signal) }, 0);
    }

    pub async fn kill(mut self) {
        self.signal(libc::SIGKILL);
        self.child.wait().await.expect("a child");
    }

    pub async fn end(mut self, signal: i32) -> (ExitStatus, String) {
        self.signal(signal);
        let ended = soon("the agent's end", self.child.wait()).await;
        (ended.expect("a child"), self.errors().await)
    }
}
