//! The variables that stand for options: which options have one, and what happens where a variable
//! meets the command line, another variable, or a wrong value.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use crate::options::{commands, word};
use crate::program::{Ran, mcp_prune, repository, run};
use crate::samples::{NOWHERE, case, demo};

/// The options that a variable can stand for. They describe the site; none of them is consent.
const OF_THE_SITE: [&str; 13] = [
    "db-url-file",
    "journal",
    "keep",
    "lock-timeout",
    "max-percent",
    "max-rows",
    "metrics-file",
    "no-config-servers",
    "notify-namespace",
    "notify-redis",
    "schema",
    "statement-timeout",
    "strict",
];

/// How the name of an option begins that lets a run do more than it would.
const CONSENT: [&str; 13] = [
    "accept",
    "allow",
    "clear",
    "delete",
    "exit-zero",
    "force",
    "no-journal",
    "on-empty",
    "other-database",
    "prune",
    "remap",
    "skip",
    "yes",
];

/// A value for each variable, and one that its option refuses, if there is one.
const VALUES: [(&str, &str, Option<&str>); 13] = [
    ("MCP_PRUNE_DB_URL_FILE", "url", None),
    ("MCP_PRUNE_JOURNAL", ".", Some("url")),
    ("MCP_PRUNE_KEEP", "kept", Some("sk-Zq7Secret0key1AB12")),
    ("MCP_PRUNE_LOCK_TIMEOUT", "2.5", Some("0")),
    ("MCP_PRUNE_MAX_PERCENT", "50", Some("101")),
    ("MCP_PRUNE_MAX_ROWS", "100", Some("many")),
    ("MCP_PRUNE_METRICS_FILE", "run.prom", Some("-")),
    ("MCP_PRUNE_NO_CONFIG_SERVERS", "yes", Some("perhaps")),
    ("MCP_PRUNE_NOTIFY_NAMESPACE", "litellm", None),
    ("MCP_PRUNE_NOTIFY_REDIS", "redis://127.0.0.1:1/0", None),
    ("MCP_PRUNE_SCHEMA", "public", None),
    ("MCP_PRUNE_STATEMENT_TIMEOUT", "30", Some("soon")),
    ("MCP_PRUNE_STRICT", "1", Some("2")),
];

/// Returns the variable of each option that has one, and the commands that take the option.
fn variables() -> BTreeMap<String, (String, BTreeSet<String>)> {
    let mut found: BTreeMap<String, (String, BTreeSet<String>)> = BTreeMap::new();
    for command in commands() {
        for option in &command.options {
            let Some(variable) = option.get_env().and_then(OsStr::to_str) else {
                continue;
            };
            let name = option.get_long().unwrap().to_owned();
            let entry = found.entry(name).or_default();
            assert!(entry.0.is_empty() || entry.0 == variable, "{variable}");
            variable.clone_into(&mut entry.0);
            entry.1.insert(command.command.clone());
        }
    }
    found
}

/// Runs the program with these variables alone, in a folder of its own in which `url` names a
/// database that nobody can connect to.
fn ran(args: &[&str], variables: &[(&str, &str)]) -> Ran {
    let folder = folder(NOWHERE);
    let variables = variables.iter().copied();
    run(mcp_prune(args).current_dir(folder.path()).envs(variables))
}

/// Returns a text without its line breaks.
fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Makes a folder with the file `url`.
fn folder(url: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("url"), url).unwrap();
    folder
}

#[test]
fn only_what_describes_the_site_has_a_variable_and_no_consent_has_one() {
    let variables = variables();
    let with_variable: Vec<&str> = variables.keys().map(String::as_str).collect();
    assert_eq!(with_variable, OF_THE_SITE);
    for (option, (variable, taken_by)) in &variables {
        let named = option.replace('-', "_").to_ascii_uppercase();
        assert_eq!(*variable, format!("MCP_PRUNE_{named}"));
        for command in commands() {
            let options = command.options.iter();
            let takes_it = options.filter_map(|o| o.get_long()).any(|o| o == option);
            // Every command that takes the option honours the variable.
            assert_eq!(takes_it, taken_by.contains(&command.command), "{option}");
        }
    }
    let mut consents = BTreeSet::new();
    for command in commands() {
        for option in &command.options {
            let name = option.get_long().unwrap();
            if CONSENT.iter().any(|consent| name.starts_with(consent)) {
                assert_eq!(option.get_env(), None, "--{name}");
                consents.insert(name.to_owned());
            }
        }
    }
    assert!(consents.len() > 10, "{consents:?}");
}

