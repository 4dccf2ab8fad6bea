//! The agent's binary as a process of its own.

use std::net::SocketAddr;
use std::process::{Output, Stdio};

use serde_json::Value;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use super::soon;
use super::wire::{Reply, Wire};

pub const AGENT: &str = env!("CARGO_BIN_EXE_twinmesh-agent");

pub struct Process {
    pub child: Child,
    admin: SocketAddr,
    directory: tempfile::TempDir,
}

/// A port that was free a moment ago.
pub async fn free() -> SocketAddr {
    let socket = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    socket.local_addr().expect("an address")
}

impl Process {
    pub async fn start(config: &Value, more: &[&str]) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        Self::start_in(directory, &[AGENT], config, more).await
    }

    /// In this directory, by a command that ends in executing the agent with the arguments that
    /// follow. Waits until it is ready.
    pub async fn start_in(
        directory: tempfile::TempDir,
        command: &[&str],
        config: &Value,
        more: &[&str],
    ) -> Self {
        std::fs::write(directory.path().join("snapshot.json"), config.to_string())
            .expect("written");
        let admin = free().await;
        let child = Command::new(command[0])
            .args(&command[1..])
            .current_dir(directory.path())
            .args([
                "run",
                "--snapshot",
                "snapshot.json",
                "--access-log",
                "access.jsonl",
            ])
            .args(["--admin", &admin.to_string(), "--workers", "2"])
            .args(more)
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let mut process = Self {
            child,
            admin,
            directory,
        };
        soon("the agent is ready", async {
            loop {
                if let Ok(Some(_)) = process.child.try_wait() {
                    break;
                }
                if process.is_ready().await {
                    return process;
                }
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
            panic!("the agent ended: {:?}", process.end().await.0);
        })
        .await
    }

    pub fn path(&self, name: &str) -> std::path::PathBuf {
        self.directory.path().join(name)
    }

    /// Whether it answers that it is ready; a connection may end without an answer while it comes up.
    async fn is_ready(&self) -> bool {
        let Ok(stream) = TcpStream::connect(self.admin).await else {
            return false;
        };
        let mut wire = Wire::new(stream);
        wire.send(b"GET /ready HTTP/1.1\r\nHost: admin\r\n\r\n")
            .await;
        wire.head().await.is_some_and(|head| head.status() == 200)
    }

    pub async fn admin(&self, method: &str, path: &str, body: &str) -> Reply {
        let stream = TcpStream::connect(self.admin).await.expect("it listens");
        let mut wire = Wire::new(stream);
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: admin\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        wire.send(request.as_bytes()).await;
        wire.reply().await
    }

    pub async fn json(&self, path: &str) -> Value {
        serde_json::from_slice(&self.admin("GET", path, "").await.body).expect("JSON")
    }

    pub async fn connect(&self) -> Wire {
        let ready = self.json("/ready").await;
        let address = ready["listening"][0]["address"]
            .as_str()
            .expect("an address");
        Wire::new(TcpStream::connect(address).await.expect("it listens"))
    }

    /// Replaces the snapshot file at once.
    pub fn write(&self, text: &str) {
        let new = self.path("new");
        std::fs::write(&new, text).expect("written");
        std::fs::rename(new, self.path("snapshot.json")).expect("renamed");
    }

    pub fn terminate(&self) {
        let pid = i32::try_from(self.child.id().expect("it runs")).expect("a pid");
        // SAFETY: the process is a child of ours that has not been waited for.
        assert_eq!(unsafe { libc::kill(pid, libc::SIGTERM) }, 0);
    }

    pub async fn end(self) -> (Output, tempfile::TempDir) {
        let ended = soon("the agent ends", self.child.wait_with_output()).await;
        (ended.expect("it ends"), self.directory)
    }
}

/// What a command says that ends by itself, and its exit code.
pub async fn ended(command: &[&str]) -> (Option<i32>, String) {
    let run = Command::new(command[0])
        .args(&command[1..])
        .kill_on_drop(true)
        .output();
    let output = soon("the command ends", run).await;
    let output = output.unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code(), said)
}
