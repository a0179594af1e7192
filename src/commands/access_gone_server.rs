//! `access --server` for a server that is not served: who still names it.

use std::collections::BTreeSet;

use crate::commands::access_callers::verdict;
use crate::db::schema::Schema;
use crate::db::session::Connection;
use crate::error::{ErrorKind, Failure};
use crate::litellm::access::registry::{Registry, ServerIds};
use crate::litellm::access::rules::AccessRules;
use crate::litellm::release::Release;
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
    let mut named = Vec::new();
    for reference in gone {
        let verdict = verdict(catalog.resolve(reference));
        let before = named.len();
        let asked = BTreeSet::from([reference.clone()]);
        let catalog = catalog.clone().asked_about(asked);
        let add = |row: NamingRow<'_>| {
            let NamingRow::References(table, row) = row else {
                return;
            };
            let owners = row.owners.iter().map(|owner| NamingOwner {
                kind: owner.kind().name(),
                id: owner.id().to_owned(),
                name: owner.name().map(str::to_owned),
            });
            let owners: Vec<NamingOwner> = owners.collect();
            for cell in &row.cells {
                let names_it = |value: &Value| {
                    let mut references = value.references();
                    references.any(|entry| entry == reference.as_str())
                };
                if cell.stored.as_ref().is_ok_and(names_it) {
                    named.push(NamingColumn {
                        reference: reference.clone(),
                        verdict,
                        table: table.table,
                        column: cell.site.name,
                        row: row.key.clone(),
                        owners: owners.clone(),
                    });
                }
            }
        };
        find_naming_rows(connection, schema, &catalog, selection, reference, add).await?;
        if named.len() == before {
            let message = format!(
                "--server {reference}: no server that is served is named so, and no row names it"
            );
            return Err(Failure::new(ErrorKind::Error, message).hint(
                "check how it is spelled; nobody may use it. To name a server of a config.yaml, give \
                 --litellm-config",
            ));
        }
    }
    Ok(named)
}
