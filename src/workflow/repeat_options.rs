//! Builds the commands that a report suggests next. They repeat the options of the run, so that
//! they work on the same database and do what was shown.
//!
//! Every set of options is taken apart field by field, without `..`: a new option in `cli/` does
//! not compile until this file says whether a follow-up repeats it. Two kinds of options are not
//! repeated. The first kind shapes only the report of this run: `--format`, `--output`, `--limit`,
//! `--wide`, `--all-references`, `--summary`, `--color`, `--quiet`, `--verbose`, `--metrics-file`,
//! `--notes`, `--exit-zero`. The second kind is what the next command does otherwise: `--dry-run`,
//! `--yes`, `--plan-out`, `--undo-sql`. A suggested command never has `--yes`: it asks before it
//! writes.
//!
//! An option that a variable gave is repeated as if it had been typed, so that the command does the
//! same in another shell. Only what may hold a password stays in its variable: the URLs of the
//! database and of Redis.

use std::path::Path;
use std::time::Duration;

use clap::ValueEnum;

use crate::cli::connection::ConnectionArgs;
use crate::cli::filters::{FilterArgs, PartArgs, Sites};
use crate::cli::repair::{
    COMPARE_AT_MOST, ComparisonArgs, EmptyArgs, GuardArgs, JournalArgs, NOTIFY_REDIS, NotifyArgs,
    OnEmptyArg, RepairArgs, WriteArgs,
};
use crate::cli::servers::{DeletionArgs, PreviousArgs, ServerArgs};
use crate::command_line::CommandLine;
use crate::process::shown_url::ShownUrl;
use crate::repair::selection::NamedOwner;
use crate::shell::quoted;
use crate::workflow::config_files::config_paths;
use crate::workflow::journal_folder::NamedJournal;

/// The default of `--statement-timeout`.
const STATEMENT_TIMEOUT: Duration = Duration::from_mins(10);

/// The default of `--lock-timeout`.
const LOCK_TIMEOUT: Duration = Duration::from_secs(5);

/// Returns the undo of what was written with these options.
pub(crate) fn undo(journal: &Path, connection: &ConnectionArgs, write: &WriteArgs) -> CommandLine {
    let WriteArgs {
        dry_run: _,
        yes: _,
        journal: kept,
        lock_timeout,
        notify,
    } = write;
    let mut command = CommandLine::new("undo");
    match NamedJournal::read(journal) {
        NamedJournal::File(_) => command.path(journal),
        // The file has a name like that of a run.
        NamedJournal::Run(_) => command.path(&Path::new(".").join(journal)),
    }
    connection.repeat(&mut command);
    // The file is there by now, so the undo keeps its own journal in the same folder.
    if let Some(path) = &kept.journal {
        let folder = if path.is_dir() {
            path
        } else {
            crate::process::atomic_file::folder_of(path)
        };
        command.option("--journal", folder);
    }
    repeat_lock_timeout(*lock_timeout, &mut command);
    notify.repeat(&mut command);
    command
}

fn repeat_lock_timeout(lock_timeout: Duration, command: &mut CommandLine) {
    if lock_timeout != LOCK_TIMEOUT {
        command.option("--lock-timeout", lock_timeout.as_secs_f64().to_string());
    }
}

impl ConnectionArgs {
    /// Adds the options that say where the database is; nothing where the environment says it.
    pub(crate) fn repeat(&self, command: &mut CommandLine) {
        let Self {
            db_url,
            db_url_file,
            schema,
            statement_timeout,
            log: _,
        } = self;
        command.options("--db-url-file", db_url_file);
        match db_url.as_deref().map(|url| (url, ShownUrl::of(url))) {
            None => {}
            Some((_, Some(shown))) => {
                command.option("--db-url", &shown.text);
                if shown.lacks_password {
                    command.note(
                        "The password of --db-url is left out: give it with PGPASSWORD or a \
                         password file, or put the whole URL into DATABASE_URL and leave out \
                         --db-url.",
                    );
                }
            }
            Some((_, None)) => command.note(
                "The URL of --db-url is left out, for its password may be anywhere in it: add it.",
            ),
        }
        command.options("--schema", schema);
        if *statement_timeout != STATEMENT_TIMEOUT {
            let seconds = statement_timeout.as_secs_f64();
            command.option("--statement-timeout", seconds.to_string());
        }
    }
}

