//! The documents are true. Their commands run, their JSON fits the schemas, their links lead
//! somewhere and are shipped, and the files that they name are there. They name every option of
//! each command, every variable, JSON field, check, metric, alert and exit code, and no other.
//!
//! Tested elsewhere: the README's first two commands (`.ci/run`), the crontab line (`kit`), and the
//! table of exit codes (`src/exit_code.rs`).

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::CommandFactory as _;
use mcp_prune::testing::{Cli, hash};
use serde_json::Value;

use crate::program::{mcp_prune, repository, run, run_on};
use crate::samples::{demo, script};
use crate::server::{concurrent_server, skip};
use crate::server_version::{Feature, has};

const JOURNAL: &str = ".local/state/mcp-prune/fix-20260102T030405Z-1a2b3c4d.ndjson";

/// Options of other programs that the documents name.
const OTHERS: [&str; 20] = [
    "all",
    "all-targets",
    "clean",
    "create",
    "document-private-items",
    "encoding",
    "exclude-table-data",
    "features",
    "file",
    "follow",
    "force",
    "inserts",
    "lib",
    "list",
    "locked",
    "no-deps",
    "no-owner",
    "no-privileges",
    "schema-only",
    "single-transaction",
];

/// More of them, whose names are short.
const MORE_OTHERS: [&str; 11] = [
    "check",
    "from-file",
    "install",
    "now",
    "path",
    "repo",
    "release",
    "set",
    "table",
    "target",
    "test",
];

/// Programs of `sh` blocks, which no test runs: they build, or need a cluster.
const NOT_RUN: [&str; 7] = [
    "cargo ",
    "dpkg --install ",
    "INSTA_UPDATE=always cargo ",
    "git diff ",
    "kubectl ",
    "pip install ",
    "skopeo copy ",
];

/// Reads the documents: the README first, then those beside it, then those of `docs/` by name.
fn documents() -> Vec<(PathBuf, String)> {
    let beside = [
        "README.md",
        "ARCHITECTURE.md",
        "CONTRIBUTING.md",
        "SECURITY.md",
    ];
    let docs = fs::read_dir(repository("docs")).unwrap();
    let mut docs: Vec<PathBuf> = docs.map(|entry| entry.unwrap().path()).collect();
    docs.sort();
    let paths = beside.into_iter().map(repository).chain(docs);
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).unwrap();
        (path, text)
    };
    paths.map(read).collect()
}

/// Returns all documents as one text.
fn all_text() -> String {
    let texts: Vec<String> = documents().into_iter().map(|(_, text)| text).collect();
    texts.join("\n")
}

fn document(path: &str) -> String {
    fs::read_to_string(repository(path)).unwrap()
}

/// Returns the words of a text that are set as code.
fn code(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

/// Returns the cells of the rows of a document's tables, without the rules below their heads.
fn tables(text: &str) -> Vec<Vec<&str>> {
    let rows = text
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |"));
    rows.map(|row| row.split(" | ").collect()).collect()
}

/// Returns the rows of those tables of a document whose first head is `head`.
fn rows_under<'t>(text: &'t str, head: &str) -> Vec<Vec<&'t str>> {
    let mut rows = Vec::new();
    let mut inside = false;
    for line in text.lines() {
        if !line.starts_with('|') {
            inside = false;
        } else if line.starts_with(&format!("| {head} |")) {
            inside = true;
        } else if inside {
            rows.extend(tables(line));
        }
    }
    rows
}

/// Returns the program's options, and the commands that take each.
fn options() -> BTreeMap<String, BTreeSet<String>> {
    let mut options: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut program = Cli::command();
    program.build();
    for command in subcommands(&program) {
        for option in command.get_arguments().filter_map(clap::Arg::get_long) {
            let commands = options.entry(option.to_owned()).or_default();
            commands.insert(command.get_name().to_owned());
        }
    }
    options
}

fn subcommands(program: &clap::Command) -> impl Iterator<Item = &clap::Command> {
    let all = program.get_subcommands();
    all.filter(|command| command.get_name() != "help")
}