#[test]
fn help_and_the_documents_name_every_variable() {
    let document = fs::read_to_string(repository("docs/options.md")).unwrap();
    for (option, (variable, taken_by)) in variables() {
        let row = format!("\n| `{variable}` | `--{option}` |");
        assert!(document.contains(&row), "{row}");
        for command in taken_by {
            // Also one that is empty, and its value is not shown.
            for value in [None, Some(""), Some("s3cret")] {
                for help in ["-h", "--help"] {
                    let mut program = mcp_prune(&[&command, help]);
                    program.envs(value.map(|value| (variable.as_str(), value)));
                    let helped = one_line(&run(&mut program).exits(0).stdout);
                    let told = format!("[env: {variable}]");
                    assert!(helped.contains(&told), "{told} in {helped}");
                }
            }
        }
    }
    for command in ["scan", "fix", "access", "doctor", "ids"] {
        let helped = one_line(&ran(&[command, "-h"], &[]).exits(0).stdout);
        let told = "[env: MCP_PRUNE_LITELLM_CONFIG, files separated by colons]";
        assert!(helped.contains(told), "{helped}");
    }
}

#[test]
fn a_wrong_value_is_a_usage_error_that_names_the_variable() {
    let variables = variables();
    for (variable, _, wrong) in VALUES {
        let (_, (_, taken_by)) = variables.iter().find(|(_, v)| v.0 == variable).unwrap();
        let Some(wrong) = wrong else { continue };
        for command in taken_by {
            let words: &[&str] = match command.as_str() {
                "undo" | "show" => &[command, "no-journal"],
                _ => &[command],
            };
            let told = ran(words, &[(variable, wrong)]).exits(64).says(variable);
            let option = variable["MCP_PRUNE_".len()..].to_ascii_lowercase();
            let option = format!("'--{}", option.replace('_', "-"));
            assert!(!told.stderr.contains(&option), "{told}");
            assert!(!told.stderr.contains("Secret0key"), "{told}");
        }
        // A command that does not take the option does not look at its variable.
        let _ = ran(&["completions", "bash"], &[(variable, wrong)]).exits(0);
    }
    let mut command = mcp_prune(&["scan"]);
    command.env("MCP_PRUNE_SCHEMA", OsStr::from_bytes(b"\xff"));
    let _ = run(&mut command)
        .exits(64)
        .says("MCP_PRUNE_SCHEMA is not UTF-8 text");
    let _ = ran(&["scan"], &[("MCP_PRUNE_NO_CONFIG_SERVERS", "perhaps")])
        .exits(64)
        .says("must be 1, true, yes or on; or 0, false, no or off");
    // A wrong word is still that of the command line.
    let told = ran(
        &["fix", "--max-rows", "many"],
        &[("MCP_PRUNE_MAX_ROWS", "no")],
    );
    let _ = told.exits(64).says("'--max-rows <N>'");
}

#[test]
fn a_wrong_number_is_told_with_what_is_wanted() {
    let whole = "must be a whole number from 0 to ";
    for (option, variable, wanted) in [
        ("--max-rows", Some("MCP_PRUNE_MAX_ROWS"), whole),
        ("--compare-at-most", None, whole),
        ("--limit", None, whole),
        (
            "--journal-retention",
            None,
            "must be a whole number of days from 1 to ",
        ),
        (
            "--max-percent",
            Some("MCP_PRUNE_MAX_PERCENT"),
            "must be a number from 0 to 100",
        ),
        (
            "--lock-timeout",
            Some("MCP_PRUNE_LOCK_TIMEOUT"),
            "must be a number of seconds from 0.01 to 2147483",
        ),
        (
            "--statement-timeout",
            Some("MCP_PRUNE_STATEMENT_TIMEOUT"),
            "must be a number of seconds from 0 to 2147483",
        ),
    ] {
        for wrong in ["x", "-1", "1e99"] {
            let told = ran(&["fix", &format!("{option}={wrong}")], &[]).exits(64);
            let _ = told.says(option).says(&format!("'{wrong}'")).says(wanted);
            let Some(variable) = variable else { continue };
            let told = ran(&["fix"], &[(variable, wrong)]).exits(64);
            let told = told.says(&format!("'{variable}'")).says(wanted);
            assert!(!told.stderr.contains(option), "{told}");
        }
    }
}

