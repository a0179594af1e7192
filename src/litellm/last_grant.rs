//! Which removal takes a last grant, and when that is allowed.
//!
//! To LiteLLM an empty list is no denial. A key or team without servers inherits, an organization,
//! user, end user or agent without servers sets no ceiling, so a row whose only entries are stale
//! denies today and would allow once emptied.
//!
//! This is how `--on-empty hold` judges, which asks no model: it leaves every such list alone but
//! for the exceptions of [`may_run_empty`]. What is written by any choice is compared by the access
//! model before the commit.
//!
//! Source: LiteLLM 1.109.1 `proxy/mcp_server/auth/user_api_key_auth_mcp.py`: `team_set` and
//! `key_set` (an empty set "does not restrict"), `_agent_capped_servers`, and
//! `_apply_primary_org_ceiling`.

use crate::litellm::access_context::LitellmBehavior;
use crate::litellm::owners::Owner;
use crate::litellm::reference_sites::{Empty, Names, Site};
use crate::litellm::row::{Cell, Row};
use crate::litellm::server_catalog::{Resolution, ServerCatalog};
use crate::litellm::value::Value;

/// Tells whether taking the references `gone` from `cell` takes a last grant of `row`.
///
/// Judged column by column, not by their union: agents before LiteLLM 1.105.0 do not read
/// `mcp_tool_permissions`, so an empty `mcp_servers` alone lifts their ceiling. A key of the
/// object is a last grant only where the row's array grants nothing; an array that cannot be read
/// counts as granting nothing.
#[must_use]
pub(crate) fn takes_last_grant(row: &Row, cell: &Cell, gone: impl Fn(&str) -> bool) -> bool {
    let Ok(value) = &cell.stored else {
        return false;
    };
    let runs_empty = !value.is_empty() && value.references().all(gone);
    match cell.site.empty {
        Empty::Widens => runs_empty,
        Empty::WidensBeside(other) => runs_empty && grants_nothing(row, other),
        Empty::Harmless => false,
    }
}

fn grants_nothing(row: &Row, site: &str) -> bool {
    row.cells
        .iter()
        .filter(|cell| cell.site.name == site)
        .all(|cell| cell.stored.as_ref().map_or(true, Value::is_empty))
}

/// Tells whether an owner of `row` would lose a last grant if its stale references were removed.
#[must_use]
pub(crate) fn loses_last_grant(row: &Row, catalog: &ServerCatalog) -> bool {
    let loses = |cell: &Cell| takes_last_grant(row, cell, |r| is_stale(cell.site, r, catalog));
    !row.owners.is_empty() && row.cells.iter().any(loses)
}

/// Tells whether a reference of `cell` is stale and may be removed. One to a toolset never may.
#[must_use]
pub(crate) fn is_stale(site: &Site, reference: &str, catalog: &ServerCatalog) -> bool {
    let names = site.names;
    names != Names::Toolsets && catalog.resolve_as(names, reference) == Resolution::Stale
}

/// Tells whether an emptied `row` provably grants nobody anything.
///
/// That holds where nobody links to the row, and where only keys that inherit from nobody link to
/// it. If several owners share a row, all of them must be such keys.
#[must_use]
pub(crate) fn may_run_empty(row: &Row, behavior: LitellmBehavior) -> bool {
    if row.owners.is_empty() {
        return behavior.owners_known;
    }
    behavior.owners_known && behavior.fails_closed() && row.owners.iter().all(Owner::stands_alone)
}

