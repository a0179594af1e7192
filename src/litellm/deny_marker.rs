//! Where LiteLLM's marker for "no server" may stand in for the last grants of a row.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::litellm::access_context::LitellmBehavior;
use crate::litellm::owners::OwnerKind;
use crate::litellm::reference_sites::GrantKind;
use crate::litellm::release::Release;
use crate::litellm::row::{Cell, Row};

/// A reason why `no-mcp-servers` cannot stand in place of the last references of a row, whatever
/// the access of its owners is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Obstacle {
    /// Only tool permissions are left, and the marker belongs into the other column.
    ToolPermissions,
    /// A column of the row is malformed: LiteLLM ignores the whole row until that is mended.
    Malformed,
    /// Tables that this tool does not know link to permission rows.
    UnknownOwner,
    /// LiteLLM may be older than the marker.
    UnknownMarker,
}

impl Obstacle {
    /// Returns the obstacle's name in JSON.
    #[must_use]
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::ToolPermissions => "tool-permissions",
            Self::Malformed => "malformed",
            Self::UnknownOwner => "unknown-owner",
            Self::UnknownMarker => "unknown-marker",
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
            Self::UnknownMarker => "LiteLLM may not know no-mcp-servers",
        })
    }
}

/// Finds what speaks against `no-mcp-servers` as the only entry of `cell`, whose entries are all
/// stale. Whether it changes anybody's access is for the access model to say.
///
/// What cannot be judged comes first: it speaks against an empty list as well.
#[must_use]
pub(crate) fn marker_obstacle(
    row: &Row,
    cell: &Cell,
    behavior: LitellmBehavior,
) -> Option<Obstacle> {
    if row.cells.iter().any(|cell| cell.stored.is_err()) {
        return Some(Obstacle::Malformed);
    }
    if !behavior.owners_known {
        return Some(Obstacle::UnknownOwner);
    }
    if cell.site.grants != Some(GrantKind::Servers) {
        return Some(Obstacle::ToolPermissions);
    }
    let is_of_key = row
        .owners
        .iter()
        .any(|owner| owner.kind() == OwnerKind::Key);
    (is_of_key && behavior.release < Release::KNOWS_MARKERS).then_some(Obstacle::UnknownMarker)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::litellm::test_support::{BEHAVIOR, Standing, owner, row};

    type Change = fn(&mut LitellmBehavior);

    #[test]
    fn what_cannot_be_judged_comes_first() {
        let same: Change = |_| {};
        let old: Change = |behavior| behavior.release = Release::FAILS_CLOSED;
        let unknown: Change = |behavior| behavior.owners_known = false;
        let (key, team) = (OwnerKind::Key, OwnerKind::Team);
        for (kind, tools, column, change, expected) in [
            (key, "{}", 0, same, None),
            (team, "{}", 0, same, None),
            (key, "{}", 1, same, Some(Obstacle::ToolPermissions)),
            (key, "[]", 0, same, Some(Obstacle::Malformed)),
            (key, "[]", 1, same, Some(Obstacle::Malformed)),
            (key, "{}", 0, unknown, Some(Obstacle::UnknownOwner)),
            (key, "{}", 1, unknown, Some(Obstacle::UnknownOwner)),
            (key, "{}", 0, old, Some(Obstacle::UnknownMarker)),
            (team, "{}", 0, old, None),
        ] {
            let mut behavior = BEHAVIOR;
            change(&mut behavior);
            let row = Row {
                owners: vec![owner(kind, Standing::InTeam)],
                ..row(r#"["gone"]"#, tools)
            };
            let found = marker_obstacle(&row, &row.cells[column], behavior);
            assert_eq!(found, expected, "{kind:?} {tools} {column}");
        }
    }
}
