//! Options of planning that are given again when the plan is carried out. They may repeat what the
//! plan says, but not contradict it.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::Context as _;
use sha2::{Digest as _, Sha256};

use crate::commands::fix::FixArgs;
use crate::error::{ErrorKind, Failure};
use crate::litellm::config::entry::hex;
use crate::litellm::reference_sites::Group;
use crate::repair::changeset::{ConfigName, EmptyChoice, Header, PlannedWith};
use crate::repair::selection::NamedOwner;
use crate::workflow::server_sources::ServerSources;

impl FixArgs {
    /// Returns what a plan keeps of these options; `None` if no plan is saved.
    pub(crate) fn planned_with(
        &self,
        sources: &ServerSources,
    ) -> Result<Option<PlannedWith>, Failure> {
        if self.repair.plan_out.is_none() {
            return Ok(None);
        }
        Ok(Some(PlannedWith {
            configs: named(sources.config_paths())?,
            previous_configs: previous(self)?,
            no_config_servers: self.servers.no_config_servers,
            ..self.planned_filters()
        }))
    }

    /// Refuses options that contradict the plan with this header, and server sources without the
    /// configs that it was made with.
    pub(crate) fn check_plan(&self, plan: &Header, sources: &ServerSources) -> Result<(), Failure> {
        self.check_repeated(plan)?;
        match &plan.planned_with {
            Some(planned) => check_configs(planned, sources),
            None => Ok(()),
        }
    }

    /// Refuses options that contradict the plan with this header.
    ///
    /// A plan of an older version does not hold every option. An option that it does not hold
    /// cannot be repeated.
    fn check_repeated(&self, plan: &Header) -> Result<(), Failure> {
        let repair = &self.repair;
        let otherwise = |option: &str, planned: &str| {
            let message =
                format!("{option} says otherwise than the plan, which was made {planned}");
            Err(Failure::new(ErrorKind::Usage, message)
                .hint(format_args!("leave {option} out, or plan anew")))
        };
        if repair.empty.on_empty.is_some() {
            let choice = EmptyChoice::from(self.policy());
            if let Some(planned) = plan.on_empty.filter(|planned| *planned != choice) {
                return otherwise("--on-empty", &format!("with {planned}"));
            }
        }
        if repair.delete_rows && !plan.delete_rows {
            return otherwise("--delete-rows", "without it");
        }
        if repair.previous.prune_config_ids && !plan.id_history.prune {
            return otherwise("--prune-config-ids", "without it");
        }
        for (old, new) in self.repair.remaps()? {
            match plan.remaps.get(&old) {
                Some(planned) if *planned == new => {}
                Some(planned) => return otherwise("--remap", &format!("with {old}={planned}")),
                None => return otherwise("--remap", &format!("without one of {old}")),
            }
        }
        let given: BTreeSet<String> = repair.deletions.if_deleted.iter().cloned().collect();
        let planned = plan.if_deleted.references();
        if !given.is_empty() && given != planned {
            let planned: Vec<String> = planned.into_iter().collect();
            if planned.is_empty() {
                return otherwise("--if-deleted", "without it");
            }
            let planned = planned.join(", ");
            return otherwise("--if-deleted", &format!("with --if-deleted {planned}"));
        }
        let given = self.planned_filters();
        let planned = plan.planned_with.as_ref();
        for (option, given, planned) in [
            ("--sites", given.sites, planned.map(|p| &p.sites)),
            ("--owner", given.owners, planned.map(|p| &p.owners)),
            (
                "--reference",
                given.references,
                planned.map(|p| &p.references),
            ),
            ("--row", given.rows, planned.map(|p| &p.rows)),
        ] {
            match planned {
                _ if given.is_empty() => {}
                Some(planned) if *planned == given => {}
                Some(planned) if planned.is_empty() => return otherwise(option, "without it"),
                Some(planned) => {
                    let planned: Vec<&str> = planned.iter().map(String::as_str).collect();
                    return otherwise(option, &format!("with {option} {}", planned.join(", ")));
                }
                None => return Err(unknown(option)),
            }
        }
        let given = previous(self)?;
        match planned.map(|planned| &planned.previous_configs) {
            _ if given.is_empty() => Ok(()),
            Some(planned) if ConfigName::are_same(planned, &given) => Ok(()),
            Some(planned) if planned.is_empty() => {
                otherwise("--previous-litellm-config", "without it")
            }
            Some(planned) => otherwise(
                "--previous-litellm-config",
                &format!("with {} as it was then", files(planned)),
            ),
            None => Err(unknown("--previous-litellm-config")),
        }
    }

    fn planned_filters(&self) -> PlannedWith {
        let filters = &self.filters;
        let sites = filters.sites.iter().map(|site| Group::from(*site).name());
        PlannedWith {
            sites: sites.map(str::to_owned).collect(),
            owners: filters.owner.iter().map(NamedOwner::argument).collect(),
            references: filters.reference.iter().cloned().collect(),
            rows: filters.row.iter().cloned().collect(),
            ..PlannedWith::default()
        }
    }
}

/// Fails if the servers that a plan was made with are not known: its configs must be given again.
fn check_configs(planned: &PlannedWith, given: &ServerSources) -> Result<(), Failure> {
    let usage = |message: String, hint: String| {
        Err(Failure::new(ErrorKind::Usage, message)
            .hint(format_args!("nothing was written; {hint}")))
    };
    let paths = given.config_paths();
    if !planned.configs.is_empty() && paths.is_empty() {
        let files = files(&planned.configs);
        return usage(
            format!("the plan was made with the servers of {files}, and no config is given now"),
            "say --litellm-config for each of them again".to_owned(),
        );
    }
    if planned.no_config_servers && (!paths.is_empty() || !given.knows_configs()) {
        return usage(
            "the plan was made with --no-config-servers".to_owned(),
            "say --no-config-servers again, or plan anew with the config files".to_owned(),
        );
    }
    Ok(())
}

fn unknown(option: &str) -> Failure {
    let message = format!("the plan is of an older mcp-prune and does not say its {option}");
    Failure::new(ErrorKind::Usage, message).hint(format_args!("leave {option} out, or plan anew"))
}

fn files(configs: &[ConfigName]) -> String {
    let files: Vec<&str> = configs.iter().map(|config| config.file.as_str()).collect();
    files.join(", ")
}

fn previous(args: &FixArgs) -> Result<Vec<ConfigName>, Failure> {
    let paths = &args.repair.previous.previous_litellm_config;
    named(paths.iter().map(AsRef::as_ref).collect())
}

fn named(paths: Vec<&Path>) -> Result<Vec<ConfigName>, Failure> {
    let named = paths.into_iter().map(|path| {
        let bytes =
            std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok(ConfigName {
            file: path.display().to_string(),
            sha256: hex(&Sha256::digest(&bytes)),
        })
    });
    named.collect()
}
