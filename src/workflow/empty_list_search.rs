//! Finds what may become of the lists that would run empty, so that nobody's access changes: asks
//! the access model about everybody whom they concern, again and again, until nobody differs.

use crate::db::detect::CandidateRows;
use crate::db::schema::Schema;
use crate::db::session::Connection;
use crate::db::{owners, rows};
use crate::error::Failure;
use crate::litellm::access::difference::AccessDifference;
use crate::litellm::reference_sites::ScannedTable;
use crate::repair::caller_rows::ComparedCaller;
use crate::repair::empty_lists::EmptyListDecisions;
use crate::repair::policy::OnEmpty;
use crate::repair::proposed_lists::ProposedLists;
use crate::workflow::CHUNK;
use crate::workflow::access_proof::{AccessProof, TwoStates};
use crate::workflow::planner::Planner;

/// What a search found.
#[derive(Debug, Clone, Default)]
pub(crate) struct SearchedLists {
    /// What becomes of each list.
    pub(crate) decisions: EmptyListDecisions,
    /// How many stale references of the rows searched are still held.
    pub(crate) held: usize,
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
    proof: AccessProof<'_>,
) -> Result<SearchedLists, Failure> {
    let counts: fn(&AccessDifference) -> bool = match planner.policy.on_empty {
        OnEmpty::Deny {
            accept_narrowing: true,
        } => AccessDifference::widens,
        OnEmpty::Hold | OnEmpty::Deny { .. } | OnEmpty::Unchanged | OnEmpty::Clear => |_| true,
    };
    let mut decisions = EmptyListDecisions::default();
    loop {
        let deciding = Planner {
            decisions: &decisions,
            ..*planner
        };
        let proposal = propose(connection, &deciding, candidates).await?;
        let mut evidence = Vec::new();
        if !proposal.is_empty() {
            let states = TwoStates {
                before: &proposal.before,
                after: &proposal.after,
            };
            let schema: &Schema = planner.schema;
            let each = |caller: ComparedCaller<'_>| {
                evidence.extend(proposal.evidence(&caller, counts));
            };
            proof.each(connection, schema, states, counts, each).await?;
        }
        let before = decisions.clone();
        decisions.hear(evidence);
        // A caller who differs whatever becomes of these lists is left to the proof.
        if decisions == before {
            return Ok(SearchedLists {
                decisions,
                held: proposal.held,
            });
        }
    }
}

/// Plans all candidates, and keeps what concerns the lists that would run empty.
async fn propose(
    connection: &mut Connection,
    planner: &Planner<'_>,
    candidates: &CandidateRows,
) -> Result<ProposedLists, Failure> {
    let mut proposal = ProposedLists::default();
    for (table, keys) in candidates {
        let ScannedTable::References(table) = *table else {
            continue;
        };
        let owners = owners::holders(connection, planner.schema, table, keys).await?;
        for chunk in keys.chunks(CHUNK) {
            let mut rows = rows::rows(connection, planner.schema, table, chunk, &owners).await?;
            rows.retain(|row| planner.selection.takes(row));
            for plan in planner.plan(connection, table, &rows).await? {
                proposal.add(&plan);
            }
        }
    }
    Ok(proposal)
}
