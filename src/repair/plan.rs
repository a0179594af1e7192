//! Plans the repair of one row: which references to remove or rename, and which to hold.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::litellm::access_context::{AccessContext, RelatedGrants};
use crate::litellm::credentials::ServerRows;
use crate::litellm::deny_marker::{Obstacle, marker_obstacle};
use crate::litellm::finding::Audit;
use crate::litellm::last_grant;
use crate::litellm::owners::OwnerKind;
use crate::litellm::packing::{ConstantText, find_column, packed_site};
use crate::litellm::reference_sites::{
    Group, Names, PERMISSIONS, ScannedTable, Shape, Site, SiteTable,
};
use crate::litellm::row::{Cell, Row};
use crate::litellm::server::NO_SERVERS;
use crate::litellm::server_catalog::{Resolution, ServerCatalog};
use crate::litellm::value::Value;
use crate::repair::empty_lists::{EmptyListDecisions, Fallback, FallenList};
use crate::repair::policy::{OnEmpty, Policy};
use crate::repair::selection::Selection;

/// The edit of one column. It can only remove references, rename them as the operator said, or
/// leave the deny marker in place of all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Edit {
    #[serde(with = "packed_site")]
    site: &'static Site,
    before: Value,
    removed: BTreeSet<String>,
    remapped: BTreeMap<String, String>,
    ending: EmptyOutcome,
    /// What a search may decide instead. No report says it.
    #[serde(skip)]
    fallbacks: &'static [Fallback],
}

/// How an edit leaves a column that held the last grants of its owners.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum EmptyOutcome {
    /// The column keeps references, or may be empty safely.
    No,
    /// The column holds the deny marker alone.
    Denied,
    /// The column is empty.
    Cleared,
}

impl EmptyOutcome {
    /// Returns the name in JSON of the operator's choice for such a column.
    #[must_use]
    pub(crate) fn name(self) -> Option<&'static str> {
        match self {
            Self::No => None,
            Self::Denied => Some("deny"),
            Self::Cleared => Some("clear"),
        }
    }
}

impl Edit {
    /// Returns the column that changes.
    #[must_use]
    pub(crate) fn site(&self) -> &'static Site {
        self.site
    }

    /// Returns the value as it was read.
    #[must_use]
    pub(crate) fn before(&self) -> &Value {
        &self.before
    }

    /// Returns the new value: [`before`](Self::before) without the references removed and with the
    /// new names of those renamed, or the deny marker alone.
    #[must_use]
    pub(crate) fn after(&self) -> Value {
        match self.ending {
            EmptyOutcome::Denied => Value::Array(vec![NO_SERVERS.to_owned()]),
            EmptyOutcome::No | EmptyOutcome::Cleared => self
                .before
                .without(|r| self.removed.contains(r))
                .renamed(|r| self.remapped.get(r).map(String::as_str)),
        }
    }

    /// Returns the old value with the references renamed that the operator asked to remap: what
    /// access is compared with. A rename that was not asked for is left out, and so makes a
    /// difference.
    #[must_use]
    pub(crate) fn before_renamed(&self, catalog: &ServerCatalog) -> Value {
        let asked = self.remapped.keys().filter_map(|old| {
            let is_asked = catalog.remaps().contains_key(old);
            let new = catalog
                .remap_as(self.site.names, old)
                .filter(|_| is_asked)?;
            Some((old.as_str(), new))
        });
        let asked: BTreeMap<&str, String> = asked.collect();
        self.before
            .renamed(|old| asked.get(old).map(String::as_str))
    }

    /// Returns the references renamed, each with its new name.
    #[must_use]
    pub(crate) fn remapped(&self) -> &BTreeMap<String, String> {
        &self.remapped
    }

    /// Tells whether a rename makes two references one, and so unites their lists of tools.
    #[must_use]
    pub(crate) fn unites(&self) -> bool {
        let Value::Keys(before) = &self.before else {
            return false;
        };
        self.remapped.values().any(|new| before.contains_key(new))
    }

    /// Returns how the edit leaves the column, where it held the last grants of its owners.
    #[must_use]
    pub(crate) fn ending(&self) -> EmptyOutcome {
        self.ending
    }

    /// Returns what may become of the column instead, where it held the last grants of its owners
    /// and the operator's choice asks that nobody's access changes.
    #[must_use]
    pub(crate) fn fallbacks(&self) -> &'static [Fallback] {
        self.fallbacks
    }

    /// Returns the references removed, in order; each was stale when it was planned.
    #[must_use]
    pub(crate) fn removed(&self) -> &BTreeSet<String> {
        &self.removed
    }
}

/// Why a stale reference is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Reason {
    /// Its column would run empty, and to LiteLLM that means "inherit" or "no ceiling".
    LastGrant,
    /// LiteLLM is older than 1.80.0: two lists that no longer share a reference open every
    /// server.
    FailsOpen,
    /// A key of the team keeps the reference; if the team did not, the key could not be edited.
    KeptByKey,
    /// Its column would run empty, and what may stand there instead cannot be judged.
    Marker(Obstacle),
    /// Its column would run empty, and whatever stands there instead, somebody would gain access.
    WouldWiden,
    /// Its column would run empty, and whatever stands there instead, somebody would lose access.
    WouldNarrow,
    /// It names a toolset that is gone, and it denies as long as it is there.
    DanglingToolset,
    /// LiteLLM takes only ids here, and the new name given with `--remap` has not exactly one.
    NeedsId,
    /// It is kept in whole rows, and the operator did not say `--delete-rows`.
    NeedsDeleteRows,
    /// It is kept in whole rows and remapped, but its users may have rows of the new server.
    NotRemapped,
    /// It belongs to a client that a proxy has registered and that LiteLLM manages.
    OauthClient,
    /// It looks like the id of a config server that was edited or removed.
    MaybeEdited,
    /// It is an old id of a config server that may have several ids now.
    MaybeRenewed,
    /// It limits the tools of a server that is taken as deleted, and served until it is.
    StillServed,
}

