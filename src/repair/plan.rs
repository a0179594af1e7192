//! One row, the catalog and the policy in; what to change and what to leave out.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::changeset::{Change, ColumnChange};
use super::policy::{OnEmpty, Policy};
use crate::litellm::finding::Audit;
use crate::litellm::last_grant::{self, Surroundings, World};
use crate::litellm::marker::{Obstacle, marker_obstacle};
use crate::litellm::owners::OwnerKind;
use crate::litellm::row::{Cell, Row, Value};
use crate::litellm::server::{NO_SERVERS, Resolution};
use crate::litellm::sites::{Group, Names, Site, SiteTable};

/// The change of one column: it can only take references away, rename them as the operator said, or
/// leave the marker in place of all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edit {
    site: &'static Site,
    before: Value,
    removed: BTreeSet<String>,
    remapped: BTreeMap<String, String>,
    ending: Emptied,
}

/// How a column ends that its owners had their last grants in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Emptied {
    /// It is no such column: references stay, or nobody gains by its being empty.
    No,
    /// It holds LiteLLM's marker for "no server".
    Denied,
    /// It is empty.
    Cleared,
}

impl Emptied {
    /// The name in JSON of what was chosen for such a column.
    #[must_use]
    pub fn name(self) -> Option<&'static str> {
        match self {
            Self::No => None,
            Self::Denied => Some("deny"),
            Self::Cleared => Some("clear"),
        }
    }
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

    /// The value to be: [`before`](Self::before) less the references removed and with the others
    /// renamed, else unchanged; or the marker alone.
    #[must_use]
    pub fn after(&self) -> Value {
        match self.ending {
            Emptied::Denied => Value::Array(vec![NO_SERVERS.to_owned()]),
            Emptied::No | Emptied::Cleared => self
                .before
                .without(|r| self.removed.contains(r))
                .renamed(|r| self.remapped.get(r).map(String::as_str)),
        }
    }

    /// The references renamed, each with its new name.
    #[must_use]
    pub fn remapped(&self) -> &BTreeMap<String, String> {
        &self.remapped
    }

    /// Whether a rename makes one of two entries, and one list of their tools.
    #[must_use]
    pub fn unites(&self) -> bool {
        let Value::Keys(before) = &self.before else {
            return false;
        };
        self.remapped.values().any(|new| before.contains_key(new))
    }

    /// Whether it deletes whole rows.
    #[must_use]
    pub fn takes_rows(&self) -> bool {
        // Only a number of rows can shrink so; to make the value to be takes as long as the value is.
        self.before.rows().is_some() && self.before.rows() > self.after().rows()
    }

    /// How the column ends, where its owners had their last grants in it.
    #[must_use]
    pub fn ending(&self) -> Emptied {
        self.ending
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
    /// A key of the team keeps it, and could no longer be edited if the team did not.
    KeptByKey,
    /// Its column would run empty, and the marker in its place may change somebody's access.
    Marker(Obstacle),
    /// It is to a toolset that is gone, and denies as long as it is there.
    DanglingToolset,
    /// The operator named a successor that has no one id, where LiteLLM takes ids alone.
    NeedsId,
    /// It is of whole rows, and the operator did not say that such may be deleted.
    NeedsDeleteRows,
    /// It is of whole rows, and the operator named a successor, whose users may have rows there already.
    NotRemapped,
    /// It is of a client that a proxy has registered, which LiteLLM looks after.
    OauthClient,
    /// It looks like the id of a config server that was edited or removed.
    MaybeEdited,
    /// It is an old id of a config server that may have several ids now.
    MaybeRenewed,
}

impl Reason {
    /// The reason's name in JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::LastGrant => "last-grant",
            Self::FailsOpen => "fails-open",
            Self::KeptByKey => "kept-by-key",
            Self::Marker(obstacle) => obstacle.name(),
            Self::DanglingToolset => "dangling-toolset",
            Self::NeedsId => "needs-id",
            Self::NeedsDeleteRows => "needs-delete-rows",
            Self::NotRemapped => "not-remapped",
            Self::OauthClient => "oauth-client",
            Self::MaybeEdited => "maybe-edited",
            Self::MaybeRenewed => "maybe-renewed",
        }
    }
}

