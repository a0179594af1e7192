//! The sites: everywhere LiteLLM stores references. Each has one entry here.
//!
//! If a new site in one of the tables below has a known shape, way of resolving and kind of grant,
//! the entry is enough for the search, locks, writing, verification, journals, plans, privileges
//! and reports. In [`PERMISSIONS`] it is enough for the safety judgement too, which goes through
//! the sites of that table. A site there that does not say what it grants does not compile.
//!
//! A new [`GrantKind`] does not compile until the rules of the judgement say what it means. A new
//! [`Shape`] or [`Names`], a new table, and what the entry cannot say take more: see "Adding a
//! site" in `CONTRIBUTING.md`.

use std::collections::BTreeSet;

/// How the references of a site are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Shape {
    /// `text[]` with a reference an element.
    TextArray,
    /// `jsonb` with an array of references.
    JsonArray,
    /// `jsonb` with an object of string lists; the references are its keys.
    JsonKeys,
    /// `jsonb` with an array of tools, objects of `server_id` and `tool_name`; the references are
    /// the former.
    JsonTools,
}

/// What a site's references are, and how LiteLLM resolves them there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Names {
    /// Servers, by id, alias or name.
    Servers,
    /// Servers, by id alone.
    ServerIds,
    /// Servers of a `config.yaml`, by id alone. They have no row by design, so they are only looked
    /// at where the configs are known, and only ever reported.
    ConfigServerIds,
    /// Toolsets, by id. One that is gone is only ever reported: LiteLLM denies whoever names it, so
    /// taking it away lifts that.
    Toolsets,
}

impl Names {
    /// Tells whether a repair may change such references.
    #[must_use]
    pub fn may_change(self) -> bool {
        match self {
            Self::Servers | Self::ServerIds => true,
            Self::ConfigServerIds | Self::Toolsets => false,
        }
    }
}

/// What it means to LiteLLM that a site runs empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Empty {
    /// Something restricts no longer, or denies no longer: the last reference is a last grant.
    Widens,
    /// The same, but only where the site of this name in the same row grants nothing either.
    WidensBeside(&'static str),
    /// Nothing: entries that resolve nowhere mean as little.
    Harmless,
}

/// What a column of a permission row grants the row's owner. The safety judgement goes by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum GrantKind {
    /// Servers. The deny marker may stand in their place.
    Servers,
    /// Servers, of each of which some tools may be used.
    ServerTools,
    /// Servers that have a tag.
    Tags,
    /// Toolsets, by id: the servers of their tools.
    Toolsets,
}

/// One site within a row.
#[derive(Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Site {
    /// What reports call it: the column, and the path within it.
    pub name: &'static str,
    /// The column's name.
    pub column: &'static str,
    /// Where in the column's JSON it is; the whole column where empty.
    pub path: &'static [&'static str],
    /// How it stores references.
    pub shape: Shape,
    /// What they are.
    pub names: Names,
    /// What it means that it runs empty.
    pub empty: Empty,
    /// What it grants the owner of its row; `None` in any other table than [`PERMISSIONS`].
    pub grants: Option<GrantKind>,
    /// Whether every LiteLLM that has the table has the column.
    pub required: bool,
}

impl Site {
    /// Returns the column's type as `format_type` of PostgreSQL spells it.
    #[must_use]
    pub fn sql_type(&self) -> &'static str {
        match self.shape {
            Shape::TextArray => "text[]",
            Shape::JsonArray | Shape::JsonKeys | Shape::JsonTools => "jsonb",
        }
    }

    /// Tells whether a repair may change it.
    #[must_use]
    pub fn may_change(&self) -> bool {
        self.names.may_change()
    }
}

/// A group of sites that an operator may choose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Group {
    /// What keys, teams, organizations and so on are granted.
    Permissions,
    /// Unified access groups.
    AccessGroups,
    /// Toolsets.
    Toolsets,
    /// What every new key is given, and which servers are public.
    Defaults,
    /// The secrets that users keep for a server, and proxies for one of a `config.yaml`.
    Credentials,
}

impl Group {
    /// Returns the group's name on the command line and in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Permissions => "permissions",
            Self::AccessGroups => "access-groups",
            Self::Toolsets => "toolsets",
            Self::Defaults => "defaults",
            Self::Credentials => "credentials",
        }
    }

    /// Tells whether a command looks at the group by default. It does not look at credentials,
    /// because there a whole row is stale and would be deleted.
    #[must_use]
    pub fn is_default(self) -> bool {
        self != Self::Credentials
    }
}

