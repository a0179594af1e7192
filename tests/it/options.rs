//! Rules between options: every two options of a command together, and values that are refused.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use clap::{Arg, CommandFactory as _};
use mcp_prune::testing::Cli;
use mcp_prune::testing::ErrorKind;
use mcp_prune::testing::Invocation;
use serde_json::Value;

use crate::program::{Ran, mcp_prune, repository, run, run_on};
use crate::samples::{NOWHERE, demo};
use crate::server::TestDatabase;

/// The value that an option is tried with; a new option that takes one needs an entry here.
const SAMPLES: [(&str, &str); 42] = [
    ("as", "end_user:e"),
    ("baseline", "baseline"),
    ("color", "never"),
    ("compare-at-most", "9"),
    ("db-url", "postgresql://u@h/d"),
    ("db-url-file", "url"),
    ("for", "fix"),
    ("format", "json"),
    ("if-deleted", "a-server"),
    ("journal", "journal"),
    ("journal-retention", "30"),
    ("keep", "kept"),
    ("key-file", "key"),
    ("limit", "3"),
    ("litellm-config", "config.yaml"),
    ("litellm-version", "1.92.2"),
    ("lock-timeout", "0.01"),
    ("max-percent", "100"),
    ("max-rows", "0"),
    ("metrics-file", "metrics"),
    ("notify-namespace", "ns"),
    ("notify-redis", "redis://h/0"),
    ("on-empty", "deny"),
    ("output", "report"),
    ("owner", "team:platform"),
    ("plan", "plan"),
    ("plan-out", "new-plan"),
    ("previous-litellm-config", "old.yaml"),
    ("reference", "gone"),
    ("remap", "gone=live"),
    ("remap-file", "remaps.csv"),
    ("role", "r"),
    ("row", "p"),
    ("save", "saved"),
    ("schema", "public"),
    ("server", "github"),
    ("since", "since"),
    ("sites", "permissions"),
    ("statement-timeout", "0"),
    ("toolset", "t"),
    ("write-baseline", "new-baseline"),
    ("undo-sql", "undo.sql"),
];

/// Every two options that cannot be given together. All others combine: a filter narrows what
/// another one leaves, a guard is one more guard, and an option without effect beside another is
/// harmless.
const EXCLUDED: [(&str, &str); 23] = [
    ("accept-narrowing", "accept-widening"),
    ("baseline", "if-deleted"),
    // Beside --since they do go together: `access_since.rs` has that.
    ("color", "save"),
    ("csv-raw", "save"),
    ("db-url", "db-url-file"),
    ("delete-rows", "owner"),
    // Of --sites credentials no script is made.
    ("delete-rows", "undo-sql"),
    ("dry-run", "yes"),
    ("every-caller", "toolset"),
    ("format", "save"),
    ("if-deleted", "metrics-file"),
    ("if-deleted", "write-baseline"),
    ("journal", "no-journal"),
    ("journal-retention", "no-journal"),
    ("limit", "save"),
    ("litellm-config", "no-config-servers"),
    ("no-config-servers", "previous-litellm-config"),
    ("output", "save"),
    ("plan", "plan-out"),
    ("plan-out", "yes"),
    ("save", "server"),
    ("server", "since"),
    ("summary", "wide"),
];

/// A command, an option of it, and the options of which it needs one.
const NEEDED: [(&str, &str, &[&str]); 15] = [
    ("access", "other-database", &["--since=since"]),
    ("fix", "accept-narrowing", &["--on-empty=deny"]),
    ("fix", "accept-widening", &["--on-empty=clear"]),
    ("fix", "delete-rows", &["--sites=credentials"]),
    ("fix", "notify-namespace", &["--notify-redis=redis://h/0"]),
    ("fix", "other-database", &["--plan=plan"]),
    ("fix", "plan-out", &["--dry-run"]),
    ("fix", "undo-sql", &["--dry-run"]),
    ("fix", "undo-sql", &["--format=sql"]),
    (
        "fix",
        "previous-litellm-config",
        &["--litellm-config=config.yaml"],
    ),
    (
        "fix",
        "prune-config-ids",
        &["--litellm-config=config.yaml", "--no-config-servers"],
    ),
    (
        "scan",
        "other-database",
        &["--baseline=baseline", "--write-baseline=new-baseline"],
    ),
    (
        "scan",
        "previous-litellm-config",
        &["--litellm-config=config.yaml"],
    ),
    (
        "scan",
        "prune-config-ids",
        &["--litellm-config=config.yaml", "--no-config-servers"],
    ),
    ("undo", "notify-namespace", &["--notify-redis=redis://h/0"]),
];