impl Reason {
    /// Tells whether `--on-empty` decides about what is held for this reason.
    #[must_use]
    pub(crate) fn is_of_empty_list(self) -> bool {
        match self {
            Self::LastGrant | Self::Marker(_) | Self::WouldWiden | Self::WouldNarrow => true,
            Self::FailsOpen
            | Self::KeptByKey
            | Self::DanglingToolset
            | Self::NeedsId
            | Self::NeedsDeleteRows
            | Self::NotRemapped
            | Self::OauthClient
            | Self::MaybeEdited
            | Self::MaybeRenewed
            | Self::StillServed => false,
        }
    }

    /// Returns the reason's name in JSON.
    #[must_use]
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::LastGrant => "last-grant",
            Self::FailsOpen => "fails-open",
            Self::KeptByKey => "kept-by-key",
            Self::Marker(obstacle) => obstacle.name(),
            Self::WouldWiden => "would-widen",
            Self::WouldNarrow => "would-narrow",
            Self::DanglingToolset => "dangling-toolset",
            Self::NeedsId => "needs-id",
            Self::NeedsDeleteRows => "needs-delete-rows",
            Self::NotRemapped => "not-remapped",
            Self::OauthClient => "oauth-client",
            Self::MaybeEdited => "maybe-edited",
            Self::MaybeRenewed => "maybe-renewed",
            Self::StillServed => "still-served",
        }
    }

    /// Explains to the operator why such references are held, in sentences that fit one reference
    /// and several. Reasons that have the same explanation are told together.
    #[must_use]
    pub(crate) fn explanation(self) -> &'static str {
        match self {
            Self::LastGrant => {
                "LiteLLM reads an empty list as \"inherit\" or \"no limit\", so removing the last \
                 reference may widen access. Left as it is, the list denies as before."
            }
            Self::FailsOpen => {
                "Before LiteLLM 1.80, a key and a team whose lists share no reference reach \
                 every server, and a stale reference may be all that they share. Upgrade LiteLLM first."
            }
            Self::KeptByKey => {
                "A key of the team has the same reference, and this LiteLLM refuses to edit a key \
                 that names what its team does not."
            }
            Self::Marker(_) => {
                "What would stand in the list instead cannot be judged, for the reason shown. Left \
                 as it is, the list denies as before."
            }
            Self::WouldWiden | Self::WouldNarrow => {
                "Whatever stood in the list instead, somebody's access would change. Left as it is, \
                 the list denies as before."
            }
            Self::DanglingToolset => {
                "Edit each row in LiteLLM, because it names a toolset that is gone. fix leaves it: \
                 removing such a reference may open what it denies."
            }
            Self::NeedsId => {
                "LiteLLM takes only ids here: remap to the id of the new server, not to a name."
            }
            Self::NeedsDeleteRows => {
                "Users stored such rows for deleted servers, secrets among them. Add --delete-rows \
                 to delete them; the journal then holds them."
            }
            Self::NotRemapped => {
                "Rows that users stored for a server are not remapped, because the users may have \
                 stored the same for the new server. To delete them, leave the remap out."
            }
            Self::OauthClient => {
                "A proxy has registered itself with these servers as an OAuth client, which is only \
                 ever reported. Make sure that no config.yaml was forgotten."
            }
            Self::MaybeEdited => {
                "A config server with such an id may have been edited or removed. Give the file from \
                 before with --previous-litellm-config, and the current one with \
                 --litellm-config; or add --prune-config-ids to treat the id as stale."
            }
            Self::MaybeRenewed => {
                "The id is an old one of a config server, and the config files do not tell the new \
                 one. Pin its server_id there, or name the server with --remap OLD=NEW."
            }
            Self::StillServed => {
                "Run fix again once the server is deleted in LiteLLM. Until then the server is \
                 served, and these references limit its tools."
            }
        }
    }
}

/// Says the reason in words.
impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LastGrant => f.write_str("last grant"),
            Self::FailsOpen => f.write_str("LiteLLM before 1.80"),
            Self::KeptByKey => f.write_str("a key of the team keeps it"),
            Self::Marker(obstacle) => obstacle.fmt(f),
            Self::WouldWiden => f.write_str("somebody would gain access"),
            Self::WouldNarrow => f.write_str("somebody would lose access"),
            Self::DanglingToolset => f.write_str("a toolset that is gone denies"),
            Self::NeedsId => f.write_str("remap to an id here"),
            Self::NeedsDeleteRows => f.write_str("say --delete-rows"),
            Self::NotRemapped => f.write_str("whole rows are not remapped"),
            Self::OauthClient => f.write_str("a client of a proxy"),
            Self::MaybeEdited => f.write_str("config server edited?"),
            Self::MaybeRenewed => f.write_str("which id it has now is unclear"),
            Self::StillServed => f.write_str("limits tools until the server is deleted"),
        }
    }
}

/// A stale reference that a repair leaves in place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Held {
    /// The column.
    #[serde(deserialize_with = "find_column")]
    pub column: ConstantText,
    /// The reference as stored.
    pub reference: String,
    /// Why it stays.
    pub reason: Reason,
    /// Who would gain or lose what, where that is the reason: "key ci-bot (ab12cd34) would gain
    /// github".
    pub because: Option<String>,
}