/// The reason in words.
impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LastGrant => f.write_str("last grant"),
            Self::FailsOpen => f.write_str("LiteLLM before 1.80"),
            Self::KeptByKey => f.write_str("a key of the team keeps it"),
            Self::Marker(obstacle) => obstacle.fmt(f),
            Self::DanglingToolset => f.write_str("a toolset that is gone denies"),
            Self::NeedsId => f.write_str("remap to an id here"),
            Self::NeedsDeleteRows => f.write_str("say --delete-rows"),
            Self::NotRemapped => f.write_str("whole rows are not remapped"),
            Self::OauthClient => f.write_str("a client of a proxy"),
            Self::MaybeEdited => f.write_str("config server edited?"),
            Self::MaybeRenewed => f.write_str("which id it has now is unclear"),
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
    pub fn of(table: &'static SiteTable, row: &Row, world: World<'_>, policy: Policy) -> Self {
        let mut plan = Self {
            audit: Audit::of(table, row, world),
            edits: Vec::new(),
            held: Vec::new(),
        };
        for cell in &row.cells {
            plan.settle(row, cell, world, policy);
        }
        // Many plans may be kept, and a vector that grew has room for more.
        plan.audit.findings.shrink_to_fit();
        plan.edits.shrink_to_fit();
        plan.held.shrink_to_fit();
        plan
    }

    /// The change of the row; `None` where nothing is to change. Of whole rows it tells the number.
    #[must_use]
    pub fn change(&self) -> Option<Change> {
        let column = |edit: &Edit| ColumnChange {
            site: edit.site,
            before: edit.before.clone(),
            after: edit.after(),
        };
        (!self.edits.is_empty()).then(|| Change {
            table: self.audit.table,
            key: self.audit.row.clone(),
            columns: self.edits.iter().map(column).collect(),
            rows: Vec::new(),
        })
    }

    /// How many rows of the database it is about.
    #[must_use]
    pub fn rows(&self) -> usize {
        let rows = self.audit.findings.iter().find_map(|finding| finding.rows);
        rows.map_or(1, |rows| usize::try_from(rows).unwrap_or(usize::MAX))
    }

    /// Decides what becomes of the stale references of `cell`.
    fn settle(&mut self, row: &Row, cell: &Cell, world: World<'_>, policy: Policy) {
        let Ok(value) = &cell.stored else {
            return;
        };
        let resolve = |reference: &str| world.catalog.resolve_as(cell.site.names, reference);
        let of = |resolution| -> BTreeSet<String> {
            let meant = value.references().filter(|r| resolve(r) == resolution);
            meant.map(str::to_owned).collect()
        };
        let mut edit = Edit {
            site: cell.site,
            before: value.clone(),
            removed: of(Resolution::Stale),
            remapped: BTreeMap::new(),
            ending: Emptied::No,
        };
        let (mut not_remapped, mut needs_id) = (BTreeSet::new(), BTreeSet::new());
        for old in of(Resolution::Remapped) {
            if value.rows().is_some() {
                not_remapped.insert(old);
            } else if let Some(new) = world.catalog.remap_as(cell.site.names, &old) {
                edit.remapped.insert(old, new);
            } else {
                needs_id.insert(old);
            }
        }
        self.held
            .extend(hold(&edit, &not_remapped, Reason::NotRemapped));
        self.held.extend(hold(&edit, &needs_id, Reason::NeedsId));
        for (resolution, reason) in [
            (Resolution::MaybeEdited, Reason::MaybeEdited),
            (Resolution::MaybeRenewed, Reason::MaybeRenewed),
        ] {
            let reason = if cell.site.names == Names::ConfigServerIds {
                Reason::OauthClient
            } else {
                reason
            };
            self.held.extend(hold(&edit, &of(resolution), reason));
        }
        if cell.site.names == Names::Toolsets {
            self.held.extend(edit.hold_all(Reason::DanglingToolset));
        } else if cell.site.names == Names::ConfigServerIds {
            self.held.extend(edit.hold_all(Reason::OauthClient));
        } else if value.rows().is_some() && !policy.delete_rows {
            self.held.extend(edit.hold_all(Reason::NeedsDeleteRows));
        } else if self.audit.table.group == Group::Permissions {
            self.settle_grants(row, cell, &mut edit, world, policy);
        } else if last_grant::takes_last_grant(row, cell, |r| edit.removed.contains(r)) {
            self.held.extend(edit.hold_all(Reason::LastGrant));
        }
        if !edit.removed.is_empty() || !edit.remapped.is_empty() {
            self.edits.push(edit);
        }
    }

    /// Decides the same of a permission row, whose owners tell what it may mean.
    fn settle_grants(
        &mut self,
        row: &Row,
        cell: &Cell,
        edit: &mut Edit,
        world: World<'_>,
        policy: Policy,
    ) {
        let last = last_grant::takes_last_grant(row, cell, |r| edit.removed.contains(r));
        if last_grant::may_open_everything(row, world.regime) {
            self.held.extend(edit.hold_all(Reason::FailsOpen));
        }
        let last = last && !edit.removed.is_empty();
        let kept = if world.regime.refuses_edits() {
            let kept = kept_by_keys(row, world.around);
            edit.removed.intersection(&kept).cloned().collect()
        } else {
            BTreeSet::new()
        };
        if last && !last_grant::may_run_empty(row, world.regime) {
            let ending = match ending(row, cell, world, policy) {
                Ok(_) if !kept.is_empty() => Err(Reason::KeptByKey),
                ending => ending,
            };
            match ending {
                Ok(ending) => edit.ending = ending,
                Err(reason) => self.held.extend(edit.hold_all(reason)),
            }
        } else {
            self.held.extend(hold(edit, &kept, Reason::KeptByKey));
            edit.removed.retain(|reference| !kept.contains(reference));
        }
    }
}

