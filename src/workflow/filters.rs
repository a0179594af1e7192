//! Reads from the options what a repair does and to which rows, and refuses what cannot be done.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::cli::filters::{PlaceArgs, Sites};
use crate::cli::repair::{EmptyArgs, OnEmptyArg, RepairArgs};
use crate::database::Database;
use crate::db::lookup;
use crate::db::named_owners::{self, Meant};
use crate::db::schema::Schema;
use crate::db::session::Connection;
use crate::error::{ErrorKind, Failure};
use crate::litellm::api_key::may_be_a_key;
use crate::litellm::finding::{self, Finding};
use crate::litellm::reference_sites::Choice;
use crate::litellm::server_catalog::Resolution;
use crate::repair::plan::RowPlan;
use crate::repair::policy;
use crate::repair::selection::{NamedOwner, Selection};
use crate::shell::quoted;
use crate::workflow::csv_error::csv_reason;
use crate::workflow::live_references::NamingRows;
use crate::workflow::planner::Planner;

impl EmptyArgs {
    /// Returns what to do with a column that would become empty. That the options go together is
    /// checked before, in `option_rules`.
    pub(crate) fn on_empty(&self) -> policy::OnEmpty {
        match self.on_empty.unwrap_or_default() {
            OnEmptyArg::Hold => policy::OnEmpty::Hold,
            OnEmptyArg::Deny => policy::OnEmpty::Deny {
                accept_narrowing: self.accept_narrowing,
            },
            OnEmptyArg::Clear => policy::OnEmpty::Clear,
        }
    }
}

/// The form of `--remap-file`.
const TWO_VALUES: &str =
    "after the header old,new each line names a deleted server and the one that replaces it";

impl RepairArgs {
    /// Returns the server that replaces each deleted one, from `--remap` and `--remap-file`.
    pub(crate) fn remaps(&self) -> Result<BTreeMap<String, String>, Failure> {
        let given = self.remap.iter().map(|(old, new)| Remap {
            place: "--remap".to_owned(),
            old: old.clone(),
            new: new.clone(),
        });
        let mut given: Vec<Remap> = given.collect();
        if let Some(path) = &self.remap_file {
            given.extend(read_remaps(path)?);
        }
        let mut remaps: BTreeMap<String, &Remap> = BTreeMap::new();
        for remap in &given {
            let first = remaps.entry(remap.old.clone()).or_insert(remap);
            if first.new != remap.new {
                let message = format!(
                    "{} and {} remap {} to different servers, {} and {}",
                    first.place, remap.place, remap.old, first.new, remap.new
                );
                let hint = "leave one of them out: one server replaces a deleted one";
                return Err(Failure::new(ErrorKind::Usage, message).hint(hint));
            }
        }
        let remaps = remaps.into_iter();
        let remaps = remaps
            .map(|(old, remap)| (old, remap.new.clone()))
            .collect();
        Ok(remaps)
    }
}

/// A deleted server, and the server that replaces it.
struct Remap {
    /// The option, or the line of the file, as errors name it.
    place: String,
    old: String,
    new: String,
}

/// Reads the lines of `--remap-file`.
fn read_remaps(path: &Path) -> Result<Vec<Remap>, Failure> {
    let file = format!("--remap-file {}", path.display());
    let failed = |error: csv::Error| {
        let message = format!("cannot read {file}: {}", csv_reason(&error));
        let failure = Failure::new(ErrorKind::Error, message);
        if error.is_io_error() {
            failure
        } else {
            failure.hint(TWO_VALUES)
        }
    };
    let mut reader = csv::Reader::from_path(path).map_err(failed)?;
    if reader.headers().map_err(failed)? != vec!["old", "new"] {
        return Err(
            Failure::new(ErrorKind::Error, format!("cannot read {file}"))
                .hint("its first line must be the header: old,new"),
        );
    }
    let mut remaps = Vec::new();
    for record in reader.records() {
        let record = record.map_err(failed)?;
        let (old, new): (String, String) = record.deserialize(None).map_err(failed)?;
        let line = record.position().map_or(0, csv::Position::line);
        let place = format!("line {line} of {file}");
        if may_be_a_key(&old) || may_be_a_key(&new) {
            let message = format!("{place} names a key, which is not shown");
            return Err(Failure::new(ErrorKind::Error, message)
                .hint("a server has an id, an alias or a name; keys stay out of such files"));
        }
        if old.is_empty() || new.is_empty() || old == new {
            let message = format!("{place} does not name two different servers");
            return Err(Failure::new(ErrorKind::Error, message).hint(TWO_VALUES));
        }
        remaps.push(Remap { place, old, new });
    }
    Ok(remaps)
}

/// Returns the places that `--sites` names, or the default ones where it names none.
///
/// `configs_known` says whether every config is known.
pub(crate) fn places(sites: &[Sites], configs_known: bool) -> Choice {
    let usual = Choice {
        configs_known,
        ..Choice::default()
    };
    if sites.is_empty() {
        return usual;
    }
    Choice {
        groups: sites.iter().copied().map(Into::into).collect(),
        by_name: true,
        ..usual
    }
}

impl PlaceArgs {
    /// Returns whether a filter limits the command to some rows or references.
    pub(crate) fn narrows(&self) -> bool {
        !(self.owner.is_empty() && self.reference.is_empty() && self.row.is_empty())
    }

