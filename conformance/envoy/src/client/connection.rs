//! One connection to Envoy.

use std::io::{self, ErrorKind, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use twinmesh_engine::Request;

use crate::error::EnvoyError;
use crate::plan::{Ends, Way};
use crate::response::{Reader, Response};
use crate::tls::Stream;

const PATIENCE: Duration = Duration::from_secs(10);

/// A connection, from an address that no other connection of the run has.
pub struct Connection {
    stream: Stream,
    reader: Reader,
    /// Its own end.
    pub from: String,
    /// How many requests it has answered.
    pub answered: usize,
}

impl Connection {
    /// Connects to an entry; the `number`th connection of the run.
    ///
    /// # Errors
    /// There is no connection to be had.
    pub fn open(entry: SocketAddr, way: &Way, number: u32) -> Result<Self, EnvoyError> {
        let own = own_address(number);
        let connect = || -> io::Result<(TcpStream, String)> {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
            socket.bind(&SocketAddr::from((own, 0)).into())?;
            socket.connect(&entry.into())?;
            socket.set_tcp_nodelay(true)?;
            socket.set_read_timeout(Some(PATIENCE))?;
            socket.set_write_timeout(Some(PATIENCE))?;
            let mut stream = TcpStream::from(socket);
            let from = stream.local_addr()?.to_string();
            if let Some(ends) = way.ends {
                stream.write_all(proxy_header(ends).as_bytes())?;
            }
            Ok((stream, from))
        };
        let (stream, from) = connect().map_err(EnvoyError::io(format!(
            "connecting from {own} to Envoy at {entry}"
        )))?;
        let stream = match &way.tls {
            Some(tls) => Stream::over_tls(stream, tls)?,
            None => Stream::Plain(stream),
        };
        Ok(Self {
            stream,
            reader: Reader::default(),
            from,
            answered: 0,
        })
    }

    /// Writes the heads of requests; whether the connection took them.
    pub fn write(&mut self, requests: &[Request]) -> bool {
        let bytes: Vec<u8> = requests.iter().flat_map(Request::head).collect();
        match self.stream.write_all(&bytes) {
            Ok(()) => true,
            // What was answered before it was closed can still be read.
            Err(error) => matches!(
                error.kind(),
                ErrorKind::BrokenPipe | ErrorKind::ConnectionReset
            ),
        }
    }

    /// The response to the next request, with its body; `None` where the connection was closed before it.
    /// The request `may_be_open`: its head may announce more than the client sends.
    ///
    /// # Errors
    /// What comes is no response, or nothing comes in time.
    pub fn read(
        &mut self,
        request: &Request,
        may_be_open: bool,
    ) -> Result<Option<(Response, Vec<u8>)>, String> {
        let method = request.method.trim();
        match self.reader.next(&mut self.stream, method, may_be_open) {
            Ok(Some(found)) => {
                self.answered += 1;
                Ok(Some(found))
            }
            Ok(None) => Ok(None),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                Err(format!(
                    "Envoy did not answer within {} s",
                    PATIENCE.as_secs()
                ))
            }
            Err(error) => Err(format!("Envoy's answer cannot be read: {error}")),
        }
    }
}

/// From 127.200.0.1 on, round and round: a port may come again only where the address does.
fn own_address(number: u32) -> Ipv4Addr {
    const FIRST: u32 = u32::from_be_bytes([127, 200, 0, 1]);
    const COUNT: u32 = 50 << 16;
    Ipv4Addr::from(FIRST + number % COUNT)
}

/// The PROXY protocol's first version.
fn proxy_header(ends: Ends) -> String {
    let Ends {
        source,
        destination,
    } = ends;
    let family = if source.is_ipv4() { "TCP4" } else { "TCP6" };
    format!(
        "PROXY {family} {} {} {} {}\r\n",
        source.ip(),
        destination.ip(),
        source.port(),
        destination.port()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_loopback_and_differ() {
        let first: Vec<Ipv4Addr> = (0..1000).map(own_address).collect();
        assert!(first.iter().all(Ipv4Addr::is_loopback));
        assert!(first.windows(2).all(|two| two[0] != two[1]));
        assert!(own_address(u32::MAX - 1).is_loopback());
    }

    #[test]
    fn a_proxy_header_says_both_ends() {
        let ends = Ends {
            source: "10.0.0.7:40000".parse().expect("an address"),
            destination: "10.96.0.10:80".parse().expect("an address"),
        };
        assert_eq!(
            proxy_header(ends),
            "PROXY TCP4 10.0.0.7 10.96.0.10 40000 80\r\n"
        );
        let ends = Ends {
            source: "[fd00::1]:1".parse().expect("an address"),
            destination: "[::1]:80".parse().expect("an address"),
        };
        assert_eq!(proxy_header(ends), "PROXY TCP6 fd00::1 ::1 1 80\r\n");
    }
}
