//! What the connection manager changes of a request before it is routed, where the model leaves
//! that to be done: the request is then decided again, as the connection manager leaves it.

use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::HttpConnectionManager;
use twinmesh_engine::{BadRequest, Decision, EngineError, Outcome, Request, Step};
use twinmesh_model::Span;
use twinmesh_model::head::HEADERS;
use twinmesh_model::layout::{connection, filter_chain, low, outcome, unsupported, work};
use twinmesh_xds::{FilterChain, Terminal};

use crate::answer::Record;
use crate::connect;
use crate::normalize::{Normal, normalize};
use crate::seen::{is_grpc, text};
use crate::upgrade::Verdict;
use crate::{Compiled, Input, Left};

/// `max_request_headers_kb` by default.
const HEAD_KILOBYTES: u32 = 60;

/// How many headers a request has beside its lines.
const PSEUDO: u64 = 4;

/// A request as the connection manager leaves it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Managed {
    /// The request that is decided.
    pub request: Request,
    /// What is laid out for the model in its place, where that is not the same.
    laid: Option<Request>,
    /// The codec has been through the head.
    decoded: bool,
    /// The codec refuses the head for what Connection says, and the model is to find a fault in it.
    pub(crate) refused: bool,
    /// What it asks to be upgraded to.
    pub(crate) upgrade: Option<String>,
    /// Bits of [`connection`]: what has been done.
    bits: u64,
}

impl Managed {
    /// A request as it came.
    fn of(came: &Request) -> Self {
        Self {
            request: came.clone(),
            laid: None,
            decoded: false,
            refused: false,
            upgrade: None,
            bits: 0,
        }
    }

    /// A request in whose place another head is laid out, which is as it is to be.
    pub(crate) fn laid_out(came: &Request, laid: Request) -> Self {
        Self {
            laid: Some(laid),
            decoded: true,
            ..Self::of(came)
        }
    }

    /// Whether the codec has been through the head: who carries the request has to send what that
    /// leaves, too.
    pub fn is_decoded(&self) -> bool {
        self.decoded
    }

    /// Whether it asks for an upgrade: only machines in userspace stop at its route for that.
    pub fn upgrades(&self) -> bool {
        self.upgrade.is_some()
    }

    /// What is laid out for the model.
    fn laid(&self) -> &Request {
        self.laid.as_ref().unwrap_or(&self.request)
    }

    /// Whether the head is not too long for the connection manager: what it took may have grown, and is not
    /// refused for that.
    fn fits(&self, manager: &HttpConnectionManager) -> bool {
        let most = manager
            .max_request_headers_kb
            .as_ref()
            .map_or(HEAD_KILOBYTES, |most| most.value);
        self.laid().head().len() as u64 <= u64::from(most) * 1024
    }
}

impl Compiled {
    /// The connection manager that a request came to, where the model left it to that.
    fn manager(&self, record: &Record<'_>) -> Option<&HttpConnectionManager> {
        if record.word(work::OUTCOME) != outcome::UNSUPPORTED
            || record.word(work::REASON) != unsupported::PATH_NOT_NORMAL
        {
            return None;
        }
        self.manager_of(record)
    }

    /// The connection manager that a request came to.
    pub(crate) fn manager_of(&self, record: &Record<'_>) -> Option<&HttpConnectionManager> {
        match &self.chain_of(record)?.terminal {
            Terminal::Http { manager, .. } => Some(manager),
            _ => None,
        }
    }

    /// The filter chain that a request came to.
    pub(crate) fn chain_of(&self, record: &Record<'_>) -> Option<&FilterChain> {
        let listener = self.index(record.word(work::CHOSEN_LISTENER))?;
        let listener = self.snapshot.listeners.get(listener)?;
        match self.index(record.word(work::CHOSEN_FILTER_CHAIN))? {
            default if default == u32::MAX as usize => listener.default_filter_chain.as_ref(),
            index => listener.filter_chains.get(index),
        }
    }

    /// The request as the connection manager leaves it, where the model stopped for that: it is to
    /// be laid out with [`Self::prepare_managed`] and decided again, until there is nothing more
    /// to do. `before` is what the model decided, where that is not the request as it came.
    pub fn managed(
        &self,
        came: &Request,
        before: Option<&Managed>,
        left: &Left,
    ) -> Option<Managed> {
        let record = Record { left };
        let is_for_codec = match record.word(work::REASON) {
            unsupported::HEADER_REWRITTEN => true,
            unsupported::TARGET_FORM => connect::is_connect(came),
            _ => false,
        };
        if record.word(work::OUTCOME) == outcome::UNSUPPORTED && is_for_codec {
            return self.decoded(came, before, &record);
        }
        if record.stopped_for_upgrade() {
            let before = before?;
            let is_allowed = self.upgrade(before.upgrade.as_deref()?, &record) == Verdict::Allowed
                && self.tunnel_undecided(came, before, &record).is_none();
            return is_allowed.then(|| Managed {
                bits: before.bits & !connection::UPGRADE,
                ..before.clone()
            });
        }
        let manager = self.manager(&record)?;
        if before.is_some_and(|before| before.bits & connection::MANAGED != 0) {
            return None;
        }
        let mut managed = before.map_or_else(|| Managed::of(came), Managed::clone);
        managed.bits |= connection::MANAGED;
        let target = text(&managed.request.head(), Span(record.word(work::TARGET)));
        // The target of CONNECT is no path.
        let path = match connect::is_connect(came) {
            true => target.clone(),
            false => match normalize(manager, &target) {
                Normal::Path(path) => path,
                Normal::Redirect(_) | Normal::Refused => return None,
            },
        };
        if path != target {
            let given = managed.request.path.trim_matches([' ', '\t']);
            let before = given.strip_suffix(target.as_str())?;
            managed.request.path = format!("{before}{path}");
            if let Some(laid) = &mut managed.laid {
                laid.path.clone_from(&managed.request.path);
            }
        }
        self.manage(manager, &record, &mut managed)?;
        managed.fits(manager).then_some(managed)
    }

