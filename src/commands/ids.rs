//! `ids`: prints the ids of the servers of a `config.yaml`, so that an operator can pin them.

use super::Interrupt;
use super::config::ConfigFile;
use super::output::to_stdout;
use crate::cli::{AnswerFormat, IdsArgs};
use crate::exit::Outcome;
use crate::failure::Failure;
use crate::litellm::config::Derivation;
use crate::report::{ConfigIds, json, table};

/// Today's LiteLLM: pinned ids count, and older ways to derive one give former ids.
const TODAY: Derivation = Derivation {
    may_be_old: false,
    pins: true,
};

/// Runs `ids`.
///
/// # Errors
///
/// Why a file could not be read or the answer not be printed.
pub async fn run(args: &IdsArgs) -> Result<Outcome, Failure> {
    let mut interrupt = Interrupt::listen()?;
    let mut servers = Vec::new();
    for path in &args.litellm_config {
        servers.extend(ConfigFile::read(path)?.servers(TODAY)?);
    }
    let ids = ConfigIds { servers };
    let format = args.format;
    to_stdout(&mut interrupt, move |mut out| match format {
        AnswerFormat::Table => table::write_ids(&ids, &mut out),
        AnswerFormat::Json => json::write_ids(&ids, &mut out),
    })
    .await?;
    Ok(Outcome::Looked { found: false })
}