/// The groups that a command looks at, and how they were chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// The groups.
    pub groups: BTreeSet<Group>,
    /// Whether the operator named them. If so, a group that this role may not read is an error;
    /// otherwise it is left out.
    pub by_name: bool,
    /// Whether every server of a `config.yaml` is known.
    pub configs_known: bool,
}

impl Default for Choice {
    fn default() -> Self {
        Self {
            groups: TABLES
                .map(ScannedTable::group)
                .into_iter()
                .filter(|group| group.is_default())
                .collect(),
            by_name: false,
            configs_known: false,
        }
    }
}

/// A table that a command looks at, by what a stale row of it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScannedTable {
    /// Columns of its rows hold references, and a repair edits those.
    References(&'static SiteTable),
    /// Each of its rows belongs to a server, and a repair deletes the row.
    Credentials(&'static CredentialTable),
}

impl ScannedTable {
    /// Returns the table's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::References(table) => table.table,
            Self::Credentials(table) => table.table,
        }
    }

    /// Returns the group it belongs to.
    #[must_use]
    pub fn group(self) -> Group {
        match self {
            Self::References(table) => table.group,
            Self::Credentials(_) => Group::Credentials,
        }
    }

    /// Returns the column by which its rows are selected: the primary key, or the server's id.
    #[must_use]
    pub fn key(self) -> &'static str {
        match self {
            Self::References(table) => table.key,
            Self::Credentials(table) => table.server,
        }
    }

    /// Lists the columns that name servers, one for each site.
    #[must_use]
    pub fn columns(self) -> Vec<&'static str> {
        match self {
            Self::References(table) => table.sites.iter().map(|site| site.column).collect(),
            Self::Credentials(table) => vec![table.server],
        }
    }

    /// Names the table for people: its group, and the table where the group has several.
    #[must_use]
    pub fn label(self) -> String {
        let group = self.group().name();
        match self {
            Self::References(_) => group.to_owned(),
            Self::Credentials(table) => {
                let table = table.table.strip_prefix("LiteLLM_").unwrap_or(table.table);
                format!("{group}: {table}")
            }
        }
    }

    /// Tells whether a repair may change any of it.
    #[must_use]
    pub fn may_change(self) -> bool {
        match self {
            Self::References(table) => table.sites.iter().any(Site::may_change),
            Self::Credentials(table) => table.names.may_change(),
        }
    }
}

/// A table of credentials. Each row belongs to one server, so all of the row is stale once the
/// server is gone.
#[derive(Debug, PartialEq, Eq)]
pub struct CredentialTable {
    /// The table's name.
    pub table: &'static str,
    /// The column with the server's id, of type `text`.
    pub server: &'static str,
    /// The column that tells the rows of a server apart, of type `text`.
    pub each: &'static str,
    /// What the ids are.
    pub names: Names,
}

/// A table whose rows hold references.
#[derive(Debug, PartialEq, Eq)]
pub struct SiteTable {
    /// The group it belongs to, which also tells who owns its rows.
    pub group: Group,
    /// The table's name.
    pub table: &'static str,
    /// The primary key, one column of type `text`.
    pub key: &'static str,
    /// The key of the only row that matters, where others hold something else.
    pub row: Option<&'static str>,
    /// The columns that say when and by whom a row was last written, which Prisma's client and
    /// LiteLLM set and PostgreSQL does not; UTC without a time zone, and a name.
    pub touched: Option<(&'static str, &'static str)>,
    /// Its sites, in order of their names, which is the order of findings.
    pub sites: &'static [Site],
}

/// What a key, team, organization, project, user, end user or agent may use.
///
/// Source: `LiteLLM_ObjectPermissionTable` in `schema.prisma`; `mcp_servers` came with LiteLLM
/// 1.68.2, `mcp_tool_permissions` with 1.78.0 (migration
/// `20251006143948_add_mcp_tool_permissions`) and `mcp_toolsets` with 1.83.3.
pub(crate) const PERMISSIONS: SiteTable = SiteTable {
    group: Group::Permissions,
    table: "LiteLLM_ObjectPermissionTable",
    key: "object_permission_id",
    row: None,
    touched: None,
    sites: &[MCP_SERVERS, MCP_TOOL_PERMISSIONS, MCP_TOOLSETS],
};