impl PreviousArgs {
    pub(crate) fn repeat(&self, command: &mut CommandLine) {
        let Self {
            previous_litellm_config,
            prune_config_ids,
        } = self;
        command.options("--previous-litellm-config", previous_litellm_config);
        command.flag_if("--prune-config-ids", *prune_config_ids);
    }
}

impl DeletionArgs {
    pub(crate) fn repeat(&self, command: &mut CommandLine) {
        let Self { if_deleted } = self;
        command.options("--if-deleted", if_deleted);
    }
}

impl ServerArgs {
    /// Adds the options to a command that takes servers as deleted, if `deletions` say so. What a
    /// variable keeps is kept there by the variable too, because an option would not give way.
    pub(crate) fn repeat_beside(&self, deletions: &DeletionArgs, command: &mut CommandLine) {
        if self.keep_is_of_variable && !deletions.if_deleted.is_empty() {
            let without = Self {
                litellm_config: self.litellm_config.clone(),
                no_config_servers: self.no_config_servers,
                keep: Vec::new(),
                keep_is_of_variable: false,
            };
            without.repeat(command);
            // A variable has one value.
            for reference in &self.keep {
                command.variable("MCP_PRUNE_KEEP", reference);
            }
        } else {
            self.repeat(command);
        }
    }

    pub(crate) fn repeat(&self, command: &mut CommandLine) {
        let Self {
            litellm_config,
            no_config_servers,
            keep,
            keep_is_of_variable: _,
        } = self;
        if *no_config_servers {
            command.flag("--no-config-servers");
        } else {
            let paths = config_paths(litellm_config).into_iter();
            command.options("--litellm-config", paths.map(|(_, path)| path));
        }
        command.options("--keep", keep);
    }
}

impl FilterArgs {
    pub(crate) fn repeat(&self, command: &mut CommandLine) {
        let Self {
            sites,
            owner,
            reference,
            row,
        } = self;
        let sites: Vec<String> = sites.iter().filter_map(named::<Sites>).collect();
        if !sites.is_empty() {
            command.option("--sites", sites.join(","));
        }
        command.options("--owner", owner.iter().map(NamedOwner::argument));
        command.options("--reference", reference);
        command.options("--row", row);
    }
}

/// Adds to a scan the filters that choose rows, and so find what a repair left. A reference that
/// was removed would match nothing.
pub(crate) fn repeat_rows(filters: &FilterArgs, scan: &mut CommandLine) {
    let everything = FilterArgs {
        sites: filters.sites.clone(),
        owner: filters.owner.clone(),
        reference: Vec::new(),
        row: filters.row.clone(),
    };
    everything.repeat(scan);
    if !filters.reference.is_empty() {
        scan.note(
            "It looks at every reference of these rows: a --reference that is gone would be an \
             error.",
        );
    }
}

impl PartArgs {
    pub(crate) fn repeat(&self, command: &mut CommandLine) {
        let Self {
            owner,
            reference,
            row,
        } = self;
        command.options("--owner", owner.iter().map(NamedOwner::argument));
        command.options("--reference", reference);
        command.options("--row", row);
    }
}

/// Returns the word of the command line for a value.
fn named<T: ValueEnum>(value: &T) -> Option<String> {
    let value = value.to_possible_value()?;
    Some(value.get_name().to_owned())
}

/// The options of `fix` that a command which follows it repeats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RepeatedOptions {
    /// Every option that decides what is repaired.
    All,
    /// Only those that a saved plan does not hold.
    NotInThePlan,
}

impl RepairArgs {
    /// Adds what is done to a row, and the guards.
    pub(crate) fn repeat(&self, options: RepeatedOptions, command: &mut CommandLine) {
        let Self {
            write,
            empty,
            delete_rows,
            remap,
            remap_file,
            previous,
            deletions,
            allow_empty_server_table,
            guards,
            comparison,
            plan_out: _,
            undo_sql: _,
            plan,
            other_database,
            journal_retention,
        } = self;
        command.flag_if("--other-database", *other_database);
        command.options(
            "--journal-retention",
            journal_retention.map(|days| days.to_string()),
        );
        if options == RepeatedOptions::All {
            command.options("--plan", plan);
            previous.repeat(command);
            deletions.repeat(command);
            empty.repeat(command);
            command.flag_if("--delete-rows", *delete_rows);
            for (old, new) in remap {
                command.option("--remap", format!("{old}={new}"));
            }
            command.options("--remap-file", remap_file);
        }
        command.flag_if("--allow-empty-server-table", *allow_empty_server_table);
        guards.repeat(command);
        comparison.repeat(command);
        write.repeat(command);
    }
}

