//! One row, the catalog and the policy in; what to change and what to leave out.

use std::collections::BTreeSet;
use std::fmt;

use super::policy::{OnEmpty, Policy};
use crate::litellm::access::{self, Regime};
use crate::litellm::finding::Audit;
use crate::litellm::row::{Cell, Row, Value};
use crate::litellm::server::{Resolution, ServerCatalog};
use crate::litellm::sites::{Site, SiteTable};

/// The change of one column: it can only take references away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edit {
    site: &'static Site,
    before: Value,
    removed: BTreeSet<String>,
}

impl Edit {
    /// The column changed.
    #[must_use]
    pub fn site(&self) -> &'static Site {
        self.site
    }

    /// The value as read.
    #[must_use]
    pub fn before(&self) -> &Value {
        &self.before
    }

    /// The value to be: [`before`](Self::before) less the references removed, else unchanged.
    #[must_use]
    pub fn after(&self) -> Value {
        self.before.without(|r| self.removed.contains(r))
    }

    /// The references removed, in order; each was stale when planned.
    #[must_use]
    pub fn removed(&self) -> &BTreeSet<String> {
        &self.removed
    }
}

/// Why a stale reference is left as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// Its column would run empty, and empty means "inherit" or "no ceiling".
    LastGrant,
    /// LiteLLM is older than 1.80.0, where lists that no longer share an entry open every server.
    FailsOpen,
}

impl Reason {
    /// The reason's name in JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::LastGrant => "last-grant",
            Self::FailsOpen => "fails-open",
        }
    }
}

/// The reason in words.
impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LastGrant => f.write_str("last grant"),
            Self::FailsOpen => f.write_str("LiteLLM before 1.80"),
        }
    }
}

/// A stale reference that is left as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// The column.
    pub column: &'static str,
    /// The reference as stored.
    pub reference: String,
    /// Why it stays.
    pub reason: Reason,
}

/// What is wrong with a row and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowPlan {
    /// What is wrong with the row, and whose it is.
    pub audit: Audit,
    /// The columns to change, in the order of the table's sites; empty if none.
    pub edits: Vec<Edit>,
    /// The stale references that stay, in the order found.
    pub held: Vec<Held>,
}

impl RowPlan {
    /// Plans the repair of `row`, a row of `table`.
    ///
    /// Every stale reference of the row ends in exactly one of `edits` and `held`.
    #[must_use]
    pub fn of(
        table: &SiteTable,
        row: &Row,
        catalog: &ServerCatalog,
        regime: Regime,
        policy: Policy,
    ) -> Self {
        let mut plan = Self {
            audit: Audit::of(table, row, catalog),
            edits: Vec::new(),
            held: Vec::new(),
        };
        let may_run_empty = access::may_run_empty(row, regime);
        let may_open_everything = access::may_open_everything(row, regime);
        for cell in &row.cells {
            let Some(edit) = remove_stale(cell, catalog) else {
                continue;
            };
            let last = access::takes_last_grant(row, cell, |r| edit.removed.contains(r));
            if may_open_everything && !last {
                plan.held.extend(hold(&edit, Reason::FailsOpen));
                continue;
            }
            if !last || may_run_empty {
                plan.edits.push(edit);
                continue;
            }
            match policy.on_empty {
                OnEmpty::Hold => plan.held.extend(hold(&edit, Reason::LastGrant)),
            }
        }
        plan
    }
}

fn remove_stale(cell: &Cell, catalog: &ServerCatalog) -> Option<Edit> {
    let before = cell.stored.as_ref().ok()?;
    let removed: BTreeSet<String> = before
        .references()
        .filter(|reference| catalog.resolve(reference) == Resolution::Stale)
        .map(str::to_owned)
        .collect();
    (!removed.is_empty()).then(|| Edit {
        site: cell.site,
        before: before.clone(),
        removed,
    })
}