/// The servers that a row of [`PERMISSIONS`] grants.
pub(crate) const MCP_SERVERS: Site = Site {
    required: true,
    grants: Some(GrantKind::Servers),
    ..column("mcp_servers", Shape::TextArray, Empty::Widens)
};

/// The servers of which a row of [`PERMISSIONS`] grants some tools.
pub(crate) const MCP_TOOL_PERMISSIONS: Site = Site {
    grants: Some(GrantKind::ServerTools),
    ..column(
        "mcp_tool_permissions",
        Shape::JsonKeys,
        Empty::WidensBeside(MCP_SERVERS.name),
    )
};

/// The toolsets that a row of [`PERMISSIONS`] grants.
pub(crate) const MCP_TOOLSETS: Site = Site {
    names: Names::Toolsets,
    grants: Some(GrantKind::Toolsets),
    ..column("mcp_toolsets", Shape::TextArray, Empty::Widens)
};

/// The column with the tags of servers that a row of [`PERMISSIONS`] grants. It grants like a site,
/// but it is none: no tag is a reference to one server.
pub(crate) const TAGS: &str = "mcp_access_groups";

const _: () = assert!(
    PERMISSIONS.says_what_it_grants(),
    "a site of PERMISSIONS says with `grants` what it grants; without it, the safety judgement \
     would not count the site"
);

/// Servers under one name, for keys, teams and agents that have the group.
///
/// The tools of a group only bound the servers that it grants, so the tools of a server that is
/// gone mean nothing.
///
/// Source: LiteLLM 1.109.1 `proxy/mcp_server/auth/user_api_key_auth_mcp.py`,
/// `_team_granted_servers` (what a team's groups name is taken as it is, so one unknown id
/// restricts) and `access_group_tools_for_server`.
pub(crate) const ACCESS_GROUPS: SiteTable = SiteTable {
    group: Group::AccessGroups,
    table: "LiteLLM_AccessGroupTable",
    key: "access_group_id",
    row: None,
    touched: Some(("updated_at", "updated_by")),
    sites: &[ACCESS_GROUP_SERVERS, ACCESS_GROUP_TOOLS],
};

/// The column with the name of a row of [`ACCESS_GROUPS`], which this program only shows.
pub(crate) const ACCESS_GROUP_NAME: &str = "access_group_name";

/// The servers of a row of [`ACCESS_GROUPS`].
pub(crate) const ACCESS_GROUP_SERVERS: Site =
    column("access_mcp_server_ids", Shape::TextArray, Empty::Widens);

/// The tools to which a row of [`ACCESS_GROUPS`] limits some of its servers.
pub(crate) const ACCESS_GROUP_TOOLS: Site =
    column("mcp_tool_permissions", Shape::JsonKeys, Empty::Harmless);

/// Tools under one name, of several servers.
///
/// Source: LiteLLM 1.109.1 `proxy/mcp_server/mcp_server_manager.py`,
/// `resolve_toolset_tool_permissions` (ids alone), and
/// `proxy/mcp_server/auth/user_api_key_auth_mcp.py` (an empty toolset denies whom it is granted,
/// where 1.86.7 lets its route inherit).
pub(crate) const TOOLSETS: SiteTable = SiteTable {
    group: Group::Toolsets,
    table: "LiteLLM_MCPToolsetTable",
    key: "toolset_id",
    row: None,
    touched: Some(("updated_at", "updated_by")),
    sites: &[TOOLSET_TOOLS],
};

/// The column with the name of a row of [`TOOLSETS`], which this program only shows.
pub(crate) const TOOLSET_NAME: &str = "toolset_name";

/// The tools of a row of [`TOOLSETS`].
pub(crate) const TOOLSET_TOOLS: Site = Site {
    names: Names::ServerIds,
    ..column("tools", Shape::JsonTools, Empty::Widens)
};