/// Returns the blocks of one language.
fn blocks<'t>(text: &'t str, language: &str) -> Vec<&'t str> {
    let fence = format!("```{language}\n");
    let after = text.split(&fence).skip(1);
    after
        .map(|block| block.split("```").next().unwrap())
        .collect()
}

/// Returns the lines of the console blocks that are typed at a prompt.
fn commands(text: &str) -> Vec<&str> {
    let lines = blocks(text, "console").into_iter().flat_map(str::lines);
    lines
        .filter_map(|line| line.trim_start().strip_prefix("$ "))
        .collect()
}

/// Returns what a command exits with on the demo, which has something stale and something held.
fn status(command: &str) -> i32 {
    let has = |words: &str| format!("{command} ").contains(&format!(" {words} "));
    if has("--exit-zero") || has("--plan") {
        // A plan has only what is to be written, so nothing is left to be held.
        0
    } else if has("--write-baseline") || has("scan --baseline leftovers") {
        // Everything is acknowledged.
        0
    } else if has("scan") || has("fix --dry-run") {
        2
    } else if has("fix --yes") {
        3
    } else if command.starts_with("mcp-prune fix")
        || (has("undo") && !has("--dry-run") && !has("--yes"))
    {
        // They ask, and there is no terminal here. The tests of `cli` give them one.
        64
    } else {
        0
    }
}

/// Makes the home of somebody who follows the README, with the files that it mentions.
fn home() -> tempfile::TempDir {
    let home = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(home.path().join(name), text).unwrap();
    let demo = script("demo");
    write("backup.sql", &demo);
    write("litellm.sql", &demo);
    write(
        "remaps.csv",
        "old,new\na15e9c3d-84f2-4d7b-92c6-5e0b8f3a7d05,jira\n",
    );
    let config = |url: &str| format!("mcp_servers:\n  wiki: {{url: {url}, transport: http}}\n");
    write("old.yaml", &config("https://old.example/mcp"));
    write("new.yaml", &config("https://new.example/mcp"));
    write("config.yaml", &config("https://new.example/mcp"));
    write("key.txt", "sk-of-the-readme\n");
    fs::create_dir(home.path().join("bin")).unwrap();
    symlink(
        env!("CARGO_BIN_EXE_mcp-prune"),
        home.path().join("bin/mcp-prune"),
    )
    .unwrap();
    home
}

