//! The ids of rows: a type for each kind, so that none is taken for one of another kind.

use std::borrow::Borrow;
use std::fmt;

use serde::{Deserialize, Serialize};

/// Defines ids that are no more than their text.
macro_rules! ids {
    ($($(#[$attribute:meta])* $name:ident,)+) => {$(
        $(#[$attribute])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub(crate) struct $name(pub String);

        impl $name {
            /// Returns the id as it is stored.
            #[must_use]
            pub(crate) fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                self.as_str()
            }
        }

        impl From<String> for $name {
            fn from(id: String) -> Self {
                Self(id)
            }
        }
    )+};
}

/// Defines ids that reports show.
macro_rules! shown_ids {
    ($($(#[$attribute:meta])* $name:ident,)+) => {
        ids! {
            $($(#[$attribute])* #[derive(Serialize, Deserialize)] $name,)+
        }

        $(impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        })+
    };
}

ids! {
    /// The hash of a virtual key, its primary key. Reports show no more than its prefix.
    KeyToken,
    /// The primary key of a permission row.
    PermissionKey,
}

shown_ids! {
    /// The id of a team.
    TeamId,
    /// The id of an organization.
    OrganizationId,
    /// The id of an internal user.
    UserId,
    /// The id of an agent.
    AgentId,
    /// The id of an end user: a customer named in a request.
    EndUserId,
    /// The id of a unified access group.
    AccessGroupId,
    /// The id of a toolset.
    ToolsetId,
    /// A tag that servers carry, by which a grant may mean them.
    Tag,
    /// What LiteLLM takes for the id of a server, whether or not there is such a server. A
    /// reference becomes one when its alias or name is resolved.
    ServerId,
}
