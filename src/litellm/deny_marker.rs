//! Where LiteLLM's marker for "no server" may stand in for the last grants of a row.

use std::collections::BTreeSet;
use std::fmt;

use crate::litellm::access_context::AccessContext;
use crate::litellm::ids::{TeamId, UserId};
use crate::litellm::owners::{KeyOwner, Owner, OwnerKind};
use crate::litellm::reference_sites::GrantKind;
use crate::litellm::release::Release;
use crate::litellm::row::{Cell, Row};
use crate::litellm::server::ConfigServers;
use crate::litellm::server_catalog::Resolution;

/// A reason not to write `no-mcp-servers` in place of the last entries of a row: it might change
/// somebody's access, or LiteLLM might not know it.
///
/// On a key the marker denies more than an unknown id does: also what every key may use, what an
/// access group adds, and what the row's other columns grant.
///
/// Source: LiteLLM 1.109.1 `proxy/mcp_server/mcp_server_manager.py`, `get_allowed_mcp_servers`, and
/// `proxy/mcp_server/auth/user_api_key_auth_mcp.py`, `get_allowed_mcp_servers`; asked of LiteLLM's
/// own code over random grants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Obstacle {
    /// Only tool permissions are left, and the marker belongs into the other column.
    ToolPermissions,
    /// A column of the row is malformed: LiteLLM ignores the whole row until that is mended.
    Malformed,
    /// Tables that this tool does not know link to permission rows.
    UnknownOwner,
    /// Owners of several kinds share the row.
    Shared,
    /// The owner is of a kind for which nothing is proven: a user or project.
    OwnerKind,
    /// LiteLLM may be older than the marker.
    UnknownMarker,
    /// A server of a `config.yaml` may be open to all keys.
    UnknownConfig,
    /// A server is open to all keys.
    AllowAllKeys,
    /// The key has access groups.
    AccessGroups,
    /// The row also grants by tag, toolset or tool permission.
    OtherGrants,
    /// The key's user administers the proxy.
    Admin,
    /// It is a key of LiteLLM's own user interface.
    Dashboard,
}

impl Obstacle {
    /// Tells whether the operator may accept it: the marker then only takes access away.
    #[must_use]
    pub(crate) fn only_narrows(self) -> bool {
        match self {
            Self::ToolPermissions | Self::Malformed | Self::UnknownOwner | Self::UnknownMarker => {
                false
            }
            Self::Shared
            | Self::OwnerKind
            | Self::UnknownConfig
            | Self::AllowAllKeys
            | Self::AccessGroups
            | Self::OtherGrants
            | Self::Admin
            | Self::Dashboard => true,
        }
    }

    /// Returns the obstacle's name in JSON.
    #[must_use]
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::ToolPermissions => "tool-permissions",
            Self::Malformed => "malformed",
            Self::UnknownOwner => "unknown-owner",
            Self::Shared => "shared",
            Self::OwnerKind => "owner-kind",
            Self::UnknownMarker => "unknown-marker",
            Self::UnknownConfig => "unknown-config",
            Self::AllowAllKeys => "allow-all-keys",
            Self::AccessGroups => "access-groups",
            Self::OtherGrants => "other-grants",
            Self::Admin => "admin",
            Self::Dashboard => "dashboard",
        }
    }
}

/// The obstacle in a few words.
impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ToolPermissions => "only tool permissions are left",
            Self::Malformed => "another column is malformed",
            Self::UnknownOwner => "unknown tables link to rows",
            Self::Shared => "owners of several kinds share it",
            Self::OwnerKind => "not proven for this owner",
            Self::UnknownMarker => "LiteLLM may not know no-mcp-servers",
            Self::UnknownConfig => "config servers are not known",
            Self::AllowAllKeys => "a server is open to all keys",
            Self::AccessGroups => "the key has access groups",
            Self::OtherGrants => "the row grants otherwise too",
            Self::Admin => "the key's user is an admin",
            Self::Dashboard => "a key of the dashboard",
        })
    }
}

/// Finds what speaks against `no-mcp-servers` as the only entry of `cell`, whose entries are all
/// stale. Returns `None` where it changes nobody's access.
#[must_use]
pub(crate) fn marker_obstacle(
    row: &Row,
    cell: &Cell,
    context: AccessContext<'_>,
) -> Option<Obstacle> {
    let AccessContext {
        behavior,
        catalog,
        related,
        all_cleared: _,
    } = context;
    if cell.site.grants != Some(GrantKind::Servers) {
        return Some(Obstacle::ToolPermissions);
    }
    if row.cells.iter().any(|cell| cell.stored.is_err()) {
        return Some(Obstacle::Malformed);
    }
    if !behavior.owners_known {
        return Some(Obstacle::UnknownOwner);
    }
    let kinds: BTreeSet<OwnerKind> = row.owners.iter().map(Owner::kind).collect();
    let keys = kinds.contains(&OwnerKind::Key);
    if keys && behavior.release < Release::KNOWS_MARKERS {
        return Some(Obstacle::UnknownMarker);
    }
    if kinds.len() > 1 {
        return Some(Obstacle::Shared);
    }
    if kinds.contains(&OwnerKind::User) || kinds.contains(&OwnerKind::Project) {
        return Some(Obstacle::OwnerKind);
    }
    if !keys {
        return None;
    }
    if catalog.has_open_server() {
        return Some(Obstacle::AllowAllKeys);
    }
    if matches!(catalog.config(), ConfigServers::Unknown(_)) {
        return Some(Obstacle::UnknownConfig);
    }
    let grants = related.of_row(row);
    let grants_otherwise = grants.is_none_or(|grants| {
        grants.any(|kind, entry| match kind {
            GrantKind::Servers | GrantKind::ServerTools => {
                catalog.resolve(entry) != Resolution::Stale
            }
            GrantKind::Tags | GrantKind::Toolsets => true,
        })
    });
    if grants_otherwise {
        return Some(Obstacle::OtherGrants);
    }
    row.owners
        .iter()
        .filter_map(Owner::as_key)
        .find_map(|key| key_obstacle(key, &related.admins))
}

