//! Requests that ask for an upgrade: `upgrade_configs` of the route that takes them and of the
//! connection manager that they came to.

use envoy_types::pb::envoy::config::route::v3::{Route, route::Action};
use twinmesh_engine::{BadRequest, Decision, Outcome, Request, Step};
use twinmesh_model::layout::{low, outcome, unsupported, work};

use crate::Compiled;
use crate::answer::Record;
use crate::codec::{asks_for, asks_for_upgrade};
use crate::connect;
use crate::headers::{Taken, undecide};
use crate::managed::Managed;
use crate::seen::Seen;

/// Envoy's answer to an upgrade that is not allowed.
const STATUS: u32 = 403;

/// What becomes of an upgrade.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The request is routed as any other.
    Allowed,
    /// It would go through filters of its own.
    OtherFilters,
    /// Envoy answers with [`STATUS`].
    Refused,
}

impl Record<'_> {
    /// Whether the model stopped at the route, for the upgrade to be looked at.
    pub(crate) fn stopped_for_upgrade(&self) -> bool {
        self.word(work::OUTCOME) == outcome::UNSUPPORTED
            && self.word(work::REASON) == unsupported::UPGRADE
    }
}

impl Compiled {
    /// The route that took the request.
    fn route_of(&self, record: &Record<'_>) -> Option<&Route> {
        let configuration = self.index(record.word(work::CHOSEN_ROUTE_CONFIGURATION))?;
        let configuration = self.snapshot.route_configurations.get(configuration)?;
        let host = record.word(work::CHOSEN_VIRTUAL_HOST);
        let first = low(self.policy_word(host + 8));
        let host = configuration.config.virtual_hosts.get(self.index(host)?)?;
        let position = record.word(work::CHOSEN_ROUTE).checked_sub(first + 1)?;
        host.routes.get(position as usize)
    }

    /// What becomes of an upgrade to this at the route that the model stopped at.
    pub(crate) fn upgrade(&self, to: &str, record: &Record<'_>) -> Verdict {
        let on = |enabled: Option<bool>| enabled.unwrap_or(true);
        let manager = self.manager_of(record);
        let mut of_manager = manager.iter().flat_map(|it| &it.upgrade_configs);
        let of_manager = of_manager.find(|it| it.upgrade_type.eq_ignore_ascii_case(to));
        let by_route = match self.route_of(record).and_then(|it| it.action.as_ref()) {
            Some(Action::Route(action)) => {
                let mut configs = action.upgrade_configs.iter();
                configs.find(|it| it.upgrade_type.eq_ignore_ascii_case(to))
            }
            _ => None,
        };
        let by_route = by_route.map(|it| on(it.enabled.map(|enabled| enabled.value)));
        let by_manager = of_manager.map(|it| on(it.enabled.map(|enabled| enabled.value)));
        if !by_route.or(by_manager).unwrap_or(false) {
            return Verdict::Refused;
        }
        if of_manager.is_some_and(|it| !it.filters.is_empty()) {
            return Verdict::OtherFilters;
        }
        Verdict::Allowed
    }

    /// Why a tunnel that is allowed at the route that the model stopped at is not decided.
    pub(crate) fn tunnel_undecided(
        &self,
        came: &Request,
        managed: &Managed,
        record: &Record<'_>,
    ) -> Option<&'static str> {
        let seen = self.seen(&managed.request, record);
        connect::undecided(came, self.route_of(record), &seen.authority)
    }

    /// Why a request is not decided, where that is for the upgrade that it asks for: what the model
    /// stopped for this reason at was not decoded, or is a tunnel.
    pub(crate) fn upgrade_undecided(
        &self,
        came: &Request,
        managed: Option<&Managed>,
        record: &Record<'_>,
    ) -> Option<String> {
        let reason = record.word(work::REASON);
        let is_allowed = |managed: &Managed| {
            let to = managed.upgrade.as_deref();
            to.is_some_and(|to| self.upgrade(to, record) == Verdict::Allowed)
        };
        if reason == unsupported::UPGRADE
            && let Some(managed) = managed.filter(|managed| is_allowed(managed))
        {
            let why = self.tunnel_undecided(came, managed, record);
            return why.map(str::to_owned);
        }
        if asks_for(came, connect::CONNECT_UDP) {
            return Some("CONNECT-UDP requests are not decided".to_owned());
        }
        if reason == unsupported::TARGET_FORM && connect::is_connect(came) {
            return Some(
                "CONNECT requests are decided in userspace, and not beside every header".to_owned(),
            );
        }
        if reason != unsupported::HEADER_REWRITTEN || !asks_for_upgrade(came) {
            return None;
        }
        let why = if self.matches_upgrades {
            "upgrades are not decided where matchers look at connection or upgrade"
        } else {
            "requests that ask for an upgrade are decided in userspace only"
        };
        Some(why.to_owned())
    }

    /// Envoy's answer to an upgrade that is not allowed; whether that is what the model stopped for.
    pub(crate) fn upgrade_reply(
        &self,
        managed: Option<&Managed>,
        taken: Option<&Taken<'_>>,
        (record, seen): (&Record<'_>, &Seen),
        decision: &mut Decision,
        steps: &mut Vec<Step>,
    ) -> bool {
        let to = managed.and_then(|managed| managed.upgrade.as_deref());
        let refuses = |to| self.upgrade(to, record) == Verdict::Refused;
        if !record.stopped_for_upgrade() || !to.is_some_and(refuses) {
            return false;
        }
        steps.push(Step::BadRequest(BadRequest::Upgrade));
        decision.outcome = Outcome::BadRequest;
        decision.status = Some(seen.status(STATUS));
        decision.reason = Some(BadRequest::Upgrade.to_string());
        if let Some(taken) = taken
            && taken.refuse_upgrade(STATUS, decision, steps).is_err()
        {
            undecide(decision, steps);
        }
        true
    }
}
