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
use std::sync::mpsc;
use std::time::Duration;

use super::wire;

/// The socket's name in the folder.
pub const SOCKET: &str = "holder.sock";
/// How often the socket is looked for.
const LOOK: Duration = Duration::from_secs(5);
/// How long accepting rests after an error that lies with the process.
const REST: Duration = Duration::from_millis(50);

type Held = BTreeMap<String, OwnedFd>;

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
    let (quit, quits) = mpsc::channel();
    std::thread::spawn(move || {
        let mut held = Held::new();
        loop {
            match rustix::net::accept_with(&listener, rustix::net::SocketFlags::CLOEXEC) {
                // One after the other: what an agent sent before it was killed comes before what the
                // next one asks. A connection that breaks is an agent's end: what it gave stays.
                Ok(connection) => drop(serve(&connection, &mut held, with_agent, &quit)),
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
    held: &mut Held,
    with_agent: bool,
    quit: &mpsc::Sender<()>,
) -> io::Result<()> {
    while let Some((text, socket)) = wire::receive(connection)? {
        let (word, name) = text.split_once(' ').unwrap_or((&text, ""));
        match (word, socket) {
            ("put", Some(socket)) => drop(held.insert(name.to_owned(), socket)),
            ("release", _) => drop(held.remove(name)),
            ("list", _) => {
                for (name, socket) in &*held {
                    wire::send(connection, &format!("held {name}"), Some(socket.as_fd()))?;
                }
                wire::send(connection, "end", None)?;
            }
            ("clear" | "quit", _) => {
                held.clear();
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

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::super::keeper::list;
    use super::*;

    #[test]
    fn what_an_agent_sent_before_its_end_is_there_for_the_next() {
        let folder = tempfile::tempdir().expect("a directory");
        let path = folder.path().join(SOCKET);
        let holder = std::thread::spawn({
            let path = path.clone();
            move || run(&path, false)
        });
        let connect = || loop {
            match wire::to_holder(&path) {
                Ok(connection) => return connection,
                Err(_) => std::thread::sleep(Duration::from_millis(1)),
            }
        };
        for round in 0..50 {
            let (socket, _other) = std::os::unix::net::UnixStream::pair().expect("sockets");
            let agent = connect();
            for index in 0..100 {
                let text = format!("put version client {round} {index}");
                wire::send(&agent, &text, Some(socket.as_fd())).expect("the holder takes it");
            }
            // Killed, as far as the holder sees.
            drop(agent);
            let next = connect();
            let held = list(&next).expect("the holder answers");
            assert_eq!(held.len(), 100 * (round + 1));
        }
        let last = connect();
        wire::send(&last, "quit", None).expect("the holder takes it");
        assert!(wire::receive(&last).expect("it answers").is_some());
        drop(last);
        holder.join().expect("no panic").expect("it ends");
        assert!(!path.exists());
    }
}
