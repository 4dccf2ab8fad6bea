//! Where connections went before they were redirected, which `ORIGINAL_DST` clusters ask for.

use std::net::SocketAddr;

use twinmesh_engine::Request;
use twinmesh_xds::Listener;

use crate::Compiled;
use crate::listener::{addresses, has_filter, uses_original_dst};

impl Compiled {
    /// The request's destination, where the listener of this index knows it. Without a listener filter
    /// that restores it, or on a direct connection, the address is the listener's own, and Envoy goes
    /// nowhere with that.
    pub(crate) fn original_destination(
        &self,
        request: &Request,
        listener: Option<usize>,
    ) -> Option<SocketAddr> {
        let to = request.destination?;
        let to = SocketAddr::new(to.ip().to_canonical(), to.port());
        let listener = listener.and_then(|index| self.snapshot.listeners.get(index));
        let is_restored = listener.is_none_or(|taking| {
            // Only another listener hands connections on, with the address that it found out.
            let by_another = match &request.listener {
                Some(named) => *named != taking.name,
                None => false,
            };
            by_another || !binds(taking) || (restores(taking) && !is_at(taking, to))
        });
        is_restored.then_some(to)
    }
}

fn restores(listener: &Listener) -> bool {
    let filters = [
        ("original_dst", "OriginalDst"),
        ("proxy_protocol", "ProxyProtocol"),
    ];
    let mut filters = filters.into_iter();
    uses_original_dst(listener)
        || filters.any(|(name, message)| has_filter(&listener.config, name, message))
}

fn is_at(listener: &Listener, to: SocketAddr) -> bool {
    let own = addresses(listener);
    own.iter()
        .any(|(own, _)| *own == to || own.ip().is_unspecified() && own.port() == to.port())
}

/// `bind_to_port`, in its old place too.
fn binds(listener: &Listener) -> bool {
    let config = &listener.config;
    #[expect(deprecated, reason = "snapshots have it")]
    let old = config.deprecated_v1.as_ref();
    match (config.bind_to_port.as_ref(), old) {
        (Some(binds), _) => binds.value,
        (None, Some(old)) => old.bind_to_port.as_ref().is_none_or(|binds| binds.value),
        (None, None) => true,
    }
}
