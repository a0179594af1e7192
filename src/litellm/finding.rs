//! What is wrong with a row's references.

use std::cell::OnceCell;
use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::litellm::access_context::AccessContext;
use crate::litellm::empty_list_effect::{IfEmptied, if_emptied};
use crate::litellm::last_grant;
use crate::litellm::owners::Owner;
use crate::litellm::packing::{ConstantText, find_column};
use crate::litellm::reference_sites::{Group, Names, ScannedTable, SiteTable};
use crate::litellm::row::{Cell, Row};
use crate::litellm::server_catalog::{Resolution, ServerCatalog, Successor};
use crate::litellm::value::Malformed;

/// What a finding says of a reference or of a whole value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum FindingKind {
    /// The reference names a server that is gone.
    Stale,
    /// No row has it, but a server of a `config.yaml` may: never changed.
    Unverified,
    /// It names a row that no proxy serves: never changed.
    Inactive,
    /// LiteLLM cannot read the value: never changed.
    Malformed(Malformed),
    /// The reference is to a toolset that is gone: never changed.
    DanglingToolset,
    /// Nothing is stale, but the operator may want to know: never changed.
    Note(Note),
}

impl FindingKind {
    /// Tells what is wrong with a reference to a server; `None` where nothing is.
    #[must_use]
    pub(crate) fn of(resolution: Resolution) -> Option<Self> {
        match resolution {
            Resolution::Stale
            | Resolution::Remapped
            | Resolution::MaybeEdited
            | Resolution::MaybeRenewed => Some(Self::Stale),
            Resolution::Unverified => Some(Self::Unverified),
            Resolution::Inactive => Some(Self::Inactive),
            Resolution::Live
            | Resolution::Sentinel
            | Resolution::Kept
            | Resolution::OnlyAName
            | Resolution::Passed => None,
        }
    }

    /// Returns the kind's name in reports and JSON.
    #[must_use]
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Stale => "stale",
            Self::Unverified => "unverified",
            Self::Inactive => "inactive",
            Self::Malformed(_) => "malformed",
            Self::DanglingToolset => "dangling-toolset",
            Self::Note(_) => "note",
        }
    }
}

/// One thing wrong at one site of a row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Finding {
    /// What is wrong.
    pub kind: FindingKind,
    /// The site's name.
    #[serde(deserialize_with = "find_column")]
    pub column: ConstantText,
    /// The reference as stored; `None` where the finding is of the whole value.
    pub reference: Option<String>,
    /// The config server whose former id the reference is.
    pub successor: Option<Successor>,
    /// Whether removing the column's stale references would take the owners' last grant.
    pub last_grant: bool,
    /// The first tools that are named beside a stale reference: what is known of the server.
    pub tools: Vec<String>,
}

/// An owner of a row, and what an emptied list would mean for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct OwnerImpact {
    /// Who links to the row.
    pub owner: Owner,
    /// What the owner would gain if its last grant were removed; `None` where no last grant is at
    /// stake.
    pub if_emptied: Option<IfEmptied>,
}

/// What is wrong with one row, and who links to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Audit {
    /// The row's table.
    pub table: ScannedTable,
    /// The row's primary key, or the id of the server whose credentials these are.
    pub row: String,
    /// How many rows of the database it is about: one, or all credentials of a server.
    pub rows: u64,
    /// Who links to it, each with what an emptied list would mean.
    pub impacts: Vec<OwnerImpact>,
    /// What was found, ordered by column, then by position in the array or by JSON key. A
    /// reference that a column holds twice is found once.
    pub findings: Vec<Finding>,
}