    /// Returns the references that `--reference` names; `None` means all.
    pub(crate) fn references(&self) -> Option<BTreeSet<String>> {
        let references: BTreeSet<String> = self.reference.iter().cloned().collect();
        Some(references).filter(|references| !references.is_empty())
    }

    /// Looks up the owners and rows that `--owner` and `--row` name, and refuses one that is not
    /// there.
    pub(crate) async fn selection(
        &self,
        connection: &mut Connection,
        schema: &Schema,
        database: &Database,
    ) -> Result<Selection, Failure> {
        let mut owners = BTreeSet::new();
        for owner in &self.owner {
            let NamedOwner { kind, name } = owner;
            match named_owners::named(connection, schema, database, *kind, name).await? {
                Meant::Nobody => return Err(nothing("--owner", &owner.to_string())),
                Meant::One(id) => _ = owners.insert((*kind, id)),
                Meant::Several(ids) => return Err(ambiguous("--owner ", owner, &ids)),
            }
        }
        for row in &self.row {
            if !lookup::has_row(connection, schema, row).await? {
                return Err(nothing(
                    "--row",
                    &format!("row {row} at the places looked at"),
                ));
            }
        }
        Ok(Selection {
            owners,
            rows: self.row.iter().cloned().collect(),
        })
    }

    /// Lists the references that `--reference` names and those that are remapped, to be ticked off
    /// where rows name them.
    pub(crate) fn asked<'a>(
        &self,
        remapped: impl Iterator<Item = &'a String>,
    ) -> UnmatchedReferences {
        UnmatchedReferences {
            missing: self.reference.clone(),
            not_remapped: remapped.cloned().collect(),
        }
    }
}

fn nothing(option: &str, what: &str) -> Failure {
    Failure::new(
        ErrorKind::Error,
        format!("{option} matches nothing: there is no {what}"),
    )
    .hint("check how it is spelled; scan without it shows what there is")
}

/// How many ids or owners an error names.
const NAMED: usize = 20;

pub(crate) fn ambiguous(option: &str, owner: &NamedOwner, ids: &[String]) -> Failure {
    let shown = ids[..ids.len().min(NAMED)].join(", ");
    let more = if ids.len() > NAMED { " and more" } else { "" };
    let kind = owner.kind.name();
    let message = format!("{option}{owner} is ambiguous: it is the name of {shown}{more}");
    let hint = format!(
        "name one by its id, as in {option}{}",
        quoted(format!("{kind}:{}", ids[0]))
    );
    Failure::new(ErrorKind::Error, message).hint(hint)
}

/// The references of `--reference` and of remaps that were not found in a row yet.
#[derive(Default)]
pub(crate) struct UnmatchedReferences {
    missing: Vec<String>,
    not_remapped: BTreeSet<String>,
}

impl UnmatchedReferences {
    /// Ticks off the references that these rows name.
    pub(crate) fn see(&mut self, plans: &[RowPlan]) {
        if self.missing.is_empty() && self.not_remapped.is_empty() {
            return;
        }
        let named = |is_meant: fn(&Finding) -> bool| -> BTreeSet<&String> {
            let findings = plans.iter().flat_map(|plan| &plan.audit.findings);
            let findings = findings.filter(|finding| is_meant(finding));
            findings.filter_map(|f| f.reference.as_ref()).collect()
        };
        let found = named(|_| true);
        self.missing.retain(|reference| !found.contains(reference));
        // A toolset that is gone may have the same name, and is not remapped.
        let stale = named(|finding| finding.kind == finding::FindingKind::Stale);
        self.not_remapped.retain(|old| !stale.contains(old));
    }

    /// Fails if a reference was not found in any row.
    pub(crate) async fn check(
        &self,
        connection: &mut Connection,
        planner: &Planner<'_>,
        selection: &Selection,
    ) -> Result<(), Failure> {
        if let Some(old) = self.not_remapped.first() {
            let message =
                format!("the remap of {old} matches nothing: no row looked at names {old}");
            return Err(Failure::new(ErrorKind::Error, message).hint(
                "nothing was written; check how it is spelled, as it is stored, or leave it out if \
                 it was remapped before",
            ));
        }
        let Some(reference) = self.missing.first() else {
            return Ok(());
        };
        let there = match planner.catalog.resolve(reference) {
            Resolution::Live => Some("it is a server that is served"),
            Resolution::Sentinel => Some("it is a word that LiteLLM reserves"),
            Resolution::Kept => Some("--keep takes it for live"),
            Resolution::Inactive
            | Resolution::Remapped
            | Resolution::Stale
            | Resolution::Unverified
            | Resolution::MaybeEdited
            | Resolution::MaybeRenewed
            | Resolution::OnlyAName
            | Resolution::Passed => None,
        };
        let nothing = format!("--reference {reference} matches nothing");
        let Some(why) = there else {
            let message = format!("{nothing}: no row looked at names it");
            return Err(Failure::new(ErrorKind::Error, message).hint(
                "check how it is spelled, as it is stored; scan without it shows what there is",
            ));
        };
        let naming = NamingRows::of(connection, planner, selection, reference).await?;
        let message = format!("{nothing}: {why}, {naming}");
        Err(Failure::new(ErrorKind::Error, message)
            .hint("there is nothing to repair; --reference takes what scan reports"))
    }
}
