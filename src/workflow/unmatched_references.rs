//! The references that options name, ticked off where rows name them. Each must be found in a row.

use std::collections::BTreeSet;

use crate::cli::filters::FilterArgs;
use crate::db::session::Connection;
use crate::error::{ErrorKind, Failure};
use crate::litellm::finding::{Finding, FindingKind};
use crate::litellm::server_catalog::Resolution;
use crate::repair::plan::RowPlan;
use crate::repair::selection::Selection;
use crate::workflow::live_references::NamingRows;
use crate::workflow::planner::Planner;
use crate::workflow::server_sources::ServerSources;

/// The references of `--reference` and of remaps that were not found in a row yet.
#[derive(Default)]
pub(crate) struct UnmatchedReferences {
    missing: Vec<String>,
    not_remapped: BTreeSet<String>,
}

impl UnmatchedReferences {
    /// Lists the references that `--reference` names and those that are remapped, to be ticked off
    /// where rows name them.
    pub(crate) fn of(filters: &FilterArgs, sources: &ServerSources) -> Self {
        Self {
            missing: filters.reference.clone(),
            not_remapped: sources.remaps().keys().cloned().collect(),
        }
    }

    /// Ticks off the references that these rows name.
    pub(crate) fn mark_found(&mut self, plans: &[RowPlan]) {
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
        let stale = named(|finding| finding.kind == FindingKind::Stale);
        self.not_remapped.retain(|old| !stale.contains(old));
    }

    /// Fails if a reference was not found in any row.
    pub(crate) async fn ensure_all_found(
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
        let (schema, catalog) = (planner.schema, planner.catalog);
        let naming = NamingRows::of(connection, schema, catalog, selection, reference).await?;
        let message = format!("{nothing}: {why}, {naming}");
        Err(Failure::new(ErrorKind::Error, message)
            .hint("there is nothing to repair; --reference takes what scan reports"))
    }
}