impl Audit {
    /// Finds what is wrong with `row`, a row of `table`.
    #[must_use]
    pub(crate) fn of(table: &'static SiteTable, row: &Row, context: AccessContext<'_>) -> Self {
        let findings: Vec<Finding> = row
            .cells
            .iter()
            .flat_map(|cell| audit_cell(table, row, cell, context.catalog))
            .collect();
        let loses = table.group == Group::Permissions && findings.iter().any(|f| f.last_grant);
        let impact = |owner: &Owner| OwnerImpact {
            owner: owner.clone(),
            if_emptied: loses.then(|| if_emptied(owner, row, context)),
        };
        Self {
            table: ScannedTable::References(table),
            row: row.key.clone(),
            rows: 1,
            impacts: row.owners.iter().map(impact).collect(),
            findings,
        }
    }

    /// Returns how many rows of credentials the server has; `None` of a row with references.
    #[must_use]
    pub(crate) fn credentials(&self) -> Option<u64> {
        match self.table {
            ScannedTable::References(_) => None,
            ScannedTable::Credentials(_) => Some(self.rows),
        }
    }

    /// Lists who links to the row.
    pub(crate) fn owners(&self) -> impl Iterator<Item = &Owner> {
        self.impacts.iter().map(|impact| &impact.owner)
    }

    /// Tells whether a reference of the row is stale.
    #[must_use]
    pub(crate) fn is_stale(&self) -> bool {
        self.findings.iter().any(|f| f.kind == FindingKind::Stale)
    }
}

/// How many tools of a server are kept of each value, so that memory does not grow with them.
const TOOLS: usize = 4;

fn audit_cell(table: &SiteTable, row: &Row, cell: &Cell, catalog: &ServerCatalog) -> Vec<Finding> {
    let finding = |kind, reference: Option<&str>| Finding {
        kind,
        column: cell.site.name,
        reference: reference.map(str::to_owned),
        successor: reference.and_then(|reference| catalog.successor(reference)),
        last_grant: false,
        tools: Vec::new(),
    };
    let value = match &cell.stored {
        Ok(value) => value,
        Err(malformed) => return vec![finding(FindingKind::Malformed(*malformed), None)],
    };
    let is_stale = |reference: &str| last_grant::is_stale(cell.site, reference, catalog);
    // A permission row that nobody links to grants nobody anything; other rows are given by name.
    let is_held = table.group != Group::Permissions || !row.owners.is_empty();
    let last_grant = is_held && last_grant::takes_last_grant(row, cell, is_stale);
    let tools = OnceCell::new();
    let mut seen = BTreeSet::new();
    value
        .references()
        .filter(|reference| seen.insert(*reference))
        .filter_map(|reference| {
            let resolution = catalog.resolve_as(cell.site.names, reference);
            let is_toolset = cell.site.names == Names::Toolsets;
            let kind = if is_toolset && resolution == Resolution::Stale {
                FindingKind::DanglingToolset
            } else {
                FindingKind::of(resolution)?
            };
            let named = match kind {
                FindingKind::Stale => tools
                    .get_or_init(|| value.first_tools(TOOLS))
                    .get(reference),
                FindingKind::Unverified
                | FindingKind::Inactive
                | FindingKind::Malformed(_)
                | FindingKind::DanglingToolset
                | FindingKind::Note(_) => None,
            };
            Some(Finding {
                last_grant: last_grant && is_stale(reference),
                tools: named
                    .into_iter()
                    .flatten()
                    .map(|tool| (*tool).to_owned())
                    .collect(),
                ..finding(kind, Some(reference))
            })
        })
        .collect()
}

/// Something worth knowing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Note {
    /// The name is shared: it grants several servers.
    SharedName,
    /// A name, which the LiteLLM that this schema implies may not resolve.
    UnresolvedName,
    /// A name where LiteLLM takes ids alone.
    OnlyAName,
    /// The array holds it more than once.
    Duplicate,
    /// Only the tool permissions grant the server, beside a list of servers that does not name it.
    OnlyByTools,
}

/// The note in words.
impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::SharedName => "names several servers",
            Self::UnresolvedName => "a name; before LiteLLM 1.83.14 only ids count",
            Self::OnlyAName => "a name where only ids count",
            Self::Duplicate => "held more than once",
            Self::OnlyByTools => "granted by its tools alone, not by the list of servers",
        })
    }
}
