//! Which LiteLLM a schema implies, and what that LiteLLM does with stale references.

use std::fmt;
use std::str::FromStr;

use crate::litellm::owners::{ACCESS_GROUP_IDS, AGENT_TABLE, END_USER_TABLE, LINK};
use crate::litellm::reference_sites::{
    ACCESS_GROUPS, DEFAULTS, PERMISSIONS, TOOLSETS, USER_VARIABLES,
};
use crate::litellm::server::SERVER_TABLE;

/// A release of LiteLLM.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Release(u16, u16, u16);

impl Release {
    /// Names a release by its three numbers.
    #[must_use]
    pub const fn new(major: u16, minor: u16, patch: u16) -> Self {
        Self(major, minor, patch)
    }

    /// The first with permission rows.
    pub const FIRST: Self = Self(1, 68, 2);
    /// An empty result means "no server"; before, the whole registry.
    pub const FAILS_CLOSED: Self = Self(1, 80, 0);
    /// The keys of `mcp_tool_permissions` grant their servers.
    pub const TOOL_KEYS_GRANT: Self = Self(1, 82, 1);
    /// Editing a key that holds an unknown id fails with 403.
    pub const REFUSES_EDITS: Self = Self(1, 82, 2);
    /// Names are resolved wherever permissions are read.
    pub const RESOLVES_NAMES: Self = Self(1, 83, 14);
    /// Organizations limit their keys.
    pub const ORGANIZATIONS_LIMIT: Self = Self(1, 84, 0);
    /// `mcp_aliases` is applied once. 1.86.0 is really the first, but its schema is that of 1.84.
    pub const MAPS_ALIASES_ONCE: Self = Self(1, 87, 0);
    /// Editing such a key works again, and removes its unknown ids. 1.88.0 is really the first, but
    /// its schema is that of 1.87.
    pub const DROPS_ON_EDIT: Self = Self(1, 89, 0);
    /// `no-mcp-servers` on a key and `all-proxy-mcpservers` on a team have their meaning. Some
    /// patch releases from 1.86.7 on have the former, which no schema tells.
    pub const KNOWS_MARKERS: Self = Self(1, 92, 0);
    /// Toolsets count wherever they are granted. They really do from 1.94.0 on, which no schema
    /// tells.
    pub const TOOLSETS_COUNT: Self = Self(1, 95, 0);
    /// The id of a config server can be pinned.
    pub const PINS_IDS: Self = Self(1, 101, 0);
    /// The keys of `mcp_tool_permissions` of an agent count.
    pub const AGENT_TOOL_KEYS_COUNT: Self = Self(1, 105, 0);

    /// Returns a sentence for operators: what stale references do beside a LiteLLM of this release.
    ///
    /// Source: LiteLLM 1.79.3 `proxy/_experimental/mcp_server/mcp_server_manager.py`,
    /// `get_allowed_mcp_servers`; 1.86.7 and 1.109.1
    /// `proxy/management_helpers/object_permission_utils.py` (validation of a key's servers).
    #[must_use]
    pub fn consequence(self) -> &'static str {
        if self < Self::FAILS_CLOSED {
            "A key that shares no server with its team reaches every server there is (until \
             LiteLLM 1.80)."
        } else if self < Self::REFUSES_EDITS {
            "A stale reference denies without a hint."
        } else if self < Self::DROPS_ON_EDIT {
            "Editing a key that holds a stale reference fails with 403 (LiteLLM 1.82.2 to 1.87.5)."
        } else {
            "Saving a key takes its stale references away, and a key left with none inherits its \
             team's servers (LiteLLM 1.88 and later)."
        }
    }
}

/// The newest release that this program was held against: its schema, its code of access, its ids
/// of config servers and its messages between proxies.
pub(crate) const NEWEST_KNOWN: Release = Release::new(1, 110, 2);

/// `1.92.0`.
impl FromStr for Release {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let numbers: Result<Vec<u16>, _> = text.split('.').map(str::parse).collect();
        match numbers.as_deref() {
            Ok([major, minor, patch]) => Ok(Self(*major, *minor, *patch)),
            Ok(_) | Err(_) => Err("must be a release of LiteLLM, such as 1.92.2"),
        }
    }
}

/// "1.92.0".
impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

/// A table, or a column of it, that came with a release.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Marker {
    /// The table.
    pub table: &'static str,
    /// The column; `None` where the table itself is new.
    pub column: Option<&'static str>,
    /// The release that brought it.
    pub release: Release,
}