/// What decides about a row besides what is known of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RepairChoices<'a> {
    /// What the operator chose.
    pub policy: Policy,
    /// What becomes of lists that would run empty, where that is not the policy's first choice.
    pub decisions: &'a EmptyListDecisions,
}

/// Every list gets the first choice.
impl From<Policy> for RepairChoices<'static> {
    fn from(policy: Policy) -> Self {
        let decisions = EmptyListDecisions::FIRST_CHOICES;
        Self { policy, decisions }
    }
}

/// The findings of a row, and what to do about them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RowPlan {
    /// The findings of the row, and its owners.
    pub audit: Audit,
    /// The columns to change, in the order of the table's sites; empty if none.
    pub edits: Vec<Edit>,
    /// The credentials to delete, where these are credentials.
    pub deletion: Option<ServerRows>,
    /// The stale references that stay, in the order found.
    pub held: Vec<Held>,
}

impl RowPlan {
    /// Plans the repair of `row`, a row of `table`.
    ///
    /// Every stale reference of the row ends in exactly one of `edits` and `held`.
    #[must_use]
    pub(crate) fn of(
        table: &'static SiteTable,
        row: &Row,
        context: AccessContext<'_>,
        choices: RepairChoices<'_>,
    ) -> Self {
        let mut plan = Self {
            audit: Audit::of(table, row, context),
            edits: Vec::new(),
            deletion: None,
            held: Vec::new(),
        };
        for cell in &row.cells {
            plan.settle(row, cell, context, choices);
        }
        // Many plans may be kept in memory, and a vector that grew has spare room.
        plan.audit.findings.shrink_to_fit();
        plan.edits.shrink_to_fit();
        plan.held.shrink_to_fit();
        plan
    }

    /// Tells whether anything is changed or deleted.
    #[must_use]
    pub(crate) fn changes_something(&self) -> bool {
        !self.edits.is_empty() || self.deletion.is_some()
    }

    /// Counts the references that are held because their list would run empty.
    #[must_use]
    pub(crate) fn held_in_empty_lists(&self) -> usize {
        let held = self.held.iter();
        held.filter(|held| held.reason.is_of_empty_list()).count()
    }

    /// Counts these and the references that are held because LiteLLM may be older than 1.80, which
    /// a choice of `--on-empty` may bring about.
    #[must_use]
    pub(crate) fn held_by_any_choice(&self) -> usize {
        let held = self.held.iter();
        let fails_open = held.filter(|held| held.reason == Reason::FailsOpen);
        self.held_in_empty_lists() + fails_open.count()
    }

    /// Returns how many rows of the database the plan is about.
    #[must_use]
    pub(crate) fn rows(&self) -> usize {
        usize::try_from(self.audit.rows).unwrap_or(usize::MAX)
    }

    /// Decides which stale references of `cell` are removed, renamed or held.
    fn settle(
        &mut self,
        row: &Row,
        cell: &Cell,
        context: AccessContext<'_>,
        choices: RepairChoices<'_>,
    ) {
        let Ok(value) = &cell.stored else {
            return;
        };
        let resolve = |reference| context.catalog.resolve_as(cell.site.names, reference);
        let references = value.references();
        let resolved: Vec<(&str, Resolution)> = references.map(|r| (r, resolve(r))).collect();
        let of = |resolution| -> BTreeSet<String> {
            let resolved = resolved.iter();
            let meant = resolved.filter_map(|(r, found_as)| (*found_as == resolution).then_some(r));
            meant.map(ToString::to_string).collect()
        };
        let mut edit = Edit {
            site: cell.site,
            before: value.clone(),
            removed: of(Resolution::Stale),
            remapped: BTreeMap::new(),
            ending: EmptyOutcome::No,
            fallbacks: &[],
        };
        let mut needs_id = BTreeSet::new();
        for old in of(Resolution::Remapped) {
            if let Some(new) = context.catalog.remap_as(cell.site.names, &old) {
                edit.remapped.insert(old, new);
            } else {
                needs_id.insert(old);
            }
        }
        self.held.extend(hold(&edit, &needs_id, Reason::NeedsId));
        for (resolution, reason) in [
            (Resolution::MaybeEdited, Reason::MaybeEdited),
            (Resolution::MaybeRenewed, Reason::MaybeRenewed),
        ] {
            self.held.extend(hold(&edit, &of(resolution), reason));
        }
        let limits = limits_of_served(&edit, context.catalog);
        self.held.extend(hold(&edit, &limits, Reason::StillServed));
        edit.removed.retain(|reference| !limits.contains(reference));
        if cell.site.names == Names::Toolsets {
            self.held.extend(edit.hold_all(Reason::DanglingToolset));
        } else if self.audit.table.group() == Group::Permissions {
            self.settle_grants(row, cell, &mut edit, context, choices);
        } else if last_grant::takes_last_grant(row, cell, |r| edit.removed.contains(r)) {
            let ending = group_ending(self.audit.table, row, cell, choices);
            self.held.extend(edit.end(ending));
        }
        if !edit.removed.is_empty() || !edit.remapped.is_empty() {
            self.edits.push(edit);
        }
    }

