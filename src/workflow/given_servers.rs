//! The servers without a row that options name: kept references, and servers of config files.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::Context as _;

use crate::cli::servers::{ServerArgs, kept_sources};
use crate::error::Failure;
use crate::litellm::config::{ConfigServer, Derivation};
use crate::process::text_file::read_text;
use crate::workflow::config_files::{ConfigFile, config_paths};

/// The kept references and the config files that the operator named; nothing by default.
#[derive(Debug, Default)]
pub(crate) struct GivenServers {
    kept: BTreeSet<String>,
    /// Whether a variable says what is kept.
    kept_by_variable: bool,
    /// The config files; `None` where the operator said nothing of config servers.
    configs: Option<Vec<ConfigFile>>,
}

impl GivenServers {
    /// Reads the files that `--keep` and `--litellm-config` name.
    ///
    /// Blank lines and `#` comments of a `--keep` file are skipped. `MCP_PRUNE_LITELLM_CONFIG`
    /// names configs where the command line does not.
    pub(crate) fn read(args: &ServerArgs) -> Result<Self, Failure> {
        let (references, files) = kept_sources(&args.keep);
        let mut kept: BTreeSet<String> = references.into_iter().collect();
        for file in files {
            let text = read_text(file)
                .with_context(|| format!("cannot read --keep @{}", file.display()))?;
            let entries = text
                .lines()
                .map(str::trim)
                .filter(|line| !line.is_empty() && !line.starts_with('#'));
            kept.extend(entries.map(str::to_owned));
        }
        let paths = if args.no_config_servers {
            Vec::new()
        } else {
            config_paths(&args.litellm_config)
        };
        let configs: Result<Vec<ConfigFile>, Failure> = paths
            .iter()
            .map(|(source, path)| ConfigFile::read(*source, path))
            .collect();
        Ok(Self {
            kept,
            kept_by_variable: args.keep_is_of_variable,
            configs: Some(configs?).filter(|c| args.no_config_servers || !c.is_empty()),
        })
    }

    /// Tells whether a setting is switched on in the configs that the operator named; `None` where
    /// none was named, or where they differ.
    pub(crate) fn is_on(&self, section: &str, setting: &str) -> Option<bool> {
        let configs = self.configs.as_ref();
        let configs = configs.filter(|configs| !configs.is_empty())?;
        let mut said = configs.iter().map(|config| config.is_on(section, setting));
        let first = said.next()?;
        said.all(|on| on == first).then_some(first)
    }

    /// Returns the references that `--keep` declares live.
    pub(crate) fn kept(&self) -> &BTreeSet<String> {
        &self.kept
    }

    /// Tells whether a variable says what is kept. Then `--if-deleted` wins.
    pub(crate) fn kept_by_variable(&self) -> bool {
        self.kept_by_variable
    }

    /// Returns whether the operator gave every config, or said that there is none.
    pub(crate) fn knows_configs(&self) -> bool {
        self.configs.is_some()
    }

    /// Returns the config files that the operator named.
    pub(crate) fn config_paths(&self) -> Vec<&Path> {
        let configs = self.configs.iter().flatten();
        configs.map(ConfigFile::path).collect()
    }

    /// Returns the number of config files and their servers; `None` where the operator said nothing
    /// of config servers.
    pub(crate) fn config_servers(
        &self,
        derivation: Derivation,
    ) -> Result<Option<(usize, Vec<ConfigServer>)>, Failure> {
        let Some(configs) = &self.configs else {
            return Ok(None);
        };
        let servers: Result<Vec<_>, Failure> = configs
            .iter()
            .map(|config| config.servers(derivation))
            .collect();
        Ok(Some((configs.len(), servers?.concat())))
    }
}
