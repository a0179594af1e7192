//! Every place a reference can live. One entry a place.

/// How the references of a place are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Shape {
    /// `text[]` with a reference an element.
    TextArray,
    /// `jsonb` with an object of string lists; the references are its keys.
    JsonKeys,
}

impl Shape {
    /// The column's type as `format_type` of PostgreSQL spells it.
    #[must_use]
    pub fn sql_type(self) -> &'static str {
        match self {
            Self::TextArray => "text[]",
            Self::JsonKeys => "jsonb",
        }
    }
}

/// One column that names servers.
#[derive(Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Site {
    /// The column's name.
    pub column: &'static str,
    /// How it stores references.
    pub shape: Shape,
    /// Whether every LiteLLM that has the table has the column.
    pub required: bool,
}

/// A table whose rows name servers.
#[derive(Debug, PartialEq, Eq)]
pub struct SiteTable {
    /// The table's name.
    pub table: &'static str,
    /// The primary key, one column of type `text`.
    pub key: &'static str,
    /// Its places, in column-name order, which is the order of findings.
    pub sites: &'static [Site],
}

/// What a key, team, organization, project, user, end user or agent may use.
///
/// Source: `LiteLLM_ObjectPermissionTable` in `schema.prisma`; `mcp_servers` came with LiteLLM
/// 1.68.2 and `mcp_tool_permissions` with 1.78.0 (migration
/// `20251006143948_add_mcp_tool_permissions`).
pub const PERMISSIONS: SiteTable = SiteTable {
    table: "LiteLLM_ObjectPermissionTable",
    key: "object_permission_id",
    sites: &[
        Site {
            column: "mcp_servers",
            shape: Shape::TextArray,
            required: true,
        },
        Site {
            column: "mcp_tool_permissions",
            shape: Shape::JsonKeys,
            required: false,
        },
    ],
};

/// Every table whose rows name servers.
const TABLES: [&SiteTable; 1] = [&PERMISSIONS];

/// The table of that name.
#[must_use]
pub fn table(name: &str) -> Option<&'static SiteTable> {
    TABLES.into_iter().find(|table| table.table == name)
}