fn is_excluded(one: &str, other: &str) -> bool {
    EXCLUDED.contains(&(one, other)) || EXCLUDED.contains(&(other, one))
}

pub(crate) struct Tried {
    pub(crate) command: String,
    pub(crate) options: Vec<Arg>,
    /// The words that its command line always has.
    pub(crate) positionals: Vec<String>,
}

/// Returns the options of each command, as clap has them.
pub(crate) fn commands() -> Vec<Tried> {
    let mut program = Cli::command();
    program.build();
    let commands = program.get_subcommands();
    let commands = commands.filter(|command| command.get_name() != "help");
    let tried = commands.map(|command| {
        let options = command.get_arguments().filter(|option| {
            let name = option.get_long();
            name.is_some_and(|name| name != "help" && name != "version")
        });
        let positionals = command.get_positionals();
        let positionals = positionals.map(|positional| match positional.get_id().as_str() {
            "shell" => "bash".to_owned(),
            "owner" => "key:k".to_owned(),
            _ => "scan".to_owned(),
        });
        Tried {
            command: command.get_name().to_owned(),
            options: options.cloned().collect(),
            positionals: positionals.collect(),
        }
    });
    tried.collect()
}

/// Returns the word with which an option is tried.
pub(crate) fn word(option: &Arg) -> String {
    let name = option.get_long().unwrap();
    if !option.get_action().takes_values() {
        return format!("--{name}");
    }
    let sample = SAMPLES.iter().find(|(sample, _)| *sample == name);
    let (_, value) = sample.unwrap_or_else(|| panic!("SAMPLES has no value for --{name}"));
    format!("--{name}={value}")
}

fn name_of(word: &str) -> &str {
    let name = word.strip_prefix("--").unwrap();
    name.split_once('=').map_or(name, |(name, _)| name)
}

impl Tried {
    /// Returns these words, the options that they need, and those that the command requires.
    pub(crate) fn complete(&self, words: &[&str]) -> Vec<String> {
        let mut line: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        let required = self
            .options
            .iter()
            .filter(|option| option.is_required_set());
        for option in required.map(word) {
            if !line.contains(&option) {
                line.push(option);
            }
        }
        let mut at = 0;
        while let Some(word) = line.get(at) {
            let name = name_of(word).to_owned();
            for (_, _, needs) in NEEDED
                .iter()
                .filter(|(command, option, _)| *command == self.command && *option == name)
            {
                if line.iter().any(|word| needs.contains(&word.as_str())) {
                    continue;
                }
                let need = needs[0];
                let same = line.iter_mut().find(|word| name_of(word) == name_of(need));
                match same {
                    // What is needed wins over the value that is tried.
                    Some(word) => need.clone_into(word),
                    None => line.push(need.to_owned()),
                }
            }
            at += 1;
        }
        line
    }

    /// Parses a command line. Clap and the rules between options both refuse with exit code 64.
    fn takes(&self, options: &[String]) -> Result<(), String> {
        let words = ["mcp-prune".to_owned(), self.command.clone()];
        let words = words.iter().chain(options).chain(&self.positionals);
        match Invocation::parse(words.cloned()) {
            Err(error) => Err(error.to_string()),
            Ok(line) => line.rules.map_err(|failure| {
                assert_eq!(failure.kind(), ErrorKind::Usage);
                failure.to_string()
            }),
        }
    }
}

