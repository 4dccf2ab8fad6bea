//! A running Envoy: started from a bootstrap, ended when it is dropped.

use std::fs::{self, File};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::error::EnvoyError;
use crate::find::Binary;
use crate::response::Reader;

/// A snapshot of 10,000 routes takes a few seconds on a busy machine.
const START: Duration = Duration::from_secs(60);
const ADMIN: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(10);

/// How much of the end of Envoy's log is shown, in characters.
const LOG_SHOWN: usize = 1500;
/// How much of each of its lines is: what cannot be read is written out behind the reason.
const LINE_SHOWN: usize = 500;

/// One Envoy with one worker.
pub struct Process {
    child: Child,
    folder: TempDir,
    admin: String,
    /// How much of the access log is of earlier runs.
    skipped: u64,
}

/// The folder of a run: its configuration and its logs.
pub struct Folder(TempDir);

impl Folder {
    /// A new one.
    ///
    /// # Errors
    /// There is no place for it.
    pub fn new() -> Result<Self, EnvoyError> {
        tempfile::Builder::new()
            .prefix("twinmesh-envoy-")
            .tempdir()
            .map(Self)
            .map_err(EnvoyError::io("a folder for Envoy"))
    }

    /// Where it is.
    pub fn path(&self) -> PathBuf {
        self.0.path().to_owned()
    }

    /// Where Envoy is to write its access log.
    pub fn access_log(&self) -> PathBuf {
        self.0.path().join("access")
    }
}

impl Process {
    /// Starts Envoy and waits until it takes requests.
    ///
    /// # Errors
    /// It does not start, or refuses the bootstrap.
    pub fn start(binary: &Binary, bootstrap: &Value, folder: Folder) -> Result<Self, EnvoyError> {
        let Folder(folder) = folder;
        let config = folder.path().join("config.json");
        let text = bootstrap.to_string();
        fs::write(&config, text).map_err(EnvoyError::io("Envoy's configuration"))?;
        let log = File::create(folder.path().join("log")).map_err(EnvoyError::io("Envoy's log"))?;
        let log_too = log.try_clone().map_err(EnvoyError::io("Envoy's log"))?;
        let mut command = Command::new(&binary.path);
        command
            .arg("--config-path")
            .arg(&config)
            .arg("--admin-address-path")
            .arg(folder.path().join("admin"))
            .args(["--concurrency", "1", "--disable-hot-restart"])
            .args(["--base-id", &(std::process::id() % 100_000_000).to_string()])
            // Fields that the snapshot's source has and this version does not are no reason.
            .args(["--allow-unknown-static-fields", "--log-level", "warning"])
            .args(["--file-flush-interval-msec", "10", "--drain-time-s", "1"])
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(log_too);
        let own = rustix::process::getpid();
        // SAFETY: between fork and exec only system calls are made, which allocate nothing.
        unsafe {
            command.pre_exec(move || {
                let signal = rustix::process::Signal::TERM;
                rustix::process::set_parent_process_death_signal(Some(signal))?;
                // The parent may have ended before the call above.
                if rustix::process::getppid() == Some(own) {
                    Ok(())
                } else {
                    Err(ErrorKind::Interrupted.into())
                }
            });
        }
        let child = command.spawn().map_err(EnvoyError::io(format!(
            "starting {}",
            binary.path.display()
        )))?;
        let mut process = Self {
            child,
            folder,
            admin: String::new(),
            skipped: 0,
        };
        process.wait_until_ready()?;
        Ok(process)
    }

    fn wait_until_ready(&mut self) -> Result<(), EnvoyError> {
        let end = Instant::now() + START;
        let address = self.folder.path().join("admin");
        while Instant::now() < end {
            if self.ended().is_some() {
                return Err(EnvoyError::Refused {
                    message: self.complaint(),
                });
            }
            if self.admin.is_empty() {
                self.admin = fs::read_to_string(&address).unwrap_or_default();
            }
            if !self.admin.is_empty() && self.is_ready() {
                return Ok(());
            }
            std::thread::sleep(PAUSE);
        }
        Err(EnvoyError::Unexpected(format!(
            "Envoy did not become ready within {} s; its log: {}",
            START.as_secs(),
            self.complaint()
        )))
    }

    fn is_ready(&self) -> bool {
        let says = |path: &str, end: &str| {
            self.get(path)
                .is_ok_and(|text| text.trim_end().ends_with(end))
        };
        // LIVE may come before the worker has taken its listeners.
        says("/ready", "LIVE") && says("/stats?filter=listener_manager.workers_started", ": 1")
    }

