//! Plans what to do about the credentials of one server: to delete them or to hold them.

use crate::litellm::credentials::{ServerRows, audit};
use crate::litellm::reference_sites::{CredentialTable, Names};
use crate::litellm::server_catalog::{Resolution, ServerCatalog};
use crate::repair::plan::{Held, Reason, RowPlan};
use crate::repair::policy::Policy;

/// Plans the repair of the credentials that a server has in `table`.
///
/// If the server is gone, they are either deleted or held.
#[must_use]
pub(crate) fn plan(
    table: &'static CredentialTable,
    rows: &ServerRows,
    catalog: &ServerCatalog,
    policy: Policy,
) -> RowPlan {
    let audit = audit(table, rows, catalog);
    let mut deletion = None;
    let mut held = Vec::new();
    if audit.is_stale() {
        match reason_to_hold(table, &rows.server, catalog, policy) {
            None => deletion = Some(rows.clone()),
            Some(reason) => held.push(Held {
                column: table.server,
                reference: rows.server.clone(),
                reason,
                because: None,
            }),
        }
    }
    RowPlan {
        audit,
        edits: Vec::new(),
        deletion,
        held,
    }
}

/// Returns why the credentials of a server that is gone are held; `None` if they are deleted.
fn reason_to_hold(
    table: &CredentialTable,
    server: &str,
    catalog: &ServerCatalog,
    policy: Policy,
) -> Option<Reason> {
    let resolution = catalog.resolve_as(table.names, server);
    // The new server may have credentials of the same users already, so these are not moved.
    if resolution == Resolution::Remapped {
        return Some(Reason::NotRemapped);
    }
    if table.names == Names::ConfigServerIds {
        return Some(Reason::OauthClient);
    }
    match resolution {
        Resolution::MaybeEdited => Some(Reason::MaybeEdited),
        Resolution::MaybeRenewed => Some(Reason::MaybeRenewed),
        Resolution::Stale if policy.delete_rows => None,
        Resolution::Stale
        | Resolution::Remapped
        | Resolution::Live
        | Resolution::Inactive
        | Resolution::Sentinel
        | Resolution::Kept
        | Resolution::Unverified
        | Resolution::OnlyAName
        | Resolution::Passed => Some(Reason::NeedsDeleteRows),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use crate::litellm::reference_sites::{OAUTH_CLIENTS, USER_CREDENTIALS};
    use crate::litellm::server::ConfigServers;
    use crate::litellm::test_support::{GONE, catalog};

    /// Lets whole rows be deleted.
    fn deleting() -> Policy {
        Policy {
            delete_rows: true,
            ..Policy::default()
        }
    }

    fn plan_rows(
        table: &'static CredentialTable,
        rows: u64,
        catalog: &ServerCatalog,
        policy: Policy,
    ) -> RowPlan {
        let rows = ServerRows {
            server: GONE.to_owned(),
            rows,
        };
        plan(table, &rows, catalog, policy)
    }

    #[test]
    fn whole_rows_are_deleted_only_for_who_says_so() {
        let catalog = catalog();
        let held = plan_rows(&USER_CREDENTIALS, 12, &catalog, Policy::default());
        assert_eq!((held.deletion, held.audit.rows), (None, 12));
        assert_eq!(held.held[0].reason, Reason::NeedsDeleteRows);
        let deleted = plan_rows(&USER_CREDENTIALS, 12, &catalog, deleting());
        assert_eq!(deleted.held, []);
        assert_eq!(deleted.edits, []);
        let rows = deleted.deletion.unwrap();
        assert_eq!((rows.server.as_str(), rows.rows), (GONE, 12));
    }

    #[test]
    fn a_server_without_rows_has_no_findings() {
        let plan = plan_rows(&USER_CREDENTIALS, 0, &catalog(), deleting());
        assert_eq!((plan.audit.findings, plan.deletion), (vec![], None));
    }

    #[test]
    fn whole_rows_are_neither_remapped_nor_deleted_instead() {
        let remaps = BTreeMap::from([(GONE.to_owned(), "id-1".to_owned())]);
        let catalog = catalog().remapping(&remaps).unwrap();
        for policy in [Policy::default(), deleting()] {
            let plan = plan_rows(&USER_CREDENTIALS, 12, &catalog, policy);
            assert_eq!(plan.deletion, None);
            assert_eq!(plan.held[0].reason, Reason::NotRemapped);
        }
    }

    #[test]
    fn the_clients_of_proxies_are_only_reported() {
        let servers = ConfigServers::Known(Vec::new());
        let catalog = ServerCatalog::new(&[], BTreeSet::new(), servers);
        let plan = plan_rows(&OAUTH_CLIENTS, 12, &catalog, deleting());
        assert_eq!(plan.deletion, None);
        assert_eq!(plan.held[0].reason, Reason::OauthClient);
    }
}
