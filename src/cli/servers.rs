//! Options that tell of servers without a row.

use std::path::{Path, PathBuf};

use clap::Args;

use crate::cli::site_variables::switch;

/// The variable with the configs, separated as in `PATH`.
pub(crate) const LITELLM_CONFIG: &str = "MCP_PRUNE_LITELLM_CONFIG";

const SERVERS: &str = "Servers";

/// Which servers exist besides those of the table.
#[derive(Debug, Args)]
pub struct ServerArgs {
    /// Read the MCP servers of LiteLLM's config.yaml; repeatable, one per region or environment
    /// [env: MCP_PRUNE_LITELLM_CONFIG, files separated by colons]
    ///
    /// Server ids are derived as LiteLLM derives them. `include:` is followed, and
    /// `os.environ/NAME` is read from this environment.
    // Not read by clap: only the variable may hold several files.
    #[arg(long, value_name = "FILE", help_heading = SERVERS)]
    pub litellm_config: Vec<PathBuf>,
    /// Declare that no config.yaml names MCP servers
    ///
    /// Servers of a config.yaml have no row in the database. So without this option or
    /// --litellm-config, a name or a 32-digit id that no row has is only reported as `unverified`.
    #[arg(long, env = "MCP_PRUNE_NO_CONFIG_SERVERS", hide_env_values = true,
          value_parser = switch, help_heading = SERVERS)]
    pub no_config_servers: bool,
    /// Treat REF as a live server; repeatable, @FILE reads one REF per line
    #[arg(long, env = "MCP_PRUNE_KEEP", hide_env_values = true, value_name = "REF|@FILE",
          help_heading = SERVERS)]
    pub keep: Vec<String>,
    /// Whether a variable says what is kept. Then `--if-deleted` wins.
    #[arg(skip)]
    pub keep_is_of_variable: bool,
}

/// Which servers are to be deleted.
#[derive(Debug, Args)]
pub struct DeletionArgs {
    /// Treat this server as if it were deleted already, by id, alias or name; repeatable
    ///
    /// Use it before you delete the server in LiteLLM: scan tells who will lose or gain something,
    /// and fix removes the references to it, so that nobody meets a stale one. A name that another
    /// server has too stays live.
    #[arg(long, value_name = "REF", help_heading = SERVERS)]
    pub if_deleted: Vec<String>,
}

/// What became of config servers that were edited or removed.
#[derive(Debug, Args)]
pub struct PreviousArgs {
    /// LiteLLM's config.yaml from before an edit; repeatable. References to its servers are
    /// remapped to the ids that the same servers have in --litellm-config
    #[arg(long, value_name = "FILE", help_heading = SERVERS)]
    pub previous_litellm_config: Vec<PathBuf>,
    /// Treat ids that look like a config server's, but are in no given config, as stale
    ///
    /// Without this option they are held: the server may have been edited, which gave it a new id,
    /// and if the edit is rolled back the old id is good again.
    #[arg(long, help_heading = SERVERS)]
    pub prune_config_ids: bool,
}

/// Splits the values of `--keep` into references and files of references.
#[must_use]
pub(crate) fn kept_sources(keep: &[String]) -> (Vec<String>, Vec<&Path>) {
    let mut references = Vec::new();
    let mut files = Vec::new();
    for entry in keep {
        match entry.strip_prefix('@') {
            Some(file) => files.push(Path::new(file)),
            None => references.push(entry.clone()),
        }
    }
    (references, files)
}