    /// Changes the headers as the connection manager does.
    fn manage(
        &self,
        manager: &HttpConnectionManager,
        record: &Record<'_>,
        managed: &mut Managed,
    ) -> Option<()> {
        if !self.manages_headers(record) {
            return Some(());
        }
        let before = managed.laid().headers.len();
        self.manage_headers(manager, record, &mut managed.request)?;
        if let Some(laid) = &mut managed.laid {
            self.manage_headers(manager, record, laid)?;
        }
        // The model counts what is written too, beside host, method, path and scheme.
        let after = managed.laid().headers.len();
        let most = manager.common_http_protocol_options.as_ref();
        let most = most.and_then(|options| options.max_headers_count);
        let most = most.map_or(HEADERS, |most| u64::from(most.value));
        (after <= before || after as u64 + PSEUDO < most).then_some(())
    }

    /// The request as the codec leaves it, where the model stopped for that.
    fn decoded(
        &self,
        came: &Request,
        before: Option<&Managed>,
        record: &Record<'_>,
    ) -> Option<Managed> {
        let before = before.cloned().unwrap_or_else(|| Managed::of(came));
        if before.decoded {
            return None;
        }
        let nothing = HttpConnectionManager::default();
        let manager = self.manager_of(record).unwrap_or(&nothing);
        let decoded = self.decode(&before.request, manager)?;
        // A head is judged before its headers are changed.
        let is_managed = match self.manages_headers(record) {
            true => 0,
            false => connection::MANAGED,
        };
        let managed = Managed {
            request: decoded.request,
            laid: Some(decoded.laid),
            decoded: true,
            refused: decoded.refused,
            bits: before.bits
                | match decoded.upgrade {
                    Some(_) => connection::UPGRADE,
                    None => 0,
                }
                | match connect::is_connect(came) {
                    true => connection::CONNECT | is_managed,
                    false => 0,
                },
            upgrade: decoded.upgrade,
        };
        managed.fits(manager).then_some(managed)
    }

    /// As [`Self::prepare`], for what [`Self::managed`] gave.
    ///
    /// # Errors
    /// As there.
    pub fn prepare_managed<I: Input>(
        &self,
        managed: &Managed,
        random: u64,
        sequence: u64,
        to: &mut I,
    ) -> Result<(), EngineError> {
        self.lay_out(managed.laid(), random, sequence, managed.bits, to)
    }

    /// What the connection manager answers itself, where the model left the request to it.
    pub(crate) fn managed_reply(
        &self,
        request: &Request,
        record: &Record<'_>,
        decision: &mut Decision,
        steps: &mut Vec<Step>,
    ) -> bool {
        let Some(manager) = self.manager(record) else {
            return false;
        };
        if connect::is_connect(request) {
            return false;
        }
        let target = text(&request.head(), Span(record.word(work::TARGET)));
        let grpc = is_grpc(request);
        match normalize(manager, &target) {
            Normal::Path(_) => return false,
            // gRPC is not redirected.
            Normal::Redirect(location) if !grpc => {
                decision.outcome = Outcome::Redirect;
                decision.status = Some(307);
                decision.location = Some(location);
            }
            Normal::Redirect(_) | Normal::Refused => {
                steps.push(Step::BadRequest(BadRequest::Target));
                decision.outcome = Outcome::BadRequest;
                decision.status = Some(if grpc { 200 } else { 400 });
                decision.reason = Some("the connection manager refuses the path".to_owned());
            }
        }
        let chain = record.word(work::CHOSEN_FILTER_CHAIN);
        decision.route_config = self.configuration_name(chain).map(str::to_owned);
        true
    }

    /// The name of a filter chain's route configuration, where it has one.
    fn configuration_name(&self, chain: u64) -> Option<&str> {
        let configuration = low(self.policy_word(chain + filter_chain::TARGET));
        let held = self
            .snapshot
            .route_configurations
            .get(self.index(configuration)?)?;
        Some(held.name.as_str()).filter(|name| !name.is_empty())
    }
}
