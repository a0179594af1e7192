//! Server knowledge from the command line and from a saved plan, and the catalog made of it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::cli::filters::PlaceArgs;
use crate::cli::repair::RepairArgs;
use crate::cli::servers::{PreviousArgs, ServerArgs};
use crate::db::schema::Schema;
use crate::db::servers;
use crate::db::session::Connection;
use crate::error::{ErrorKind, Failure};
use crate::litellm::config::{PresentConfigs, Renewals};
use crate::litellm::reference_sites::Choice;
use crate::litellm::server::ConfigServers;
use crate::litellm::server_catalog::{IdHistory, Resolution, ServerCatalog};
use crate::process::stderr::warn;
use crate::repair::changeset::Header;
use crate::workflow::config_files::{ConfigFile, PathSource};
use crate::workflow::given_servers::GivenServers;

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
}

impl ServerSources {
    /// Tells whether a setting is switched on in a config that the operator named; `None` where
    /// none was named.
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
        })
    }

    /// Reads every file that the options name. A scan has no `repair`, and so no remaps.
    pub(crate) fn of_options(
        servers: &ServerArgs,
        previous: &PreviousArgs,
        repair: Option<&RepairArgs>,
        filters: &PlaceArgs,
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
        })
    }

    /// Builds the catalog from these and the rows of the server table.
    pub(crate) async fn catalog(
        &self,
        connection: &mut Connection,
        schema: &Schema,
    ) -> Result<ServerCatalog, Failure> {
        let told = servers::told(connection, schema).await?;
        let config = match self.given.config_servers(schema.derivation())? {
            None => ConfigServers::Unknown(told.signs.clone()),
            Some((_, servers)) => ConfigServers::Known(servers),
        };
        let renewals = self.renewals(&config, schema)?;
        let mut history = self.history.clone();
        history.unclear.extend(renewals.unclear);
        history.removed.extend(renewals.removed);
        let catalog = ServerCatalog::new(&told.servers, self.given.kept().clone(), config)
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
        let catalog = catalog.with_toolsets(told.toolsets);
        Ok(match &self.references {
            None => catalog,
            Some(references) => catalog.asked_about(references.clone()),
        })
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
