//! Decides what becomes of the lists that would run empty, so that nobody's access changes.
//!
//! It plans the rows, compares the access of every caller whom these lists concern, and changes
//! its decisions. It repeats this until a comparison changes no decision.

use std::collections::BTreeSet;

use crate::database::Database;
use crate::db::session::Connection;
use crate::error::{ErrorKind, Failure};
use crate::litellm::access::difference::AccessDifference;
use crate::litellm::reference_sites::{ScannedTable, SiteTable};
use crate::litellm::row::Row;
use crate::repair::caller_rows::ComparedCaller;
use crate::repair::empty_lists::{EmptyListDecisions, SettledByChoice};
use crate::repair::plan::RowPlan;
use crate::repair::policy::{OnEmpty, Policy};
use crate::repair::proposed_lists::ProposedLists;
use crate::workflow::access_basis::read_basis;
use crate::workflow::access_proof::{AccessProof, ReadCallers, TwoStates};
use crate::workflow::candidate_rows::CandidateRows;
use crate::workflow::linked_owners::LinkedOwners;
use crate::workflow::planner::{Planner, RelatedRows};
use crate::workflow::server_sources::ServerSources;
use crate::workflow::{CHUNK, OWNED};

/// What a search asks about the callers.
#[derive(Clone, Copy)]
pub(crate) struct SearchProof<'a> {
    /// How they are compared.
    pub(crate) proof: AccessProof<'a>,
    /// The differences that count.
    pub(crate) counts: fn(&AccessDifference) -> bool,
}

impl<'a> SearchProof<'a> {
    /// Counts the differences that `on_empty` does not accept.
    pub(crate) fn of_choice(proof: AccessProof<'a>, on_empty: OnEmpty) -> Self {
        let counts: fn(&AccessDifference) -> bool = match on_empty {
            OnEmpty::Deny {
                accept_narrowing: true,
            } => AccessDifference::widens,
            OnEmpty::Hold | OnEmpty::Deny { .. } | OnEmpty::Unchanged | OnEmpty::Clear => |_| true,
        };
        Self { proof, counts }
    }
}

/// What a search found.
#[derive(Debug, Clone, Default)]
pub(crate) struct SearchedLists {
    /// What becomes of each list.
    pub(crate) decisions: EmptyListDecisions,
    /// How many references are still held because their list would run empty.
    stays: usize,
}

/// The rows with a reference that is held because its list would run empty.
#[derive(Debug, Default)]
pub(crate) struct HeldRows {
    candidates: CandidateRows,
    /// The rows themselves, as far as they are kept.
    kept: Vec<CandidateRowData>,
}

impl HeldRows {
    /// Adds the rows of these plans, all of one table.
    ///
    /// # Errors
    ///
    /// Fails if they cannot be put aside.
    pub(crate) fn add(&mut self, plans: &[RowPlan]) -> Result<(), Failure> {
        for plan in plans.iter().filter(|plan| plan.held_in_empty_lists() > 0) {
            self.candidates.add(plan.audit.table, &plan.audit.row)?;
        }
        Ok(())
    }

    /// Plans the rows as [`Planner::plan`] does, and adds those with held references. It keeps them
    /// if they are few: they will not change, so they need not be read again.
    ///
    /// # Errors
    ///
    /// What the server said.
    pub(crate) async fn plan(
        &mut self,
        connection: &mut Connection,
        planner: &Planner<'_>,
        table: &'static SiteTable,
        mut rows: Vec<Row>,
    ) -> Result<Vec<RowPlan>, Failure> {
        let mut related = planner.related(connection, table, &rows).await?;
        let plans = planner.plan_related(table, &rows, &mut related);
        self.add(&plans)?;
        if self.candidates.number() > CHUNK {
            self.kept = Vec::new();
            return Ok(plans);
        }
        let held = plans.iter().filter(|plan| plan.held_in_empty_lists() > 0);
        let held: BTreeSet<&str> = held.map(|plan| plan.audit.row.as_str()).collect();
        rows.retain(|row| held.contains(row.key.as_str()));
        if !rows.is_empty() {
            self.kept.push(CandidateRowData {
                table,
                rows,
                related,
            });
        }
        Ok(plans)
    }

