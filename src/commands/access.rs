//! `access`: tells who may use which servers and tools, and why; never writes.

use std::path::{Path, PathBuf};

use clap::Args;
use tokio::sync::mpsc::channel;
use tokio::sync::oneshot;

use crate::cli::connection::ConnectionArgs;
use crate::cli::output::{FileArgs, Format, ListReportArgs, without_sql};
use crate::cli::servers::ServerArgs;
use crate::command_line::CommandLine;
use crate::commands::access_output::AnswerOutput;
use crate::commands::access_question::Inquiry;
use crate::error::{ErrorKind, Failure};
use crate::exit_code::{self, Outcome};
use crate::litellm::ids::ToolsetId;
use crate::litellm::owners::OwnerKind;
use crate::litellm::release::Release;
use crate::process::command_args::{CommandArgs, NamedFile, Work};
use crate::process::invocation::Run;
use crate::process::key_file;
use crate::process::log;
use crate::process::signals::Interrupt;
use crate::process::stderr::{indented, note, warn};
use crate::repair::selection::NamedOwner;
use crate::report::count;
use crate::workflow::saved_access::{NewSavedAccess, SavedAccess, cannot_save, unreadable};
use crate::workflow::server_sources::ServerSources;

const CALLERS: &str = "Callers";
const COMPARISON: &str = "Comparison";

const ACCESS_HELP: &str = "\
Access is computed as LiteLLM computes it, from the rows, the servers and the settings; no proxy \
is asked. Without --litellm-config, the servers and settings of a config.yaml are not known: where \
they may change an answer, the report says so.

Examples:
  mcp-prune access key:ci-bot            (what a key may use, level by level)
  mcp-prune access --server github       (who may use a server, through what)
  mcp-prune access --format csv          (everybody, for an access review)
  mcp-prune access --save before.ndjson  (then upgrade, or edit a config)
  mcp-prune access --since before.ndjson (who gained, and who lost)
  mcp-prune access --since before.ndjson --litellm-version 1.110.2

It runs in one read-only transaction, needs only SELECT, and works on a replica.";

/// Options of `access`.
#[derive(Debug, Args)]
#[command(after_help = exit_code::help("access", ACCESS_HELP), mut_arg("format", without_sql))]
pub struct AccessArgs {
    /// Explain the access of this owner's callers; repeatable [default: everybody, briefly]
    ///
    /// KIND is one of: key, team, user, agent, organization, end_user. A team stands for its caller
    /// without a key, a user for the session at the gateway, an agent or an organization for its
    /// keys, an end user for every key that asks on its behalf. Name a key by its alias, its hash,
    /// the 8 characters of the hash that reports show, or LiteLLM's sk-...AB12.
    #[arg(value_name = "KIND:NAME|ID")]
    pub owner: Vec<NamedOwner>,
    /// Where the database is.
    #[command(flatten)]
    pub connection: ConnectionArgs,
    /// Which servers exist besides those of the table.
    #[command(flatten)]
    pub servers: ServerArgs,
    /// Only callers who may use this server, by id, alias or name, and through what; repeatable
    #[arg(long, value_name = "REF", help_heading = CALLERS)]
    pub server: Vec<String>,
    /// List every caller: also keys on behalf of every end user and of every human behind an agent,
    /// everybody on the route of every toolset, and every team with every user who has no key
    #[arg(long, help_heading = CALLERS)]
    pub every_caller: bool,
    /// Ask on behalf of this end user
    #[arg(long = "as", value_name = "end_user:ID", help_heading = CALLERS)]
    pub on_behalf: Option<NamedOwner>,
    /// Ask on the route of this toolset
    #[arg(long, value_name = "ID", help_heading = CALLERS)]
    pub(crate) toolset: Option<ToolsetId>,
    /// Explain the access of this key, read from a file that holds the key alone; - is stdin
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath,
          help_heading = CALLERS)]
    pub key_file: Option<PathBuf>,
    /// Apply the rules of this release of LiteLLM [default: the one that the schema implies]
    #[arg(long, value_name = "VERSION", help_heading = CALLERS)]
    pub litellm_version: Option<Release>,
    /// Save who may use what in a new file, and print nothing
    ///
    /// Save before an upgrade of LiteLLM, an edit of a config or a run of Terraform, and compare
    /// afterwards with --since. The file holds no key and no secret, and only you may read it.
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath,
          help_heading = COMPARISON)]
    pub save: Option<PathBuf>,
    /// Report who gained and who lost servers and tools since this file was saved
    ///
    /// Name the same callers as when it was saved. With --litellm-version it tells who would gain
    /// and who would lose by that release. The exit code is 2 if somebody gained or lost.
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath,
          help_heading = COMPARISON)]
    pub since: Option<PathBuf>,
    /// Compare even if the file is of another database, such as a replica under another host name
    #[arg(long, help_heading = COMPARISON)]
    pub other_database: bool,
    /// How to print the report.
    #[command(flatten)]
    pub report: ListReportArgs,
}

