//! `ids`: prints the ids of the servers of a `config.yaml`, so that an operator can pin them.

use std::io::{self, Write};

use super::Interrupt;
use super::config::{ConfigFile, config_paths};
use super::run::Run;
use crate::cli::{AnswerFormat, IdsArgs, LITELLM_CONFIG};
use crate::exit::Outcome;
use crate::failure::{Failure, Kind};
use crate::litellm::config::Derivation;
use crate::report::{ConfigIds, json, table};

/// Runs `ids`.
///
/// # Errors
///
/// Why a file could not be read or the answer not be printed.
pub async fn run(args: &IdsArgs, run: &mut Run) -> Result<Outcome, Failure> {
    let mut interrupt = Interrupt::listen()?;
    let paths = config_paths(&args.litellm_config);
    if paths.is_empty() {
        let hint = format!("name the file with --litellm-config, or in {LITELLM_CONFIG}");
        return Err(Failure::new(Kind::Usage, "ids needs LiteLLM's config.yaml").hint(hint));
    }
    let mut servers = Vec::new();
    for (source, path) in paths {
        servers.extend(ConfigFile::read(source, &path)?.servers(Derivation::NEWEST)?);
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