    /// Decides the same for a permission row, where the owners tell what an empty list would mean.
    fn settle_grants(
        &mut self,
        row: &Row,
        cell: &Cell,
        edit: &mut Edit,
        context: AccessContext<'_>,
        choices: RepairChoices<'_>,
    ) {
        if last_grant::may_open_everything(row, context.behavior) {
            self.held.extend(edit.hold_all(Reason::FailsOpen));
        }
        let mut kept = BTreeSet::new();
        if context.behavior.refuses_edits() {
            kept = kept_by_keys(row, context.related);
            let (renamed, stay) = std::mem::take(&mut edit.remapped)
                .into_iter()
                .partition(|(old, _)| !kept.contains(old));
            edit.remapped = renamed;
            let stay: BTreeSet<String> = BTreeMap::into_keys(stay).collect();
            self.held.extend(hold(edit, &stay, Reason::KeptByKey));
            kept.retain(|reference| edit.removed.contains(reference));
        }
        let last = last_grant::takes_last_grant(row, cell, |r| edit.removed.contains(r));
        if last && !last_grant::may_run_empty(row, context.behavior) {
            let ending = match ending(row, cell, context, choices) {
                Ok(_) if !kept.is_empty() => Err(Reason::KeptByKey.into()),
                ending => ending,
            };
            self.held.extend(edit.end(ending));
        } else {
            self.held.extend(hold(edit, &kept, Reason::KeptByKey));
            edit.removed.retain(|reference| !kept.contains(reference));
        }
    }
}

impl Edit {
    /// Holds every reference that was to be removed.
    fn hold_all(&mut self, reason: Reason) -> Vec<Held> {
        let held = hold(self, &self.removed, reason);
        self.removed.clear();
        held
    }

    /// Leaves a list that would run empty as it was decided, or holds it.
    fn end(&mut self, ending: Result<ListEnding, HeldList>) -> Vec<Held> {
        match ending {
            Ok(ending) => {
                self.ending = ending.outcome;
                self.fallbacks = ending.fallbacks;
                Vec::new()
            }
            Err(HeldList { reason, because }) => {
                let mut held = self.hold_all(reason);
                for held in &mut held {
                    held.because.clone_from(&because);
                }
                held
            }
        }
    }
}

/// How to leave a list that would run empty.
struct ListEnding {
    outcome: EmptyOutcome,
    fallbacks: &'static [Fallback],
}

impl From<EmptyOutcome> for ListEnding {
    fn from(outcome: EmptyOutcome) -> Self {
        let fallbacks = &[];
        Self { outcome, fallbacks }
    }
}

/// Why a list that would run empty is held.
struct HeldList {
    reason: Reason,
    because: Option<String>,
}

impl From<Reason> for HeldList {
    fn from(reason: Reason) -> Self {
        let because = None;
        Self { reason, because }
    }
}

impl From<&FallenList> for HeldList {
    fn from(fallen: &FallenList) -> Self {
        Self {
            reason: if fallen.widens {
                Reason::WouldWiden
            } else {
                Reason::WouldNarrow
            },
            because: Some(fallen.because.clone()),
        }
    }
}

/// Returns the references that limit the tools of a server that is taken as deleted. It is served
/// until it is deleted, and without them a caller who has it otherwise would have all its tools.
fn limits_of_served(edit: &Edit, catalog: &ServerCatalog) -> BTreeSet<String> {
    match edit.site.shape {
        Shape::TextArray | Shape::JsonArray => BTreeSet::new(),
        Shape::JsonKeys | Shape::JsonTools => {
            let removed = edit.removed.iter();
            let limits = removed.filter(|reference| catalog.deleted().are_called(reference));
            limits.cloned().collect()
        }
    }
}

/// Returns how to leave a column of a permission row that would run empty, or why its references
/// are held.
fn ending(
    row: &Row,
    cell: &Cell,
    context: AccessContext<'_>,
    choices: RepairChoices<'_>,
) -> Result<ListEnding, HeldList> {
    let obstacle = marker_obstacle(row, cell, context.behavior);
    let fallen = choices
        .decisions
        .fallen(&PERMISSIONS, &row.key, cell.site.name);
    match (choices.policy.on_empty, obstacle) {
        (OnEmpty::Hold, _) => Err(Reason::LastGrant.into()),
        (OnEmpty::Clear, _) if !context.behavior.fails_closed() => Err(Reason::FailsOpen.into()),
        (OnEmpty::Clear, _) => Ok(EmptyOutcome::Cleared.into()),
        (OnEmpty::Deny { .. }, None) => match fallen {
            Some(fallen) => Err(fallen.into()),
            None => Ok(ListEnding {
                outcome: EmptyOutcome::Denied,
                fallbacks: &[Fallback::Hold],
            }),
        },
        (OnEmpty::Unchanged, None | Some(Obstacle::ToolPermissions | Obstacle::UnknownMarker)) => {
            let may_deny = obstacle.is_none();
            unchanged_ending(fallen, may_deny)
        }
        (OnEmpty::Deny { .. } | OnEmpty::Unchanged, Some(obstacle)) => {
            Err(Reason::Marker(obstacle).into())
        }
    }
}

/// Returns how `--on-empty unchanged` leaves a list, or why it is held.
fn unchanged_ending(fallen: Option<&FallenList>, may_deny: bool) -> Result<ListEnding, HeldList> {
    match fallen {
        None => Ok(ListEnding {
            outcome: EmptyOutcome::Cleared,
            fallbacks: if may_deny {
                &[Fallback::Deny, Fallback::Hold]
            } else {
                &[Fallback::Hold]
            },
        }),
        Some(FallenList {
            to: Fallback::Deny, ..
        }) if may_deny => Ok(ListEnding {
            outcome: EmptyOutcome::Denied,
            fallbacks: &[Fallback::Hold],
        }),
        Some(fallen) => Err(fallen.into()),
    }
}