impl Edit {
    /// Leaves every reference that was to be removed.
    fn hold_all(&mut self, reason: Reason) -> Vec<Held> {
        let held = hold(self, &self.removed, reason);
        self.removed.clear();
        held
    }
}

/// What becomes of a column that would run empty, or why it stays.
fn ending(row: &Row, cell: &Cell, world: World<'_>, policy: Policy) -> Result<Emptied, Reason> {
    match policy.on_empty {
        OnEmpty::Hold => Err(Reason::LastGrant),
        OnEmpty::Clear if !world.regime.fails_closed() => Err(Reason::FailsOpen),
        OnEmpty::Clear => Ok(Emptied::Cleared),
        OnEmpty::Deny { accept_narrowing } => match marker_obstacle(row, cell, world) {
            Some(obstacle) if !(accept_narrowing && obstacle.only_narrows()) => {
                Err(Reason::Marker(obstacle))
            }
            Some(_) | None => Ok(Emptied::Denied),
        },
    }
}

fn kept_by_keys(row: &Row, around: &Surroundings) -> BTreeSet<String> {
    let teams = row.owners.iter().filter(|o| o.kind == OwnerKind::Team);
    let kept = teams.filter_map(|team| around.kept_by_keys.get(&team.id));
    kept.flatten().cloned().collect()
}