impl CommandArgs for AccessArgs {
    fn name(&self) -> &'static str {
        "access"
    }

    fn run<'a>(&'a self, this: &'a mut Run) -> Work<'a> {
        Box::pin(run(self, this))
    }

    fn answer_file(&self) -> Option<&FileArgs> {
        Some(&self.report.file)
    }

    fn format(&self) -> Option<Format> {
        Some(self.report.format)
    }

    fn connection(&self) -> Option<&ConnectionArgs> {
        Some(&self.connection)
    }

    fn servers(&self) -> Option<&ServerArgs> {
        Some(&self.servers)
    }

    fn key_file(&self) -> Option<&Path> {
        self.key_file.as_deref().and_then(key_file::named_file)
    }

    fn own_files(&self) -> Vec<NamedFile<'_>> {
        let files = [("--save", &self.save), ("--since", &self.since)];
        let named = files.into_iter();
        named
            .filter_map(|(option, file)| Some((option, file.as_deref()?)))
            .collect()
    }
}

impl AccessArgs {
    /// Tells whether callers are listed in an order in which they can be compared.
    pub(super) fn is_ordered(&self) -> bool {
        self.save.is_some() || self.since.is_some()
    }

    /// Returns the owners asked about, that of `--key-file` too.
    fn owners(&self) -> Result<Vec<NamedOwner>, Failure> {
        let key = self.key_file.as_deref().map(key_file::read).transpose()?;
        Ok(self.owner.iter().cloned().chain(key).collect())
    }

    /// Returns the command that compares with a file that these options saved.
    fn comparison(&self, saved: &Path) -> CommandLine {
        let Self {
            owner,
            connection,
            servers,
            server: _,
            every_caller,
            on_behalf,
            toolset,
            key_file,
            // The rules of then are in the file; those of now are what is asked.
            litellm_version: _,
            save: _,
            since: _,
            other_database: _,
            report: _,
        } = self;
        let mut command = CommandLine::new("access");
        for owner in owner {
            command.flag(&owner.argument());
        }
        command.option("--since", saved);
        connection.repeat(&mut command);
        servers.repeat(&mut command);
        command.flag_if("--every-caller", *every_caller);
        command.options("--as", on_behalf.as_ref().map(NamedOwner::argument));
        command.options("--toolset", toolset.as_ref().map(ToolsetId::as_str));
        command.options("--key-file", key_file);
        command
    }
}

/// Builds the error for a project that is asked about.
pub(super) fn no_caller_of_projects() -> Failure {
    let message = "LiteLLM does not look at projects when it decides who may use an MCP server";
    Failure::new(ErrorKind::Usage, message).hint("name a key of the project")
}

/// Entries that wait to be printed.
const WAITING: usize = 256;

