//! What stands in for every endpoint: one server at every loopback address, which answers each
//! request with the target, the host and the headers asked for that it got.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::thread::JoinHandle;

use socket2::{Domain, Protocol, Socket, Type};

use crate::error::EnvoyError;

/// The response header with what came: target, host and header lines in hexadecimal, with commas
/// between.
pub const SEEN: &str = "x-twinmesh-seen";

/// How many connections are kept open: each has a thread. Beyond that each answer is a last one.
const MOST_KEPT: usize = 256;

const STACK: usize = 1 << 17;

/// The names of the headers that are told of, in lower case.
type Names = RwLock<BTreeSet<String>>;

/// The running server; it ends when this is dropped.
pub struct Backend {
    /// Its port, at each address of 127.0.0.0/8.
    pub port: u16,
    names: Arc<Names>,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Backend {
    /// Starts it; it tells of no headers.
    ///
    /// # Errors
    /// The machine does not let it listen on loopback alone, or has no thread for it.
    pub fn start() -> Result<Self, EnvoyError> {
        let listener = listen().map_err(EnvoyError::io(
            "listening at all loopback addresses as the endpoints",
        ))?;
        let address = listener
            .local_addr()
            .map_err(EnvoyError::io("the endpoints' port"))?;
        let is_over = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&is_over);
        let names = Arc::new(Names::default());
        let told = Arc::clone(&names);
        let thread = std::thread::Builder::new()
            .name("endpoints".to_owned())
            .spawn(move || serve(&listener, &stopped, &told))
            .map_err(EnvoyError::io("a thread for the endpoints"))?;
        Ok(Self {
            port: address.port(),
            names,
            is_over,
            thread: Some(thread),
        })
    }
}

impl Backend {
    /// From now on tells of the headers of these names, in lower case.
    pub fn tell_of(&self, names: BTreeSet<String>) {
        *self.names.write().unwrap_or_else(PoisonError::into_inner) = names;
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        // It waits for a connection; where none is to be had it has ended.
        let woken = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
        if let Some(thread) = self.thread.take().filter(|_| woken.is_ok()) {
            let _ = thread.join();
        }
    }
}

/// A socket that only the loopback interface reaches, whatever its address is.
fn listen() -> std::io::Result<TcpListener> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
    socket.bind_device(Some(b"lo"))?;
    socket.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)).into())?;
    socket.listen(1024)?;
    Ok(socket.into())
}

fn serve(listener: &TcpListener, is_over: &AtomicBool, names: &Arc<Names>) {
    let kept = Arc::new(AtomicUsize::new(0));
    while let Ok((stream, _)) = listener.accept() {
        if is_over.load(Ordering::Relaxed) {
            return;
        }
        let counted = Arc::clone(&kept);
        let names = Arc::clone(names);
        let serving = std::thread::Builder::new()
            .stack_size(STACK)
            .spawn(move || {
                let is_kept = counted.fetch_add(1, Ordering::Relaxed) < MOST_KEPT;
                // What breaks off here Envoy reports as a failed request.
                let _ = answer(stream, is_kept, &names);
                counted.fetch_sub(1, Ordering::Relaxed);
            });
        // Without a thread the connection is closed, which Envoy reports too.
        drop(serving);
    }
}

/// Answers the requests of a connection until one has a body, which nobody sends, or is none.
fn answer(mut stream: TcpStream, is_kept: bool, names: &Names) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = Vec::with_capacity(4096);
    let mut chunk = [0; 4096];
    loop {
        let Some(end) = buffer.windows(4).position(|four| four == b"\r\n\r\n") else {
            let count = stream.read(&mut chunk)?;
            buffer.extend(chunk.iter().take(count));
            // What is no request (a TCP proxy's client may send anything) is not waited for.
            if count == 0 || !buffer.first().is_none_or(u8::is_ascii_graphic) {
                return Ok(());
            }
            continue;
        };
        let head: Vec<u8> = buffer.drain(..end + 4).collect();
        let told = names.read().unwrap_or_else(PoisonError::into_inner);
        let Some(head) = Head::of(&head, &told) else {
            return Ok(());
        };
        let is_last = head.has_body || !is_kept;
        let answer = format!(
            "HTTP/1.1 200 OK\r\n{SEEN}: {},{},{}\r\n{}content-length: 0\r\n\r\n",
            hexadecimal(head.target),
            hexadecimal(head.host),
            hexadecimal(&head.lines),
            if is_last { "connection: close\r\n" } else { "" },
        );
        drop(told);
        stream.write_all(answer.as_bytes())?;
        if is_last {
            return Ok(());
        }
    }
}

