//! `access --server` for a server that is not served: who still names it.

use std::collections::BTreeSet;

use crate::commands::access_callers::verdict;
use crate::db::schema::Schema;
use crate::db::session::Connection;
use crate::error::{ErrorKind, Failure};
use crate::litellm::access::registry::{Registry, ServerIds};
use crate::litellm::access::rules::AccessRules;
use crate::litellm::known_names::KnownServer;
use crate::litellm::reference_sites::Site;
use crate::litellm::release::Release;
use crate::litellm::row::Row;
use crate::litellm::server_catalog::ServerCatalog;
use crate::litellm::value::Value;
use crate::repair::selection::Selection;
use crate::report::access_naming::{NamingColumn, NamingOwner};
use crate::workflow::live_references::{NamingRow, find_naming_rows};

/// The servers that `--server` names.
pub(super) enum WantedServers {
    /// Servers that are served, by their ids; `None` where no server was asked about.
    Served(Option<ServerIds>),
    /// References that no server that is served answers to.
    Gone(Vec<String>),
}

impl WantedServers {
    /// Looks up the servers that `--server` names.
    pub(super) fn named(references: &[String], registry: &Registry) -> Result<Self, Failure> {
        if references.is_empty() {
            return Ok(Self::Served(None));
        }
        let newest = AccessRules::of(Release::AGENT_TOOL_KEYS_COUNT);
        let (mut served, mut gone) = (ServerIds::new(), Vec::new());
        for reference in references {
            let mut ids = registry.expand([reference], newest);
            ids.retain(|id| registry.get(id).is_some());
            if ids.is_empty() {
                gone.push(reference.clone());
            }
            served.extend(ids);
        }
        match gone.first() {
            None => Ok(Self::Served(Some(served))),
            Some(_) if served.is_empty() => Ok(Self::Gone(gone)),
            Some(first) => {
                let message = format!(
                    "--server {first} names no server that is served, and another --server does"
                );
                Err(Failure::new(ErrorKind::Usage, message)
                    .hint("ask about servers that are gone in a run of their own"))
            }
        }
    }
}

/// Lists the columns that name servers that nobody may use. Fails if no column names one of them.
pub(super) async fn naming_columns(
    connection: &mut Connection,
    schema: &Schema,
    catalog: &ServerCatalog,
    selection: &Selection,
    gone: &[String],
) -> Result<Vec<NamingColumn>, Failure> {
    let known = catalog.names();
    let mut named: Vec<NamingColumn> = Vec::new();
    for wanted in gone {
        let before = named.len();
        // A row may name a server that is there by its id, its alias or its name.
        for reference in known.same_server(wanted) {
            let verdict = verdict(catalog.resolve(reference));
            let server = known.only_server(reference);
            let id = server.and_then(|server| server.ids.first());
            let id = id.filter(|id| *id != reference);
            let catalog = catalog.clone();
            let catalog = catalog.asked_about(BTreeSet::from([reference.to_owned()]));
            let add = |row: NamingRow<'_>| {
                let NamingRow::References(table, row) = row else {
                    return;
                };
                for site in sites_naming(row, reference) {
                    named.push(NamingColumn {
                        reference: reference.to_owned(),
                        id: id.cloned(),
                        verdict,
                        table: table.table,
                        column: site.name,
                        row: row.key.clone(),
                        owners: owners(row),
                    });
                }
            };
            find_naming_rows(connection, schema, &catalog, selection, reference, add).await?;
        }
        if named.len() == before {
            return Err(named_by_no_row(wanted, known.server(wanted)));
        }
    }
    Ok(named)
}

/// Lists the sites of a row that name a server.
fn sites_naming(row: &Row, reference: &str) -> impl Iterator<Item = &'static Site> {
    let names_it = move |value: &Value| value.references().any(|named| named == reference);
    let cells = row.cells.iter();
    cells
        .filter(move |cell| cell.stored.as_ref().is_ok_and(names_it))
        .map(|cell| cell.site)
}

/// Describes the owners of a row.
fn owners(row: &Row) -> Vec<NamingOwner> {
    let owners = row.owners.iter().map(|owner| NamingOwner {
        kind: owner.kind().name(),
        id: owner.id().to_owned(),
        name: owner.name().map(str::to_owned),
    });
    owners.collect()
}

/// Builds the error for a server that nobody may use and that no row names.
fn named_by_no_row(reference: &str, server: Option<&KnownServer>) -> Failure {
    let Some(server) = server else {
        let message = format!(
            "--server {reference}: no server that is served is named so, and no row names it"
        );
        return Failure::new(ErrorKind::Error, message).hint(
            "check how it is spelled; nobody may use it. To name a server of a config.yaml, give \
             --litellm-config",
        );
    };
    let state = server.not_served.as_ref();
    let state = state.map_or_else(String::new, |state| format!(" (its state is {state})"));
    let message = format!(
        "--server {reference}: this server is there, but no proxy serves it{state}, and no row \
         that was looked at names it"
    );
    Failure::new(ErrorKind::Error, message)
        .hint("approve the server in LiteLLM if it is to be used; until then nobody may use it")
}
