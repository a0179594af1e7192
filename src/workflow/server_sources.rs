//! Server knowledge from the command line and from a saved plan, and the catalog made of it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::OnceLock;

use crate::cli::filters::FilterArgs;
use crate::cli::repair::RepairArgs;
use crate::cli::servers::{DeletionArgs, PreviousArgs, ServerArgs};
use crate::db::schema::Schema;
use crate::db::servers::{self, KnownServers};
use crate::db::session::Connection;
use crate::error::{ErrorKind, Failure};
use crate::litellm::config::{PresentConfigs, Renewals};
use crate::litellm::deleted_servers::{BadDeletion, DeletedServers};
use crate::litellm::known_names::KnownNames;
use crate::litellm::reference_sites::Choice;
use crate::litellm::server::ConfigServers;
use crate::litellm::server_catalog::{IdHistory, Resolution, ServerCatalog};
use crate::process::stderr::warn;
use crate::repair::changeset::Header;
use crate::repair::selection::Selection;
use crate::shell::quoted;
use crate::workflow::config_files::{ConfigFile, PathSource};
use crate::workflow::given_servers::GivenServers;
use crate::workflow::live_references::NamingRows;

/// Server knowledge from the command line or from a saved plan: servers without a row, remaps, and
/// the references that are meant. It is read once, and does not change afterwards. By default
/// nothing is known besides the rows.
#[derive(Debug, Default)]
pub(crate) struct ServerSources {
    given: GivenServers,
    /// The server that replaces each deleted one.
    remaps: BTreeMap<String, String>,
    /// The configs from before an edit that gave servers new ids.
    previous: Vec<ConfigFile>,
    /// What is known of ids that no config yields.
    history: IdHistory,
    /// The references that `--reference` names; `None` means all.
    references: Option<BTreeSet<String>>,
    /// The references that `--if-deleted` names.
    if_deleted: BTreeSet<String>,
    /// The servers that they name. They are looked up once, so that a run never takes another
    /// server for one of them.
    deleted: OnceLock<DeletedServers>,
}

impl ServerSources {
    /// Tells whether a setting is switched on in the configs that the operator named; `None` where
    /// none was named, or where they differ.
    pub(crate) fn is_on(&self, section: &str, setting: &str) -> Option<bool> {
        self.given.is_on(section, setting)
    }

    /// Reads the files that the options about servers name, for a command that repairs nothing.
    pub(crate) fn of_servers(servers: &ServerArgs) -> Result<Self, Failure> {
        Ok(Self {
            given: GivenServers::read(servers)?,
            remaps: BTreeMap::new(),
            previous: Vec::new(),
            history: IdHistory::default(),
            references: None,
            if_deleted: BTreeSet::new(),
            deleted: OnceLock::new(),
        })
    }

    /// Reads every file that the options name. A scan has no `repair`, and so no remaps.
    pub(crate) fn of_options(
        servers: &ServerArgs,
        previous: &PreviousArgs,
        deletions: &DeletionArgs,
        repair: Option<&RepairArgs>,
        filters: &FilterArgs,
    ) -> Result<Self, Failure> {
        let given = GivenServers::read(servers)?;
        let remaps = repair.map(RepairArgs::remaps).transpose()?;
        let paths = previous.previous_litellm_config.iter();
        let configs: Result<Vec<ConfigFile>, Failure> = paths
            .map(|path| ConfigFile::read(PathSource::Previous, path))
            .collect();
        Ok(Self {
            given,
            remaps: remaps.unwrap_or_default(),
            previous: configs?,
            history: IdHistory {
                prune: previous.prune_config_ids,
                ..IdHistory::default()
            },
            references: filters.references(),
            if_deleted: deletions.if_deleted.iter().cloned().collect(),
            deleted: OnceLock::new(),
        })
    }

