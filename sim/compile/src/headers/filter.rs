//! What HTTP filters change of headers: one change after the other, each of which sees those before.

use twinmesh_engine::{Level, MutationOf};
use twinmesh_xds::header_mutation::{HeaderChange, of_request, of_response};

use super::Taken;
use super::entries::Entries;
use super::format::Asked;
use super::mutation::Mutations;

impl<'a> Taken<'a> {
    /// The changes to a message, in order: filters see a response in the opposite order.
    pub(super) fn changes(&self, of: MutationOf) -> Vec<HeaderChange<'a>> {
        match of {
            MutationOf::Request => {
                let all = self.filters.iter().flatten();
                all.flat_map(|mutations| of_request(mutations)).collect()
            }
            MutationOf::Response => {
                let all = self.filters.iter().rev().flatten();
                all.flat_map(|mutations| of_response(mutations)).collect()
            }
        }
    }

    /// Changes the request before the router has it.
    pub(super) fn filter_request(&self, entries: &mut Entries) {
        let changes = self.changes(MutationOf::Request);
        if changes.is_empty() {
            return;
        }
        let asked = self.asked(Some((0, 0, "", "-")), false, true);
        for change in &changes {
            mutations(change).change_request(entries, &asked);
        }
    }

    /// Changes the response that the router has left. Its status is known there.
    pub(super) fn filter_response(
        &self,
        request: &Entries,
        response: &mut Entries,
        mut asked: Asked<'_>,
    ) {
        let status = response.first(":status").flatten();
        let status = status.and_then(|status| status.parse().ok());
        asked.state = match (asked.state, status) {
            (Some((attempts, _, details, flags)), Some(status))
                if !self.is_reply_to_grpc(details) =>
            {
                Some((attempts, status, details, flags))
            }
            _ => {
                response.forget(":status");
                None
            }
        };
        for change in &self.changes(MutationOf::Response) {
            mutations(change).change_response(request, response, &asked);
        }
    }

    /// Whether it is an answer of Envoy's own to gRPC, whose status stands inside a 200.
    fn is_reply_to_grpc(&self, details: &str) -> bool {
        self.seen.grpc && details != "via_upstream"
    }
}

/// A single change.
fn mutations<'c>(change: &'c HeaderChange<'_>) -> Mutations<'c> {
    let (add, remove) = match change {
        HeaderChange::Put(option) => (std::slice::from_ref(*option), &[][..]),
        HeaderChange::Remove(name) => (&[][..], std::slice::from_ref(*name)),
    };
    Mutations {
        level: Level::Route,
        add,
        remove,
    }
}
