//! Grants of the levels above and beside a permission row, by which its emptiness is judged.

use std::collections::{BTreeMap, BTreeSet};

use crate::litellm::ids::{AccessGroupId, OrganizationId, PermissionKey, TeamId, ToolsetId};
use crate::litellm::owners::OwnerKind;
use crate::litellm::reference_sites::GrantKind;
use crate::litellm::release::Release;
use crate::litellm::row::Row;
use crate::litellm::server_catalog::ServerCatalog;

/// What the schema tells about its LiteLLM that matters for emptied rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LitellmBehavior {
    /// The oldest release that may have migrated the schema.
    pub release: Release,
    /// Every table that can link to a permission row is one this tool knows.
    pub owners_known: bool,
}

impl LitellmBehavior {
    /// Tells whether a key that may use no server gets none. Before 1.80.0 an empty result meant
    /// the whole registry.
    ///
    /// Source: LiteLLM 1.79.3 `proxy/_experimental/mcp_server/mcp_server_manager.py`,
    /// `get_allowed_mcp_servers`, against the same function of 1.80.0.
    #[must_use]
    pub fn fails_closed(self) -> bool {
        self.release >= Release::FAILS_CLOSED
    }

    /// Tells whether a key can no longer be edited once its team lost a stale reference that the
    /// key still has.
    ///
    /// Source: LiteLLM 1.86.7 `proxy/management_helpers/object_permission_utils.py`: what a key
    /// names has to be among what its team names, compared as text.
    #[must_use]
    pub fn refuses_edits(self) -> bool {
        (Release::REFUSES_EDITS..Release::DROPS_ON_EDIT).contains(&self.release)
    }
}

/// What one permission row grants, as stored; nothing where LiteLLM cannot read the row. Columns
/// that grant the same kind are one list here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Grants {
    /// [`GrantKind::Servers`].
    pub servers: Vec<String>,
    /// [`GrantKind::ServerTools`]: the references without the tools.
    pub tool_keys: Vec<String>,
    /// [`GrantKind::Tags`].
    pub tags: Vec<String>,
    /// [`GrantKind::Toolsets`].
    pub toolsets: Vec<String>,
}

impl Grants {
    /// Adds the entries of a column that grants `kind`.
    pub(crate) fn add(&mut self, kind: GrantKind, entries: impl IntoIterator<Item = String>) {
        self.list_mut(kind).extend(entries);
    }

    /// Keeps the entries that stay.
    pub(crate) fn retain(&mut self, stays: impl Fn(GrantKind, &str) -> bool) {
        for kind in self.by_kind().map(|(kind, _)| kind) {
            self.list_mut(kind).retain(|entry| stays(kind, entry));
        }
    }

    /// Lists the entries of each kind.
    pub(crate) fn by_kind(&self) -> [(GrantKind, &[String]); 4] {
        // A kind that is missing below is a variable that is not used.
        let Self {
            servers,
            tool_keys,
            tags,
            toolsets,
        } = self;
        [
            (GrantKind::Servers, servers),
            (GrantKind::ServerTools, tool_keys),
            (GrantKind::Tags, tags),
            (GrantKind::Toolsets, toolsets),
        ]
    }

    /// Returns the entries of one kind, to change them.
    pub(crate) fn list_mut(&mut self, kind: GrantKind) -> &mut Vec<String> {
        match kind {
            GrantKind::Servers => &mut self.servers,
            GrantKind::ServerTools => &mut self.tool_keys,
            GrantKind::Tags => &mut self.tags,
            GrantKind::Toolsets => &mut self.toolsets,
        }
    }
}

/// A team, as far as its keys inherit from it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Team {
    /// Its permission row.
    pub permissions: Option<PermissionKey>,
    /// Its organization.
    pub organization: Option<OrganizationId>,
    /// Its unified access groups.
    pub access_groups: Vec<AccessGroupId>,
}

/// The grants related to the rows that would run empty, which decide what an emptied row means.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct RelatedGrants {
    /// The rows themselves and those of the teams and organizations above them, by key.
    pub rows: BTreeMap<PermissionKey, Grants>,
    /// The teams of their keys.
    pub teams: BTreeMap<TeamId, Team>,
    /// The permission rows of the organizations above, by organization.
    pub organizations: BTreeMap<OrganizationId, Option<PermissionKey>>,
    /// The servers of a toolset.
    pub toolsets: BTreeMap<ToolsetId, Vec<String>>,
    /// The servers of a unified access group.
    pub access_groups: BTreeMap<AccessGroupId, Vec<String>>,
    /// How many keys stand under an owner.
    pub keys_under: BTreeMap<(OwnerKind, String), u64>,
    /// The stale references that keys of a team keep, by team. Filled for teams with a stale
    /// reference, where [`LitellmBehavior::refuses_edits`].
    pub kept_by_keys: BTreeMap<TeamId, BTreeSet<String>>,
}

impl RelatedGrants {
    /// Returns what a permission row itself grants.
    pub(crate) fn of_row(&self, row: &Row) -> Option<&Grants> {
        self.rows.get(row.key.as_str())
    }
}

/// What a row is judged by.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AccessContext<'a> {
    /// The LiteLLM beside the schema.
    pub behavior: LitellmBehavior,
    /// The servers.
    pub catalog: &'a ServerCatalog,
    /// Everything else that the row's owners may use.
    pub related: &'a RelatedGrants,
    /// Whether every other list loses its stale references too, even where it runs empty.
    pub all_cleared: bool,
}
