//! Options that limit a run to some sites, owners, rows or references.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::litellm::reference_sites::Group;
use crate::repair::selection::NamedOwner;

const FILTERS: &str = "Filters";

/// Where to look, and for whom.
#[derive(Debug, Args)]
pub struct FilterArgs {
    /// The sites to look at, separated by commas [default: all but credentials]
    #[arg(long, value_enum, value_delimiter = ',', value_name = "LIST", help_heading = FILTERS)]
    pub sites: Vec<Sites>,
    /// Only rows of this owner; repeatable
    ///
    /// KIND is one of: key, team, organization, project, user, end_user, agent. Name a key by its
    /// alias, its hash, the 8 characters of the hash that reports show, LiteLLM's sk-...AB12, or
    /// the key itself, which is hashed and never shown. Name a user by id, alias or e-mail address.
    /// The owners of an access group are those who have it, the owners of a toolset those who are
    /// granted it. With --row, both must match.
    #[arg(long, value_name = "KIND:NAME|ID", help_heading = FILTERS)]
    pub owner: Vec<NamedOwner>,
    /// Only this reference; repeatable
    #[arg(long, value_name = "REF", help_heading = FILTERS)]
    pub reference: Vec<String>,
    /// Only the row with this primary key; repeatable
    #[arg(long, value_name = "ID", help_heading = FILTERS)]
    pub row: Vec<String>,
}

/// The baselines that a scan reads and writes.
#[derive(Debug, Args)]
pub struct BaselineArgs {
    /// Only count what this file lists, and report the rest; --write-baseline writes such a file
    ///
    /// A reference whose verdict is not the one in the file is new, and reported. Lines that the
    /// scan looked for and no longer found are counted too. fix ignores baselines.
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath,
          help_heading = FILTERS)]
    pub baseline: Option<PathBuf>,
    /// Write all stale, unverified and dangling-toolset references into this file, and exit with 0
    ///
    /// Only a baseline of the same database is replaced. With --baseline, lines that the filters
    /// leave out stay, and so do the comments above each line.
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath,
          help_heading = FILTERS)]
    pub write_baseline: Option<PathBuf>,
    /// Accept a baseline of another database, or of this one under another name
    #[arg(long, help_heading = FILTERS)]
    pub other_database: bool,
}

/// The part of a run to undo. The filters have the same meaning as those of `scan` and `fix`.
#[derive(Debug, Args)]
pub struct PartArgs {
    /// Only rows of this owner; repeatable
    ///
    /// A row is put back if the owner links to it now. If others share the row, it is put back for
    /// them too, and the report says who gains or loses something by that. KIND and NAME are as in
    /// scan. Together with --row and --reference,
    /// all must match.
    #[arg(long, value_name = "KIND:NAME|ID", help_heading = FILTERS)]
    pub owner: Vec<NamedOwner>,
    /// Only this reference, as the repair found it; repeatable
    ///
    /// Other references that the repair took from the same row stay away.
    #[arg(long, value_name = "REF", help_heading = FILTERS)]
    pub reference: Vec<String>,
    /// Only the row with this primary key; repeatable
    #[arg(long, value_name = "ID", help_heading = FILTERS)]
    pub row: Vec<String>,
}

impl PartArgs {
    /// Tells whether filters of more than one kind are given.
    #[must_use]
    pub(crate) fn are_several(&self) -> bool {
        let given = [
            !self.owner.is_empty(),
            !self.reference.is_empty(),
            !self.row.is_empty(),
        ];
        given.into_iter().filter(|given| *given).count() > 1
    }
}

/// A group of sites.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Sites {
    /// Permission rows of keys, teams, organizations, projects, users, end users and agents
    Permissions,
    /// Unified access groups
    AccessGroups,
    /// Toolsets
    Toolsets,
    /// LiteLLM's saved settings: what every new key is given, and the public servers
    Defaults,
    /// Secrets that users stored for servers that are deleted
    Credentials,
}

impl From<Sites> for Group {
    fn from(sites: Sites) -> Self {
        match sites {
            Sites::Permissions => Self::Permissions,
            Sites::AccessGroups => Self::AccessGroups,
            Sites::Toolsets => Self::Toolsets,
            Sites::Defaults => Self::Defaults,
            Sites::Credentials => Self::Credentials,
        }
    }
}
