//! Names the owners of rows for people: as short as they can be told apart.

use crate::litellm::finding::Audit;
use crate::litellm::known_names::KnownNames;
use crate::litellm::owners::Owner;
use crate::litellm::reference_sites::{Group, ScannedTable};
use crate::report::named_owners::{SHORT, SharedNames};
use crate::report::overview::Overview;
use crate::report::shown_text::{nobody, printable};
use crate::report::text_table::DisplayOptions;

/// How many owners of one row are named, unless all are.
const NAMED: usize = 3;

/// What rows and their owners are called in a report.
pub(super) struct OwnerNames<'a> {
    names: &'a KnownNames,
    /// The names that several owners have.
    shared: &'a SharedNames,
    look: DisplayOptions,
}

impl<'a> OwnerNames<'a> {
    /// Makes the names for a report over these rows.
    pub(super) fn new(names: &'a KnownNames, overview: &'a Overview, look: DisplayOptions) -> Self {
        Self {
            names,
            shared: &overview.shared,
            look,
        }
    }

    /// Returns what people call servers, access groups and toolsets.
    pub(super) fn known(&self) -> &'a KnownNames {
        self.names
    }

    /// Names a row: its owners, or the access group, toolset or settings that it is.
    pub(super) fn row(&self, audit: &Audit) -> String {
        match audit.table.group() {
            Group::Permissions => self.owners(audit),
            Group::AccessGroups => self.group(audit, "access group"),
            Group::Toolsets => self.group(audit, "toolset"),
            Group::Defaults => nobody(audit.table.group()).to_owned(),
            Group::Credentials => audit.table.label(),
        }
    }

    /// Names a row by its first owner, without ids; `None` if nobody owns it.
    pub(super) fn briefly(&self, audit: &Audit) -> Option<String> {
        if audit.table.group() != Group::Permissions {
            return Some(self.row(audit));
        }
        let owner = audit.owners().next()?;
        let kind = owner.kind().name().replace('_', " ");
        Some(match self.telling_name(owner) {
            Some(name) => format!("{kind} {}", printable(name)),
            None => self.owner(owner),
        })
    }

    /// Names an owner, with its id if that is short or the name alone does not tell it.
    pub(super) fn owner(&self, owner: &Owner) -> String {
        let id = owner.id();
        let kind = owner.kind().name().replace('_', " ");
        match self.telling_name(owner) {
            Some(name) if !self.look.is_wide() && id.chars().count() > SHORT => {
                format!("{kind} {}", printable(name))
            }
            _ => printable(&owner.to_string()),
        }
    }

    /// Returns the name of an owner that no other owner in the report has.
    fn telling_name<'o>(&self, owner: &'o Owner) -> Option<&'o str> {
        let name = owner.name().filter(|name| !name.is_empty())?;
        (!self.shared.has(owner.kind(), name)).then_some(name)
    }

    fn owners(&self, audit: &Audit) -> String {
        if audit.impacts.is_empty() {
            return nobody(audit.table.group()).to_owned();
        }
        let most = match (self.look.is_wide(), self.look.limit) {
            (true, limit) => limit.unwrap_or(usize::MAX),
            (false, _) => NAMED,
        };
        let named: Vec<String> = audit.owners().take(most).map(|o| self.owner(o)).collect();
        match audit.impacts.len().saturating_sub(most) {
            0 => named.join(", "),
            more => format!("{} and {more} more", named.join(", ")),
        }
    }

    fn group(&self, audit: &Audit, kind: &str) -> String {
        let key = printable(&audit.row);
        match self.names.row(audit.table, &audit.row) {
            None => format!("{kind} {key}"),
            Some(name) if self.look.is_wide() => format!("{kind} {} ({key})", printable(name)),
            Some(name) => format!("{kind} {}", printable(name)),
        }
    }
}

/// Returns the short name of a site, or the whole one.
pub(crate) fn site_name(table: ScannedTable, column: &'static str, whole: bool) -> String {
    let last = column.rsplit('.').next().unwrap_or(column);
    match table.group() {
        Group::Credentials => "rows".to_owned(),
        Group::Permissions if whole => column.to_owned(),
        Group::AccessGroups | Group::Toolsets | Group::Defaults if whole => {
            let column = column.strip_prefix("param_value.").unwrap_or(column);
            format!("{}: {column}", table.group().name())
        }
        Group::Permissions | Group::AccessGroups | Group::Toolsets | Group::Defaults => {
            match last {
                "mcp_servers" if table.group() == Group::Defaults => "servers of new keys",
                "mcp_tool_permissions" if table.group() == Group::Defaults => "tools of new keys",
                "mcp_servers" | "access_mcp_server_ids" => "servers",
                "mcp_tool_permissions" => "tools",
                "mcp_toolsets" => "toolsets",
                "public_mcp_servers" => "public servers",
                other => other,
            }
            .to_owned()
        }
    }
}