#[test]
fn every_two_options_combine_or_are_a_usage_error() {
    let mut tried = BTreeMap::new();
    for command in commands() {
        for one in &command.options {
            for other in &command.options {
                if one.get_id() == other.get_id() {
                    continue;
                }
                let line = command.complete(&[&word(one), &word(other)]);
                let names: Vec<&str> = line.iter().map(|word| name_of(word)).collect();
                let excluded = names
                    .iter()
                    .any(|a| names.iter().any(|b| is_excluded(a, b)));
                let taken = command.takes(&line);
                let name = &command.command;
                assert_eq!(taken.is_err(), excluded, "{name} {line:?}: {taken:?}");
                let pair = (one.get_long().unwrap(), other.get_long().unwrap());
                *tried.entry(is_excluded(pair.0, pair.1)).or_insert(0) += 1;
            }
        }
    }
    // Both orders, of every command.
    assert!(
        tried[&false] > 1500 && tried[&true] >= 2 * EXCLUDED.len(),
        "{tried:?}"
    );
}

#[test]
fn an_option_without_what_it_needs_is_a_usage_error_whatever_else_is_said() {
    for (command, option, needs) in NEEDED {
        let mut commands = commands().into_iter();
        let command = commands.find(|tried| tried.command == command).unwrap();
        let find = |name: &str| {
            let mut options = command.options.iter();
            options.find(|o| o.get_long() == Some(name)).unwrap()
        };
        let mut line = command.complete(&[&word(find(option))]);
        command.takes(&line).unwrap();
        line.retain(|word| !needs.contains(&word.as_str()));
        let told = command.takes(&line).unwrap_err();
        for need in needs {
            assert!(told.contains(name_of(need)), "{told}");
            let line = [&line[..], &[(*need).to_owned()]].concat();
            command.takes(&line).unwrap();
        }
        // Of what is needed another value is not enough either.
        for other in &command.options {
            let other = word(other);
            if !needs.contains(&other.as_str()) && !line.contains(&other) {
                let line = [&line[..], &[other]].concat();
                assert!(command.takes(&line).is_err(), "{line:?}");
            }
        }
    }
}

#[test]
fn an_option_given_twice_is_repeatable_or_a_usage_error() {
    for command in commands() {
        for option in &command.options {
            let mut line = command.complete(&[&word(option)]);
            command
                .takes(&line)
                .unwrap_or_else(|told| panic!("{line:?}: {told}"));
            line.push(line[0].clone());
            let repeatable = matches!(
                option.get_action(),
                clap::ArgAction::Append | clap::ArgAction::Count
            );
            assert_eq!(command.takes(&line).is_ok(), repeatable, "{line:?}");
        }
    }
}

#[test]
fn no_option_takes_an_empty_value() {
    for command in commands() {
        for option in &command.options {
            if !option.get_action().takes_values() {
                continue;
            }
            let name = option.get_long().unwrap();
            let mut line = command.complete(&[&word(option)]);
            line[0] = format!("--{name}=");
            assert!(command.takes(&line).is_err(), "{line:?}");
        }
    }
    for (args, told) in [
        (&["scan", "--keep", ""][..], "the value of --keep is empty"),
        (&["scan", "--keep", "@"], "the value of --keep is empty"),
        (
            &["scan", "--reference", ""],
            "the value of --reference is empty",
        ),
        (
            &["fix", "--yes", "--row", ""],
            "the value of --row is empty",
        ),
        (&["scan", "--schema", ""], "the value of --schema is empty"),
        (&["scan", "--owner", ""], "must be KIND:NAME"),
        (&["scan", "--output", ""], "--output"),
        (&["undo", "--yes", ""], "a value is required"),
    ] {
        run_on(NOWHERE, args).exits(64).says(told);
    }
}

#[test]
fn values_are_taken_up_to_their_bounds_and_no_further() {
    let fix = commands().into_iter().find(|c| c.command == "fix").unwrap();
    for (option, taken, refused) in [
        (
            "limit",
            &["0", "18446744073709551615"][..],
            &["-1", "1.5", "x"][..],
        ),
        ("max-rows", &["0", "18446744073709551615"], &["-1", "1.5"]),
        (
            "max-percent",
            &["0", "0.5", "100"],
            &["-0.1", "100.1", "NaN", "inf", "5%"],
        ),
        (
            "lock-timeout",
            &["0.01", "2147483"],
            &["0", "0.009", "2147484"],
        ),
        (
            "statement-timeout",
            &["0", "0.001", "2147483"],
            &["-1", "0.0001"],
        ),
        ("remap", &["a=b", "a=b=c"], &["a", "=b", "a=", "a=a"]),
        (
            "owner",
            &["key:a", "end_user:a:b"],
            &["key:", "keys:a", "a"],
        ),
    ] {
        for (values, expected) in [(taken, true), (refused, false)] {
            for value in values {
                let line = [format!("--{option}={value}")];
                assert_eq!(fix.takes(&line).is_ok(), expected, "{line:?}");
            }
        }
    }
}