/// Runs `access`.
///
/// # Errors
///
/// Why the database could not be read or the report not be written.
pub(crate) async fn run(args: &AccessArgs, run: &mut Run) -> Result<Outcome, Failure> {
    let owners = args.owners()?;
    check(args, &owners)?;
    let sources = ServerSources::of_servers(&args.servers)?;
    let saving = args.save.as_deref().map(NewSavedAccess::beside);
    let saving = saving.transpose()?;
    let since = args.since.as_deref().map(SavedAccess::open).transpose()?;
    let mut interrupt = Interrupt::listen()?;
    let timeout = args.connection.statement_timeout;
    let opening = Box::pin(args.connection.open(timeout, run));
    let mut session = interrupt.guard(opening).await?;
    log::stage(Some("reading who may use what"));
    let (sender, entries) = channel(WAITING);
    let (head_sender, head) = oneshot::channel();
    let (done, mut written) = oneshot::channel();
    let output = AnswerOutput {
        format: args.report.list_format(run)?,
        head,
        entries,
        saving: saving.as_ref().map(NewSavedAccess::writer).transpose()?,
        then: since.as_ref().map(SavedAccess::callers).transpose()?,
        done,
    };
    let id = run.id().to_owned();
    let asking = async {
        let inquiry = Inquiry {
            args,
            owners: &owners,
            run: id,
            sources: &sources,
            since: since.as_ref(),
        };
        let asked = Box::pin(inquiry.ask(&mut session, head_sender, &sender)).await;
        if asked.is_err() {
            // Where nobody prints any more, its own failure says why.
            let _ = sender.send(Err(())).await;
        }
        drop(sender);
        asked
    };
    let printing = run.report.write(&mut interrupt, |out| output.write(out));
    let answered = {
        tokio::pin!(asking, printing);
        // The question comes first: where it failed, the report is cut short because of that.
        tokio::select! {
            biased;
            asked = &mut asking => {
                let printed = printing.await;
                match asked {
                    Err(failure) if failure.kind() != ErrorKind::BrokenPipe => Err(failure),
                    Ok(()) | Err(_) => printed,
                }
            }
            // A signal, or a reader that went away: the query under way is dropped.
            printed = &mut printing => match printed {
                Ok(()) => asking.await,
                Err(failure) => Err(failure),
            },
        }
    };
    // After a signal, the thread that writes may still wait for a reader.
    let written = written.try_recv().unwrap_or_default();
    if let (Some(error), Some(path)) = (written.save_error, &args.save) {
        return Err(cannot_save(path, error));
    }
    if let (Some(error), Some(path)) = (written.since_error, &args.since) {
        return Err(unreadable(path, error));
    }
    answered.map_err(|failure| {
        if failure.kind() == ErrorKind::BrokenPipe && args.since.is_some() {
            // Whoever was not compared may have gained something.
            let message = "nobody read the report to its end, so not every caller was compared";
            Failure::new(ErrorKind::Error, message)
                .hint("read all of the report, or write it to a file with --output")
        } else {
            failure
        }
    })?;
    session.close().await;
    if let (Some(saving), Some(path)) = (saving, &args.save) {
        saving.place()?;
        tell_saved(args, path, written.saved, written.incomplete);
    }
    let counts = written.counts.unwrap_or_default();
    Ok(Outcome::Looked {
        found: counts.tell_a_change(),
    })
}

/// Tells what was saved, and the command that compares with it.
fn tell_saved(args: &AccessArgs, path: &Path, callers: usize, incomplete: usize) {
    let compare = args.comparison(path);
    note(format_args!(
        "saved the access of {} in {}. To tell later who gained and who lost:\n{}",
        count(callers, "caller"),
        path.display(),
        indented(&compare)
    ));
    if incomplete > 0 {
        // A config also holds settings, and the two options exclude each other.
        let instead = if args.servers.no_config_servers {
            " in place of --no-config-servers"
        } else {
            ""
        };
        warn(format_args!(
            "the access of {} is not certain: name the proxy's config with --litellm-config\
             {instead}, then save to another file",
            count(incomplete, "caller")
        ));
    }
}

/// Refuses what no caller can be.
fn check(args: &AccessArgs, owners: &[NamedOwner]) -> Result<(), Failure> {
    let usage = |message: &str, hint: &'static str| {
        Err(Failure::new(ErrorKind::Usage, message.to_owned()).hint(hint))
    };
    if args
        .on_behalf
        .as_ref()
        .is_some_and(|owner| owner.kind != OwnerKind::EndUser)
    {
        return usage(
            "--as takes an end user: keys ask on behalf of nobody else",
            "say --as end_user:ID",
        );
    }
    if owners.iter().any(|owner| owner.kind == OwnerKind::Project) {
        return Err(no_caller_of_projects());
    }
    let is_end_user = |owner: &NamedOwner| owner.kind == OwnerKind::EndUser;
    if args.on_behalf.is_some() && owners.iter().any(is_end_user) {
        return usage(
            "--as and end_user: both name an end user",
            "name a key, and the end user with --as",
        );
    }
    Ok(())
}
