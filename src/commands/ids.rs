//! `ids`: prints the ids of the servers of a `config.yaml`, so that an operator can pin them.

use std::io::{self, Write};
use std::path::PathBuf;

use clap::Args;

use crate::cli::output::{AnswerArgs, AnswerFormat, FileArgs};
use crate::cli::servers::LITELLM_CONFIG;
use crate::error::{ErrorKind, Failure};
use crate::exit_code::{self, Outcome};
use crate::litellm::config::Derivation;
use crate::process::command_args::{CommandArgs, Work};
use crate::process::invocation::Run;
use crate::process::signals::Interrupt;
use crate::report::{ConfigIds, json, table};
use crate::workflow::config_files::{ConfigFile, config_paths};

const IDS_HELP: &str = "\
Ids are derived as LiteLLM 1.101 and later do it. If the file leaves out `transport`, the id \
depends on the proxy's Python (before 3.11, or not): both ids are printed, that of a newer Python \
first.

To keep an id whatever is edited, pin it: write the line that is printed for it into the server's \
entry (LiteLLM 1.101 or later).";

/// Options of `ids`.
#[derive(Debug, Args)]
#[command(after_help = exit_code::help("ids", IDS_HELP))]
pub struct IdsArgs {
    /// LiteLLM's config.yaml; repeatable [env: MCP_PRUNE_LITELLM_CONFIG, files separated by colons]
    #[arg(long, value_name = "FILE")]
    pub litellm_config: Vec<PathBuf>,
    /// How to print the ids.
    #[command(flatten)]
    pub answer: AnswerArgs,
}

impl CommandArgs for IdsArgs {
    fn name(&self) -> &'static str {
        "ids"
    }

    fn run<'a>(&'a self, this: &'a mut Run) -> Work<'a> {
        Box::pin(run(self, this))
    }

    fn answer_file(&self) -> Option<&FileArgs> {
        Some(&self.answer.file)
    }

    fn litellm_configs(&self) -> Option<&[PathBuf]> {
        Some(&self.litellm_config)
    }
}

/// Runs `ids`.
///
/// # Errors
///
/// Why a file could not be read or the answer not be printed.
pub(crate) async fn run(args: &IdsArgs, run: &mut Run) -> Result<Outcome, Failure> {
    let mut interrupt = Interrupt::listen()?;
    let paths = config_paths(&args.litellm_config);
    if paths.is_empty() {
        let hint = format!("name the file with --litellm-config, or in {LITELLM_CONFIG}");
        return Err(Failure::new(ErrorKind::Usage, "ids needs LiteLLM's config.yaml").hint(hint));
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