#[test]
fn a_file_has_a_name() {
    for args in [
        &["fix", "--dry-run", "--plan-out", "-"][..],
        &["fix", "--yes", "--journal", "-"],
        &["fix", "--yes", "--plan", "-"],
        &["scan", "--metrics-file", "-"],
    ] {
        run_on(NOWHERE, args).exits(64).says("and - is none");
    }
    assert!(!repository("-").exists());
}

#[test]
fn what_could_not_be_taken_back_is_refused_before_anything_is_connected_to() {
    for (args, told) in [
        (
            &["fix", "--yes", "--plan-out", "plan"][..],
            "--plan-out does not go with --yes",
        ),
        (
            &["fix", "--plan-out", "plan"],
            "--plan-out goes with --dry-run",
        ),
        (
            &[
                "scan",
                "--previous-litellm-config",
                "a",
                "--no-config-servers",
            ],
            "--previous-litellm-config does not go with --no-config-servers",
        ),
        (
            &[
                "scan",
                "--owner",
                "team:a",
                "--sites",
                "permissions,defaults",
            ],
            "--owner does not go with --sites defaults",
        ),
        (
            &["fix", "--yes", "--remap", "a=b", "--reference", "c"],
            "they leave a out",
        ),
    ] {
        run_on(NOWHERE, args).exits(64).says(told);
    }
}

struct Files {
    folder: tempfile::TempDir,
}