/// The references `kept` of the column, in the order found.
fn hold(edit: &Edit, kept: &BTreeSet<String>, reason: Reason) -> Vec<Held> {
    if kept.is_empty() {
        return Vec::new();
    }
    let mut seen = BTreeSet::new();
    edit.before
        .references()
        .filter(|r| kept.contains(*r) && seen.insert(*r))
        .map(|reference| Held {
            column: edit.site.name,
            reference: reference.to_owned(),
            reason,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::litellm::last_grant::{Grants, Regime};
    use crate::litellm::owners::{Owner, Parents};
    use crate::litellm::release::Release;
    use crate::litellm::row::Malformed;
    use crate::litellm::samples::value;
    use crate::litellm::server::{ConfigServers, IdHistory, Server, ServerCatalog, Signs};
    use crate::litellm::sites::{Empty, OAUTH_CLIENTS, PERMISSIONS, TABLES, USER_CREDENTIALS};

    const GONE: &str = "0b8f8e0c-2f5d-4a51-9a35-1f4a1c9f7d10";
    const GONE_TOO: &str = "7d1c1e6e-51a5-4c6f-8f6f-5f0f5e1d2c3b";
    const REGIME: Regime = Regime {
        release: Release::PINS_IDS,
        owners_known: true,
    };

    fn catalog(config: ConfigServers) -> ServerCatalog {
        let server = |id: &str, name: &str, status: Option<&str>| Server {
            server_id: id.to_owned(),
            server_name: Some(name.to_owned()),
            alias: None,
            approval_status: status.map(str::to_owned),
            tags: Vec::new(),
            allow_all_keys: false,
        };
        ServerCatalog::new(
            &[
                server("id-1", "one", None),
                server("id-2", "two", Some("draft")),
            ],
            BTreeSet::from(["kept".to_owned()]),
            config,
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
            parents: Parents {
                team: (kind == OwnerKind::Key && !stands_alone).then(|| "team".to_owned()),
                ..Parents::default()
            },
            has_access_groups: false,
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
        plan_with(row, REGIME, OnEmpty::Hold)
    }

    fn unknown() -> ConfigServers {
        ConfigServers::Unknown(Signs::default())
    }

    fn plan_with(row: &Row, regime: Regime, on_empty: OnEmpty) -> RowPlan {
        let grants = Grants {
            tool_keys: match &row.cells[1].stored {
                Ok(value) => value.references().map(str::to_owned).collect(),
                Err(_) => Vec::new(),
            },
            ..Grants::default()
        };
        let around = Surroundings {
            rows: BTreeMap::from([(row.key.clone(), grants)]),
            ..Surroundings::default()
        };
        let config = if on_empty == OnEmpty::Hold {
            unknown()
        } else {
            ConfigServers::Known(Vec::new())
        };
        let world = World {
            regime,
            catalog: &catalog(config),
            around: &around,
            all_cleared: on_empty == OnEmpty::Clear,
        };
        RowPlan::of(&PERMISSIONS, row, world, policy(on_empty))
    }

    fn policy(on_empty: OnEmpty) -> Policy {
        Policy {
            on_empty,
            ..Policy::default()
        }
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
    fn what_may_be_an_edited_config_server_is_held_and_keeps_the_list_from_running_empty() {
        const EDITED: &str = "8617b96e5cdbfd8ff49b7f89aeca1072";
        const RENEWED: &str = "266024044f9612bf481c78f6cfef1ff0";
        let mut row = clean();
        row.cells = vec![array(&[GONE, EDITED, RENEWED]), keys(&[EDITED, "one"])];
        let history = IdHistory {
            unclear: BTreeSet::from([RENEWED.to_owned()]),
            ..IdHistory::default()
        };
        let catalog = catalog(ConfigServers::Known(Vec::new())).with_history(history);
        let world = World {
            regime: REGIME,
            catalog: &catalog,
            around: &Surroundings::default(),
            all_cleared: false,
        };
        let plan = RowPlan::of(&PERMISSIONS, &row, world, Policy::default());
        let removed: Vec<_> = plan.edits.iter().map(Edit::removed).collect();
        assert_eq!(removed, [&BTreeSet::from([GONE.to_owned()])]);
        let held: Vec<_> = plan.held.iter().map(|h| (h.column, h.reason)).collect();
        assert_eq!(
            held,
            [
                ("mcp_servers", Reason::MaybeEdited),
                ("mcp_servers", Reason::MaybeRenewed),
                ("mcp_tool_permissions", Reason::MaybeEdited),
            ]
        );
        assert!(
            plan.audit
                .findings
                .iter()
                .all(|finding| !finding.last_grant)
        );
    }

    #[test]
    fn before_1_80_even_one_of_several_is_held() {
        let mut row = clean();
        row.cells[0] = array(&["id-1", GONE]);
        let regime = Regime {
            release: Release::FIRST,
            ..REGIME
        };
        let held = plan_with(&row, regime, OnEmpty::Hold);
        assert_eq!(held.edits, []);
        assert_eq!(held.held[0].reason, Reason::FailsOpen);
    }

    #[test]
    fn a_team_keeps_what_a_key_of_it_keeps_where_edits_would_be_refused() {
        let mut row = clean();
        row.cells = vec![array(&["id-1", GONE, GONE_TOO]), keys(&["one", GONE])];
        let around = Surroundings {
            kept_by_keys: BTreeMap::from([("owner".to_owned(), BTreeSet::from([GONE.to_owned()]))]),
            ..Surroundings::default()
        };
        let plan = |release| {
            let world = World {
                regime: Regime { release, ..REGIME },
                catalog: &catalog(unknown()),
                around: &around,
                all_cleared: false,
            };
            RowPlan::of(&PERMISSIONS, &row, world, Policy::default())
        };
        let found = plan(Release::REFUSES_EDITS);
        let held: Vec<_> = found.held.iter().map(|h| (h.column, h.reason)).collect();
        let reason = Reason::KeptByKey;
        assert_eq!(
            held,
            [("mcp_servers", reason), ("mcp_tool_permissions", reason)]
        );
        assert_eq!(found.edits.len(), 1);
        assert_eq!(
            found.edits[0].removed(),
            &BTreeSet::from([GONE_TOO.to_owned()])
        );
        assert_eq!(plan(Release::DROPS_ON_EDIT).held, []);
    }

    #[test]
    fn a_team_is_not_marked_while_a_key_of_it_keeps_the_same() {
        let mut row = clean();
        row.cells[0] = array(&[GONE]);
        let around = Surroundings {
            kept_by_keys: BTreeMap::from([("owner".to_owned(), BTreeSet::from([GONE.to_owned()]))]),
            ..Surroundings::default()
        };
        let deny = OnEmpty::Deny {
            accept_narrowing: true,
        };
        for on_empty in [deny, OnEmpty::Clear] {
            let world = World {
                regime: Regime {
                    release: Release::REFUSES_EDITS,
                    ..REGIME
                },
                catalog: &catalog(ConfigServers::Known(Vec::new())),
                around: &around,
                all_cleared: false,
            };
            let plan = RowPlan::of(&PERMISSIONS, &row, world, policy(on_empty));
            assert_eq!(plan.edits, []);
            assert_eq!(plan.held[0].reason, Reason::KeptByKey);
        }
    }

    #[test]
    fn a_remapped_reference_is_no_last_grant_and_goes_with_its_tools() {
        let mut row = clean();
        row.cells = vec![array(&[GONE, GONE_TOO]), keys(&[GONE])];
        let remaps = BTreeMap::from([(GONE.to_owned(), "id-1".to_owned())]);
        let catalog = catalog(unknown()).remapping(&remaps).unwrap();
        for release in [Release::FIRST, Release::PINS_IDS] {
            let world = World {
                regime: Regime { release, ..REGIME },
                catalog: &catalog,
                around: &Surroundings::default(),
                all_cleared: false,
            };
            let plan = RowPlan::of(&PERMISSIONS, &row, world, Policy::default());
            let after: Vec<Value> = plan.edits.iter().map(Edit::after).collect();
            let keys = Value::Keys(BTreeMap::from([(
                "id-1".to_owned(),
                vec!["tool".to_owned()],
            )]));
            let (servers, held) = if release == Release::FIRST {
                (array(&["id-1", GONE_TOO]), 1)
            } else {
                (array(&["id-1"]), 0)
            };
            assert_eq!(after, [servers.stored.unwrap(), keys]);
            assert_eq!(plan.held.len(), held);
        }
    }

    /// What users keep for a server that is gone.
    fn kept_for(table: &SiteTable, rows: u64) -> Row {
        Row {
            key: GONE.to_owned(),
            cells: vec![Cell {
                site: &table.sites[0],
                stored: Ok(Value::of_rows(GONE, rows)),
            }],
            owners: vec![],
        }
    }

    fn plan_rows(table: &'static SiteTable, catalog: &ServerCatalog, delete_rows: bool) -> RowPlan {
        let world = World {
            regime: REGIME,
            catalog,
            around: &Surroundings::default(),
            all_cleared: false,
        };
        let policy = Policy {
            delete_rows,
            ..Policy::default()
        };
        RowPlan::of(table, &kept_for(table, 12), world, policy)
    }

    #[test]
    fn whole_rows_are_deleted_only_for_who_says_so() {
        let catalog = catalog(unknown());
        let held = plan_rows(&USER_CREDENTIALS, &catalog, false);
        assert_eq!((held.edits.len(), held.rows()), (0, 12));
        assert_eq!(held.held[0].reason, Reason::NeedsDeleteRows);
        let deleted = plan_rows(&USER_CREDENTIALS, &catalog, true);
        assert_eq!(deleted.held, []);
        let change = deleted.change().unwrap();
        assert_eq!((change.size(), change.takes_rows()), (12, true));
        assert_eq!(change.columns[0].after, Value::of_rows(GONE, 0));
    }

    #[test]
    fn whole_rows_are_neither_remapped_nor_deleted_instead() {
        let remaps = BTreeMap::from([(GONE.to_owned(), "id-1".to_owned())]);
        let catalog = catalog(unknown()).remapping(&remaps).unwrap();
        for delete_rows in [false, true] {
            let plan = plan_rows(&USER_CREDENTIALS, &catalog, delete_rows);
            assert_eq!(plan.edits, []);
            assert_eq!(plan.held[0].reason, Reason::NotRemapped);
        }
    }

    #[test]
    fn the_clients_of_proxies_are_only_reported() {
        let plan = plan_rows(&OAUTH_CLIENTS, &catalog(ConfigServers::Known(vec![])), true);
        assert_eq!(plan.edits, []);
        assert_eq!(plan.held[0].reason, Reason::OauthClient);
    }

    #[test]
    fn deny_pins_a_list_shut_and_clear_empties_it() {
        let mut row = clean();
        row.cells = vec![array(&[GONE, GONE_TOO]), keys(&["one"])];
        let deny = OnEmpty::Deny {
            accept_narrowing: false,
        };
        for (on_empty, ending, left) in [
            (deny, Emptied::Denied, vec![NO_SERVERS]),
            (OnEmpty::Clear, Emptied::Cleared, vec![]),
        ] {
            let plan = plan_with(&row, REGIME, on_empty);
            assert_eq!(plan.held, []);
            assert_eq!(plan.edits.len(), 1);
            assert_eq!(plan.edits[0].ending(), ending);
            assert_eq!(plan.edits[0].removed().len(), 2);
            assert_eq!(plan.edits[0].after().references().collect::<Vec<_>>(), left);
        }
    }

    #[test]
    fn deny_holds_where_an_obstacle_stands_unless_narrowing_is_accepted() {
        let mut row = clean();
        row.cells = vec![array(&[GONE]), keys(&["one"])];
        row.owners = vec![owner(OwnerKind::Key, false)];
        let plan =
            |regime, accept_narrowing| plan_with(&row, regime, OnEmpty::Deny { accept_narrowing });
        let reason = Reason::Marker(Obstacle::OtherGrants);
        assert_eq!(plan(REGIME, false).held[0].reason, reason);
        assert_eq!(plan(REGIME, true).held, []);
        let old = Regime {
            release: Release::DROPS_ON_EDIT,
            ..REGIME
        };
        let reason = Reason::Marker(Obstacle::UnknownMarker);
        assert_eq!(plan(old, true).held[0].reason, reason);
    }

    #[test]
    fn nothing_is_cleared_where_an_emptied_key_reaches_everything() {
        let mut row = clean();
        row.cells[0] = array(&[GONE]);
        let regime = Regime {
            release: Release::FIRST,
            ..REGIME
        };
        for alone in [true, false] {
            row.owners = vec![owner(OwnerKind::Key, alone)];
            let plan = plan_with(&row, regime, OnEmpty::Clear);
            assert_eq!(plan.held[0].reason, Reason::FailsOpen);
        }
    }

    /// A row of any table, so that every shape is met; one place in ten is malformed.
    fn rows() -> impl Strategy<Value = (&'static SiteTable, Row)> {
        let reference = || {
            let all = [
                "id-1",
                "one",
                "two",
                "kept",
                "free",
                "no-mcp-servers",
                GONE,
                GONE_TOO,
            ];
            prop::sample::select(all.to_vec()).prop_map(str::to_owned)
        };
        let tool = || prop::sample::select(vec!["x", "y", "*"]).prop_map(str::to_owned);
        let stored = move |site: &'static Site| {
            let value = value(site.shape, reference(), tool());
            let stored =
                prop_oneof![9 => value.prop_map(Ok), 1 => Just(Err(Malformed::Unreadable))];
            stored.prop_map(move |stored| Cell { site, stored })
        };
        let kinds = prop::sample::select(vec![
            (OwnerKind::Key, true),
            (OwnerKind::Key, false),
            (OwnerKind::Team, false),
            (OwnerKind::Agent, false),
        ]);
        let owners = prop::collection::vec(kinds.prop_map(|(k, alone)| owner(k, alone)), 0..3);
        let tables = prop::sample::select(TABLES.to_vec());
        let cells = tables.prop_flat_map(move |table| {
            let cells: Vec<_> = table.sites.iter().map(stored).collect();
            (Just(table), cells)
        });
        (cells, owners).prop_map(|((table, cells), owners)| {
            let row = Row {
                key: "p-1".to_owned(),
                cells,
                owners,
            };
            (table, row)
        })
    }

    fn policies() -> impl Strategy<Value = OnEmpty> {
        let deny = [false, true].map(|accept_narrowing| OnEmpty::Deny { accept_narrowing });
        prop::sample::select(vec![OnEmpty::Hold, deny[0], deny[1], OnEmpty::Clear])
    }

    /// What deleted servers are by now: one that has a row, or nothing.
    fn remaps() -> impl Strategy<Value = BTreeMap<String, String>> {
        let remaps = |old: &[&str]| -> BTreeMap<String, String> {
            let old = old.iter().map(|old| (*old).to_owned());
            old.map(|old| (old, "id-1".to_owned())).collect()
        };
        prop::sample::select(vec![
            remaps(&[]),
            remaps(&[GONE]),
            remaps(&[GONE, GONE_TOO]),
        ])
    }

    fn plan_any(
        (table, row): (&'static SiteTable, &Row),
        on_empty: OnEmpty,
        remaps: &BTreeMap<String, String>,
    ) -> RowPlan {
        let world = World {
            regime: REGIME,
            catalog: &catalog(unknown()).remapping(remaps).unwrap(),
            around: &Surroundings::default(),
            all_cleared: on_empty == OnEmpty::Clear,
        };
        let policy = Policy {
            on_empty,
            delete_rows: true,
        };
        RowPlan::of(table, row, world, policy)
    }

    /// What a value holds, in order: references, each with its tool where it has one. The key of an
    /// object stands for itself too.
    fn entries(value: &Value) -> Vec<(&str, &str)> {
        match value {
            Value::Array(references) => references.iter().map(|r| (r.as_str(), "")).collect(),
            Value::Keys(keys) => {
                let entries = keys.iter().flat_map(|(key, tools)| {
                    let tools = tools.iter().map(String::as_str);
                    std::iter::once("").chain(tools).map(|t| (key.as_str(), t))
                });
                entries.collect()
            }
            Value::Tools(tools) => {
                let entries = tools
                    .iter()
                    .map(|t| (t.server_id.as_str(), t.tool_name.as_str()));
                entries.collect()
            }
            Value::Rows(rows) => rows.keys().map(|server| (server.as_str(), "")).collect(),
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1000))]

        #[test]
        fn planning_twice_plans_nothing(
            (table, row) in rows(),
            on_empty in policies(),
            remaps in remaps(),
        ) {
            let first = plan_any((table, &row), on_empty, &remaps);
            let second = plan_any((table, &apply(&row, &first)), on_empty, &remaps);
            prop_assert_eq!(second.edits, vec![]);
            prop_assert_eq!(second.held, first.held);
        }

        #[test]
        fn only_stale_references_go_and_the_rest_keeps_its_order_and_its_duplicates(
            (table, row) in rows(),
            remaps in remaps(),
        ) {
            for edit in plan_any((table, &row), OnEmpty::Hold, &remaps).edits {
                let (gone, renamed) = (edit.removed(), edit.remapped());
                prop_assert!(!(gone.is_empty() && renamed.is_empty()));
                let mut settled = gone.iter().chain(renamed.keys());
                prop_assert!(settled.all(|r| r == GONE || r == GONE_TOO));
                prop_assert!(renamed.iter().all(|(old, new)| remaps.get(old) == Some(new)));
                prop_assert!(!gone.iter().any(|r| remaps.contains_key(r)));
                let after = edit.after();
                let stays = |(r, _): &(&str, &str)| {
                    !gone.contains(*r) && !renamed.contains_key(*r) && renamed.values().all(|new| new != r)
                };
                let left = |value| entries(value).into_iter().filter(stays).collect::<Vec<_>>();
                prop_assert_eq!(left(&after), left(edit.before()));
            }
        }

        #[test]
        fn a_remap_doubles_no_entry_and_unites_the_tools(
            (table, row) in rows(),
            remaps in remaps(),
        ) {
            for edit in plan_any((table, &row), OnEmpty::Hold, &remaps).edits {
                let (before, after) = (entries(edit.before()), edit.after());
                let after = entries(&after);
                let new = |r| edit.remapped().get(r).map(String::as_str);
                let brought: BTreeSet<_> = before
                    .iter()
                    .filter_map(|(r, tool)| Some((new(*r)?, *tool)))
                    .collect();
                let times = |all: &[(&str, &str)], one| all.iter().filter(|e| **e == one).count();
                for entry in &brought {
                    let there = times(&before, *entry);
                    prop_assert_eq!(times(&after, *entry), there.max(1), "{:?}", entry);
                }
                let known = |entry: &&(&str, &str)| brought.contains(*entry) || before.contains(*entry);
                prop_assert_eq!(after.iter().filter(known).count(), after.len());
            }
        }

        #[test]
        fn every_stale_reference_is_either_removed_or_held((table, row) in rows()) {
            let plan = plan_any((table, &row), OnEmpty::Hold, &BTreeMap::new());
            let mut settled: Vec<(&str, &str)> = plan
                .edits
                .iter()
                .flat_map(|e| e.removed().iter().map(|r| (e.site().name, r.as_str())))
                .chain(plan.held.iter().map(|h| (h.column, h.reference.as_str())))
                .collect();
            let mut stale: Vec<(&str, &str)> = plan
                .audit
                .findings
                .iter()
                .filter(|f| ["stale", "dangling-toolset"].contains(&f.kind.name()))
                .filter_map(|f| Some((f.column, f.reference.as_deref()?)))
                .collect();
            settled.sort_unstable();
            stale.sort_unstable();
            prop_assert_eq!(settled, stale);
        }

        #[test]
        fn what_restricts_by_being_filled_never_runs_empty(
            (table, row) in rows(),
            remaps in remaps(),
        ) {
            let owned = row.owners.iter().any(|owner| !owner.stands_alone());
            prop_assume!(owned || table.group != Group::Permissions);
            let after = apply(&row, &plan_any((table, &row), OnEmpty::Hold, &remaps));
            let filled = |row: &Row, place: &str| {
                let cell = row.cells.iter().find(|cell| cell.site.name == place);
                cell.is_some_and(|cell| cell.stored.as_ref().is_ok_and(|v| !v.is_empty()))
            };
            for site in table.sites {
                let restricts = match site.empty {
                    Empty::Widens => true,
                    Empty::WidensBeside(other) => !filled(&row, other),
                    Empty::Harmless => false,
                };
                if restricts {
                    prop_assert_eq!(filled(&row, site.name), filled(&after, site.name));
                }
            }
        }
    }
}