struct Head<'a> {
    target: &'a [u8],
    host: &'a [u8],
    /// The header lines that are told of, with line feeds between.
    lines: Vec<u8>,
    has_body: bool,
}

impl<'a> Head<'a> {
    /// Envoy has checked it: whatever it lets through is a target.
    fn of(head: &'a [u8], names: &BTreeSet<String>) -> Option<Self> {
        let mut lines = head
            .split(|byte| *byte == b'\n')
            .map(|line| line.strip_suffix(b"\r").unwrap_or(line));
        // A rewrite may have put blanks into it.
        let line = lines.next()?;
        let is_blank = |byte: &u8| *byte == b' ';
        let from = line.iter().position(is_blank)? + 1;
        let target = line.get(from..line.iter().rposition(is_blank)?)?;
        let mut found = Self {
            target,
            host: b"",
            lines: Vec::new(),
            has_body: false,
        };
        for line in lines {
            let Some(colon) = line.iter().position(|byte| *byte == b':') else {
                continue;
            };
            let (name, value) = line.split_at(colon);
            let value = value.get(1..).unwrap_or_default().trim_ascii();
            if name.eq_ignore_ascii_case(b"host") {
                found.host = value;
            }
            let lower = String::from_utf8_lossy(name).to_ascii_lowercase();
            if names.contains(&lower) {
                found.lines.extend_from_slice(line);
                found.lines.push(b'\n');
            }
            found.has_body |= name.eq_ignore_ascii_case(b"transfer-encoding")
                || (name.eq_ignore_ascii_case(b"content-length") && value != b"0");
        }
        Some(found)
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What a response says came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Came {
    /// The target.
    pub target: String,
    /// The host.
    pub host: String,
    /// The header lines that were asked for.
    lines: Vec<u8>,
}

impl Came {
    /// The header lines, apart.
    pub fn lines(&self) -> impl Iterator<Item = (&str, &[u8])> + Clone {
        self.lines.split(|byte| *byte == b'\n').filter_map(|line| {
            let colon = line.iter().position(|byte| *byte == b':')?;
            let (name, value) = line.split_at(colon);
            Some((std::str::from_utf8(name).ok()?, value.get(1..)?))
        })
    }
}

/// What the value of [`SEEN`] says came.
pub fn seen(value: &[u8]) -> Option<Came> {
    let text = std::str::from_utf8(value).ok()?;
    let mut parts = text.split(',');
    let mut plain = || {
        let bytes: Option<Vec<u8>> = parts
            .next()?
            .as_bytes()
            .chunks(2)
            .map(|two| u8::from_str_radix(std::str::from_utf8(two).ok()?, 16).ok())
            .collect();
        bytes
    };
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Some(Came {
        target: text(plain()?),
        host: text(plain()?),
        lines: plain()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::response::Reader;

    #[test]
    fn a_target_is_all_between_method_and_version() {
        for (line, target) in [
            ("GET /a HTTP/1.1", Some("/a")),
            ("GET / a%62 b HTTP/1.1", Some("/ a%62 b")),
            ("GET", None),
            ("GET /", None),
        ] {
            let head = format!("{line}\r\nhost: h\r\n\r\n");
            let found =
                Head::of(head.as_bytes(), &BTreeSet::new()).map(|head| head.target.to_vec());
            assert_eq!(found.as_deref(), target.map(str::as_bytes), "{line}");
        }
    }

    #[test]
    fn every_loopback_address_answers_with_what_came() {
        let names = BTreeSet::from(["x-a".to_owned()]);
        let backend = Backend::start().expect("loopback");
        backend.tell_of(names);
        for ip in ["127.0.0.1", "127.9.8.7"] {
            let mut stream = std::net::TcpStream::connect((ip, backend.port)).expect("it listens");
            stream
                .write_all(b"GET /a?b HTTP/1.1\r\nhost: x.test\r\nX-A: 1\r\nx-b: 2\r\n\r\nHEAD / HTTP/1.1\r\n\r\n")
                .expect("it is open");
            let mut reader = Reader::default();
            for (method, target, host, count) in
                [("GET", "/a?b", "x.test", 1), ("HEAD", "/", "", 0)]
            {
                let answered = reader.next(&mut stream, method, false).expect("a response");
                let (response, _) = answered.expect("it is open");
                let found = response.header(SEEN).and_then(seen).expect("it is told");
                assert_eq!((found.target.as_str(), found.host.as_str()), (target, host));
                let lines: Vec<_> = found.lines().collect();
                assert_eq!(lines.len(), count);
                assert!(lines.iter().all(|line| *line == ("X-A", &b" 1"[..])));
            }
        }
    }
}
