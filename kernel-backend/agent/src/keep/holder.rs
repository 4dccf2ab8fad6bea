//! The holder: a tiny process that has the agent's sockets open too, so that they outlive it. It
//! knows nothing of what goes over them.
//!
//! Messages to it: `put VERSION NAME` with a socket, `release VERSION NAME`, `list`, `clear`,
//! `quit`. It answers `list` by one `held VERSION NAME` a socket, with the socket, and then `end`;
//! `clear` and `quit` by `done`.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Duration;

use super::wire;

/// The socket's name in the folder.
pub const SOCKET: &str = "holder.sock";
/// How often the socket is looked for.
const LOOK: Duration = Duration::from_secs(5);
/// How long accepting rests after an error that lies with the process.
const REST: Duration = Duration::from_millis(50);

type Held = Arc<Mutex<BTreeMap<String, OwnedFd>>>;

/// Holds sockets until it is told to quit. `with_agent`: it ends with the agent that started it,
/// when that ends for good.
///
/// # Errors
/// The socket cannot be bound, or another holder has it.
pub fn run(path: &Path, with_agent: bool) -> Result<(), String> {
    let failed = |error: io::Error| format!("{}: {error}", path.display());
    super::keeper::raise_open_files();
    if wire::to_holder(path).is_ok() {
        return Err(format!("{}: a holder is there already", path.display()));
    }
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let listener = wire::listen_at(path).map_err(failed)?;
    let held = Held::default();
    let (quit, quits) = mpsc::channel();
    std::thread::spawn(move || {
        loop {
            match rustix::net::accept_with(&listener, rustix::net::SocketFlags::CLOEXEC) {
                Ok(connection) => {
                    let (held, quit) = (Arc::clone(&held), quit.clone());
                    std::thread::spawn(move || {
                        // A connection that breaks is an agent that has ended: what it gave stays.
                        let _ = serve(&connection, &held, with_agent, &quit);
                    });
                }
                Err(_) => std::thread::sleep(REST),
            }
        }
    });
    while quits.recv_timeout(LOOK).is_err() {
        if !path.exists() {
            return Err(format!(
                "{}: the socket is gone, and nobody could ever ask for what is held",
                path.display()
            ));
        }
    }
    std::fs::remove_file(path).map_err(failed)
}

fn serve(
    connection: &OwnedFd,
    held: &Held,
    with_agent: bool,
    quit: &mpsc::Sender<()>,
) -> io::Result<()> {
    let lock = || held.lock().unwrap_or_else(PoisonError::into_inner);
    while let Some((text, socket)) = wire::receive(connection)? {
        let (word, name) = text.split_once(' ').unwrap_or((&text, ""));
        match (word, socket) {
            ("put", Some(socket)) => drop(lock().insert(name.to_owned(), socket)),
            ("release", _) => drop(lock().remove(name)),
            ("list", _) => {
                for (name, socket) in &*lock() {
                    wire::send(connection, &format!("held {name}"), Some(socket.as_fd()))?;
                }
                wire::send(connection, "end", None)?;
            }
            ("clear" | "quit", _) => {
                lock().clear();
                wire::send(connection, "done", None)?;
                if word == "quit" || with_agent {
                    // Where nobody listens, it has quit already.
                    let _ = quit.send(());
                }
            }
            _ => {}
        }
    }
    Ok(())
}