/// Returns how to leave a list of an access group or a toolset that would run empty, or why its
/// references are held. LiteLLM knows no deny marker there, and what new keys are given is nobody's
/// access yet.
fn group_ending(
    table: ScannedTable,
    row: &Row,
    cell: &Cell,
    choices: RepairChoices<'_>,
) -> Result<ListEnding, HeldList> {
    let decides = matches!(table.group(), Group::AccessGroups | Group::Toolsets)
        && row.cells.iter().all(|cell| cell.stored.is_ok());
    match (choices.policy.on_empty, table) {
        (OnEmpty::Unchanged, ScannedTable::References(table)) if decides => {
            let fallen = choices.decisions.fallen(table, &row.key, cell.site.name);
            unchanged_ending(fallen, false)
        }
        // An empty toolset denies, so clearing it would take access away.
        (OnEmpty::Clear, _) if decides && table.group() == Group::AccessGroups => {
            Ok(EmptyOutcome::Cleared.into())
        }
        (OnEmpty::Unchanged | OnEmpty::Hold | OnEmpty::Deny { .. } | OnEmpty::Clear, _) => {
            Err(Reason::LastGrant.into())
        }
    }
}

/// Returns the references that the columns of `row` hold. Columns that cannot be read have none.
pub(crate) fn references(row: &Row) -> impl Iterator<Item = &str> {
    let values = row
        .cells
        .iter()
        .filter_map(|cell| cell.stored.as_ref().ok());
    values.flat_map(Value::references)
}

/// Tells whether a repair may take `reference` away from a permission row, or rename it there.
#[must_use]
pub(crate) fn may_be_taken(reference: &str, catalog: &ServerCatalog) -> bool {
    match catalog.resolve(reference) {
        Resolution::Stale | Resolution::Remapped => true,
        Resolution::Live
        | Resolution::Inactive
        | Resolution::Sentinel
        | Resolution::Kept
        | Resolution::Unverified
        | Resolution::MaybeEdited
        | Resolution::MaybeRenewed
        | Resolution::OnlyAName
        | Resolution::Passed => false,
    }
}

/// Returns the references that stay in `row`, the permission row of a team's key, and that its
/// team must therefore keep too.
///
/// A row that this run does not select keeps everything that it names. So does a row that a team
/// owns as well: what stays there depends on the keys of that team.
///
/// Source: LiteLLM 1.86.7 `management_helpers/object_permission_utils.py`,
/// `validate_key_mcp_servers_against_team`: a request that names what the team does not is a 403.
#[must_use]
pub(crate) fn references_left_to_key(
    row: &Row,
    selection: &Selection,
    context: AccessContext<'_>,
    choices: RepairChoices<'_>,
) -> BTreeSet<String> {
    let is_of_team = row
        .owners
        .iter()
        .any(|owner| owner.kind() == OwnerKind::Team);
    if is_of_team || !selection.takes(row) {
        return references(row).map(str::to_owned).collect();
    }
    let held = RowPlan::of(&PERMISSIONS, row, context, choices).held;
    held.into_iter().map(|held| held.reference).collect()
}

/// Returns the references that keys of the teams that own `row` keep.
fn kept_by_keys(row: &Row, related: &RelatedGrants) -> BTreeSet<String> {
    let teams = row.owners.iter().filter(|o| o.kind() == OwnerKind::Team);
    let kept = teams.filter_map(|team| related.kept_by_keys.get(team.id()));
    kept.flatten().cloned().collect()
}

