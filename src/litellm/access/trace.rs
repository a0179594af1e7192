//! How an answer came about, level by level.

use super::registry::ServerIds;
use crate::litellm::ids::ToolsetId;

/// A level of LiteLLM's check, in its order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    /// The permission row of the key, or of the user behind a session.
    Own,
    /// The team.
    Team,
    /// The unified access groups of the key.
    AccessGroups,
    /// The end user.
    EndUser,
    /// The agent, and its unified access groups.
    Agent,
    /// The human whom an agent names behind its call.
    Human,
    /// The user that the key belongs to.
    User,
    /// The organization.
    Organization,
    /// Servers open to all keys, and those that the user submitted.
    OpenServers,
    /// The role of an administrator.
    Administrator,
    /// The route of a toolset.
    Toolset,
}

impl Level {
    /// Names the level as reports do.
    #[must_use]
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Own => "own",
            Self::Team => "team",
            Self::AccessGroups => "access-groups",
            Self::EndUser => "end_user",
            Self::Agent => "agent",
            Self::Human => "human",
            Self::User => "user",
            Self::Organization => "organization",
            Self::OpenServers => "open-servers",
            Self::Administrator => "administrator",
            Self::Toolset => "toolset",
        }
    }
}

/// What a level did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum LevelEffect {
    /// It names no server, and so neither grants nor limits.
    NoLimit,
    /// It grants these.
    Grants(ServerIds),
    /// It leaves of what is there only these.
    Limits(ServerIds),
    /// Nothing below it limits, so that its own list becomes the grant.
    Becomes(ServerIds),
    /// It grants these, which a key without servers of its own would inherit, were it not for a
    /// setting.
    NotInherited(ServerIds),
    /// It denies everything.
    Denies(Denial),
}

/// Why a caller may use no server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Denial {
    /// The row holds `no-mcp-servers`.
    DenyMarker,
    /// A permission row is linked and cannot be read, or is gone.
    UnreadableRow,
    /// Toolsets are declared, and none of them grants a tool any more.
    EmptyToolsets(Vec<ToolsetId>),
    /// A setting asks end users for servers of their own, and this one has none.
    MustDeclare,
    /// The toolset of the route is not granted.
    ToolsetNotGranted,
    /// The key or the user is not known, or this release has no such caller.
    UnknownCaller,
    /// Nothing grants a server.
    NothingGranted,
    /// The level leaves nothing of what was granted.
    LeavesNothing,
}

/// One level, what it did, and what is left after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AccessStep {
    /// The level.
    pub level: Level,
    /// The id of the team, organization, user, agent or end user; `None` of the caller itself.
    pub id: Option<String>,
    /// What it did.
    pub effect: LevelEffect,
    /// The servers left.
    pub left: ServerIds,
}

/// Collects steps, where they are asked for.
#[derive(Debug, Default)]
pub(super) struct Trace(Option<Vec<AccessStep>>);

impl Trace {
    /// Creates a trace that keeps its steps.
    pub(super) fn kept() -> Self {
        Self(Some(Vec::new()))
    }

    /// Creates a trace that keeps nothing.
    pub(super) fn none() -> Self {
        Self(None)
    }

    /// Adds a step.
    pub(super) fn add(
        &mut self,
        level: Level,
        id: Option<&str>,
        left: &ServerIds,
        effect: impl FnOnce() -> LevelEffect,
    ) {
        if let Some(steps) = &mut self.0 {
            steps.push(AccessStep {
                level,
                id: id.map(str::to_owned),
                effect: effect(),
                left: left.clone(),
            });
        }
    }

    /// Returns the steps.
    pub(super) fn into_steps(self) -> Vec<AccessStep> {
        self.0.unwrap_or_default()
    }
}