/// Runs a command line as a shell does, on a database of its own, which is as the README has it by
/// then.
fn follow(home: &Path, command: &str) {
    let database = demo();
    let file = |name: &str| home.join(name).to_str().unwrap().to_owned();
    let mut run_of_journal = "1a2b3c4d".to_owned();
    if ["undo ", "show ", "history"]
        .iter()
        .any(|word| command.contains(word))
    {
        let fix = [
            "fix",
            "--yes",
            "--format",
            "json",
            "--journal",
            &file(JOURNAL),
        ];
        fs::create_dir_all(home.join(JOURNAL).parent().unwrap()).unwrap();
        let fixed = run_on(database.url(), &fix).exits(3).json();
        fixed["run"]
            .as_str()
            .unwrap()
            .clone_into(&mut run_of_journal);
    }
    if command.contains("--plan ") {
        let plan = ["fix", "--dry-run", "--plan-out", &file("plan.ndjson")];
        let _ = run_on(database.url(), &plan).exits(2);
    }
    if command.contains("--key-file") {
        database.execute(&format!(
            r#"INSERT INTO "LiteLLM_VerificationToken" ("token") VALUES ('{}')"#,
            hash("sk-of-the-readme")
        ));
    }
    if command.contains("--baseline leftovers") {
        let scan = ["scan", "--write-baseline", &file("leftovers")];
        let _ = run_on(database.url(), &scan).exits(0);
    }
    if let Some((_, since)) = command.split_once("--since ") {
        let saved = file(since.split(' ').next().unwrap());
        let save = ["access", "--no-config-servers", "--save", &saved];
        let _ = run_on(database.url(), &save).exits(0);
    }
    if command.contains("--file fix.sql") || command.contains("--file undo.sql") {
        let [fix, undo] = ["fix.sql", "undo.sql"].map(file);
        let make = [
            "fix",
            "--dry-run",
            "--format",
            "sql",
            "--output",
            &fix,
            "--undo-sql",
            &undo,
        ];
        let _ = run_on(database.url(), &make).exits(2);
        if command.contains("--file undo.sql") {
            database.load(&fs::read_to_string(&fix).unwrap());
        }
    }
    let command_of_run = command.replace(" 1a2b3c4d", &format!(" {run_of_journal}"));
    let mut line = command_of_run.replace(
        "postgresql://readonly@db.internal/litellm?schema=public",
        &format!("{}?schema=public", database.url()),
    );
    line = line.replace("postgresql://dba@db.internal/litellm", database.url());
    if command.starts_with("pg_dump ")
        && (concurrent_server("pg_dump").is_none()
            || !has(Feature::PgDump, "pg_dump as documented"))
    {
        return;
    }
    if line.contains("psql") {
        // Roles are the whole server's; the embedded one serves one connection at a time.
        if concurrent_server("grants into psql").is_none() {
            return;
        }
        let role = format!("{}_readme", database.name());
        database.execute(&format!("CREATE ROLE {role} LOGIN"));
        line = line.replace("--role mcp_prune", &format!("--role {role}"));
        line = line.replace("psql ", "psql --quiet --set ON_ERROR_STOP=1 ");
    }
    let path = std::env::var("PATH").unwrap();
    let ran = run(Command::new("/bin/sh")
        .args(["-c", &line])
        .env_clear()
        .env("PATH", format!("{}:{path}", home.join("bin").display()))
        .env("HOME", home)
        // As LiteLLM's own is.
        .env("DATABASE_URL", format!("{}?schema=public", database.url()))
        .stdin(std::process::Stdio::null())
        .current_dir(home));
    assert_eq!(ran.status, status(command), "$ {command}\n{ran}");
    for file in [
        JOURNAL,
        "plan.ndjson",
        "before.ndjson",
        "now.ndjson",
        "leftovers",
        "fix.sql",
        "undo.sql",
    ] {
        // The next command makes it anew. It may be missing.
        let _ = fs::remove_file(home.join(file));
    }
}

#[test]
fn every_command_of_a_console_block_runs() {
    let text = all_text();
    let home = home();
    let commands: BTreeSet<&str> = commands(&text).into_iter().collect();
    assert!(commands.len() > 40, "{commands:?}");
    for command in commands {
        if let Some(installed) = command.strip_prefix("cargo install --path .") {
            // The tests run the same build. Only the features are checked here.
            let features = installed.strip_prefix(" --features ").unwrap_or_default();
            let manifest = fs::read_to_string(repository("Cargo.toml")).unwrap();
            for feature in features.split(',').filter(|feature| !feature.is_empty()) {
                assert!(manifest.contains(&format!("\n{feature} = [")), "{feature}");
            }
            continue;
        }
        assert!(
            ["mcp-prune ", "pg_dump ", "psql "]
                .iter()
                .any(|program| command.starts_with(program)),
            "{command}"
        );
        if command.contains("embedded:") && cfg!(not(feature = "embedded")) {
            skip(command, "needs the Cargo feature embedded");
            continue;
        }
        follow(home.path(), command);
    }
}

#[test]
fn commands_that_are_not_run_are_of_other_programs_and_name_files_that_are_there() {
    let text = all_text();
    let lines = blocks(&text, "sh").into_iter().flat_map(str::lines);
    let lines: Vec<&str> = lines.filter(|line| !line.is_empty()).collect();
    assert!(lines.len() > 4, "{lines:?}");
    for line in lines {
        let known = NOT_RUN.iter().any(|program| line.starts_with(program));
        assert!(known, "use a console block, whose commands are run: {line}");
        let is_elsewhere = |word: &str| word.starts_with("job/") || word.contains("://");
        let words = line.split(' ').filter(|word| !is_elsewhere(word));
        for word in words.filter(|word| word.contains('/')) {
            let file = word.trim_start_matches("embedded:");
            assert!(repository(file).exists(), "{line}");
        }
    }
}

