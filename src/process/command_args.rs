//! What a run needs to know of the command line of its subcommand.

use std::path::{Path, PathBuf};
use std::pin::Pin;

use crate::cli::connection::ConnectionArgs;
use crate::cli::output::{FileArgs, Format, OutputArgs};
use crate::cli::servers::{PreviousArgs, ServerArgs, kept_sources};
use crate::error::Failure;
use crate::exit_code::Outcome;
use crate::process::invocation::Run;

/// A file that an option names, with the name of the option.
pub(crate) type NamedFile<'a> = (&'static str, &'a Path);

/// The work of a subcommand.
pub(crate) type Work<'a> = Pin<Box<dyn Future<Output = Result<Outcome, Failure>> + 'a>>;

/// The arguments of a subcommand. Every default is that of a command without such an option.
pub(crate) trait CommandArgs {
    /// Returns the command's name.
    fn name(&self) -> &'static str;

    /// Runs the command.
    fn run<'a>(&'a self, run: &'a mut Run) -> Work<'a>;

    /// Returns the output options of a command that makes a report.
    fn output(&self) -> Option<&OutputArgs> {
        None
    }

    /// Returns the option for the file of the answer.
    fn answer_file(&self) -> Option<&FileArgs> {
        self.output().map(|output| &output.file)
    }

    /// Returns the format of the report, in which an error may be the last line.
    fn format(&self) -> Option<Format> {
        self.output().map(|output| output.format)
    }

    /// Tells whether findings and held references count as success.
    fn exit_zero(&self) -> bool {
        false
    }

    /// Lists the files that only this command writes, and the changeset that it reads.
    fn own_files(&self) -> Vec<NamedFile<'_>> {
        Vec::new()
    }

    /// Returns the file of `--key-file`; `None` where it is standard input.
    fn key_file(&self) -> Option<&Path> {
        None
    }

    /// Returns the file of `--remap-file`.
    fn remap_file(&self) -> Option<&Path> {
        None
    }

    /// Returns the file of `--baseline`.
    fn baseline(&self) -> Option<&Path> {
        None
    }

    /// Returns the connection options of a command that connects to a database.
    fn connection(&self) -> Option<&ConnectionArgs> {
        None
    }

    /// Returns the options about servers without a row.
    fn servers(&self) -> Option<&ServerArgs> {
        None
    }

    /// Returns the options about the configs from before.
    fn previous(&self) -> Option<&PreviousArgs> {
        None
    }

    /// Returns the config.yaml files that options name, for a command that reads any.
    fn litellm_configs(&self) -> Option<&[PathBuf]> {
        let servers = self.servers().filter(|servers| !servers.no_config_servers);
        servers.map(|servers| servers.litellm_config.as_slice())
    }
}

impl dyn CommandArgs + '_ {
    /// Returns the file of `--output`; `None` where the answer goes to stdout.
    pub(crate) fn file(&self) -> Option<&Path> {
        let file = self.answer_file()?.output.as_deref();
        file.filter(|file| *file != Path::new("-"))
    }

    /// Lists the files that the command writes, and the changeset that it reads.
    pub(crate) fn files(&self) -> Vec<NamedFile<'_>> {
        let metrics = self.output().and_then(|args| args.metrics_file.as_deref());
        let mut files = Vec::new();
        files.extend(self.file().map(|file| ("--output", file)));
        files.extend(metrics.map(|file| ("--metrics-file", file)));
        files.extend(self.own_files());
        files
    }

    /// Lists the files that options name and that are only read.
    ///
    /// Not those of [`CommandArgs::litellm_configs`], which may come from the environment as well.
    pub(crate) fn files_read(&self) -> Vec<NamedFile<'_>> {
        let url = self.connection();
        let url = url.and_then(|args| args.db_url_file.as_deref());
        let mut files = Vec::new();
        files.extend(url.map(|file| ("--db-url-file", file)));
        files.extend(self.key_file().map(|file| ("--key-file", file)));
        files.extend(self.remap_file().map(|file| ("--remap-file", file)));
        files.extend(self.baseline().map(|file| ("--baseline", file)));
        let previous = self.previous().into_iter();
        let previous = previous.flat_map(|args| &args.previous_litellm_config);
        files.extend(previous.map(|file| ("--previous-litellm-config", file.as_path())));
        let keep = self.servers().map(|servers| kept_sources(&servers.keep).1);
        files.extend(keep.into_iter().flatten().map(|file| ("--keep", file)));
        files
    }
}
