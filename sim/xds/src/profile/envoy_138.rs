//! What Envoy 1.38 does not have.

use envoy_types::pb::envoy::config::route::v3::{
    redirect_action::PathRewriteSpecifier, route::Action,
};

use super::leave_route;
use crate::snapshot::Snapshot;

/// Leaves undecided what 1.38 would not read.
pub(super) fn narrow(snapshot: &mut Snapshot) {
    let reason = "Envoy 1.38 does not have redirect.path_rewrite";
    for index in 0..snapshot.route_configurations.len() {
        leave_route(snapshot, index, &mut |route| match &route.action {
            Some(Action::Redirect(redirect)) => match &redirect.path_rewrite_specifier {
                Some(PathRewriteSpecifier::PathRewrite(_)) => {
                    Some(("redirect.path_rewrite".to_owned(), reason.to_owned()))
                }
                _ => None,
            },
            _ => None,
        });
    }
}
