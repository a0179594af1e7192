//! The baselines of a scan: the file that it reads, and the file that it writes.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write as _};
use std::path::Path;

use crate::cli::filters::{BaselineArgs, FilterArgs};
use crate::command_line::CommandLine;
use crate::database::Database;
use crate::db::schema::Schema;
use crate::error::{ErrorKind, Failure};
use crate::litellm::reference_sites::ScannedTable;
use crate::process::atomic_file::AtomicFile;
use crate::process::text_file::read_text;
use crate::repair::baseline::{BadBaseline, Baseline, BaselineScope, NewBaseline};
use crate::repair::changeset::Identity;
use crate::repair::plan::RowPlan;
use crate::report::baseline::{BaselineFacts, ReadBaseline, WrittenBaseline};
use crate::report::collected_plans::group_of;
use crate::report::summary::FindingGroup;

/// The largest baseline, in bytes: what is written can be read again.
const MOST_BYTES: usize = 64 << 20;

/// The baselines of a scan.
pub(crate) struct BaselineFiles<'a> {
    args: &'a BaselineArgs,
    read: Option<Baseline>,
    /// The file to be written, and what will be in it.
    new: Option<(AtomicFile, NewBaseline)>,
    /// The database of the baseline that is to be replaced.
    replaced: Option<Identity>,
    acknowledged: BTreeMap<FindingGroup, usize>,
}

impl<'a> BaselineFiles<'a> {
    /// Reads the one file, and makes sure that the other can be written.
    ///
    /// # Errors
    ///
    /// Where a file is no baseline, or cannot be read or written.
    pub(crate) fn open(args: &'a BaselineArgs) -> Result<Self, Failure> {
        let BaselineArgs {
            baseline,
            write_baseline,
            other_database: _,
        } = args;
        let read = baseline
            .as_deref()
            .map(|path| read_baseline(path, "--baseline"));
        let new = write_baseline.as_deref().map(|path| {
            let new = AtomicFile::beside(path);
            let new = new.map_err(|error| cannot_write(path, error));
            new.map(|new| (new, NewBaseline::default()))
        });
        // A file with nothing in it is nothing to lose.
        let has_text = |path: &&Path| path.metadata().is_ok_and(|file| file.len() > 0);
        let replaced = write_baseline.as_deref().filter(has_text);
        let replaced = replaced.map(|path| {
            let old = read_baseline(path, "--write-baseline");
            old.map(|old| old.database().clone())
        });
        Ok(Self {
            args,
            read: read.transpose()?,
            new: new.transpose()?,
            replaced: replaced.transpose()?,
            acknowledged: BTreeMap::new(),
        })
    }

    /// Refuses a baseline of another database: one to be read, and one to be replaced.
    pub(crate) fn check_database(&self, here: &Database) -> Result<(), Failure> {
        let BaselineArgs {
            baseline,
            write_baseline,
            other_database,
        } = self.args;
        let read = self.read.as_ref().map(Baseline::database);
        let here = here.identity();
        for (option, path, made) in [
            ("--baseline", baseline, read),
            ("--write-baseline", write_baseline, self.replaced.as_ref()),
        ] {
            let (Some(path), Some(made)) = (path, made) else {
                continue;
            };
            if *other_database || made.may_be(&here) {
                continue;
            }
            let path = path.display();
            let message = format!("{option} {path} is of {made}, and this is {here}");
            return Err(Failure::new(ErrorKind::Refused, message).hint(
                "name a baseline of this database; or say --other-database if this is the same \
                 database under another name, such as a replica",
            ));
        }
        Ok(())
    }

    /// Notes the findings of these rows for the new baseline, and takes out of them what is
    /// acknowledged.
    pub(crate) fn sift(&mut self, plans: &mut Vec<RowPlan>) {
        if let Some((_, new)) = &mut self.new {
            for plan in plans.iter() {
                new.add(&plan.audit);
            }
        }
        let Some(read) = &mut self.read else { return };
        for plan in &mut *plans {
            for finding in read.acknowledge(plan) {
                let group = group_of(&plan.audit, &finding);
                *self.acknowledged.entry(group).or_default() += 1;
            }
        }
        plans.retain(|plan| !plan.audit.findings.is_empty());
    }

