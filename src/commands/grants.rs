//! `grants`: prints the privileges that a role needs on this very database.

use clap::{Args, ValueEnum};

use crate::cli::connection::ConnectionArgs;
use crate::cli::filters::Sites;
use crate::commands::completions;
use crate::db::purpose::Purpose;
use crate::error::Failure;
use crate::exit_code::{self, Outcome};
use crate::litellm::reference_sites::Choice;
use crate::process::command_args::{CommandArgs, Work};
use crate::process::invocation::Run;
use crate::process::log;
use crate::process::signals::Interrupt;
use crate::workflow::filters::chosen_sites;

/// Options of `grants`.
#[derive(Debug, Args)]
#[command(after_help = exit_code::help("grants", ""))]
pub struct GrantsArgs {
    /// Where the database is.
    #[command(flatten)]
    pub connection: ConnectionArgs,
    /// The role that will run mcp-prune
    #[arg(long, value_name = "NAME", default_value = "mcp_prune")]
    pub role: String,
    /// The command that the role will run
    #[arg(long = "for", value_enum, value_name = "COMMAND", default_value_t)]
    pub purpose: GrantsFor,
    /// The sites that the role will work on, separated by commas
    ///
    /// Two sites are left out unless you name them, because their columns hold secrets: `defaults`
    /// needs SELECT on such a column, and `credentials`, to repair, needs SELECT, INSERT and DELETE
    /// on whole rows.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "LIST",
          default_values_t = [Sites::Permissions, Sites::AccessGroups, Sites::Toolsets])]
    pub sites: Vec<Sites>,
}

impl CommandArgs for GrantsArgs {
    fn name(&self) -> &'static str {
        "grants"
    }

    fn run<'a>(&'a self, this: &'a mut Run) -> Work<'a> {
        Box::pin(run(self, this))
    }

    fn connection(&self) -> Option<&ConnectionArgs> {
        Some(&self.connection)
    }
}

/// The command that a role will run.
#[derive(Debug, Clone, Copy, Default, ValueEnum)]
pub enum GrantsFor {
    /// Only scan, which writes nothing
    #[default]
    Scan,
    /// Also fix and undo
    Fix,
    /// Only access, which writes nothing; --sites does not go with it
    Access,
}

/// Runs `grants`.
///
/// # Errors
///
/// Why the database could not be read or the answer not be printed.
pub(crate) async fn run(args: &GrantsArgs, run: &Run) -> Result<Outcome, Failure> {
    let mut interrupt = Interrupt::listen()?;
    let asking = async {
        let mut session = args
            .connection
            .open(args.connection.statement_timeout, run)
            .await?;
        log::stage(Some("reading the schema"));
        let database = session.database().clone();
        let places = chosen_sites(&args.sites, Choice::default());
        let mut open = session.begin(Purpose::Read, &places).await?;
        let (_, schema) = open.parts();
        let grants = match args.purpose {
            GrantsFor::Scan => schema.grants(&database, Purpose::Read, &args.role),
            GrantsFor::Fix => schema.grants(&database, Purpose::Write, &args.role),
            GrantsFor::Access => schema.access_grants(&database, &args.role),
        };
        open.rollback().await?;
        session.close().await;
        Ok(grants)
    };
    let grants = interrupt.guard(Box::pin(asking)).await?;
    completions::printed(format!("{}\n", grants.join("\n")).as_bytes())
}
