//! `ids`: prints the ids of the servers of a `config.yaml`, so that an operator can pin them.

use std::io::{self, Write};

use super::Interrupt;
use super::config::ConfigFile;
use super::run::Run;
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
pub async fn run(args: &IdsArgs, run: &mut Run) -> Result<Outcome, Failure> {
    let mut interrupt = Interrupt::listen()?;
    let mut servers = Vec::new();
    for path in &args.litellm_config {
        servers.extend(ConfigFile::read(path)?.servers(TODAY)?);
    }
    let ids = ConfigIds { servers };
    let format = args.answer.format;
    let look = args.answer.file.look(run, &io::stdout());
    let write = move |mut out: &mut dyn Write| match format {
        AnswerFormat::Table => table::write_ids(&ids, look, &mut out),
        AnswerFormat::Json => json::write_ids(&ids, &mut out),
    };
    run.report.write(&mut interrupt, write).await?;
    Ok(Outcome::Looked { found: false })
}