/// What tells the releases apart, oldest first.
///
/// `_prisma_migrations` does not: it is absent after `prisma db push`, and a baseline marks every
/// migration as applied without running it. A schema tells the newest LiteLLM that has migrated it;
/// proxies beside it may be older while one is rolled out, or rolled back.
///
/// Source: `schema.prisma` of the release named and of the one before, which lacks it.
pub(crate) const MARKERS: [Marker; 22] = [
    table(AGENT_TABLE, (1, 80, 0)),
    column(SERVER_TABLE, "allow_all_keys", (1, 80, 16)),
    table(ACCESS_GROUPS.table, (1, 81, 12)),
    column(END_USER_TABLE, LINK, (1, 81, 14)),
    column(AGENT_TABLE, LINK, (1, 81, 16)),
    column(PERMISSIONS.table, "blocked_tools", (1, 82, 1)),
    column(PERMISSIONS.table, "models", (1, 82, 2)),
    table(TOOLSETS.table, (1, 83, 3)),
    table("LiteLLM_MemoryTable", (1, 83, 14)),
    column(PERMISSIONS.table, "search_tools", (1, 84, 0)),
    column("LiteLLM_ProxyModelTable", "blocked", (1, 87, 0)),
    table(USER_VARIABLES.table, (1, 89, 0)),
    column(PERMISSIONS.table, "mcp_tool_search_enabled", (1, 92, 0)),
    table("LiteLLM_SSOIdentityAssertion", (1, 95, 0)),
    column(DEFAULTS.table, "reload_revision", (1, 97, 0)),
    column("LiteLLM_DailyGuardrailUsageUnits", "cost", (1, 101, 0)),
    column(AGENT_TABLE, ACCESS_GROUP_IDS, (1, 104, 0)),
    table("LiteLLM_AgentIdentity", (1, 105, 0)),
    column(END_USER_TABLE, "models", (1, 106, 0)),
    column(ACCESS_GROUPS.table, "mcp_tool_permissions", (1, 108, 0)),
    table("LiteLLM_AccountingEvent", (1, 109, 0)),
    table("LiteLLM_SpendLogDelivery", (1, 110, 0)),
];

const fn table(table: &'static str, (major, minor, patch): (u16, u16, u16)) -> Marker {
    Marker {
        table,
        column: None,
        release: Release(major, minor, patch),
    }
}

const fn column(table: &'static str, column: &'static str, release: (u16, u16, u16)) -> Marker {
    let (major, minor, patch) = release;
    Marker {
        table,
        column: Some(column),
        release: Release(major, minor, patch),
    }
}

/// Finds the oldest release that may have migrated a schema. `has` tells whether the schema has a
/// table, or a column of it.
#[must_use]
pub(crate) fn implied(has: impl Fn(&str, Option<&str>) -> bool) -> Release {
    MARKERS
        .iter()
        .rev()
        .find(|marker| has(marker.table, marker.column))
        .map_or(Release::FIRST, |marker| marker.release)
}

/// Returns the first later release that a schema which implies `release` cannot be of, because it
/// would have that release's marker; `None` where no marker tells.
///
/// Source: `schema.prisma` of LiteLLM 1.110.0, from which the marker of 1.109.0 is gone again, so
/// that its absence says nothing.
#[must_use]
pub(crate) fn next_marked(release: Release) -> Option<Release> {
    let gone_again = Release(1, 109, 0);
    let mut marked = MARKERS.iter().map(|marker| marker.release);
    marked.find(|marked| *marked > release && *marked != gone_again)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schema_may_be_of_later_releases_up_to_the_next_marker() {
        assert_eq!(next_marked(Release(1, 95, 0)), Some(Release(1, 97, 0)));
        assert_eq!(next_marked(Release(1, 106, 0)), Some(Release(1, 108, 0)));
        // Not 1.109.0, because a later schema lacks its marker again.
        assert_eq!(next_marked(Release(1, 108, 0)), Some(Release(1, 110, 0)));
        assert_eq!(next_marked(Release(1, 109, 0)), Some(Release(1, 110, 0)));
        assert_eq!(next_marked(Release(1, 110, 0)), None);
    }

    #[test]
    fn the_newest_marker_decides() {
        assert_eq!(implied(|_, _| false), Release::FIRST);
        assert_eq!(implied(|_, _| true).to_string(), "1.110.0");
        let some =
            implied(|table, column| table == AGENT_TABLE && column != Some(ACCESS_GROUP_IDS));
        assert_eq!(some, Release(1, 81, 16));
    }

    #[test]
    fn markers_are_in_order() {
        assert!(MARKERS.is_sorted_by(|a, b| a.release < b.release));
    }

    #[test]
    fn every_change_of_behaviour_has_a_marker() {
        // The constants of `Release` are read from this file, so that a new one is not forgotten.
        let mut names = Vec::new();
        for line in include_str!("release.rs").lines() {
            let constant = line.trim().strip_prefix("pub const ");
            let constant = constant.and_then(|rest| rest.split_once(": Self = Self("));
            let Some((name, numbers)) = constant else {
                continue;
            };
            let numbers = numbers.trim_end_matches(");").split(", ");
            let numbers: Vec<u16> = numbers.map(|number| number.parse().unwrap()).collect();
            let release = Release(numbers[0], numbers[1], numbers[2]);
            // A schema without any marker implies the first release.
            let has_marker = MARKERS.iter().any(|marker| marker.release == release);
            assert!(has_marker || release == Release::FIRST, "{name}");
            names.push(name);
        }
        assert!(names.contains(&"RESOLVES_NAMES"), "{names:?}");
    }
}