/// Tells whether removing even one of several references of `row` could open the whole registry.
///
/// Before LiteLLM 1.80.0 a key's list and its team's are intersected, and an empty intersection
/// means every server. A stale reference that both hold keeps it from being empty.
///
/// Source: LiteLLM 1.79.3 `proxy/_experimental/mcp_server/auth/user_api_key_auth_mcp.py`,
/// `get_allowed_mcp_servers` (intersects), and
/// `proxy/_experimental/mcp_server/mcp_server_manager.py`, the function of the same name (opens).
#[must_use]
pub(crate) fn may_open_everything(row: &Row, behavior: LitellmBehavior) -> bool {
    !behavior.fails_closed() && !row.owners.iter().all(Owner::stands_alone)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::litellm::owners::OwnerKind;
    use crate::litellm::reference_sites::Shape;
    use crate::litellm::release::Release;
    use crate::litellm::test_support::{BEHAVIOR, Standing, owner, row};
    use crate::litellm::value::Stored;

    #[test]
    fn a_last_grant_is_judged_per_column() {
        // mcp_servers, mcp_tool_permissions, whether each column loses its last grant
        for (array, keys, expected) in [
            (r#"["gone"]"#, "null", [true, false]),
            (r#"["gone","gone"]"#, "null", [true, false]),
            (r#"["gone","a"]"#, "null", [false, false]),
            (r#"["gone"]"#, r#"{"a":[]}"#, [true, false]),
            (r#"["gone"]"#, r#"{"gone":[]}"#, [true, false]),
            (r#"["a"]"#, r#"{"gone":[]}"#, [false, false]),
            ("[]", r#"{"gone":[]}"#, [false, true]),
            ("null", r#"{"gone":[]}"#, [false, true]),
            ("[]", r#"{"gone":[],"a":[]}"#, [false, false]),
            (r#"["a",null]"#, r#"{"gone":[]}"#, [false, true]),
            (r#"["gone"]"#, "[]", [true, false]),
            ("[]", "{}", [false, false]),
        ] {
            let row = row(array, keys);
            let found = [0, 1].map(|at| takes_last_grant(&row, &row.cells[at], |r| r == "gone"));
            assert_eq!(found, expected, "{array} {keys}");
        }
    }

    #[test]
    fn a_malformed_value_is_never_judged() {
        let stored: Stored = Value::parse(Shape::JsonKeys, Some(r#"{"gone":null}"#));
        assert!(stored.is_err());
        let row = row("[]", r#"{"gone":null}"#);
        assert!(!takes_last_grant(&row, &row.cells[1], |r| r == "gone"));
    }

    #[test]
    fn only_unlinked_rows_and_keys_on_their_own_may_run_empty() {
        let alone = owner(OwnerKind::Key, Standing::Alone);
        let in_team = owner(OwnerKind::Key, Standing::InTeam);
        let team = owner(OwnerKind::Team, Standing::InTeam);
        for (owners, expected) in [
            (vec![], true),
            (vec![alone.clone()], true),
            (vec![alone.clone(), alone.clone()], true),
            (vec![in_team.clone()], false),
            (vec![alone.clone(), in_team], false),
            (vec![alone, team.clone()], false),
            (vec![team], false),
        ] {
            let row = Row {
                owners,
                ..row("[]", "{}")
            };
            assert_eq!(may_run_empty(&row, BEHAVIOR), expected, "{:?}", row.owners);
        }
    }

    #[test]
    fn before_1_80_a_key_on_its_own_would_reach_every_server() {
        let behavior = LitellmBehavior {
            release: Release::FIRST,
            ..BEHAVIOR
        };
        let unlinked = row("[]", "{}");
        let linked = Row {
            owners: vec![owner(OwnerKind::Key, Standing::Alone)],
            ..unlinked.clone()
        };
        assert!(may_run_empty(&unlinked, behavior));
        assert!(!may_run_empty(&linked, behavior));
    }

    #[test]
    fn before_1_80_a_list_that_is_intersected_is_not_touched() {
        let open = LitellmBehavior {
            release: Release::FIRST,
            ..BEHAVIOR
        };
        for (owners, expected) in [
            (vec![], false),
            (vec![owner(OwnerKind::Key, Standing::Alone)], false),
            (vec![owner(OwnerKind::Key, Standing::InTeam)], true),
            (vec![owner(OwnerKind::Team, Standing::InTeam)], true),
        ] {
            let row = Row {
                owners,
                ..row("[]", "{}")
            };
            assert_eq!(
                may_open_everything(&row, open),
                expected,
                "{:?}",
                row.owners
            );
            assert!(!may_open_everything(&row, BEHAVIOR));
        }
    }

    #[test]
    fn a_table_that_may_link_unseen_rules_out_both_exceptions() {
        let behavior = LitellmBehavior {
            owners_known: false,
            ..BEHAVIOR
        };
        let unlinked = row("[]", "{}");
        let linked = Row {
            owners: vec![owner(OwnerKind::Key, Standing::Alone)],
            ..unlinked.clone()
        };
        assert!(!may_run_empty(&unlinked, behavior));
        assert!(!may_run_empty(&linked, behavior));
    }
}