impl GuardArgs {
    pub(crate) fn repeat(&self, command: &mut CommandLine) {
        let Self {
            max_rows,
            max_percent,
            strict,
        } = self;
        command.options("--max-rows", max_rows.map(|rows| rows.to_string()));
        command.options(
            "--max-percent",
            max_percent.map(|percent| percent.to_string()),
        );
        command.flag_if("--strict", *strict);
    }
}

impl ComparisonArgs {
    pub(crate) fn repeat(&self, command: &mut CommandLine) {
        let Self { compare_at_most } = self;
        if *compare_at_most != COMPARE_AT_MOST {
            command.option("--compare-at-most", compare_at_most.to_string());
        }
    }
}

impl EmptyArgs {
    pub(crate) fn repeat(&self, command: &mut CommandLine) {
        let Self {
            on_empty,
            accept_narrowing,
            accept_widening,
        } = self;
        match on_empty {
            None | Some(OnEmptyArg::Hold) => {}
            Some(OnEmptyArg::Deny) => command.option("--on-empty", "deny"),
            Some(OnEmptyArg::Unchanged) => command.option("--on-empty", "unchanged"),
            Some(OnEmptyArg::Clear) => command.option("--on-empty", "clear"),
        }
        command.flag_if("--accept-narrowing", *accept_narrowing);
        command.flag_if("--accept-widening", *accept_widening);
    }
}

impl WriteArgs {
    pub(crate) fn repeat(&self, command: &mut CommandLine) {
        let Self {
            dry_run: _,
            yes: _,
            journal,
            lock_timeout,
            notify,
        } = self;
        journal.repeat(command);
        repeat_lock_timeout(*lock_timeout, command);
        notify.repeat(command);
    }
}

impl JournalArgs {
    pub(crate) fn repeat(&self, command: &mut CommandLine) {
        let Self {
            journal,
            no_journal,
        } = self;
        command.options("--journal", journal);
        command.flag_if("--no-journal", *no_journal);
    }
}

impl NotifyArgs {
    /// Adds which Redis to tell. A URL that may hold a password is left out, and a note says so
    /// unless the variable has it.
    pub(crate) fn repeat(&self, command: &mut CommandLine) {
        let Self {
            notify_redis,
            notify_namespace,
        } = self;
        let Some(url) = notify_redis else {
            return;
        };
        let is_in_environment = std::env::var(NOTIFY_REDIS).is_ok_and(|set| set == *url);
        // A URL that is shown only in part may name another Redis, or lack its password.
        if ShownUrl::of(url).is_some_and(|shown| shown.text == *url) {
            command.option("--notify-redis", url);
        } else if !is_in_environment {
            let namespace = notify_namespace
                .as_ref()
                .map_or_else(String::new, |namespace| {
                    format!(", and MCP_PRUNE_NOTIFY_NAMESPACE to {}", quoted(namespace))
                });
            command.note(format!(
                "The URL of --notify-redis is left out, as it may hold a password: set \
                 {NOTIFY_REDIS} to it{namespace}, to have proxies told then too."
            ));
            return;
        }
        command.options("--notify-namespace", notify_namespace);
    }
}

#[cfg(test)]
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "any other command than the one that was parsed is a failed test"
)]
mod tests {
    use std::collections::BTreeSet;

    use clap::{CommandFactory as _, Parser as _};

    use super::*;
    use crate::commands::{Cli, Command};

    /// Options that no follow-up repeats: they shape the report of one run, or are the difference
    /// between the run and what follows.
    const NOT_REPEATED: [&str; 22] = [
        "all-references",
        "baseline",
        "color",
        "csv-raw",
        "dry-run",
        "exit-zero",
        "format",
        "help",
        "limit",
        "metrics-file",
        "notes",
        "output",
        "plan-out",
        "quiet",
        "verbose",
        "undo-sql",
        "version",
        "write-baseline",
        "summary",
        "version",
        "wide",
        "yes",
    ];