/// Whatever option somebody gives, the variables of the site do not stand in the way.
#[test]
fn no_variable_makes_a_command_line_fail_that_is_right_without_it() {
    let set: Vec<(&str, &str)> = { VALUES.iter() }
        .map(|(variable, value, _)| (*variable, *value))
        .filter(|(variable, _)| {
            // Without the feature, --notify-redis is refused.
            cfg!(feature = "redis") || !variable.starts_with("MCP_PRUNE_NOTIFY")
        })
        .collect();
    let database = [("MCP_PRUNE_DB_URL_FILE", "url")];
    let mut tried = 0;
    for command in commands() {
        for option in &command.options {
            let mut words = vec![command.command.clone()];
            words.extend(command.complete(&[&word(option)]));
            words.extend(command.positionals.clone());
            // Nobody is connected to, and no name is looked up.
            for word in &mut words {
                *word = word.replace("postgresql://u@h/d", NOWHERE);
                *word = word.replace("redis://h/0", "redis://127.0.0.1:1/0");
            }
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            let without = ran(&words, &database);
            let with = ran(&words, &set);
            assert_eq!(
                with.status == 64,
                without.status == 64,
                "{words:?}\n{without}\n{with}"
            );
            tried += 1;
        }
    }
    assert!(tried > 120, "{tried}");
}

#[test]
fn the_command_line_sets_aside_a_variable_that_it_excludes() {
    let database = demo();
    let folder = folder(NOWHERE);
    let path = |name: &str| -> PathBuf { folder.path().join(name) };
    let config = "mcp_servers:\n  wiki: {url: https://wiki.example/mcp, transport: http}\n";
    fs::write(path("config.yaml"), config).unwrap();
    let journals = path("journals");
    fs::create_dir(&journals).unwrap();
    let ran = |args: &[&str], variables: &[(&str, &str)]| {
        let mut command = mcp_prune(args);
        command.args(["--db-url", database.url()]);
        command.envs(variables.iter().copied());
        run(command.current_dir(folder.path()))
    };
    // The database: --db-url is given.
    let _ = ran(&["scan"], &[("MCP_PRUNE_DB_URL_FILE", "url")]).exits(2);
    // Config servers, either way round.
    let none = ("MCP_PRUNE_NO_CONFIG_SERVERS", "1");
    let known = |ran: Ran| {
        let checks = ran.json()["checks"].as_array().unwrap().clone();
        let mut checks = checks.into_iter();
        let check = checks.find(|check| check["name"] == "config-servers");
        check.unwrap()["found"].as_str().unwrap().to_owned()
    };
    let doctor = ["doctor", "--format", "json"];
    assert_eq!(known(ran(&doctor, &[none])), "there are none, as you say");
    let named = [&doctor[..], &["--litellm-config", "config.yaml"]].concat();
    assert_eq!(known(ran(&named, &[none])), "1 server in 1 file");
    let file = ("MCP_PRUNE_LITELLM_CONFIG", "config.yaml");
    let without = [&doctor[..], &["--no-config-servers"]].concat();
    assert_eq!(known(ran(&without, &[file])), "there are none, as you say");
    // It counts where another option needs it.
    let prune = ["scan", "--prune-config-ids"];
    let _ = ran(&prune, &[]).exits(64);
    let _ = ran(&prune, &[none]).exits(2);
    // Two variables are of one rank.
    let _ = ran(&["scan"], &[none, file])
        .exits(64)
        .says("MCP_PRUNE_LITELLM_CONFIG does not go with MCP_PRUNE_NO_CONFIG_SERVERS");
    let off = ("MCP_PRUNE_NO_CONFIG_SERVERS", "0");
    assert_eq!(known(ran(&doctor, &[off, file])), "1 server in 1 file");
    // A server that is kept, and one that is taken as deleted.
    let kept = [("MCP_PRUNE_KEEP", "github")];
    let _ = ran(&["scan", "--if-deleted", "github"], &kept).exits(2);
    // Whatever they call it, and however many others are kept.
    let github = "3f6d1b52-7c1e-4b0a-9d39-8c5f0f6a1e01";
    fs::write(path("keep"), "GitHub\njira\n").unwrap();
    let alone = ran(&["scan", "--if-deleted", github], &[]).exits(2);
    for (deleted, kept) in [(github, "github"), ("github", github), (github, "@keep")] {
        let variable = [("MCP_PRUNE_KEEP", kept)];
        let found = ran(&["scan", "--if-deleted", deleted], &variable).exits(2);
        // The command that it suggests keeps the same, wherever it is run.
        let printed = format!("MCP_PRUNE_KEEP={kept} mcp-prune fix");
        assert!(found.stdout.contains(&printed), "{found}");
        assert_eq!(
            found
                .stdout
                .replace(&printed, "mcp-prune fix")
                .replace("--if-deleted github", &format!("--if-deleted {github}")),
            alone.stdout
        );
    }
    // The journal.
    let journal = [("MCP_PRUNE_JOURNAL", "journals")];
    let _ = ran(&["fix", "--yes", "--no-journal"], &journal).exits(3);
    assert_eq!(fs::read_dir(&journals).unwrap().count(), 0);
}

