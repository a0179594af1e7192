//! What the operator asked of a repair, out of the options, and what cannot be asked.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::csv_error::csv_reason;
use super::naming::Naming;
use super::planning::Planner;
use crate::cli::{EmptyArgs, FixArgs, OnEmpty, PlaceArgs, RepairArgs, Sites};
use crate::db::named_owners::{self, Meant};
use crate::db::read;
use crate::db::schema::{Database, Schema};
use crate::db::session::Connection;
use crate::failure::{Failure, Kind};
use crate::litellm::api_key::may_be_a_key;
use crate::litellm::finding::{self, Finding};
use crate::litellm::server::Resolution;
use crate::litellm::sites::Choice;
use crate::repair::plan::RowPlan;
use crate::repair::policy::{self, Policy};
use crate::repair::selection::{NamedOwner, Selection};
use crate::shell::quoted;

impl FixArgs {
    /// What the operator asked for.
    pub(super) fn policy(&self) -> Policy {
        Policy {
            on_empty: self.repair.empty.on_empty(),
            delete_rows: self.repair.delete_rows,
        }
    }
}

impl EmptyArgs {
    /// What to do with a column that would run empty. Which options go together is settled before.
    fn on_empty(&self) -> policy::OnEmpty {
        match self.on_empty.unwrap_or_default() {
            OnEmpty::Hold => policy::OnEmpty::Hold,
            OnEmpty::Deny => policy::OnEmpty::Deny {
                accept_narrowing: self.accept_narrowing,
            },
            OnEmpty::Clear => policy::OnEmpty::Clear,
        }
    }
}

/// What a line of `--remap-file` is.
const TWO_VALUES: &str =
    "after the header old,new each line names a deleted server and the one it is by now";

impl RepairArgs {
    /// What the operator says that deleted servers are by now.
    pub(super) fn remaps(&self) -> Result<BTreeMap<String, String>, Failure> {
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
                let hint = "a deleted server is one server by now; leave one of them out";
                return Err(Failure::new(Kind::Usage, message).hint(hint));
            }
        }
        let remaps = remaps.into_iter();
        let remaps = remaps
            .map(|(old, remap)| (old, remap.new.clone()))
            .collect();
        Ok(remaps)
    }
}

/// What the operator says that a deleted server is by now.
struct Remap {
    /// Where it is said, as errors name it.
    place: String,
    old: String,
    new: String,
}

/// Reads the lines of `--remap-file`.
fn read_remaps(path: &Path) -> Result<Vec<Remap>, Failure> {
    let file = format!("--remap-file {}", path.display());
    let failed = |error: csv::Error| {
        let message = format!("cannot read {file}: {}", csv_reason(&error));
        let failure = Failure::new(Kind::Error, message);
        if error.is_io_error() {
            failure
        } else {
            failure.hint(TWO_VALUES)
        }
    };
    let mut reader = csv::Reader::from_path(path).map_err(failed)?;
    if reader.headers().map_err(failed)? != vec!["old", "new"] {
        return Err(Failure::new(Kind::Error, format!("cannot read {file}"))
            .hint("its first line must be the header: old,new"));
    }
    let mut remaps = Vec::new();
    for record in reader.records() {
        let record = record.map_err(failed)?;
        let (old, new): (String, String) = record.deserialize(None).map_err(failed)?;
        let line = record.position().map_or(0, csv::Position::line);
        let place = format!("line {line} of {file}");
        if may_be_a_key(&old) || may_be_a_key(&new) {
            let message = format!("{place} names a key, which is not shown");
            return Err(Failure::new(Kind::Error, message)
                .hint("a server has an id, an alias or a name; keys stay out of such files"));
        }
        remaps.push(Remap { place, old, new });
    }
    Ok(remaps)
}

/// The places named, or the usual ones where none is; `configs_known` where every config is.
pub(super) fn places(sites: &[Sites], configs_known: bool) -> Choice {
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
    /// Whether rows or references are asked about, and not all of them.
    pub(super) fn narrows(&self) -> bool {
        !(self.owner.is_empty() && self.reference.is_empty() && self.row.is_empty())
    }

    /// The references that the operator asked about; `None` for all.
    pub(super) fn references(&self) -> Option<BTreeSet<String>> {
        let references: BTreeSet<String> = self.reference.iter().cloned().collect();
        Some(references).filter(|references| !references.is_empty())
    }

    /// The rows that the operator asked about, which must be there.
    pub(super) async fn selection(
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
            if !read::has_row(connection, schema, row).await? {
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

    /// The references asked about, and those that were remapped, to be ticked off.
    pub(super) fn asked<'a>(&self, remapped: impl Iterator<Item = &'a String>) -> Asked {
        Asked {
            missing: self.reference.clone(),
            not_remapped: remapped.cloned().collect(),
        }
    }
}

pub(super) fn nothing(option: &str, what: &str) -> Failure {
    Failure::new(
        Kind::Error,
        format!("{option} matches nothing: there is no {what}"),
    )
    .hint("check how it is spelled; scan without it shows what there is")
}

/// How many ids or owners an error names.
const NAMED: usize = 20;

pub(super) fn ambiguous(option: &str, owner: &NamedOwner, ids: &[String]) -> Failure {
    let shown = ids[..ids.len().min(NAMED)].join(", ");
    let more = if ids.len() > NAMED { " and more" } else { "" };
    let kind = owner.kind.name();
    let message = format!("{option}{owner} is ambiguous: it is the name of {shown}{more}");
    let hint = format!(
        "name one by its id, as in {option}{}",
        quoted(format!("{kind}:{}", ids[0]))
    );
    Failure::new(Kind::Error, message).hint(hint)
}

/// The references that the operator asked about or remapped, and that were not found yet.
#[derive(Default)]
pub(super) struct Asked {
    missing: Vec<String>,
    not_remapped: BTreeSet<String>,
}

impl Asked {
    /// Ticks off what these rows name.
    pub(super) fn see(&mut self, plans: &[RowPlan]) {
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
        let stale = named(|finding| finding.kind == finding::Kind::Stale);
        self.not_remapped.retain(|old| !stale.contains(old));
    }

    /// Refuses where a reference was not found anywhere.
    pub(super) async fn check(
        &self,
        connection: &mut Connection,
        planner: &Planner<'_>,
        selection: &Selection,
    ) -> Result<(), Failure> {
        if let Some(old) = self.not_remapped.first() {
            let message =
                format!("the remap of {old} matches nothing: no row looked at names {old}");
            return Err(Failure::new(Kind::Error, message).hint(
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
            return Err(Failure::new(Kind::Error, message).hint(
                "check how it is spelled, as it is stored; scan without it shows what there is",
            ));
        };
        let naming = Naming::of(connection, planner, selection, reference).await?;
        let message = format!("{nothing}: {why}, {naming}");
        Err(Failure::new(Kind::Error, message)
            .hint("there is nothing to repair; --reference takes what scan reports"))
    }
}