    /// A value for each option that takes one; an option without one here is a flag.
    const VALUES: [(&str, &str); 26] = [
        ("db-url", "postgresql://ann@db/litellm"),
        ("db-url-file", "the url"),
        ("schema", "My Schema"),
        ("statement-timeout", "1200.5"),
        ("litellm-config", "proxy's config.yaml"),
        ("keep", "-odd"),
        ("if-deleted", "-a server"),
        ("previous-litellm-config", "old.yaml"),
        ("sites", "permissions,credentials"),
        ("owner", "end_user:it's me"),
        ("reference", "a b"),
        ("row", "$1"),
        ("on-empty", "deny"),
        ("remap", "old=new"),
        ("remap-file", "remap.csv"),
        ("max-rows", "7"),
        ("max-percent", "2.5"),
        ("plan", "the plan"),
        ("journal", "the journals"),
        ("journal-retention", "30"),
        ("lock-timeout", "0.5"),
        ("compare-at-most", "500"),
        ("notify-redis", "redis://cache:6379/1"),
        ("notify-namespace", "litellm"),
        ("JOURNAL", "-journal"),
        ("format", "json"),
    ];

    /// Values that need another option beside them.
    const COMPANIONS: [(&str, &[&str]); 4] = [
        ("previous-litellm-config", &["--litellm-config=now.yaml"]),
        ("accept-narrowing", &["--on-empty=deny"]),
        ("accept-widening", &["--on-empty=clear"]),
        ("notify-namespace", &["--notify-redis=redis://cache"]),
    ];

    fn parsed(words: &[&str]) -> Command {
        Cli::try_parse_from(words).unwrap().command
    }

    /// Returns the words as a shell splits them.
    fn words(command: &CommandLine) -> Vec<String> {
        let script = format!("printf '%s\\n' {command}");
        let ran = std::process::Command::new("sh")
            .args(["-c", &script])
            .output()
            .unwrap();
        let text = String::from_utf8(ran.stdout).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    fn value(option: &str) -> Option<&'static str> {
        let mut values = VALUES.iter();
        values.find(|(name, _)| *name == option).map(|(_, v)| *v)
    }

    /// Returns each option of `subcommand`, how it was given alone, and the words of the follow-up.
    fn followed(
        subcommand: &str,
        follow: impl Fn(Command) -> CommandLine,
    ) -> Vec<(String, String, Vec<String>)> {
        let cli = Cli::command();
        let command = cli.find_subcommand(subcommand).unwrap();
        let options = command.get_arguments().filter_map(|arg| arg.get_long());
        let options = options.filter(|option| !NOT_REPEATED.contains(option));
        options
            .map(|option| {
                let said = match value(option) {
                    Some(value) => format!("--{option}={value}"),
                    None => format!("--{option}"),
                };
                let mut run = vec!["mcp-prune", subcommand];
                if subcommand == "undo" {
                    run.extend(["--", "JOURNAL"]);
                    run.insert(2, &said);
                } else {
                    run.push(&said);
                }
                let companions = COMPANIONS.iter().find(|(name, _)| *name == option);
                let companions = companions.map_or(&[][..], |(_, words)| words);
                run.splice(2..2, companions.iter().copied());
                let words = words(&follow(parsed(&run)));
                (option.to_owned(), said, words)
            })
            .collect()
    }

    /// Returns whether a command has an option, in one word or in two.
    fn says(words: &[String], said: &str) -> bool {
        let (option, value) = said
            .split_once('=')
            .map_or((said, None), |(o, v)| (o, Some(v)));
        let apart = |pair: &[String]| pair[0] == option && Some(pair[1].as_str()) == value;
        words.iter().any(|word| word == said) || words.windows(2).any(apart)
    }

    #[test]
    fn every_option_is_repeated_or_is_known_not_to_be() {
        let scan = followed("scan", |command| match command {
            Command::Scan(args) => args.follow_up(),
            other => panic!("{other:?}"),
        });
        let fix = followed("fix", |command| match command {
            Command::Fix(args) => args.follow_up(None).carry_out,
            other => panic!("{other:?}"),
        });
        let undo = followed("undo", |command| match command {
            Command::Undo(args) => args.follow_up(Path::new("J")),
            other => panic!("{other:?}"),
        });
        // A repair reads no baseline, and so accepts none of another database.
        let scan: Vec<_> = { scan.into_iter() }
            .filter(|(option, ..)| option != "other-database")
            .collect();
        assert!(scan.len() >= 11 && fix.len() >= 24 && undo.len() >= 9);
        for (option, said, words) in [scan, fix, undo].concat() {
            assert!(says(&words, &said), "--{option} is not in {words:?}");
            // And it is a command that can be given.
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            parsed(&words);
        }
    }