fn key_obstacle(key: &KeyOwner, admins: &BTreeSet<UserId>) -> Option<Obstacle> {
    let parents = &key.ties.parents;
    if key.ties.has_access_groups {
        Some(Obstacle::AccessGroups)
    } else if parents.team.as_ref().is_some_and(TeamId::is_of_dashboard) {
        Some(Obstacle::Dashboard)
    } else if parents
        .user
        .as_ref()
        .is_some_and(|user| admins.contains(user))
    {
        Some(Obstacle::Admin)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::litellm::access_context::{Grants, LitellmBehavior, RelatedGrants};
    use crate::litellm::ids::PermissionKey;
    use crate::litellm::owners::{DASHBOARD_TEAM, KeyTies, Parents};
    use crate::litellm::server_catalog::ServerCatalog;
    use crate::litellm::test_support::{
        BEHAVIOR, GONE, Standing, catalog, key_of, key_with, open_catalog, owner, related, row,
        texts,
    };

    type Change = fn(&mut LitellmBehavior);

    #[test]
    fn the_marker_is_written_only_where_nothing_speaks_against_it() {
        let key = owner(OwnerKind::Key, Standing::InTeam);
        let of = |kind| owner(kind, Standing::InTeam);
        let grouped = key_with(KeyTies {
            has_access_groups: true,
            ..KeyTies::default()
        });
        let dashboard = key_of(Parents {
            team: Some(TeamId(DASHBOARD_TEAM.to_owned())),
            ..Parents::default()
        });
        let admin = key_of(Parents {
            user: Some(UserId("root".to_owned())),
            ..Parents::default()
        });
        for (owners, expected) in [
            (vec![key.clone(), key.clone()], None),
            (vec![of(OwnerKind::Team)], None),
            (vec![of(OwnerKind::Organization)], None),
            (vec![of(OwnerKind::EndUser)], None),
            (vec![of(OwnerKind::Agent)], None),
            (vec![of(OwnerKind::User)], Some(Obstacle::OwnerKind)),
            (vec![of(OwnerKind::Project)], Some(Obstacle::OwnerKind)),
            (
                vec![key.clone(), of(OwnerKind::Team)],
                Some(Obstacle::Shared),
            ),
            (vec![key.clone(), grouped], Some(Obstacle::AccessGroups)),
            (vec![dashboard], Some(Obstacle::Dashboard)),
            (vec![admin], Some(Obstacle::Admin)),
        ] {
            let found = obstacle(&owners, |_| (), |_| (), &catalog(), 0);
            assert_eq!(found, expected, "{owners:?}");
        }
        let keys = [key];
        let behaviors: [(Change, Obstacle); 2] = [
            (|r| r.owners_known = false, Obstacle::UnknownOwner),
            (
                |r| r.release = Release::DROPS_ON_EDIT,
                Obstacle::UnknownMarker,
            ),
        ];
        for (change, expected) in behaviors {
            assert_eq!(
                obstacle(&keys, change, |_| (), &catalog(), 0),
                Some(expected)
            );
        }
        let grants: [fn(&mut Grants); 3] = [
            |g| g.tags = texts(&["dead"]),
            |g| g.toolsets = texts(&["set"]),
            |g| g.tool_keys = texts(&[GONE, "one"]),
        ];
        for change in grants {
            let found = obstacle(&keys, |_| (), change, &catalog(), 0);
            assert_eq!(found, Some(Obstacle::OtherGrants));
        }
        let stale_tools: fn(&mut Grants) = |g| g.tool_keys = texts(&[GONE]);
        assert_eq!(obstacle(&keys, |_| (), stale_tools, &catalog(), 0), None);
        let open = obstacle(&keys, |_| (), |_| (), &open_catalog(), 0);
        assert_eq!(open, Some(Obstacle::AllowAllKeys));
        let mended = row(&format!("[\"{GONE}\"]"), "[]");
        let context = AccessContext {
            behavior: BEHAVIOR,
            catalog: &catalog(),
            related: &RelatedGrants::default(),
            all_cleared: false,
        };
        let found = marker_obstacle(&mended, &mended.cells[0], context);
        assert_eq!(found, Some(Obstacle::Malformed));
        let tools = obstacle(&keys, |_| (), |_| (), &catalog(), 1);
        assert_eq!(tools, Some(Obstacle::ToolPermissions));
    }

    /// Finds what speaks against the marker in cell `at` of a stale row of `owners`.
    fn obstacle(
        owners: &[Owner],
        behavior: fn(&mut LitellmBehavior),
        grants: fn(&mut Grants),
        catalog: &ServerCatalog,
        at: usize,
    ) -> Option<Obstacle> {
        let mut related = related(Grants::default(), Grants::default());
        grants(
            related
                .rows
                .entry(PermissionKey("p-1".to_owned()))
                .or_default(),
        );
        related.admins = BTreeSet::from([UserId("root".to_owned())]);
        let mut context = AccessContext {
            behavior: BEHAVIOR,
            catalog,
            related: &related,
            all_cleared: false,
        };
        behavior(&mut context.behavior);
        let row = Row {
            owners: owners.to_vec(),
            ..row(&format!("[\"{GONE}\"]"), "null")
        };
        marker_obstacle(&row, &row.cells[at], context)
    }
}