#[test]
fn a_command_in_a_sentence_has_the_options_that_it_names() {
    let options = options();
    let mut program = Cli::command();
    program.build();
    let names: BTreeSet<&str> = subcommands(&program).map(clap::Command::get_name).collect();
    let text = all_text();
    // Blocks of code have fences of three.
    let text = text.replace("```", "");
    let mut checked = 0;
    for span in code(&text) {
        let words = span.strip_prefix("mcp-prune ").unwrap_or(span);
        let mut words = words.split_whitespace();
        let name = words.next().unwrap_or_default();
        if !names.contains(name) {
            let of_program = ["", "COMMAND", "--version", "--help"];
            let ours = span.starts_with("mcp-prune ");
            assert!(!ours || of_program.contains(&name), "{span}");
            continue;
        }
        for option in words.filter_map(|word| word.strip_prefix("--")) {
            let commands = options.get(option).unwrap_or_else(|| panic!("{span}"));
            assert!(commands.contains(name), "{span}");
            checked += 1;
        }
    }
    assert!(checked > 5, "{checked}");
}

#[test]
fn the_json_is_as_the_schema_says() {
    let text = all_text();
    for block in blocks(&text, "json") {
        let document: Value = serde_json::from_str(block).unwrap();
        crate::schemas::Format::Json.check(&document);
    }
}

fn schema(name: &str) -> Value {
    serde_json::from_str(&document(&format!("fixtures/schema/{name}.json"))).unwrap()
}

#[test]
fn every_kind_is_explained() {
    fn examples(schema: &Value, found: &mut BTreeSet<String>) {
        if let Some(fields) = schema.as_object() {
            let of_it = schema["examples"].as_array().into_iter().flatten();
            found.extend(of_it.map(|example| example.as_str().unwrap().to_owned()));
            fields.values().for_each(|field| examples(field, found));
        }
        let items = schema.as_array().into_iter().flatten();
        items.for_each(|item| examples(item, found));
    }
    let mut kinds = BTreeSet::new();
    examples(&schema("report"), &mut kinds);
    assert!(kinds.len() > 60, "{kinds:?}");
    let text = all_text();
    kinds.retain(|kind| !text.contains(&format!("`{kind}`")));
    assert_eq!(kinds, BTreeSet::new());
}

#[test]
fn every_json_field_is_explained_and_every_explained_field_is_there() {
    fn fields(schema: &Value, found: &mut BTreeSet<String>) {
        let properties = schema["properties"].as_object().into_iter().flatten();
        found.extend(properties.map(|(name, _)| name.clone()));
        let inside = schema.as_object().into_iter().flatten();
        inside.for_each(|(_, inner)| fields(inner, found));
        let items = schema.as_array().into_iter().flatten();
        items.for_each(|item| fields(item, found));
    }
    let mut there = BTreeSet::new();
    for name in ["report", "ndjson", "changeset"] {
        fields(&schema(name), &mut there);
    }
    assert!(there.len() > 80, "{there:?}");
    let output = document("docs/output.md");
    let explained: BTreeSet<&str> = code(&output).into_iter().collect();
    let missing: Vec<&String> = there
        .iter()
        .filter(|field| !explained.contains(field.as_str()))
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
    for row in rows_under(&output, "field") {
        for field in code(row[0]) {
            assert!(there.contains(field), "{field}");
        }
    }
}

#[test]
fn every_option_that_a_document_names_is_there() {
    let options = options();
    let text = all_text();
    let words = text.split(|c: char| !(c.is_ascii_lowercase() || c == '-'));
    let mut named: BTreeSet<&str> = words.filter_map(|word| word.strip_prefix("--")).collect();
    // Rules of tables, and options of other programs.
    named.retain(|name| !name.trim_matches('-').is_empty());
    named.retain(|name| !OTHERS.contains(name) && !MORE_OTHERS.contains(name));
    named.retain(|name| !options.contains_key(*name));
    assert_eq!(named, BTreeSet::new());
}