    #[test]
    fn what_a_plan_holds_is_not_said_again_and_the_rest_is() {
        let fixed = followed("fix", |command| match command {
            Command::Fix(args) => args.follow_up(Some(Path::new("P"))).carry_out,
            other => panic!("{other:?}"),
        });
        let mut left_out = BTreeSet::new();
        for (option, said, words) in fixed {
            assert!(says(&words, "--plan=P"), "{words:?}");
            let refused = Cli::try_parse_from(&words).is_err();
            assert!(!refused, "{words:?}");
            if !says(&words, &said) {
                left_out.insert(option);
            }
        }
        let in_the_plan = [
            "accept-narrowing",
            "accept-widening",
            "delete-rows",
            "if-deleted",
            "on-empty",
            "owner",
            "plan",
            "previous-litellm-config",
            "prune-config-ids",
            "reference",
            "remap",
            "remap-file",
            "row",
            "sites",
        ];
        assert_eq!(left_out, in_the_plan.map(str::to_owned).into());
    }

    #[test]
    fn without_options_nothing_is_repeated() {
        for (run, follow_up) in [
            ("scan", "mcp-prune fix --dry-run"),
            ("fix --dry-run", "mcp-prune fix"),
            ("undo J", "mcp-prune undo J"),
        ] {
            let words: Vec<&str> = ["mcp-prune"].into_iter().chain(run.split(' ')).collect();
            let next = match parsed(&words) {
                Command::Scan(args) => args.follow_up(),
                Command::Fix(args) => args.follow_up(None).carry_out,
                Command::Undo(args) => args.follow_up(Path::new("J")),
                other => panic!("{other:?}"),
            };
            assert_eq!(next.to_string(), follow_up);
        }
    }

    #[test]
    fn a_redis_url_is_repeated_whole_or_not_at_all() {
        for (url, is_repeated) in [
            ("redis://cache:6379/1", true),
            ("rediss://ann@cache/1", true),
            ("redis://:s3cret@cache/1", false),
            ("redis://ann:s3cret@cache/1", false),
            // Without this it could be another Redis, or one that refuses.
            ("redis://cache/1?protocol=resp3&secret=s3cret", false),
            ("redis://ann:s3/cret@cache/1", false),
        ] {
            let notify_redis = format!("--notify-redis={url}");
            let run = ["mcp-prune", "fix", &notify_redis, "--notify-namespace=n"];
            let Command::Fix(args) = parsed(&run) else {
                panic!();
            };
            let command = args.take_back(Path::new("J"));
            let words = words(&command);
            assert_eq!(says(&words, &notify_redis), is_repeated, "{words:?}");
            assert_eq!(says(&words, "--notify-namespace=n"), is_repeated);
            let told = command.notes().iter().any(|n| n.contains(NOTIFY_REDIS));
            assert_eq!(told, !is_repeated, "{command:?}");
            let namespace = "MCP_PRUNE_NOTIFY_NAMESPACE to n,";
            let told = command.notes().iter().any(|n| n.contains(namespace));
            assert_eq!(told, !is_repeated, "{command:?}");
            assert!(!format!("{command:?}").contains("s3"), "{command:?}");
        }
    }

    #[test]
    fn a_password_is_left_out_and_told() {
        let Command::Fix(args) = parsed(&[
            "mcp-prune",
            "fix",
            "--db-url=postgresql://ann:s3cret@db/x?sslmode=require",
            "--notify-redis=redis://:s3cret@cache/1",
            "--notify-namespace=n",
        ]) else {
            panic!();
        };
        let command = args.take_back(Path::new("/j/fix.ndjson"));
        assert_eq!(
            command.to_string(),
            "mcp-prune undo /j/fix.ndjson --db-url 'postgresql://ann@db/x?sslmode=require'"
        );
        assert!(command.notes()[0].contains("PGPASSWORD"), "{command:?}");
        assert!(command.notes()[1].contains(NOTIFY_REDIS), "{command:?}");
        assert!(!format!("{command:?}").contains("s3cret"));
    }
}