#[test]
fn a_variable_says_what_its_option_says() {
    let database = demo();
    let folder = folder(database.url());
    let journals = folder.path().join("journals");
    fs::create_dir(&journals).unwrap();
    let ran = |args: &[&str], variables: &[(&str, &str)]| {
        let mut command = mcp_prune(args);
        command.env("MCP_PRUNE_DB_URL_FILE", "url");
        command.envs(variables.iter().copied());
        run(command.current_dir(folder.path()))
    };
    let _ = ran(&["scan"], &[]).exits(2);
    let schema = ("MCP_PRUNE_SCHEMA", "nowhere");
    let _ = ran(&["scan"], &[schema]).exits(4).says("nowhere");
    let _ = ran(&["scan", "--schema", "public"], &[schema]).exits(2);
    // A guard that a variable sets is named with it.
    let most = ("MCP_PRUNE_MAX_ROWS", "0");
    let _ = ran(&["fix", "--yes"], &[most])
        .exits(4)
        .says("more than --max-rows 0")
        .says("\n--max-rows comes from MCP_PRUNE_MAX_ROWS");
    let told = ran(&["fix", "--yes", "--max-rows", "1"], &[most]).exits(4);
    assert!(!told.stderr.contains("comes from"), "{told}");
    let told = ran(&["scan", "-v"], &[("MCP_PRUNE_MAX_ROWS", "0")]).exits(2);
    let _ = told.says("options from variables: --db-url-file (MCP_PRUNE_DB_URL_FILE)\n");
    // The journals of all commands are in one folder.
    let journal = ("MCP_PRUNE_JOURNAL", "journals");
    let fixed = ran(&["fix", "--yes", "--format", "json"], &[journal]).exits(3);
    let run_name = fixed.json()["run"].as_str().unwrap().to_owned();
    assert_eq!(fs::read_dir(&journals).unwrap().count(), 1);
    let _ = ran(&["history"], &[journal]).exits(0).prints(&run_name);
    let _ = ran(&["show", &run_name], &[journal]).exits(0);
    // Beside --no-journal too, and the command that the report suggests needs no variable.
    let undo = ["undo", "--dry-run", &run_name, "--no-journal"];
    let suggested = ran(&undo, &[journal]).exits(0).stdout;
    let (_, suggested) = suggested.split_once("mcp-prune undo ").unwrap();
    let file = suggested
        .split(' ')
        .find(|word| word.starts_with("journals/fix-"));
    let undo = ["undo", "--yes", file.unwrap(), "--no-journal"];
    let _ = ran(&undo, &[]).exits(0).prints("verified and committed");
    let undo = ["undo", "--yes", &run_name, "--no-journal"];
    let _ = ran(&undo, &[journal])
        .exits(0)
        .prints("There is nothing to put back");
    let _ = ran(&undo, &[]).exits(1).says("is of a run");
    let _ = ran(&["undo", "--yes", &run_name], &[journal]).exits(0);
    // A namespace without a Redis names nothing.
    let namespace = ("MCP_PRUNE_NOTIFY_NAMESPACE", "litellm");
    let _ = ran(&["fix", "--dry-run"], &[namespace]).exits(2);
    let missing = [("MCP_PRUNE_DB_URL_FILE", "nowhere")];
    let _ = ran(&["scan"], &missing)
        .exits(64)
        .says("cannot read --db-url-file nowhere")
        .says("--db-url-file comes from MCP_PRUNE_DB_URL_FILE");
}