impl Files {
    fn of(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Returns the options with these names, each with a file of that name.
    fn options(&self, names: &[&str]) -> Vec<String> {
        let option = |name: &&str| match *name {
            "no-journal" => "--no-journal".to_owned(),
            name => format!("--{name}={}", self.of(name).display()),
        };
        names.iter().map(option).collect()
    }
}

fn ran(database: &TestDatabase, args: &[&str], options: &[String]) -> Ran {
    let options = options.iter().map(String::as_str);
    let args: Vec<&str> = args.iter().copied().chain(options).collect();
    run_on(database.url(), &args)
}

fn purpose(file: &Path) -> Value {
    let text = fs::read_to_string(file).unwrap();
    let first: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    first["purpose"].clone()
}

/// Tries every two options that write a file, in a dry run and in a real one: each file has the
/// right content, and what was committed can be taken back.
#[test]
fn every_two_files_are_written_as_they_are_named() {
    const WRITTEN: [&str; 5] = [
        "journal",
        "metrics-file",
        "no-journal",
        "output",
        "plan-out",
    ];
    for (at, one) in WRITTEN.iter().enumerate() {
        for other in &WRITTEN[at + 1..] {
            for mode in ["--dry-run", "--yes"] {
                let names = [*one, *other];
                let database = demo();
                let before = database.permission_rows();
                let files = Files {
                    folder: tempfile::tempdir().unwrap(),
                };
                let fix = ["fix", mode, "--format", "json"];
                let ran_fix = ran(&database, &fix, &files.options(&names));
                let excluded =
                    is_excluded(one, other) || mode == "--yes" && names.contains(&"plan-out");
                let expected = match (excluded, mode) {
                    (true, _) => 64,
                    (false, "--dry-run") => 2,
                    (false, _) => 3,
                };
                let ran_fix = ran_fix.exits(expected);
                if excluded || mode == "--dry-run" {
                    assert_eq!(database.permission_rows(), before, "{names:?} {ran_fix}");
                }
                for name in names.iter().filter(|name| **name != "no-journal") {
                    let there = files.of(name).exists();
                    // A dry run keeps no journal.
                    let expected = !excluded && (*name != "journal" || mode == "--yes");
                    assert_eq!(there, expected, "{names:?} {mode} {name}: {ran_fix}");
                }
                let plan = files.of("plan-out");
                if plan.exists() {
                    assert_eq!(purpose(&plan), "plan");
                }
                let journal = files.of("journal");
                if journal.exists() {
                    assert_eq!(purpose(&journal), "fix");
                    let undo = ["undo", "--yes", "--no-journal", journal.to_str().unwrap()];
                    run_on(database.url(), &undo).exits(0);
                    assert_eq!(database.permission_rows(), before, "{names:?}");
                }
            }
        }
    }
}

#[test]
fn a_dry_run_makes_sure_that_the_journal_could_be_made() {
    let database = demo();
    let files = Files {
        folder: tempfile::tempdir().unwrap(),
    };
    let journal = files.of("no/such/folder/journal");
    let journal = ["--journal", journal.to_str().unwrap()];
    run_on(
        database.url(),
        &[&["fix", "--dry-run"][..], &journal].concat(),
    )
    .exits(1)
    .says("cannot make the journal");
    // A link that leads nowhere is a file that is there: no journal is written through it.
    let dangling = files.of("dangling");
    std::os::unix::fs::symlink(files.of("nowhere"), &dangling).unwrap();
    let option = ["--journal", dangling.to_str().unwrap()];
    let before = database.permission_rows();
    for mode in ["--dry-run", "--yes"] {
        run_on(database.url(), &[&["fix", mode][..], &option].concat())
            .exits(1)
            .says(&format!("cannot make the journal {}", dangling.display()))
            .says("no file is written over");
    }
    let doctor = run_on(database.url(), &[&["doctor"][..], &option].concat());
    assert!(
        doctor.stdout.contains("cannot make the journal"),
        "{doctor}"
    );
    assert!(!files.of("nowhere").exists());
    assert_eq!(database.permission_rows(), before);

    let kept = files.of("kept");
    run_on(
        database.url(),
        &["fix", "--yes", "--journal", kept.to_str().unwrap()],
    )
    .exits(3);
    let undo = ["undo", "--dry-run", kept.to_str().unwrap()];
    run_on(database.url(), &[&undo[..], &journal].concat())
        .exits(1)
        .says("cannot make the journal");
}

/// The file that is written last would replace the one that is read.
#[test]
fn no_file_that_is_read_is_written_over() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "mcp_servers: {}\n").unwrap();
    let file = file.to_str().unwrap();
    for (args, told) in [
        (
            &["scan", "--litellm-config", file, "--output", file][..],
            "--output and --litellm-config are the same file",
        ),
        (
            &["scan", "--db-url-file", file, "--metrics-file", file],
            "--metrics-file and --db-url-file are the same file",
        ),
        (
            &["fix", "--dry-run", "--remap-file", file, "--output", file],
            "--output and --remap-file are the same file",
        ),
        (
            &["ids", "--litellm-config", file, "--output", file],
            "--output and --litellm-config are the same file",
        ),
        (
            &["scan", "--keep", &format!("@{file}"), "--output", file],
            "--output and --keep are the same file",
        ),
    ] {
        run_on(NOWHERE, args).exits(64).says(told);
    }
    assert_eq!(fs::read_to_string(file).unwrap(), "mcp_servers: {}\n");
    // Two that are read may be one.
    let twice = ["ids", "--litellm-config", file, "--litellm-config", file];
    run_on(NOWHERE, &twice).exits(0);
}

#[test]
fn a_config_that_the_variable_names_is_not_written_over() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let [one, other, link] = ["one", "other", "link"].map(path);
    let config = "mcp_servers: {}\n";
    for file in [&one, &other] {
        fs::write(file, config).unwrap();
    }
    std::os::unix::fs::symlink(&other, &link).unwrap();
    let both = format!("{one}:{other}");
    let ran = |args: &[&str]| {
        let mut command = mcp_prune(args);
        command.env("MCP_PRUNE_LITELLM_CONFIG", &both);
        run(command.env("DATABASE_URL", NOWHERE))
    };
    let told = "--output and MCP_PRUNE_LITELLM_CONFIG are the same file";
    for file in [&one, &other, &link] {
        ran(&["scan", "--output", file]).exits(64).says(told);
        ran(&["ids", "--output", file]).exits(64).says(told);
    }
    ran(&["fix", "--yes", "--metrics-file", &one])
        .exits(64)
        .says("--metrics-file and MCP_PRUNE_LITELLM_CONFIG are the same file");
    // Where another option takes its place, the variable is not read.
    ran(&["scan", "--no-config-servers", "--output", &one]).exits(7);
    ran(&["scan", "--litellm-config", &other, "--output", &one]).exits(7);
    for file in [&one, &other] {
        assert_eq!(fs::read_to_string(file).unwrap(), config);
    }
}