    /// GET from the admin interface.
    ///
    /// # Errors
    /// It does not answer.
    pub fn get(&self, path: &str) -> Result<String, EnvoyError> {
        let failed = || EnvoyError::io(format!("Envoy's admin interface, {path}"));
        let mut stream = TcpStream::connect(self.admin.trim()).map_err(failed())?;
        stream.set_read_timeout(Some(ADMIN)).map_err(failed())?;
        let request = format!("GET {path} HTTP/1.1\r\nhost: admin\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).map_err(failed())?;
        match Reader::default().next(&mut stream, "GET", false) {
            Ok(Some((_, body))) => Ok(String::from_utf8_lossy(&body).into_owned()),
            Ok(None) => Err(failed()(ErrorKind::UnexpectedEof.into())),
            Err(error) => Err(failed()(error)),
        }
    }

    /// The address of each listener that has a port of its own.
    ///
    /// # Errors
    /// The admin interface does not say.
    pub fn listeners(&self) -> Result<Vec<(String, SocketAddr)>, EnvoyError> {
        let text = self.get("/listeners?format=json")?;
        let odd = || EnvoyError::Unexpected(format!("Envoy lists its listeners as {text:?}"));
        let listed: Value = serde_json::from_str(&text).map_err(|_| odd())?;
        let statuses = listed.get("listener_statuses").and_then(Value::as_array);
        statuses
            .ok_or_else(odd)?
            .iter()
            .filter_map(|status| {
                let socket = status.pointer("/local_address/socket_address")?;
                let ip = socket.get("address")?.as_str()?.parse().ok()?;
                let port = u16::try_from(socket.get("port_value")?.as_u64()?).ok()?;
                let name = status.get("name")?.as_str()?;
                Some((name.to_owned(), SocketAddr::new(ip, port)))
            })
            .map(Ok)
            .collect()
    }

    /// Its exit status, where it has ended.
    pub fn ended(&mut self) -> Option<String> {
        match self.child.try_wait() {
            Ok(None) => None,
            Ok(Some(status)) => Some(status.to_string()),
            Err(error) => Some(error.to_string()),
        }
    }

    /// What it complained of last: the end of its log, without what is only a warning where there
    /// is worse.
    pub fn complaint(&self) -> String {
        let log = fs::read(self.folder.path().join("log")).unwrap_or_default();
        complaint(&String::from_utf8_lossy(&log))
    }

    /// Where it writes its access log.
    pub fn access_log_path(&self) -> PathBuf {
        self.folder.path().join("access")
    }

    /// Takes what is in the access log for that of earlier runs: its whole lines, as Envoy may be about to
    /// write the rest of one.
    pub fn skip_access_log(&mut self) {
        self.skipped += whole_lines(&self.access_log());
    }

    /// The access log of this run, as far as it is written.
    pub fn access_log(&self) -> Vec<u8> {
        let mut log = Vec::new();
        let read = File::open(self.access_log_path()).and_then(|mut file| {
            file.seek(SeekFrom::Start(self.skipped))?;
            file.read_to_end(&mut log)
        });
        // It is there once something was written.
        read.map_or_else(|_| Vec::new(), |_| log)
    }
}

/// The length of a log up to the end of its last whole line.
fn whole_lines(log: &[u8]) -> u64 {
    let end = log.iter().rposition(|byte| *byte == b'\n');
    end.map_or(0, |end| end as u64 + 1)
}

fn complaint(log: &str) -> String {
    let worse = ["[error]", "[critical]", "[assert]"]
        .iter()
        .filter_map(|level| log.find(level))
        .min();
    let line = |at: usize| {
        log.get(..at)
            .and_then(|before| before.rfind('\n'))
            .map_or(0, |end| end + 1)
    };
    let from = worse.map_or(0, line);
    let shown = log.get(from..).unwrap_or(log).trim();
    if shown.is_empty() {
        return "it is empty".to_owned();
    }
    let lines = shown
        .lines()
        .map(|line| match line.char_indices().nth(LINE_SHOWN) {
            Some((end, _)) => format!("{}…", line.get(..end).unwrap_or(line)),
            None => line.to_owned(),
        });
    let shown = lines.collect::<Vec<String>>().join("\n");
    let skipped = shown.chars().count().saturating_sub(LOG_SHOWN);
    shown.chars().skip(skipped).collect()
}

impl Drop for Process {
    fn drop(&mut self) {
        // Nothing is under way that is worth draining.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::{complaint, whole_lines};

    #[test]
    fn the_rest_of_a_line_is_no_line_of_its_own() {
        let first = b"{\"a\": null}\n{\"b\": n";
        let skipped = whole_lines(first);
        assert_eq!(skipped, 12);
        assert_eq!(whole_lines(b"{\"b\": n"), 0);
        let later = [first, &b"ull}\n"[..]].concat();
        assert_eq!(&later[12..], b"{\"b\": null}\n");
    }

    #[test]
    fn errors_are_shown_before_warnings() {
        let log = "[t][1][warning][config] old field\n[t][1][critical][main] no such cluster\n";
        assert_eq!(complaint(log), "[t][1][critical][main] no such cluster");
        let warnings = "[t][1][warning][config] old field\n";
        assert_eq!(complaint(warnings), warnings.trim());
        assert_eq!(complaint(""), "it is empty");
    }

    #[test]
    fn a_reason_is_shown_before_what_it_is_of() {
        let config = "x".repeat(5000);
        let log = format!("[t][1][critical][main] no such type: {{{config}}}\n[t] the end\n");
        let shown = complaint(&log);
        assert!(
            shown.starts_with("[t][1][critical][main] no such type: {x"),
            "{shown}"
        );
        assert!(shown.ends_with("x…\n[t] the end"), "{shown}");
    }
}