#[test]
fn every_option_is_documented_under_the_commands_that_take_it() {
    let mut program = Cli::command();
    program.build();
    let all: BTreeSet<String> = subcommands(&program)
        .map(|command| command.get_name().to_owned())
        .collect();
    let text = document("docs/options.md");
    let mut documented: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for row in rows_under(&text, "option") {
        let [option, commands, _] = row[..] else {
            continue;
        };
        let commands = match commands {
            "all" => all.clone(),
            some => some.split(", ").map(str::to_owned).collect(),
        };
        let words = code(option).into_iter().filter_map(|c| c.split(' ').next());
        for long in words.filter_map(|word| word.strip_prefix("--")) {
            let before = documented.insert(long.to_owned(), commands.clone());
            assert!(before.is_none_or(|before| before == commands), "{long}");
        }
    }
    assert_eq!(documented, options());
    let commands = rows_under(&text, "command");
    let commands = commands.iter().flat_map(|row| code(row[0]));
    let commands: BTreeSet<String> = commands
        .map(|command| command.split(' ').next().unwrap().to_owned())
        .collect();
    assert_eq!(commands, all);
}

/// Reads the sources, without their tests.
fn sources(folder: &Path, text: &mut String) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, text);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let source = fs::read_to_string(&path).unwrap();
            text.push_str(source.split("#[cfg(test)]").next().unwrap());
        }
    }
}

#[test]
fn every_variable_that_the_program_reads_is_documented_and_every_documented_one_is_read() {
    // No variable: the first letters of an archive of pg_dump.
    let others = ["PGDMP"];
    let prefixes = ["MCP_PRUNE_", "DATABASE_", "PG", "XDG_", "LC_"];
    let single = ["HOME", "LANG", "NO_COLOR", "TERM", "TMPDIR"];
    let mut source = String::new();
    sources(&repository("src"), &mut source);
    let mut read: BTreeSet<&str> = source.split('"').collect();
    read.retain(|word| {
        let name = |c: char| c.is_ascii_uppercase() || c == '_';
        let of_ours = prefixes.iter().any(|prefix| word.starts_with(prefix));
        !word.is_empty()
            && word.chars().all(name)
            && (of_ours || single.contains(word))
            && !others.contains(word)
    });
    assert!(read.len() > 20, "{read:?}");
    let text = document("docs/options.md");
    let rows = rows_under(&text, "variable");
    let documented: BTreeSet<&str> = rows.iter().flat_map(|row| code(row[0])).collect();
    let missing: Vec<&&str> = read.difference(&documented).collect();
    assert!(missing.is_empty(), "{missing:?}");
    for variable in documented {
        assert!(source.contains(variable), "{variable}");
    }
}

#[test]
fn every_metric_is_explained_and_every_explained_metric_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("run.prom");
    let database = demo();
    let mut written: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let leftovers = folder.path().join("leftovers").display().to_string();
    let wrote = [
        "scan",
        "--owner",
        "team:platform",
        "--write-baseline",
        &leftovers,
    ];
    let _ = run(mcp_prune(&wrote).args(["--db-url", database.url()])).exits(0);
    for (args, status) in [
        (&["scan", "--baseline", &leftovers][..], 2),
        (&["fix", "--yes", "--no-journal"], 3),
    ] {
        let mut program = mcp_prune(args);
        let ran = program.args(["--db-url", database.url(), "--metrics-file"]);
        let _ = run(ran.arg(&file)).exits(status);
        let text = fs::read_to_string(&file).unwrap();
        for line in text
            .lines()
            .filter_map(|line| line.strip_prefix("mcp_prune_"))
        {
            let (name, rest) = line.split_once('{').unwrap();
            let labels = rest.split_once('}').unwrap().0.split(',');
            let labels = labels.filter_map(|label| Some(label.split_once('=')?.0.to_owned()));
            let labels = labels.filter(|label| label != "command");
            written.insert(name.to_owned(), labels.collect());
        }
    }
    let text = document("docs/scheduling.md");
    let rows = rows_under(&text, "metric (`mcp_prune_...`)");
    let mut explained: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for metric in rows.iter().flat_map(|row| code(row[0])) {
        let (name, labels) = metric.split_once('{').unwrap_or((metric, "}"));
        let labels = labels.trim_end_matches('}').split(',');
        let labels = labels.filter(|label| !label.is_empty()).map(str::to_owned);
        explained.insert(name.to_owned(), labels.collect());
    }
    assert_eq!(explained, written);

    let alerts = document("packaging/alerts.yaml");
    let alerts = alerts
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: "));
    let rows = rows_under(&text, "alert");
    let explained: Vec<&str> = rows.iter().flat_map(|row| code(row[0])).collect();
    assert_eq!(explained, alerts.collect::<Vec<_>>());
}