/// Returns the references `kept` of the column as held, in the order found.
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
            because: None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::litellm::access_context::{Grants, LitellmBehavior};
    use crate::litellm::deleted_servers::DeletedServers;
    use crate::litellm::ids::{PermissionKey, ServerId, TeamId};
    use crate::litellm::owners::{KeyTies, Owner, Parents};
    use crate::litellm::reference_sites::{
        Empty, MCP_SERVERS, MCP_TOOL_PERMISSIONS, ScannedTable, TABLES,
    };
    use crate::litellm::release::Release;
    use crate::litellm::server::{ConfigServers, Server, Signs};
    use crate::litellm::server_catalog::{IdHistory, ServerCatalog};
    use crate::litellm::test_support::{Standing, value};
    use crate::litellm::value::Malformed;
    use crate::repair::changeset::is_repair;
    use crate::repair::empty_lists::{EmptyList, Evidence};

    const GONE: &str = "0b8f8e0c-2f5d-4a51-9a35-1f4a1c9f7d10";
    const GONE_TOO: &str = "7d1c1e6e-51a5-4c6f-8f6f-5f0f5e1d2c3b";
    const BEHAVIOR: LitellmBehavior = LitellmBehavior {
        release: Release::PINS_IDS,
        owners_known: true,
    };

    fn catalog(config: ConfigServers) -> ServerCatalog {
        let server = |id: &str, name: &str, status: Option<&str>| Server {
            server_id: ServerId(id.to_owned()),
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

    /// Builds a row of a team without findings: one server by id, and tools of it by name.
    fn clean() -> Row {
        Row {
            key: "p-1".to_owned(),
            cells: vec![array(&["id-1"]), keys(&["one"])],
            owners: vec![owner(OwnerKind::Team, Standing::InTeam)],
        }
    }

    fn owner(kind: OwnerKind, standing: Standing) -> Owner {
        let parents = Parents {
            team: (standing == Standing::InTeam).then(|| TeamId("team".to_owned())),
            ..Parents::default()
        };
        let ties = KeyTies {
            parents,
            has_access_groups: false,
        };
        Owner::new(kind, "owner".to_owned(), None, ties)
    }

    fn array(references: &[&str]) -> Cell {
        Cell {
            site: &MCP_SERVERS,
            stored: Ok(Value::Array(
                references.iter().map(|r| (*r).to_owned()).collect(),
            )),
        }
    }

    fn keys(references: &[&str]) -> Cell {
        Cell {
            site: &MCP_TOOL_PERMISSIONS,
            stored: Ok(Value::Keys(
                references
                    .iter()
                    .map(|r| ((*r).to_owned(), vec!["tool".to_owned()]))
                    .collect(),
            )),
        }
    }

    fn plan(row: &Row) -> RowPlan {
        plan_with(row, BEHAVIOR, OnEmpty::Hold)
    }

    fn unknown() -> ConfigServers {
        ConfigServers::Unknown(Signs::default())
    }

    fn plan_with(row: &Row, behavior: LitellmBehavior, on_empty: OnEmpty) -> RowPlan {
        let grants = Grants {
            tool_keys: match &row.cells[1].stored {
                Ok(value) => value.references().map(str::to_owned).collect(),
                Err(_) => Vec::new(),
            },
            ..Grants::default()
        };
        let related = RelatedGrants {
            rows: BTreeMap::from([(PermissionKey(row.key.clone()), grants)]),
            ..RelatedGrants::default()
        };
        let config = if on_empty == OnEmpty::Hold {
            unknown()
        } else {
            ConfigServers::Known(Vec::new())
        };
        let context = AccessContext {
            behavior,
            catalog: &catalog(config),
            related: &related,
            all_cleared: on_empty == OnEmpty::Clear,
        };
        RowPlan::of(&PERMISSIONS, row, context, policy(on_empty).into())
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
    fn what_limits_the_tools_of_a_server_stays_until_it_is_deleted() {
        let server = |id: &str, name: &str| Server {
            server_id: ServerId(id.to_owned()),
            server_name: Some(name.to_owned()),
            alias: None,
            approval_status: None,
            tags: Vec::new(),
            allow_all_keys: false,
        };
        let servers = [server("id-1", "one"), server("id-2", "two")];
        let deleted = DeletedServers::named(&BTreeSet::from(["one".to_owned()]), &servers, &[]);
        let catalog = ServerCatalog::as_if_deleted(
            &servers,
            BTreeSet::new(),
            ConfigServers::Known(Vec::new()),
            deleted.unwrap(),
        );
        let row = Row {
            cells: vec![
                array(&["id-1", "id-2", "gone"]),
                keys(&["gone", "one", "two"]),
            ],
            ..clean()
        };
        let context = AccessContext {
            behavior: BEHAVIOR,
            catalog: &catalog,
            related: &RelatedGrants::default(),
            all_cleared: false,
        };
        for on_empty in [OnEmpty::Hold, OnEmpty::Clear] {
            let plan = RowPlan::of(&PERMISSIONS, &row, context, policy(on_empty).into());
            let removed = plan
                .edits
                .iter()
                .map(|edit| (edit.site().name, edit.removed()));
            let removed: Vec<(&str, Vec<&str>)> = removed
                .map(|(column, removed)| (column, removed.iter().map(String::as_str).collect()))
                .collect();
            assert_eq!(
                removed,
                [
                    ("mcp_servers", vec!["gone", "id-1"]),
                    ("mcp_tool_permissions", vec!["gone"])
                ]
            );
            let held = Held {
                column: "mcp_tool_permissions",
                reference: "one".to_owned(),
                reason: Reason::StillServed,
                because: None,
            };
            assert_eq!(plan.held, [held]);
        }
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
            because: None,
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
        let context = AccessContext {
            behavior: BEHAVIOR,
            catalog: &catalog,
            related: &RelatedGrants::default(),
            all_cleared: false,
        };
        let plan = RowPlan::of(&PERMISSIONS, &row, context, Policy::default().into());
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
        let behavior = LitellmBehavior {
            release: Release::FIRST,
            ..BEHAVIOR
        };
        let held = plan_with(&row, behavior, OnEmpty::Hold);
        assert_eq!(held.edits, []);
        assert_eq!(held.held[0].reason, Reason::FailsOpen);
    }

    #[test]
    fn a_team_keeps_what_a_key_of_it_keeps_where_edits_would_be_refused() {
        let mut row = clean();
        row.cells = vec![array(&["id-1", GONE, GONE_TOO]), keys(&["one", GONE])];
        let related = RelatedGrants {
            kept_by_keys: BTreeMap::from([(
                TeamId("owner".to_owned()),
                BTreeSet::from([GONE.to_owned()]),
            )]),
            ..RelatedGrants::default()
        };
        let plan = |release| {
            let context = AccessContext {
                behavior: LitellmBehavior {
                    release,
                    ..BEHAVIOR
                },
                catalog: &catalog(unknown()),
                related: &related,
                all_cleared: false,
            };
            RowPlan::of(&PERMISSIONS, &row, context, Policy::default().into())
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
        let related = RelatedGrants {
            kept_by_keys: BTreeMap::from([(
                TeamId("owner".to_owned()),
                BTreeSet::from([GONE.to_owned()]),
            )]),
            ..RelatedGrants::default()
        };
        let deny = OnEmpty::Deny {
            accept_narrowing: true,
        };
        for on_empty in [deny, OnEmpty::Clear] {
            let context = AccessContext {
                behavior: LitellmBehavior {
                    release: Release::REFUSES_EDITS,
                    ..BEHAVIOR
                },
                catalog: &catalog(ConfigServers::Known(Vec::new())),
                related: &related,
                all_cleared: false,
            };
            let plan = RowPlan::of(&PERMISSIONS, &row, context, policy(on_empty).into());
            assert_eq!(plan.edits, []);
            assert_eq!(plan.held[0].reason, Reason::KeptByKey);
        }
    }

    #[test]
    fn a_team_keeps_the_old_name_while_a_key_of_it_does() {
        let mut row = clean();
        row.cells = vec![array(&["id-1", GONE, GONE_TOO]), keys(&["one", GONE])];
        let remaps = [GONE, GONE_TOO].map(|old| (old.to_owned(), "id-1".to_owned()));
        let catalog = catalog(unknown()).remapping(&remaps.into()).unwrap();
        let related = RelatedGrants {
            kept_by_keys: BTreeMap::from([(
                TeamId("owner".to_owned()),
                BTreeSet::from([GONE.to_owned()]),
            )]),
            ..RelatedGrants::default()
        };
        let context = AccessContext {
            behavior: LitellmBehavior {
                release: Release::REFUSES_EDITS,
                ..BEHAVIOR
            },
            catalog: &catalog,
            related: &related,
            all_cleared: false,
        };
        let plan = RowPlan::of(&PERMISSIONS, &row, context, Policy::default().into());
        let held: Vec<_> = plan.held.iter().map(|h| (h.column, h.reason)).collect();
        let reason = Reason::KeptByKey;
        assert_eq!(
            held,
            [("mcp_servers", reason), ("mcp_tool_permissions", reason)]
        );
        let after: Vec<Value> = plan.edits.iter().map(Edit::after).collect();
        assert_eq!(after, [array(&["id-1", GONE]).stored.unwrap()]);
    }

    #[test]
    fn a_key_keeps_what_is_held_and_a_row_that_is_not_selected_keeps_everything() {
        let mut row = clean();
        row.cells = vec![array(&["id-1", GONE, GONE_TOO]), keys(&[])];
        row.owners = vec![owner(OwnerKind::Key, Standing::InTeam)];
        let remaps = BTreeMap::from([(GONE_TOO.to_owned(), "id-1".to_owned())]);
        let catalog = catalog(unknown()).remapping(&remaps).unwrap();
        let context = AccessContext {
            behavior: LitellmBehavior {
                release: Release::REFUSES_EDITS,
                ..BEHAVIOR
            },
            catalog: &catalog,
            related: &RelatedGrants::default(),
            all_cleared: false,
        };
        let left = |row: &Row, selection: &Selection| -> Vec<String> {
            let left = references_left_to_key(row, selection, context, Policy::default().into());
            left.into_iter().collect()
        };
        let all = Selection::default();
        let other_row = Selection {
            rows: BTreeSet::from(["p-2".to_owned()]),
            ..Selection::default()
        };
        let other_owner = Selection {
            owners: BTreeSet::from([(OwnerKind::Team, "team".to_owned())]),
            ..Selection::default()
        };
        let everything = [GONE, GONE_TOO, "id-1"];
        assert_eq!(left(&row, &all), <[&str; 0]>::default());
        assert_eq!(left(&row, &other_row), everything);
        assert_eq!(left(&row, &other_owner), everything);
        let mut last = row.clone();
        last.cells[0] = array(&[GONE]);
        assert_eq!(left(&last, &all), [GONE]);
        row.owners.push(owner(OwnerKind::Team, Standing::InTeam));
        assert_eq!(left(&row, &all), everything);
    }

    #[test]
    fn what_is_stale_or_remapped_may_be_taken() {
        let remaps = BTreeMap::from([(GONE_TOO.to_owned(), "id-1".to_owned())]);
        let catalog = catalog(unknown()).remapping(&remaps).unwrap();
        let all = [GONE, GONE_TOO, "id-1", "two", "kept", "free", NO_SERVERS];
        let taken: Vec<_> = all
            .into_iter()
            .filter(|reference| may_be_taken(reference, &catalog))
            .collect();
        assert_eq!(taken, [GONE, GONE_TOO]);
    }

    #[test]
    fn a_remapped_reference_is_no_last_grant_and_goes_with_its_tools() {
        let mut row = clean();
        row.cells = vec![array(&[GONE, GONE_TOO]), keys(&[GONE])];
        let remaps = BTreeMap::from([(GONE.to_owned(), "id-1".to_owned())]);
        let catalog = catalog(unknown()).remapping(&remaps).unwrap();
        for release in [Release::FIRST, Release::PINS_IDS] {
            let context = AccessContext {
                behavior: LitellmBehavior {
                    release,
                    ..BEHAVIOR
                },
                catalog: &catalog,
                related: &RelatedGrants::default(),
                all_cleared: false,
            };
            let plan = RowPlan::of(&PERMISSIONS, &row, context, Policy::default().into());
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

    #[test]
    fn deny_pins_a_list_shut_and_clear_empties_it() {
        let mut row = clean();
        row.cells = vec![array(&[GONE, GONE_TOO]), keys(&["one"])];
        let deny = OnEmpty::Deny {
            accept_narrowing: false,
        };
        for (on_empty, ending, left) in [
            (deny, EmptyOutcome::Denied, vec![NO_SERVERS]),
            (OnEmpty::Clear, EmptyOutcome::Cleared, vec![]),
        ] {
            let plan = plan_with(&row, BEHAVIOR, on_empty);
            assert_eq!(plan.held, []);
            assert_eq!(plan.edits.len(), 1);
            assert_eq!(plan.edits[0].ending(), ending);
            assert_eq!(plan.edits[0].removed().len(), 2);
            assert_eq!(plan.edits[0].after().references().collect::<Vec<_>>(), left);
        }
    }

    #[test]
    fn a_list_falls_back_as_it_was_decided() {
        let mut row = clean();
        row.cells = vec![array(&[GONE]), keys(&["one"])];
        row.owners = vec![owner(OwnerKind::Key, Standing::InTeam)];
        let fell = |to, widens| {
            let list = EmptyList {
                table: PERMISSIONS.table,
                row: "p-1".to_owned(),
                column: "mcp_servers",
            };
            let mut decisions = EmptyListDecisions::default();
            decisions.hear(&[Evidence {
                because: "somebody would".to_owned(),
                widens,
                alone: vec![(list, to)],
                ..Evidence::default()
            }]);
            decisions
        };
        let deny = OnEmpty::Deny {
            accept_narrowing: false,
        };
        let (denied, cleared) = (Ok(EmptyOutcome::Denied), Ok(EmptyOutcome::Cleared));
        let (widens, narrows) = (Err(Reason::WouldWiden), Err(Reason::WouldNarrow));
        let old = Release::DROPS_ON_EDIT;
        let unknown = Err(Reason::Marker(Obstacle::UnknownMarker));
        for (on_empty, release, decisions, expected) in [
            (
                deny,
                BEHAVIOR.release,
                EmptyListDecisions::default(),
                denied,
            ),
            (deny, BEHAVIOR.release, fell(Fallback::Hold, false), narrows),
            (deny, old, EmptyListDecisions::default(), unknown),
            (
                OnEmpty::Unchanged,
                BEHAVIOR.release,
                EmptyListDecisions::default(),
                cleared,
            ),
            (
                OnEmpty::Unchanged,
                BEHAVIOR.release,
                fell(Fallback::Deny, true),
                denied,
            ),
            (
                OnEmpty::Unchanged,
                BEHAVIOR.release,
                fell(Fallback::Hold, true),
                widens,
            ),
            // It may not know the marker, so the list is emptied or held.
            (
                OnEmpty::Unchanged,
                old,
                EmptyListDecisions::default(),
                cleared,
            ),
            (OnEmpty::Unchanged, old, fell(Fallback::Deny, true), widens),
        ] {
            let context = AccessContext {
                behavior: LitellmBehavior {
                    release,
                    ..BEHAVIOR
                },
                catalog: &catalog(ConfigServers::Known(Vec::new())),
                related: &RelatedGrants::default(),
                all_cleared: false,
            };
            let choices = RepairChoices {
                policy: policy(on_empty),
                decisions: &decisions,
            };
            let plan = RowPlan::of(&PERMISSIONS, &row, context, choices);
            let found = match plan.held.first() {
                Some(held) => Err(held.reason),
                None => Ok(plan.edits[0].ending()),
            };
            assert_eq!(found, expected, "{on_empty:?} {release}");
            let because = plan.held.first().and_then(|held| held.because.as_deref());
            let is_judged = [widens, narrows].contains(&found);
            assert_eq!(because.is_some(), is_judged, "{because:?}");
        }
    }

    #[test]
    fn nothing_is_cleared_where_an_emptied_key_reaches_everything() {
        let mut row = clean();
        row.cells[0] = array(&[GONE]);
        let behavior = LitellmBehavior {
            release: Release::FIRST,
            ..BEHAVIOR
        };
        for alone in [Standing::Alone, Standing::InTeam] {
            row.owners = vec![owner(OwnerKind::Key, alone)];
            let plan = plan_with(&row, behavior, OnEmpty::Clear);
            assert_eq!(plan.held[0].reason, Reason::FailsOpen);
        }
    }

    /// Generates a row of any table, so that every shape is met; one site in ten is malformed.
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
            (OwnerKind::Key, Standing::Alone),
            (OwnerKind::Key, Standing::InTeam),
            (OwnerKind::Team, Standing::InTeam),
            (OwnerKind::Agent, Standing::InTeam),
        ]);
        let owners = prop::collection::vec(kinds.prop_map(|(k, alone)| owner(k, alone)), 0..3);
        let tables = TABLES.into_iter().filter_map(|table| match table {
            ScannedTable::References(table) => Some(table),
            ScannedTable::Credentials(_) => None,
        });
        let tables = prop::sample::select(tables.collect::<Vec<_>>());
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

    /// Generates remaps of the deleted servers to a server that has a row, or no remaps.
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
        let context = AccessContext {
            behavior: BEHAVIOR,
            catalog: &catalog(unknown()).remapping(remaps).unwrap(),
            related: &RelatedGrants::default(),
            all_cleared: on_empty == OnEmpty::Clear,
        };
        let policy = Policy {
            on_empty,
            delete_rows: true,
        };
        RowPlan::of(table, row, context, policy.into())
    }

    /// Lists the references of a value in order, each with its tool where it has one. A key of an
    /// object also stands for itself.
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
                    !gone.contains(*r)
                        && !renamed.contains_key(*r)
                        && renamed.values().all(|new| new != r)
                };
                let left = |value| entries(value).into_iter().filter(stays).collect::<Vec<_>>();
                prop_assert_eq!(left(&after), left(edit.before()));
            }
        }

        #[test]
        fn every_edit_is_one_that_a_journal_may_hold(
            (table, row) in rows(),
            on_empty in policies(),
            remaps in remaps(),
        ) {
            for edit in plan_any((table, &row), on_empty, &remaps).edits {
                prop_assert!(is_repair(edit.before(), &edit.after()), "{:?}", edit);
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
                let known =
                    |entry: &&(&str, &str)| brought.contains(*entry) || before.contains(*entry);
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
            let filled = |row: &Row, site: &str| {
                let cell = row.cells.iter().find(|cell| cell.site.name == site);
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
