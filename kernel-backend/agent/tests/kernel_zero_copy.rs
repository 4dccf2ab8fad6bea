//! MSG_ZEROCOPY: an application is told when its pages are its own again, or that there is no zero
//! copy; never does it wait for nothing.

mod common;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;

use common::wire::Wire;
use common::{Backend, Running, simple, start};
use socket2::{Domain, Socket, Type};

const BODY: usize = 100_000;
/// `SO_EE_ORIGIN_ZEROCOPY`.
const ORIGIN: u8 = 5;

/// Sets SO_ZEROCOPY; the error's number.
fn set_zero_copy(socket: &impl AsRawFd, on: i32) -> Result<(), i32> {
    let length = size_of::<i32>() as libc::socklen_t;
    // SAFETY: the value is as long as is said.
    let set = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ZEROCOPY,
            (&raw const on).cast(),
            length,
        )
    };
    if set == 0 {
        return Ok(());
    }
    Err(std::io::Error::last_os_error()
        .raw_os_error()
        .expect("it is the system's"))
}

fn zero_copy(socket: &impl AsRawFd) -> i32 {
    let mut on = -1;
    let mut length = size_of::<i32>() as libc::socklen_t;
    // SAFETY: the value is as long as is said.
    let got = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ZEROCOPY,
            (&raw mut on).cast(),
            &raw mut length,
        )
    };
    assert_eq!(got, 0);
    on
}

/// Sends all of it without copying; in how many calls.
fn send_zero_copy(socket: &TcpStream, mut bytes: &[u8]) -> u32 {
    let mut calls = 0;
    while !bytes.is_empty() {
        // SAFETY: the bytes are there, and stay until the completions have come.
        let sent = unsafe {
            libc::send(
                socket.as_raw_fd(),
                bytes.as_ptr().cast(),
                bytes.len(),
                libc::MSG_ZEROCOPY,
            )
        };
        assert!(sent > 0, "{}", std::io::Error::last_os_error());
        bytes = &bytes[sent as usize..];
        calls += 1;
    }
    calls
}

/// Waits until so many calls have completed.
fn wait_for_completions(socket: &TcpStream, calls: u32) {
    let mut completed = 0;
    while completed < calls {
        let mut poll = libc::pollfd {
            fd: socket.as_raw_fd(),
            events: 0,
            revents: 0,
        };
        let limit = common::LIMIT.as_millis() as i32;
        // SAFETY: one structure, which lives as long as the call.
        let ready = unsafe { libc::poll(&raw mut poll, 1, limit) };
        assert_eq!(ready, 1, "{completed} of {calls} calls have completed");
        let mut control = [0_u64; 16];
        // SAFETY: a structure of integers and pointers, for which 0 says that there is nothing.
        let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
        message.msg_control = control.as_mut_ptr().cast();
        message.msg_controllen = size_of_val(&control);
        // SAFETY: the buffers live as long as the call.
        let got =
            unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, libc::MSG_ERRQUEUE) };
        assert!(got >= 0, "{}", std::io::Error::last_os_error());
        // SAFETY: the kernel has filled the control buffer, as long as it says.
        let error = unsafe {
            let header = libc::CMSG_FIRSTHDR(&raw const message);
            assert!(!header.is_null(), "a completion");
            libc::CMSG_DATA(header)
                .cast::<libc::sock_extended_err>()
                .read_unaligned()
        };
        assert_eq!(error.ee_origin, ORIGIN);
        completed += error.ee_data - error.ee_info + 1;
    }
}

/// The agent has given back what it had, and has an idle connection to the endpoint.
async fn settled(running: &Running) {
    if let Some(datapath) = &running.agent.datapath {
        common::until("connections are given back", || {
            let fill = datapath.splice.fill();
            fill[1].1 == 0 && fill[3].1 > 0
        })
        .await;
    }
}