    /// Writes the new baseline, and returns what a report says of both; `None` without either.
    /// `again` is the scan, to which options are added.
    pub(crate) fn close(
        self,
        database: &Database,
        schema: &Schema,
        filters: &FilterArgs,
        again: CommandLine,
    ) -> Result<Option<BaselineFacts>, Failure> {
        let Self {
            args,
            read,
            new,
            replaced: _,
            acknowledged,
        } = self;
        let scope = scope_of(schema, filters);
        let written = match (new, &args.write_baseline) {
            (Some((file, mut new)), Some(path)) => {
                if let Some(read) = &read {
                    new.keep_unseen(read, &scope);
                }
                let narrowed = if read.is_none() {
                    filters.narrowed()
                } else {
                    None
                };
                let text = new.text(&database.identity(), narrowed.as_deref(), read.as_ref());
                let written = text
                    .map_err(io::Error::other)
                    .and_then(|(text, references)| {
                        replace(file, &text)?;
                        Ok(references)
                    });
                Some(WrittenBaseline {
                    file: path.display().to_string(),
                    references: written.map_err(|error| cannot_write(path, error))?,
                })
            }
            _ => None,
        };
        let read = read.zip(args.baseline.as_deref()).map(|(read, path)| {
            let mut renew = again;
            renew.option("--baseline", path);
            renew.option("--write-baseline", path);
            renew.flag_if("--other-database", args.other_database);
            ReadBaseline {
                file: path.display().to_string(),
                acknowledged,
                gone: read.gone(&scope),
                renew,
            }
        });
        if read.is_none() && written.is_none() {
            return Ok(None);
        }
        Ok(Some(BaselineFacts { read, written }))
    }
}

/// Returns what a scan looks at: these tables, narrowed by the filters.
fn scope_of(schema: &Schema, filters: &FilterArgs) -> BaselineScope {
    let mut sites = BTreeSet::new();
    for table in schema.site_tables() {
        match table {
            ScannedTable::References(table) => {
                let names = schema.sites(table).into_iter().map(|site| site.name);
                sites.extend(names.map(|site| (table.table, site)));
            }
            ScannedTable::Credentials(table) => _ = sites.insert((table.table, table.server)),
        }
    }
    BaselineScope {
        sites,
        references: filters.references().unwrap_or_default(),
        rows: filters.row.iter().cloned().collect(),
        names_owners: !filters.owner.is_empty(),
    }
}

/// Reads the baseline that an option names.
fn read_baseline(path: &Path, option: &str) -> Result<Baseline, Failure> {
    let shown = path.display();
    let text = read_text(path).map_err(|error| {
        let failure = Failure::caused(ErrorKind::Error, error);
        failure.context(format!("cannot read {option} {shown}"))
    })?;
    Baseline::parse(&text).map_err(|bad| {
        let (message, hint) = match bad {
            BadBaseline::Foreign => (
                format!("{option} {shown} is no baseline"),
                "name a file that scan --write-baseline wrote, or, to write one, a file that is \
                 not there yet"
                    .to_owned(),
            ),
            BadBaseline::OtherFormat(format) => (
                format!(
                    "{option} {shown} has format {format}, and this mcp-prune knows only its own"
                ),
                "use the mcp-prune that wrote it, or write a new one with this".to_owned(),
            ),
            BadBaseline::BadLine { line, why } => (
                format!("line {line} of {option} {shown} cannot be used: {why}"),
                "delete or correct the line, or write the baseline again".to_owned(),
            ),
        };
        Failure::new(ErrorKind::Error, message).hint(hint)
    })
}

fn replace(new: AtomicFile, text: &str) -> io::Result<()> {
    if text.len() > MOST_BYTES {
        let message = "it would have more than 64 MiB; write one for each of --sites";
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
    }
    new.file().write_all(text.as_bytes())?;
    new.replace()
}

fn cannot_write(path: &Path, error: io::Error) -> Failure {
    let failure = Failure::caused(ErrorKind::Error, error);
    let failure = failure.context(format!("cannot write --write-baseline {}", path.display()));
    failure.hint("name a file in a folder you may write; the old file, if any, is as it was")
}