/// What LiteLLM keeps of its settings: what every new key is given, which is where stale ids keep
/// coming from, and the servers shown in public.
///
/// Source: LiteLLM 1.109.1 `proxy/management_endpoints/key_management_endpoints.py` (merges the
/// permissions of `default_key_generate_params` into every new key) and
/// `proxy/mcp_server/mcp_server_manager.py`, `get_public_mcp_servers` (none is public unless
/// named).
pub(crate) const DEFAULTS: SiteTable = SiteTable {
    group: Group::Defaults,
    table: "LiteLLM_Config",
    key: "param_name",
    row: Some("litellm_settings"),
    touched: None,
    sites: &[
        Site {
            name: DEFAULT_SERVERS,
            path: &[
                "default_key_generate_params",
                "object_permission",
                "mcp_servers",
            ],
            ..column("param_value", Shape::JsonArray, Empty::Widens)
        },
        Site {
            name: "param_value.default_key_generate_params.object_permission.mcp_tool_permissions",
            path: &[
                "default_key_generate_params",
                "object_permission",
                "mcp_tool_permissions",
            ],
            ..column(
                "param_value",
                Shape::JsonKeys,
                Empty::WidensBeside(DEFAULT_SERVERS),
            )
        },
        Site {
            name: "param_value.public_mcp_servers",
            path: &["public_mcp_servers"],
            names: Names::ServerIds,
            ..column("param_value", Shape::JsonArray, Empty::Harmless)
        },
    ],
};

/// What users keep for a server: tokens and keys.
///
/// Source: `schema.prisma` of litellm-proxy-extras 0.4.110, where `(user_id, server_id)` is unique,
/// and LiteLLM 1.109.1 `proxy/mcp_server/db.py`, `delete_mcp_server`: nothing links these rows to
/// the server. This release tries to delete them after the server; older ones do not.
pub(crate) const USER_CREDENTIALS: CredentialTable = CredentialTable {
    table: "LiteLLM_MCPUserCredentials",
    server: "server_id",
    each: "user_id",
    names: Names::ServerIds,
};

/// What users keep for a server: environment variables. The source is the same.
pub(crate) const USER_VARIABLES: CredentialTable = CredentialTable {
    table: "LiteLLM_MCPUserEnvVars",
    ..USER_CREDENTIALS
};

/// The clients that proxies have registered for servers of a `config.yaml`.
///
/// Source: LiteLLM 1.109.1 `proxy/mcp_server/db.py`, `get_mcp_server_oauth_client_credentials`: for
/// servers that have no row.
pub(crate) const OAUTH_CLIENTS: CredentialTable = CredentialTable {
    table: "LiteLLM_MCPServerOAuthClient",
    server: "server_id",
    each: "server_id",
    names: Names::ConfigServerIds,
};

impl SiteTable {
    /// Tells whether each site says what it grants the owner of its row.
    const fn says_what_it_grants(&self) -> bool {
        let mut sites = self.sites;
        while let [first, rest @ ..] = sites {
            if first.grants.is_none() {
                return false;
            }
            sites = rest;
        }
        true
    }
}

const DEFAULT_SERVERS: &str =
    "param_value.default_key_generate_params.object_permission.mcp_servers";

/// Makes a site that is a whole column and names servers by id, alias or name.
const fn column(name: &'static str, shape: Shape, empty: Empty) -> Site {
    Site {
        name,
        column: name,
        path: &[],
        shape,
        names: Names::Servers,
        empty,
        grants: None,
        required: false,
    }
}

/// Every table whose rows name servers, in order of their names, which is the order of findings.
pub const TABLES: [ScannedTable; 7] = [
    ScannedTable::References(&ACCESS_GROUPS),
    ScannedTable::References(&DEFAULTS),
    ScannedTable::Credentials(&OAUTH_CLIENTS),
    ScannedTable::References(&TOOLSETS),
    ScannedTable::Credentials(&USER_CREDENTIALS),
    ScannedTable::Credentials(&USER_VARIABLES),
    ScannedTable::References(&PERMISSIONS),
];

/// Finds the table of that name.
#[must_use]
pub(crate) fn table(name: &str) -> Option<ScannedTable> {
    TABLES.into_iter().find(|table| table.name() == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_are_in_order_of_table_and_place() {
        assert!(TABLES.is_sorted_by_key(|table| table.name()));
        for table in TABLES {
            if let ScannedTable::References(table) = table {
                assert!(table.sites.is_sorted_by_key(|site| site.name), "{table:?}");
            }
        }
    }
}