fn upstreams(running: &Running) -> u64 {
    let datapath = running.agent.datapath.as_ref();
    datapath.map_or(0, |datapath| datapath.splice.fill()[2].1)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_spliced_socket_refuses_zero_copy_and_nothing_else() {
    let backend = Backend::echo("one").await;
    let running = start(&simple(&[backend.address])).await;
    if running.agent.datapath.is_none() {
        return;
    }
    let mut client = running.connect("web").await;
    for number in 0..3 {
        assert_eq!(set_zero_copy(&client.stream, 1), Err(libc::EOPNOTSUPP));
        assert_eq!(zero_copy(&client.stream), 0);
        assert_eq!(set_zero_copy(&client.stream, 0), Ok(()));
        assert_eq!(set_zero_copy(&client.stream, 2), Err(libc::EINVAL));
        let reply = client.get("/", &number.to_string()).await;
        assert_eq!(reply.head.header("x-id"), Some(number.to_string().as_str()));
        settled(&running).await;
    }
    // Other options are set as ever, however large the buffer.
    let mut value = vec![0_u8; 8192];
    value[..4].copy_from_slice(&50_000_i32.to_ne_bytes());
    // SAFETY: the value is as long as is said.
    let set = unsafe {
        libc::setsockopt(
            client.stream.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_SNDBUF,
            value.as_ptr().cast(),
            value.len() as libc::socklen_t,
        )
    };
    assert_eq!(set, 0, "{}", std::io::Error::last_os_error());
    let socket = socket2::SockRef::from(&client.stream);
    assert_eq!(socket.send_buffer_size().expect("the option"), 100_000);
    // A socket that is not spliced has zero copy.
    let direct = TcpStream::connect(backend.address).expect("it is there");
    assert_eq!(set_zero_copy(&direct, 1), Ok(()));
    assert_eq!(zero_copy(&direct), 1);
    running.idle().await;
}

/// Sends a request with a body by zero copy; the answer has the same body.
fn exchange(to: SocketAddr) {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, None).expect("a socket");
    set_zero_copy(&socket, 1).expect("it is not connected yet");
    socket.connect(&to.into()).expect("it is taken");
    socket
        .set_read_timeout(Some(common::LIMIT))
        .expect("the option");
    let mut socket = TcpStream::from(socket);
    let body: Vec<u8> = (0..BODY).map(|index| (index % 251) as u8).collect();
    for _ in 0..3 {
        let head = format!("POST / HTTP/1.1\r\nHost: web\r\nContent-Length: {BODY}\r\n\r\n");
        let request = [head.as_bytes(), &body].concat();
        let calls = send_zero_copy(&socket, &request);
        let mut answer = Vec::new();
        while !answer.ends_with(&body) {
            let mut buffer = [0; 16 * 1024];
            let read = socket.read(&mut buffer).expect("the answer");
            assert_ne!(read, 0, "the answer is whole");
            answer.extend_from_slice(&buffer[..read]);
        }
        assert!(answer.starts_with(b"HTTP/1.1 200 OK\r\n"));
        wait_for_completions(&socket, calls);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_with_zero_copy_is_served_and_its_completions_come() {
    let backend = Backend::echo("one").await;
    let running = start(&simple(&[backend.address])).await;
    let to = running.address("web");
    let mut other = running.connect("web").await;
    assert_eq!(other.get("/", "1").await.head.status(), 200);
    settled(&running).await;
    let exchanged = tokio::task::spawn_blocking(move || exchange(to)).await;
    exchanged.expect("the client is content");
    running.idle().await;
}

/// Serves one connection with a listening socket's SO_ZEROCOPY: answers by zero copy.
fn serve(listener: &TcpListener, requests: usize) {
    let (mut socket, _) = listener.accept().expect("a connection");
    socket
        .set_read_timeout(Some(common::LIMIT))
        .expect("the option");
    assert_eq!(zero_copy(&socket), 1);
    let answer = [
        format!("HTTP/1.1 200 OK\r\nContent-Length: {BODY}\r\n\r\n").as_bytes(),
        &vec![b'z'; BODY],
    ]
    .concat();
    for _ in 0..requests {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut buffer = [0; 4096];
            let read = socket.read(&mut buffer).expect("a request");
            assert_ne!(read, 0, "the request is whole");
            head.extend_from_slice(&buffer[..read]);
        }
        let calls = send_zero_copy(&socket, &answer);
        wait_for_completions(&socket, calls);
    }
    socket.flush().expect("it is a socket");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endpoint_that_listens_with_zero_copy_is_served_by_the_proxy() {
    const REQUESTS: usize = 4;
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    set_zero_copy(&listener, 1).expect("it is not connected");
    let address = listener.local_addr().expect("an address");
    let serving = tokio::task::spawn_blocking(move || serve(&listener, REQUESTS));
    let running = start(&simple(&[address])).await;
    let mut client = running.connect("web").await;
    for number in 0..REQUESTS {
        let reply = client.get("/", &number.to_string()).await;
        assert_eq!(reply.head.status(), 200);
        assert!(reply.body.len() == BODY && reply.body.iter().all(|&byte| byte == b'z'));
        assert_eq!(upstreams(&running), 0, "the kernel has no connection to it");
    }
    serving.await.expect("the endpoint is content");
    running.idle().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endpoint_s_connection_that_is_spliced_refuses_zero_copy() {
    let backend = Backend::new(|stream, _| async move {
        let mut wire = Wire::new(stream);
        while let Some(head) = wire.head().await {
            wire.body(&head).await;
            let set = format!("{:?}", set_zero_copy(&wire.stream, 1));
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", set.len());
            wire.send(format!("{head}{set}").as_bytes()).await;
        }
    })
    .await;
    let running = start(&simple(&[backend.address])).await;
    if running.agent.datapath.is_none() {
        return;
    }
    let mut client = running.connect("web").await;
    for number in 0..3 {
        let reply = client.get("/", &number.to_string()).await;
        assert_eq!(reply.text(), format!("Err({})", libc::EOPNOTSUPP));
        settled(&running).await;
    }
    running.idle().await;
}
