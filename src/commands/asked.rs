//! What the operator asked of a repair, out of the options, and what cannot be asked.

use std::collections::{BTreeMap, BTreeSet};

use super::csv_error::csv_reason;
use crate::cli::{EmptyArgs, FixArgs, OnEmpty, PlaceArgs, RepairArgs, Sites};
use crate::db::read;
use crate::db::schema::Schema;
use crate::db::session::Connection;
use crate::failure::{Failure, Kind};
use crate::litellm::server::{Resolution, ServerCatalog};
use crate::litellm::sites::Choice;
use crate::repair::plan::RowPlan;
use crate::repair::policy::{self, Policy};
use crate::repair::selection::Selection;

impl FixArgs {
    /// What the operator asked for.
    pub(super) fn policy(&self) -> Result<Policy, Failure> {
        let delete_rows = self.repair.delete_rows;
        if delete_rows && !self.places.sites.contains(&Sites::Credentials) {
            return Err(
                Failure::new(Kind::Usage, "--delete-rows goes with --sites credentials")
                    .hint("there alone does a deleted server leave whole rows behind"),
            );
        }
        Ok(Policy {
            delete_rows,
            ..self.repair.empty.policy()?
        })
    }
}

impl EmptyArgs {
    fn policy(&self) -> Result<Policy, Failure> {
        let usage = |message: &str| Err(Failure::new(Kind::Usage, message));
        let accept_narrowing = self.accept_narrowing;
        let on_empty = match self.on_empty {
            OnEmpty::Deny if self.accept_widening => {
                return usage("--accept-widening goes with --on-empty clear");
            }
            OnEmpty::Hold if self.accept_narrowing || self.accept_widening => {
                return usage(
                    "--accept-narrowing goes with --on-empty deny, and --accept-widening with \
                     --on-empty clear",
                );
            }
            OnEmpty::Clear if self.accept_narrowing => {
                return usage("--accept-narrowing goes with --on-empty deny");
            }
            OnEmpty::Clear if !self.accept_widening => {
                return Err(Failure::new(
                    Kind::Usage,
                    "--on-empty clear lets owners inherit servers or lifts their ceilings",
                )
                .hint("scan shows what each would gain; say --accept-widening if that is wanted"));
            }
            OnEmpty::Hold => policy::OnEmpty::Hold,
            OnEmpty::Deny => policy::OnEmpty::Deny { accept_narrowing },
            OnEmpty::Clear => policy::OnEmpty::Clear,
        };
        Ok(Policy {
            on_empty,
            ..Policy::default()
        })
    }
}

/// What a line of `--remap-file` is.
const TWO_VALUES: &str =
    "after the header old,new each line names a deleted server and the one it is by now";

impl RepairArgs {
    /// What the operator says that deleted servers are by now.
    pub(super) fn remaps(&self) -> Result<BTreeMap<String, String>, Failure> {
        let mut pairs = self.remap.clone();
        if let Some(path) = &self.remap_file {
            let cannot = || format!("cannot read --remap-file {}", path.display());
            let failed = |error: csv::Error| {
                let message = format!("{}: {}", cannot(), csv_reason(&error));
                Failure::new(Kind::Error, message).hint(TWO_VALUES)
            };
            let mut reader = csv::Reader::from_path(path).map_err(failed)?;
            if reader.headers().map_err(failed)? != vec!["old", "new"] {
                return Err(Failure::new(Kind::Error, cannot())
                    .hint("its first line must be the header: old,new"));
            }
            for pair in reader.deserialize() {
                pairs.push(pair.map_err(failed)?);
            }
        }
        let mut remaps = BTreeMap::new();
        for (old, new) in pairs {
            if remaps
                .insert(old.clone(), new.clone())
                .is_some_and(|other| other != new)
            {
                return Err(Failure::new(
                    Kind::Usage,
                    format!("{old} is remapped twice, to different servers"),
                ));
            }
        }
        Ok(remaps)
    }
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
    ) -> Result<Selection, Failure> {
        let nothing = |option: &str, what: &str| {
            Failure::new(
                Kind::Error,
                format!("{option} matches nothing: there is no {what}"),
            )
            .hint("check how it is spelled; scan without it shows what there is")
        };
        if !self.owner.is_empty() && self.sites.contains(&Sites::Credentials) {
            let message =
                "--owner does not go with --sites credentials: whose they are is not read";
            return Err(Failure::new(Kind::Usage, message));
        }
        for owner in &self.owner {
            if !read::has_owner(connection, schema, owner.kind, &owner.name).await? {
                return Err(nothing("--owner", &owner.to_string()));
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
            owners: self.owner.clone(),
            rows: self.row.iter().cloned().collect(),
        })
    }

    /// The references asked about, to be ticked off.
    pub(super) fn asked(&self) -> Asked {
        Asked {
            missing: self.reference.clone(),
        }
    }
}

/// The references that the operator asked about and that were not found yet.
pub(super) struct Asked {
    missing: Vec<String>,
}

impl Asked {
    /// Ticks off what these rows name.
    pub(super) fn see(&mut self, plans: &[RowPlan]) {
        let findings = || plans.iter().flat_map(|plan| &plan.audit.findings);
        let found =
            |reference: &String| findings().any(|f| f.reference.as_ref() == Some(reference));
        self.missing.retain(|reference| !found(reference));
    }

    /// Refuses where a reference was not found anywhere.
    pub(super) fn check(&self, catalog: &ServerCatalog) -> Result<(), Failure> {
        let Some(reference) = self.missing.first() else {
            return Ok(());
        };
        let why = match catalog.resolve(reference) {
            Resolution::Live => "it is a server that is served",
            Resolution::Sentinel => "it is a word that LiteLLM reserves",
            Resolution::Kept => "--keep takes it for live",
            Resolution::Inactive
            | Resolution::Remapped
            | Resolution::Stale
            | Resolution::Unverified
            | Resolution::OnlyAName
            | Resolution::Passed => "no row looked at names it",
        };
        let message = format!("--reference {reference} matches nothing: {why}");
        Err(Failure::new(Kind::Error, message)
            .hint("check how it is spelled, as it is stored; scan without it shows what there is"))
    }
}