    /// Reads the files that the options about servers name, and takes everything else from the plan
    /// with this header. A plan does not hold the servers of config files.
    pub(crate) fn of_plan(servers: &ServerArgs, plan: &Header) -> Result<Self, Failure> {
        let planned = plan.planned_with.as_ref();
        let references = planned.map(|planned| planned.references.clone());
        Ok(Self {
            given: GivenServers::read(servers)?,
            remaps: plan.remaps.clone(),
            previous: Vec::new(),
            history: plan.id_history.clone(),
            references: references.filter(|references| !references.is_empty()),
            if_deleted: BTreeSet::new(),
            deleted: OnceLock::from(plan.if_deleted.clone()),
        })
    }

    /// Builds the catalog from these and the rows of the server table.
    pub(crate) async fn catalog(
        &self,
        connection: &mut Connection,
        schema: &Schema,
    ) -> Result<ServerCatalog, Failure> {
        let mut told = servers::told(connection, schema).await?;
        let (groups, toolsets) = (&mut told.access_group_names, &mut told.toolset_names);
        let (groups, toolsets) = (std::mem::take(groups), std::mem::take(toolsets));
        let config = match self.given.config_servers(schema.derivation())? {
            None => ConfigServers::Unknown(told.signs.clone()),
            Some((_, servers)) => ConfigServers::Known(servers),
        };
        let names =
            KnownNames::of_servers(&told.servers, config.servers()).with_groups(groups, toolsets);
        let deleted = self.deleted(connection, schema, &told, &config).await?;
        let renewals = self.renewals(&config, schema)?;
        let mut history = self.history.clone();
        history.unclear.extend(renewals.unclear);
        history.removed.extend(renewals.removed);
        let kept = self.kept(&deleted, &told, &config)?;
        let catalog = ServerCatalog::as_if_deleted(&told.servers, kept, config, deleted)
            .with_signs(told.signs)
            .with_history(history);
        let mut remaps = renewals.remaps;
        remaps.retain(|old, _| {
            matches!(
                catalog.resolve(old),
                Resolution::Stale | Resolution::MaybeEdited
            )
        });
        remaps.extend(self.remaps.clone());
        let catalog = catalog.remapping(&remaps).map_err(|bad| {
            Failure::new(ErrorKind::Refused, format!("cannot remap: {bad}"))
                .hint("remap from a deleted server to one that is served; scan tells them apart")
        })?;
        let catalog = catalog.with_toolsets(told.toolsets).with_names(names);
        Ok(match &self.references {
            None => catalog,
            Some(references) => catalog.asked_about(references.clone()),
        })
    }

    /// Looks up the servers that are taken as deleted, and later makes sure that they are the same.
    async fn deleted(
        &self,
        connection: &mut Connection,
        schema: &Schema,
        told: &KnownServers,
        config: &ConfigServers,
    ) -> Result<DeletedServers, Failure> {
        let (rows, entries) = (&told.servers, config.servers());
        let found = match self.deleted.get() {
            Some(known) => known.check_same(rows, entries).map(|()| known.clone()),
            None => DeletedServers::named(&self.if_deleted, rows, entries),
        };
        let deleted = match found {
            Ok(deleted) => deleted,
            Err(BadDeletion::NoServer(reference)) => {
                let catalog = ServerCatalog::new(rows, BTreeSet::new(), config.clone())
                    .with_signs(told.signs.clone());
                return Err(no_server(connection, schema, &catalog, &reference).await?);
            }
            Err(bad) => return Err(bad_deletion(&bad)),
        };
        Ok(self.deleted.get_or_init(|| deleted).clone())
    }

    /// Returns the references that are kept. Refuses one that means a server which is taken as
    /// deleted; if a variable keeps it, leaves it out.
    fn kept(
        &self,
        deleted: &DeletedServers,
        told: &KnownServers,
        config: &ConfigServers,
    ) -> Result<BTreeSet<String>, Failure> {
        let mut kept = self.given.kept().clone();
        let means = |reference: &str| deleted.meant_by(reference, &told.servers, config.servers());
        if self.given.kept_by_variable() {
            kept.retain(|reference| means(reference).is_none());
        }
        let mut contradicted = kept.iter().filter_map(|r| Some((r, means(r)?)));
        if let Some((reference, server)) = contradicted.next() {
            let message = format!(
                "--keep {reference} contradicts --if-deleted: one takes server {server} for live, \
                 the other for deleted"
            );
            return Err(Failure::new(ErrorKind::Usage, message).hint("leave one of them out"));
        }
        drop(contradicted);
        Ok(kept)
    }

