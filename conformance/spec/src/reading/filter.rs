//! What HTTP filters of RBAC say of a request.

use twinmesh_engine::{Chain, Request};
use twinmesh_xds::http_filter::FilterKind;
use twinmesh_xds::{Snapshot, Terminal};

use super::{At, Matchers, Seen};
use crate::connection::Connection;
use crate::http_filter::{asked, effective};
use crate::network_rbac;
use crate::rbac::{self, Judged};

impl Matchers {
    /// By what the RBAC filter of this index in `HttpConnectionManager.http_filters` lets a request on or
    /// answers it; `seen` is the request as it gets there, `route` the one that took it. `None`: that is
    /// no filter of RBAC, or none that runs for the request.
    pub fn judged(
        &self,
        snapshot: &Snapshot,
        (request, seen): (&Request, &Seen),
        (listener, chain): (usize, Chain),
        filter: usize,
        route: Option<At>,
    ) -> Option<Judged> {
        let listener = snapshot.listeners.get(listener)?;
        let chain = match chain {
            Chain::Index(index) => listener.filter_chains.get(index)?,
            Chain::Default => listener.default_filter_chain.as_ref()?,
        };
        let Terminal::Http { manager, .. } = &chain.terminal else {
            return None;
        };
        let mut filters = chain.http_filters.iter();
        let filter = filters.find(|it| it.index == filter)?;
        let (config, level) = effective(snapshot, filter, route)?;
        let FilterKind::Rbac(rbac) = config else {
            return None;
        };
        let server_name = Connection::new(request, listener).server_name;
        let connection = network_rbac::asked(request, Some(listener), server_name, &self.regexes);
        let asked = asked(manager, &seen.message, connection);
        Some(rbac::judged(rbac, &asked, filter, level))
    }
}
