//! What this kernel can do, seen by doing it: known bytes are sent through each path, between
//! sockets of this process.

use std::io::{Read, Write};
use std::mem::offset_of;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use twinmesh_compile::{Numbers, compile_on};
use twinmesh_xds::{ReadOptions, read_bytes};

use super::maps::{address, socket_address};
use super::shape::{Client, Config, Endpoint, Upstream, flag, state};
use super::{Datapath, Sizes};
use crate::Capacity;

/// How long a byte may take that should come at once.
const LIMIT: Duration = Duration::from_secs(5);
/// Ports of the probe's listeners: of the one by request, and the one at connect(2).
const PORTS: [u16; 2] = [7777, 7778];
const REQUEST: &[u8] = b"GET /probe HTTP/1.1\r\nhost: probe\r\nx-probe: yes\r\n\r\n";
const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nprobe";

/// The probe's listeners, where nobody listens. The address is this process's own, as the programs
/// of others that probe at the same time see these connections too.
fn listeners() -> [SocketAddr; 2] {
    let [_, high, middle, low] = std::process::id().to_be_bytes();
    let ip = Ipv4Addr::new(127, 64 | high & 63, middle, low);
    PORTS.map(|port| (ip, port).into())
}

/// What came of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probed {
    /// Its name: `load`, `attach`, `redirect`, `splice`, `connect_time`.
    pub path: &'static str,
    /// What was seen; why it is of no use here.
    pub outcome: Result<String, String>,
}

/// Tries every path, in a cgroup that this process is in; `root` is that of all.
pub fn probe(cgroup: &Path, root: &Path) -> Vec<Probed> {
    let mut all = Vec::new();
    let mut note = |path: &'static str, outcome: Result<String, String>| {
        let went = outcome.is_ok();
        all.push(Probed { path, outcome });
        went
    };
    let sizes = Sizes {
        policy: Capacity::LEAST,
        endpoints: 64,
        clients: 64,
        upstreams: 64,
        pools: 64,
    };
    let datapath = match Datapath::load(sizes) {
        Ok(datapath) => datapath,
        Err(why) => {
            note("load", Err(why.to_string()));
            return all;
        }
    };
    note("load", Ok("the programs are verified".to_owned()));
    let attached = match datapath.attach(cgroup, root) {
        Ok(attached) => attached,
        Err(why) => {
            note("attach", Err(why.to_string()));
            return all;
        }
    };
    note("attach", Ok(format!("to {}", cgroup.display())));
    match Probe::new(&datapath) {
        Ok(mut probe) => {
            if note("redirect", probe.redirect()) {
                note("splice", probe.splice());
            }
            note("connect_time", probe.connect_time());
        }
        Err(why) => {
            note("redirect", Err(why));
        }
    }
    drop(attached);
    all
}

struct Probe<'a> {
    datapath: &'a Datapath,
    by_request: SocketAddr,
    at_connect: SocketAddr,
    agent: TcpListener,
    endpoint: TcpListener,
    client: Option<(TcpStream, TcpStream)>,
}

fn failed(what: &str) -> impl Fn(std::io::Error) -> String + '_ {
    move |error| format!("{what}: {error}")
}

impl<'a> Probe<'a> {
    fn new(datapath: &'a Datapath) -> Result<Self, String> {
        let listen = || TcpListener::bind("127.0.0.1:0").map_err(failed("a socket"));
        let (agent, endpoint) = (listen()?, listen()?);
        let local = |listener: &TcpListener| listener.local_addr().map_err(failed("a socket"));
        let at = local(&endpoint)?;
        let [by_request, at_connect] = listeners();
        let snapshot = snapshot(by_request, at_connect, at);
        let snapshot = read_bytes("probe", snapshot.as_bytes(), &ReadOptions::default())
            .map_err(|error| error.to_string())?;
        let maps = datapath.maps();
        let mut numbers = Numbers::new(u64::from(maps.sizes.endpoints));
        let compiled =
            compile_on(&Arc::new(snapshot), &mut numbers).map_err(|error| error.to_string())?;
        maps.write_policy(1, &compiled.policy)?;
        let sets = compiled.state.get(maps.active().len()..);
        maps.publish(1, sets.unwrap_or_default());
        for (number, _) in compiled.places() {
            let endpoint = Endpoint {
                address: address(at),
                family: 2,
                pool: 1,
            };
            maps.set_endpoint(number as u64, endpoint);
        }
        maps.set_config(&Config {
            flags: flag::REDIRECT | flag::SPLICE | flag::CONNECT_TIME,
            agent_v4: address(local(&agent)?),
            queue_limit: 256 * 1024,
            ..Config::default()
        });
        Ok(Self {
            datapath,
            by_request,
            at_connect,
            agent,
            endpoint,
            client: None,
        })
    }