    /// Returns the server that replaces each deleted one.
    pub(crate) fn remaps(&self) -> &BTreeMap<String, String> {
        &self.remaps
    }

    /// Returns whether the operator gave every config, or said that there is none.
    pub(crate) fn knows_configs(&self) -> bool {
        self.given.knows_configs()
    }

    /// Returns the sites that a command looks at where the operator names none.
    pub(crate) fn usual_sites(&self) -> Choice {
        Choice {
            configs_known: self.knows_configs(),
            ..Choice::default()
        }
    }

    /// Returns the config files that the operator named.
    pub(crate) fn config_paths(&self) -> Vec<&Path> {
        self.given.config_paths()
    }

    /// Compares the previous configs with the servers of now.
    fn renewals(&self, now: &ConfigServers, schema: &Schema) -> Result<Renewals, Failure> {
        if self.previous.is_empty() {
            return Ok(Renewals::default());
        }
        let previous: Result<Vec<_>, Failure> = self
            .previous
            .iter()
            .map(|config| config.servers(schema.derivation()))
            .collect();
        for server in now.servers().iter().filter(|server| server.ids.len() > 1) {
            warn(format_args!(
                "config server {} may have any of {} ids, so references to its old ids are held: \
                 pin its server_id",
                server.name,
                server.ids.len()
            ));
        }
        let configs = PresentConfigs::of(self.given.config_paths().len());
        Ok(Renewals::between(
            &previous?.concat(),
            now.servers(),
            configs,
        ))
    }
}

/// Builds the error for a server that cannot be taken as deleted.
fn bad_deletion(bad: &BadDeletion) -> Failure {
    match bad {
        BadDeletion::Reserved(word) => {
            let message =
                format!("--if-deleted {word}: this is a word that LiteLLM reserves, and no server");
            Failure::new(ErrorKind::Error, message).hint("name a server by its id, alias or name")
        }
        BadDeletion::NoServer(reference) => unknown_server(reference),
        BadDeletion::Several(reference, ids) => {
            let message = format!(
                "--if-deleted {reference} is ambiguous: it is the name of {}",
                ids.join(", ")
            );
            let first = ids.first().map_or("", String::as_str);
            Failure::new(ErrorKind::Error, message).hint(format_args!(
                "name one by its id, as in --if-deleted {}",
                quoted(first)
            ))
        }
        BadDeletion::Changed(was, is) => {
            let message = format!("server {was} is taken as deleted, and has become {is}");
            Failure::new(ErrorKind::Moved, message)
                .hint("nothing was written; make sure that it is to be deleted, and run it again")
        }
    }
}

fn unknown_server(reference: &str) -> Failure {
    let message = format!("--if-deleted {reference}: no server has this id, alias or name");
    Failure::new(ErrorKind::Error, message)
        .hint("check how it is spelled; to name a server of a config.yaml, give --litellm-config")
}

/// Builds the error for a reference that names no server: rows may name it all the same.
async fn no_server(
    connection: &mut Connection,
    schema: &Schema,
    catalog: &ServerCatalog,
    reference: &str,
) -> Result<Failure, Failure> {
    let is_stale = match catalog.resolve(reference) {
        Resolution::Stale | Resolution::MaybeEdited | Resolution::MaybeRenewed => true,
        Resolution::Live
        | Resolution::Inactive
        | Resolution::Sentinel
        | Resolution::Kept
        | Resolution::Remapped
        | Resolution::Unverified
        | Resolution::OnlyAName
        | Resolution::Passed => false,
    };
    if !is_stale {
        return Ok(unknown_server(reference));
    }
    let everything = Selection::default();
    let named = NamingRows::of(connection, schema, catalog, &everything, reference).await?;
    if named.is_empty() {
        return Ok(unknown_server(reference));
    }
    let message = format!("--if-deleted {reference}: it is stale already, {named}");
    let hint = "leave --if-deleted out: scan and fix treat it as stale without it";
    Ok(Failure::new(ErrorKind::Error, message).hint(hint))
}
