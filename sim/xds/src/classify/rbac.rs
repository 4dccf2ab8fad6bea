//! The RBAC filters, of HTTP and of connections: their rules, permissions and principals.

use super::{
    Judged,
    Rule::{Decided, Inert, Judge, ReadOver, Unsupported},
    STATISTICS, Table, Verdict,
};
use crate::network_rbac::NETWORK_RBAC;
use crate::rbac_matcher::HTTP_RBAC;

const RULES: super::Rule = Judge(rules);
const CEL: super::Rule = Unsupported("conditions in CEL are not decided");
const METADATA: super::Rule = Unsupported("rules over metadata are not decided");

pub(super) const TABLES: &[Table] = &[
    Table {
        message: HTTP_RBAC,
        fields: &[
            ("rules", RULES),
            ("rules_stat_prefix", STATISTICS),
            ("matcher", Decided),
            ("shadow_rules", Inert),
            ("shadow_matcher", Inert),
            ("shadow_rules_stat_prefix", STATISTICS),
            ("track_per_rule_stats", STATISTICS),
        ],
    },
    Table {
        message: NETWORK_RBAC,
        fields: &[
            ("rules", RULES),
            ("matcher", Decided),
            ("shadow_rules", Inert),
            ("shadow_matcher", Inert),
            ("shadow_rules_stat_prefix", STATISTICS),
            ("stat_prefix", STATISTICS),
            // What rules look at stays the same as long as the connection.
            ("enforcement_type", Inert),
            (
                "delay_deny",
                ReadOver("connections are decided as if they are closed at once"),
            ),
        ],
    },
    Table {
        message: "envoy.extensions.filters.http.rbac.v3.RBACPerRoute",
        fields: &[("rbac", Decided)],
    },
    Table {
        message: "envoy.config.rbac.v3.RBAC",
        fields: &[
            ("action", Decided),
            ("policies", Decided),
            (
                "audit_logging_options",
                ReadOver("audit logs are not written here"),
            ),
        ],
    },
    Table {
        message: "envoy.config.rbac.v3.RBAC.PoliciesEntry",
        fields: &[("key", Decided), ("value", Decided)],
    },
    Table {
        message: "envoy.config.rbac.v3.Policy",
        fields: &[
            ("permissions", Decided),
            ("principals", Decided),
            ("condition", CEL),
            ("checked_condition", CEL),
            ("cel_config", CEL),
        ],
    },
    Table {
        message: "envoy.config.rbac.v3.Permission",
        fields: &[
            ("and_rules", Decided),
            ("or_rules", Decided),
            ("any", Decided),
            ("header", Decided),
            ("url_path", Decided),
            ("destination_ip", Decided),
            ("destination_port", Decided),
            ("destination_port_range", Decided),
            ("metadata", METADATA),
            ("not_rule", Decided),
            ("requested_server_name", Decided),
            (
                "matcher",
                Unsupported("permissions of extensions are not decided"),
            ),
            ("uri_template", Unsupported("URI templates are not decided")),
            ("sourced_metadata", METADATA),
        ],
    },
    Table {
        message: "envoy.config.rbac.v3.Permission.Set",
        fields: &[("rules", Decided)],
    },
    Table {
        message: "envoy.config.rbac.v3.Principal",
        fields: &[
            ("and_ids", Decided),
            ("or_ids", Decided),
            ("any", Decided),
            ("authenticated", Decided),
            ("source_ip", Decided),
            ("direct_remote_ip", Judge(super::direct_peer)),
            ("remote_ip", Decided),
            ("header", Decided),
            ("url_path", Decided),
            ("metadata", METADATA),
            (
                "filter_state",
                Unsupported("rules over the filter state are not decided"),
            ),
            ("not_id", Decided),
            ("sourced_metadata", METADATA),
            (
                "custom",
                Unsupported("principals of extensions are not decided"),
            ),
        ],
    },
    Table {
        message: "envoy.config.rbac.v3.Principal.Set",
        fields: &[("ids", Decided)],
    },
    Table {
        message: "envoy.config.rbac.v3.Principal.Authenticated",
        fields: &[("principal_name", Decided)],
    },
    Table {
        message: "envoy.type.matcher.v3.PathMatcher",
        fields: &[("path", Decided)],
    },
];

/// Nobody asks the rules beside a matcher.
fn rules(judged: &Judged<'_>) -> Verdict {
    match judged.parent.has("matcher") {
        true => Verdict::Inert,
        false => Verdict::Decided,
    }
}