#[test]
fn a_script_of_an_embedded_database_is_not_written_over() {
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("dump.sql");
    fs::write(&script, "SELECT 1;\n").unwrap();
    let file = script.to_str().unwrap();
    let url = format!("embedded:{file}");
    run_on(NOWHERE, &["scan", "--db-url", &url, "--output", file])
        .exits(64)
        .says("--output and --db-url are the same file");
    run_on(&url, &["fix", "--yes", "--metrics-file", file])
        .exits(64)
        .says("--metrics-file and DATABASE_URL are the same file");
    assert_eq!(fs::read_to_string(&script).unwrap(), "SELECT 1;\n");
}

#[test]
fn an_empty_variable_says_nothing() {
    let mut empty: Vec<String> = { commands().into_iter() }
        .flat_map(|command| command.options)
        .filter_map(|option| Some(option.get_env()?.to_str()?.to_owned()))
        .collect();
    assert!(empty.len() > 12, "{empty:?}");
    empty.push("MCP_PRUNE_LITELLM_CONFIG".to_owned());
    let database = demo();
    for (args, status) in [(&["scan"][..], 2), (&["fix", "--yes", "--no-journal"], 3)] {
        let mut command = mcp_prune(args);
        command.env("DATABASE_URL", database.url());
        command.envs(empty.iter().map(|variable| (variable, "")));
        let ran = run(&mut command).exits(status);
        for word in [
            "metrics",
            "redis",
            "Redis",
            "proxies were told",
            "warning: cannot",
        ] {
            assert!(!ran.stderr.contains(word), "{word}: {ran}");
        }
    }
    // Nor is one the Redis that another option needs.
    let mut command = mcp_prune(&["fix", "--yes", "--notify-namespace", "litellm"]);
    command.env("MCP_PRUNE_NOTIFY_REDIS", "");
    run(command.env("DATABASE_URL", NOWHERE))
        .exits(64)
        .says("--notify-namespace goes with --notify-redis");
}

#[test]
fn a_wrong_remap_file_is_named_with_its_option_and_the_line() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("remaps.csv");
    let name = format!("--remap-file {}", file.display());
    let fix = ["fix", "--yes", "--remap-file", file.to_str().unwrap()];
    run_on(NOWHERE, &fix).exits(1).says(&format!(
        "error: cannot read {name}: No such file or directory"
    ));
    for (text, told) in [
        (
            &b"from,to\na,b\n"[..],
            "cannot read FILE\nhint: its first line must be the header: old,new",
        ),
        (
            b"old,new\na,b\nc,d,e\n",
            "cannot read FILE: line 3: it has 3 values where there should be 2\nhint: ",
        ),
        (
            b"old,new\na,b\n\xff,d\n",
            "cannot read FILE: line 3: it is not UTF-8 text\nhint: ",
        ),
        (
            b"old,new\na,\n",
            "line 2 of FILE does not name two different servers\nhint: ",
        ),
        (
            b"old,new\na,b\nc,c\n",
            "line 3 of FILE does not name two different servers\nhint: ",
        ),
        (
            b"old,new\na,b\nsk-Zq7Secret0key1AB12,c\n",
            "line 3 of FILE names a key, which is not shown\nhint: ",
        ),
    ] {
        fs::write(&file, text).unwrap();
        let ran = run_on(NOWHERE, &fix).exits(1);
        let _ = ran.says(&format!("error: {}", told.replace("FILE", &name)));
    }
    fs::write(&file, "old,new\na,b\na,c\n").unwrap();
    run_on(NOWHERE, &fix).exits(64).says(&format!(
        "line 2 of {name} and line 3 of {name} remap a to different servers, b and c"
    ));
    let with_option = [&fix[..], &["--remap", "a=d"]].concat();
    fs::write(&file, "old,new\na,b\n").unwrap();
    run_on(NOWHERE, &with_option).exits(64).says(&format!(
        "--remap and line 2 of {name} remap a to different servers, d and b"
    ));
}
