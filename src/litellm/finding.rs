//! What is wrong with a row's references.

use std::collections::BTreeSet;

use super::emptied::{IfEmptied, if_emptied};
use super::last_grant::{self, World};
use super::notes::Note;
use super::owners::Owner;
use super::row::{Cell, Malformed, Row, Value};
use super::server::{Resolution, ServerCatalog, Successor};
use super::sites::{Group, Names, SiteTable};

/// What a finding says of a reference or of a whole value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
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

impl Kind {
    /// The kind's name in reports and JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
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

/// One thing wrong in one place of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What is wrong.
    pub kind: Kind,
    /// The place.
    pub column: &'static str,
    /// The reference as stored; `None` where the finding is of the whole value.
    pub reference: Option<String>,
    /// The config server whose former id the reference is.
    pub successor: Option<Successor>,
    /// How many rows of the database it stands for, where it is the server of whole rows.
    pub rows: Option<u64>,
    /// Whether removing the column's stale references would take the owners' last grant.
    pub last_grant: bool,
}

/// What is wrong with one row, and who links to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Audit {
    /// The row's table.
    pub table: &'static SiteTable,
    /// The row's primary key.
    pub row: String,
    /// Who links to it.
    pub owners: Vec<Owner>,
    /// What was found, ordered by column, then by position in the array or by JSON key. A
    /// reference that a column holds twice is found once.
    pub findings: Vec<Finding>,
    /// Where a last grant would go: what that would make of each owner, in their order. Else empty.
    pub if_emptied: Vec<IfEmptied>,
}

impl Audit {
    /// Finds what is wrong with `row`, a row of `table`.
    #[must_use]
    pub fn of(table: &'static SiteTable, row: &Row, world: World<'_>) -> Self {
        let findings: Vec<Finding> = row
            .cells
            .iter()
            .flat_map(|cell| audit_cell(table, row, cell, world.catalog))
            .collect();
        let loses = findings.iter().any(|finding| finding.last_grant);
        let if_emptied = if loses && table.group == Group::Permissions {
            let owners = row.owners.iter();
            owners.map(|owner| if_emptied(owner, row, world)).collect()
        } else {
            Vec::new()
        };
        Self {
            if_emptied,
            table,
            row: row.key.clone(),
            owners: row.owners.clone(),
            findings,
        }
    }

    /// Whether a reference of the row is stale.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        self.findings.iter().any(|f| f.kind == Kind::Stale)
    }
}

fn audit_cell(table: &SiteTable, row: &Row, cell: &Cell, catalog: &ServerCatalog) -> Vec<Finding> {
    let finding = |kind, reference: Option<&str>, last_grant| Finding {
        kind,
        column: cell.site.name,
        reference: reference.map(str::to_owned),
        successor: reference.and_then(|reference| catalog.successor(reference)),
        rows: cell.stored.as_ref().ok().and_then(Value::rows),
        last_grant,
    };
    let value = match &cell.stored {
        Ok(value) => value,
        Err(malformed) => return vec![finding(Kind::Malformed(*malformed), None, false)],
    };
    let is_stale = |reference: &str| last_grant::is_stale(cell, reference, catalog);
    // A permission row that nobody links to grants nobody anything; other rows are given by name.
    let is_held = table.group != Group::Permissions || !row.owners.is_empty();
    let last_grant = is_held && last_grant::takes_last_grant(row, cell, is_stale);
    let mut seen = BTreeSet::new();
    value
        .references()
        .filter(|reference| seen.insert(*reference))
        .filter_map(|reference| {
            let kind = match catalog.resolve_as(cell.site.names, reference) {
                Resolution::Stale if cell.site.names == Names::Toolsets => Kind::DanglingToolset,
                Resolution::Stale
                | Resolution::Remapped
                | Resolution::MaybeEdited
                | Resolution::MaybeRenewed => Kind::Stale,
                Resolution::Unverified => Kind::Unverified,
                Resolution::Inactive => Kind::Inactive,
                Resolution::Live
                | Resolution::Sentinel
                | Resolution::Kept
                | Resolution::OnlyAName
                | Resolution::Passed => return None,
            };
            Some(finding(
                kind,
                Some(reference),
                last_grant && is_stale(reference),
            ))
        })
        .collect()
}