    /// A connection to a listener comes to the agent, which learns where it was going; the client
    /// is told that it is there.
    fn redirect(&mut self) -> Result<String, String> {
        let by_request = self.by_request;
        let client = connect(by_request)?;
        let (agent, peer) = accept(&self.agent, "the agent")?;
        let peer_of = client.peer_addr().map_err(failed("getpeername"))?;
        if peer_of != by_request {
            return Err(format!("getpeername says {peer_of}, expected {by_request}"));
        }
        let accepted = self.datapath.maps().accepted(peer);
        let accepted = accepted.ok_or("the kernel does not say where the connection was going")?;
        let destination = socket_address(accepted.destination);
        if destination != by_request {
            return Err(format!(
                "it was going to {destination}, expected {by_request}"
            ));
        }
        self.client = Some((client, agent));
        Ok("getpeername and the agent agree on the destination".to_owned())
    }

    /// A request goes from the client's socket into the endpoint's, and the response back, without
    /// a byte for the agent.
    fn splice(&mut self) -> Result<String, String> {
        let maps = self.datapath.maps();
        let (client, agent) = self.client.as_mut().ok_or("there is no connection")?;
        let own = own_socket(self.datapath)?;
        let at = self.endpoint.local_addr().map_err(failed("a socket"))?;
        let upstream = maps.upstream(0);
        upstream.set(offset_of!(Upstream, uses), 1);
        let local = own.local_addr().map_err(failed("a socket"))?;
        maps.expect(local, 0)?;
        let own = own.connect(at)?;
        let (mut endpoint, _) = accept(&self.endpoint, "the endpoint")?;
        let started = Instant::now();
        while upstream.get(offset_of!(Upstream, cookie)) == 0 {
            if started.elapsed() > LIMIT {
                return Err("the endpoint's accepted socket is not tracked".to_owned());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        upstream.set(offset_of!(Upstream, state), state::IDLE);
        maps.put_idle(0);
        // The head in two writes, as clients may.
        let (first, second) = REQUEST.split_at(20);
        client.write_all(first).map_err(failed("sending"))?;
        client.write_all(second).map_err(failed("sending"))?;
        expect(&mut endpoint, REQUEST, "the endpoint")
            .map_err(|why| format!("{why}; handed over by reason: {:?}", maps.handed()))?;
        endpoint.write_all(RESPONSE).map_err(failed("answering"))?;
        expect(client, RESPONSE, "the client")?;
        agent.set_nonblocking(true).map_err(failed("a socket"))?;
        let mut byte = [0];
        if agent.read(&mut byte).is_ok() {
            return Err("bytes came to the agent".to_owned());
        }
        let handed = maps.handed();
        let left = maps.client(0).get(offset_of!(Client, upstream));
        let active: u64 = maps
            .active()
            .iter()
            .map(|word| word.load(std::sync::atomic::Ordering::SeqCst))
            .sum();
        if handed.iter().any(|&count| count != 0) || left != 0 || active != 0 {
            return Err(format!(
                "afterwards {handed:?} requests were handed over and {active} are active"
            ));
        }
        drop(own);
        Ok("a head in two writes and its response took the short way".to_owned())
    }

    /// A connection whose route needs nothing of a request goes straight to the endpoint.
    fn connect_time(&mut self) -> Result<String, String> {
        let at_connect = self.at_connect;
        let mut client = connect(at_connect)?;
        let (mut endpoint, _) = accept(&self.endpoint, "the endpoint")?;
        let peer_of = client.peer_addr().map_err(failed("getpeername"))?;
        if peer_of != at_connect {
            return Err(format!("getpeername says {peer_of}, expected {at_connect}"));
        }
        client.write_all(REQUEST).map_err(failed("sending"))?;
        expect(&mut endpoint, REQUEST, "the endpoint")?;
        Ok("connect(2) reached the endpoint that was chosen".to_owned())
    }
}

/// A socket that is known as the agent's own, bound and not connected.
struct Own(OwnedFd);

fn own_socket(datapath: &Datapath) -> Result<Own, String> {
    // SAFETY: the call takes no pointer.
    let fd = unsafe { libc::socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0) };
    if fd < 0 {
        return Err(failed("a socket")(std::io::Error::last_os_error()));
    }
    // SAFETY: the descriptor is new, and nobody else's.
    let own = Own(unsafe { OwnedFd::from_raw_fd(fd) });
    datapath.maps().mark_own(&own.0)?;
    let any = sockaddr((Ipv4Addr::LOCALHOST, 0).into());
    // SAFETY: the structure is as long as is said.
    if unsafe { libc::bind(own.0.as_raw_fd(), (&raw const any).cast(), ADDRESS_BYTES) } != 0 {
        return Err(failed("bind")(std::io::Error::last_os_error()));
    }
    Ok(own)
}

const ADDRESS_BYTES: u32 = size_of::<libc::sockaddr_in>() as u32;

fn sockaddr(at: SocketAddr) -> libc::sockaddr_in {
    let ip = match at.ip() {
        std::net::IpAddr::V4(ip) => u32::from_ne_bytes(ip.octets()),
        std::net::IpAddr::V6(_) => 0,
    };
    libc::sockaddr_in {
        sin_family: libc::AF_INET as u16,
        sin_port: at.port().to_be(),
        sin_addr: libc::in_addr { s_addr: ip },
        sin_zero: [0; 8],
    }
}

impl Own {
    fn local_addr(&self) -> std::io::Result<SocketAddr> {
        // A listener's type knows the call for any socket.
        TcpListener::from(self.0.try_clone()?).local_addr()
    }