#[test]
fn two_variables_that_name_a_database_are_refused() {
    let file = ("MCP_PRUNE_DB_URL_FILE", "url");
    for other in ["DATABASE_URL", "DATABASE_HOST"] {
        let both = [file, (other, "postgresql://u@127.0.0.1:1/d")];
        let told = format!("both MCP_PRUNE_DB_URL_FILE and {other} are set");
        let _ = ran(&["scan"], &both).exits(64).says(&told);
        // An option decides, and so does an empty variable.
        for option in [["--db-url", NOWHERE], ["--db-url-file", "url"]] {
            let _ = ran(&[&["scan"][..], &option].concat(), &both).exits(7);
        }
        let _ = ran(&["scan"], &[file, (other, "")]).exits(7);
        let _ = ran(&["scan"], &[("MCP_PRUNE_DB_URL_FILE", ""), both[1]]);
        // What needs no database is not concerned.
        let _ = ran(&["completions", "bash"], &both).exits(0);
    }
}

/// What is printed does the same in a shell without the variables.
#[test]
fn what_a_report_suggests_repeats_what_variables_say() {
    let database = case("beside_live");
    let folder = folder(database.url());
    let config = folder.path().join("config.yaml");
    fs::write(&config, "mcp_servers: {}\n").unwrap();
    fs::create_dir(folder.path().join("journals")).unwrap();
    let program = PathBuf::from(env!("CARGO_BIN_EXE_mcp-prune"));
    let path = format!("{}:/usr/bin:/bin", program.parent().unwrap().display());
    let pasted = |command: &str, variables: &[(&str, &str)]| {
        let mut shell = std::process::Command::new("sh");
        shell.args(["-c", command]).env_clear().env("PATH", &path);
        shell.env("LC_ALL", "C.UTF-8");
        let state = folder.path().join("state");
        shell
            .env("XDG_STATE_HOME", state)
            .stdin(std::process::Stdio::null());
        shell
            .envs(variables.iter().copied())
            .current_dir(folder.path());
        run(&mut shell)
    };
    let variables = [
        ("MCP_PRUNE_DB_URL_FILE", "url"),
        ("MCP_PRUNE_LITELLM_CONFIG", "config.yaml"),
        ("MCP_PRUNE_KEEP", "kept"),
        ("MCP_PRUNE_SCHEMA", "public"),
        ("MCP_PRUNE_STATEMENT_TIMEOUT", "30"),
        ("MCP_PRUNE_LOCK_TIMEOUT", "2.5"),
        ("MCP_PRUNE_MAX_ROWS", "100"),
        ("MCP_PRUNE_JOURNAL", "journals"),
    ];
    let line_after = |text: &str, lead: &str| {
        let mut lines = text.lines();
        assert!(lines.any(|line| line.ends_with(lead)), "{lead}: {text}");
        lines.next().unwrap().trim().to_owned()
    };
    let scanned = pasted("mcp-prune scan", &variables).exits(2);
    let next = line_after(&scanned.stdout, "Next:");
    for option in [
        "--db-url-file url",
        "--litellm-config config.yaml",
        "--keep kept",
        "--schema public",
        "--statement-timeout 30",
    ] {
        assert!(next.contains(option), "{option} in {next}");
    }
    let dry_run = pasted(&next, &variables).exits(2);
    let elsewhere = pasted(&next, &[]).exits(2);
    assert!(
        elsewhere.stdout.contains("It would remove 3"),
        "{elsewhere}"
    );
    let carry_out = line_after(&dry_run.stdout, "To carry it out:");
    for option in ["--max-rows 100", "--lock-timeout 2.5", "--journal journals"] {
        assert!(carry_out.contains(option), "{option} in {carry_out}");
    }
    let done = pasted(&format!("{carry_out} --yes"), &[]).exits(0);
    let take_back = line_after(&done.stdout, "To take it back:");
    let _ = pasted(&format!("{take_back} --yes"), &variables).exits(0);
}