#[test]
fn an_incident_has_every_exit_code_but_success() {
    let codes = |path: &str| {
        let text = document(path);
        let rows = rows_under(&text, "code");
        let codes = rows.iter().map(|row| row[0].to_owned());
        codes.filter(|code| code != "0").collect::<Vec<_>>()
    };
    assert_eq!(codes("docs/incident.md"), codes("README.md"));
}

/// Returns the anchors of a document's headings.
fn anchors(text: &str) -> Vec<String> {
    let titles = text.lines().filter(|line| line.starts_with('#'));
    let anchor = |line: &str| {
        let words = line.trim_start_matches('#').trim().to_lowercase();
        words
            .replace(' ', "-")
            .replace(|c: char| !(c.is_alphanumeric() || c == '-'), "")
    };
    titles.map(anchor).collect()
}

/// Tells whether the Debian package has a file of the repository at the place that links expect.
fn is_shipped(manifest: &str, file: &str) -> bool {
    let (folder, name) = file.rsplit_once('/').unwrap_or(("", file));
    let folder = match folder {
        "" => "usr/share/doc/mcp-prune/".to_owned(),
        folder => format!("usr/share/doc/mcp-prune/{folder}/"),
    };
    let extension = name.rsplit_once('.').map_or("", |(_, extension)| extension);
    let whole = format!("[\"{file}\", \"{folder}\", ");
    let several = file.replace(name, &format!("*.{extension}"));
    let several = format!("[\"{several}\", \"{folder}\", ");
    manifest.contains(&whole) || manifest.contains(&several)
}

#[test]
fn every_link_leads_somewhere_and_is_shipped() {
    let manifest = document("Cargo.toml");
    let mut links = 0;
    for (path, text) in &documents() {
        for link in text.split("](").skip(1) {
            let link = link.split(')').next().unwrap();
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = match file {
                "" => path.clone(),
                file => path.parent().unwrap().join(file),
            };
            let target = target.canonicalize();
            let target = target.unwrap_or_else(|_| panic!("{}: {link}", path.display()));
            if !anchor.is_empty() {
                let text = fs::read_to_string(&target).unwrap();
                let there = anchors(&text).iter().any(|there| there == anchor);
                assert!(there, "{}: {link}", path.display());
            }
            let root = repository("").canonicalize().unwrap();
            let file = target.strip_prefix(root).unwrap().to_str().unwrap();
            assert!(is_shipped(&manifest, file), "{}: {link}", path.display());
            links += 1;
        }
    }
    assert!(links > 60, "{links}");
}

/// Lists all files of a folder and of the folders in it.
fn files(folder: &Path) -> Vec<PathBuf> {
    let paths = fs::read_dir(folder).unwrap().map(|e| e.unwrap().path());
    let inside = |path: PathBuf| {
        if path.is_dir() {
            files(&path)
        } else {
            vec![path]
        }
    };
    paths.flat_map(inside).collect()
}

/// Tells whether a document may name a file or folder: by its path from the root, from `src/`
/// or from `packaging/`, or a source file by its name alone. Its name may begin with a star.
fn is_there(sources: &[PathBuf], named: &str) -> bool {
    let from = ["", "src", "packaging"].map(|folder| repository(folder).join(named));
    if let Some((folder, ending)) = named.split_once('*') {
        let ends = |path: &PathBuf| path.to_str().unwrap().ends_with(ending);
        return repository(folder).is_dir() && files(&repository(folder)).iter().any(ends);
    }
    let is_alone = !named.contains('/');
    from.iter().any(|path| path.exists())
        || is_alone && sources.iter().any(|source| source.ends_with(named))
}