    /// Tells whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.candidates.is_empty()
    }

    /// Counts how many of their references each choice would settle. Returns `None` if there are
    /// none, or if this role may not read what access depends on.
    ///
    /// # Errors
    ///
    /// What the server said.
    pub(crate) async fn settled(
        self,
        connection: &mut Connection,
        database: &Database,
        planner: &Planner<'_>,
        sources: &ServerSources,
        most: usize,
    ) -> Result<Option<SettledByChoice>, Failure> {
        let (schema, catalog) = (planner.schema, planner.catalog);
        if self.is_empty() || schema.check_access_privileges(database).is_err() {
            return Ok(None);
        }
        let release = schema.release();
        let basis = read_basis(connection, schema, sources, catalog, release).await?;
        let proof = AccessProof {
            basis: &basis,
            catalog,
            most,
        };
        let kept: usize = self.kept.iter().map(|kept| kept.rows.len()).sum();
        let is_kept = kept == self.candidates.number();
        let mut read = ReadCandidates {
            kept: is_kept.then_some(self.kept),
            ..ReadCandidates::new(&self.candidates)
        };
        match settled(connection, planner, &mut read, proof).await {
            // Too many callers would have to be compared.
            Err(failure) if failure.kind() == ErrorKind::Refused => Ok(None),
            counted => counted.map(Some),
        }
    }
}

/// Counts how many references that are held in these candidates, because their list would run
/// empty, each choice would settle.
///
/// # Errors
///
/// What the server said.
async fn settled(
    connection: &mut Connection,
    planner: &Planner<'_>,
    read: &mut ReadCandidates<'_>,
    proof: AccessProof<'_>,
) -> Result<SettledByChoice, Failure> {
    let ProposedLists { held, stays, .. } = read.propose(connection, planner).await?;
    let mut settles = async |on_empty: OnEmpty| {
        let planner = Planner {
            policy: Policy {
                on_empty,
                ..planner.policy
            },
            decisions: EmptyListDecisions::FIRST_CHOICES,
            ..*planner
        };
        let left = match on_empty {
            OnEmpty::Deny { .. } | OnEmpty::Unchanged => {
                let proofs = [SearchProof::of_choice(proof, on_empty)];
                let searched = search_read(connection, &planner, read, &proofs);
                searched.await?.stays
            }
            OnEmpty::Hold | OnEmpty::Clear => read.propose(connection, &planner).await?.stays,
        };
        Ok::<usize, Failure>(stays.saturating_sub(left))
    };
    let deny = OnEmpty::Deny {
        accept_narrowing: false,
    };
    Ok(SettledByChoice {
        held,
        deny: settles(deny).await?,
        unchanged: settles(OnEmpty::Unchanged).await?,
        clear: settles(OnEmpty::Clear).await?,
    })
}