    fn connect(self, to: SocketAddr) -> Result<TcpStream, String> {
        let to = sockaddr(to);
        // SAFETY: the structure is as long as is said.
        if unsafe { libc::connect(self.0.as_raw_fd(), (&raw const to).cast(), ADDRESS_BYTES) } != 0
        {
            return Err(failed("connect")(std::io::Error::last_os_error()));
        }
        Ok(TcpStream::from(self.0))
    }
}

fn connect(to: SocketAddr) -> Result<TcpStream, String> {
    let stream = TcpStream::connect_timeout(&to, LIMIT);
    let stream = stream.map_err(|error| format!("connecting to {to}: {error}"))?;
    stream.set_nodelay(true).map_err(failed("a socket"))?;
    stream
        .set_read_timeout(Some(LIMIT))
        .map_err(failed("a socket"))?;
    Ok(stream)
}

fn accept(listener: &TcpListener, who: &str) -> Result<(TcpStream, SocketAddr), String> {
    listener.set_nonblocking(true).map_err(failed("a socket"))?;
    let started = Instant::now();
    loop {
        match listener.accept() {
            Ok((stream, peer)) => {
                stream.set_nonblocking(false).map_err(failed("a socket"))?;
                stream
                    .set_read_timeout(Some(LIMIT))
                    .map_err(failed("a socket"))?;
                return Ok((stream, peer));
            }
            Err(error) if error.kind() != std::io::ErrorKind::WouldBlock => {
                return Err(failed(who)(error));
            }
            Err(_) if started.elapsed() > LIMIT => {
                return Err(format!("no connection came to {who}"));
            }
            Err(_) => std::thread::sleep(Duration::from_millis(1)),
        }
    }
}

fn expect(stream: &mut TcpStream, bytes: &[u8], who: &str) -> Result<(), String> {
    let mut read = vec![0; bytes.len()];
    stream
        .read_exact(&mut read)
        .map_err(|error| format!("what {who} was sent did not come: {error}"))?;
    if read != bytes {
        return Err(format!(
            "{who} got {:?}, expected {:?}",
            String::from_utf8_lossy(&read),
            String::from_utf8_lossy(bytes)
        ));
    }
    Ok(())
}

/// One listener by request, and one whose endpoint can be chosen at connect(2).
fn snapshot(by_request: SocketAddr, at_connect: SocketAddr, endpoint: SocketAddr) -> String {
    let types = "type.googleapis.com/envoy.extensions.filters";
    let listener = |name: &str, at: SocketAddr, matched: &str| {
        format!(
            r#"{{"name": "{name}", "address": {{"socket_address": {{"address": "{}", "port_value": {}}}}},
            "filter_chains": [{{"filters": [{{"name": "hcm", "typed_config": {{
            "@type": "{types}.network.http_connection_manager.v3.HttpConnectionManager", "stat_prefix": "probe",
            "http_filters": [{{"name": "router", "typed_config": {{"@type": "{types}.http.router.v3.Router"}}}}],
            "route_config": {{"name": "{name}", "virtual_hosts": [{{"name": "probe", "domains": ["*"],
            "routes": [{{"match": {{"prefix": "/"{matched}}}, "route": {{"cluster": "probe"}}}}]}}]}}}}}}]}}]}}"#,
            at.ip(),
            at.port()
        )
    };
    let header = r#", "headers": [{"name": "x-probe", "string_match": {"exact": "yes"}}]"#;
    format!(
        r#"{{"static_resources": {{"listeners": [{}, {}], "clusters": [{{"name": "probe", "type": "STATIC",
        "connect_timeout": "1s", "load_assignment": {{"cluster_name": "probe", "endpoints": [{{"lb_endpoints": [
        {{"endpoint": {{"address": {{"socket_address": {{"address": "{}", "port_value": {}}}}}}}}}]}}]}}}}]}}}}"#,
        listener("by_request", by_request, header),
        listener("at_connect", at_connect, ""),
        endpoint.ip(),
        endpoint.port()
    )
}