#[test]
fn every_source_file_and_folder_that_a_document_names_is_there() {
    let sources = files(&repository("src"));
    let ours = |word: &str| {
        let roots = [
            ".ci/",
            "benches/",
            "docs/",
            "fixtures/",
            "packaging/",
            "src/",
            "tests/",
        ];
        let is_path = |c: char| c.is_ascii_alphanumeric() || "_-./*".contains(c);
        let is_source = Path::new(word).extension().is_some_and(|e| e == "rs");
        let is_named = is_source || word.ends_with('/') && word.len() > 1;
        let of_the_system = word.starts_with('/');
        let is_ours = is_named && !of_the_system || roots.iter().any(|r| word.starts_with(r));
        is_ours && word.chars().all(is_path)
    };
    let mut named = 0;
    for (path, text) in documents() {
        let text = text.replace("```", "");
        for word in code(&text).into_iter().filter(|word| ours(word)) {
            assert!(is_there(&sources, word), "{}: {word}", path.display());
            named += 1;
        }
    }
    assert!(named > 50, "{named}");
    assert!(!is_there(&sources, "src/nowhere/"));
    assert!(!is_there(&sources, "litellm/nowhere.rs"));
    assert!(!is_there(&sources, "nowhere.rs"));
}

#[test]
fn the_readme_is_short_and_links_every_document() {
    let documents = documents();
    let (_, readme) = &documents[0];
    assert!(readme.lines().count() <= 200);
    for (path, _) in &documents[1..] {
        let name = path.strip_prefix(repository("")).unwrap();
        let link = format!("({})", name.display());
        assert!(readme.contains(&link), "{link}");
    }
}

#[test]
fn every_command_has_a_manual_page_and_pages_refer_to_those_that_ship() {
    let mut program = Cli::command();
    program.build();
    let commands: Vec<&str> = subcommands(&program).map(clap::Command::get_name).collect();
    let build = document("packaging/build-pages");
    let made = build
        .lines()
        .find_map(|line| line.strip_prefix("for command in "));
    let made = made.unwrap().trim_end_matches("; do");
    let made: BTreeSet<&str> = made.split(' ').collect();
    assert_eq!(made, commands.iter().copied().collect());

    let shipped: BTreeSet<String> = commands
        .iter()
        .map(|command| format!("mcp-prune-{command}"))
        .chain(["mcp-prune".to_owned()])
        .collect();
    let mut texts: Vec<String> = vec![run(&mut mcp_prune(&["man"])).exits(0).stdout];
    for command in &commands {
        texts.push(run(&mut mcp_prune(&["man", command])).exits(0).stdout);
    }
    for unit in [
        "mcp-prune.service",
        "mcp-prune-scan.service",
        "mcp-prune.timer",
    ] {
        texts.push(document(&format!("packaging/{unit}")));
    }
    let mut pages = 0;
    for text in texts {
        // A page spells a hyphen with a backslash.
        let text = text.replace('\\', "");
        for before in text.split("(1)").filter(|before| before.len() < text.len()) {
            let page = before.rsplit(|c: char| !(c.is_ascii_lowercase() || c == '-'));
            let page = page.into_iter().next().unwrap();
            if page.starts_with("mcp-prune") {
                assert!(shipped.contains(page), "{page}");
                pages += 1;
            }
        }
    }
    assert!(pages > commands.len(), "{pages}");
}

#[test]
fn lines_are_no_longer_than_an_editor_is_wide() {
    for (path, text) in documents() {
        // A row of a table, a command, and a crontab line cannot be broken.
        let breakable = |line: &&str| {
            let line = line.trim_start();
            !["| ", "17 3 ", "17 4 ", "$ "]
                .iter()
                .any(|start| line.starts_with(start))
        };
        for line in text.lines().filter(breakable) {
            assert!(line.chars().count() <= 100, "{}: {line}", path.display());
        }
    }
}