fn hold(edit: &Edit, reason: Reason) -> Vec<Held> {
    let mut seen = BTreeSet::new();
    edit.before
        .references()
        .filter(|r| edit.removed.contains(*r) && seen.insert(*r))
        .map(|reference| Held {
            column: edit.site.column,
            reference: reference.to_owned(),
            reason,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::litellm::owners::{Owner, OwnerKind};
    use crate::litellm::row::Malformed;
    use crate::litellm::server::{ConfigServers, Server};
    use crate::litellm::sites::PERMISSIONS;

    const GONE: &str = "0b8f8e0c-2f5d-4a51-9a35-1f4a1c9f7d10";
    const GONE_TOO: &str = "7d1c1e6e-51a5-4c6f-8f6f-5f0f5e1d2c3b";
    const REGIME: Regime = Regime {
        fails_closed: true,
        owners_known: true,
    };

    fn catalog() -> ServerCatalog {
        let server = |id: &str, name: &str, status: Option<&str>| Server {
            server_id: id.to_owned(),
            server_name: Some(name.to_owned()),
            alias: None,
            approval_status: status.map(str::to_owned),
        };
        ServerCatalog::new(
            &[
                server("id-1", "one", None),
                server("id-2", "two", Some("draft")),
            ],
            BTreeSet::from(["kept".to_owned()]),
            ConfigServers::Unknown,
        )
    }

    /// A row of a team with nothing wrong: one server by id, and tools of it by name.
    fn clean() -> Row {
        Row {
            key: "p-1".to_owned(),
            cells: vec![array(&["id-1"]), keys(&["one"])],
            owners: vec![owner(OwnerKind::Team, false)],
        }
    }

    fn owner(kind: OwnerKind, stands_alone: bool) -> Owner {
        Owner {
            kind,
            id: "owner".to_owned(),
            name: None,
            stands_alone,
        }
    }

    fn array(references: &[&str]) -> Cell {
        Cell {
            site: &PERMISSIONS.sites[0],
            stored: Ok(Value::Array(
                references.iter().map(|r| (*r).to_owned()).collect(),
            )),
        }
    }

    fn keys(references: &[&str]) -> Cell {
        Cell {
            site: &PERMISSIONS.sites[1],
            stored: Ok(Value::Keys(
                references
                    .iter()
                    .map(|r| ((*r).to_owned(), vec!["tool".to_owned()]))
                    .collect(),
            )),
        }
    }

    fn plan(row: &Row) -> RowPlan {
        RowPlan::of(&PERMISSIONS, row, &catalog(), REGIME, Policy::default())
    }

    fn apply(row: &Row, plan: &RowPlan) -> Row {
        let mut row = row.clone();
        for edit in &plan.edits {
            for cell in &mut row.cells {
                if cell.site == edit.site() {
                    cell.stored = Ok(edit.after());
                }
            }
        }
        row
    }

    #[test]
    fn a_clean_row_has_no_plan() {
        let plan = plan(&clean());
        assert_eq!(
            (plan.audit.findings, plan.edits, plan.held),
            (vec![], vec![], vec![])
        );
    }

    #[test]
    fn a_stale_id_beside_a_live_one_goes_and_all_else_stays() {
        let mut row = clean();
        row.cells[0] = array(&[
            "two",
            GONE,
            "id-1",
            "kept",
            GONE,
            "no-mcp-servers",
            "free",
            "id-1",
        ]);
        let plan = plan(&row);
        assert_eq!(plan.held, []);
        assert_eq!(plan.edits.len(), 1);
        assert_eq!(plan.edits[0].removed(), &BTreeSet::from([GONE.to_owned()]));
        assert_eq!(
            plan.edits[0].after().references().collect::<Vec<_>>(),
            ["two", "id-1", "kept", "no-mcp-servers", "free", "id-1"]
        );
    }

    #[test]
    fn the_last_entries_of_an_owned_row_are_held() {
        let mut row = clean();
        row.cells[0] = array(&[GONE_TOO, GONE, GONE_TOO]);
        let plan = plan(&row);
        assert_eq!(plan.edits, []);
        let held = |reference: &str| Held {
            column: "mcp_servers",
            reference: reference.to_owned(),
            reason: Reason::LastGrant,
        };
        assert_eq!(plan.held, [held(GONE_TOO), held(GONE)]);
    }

    #[test]
    fn a_held_array_lets_the_stale_tool_permissions_go() {
        let mut row = clean();
        row.cells = vec![array(&[GONE]), keys(&[GONE])];
        let plan = plan(&row);
        assert_eq!(plan.held.len(), 1);
        assert_eq!(plan.held[0].column, "mcp_servers");
        assert_eq!(plan.edits.len(), 1);
        assert_eq!(plan.edits[0].site().column, "mcp_tool_permissions");
        assert!(plan.edits[0].after().is_empty());
    }

    #[test]
    fn the_last_tool_permission_of_an_empty_array_is_held() {
        let mut row = clean();
        row.cells = vec![array(&[]), keys(&[GONE])];
        let plan = plan(&row);
        assert_eq!(plan.edits, []);
        assert_eq!(plan.held[0].column, "mcp_tool_permissions");
    }

    #[test]
    fn a_row_nobody_links_to_is_emptied() {
        let mut row = clean();
        row.cells = vec![array(&[GONE]), keys(&[GONE])];
        row.owners = vec![];
        let plan = plan(&row);
        assert_eq!(plan.held, []);
        assert_eq!(plan.edits.len(), 2);
        assert!(plan.edits.iter().all(|edit| edit.after().is_empty()));
    }

    #[test]
    fn a_malformed_column_is_left_alone_and_the_other_is_repaired() {
        let mut row = clean();
        row.cells[0] = array(&["id-1", GONE]);
        row.cells[1].stored = Err(Malformed::NotToolLists);
        let plan = plan(&row);
        assert_eq!(plan.edits.len(), 1);
        assert_eq!(plan.edits[0].site().column, "mcp_servers");
        assert_eq!(plan.audit.findings.len(), 2);
    }

    #[test]
    fn before_1_80_even_one_of_several_is_held() {
        let mut row = clean();
        row.cells[0] = array(&["id-1", GONE]);
        let regime = Regime {
            fails_closed: false,
            ..REGIME
        };
        let held = RowPlan::of(&PERMISSIONS, &row, &catalog(), regime, Policy::default());
        assert_eq!(held.edits, []);
        assert_eq!(held.held[0].reason, Reason::FailsOpen);
    }

    fn references() -> impl Strategy<Value = Vec<String>> {
        let one = prop::sample::select(vec![
            "id-1",
            "one",
            "two",
            "kept",
            "free",
            "no-mcp-servers",
            GONE,
            GONE_TOO,
        ]);
        prop::collection::vec(one.prop_map(str::to_owned), 0..6)
    }

    fn stored_array() -> impl Strategy<Value = Result<Value, Malformed>> {
        prop_oneof![
            9 => references().prop_map(|r| Ok(Value::Array(r))),
            1 => Just(Err(Malformed::NullElement)),
        ]
    }

    fn stored_keys() -> impl Strategy<Value = Result<Value, Malformed>> {
        prop_oneof![
            9 => references().prop_map(|r| {
                let tools: BTreeMap<_, _> = r.into_iter().map(|r| (r, vec![])).collect();
                Ok(Value::Keys(tools))
            }),
            1 => Just(Err(Malformed::NotToolLists)),
        ]
    }

    fn rows() -> impl Strategy<Value = Row> {
        let kinds = prop::sample::select(vec![
            (OwnerKind::Key, true),
            (OwnerKind::Key, false),
            (OwnerKind::Team, false),
            (OwnerKind::Agent, false),
        ]);
        let owners = prop::collection::vec(kinds.prop_map(|(k, alone)| owner(k, alone)), 0..3);
        (stored_array(), stored_keys(), owners).prop_map(|(array, keys, owners)| Row {
            key: "p-1".to_owned(),
            cells: vec![
                Cell {
                    site: &PERMISSIONS.sites[0],
                    stored: array,
                },
                Cell {
                    site: &PERMISSIONS.sites[1],
                    stored: keys,
                },
            ],
            owners,
        })
    }

    fn is_subsequence(part: &Value, whole: &Value) -> bool {
        let mut whole = whole.references();
        part.references().all(|r| whole.any(|w| w == r))
    }

    proptest! {
        #[test]
        fn planning_twice_plans_nothing(row in rows()) {
            let first = plan(&row);
            let second = plan(&apply(&row, &first));
            prop_assert_eq!(second.edits, vec![]);
            prop_assert_eq!(second.held, first.held);
        }

        #[test]
        fn only_stale_references_go_and_the_rest_keeps_its_order(row in rows()) {
            for edit in plan(&row).edits {
                prop_assert!(!edit.removed().is_empty());
                prop_assert!(edit.removed().iter().all(|r| r == GONE || r == GONE_TOO));
                prop_assert!(is_subsequence(&edit.after(), edit.before()));
                let gone = edit.before().references().filter(|r| edit.removed().contains(*r));
                prop_assert_eq!(
                    edit.after().references().count() + gone.count(),
                    edit.before().references().count()
                );
            }
        }

        #[test]
        fn every_stale_reference_is_either_removed_or_held(row in rows()) {
            let plan = plan(&row);
            let mut settled: Vec<(&str, &str)> = plan
                .edits
                .iter()
                .flat_map(|e| e.removed().iter().map(|r| (e.site().column, r.as_str())))
                .chain(plan.held.iter().map(|h| (h.column, h.reference.as_str())))
                .collect();
            let mut stale: Vec<(&str, &str)> = plan
                .audit
                .findings
                .iter()
                .filter(|f| f.kind.name() == "stale")
                .filter_map(|f| Some((f.column, f.reference.as_deref()?)))
                .collect();
            settled.sort_unstable();
            stale.sort_unstable();
            prop_assert_eq!(settled, stale);
        }

        #[test]
        fn an_owned_array_never_runs_empty(row in rows()) {
            prop_assume!(row.owners.iter().any(|o| !o.stands_alone));
            let after = apply(&row, &plan(&row));
            let filled = |row: &Row, at: usize| {
                row.cells[at].stored.as_ref().is_ok_and(|v| !v.is_empty())
            };
            prop_assert_eq!(filled(&row, 0), filled(&after, 0));
            if !filled(&row, 0) {
                prop_assert_eq!(filled(&row, 1), filled(&after, 1));
            }
        }
    }
}