/// Decides what becomes of the lists in `candidates` that would run empty by the planner's policy.
///
/// # Errors
///
/// What the server said.
pub(crate) async fn search(
    connection: &mut Connection,
    planner: &Planner<'_>,
    candidates: &CandidateRows,
    proofs: &[SearchProof<'_>],
) -> Result<SearchedLists, Failure> {
    let mut read = ReadCandidates::new(candidates);
    search_read(connection, planner, &mut read, proofs).await
}

/// Decides as [`search`] does, about candidates that may have been read.
async fn search_read(
    connection: &mut Connection,
    planner: &Planner<'_>,
    read: &mut ReadCandidates<'_>,
    proofs: &[SearchProof<'_>],
) -> Result<SearchedLists, Failure> {
    let mut decisions = EmptyListDecisions::default();
    loop {
        let deciding = Planner {
            decisions: &decisions,
            ..*planner
        };
        let proposal = read.propose(connection, &deciding).await?;
        let mut evidence = Vec::new();
        if !proposal.is_empty() {
            let states = TwoStates {
                before: &proposal.before,
                after: &proposal.after,
            };
            for SearchProof { proof, counts } in proofs {
                let each = |caller: ComparedCaller<'_>| {
                    evidence.extend(proposal.evidence(&caller, *counts));
                };
                let schema = planner.schema;
                let callers = &mut read.callers;
                let compared = proof.each(connection, schema, callers, states, *counts, each);
                if compared.await? > 0 {
                    return Err(too_many_callers(proof.most));
                }
            }
        }
        let before = decisions.clone();
        decisions.hear(&evidence);
        // If a caller still differs, these lists are not the reason: the proof refuses it.
        if decisions == before {
            return Ok(SearchedLists {
                decisions,
                stays: proposal.stays,
            });
        }
    }
}

/// Builds the error for lists of which nobody can say what their emptiness changes.
fn too_many_callers(most: usize) -> Failure {
    let message = format!(
        "more than {most} callers depend on lists that would run empty, and all of them have to be \
         compared to tell what may become of these"
    );
    Failure::new(ErrorKind::Refused, message)
        .hint("raise --compare-at-most, or leave the lists as they are with --on-empty hold")
}

/// The candidates of a search. If there are few, they are read once and kept: a search plans them
/// again and again.
struct ReadCandidates<'c> {
    candidates: &'c CandidateRows,
    /// The rows of each table, once they are read; `None` if there are too many.
    kept: Option<Vec<CandidateRowData>>,
    /// The callers who depend on them.
    callers: ReadCallers,
}

/// Rows of one table, with what their plans depend on.
#[derive(Debug)]
struct CandidateRowData {
    table: &'static SiteTable,
    rows: Vec<Row>,
    related: RelatedRows,
}

impl<'c> ReadCandidates<'c> {
    fn new(candidates: &'c CandidateRows) -> Self {
        Self {
            candidates,
            kept: None,
            callers: ReadCallers::default(),
        }
    }

    /// Plans all candidates, and collects the lists that would run empty.
    async fn propose(
        &mut self,
        connection: &mut Connection,
        planner: &Planner<'_>,
    ) -> Result<ProposedLists, Failure> {
        let mut proposal = ProposedLists::default();
        let number = self.candidates.number();
        if self.kept.is_none() {
            let mut kept = Vec::new();
            for listed in self.candidates.tables() {
                let ScannedTable::References(table) = listed.table() else {
                    continue;
                };
                let owners = LinkedOwners::read(connection, planner.schema, listed, OWNED);
                let mut owners = owners.await?;
                let mut owners = owners.in_order();
                for keys in listed.parts(OWNED) {
                    let keys = keys?;
                    let mut owned = owners.name_rows(table, &keys)?;
                    for chunk in keys.chunks(CHUNK) {
                        let mut rows = owned.read(connection, planner.schema, chunk).await?;
                        rows.retain(|row| planner.selection.takes(row));
                        let related = planner.related(connection, table, &rows).await?;
                        let mut rows = CandidateRowData {
                            table,
                            rows,
                            related,
                        };
                        if number <= CHUNK {
                            kept.push(rows);
                        } else {
                            rows.propose(planner, &mut proposal);
                        }
                    }
                }
                owners.finish()?;
            }
            if number > CHUNK {
                return Ok(proposal);
            }
            self.kept = Some(kept);
        }
        for rows in self.kept.iter_mut().flatten() {
            rows.propose(planner, &mut proposal);
        }
        Ok(proposal)
    }
}

impl CandidateRowData {
    /// Plans the rows, and adds their lists that would run empty.
    fn propose(&mut self, planner: &Planner<'_>, proposal: &mut ProposedLists) {
        for plan in planner.plan_related(self.table, &self.rows, &mut self.related) {
            proposal.add(&plan, planner.catalog);
        }
    }
}
