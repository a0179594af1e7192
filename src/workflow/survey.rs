//! The survey that `scan` and `fix` begin with: what the database and the options tell before the
//! first row is read.

use std::collections::BTreeMap;

use crate::cli::filters::FilterArgs;
use crate::database::Database;
use crate::db::detect::{self, Search};
use crate::db::schema::Schema;
use crate::db::session::Connection;
use crate::error::{ErrorKind, Failure};
use crate::litellm::schema_drift::SchemaDrift;
use crate::litellm::server_catalog::ServerCatalog;
use crate::process::progress::Progress;
use crate::process::stderr::{note, warn};
use crate::repair::selection::Selection;
use crate::workflow::candidate_rows::CandidateRows;
use crate::workflow::catalog_warnings::warn_of_catalog;
use crate::workflow::preconditions::refuse_empty_server_table;
use crate::workflow::saved_plan::SavedPlan;
use crate::workflow::server_sources::ServerSources;
use crate::workflow::unmatched_references::UnmatchedReferences;

/// The stage of a survey, as the progress line names it.
pub(crate) const SURVEY_STAGE: &str = "looking for stale references";

/// The options of a survey.
pub(crate) struct SurveyOptions<'a> {
    pub(crate) sources: &'a ServerSources,
    pub(crate) rows: SurveyedRows<'a>,
    pub(crate) empty_server_table: EmptyServerTable,
}

/// The rows that a survey is for.
#[derive(Clone, Copy)]
pub(crate) enum SurveyedRows<'a> {
    /// Those that a search finds and that the filters take.
    Found(&'a FilterArgs, Search),
    /// Those that a saved plan changes.
    Planned(&'a SavedPlan),
}

/// What an empty server table does, if rows name servers all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EmptyServerTable {
    /// It is a warning.
    Warns,
    /// It is an error: beside it every reference would be stale.
    Fails,
    /// It is as the operator expects it to be.
    Expected,
}

/// What is known before the first row is read.
pub(crate) struct Survey {
    /// The owners and rows that the operator asked about.
    pub(crate) selection: Selection,
    /// The servers.
    pub(crate) catalog: ServerCatalog,
    /// The rows to read. Their owners are not compared with the selection yet.
    pub(crate) found: CandidateRows,
    /// The references that must be found in these rows.
    pub(crate) unmatched: UnmatchedReferences,
}

impl Survey {
    /// Looks up the filters, builds the catalog, finds the rows, and checks the server table.
    ///
    /// Comes after [`warn_of_schema`]. A repair locks the tables in between.
    pub(crate) async fn take(
        connection: &mut Connection,
        schema: &Schema,
        database: &Database,
        options: SurveyOptions<'_>,
        progress: &Progress,
    ) -> Result<Self, Failure> {
        let SurveyOptions {
            sources,
            rows,
            empty_server_table,
        } = options;
        let selection = match rows {
            SurveyedRows::Found(filters, _) => {
                filters.selection(connection, schema, database).await?
            }
            SurveyedRows::Planned(plan) => plan.selection(),
        };
        let catalog = sources.catalog(connection, schema).await?;
        warn_of_catalog(&catalog);
        progress.stage(SURVEY_STAGE);
        let mut found = CandidateRows::default();
        // An empty server table is judged by all rows, also those that are not selected.
        let mut found_anywhere = 0;
        match rows {
            SurveyedRows::Found(_, search) => {
                let add = |table, key: &str| {
                    found_anywhere += 1;
                    if selection.takes_key(key) {
                        found.add(table, key)?;
                    }
                    Ok(())
                };
                detect::detect(connection, schema, &catalog, search, add).await?;
            }
            SurveyedRows::Planned(plan) => {
                found = plan.rows()?;
                found_anywhere = found.number();
            }
        }
        empty_server_table.check(&catalog, found_anywhere)?;
        let unmatched = match rows {
            SurveyedRows::Found(filters, _) => UnmatchedReferences::of(filters, sources),
            // A plan is compared with its rows instead.
            SurveyedRows::Planned(_) => UnmatchedReferences::default(),
        };
        Ok(Self {
            selection,
            catalog,
            found,
            unmatched,
        })
    }
}

impl EmptyServerTable {
    /// Warns of an empty server table, or refuses it, if rows name servers all the same.
    fn check(self, catalog: &ServerCatalog, rows: usize) -> Result<(), Failure> {
        if catalog.rows() > 0 || rows == 0 {
            return Ok(());
        }
        match self {
            Self::Warns => {
                warn("the MCP server table is empty: make sure that this is the right database");
                Ok(())
            }
            Self::Fails => Err(refuse_empty_server_table(rows)),
            Self::Expected => Ok(()),
        }
    }
}

/// Warns of what this program does not know of the tables, and notes which sites it leaves out.
pub(crate) fn warn_of_schema(schema: &Schema) {
    warn_unknown_owners(schema);
    tell_drift(&schema.drift());
    tell_left_out(schema);
}

/// Warns of tables that link to permission rows in a way that this program does not know.
fn warn_unknown_owners(schema: &Schema) {
    let unknown: Vec<&str> = schema.unknown_links().iter().map(String::as_str).collect();
    if !unknown.is_empty() {
        warn(format_args!(
            "table {} links to permission rows in a way that this mcp-prune does not know, so no \
             row can be taken for unused",
            unknown.join(", ")
        ));
    }
}

/// Warns if a newer LiteLLM than this program knows may keep references elsewhere, and notes
/// whatever else such a LiteLLM made.
fn tell_drift(drift: &SchemaDrift) {
    if drift.suspicion().is_some() {
        warn(drift);
    } else if !drift.is_none() {
        note(drift);
    }
}

/// Refuses a schema that no known LiteLLM has made, for `--strict`.
pub(crate) fn refuse_drift(schema: &Schema) -> Result<(), Failure> {
    let drift = schema.drift();
    if drift.is_none() {
        return Ok(());
    }
    Err(
        Failure::new(ErrorKind::Refused, format!("{drift} (--strict)")).hint(
            "use an mcp-prune that knows the newer LiteLLM, or leave out --strict: fix then repairs \
             the sites that it knows, and touches nothing else",
        ),
    )
}

/// Notes which sites are not looked at, though the options did not leave them out.
fn tell_left_out(schema: &Schema) {
    let mut sites: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for left_out in schema.left_out() {
        let sites = sites.entry(left_out.why).or_default();
        sites.push(left_out.table.label());
    }
    for (why, sites) in sites {
        note(format_args!("not looked at: {} ({why})", sites.join(", ")));
    }
}
