//! The README and `docs/`, held to what they say: its commands run, its JSON is as the schemas say, their links lead
//! somewhere, and the options and kinds that it names are those there are.
//!
//! Elsewhere: the first two commands (`.ci/run`), the crontab line (`kit`), the exit codes (`exit`).

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::CommandFactory as _;
use mcp_prune::cli::Cli;
use serde_json::Value;

use crate::program::{repository, run, run_on};
use crate::server::{TestDatabase, concurrent_server};

const JOURNAL: &str = ".local/state/mcp-prune/fix-20260102T030405Z-1a2b3c4d.ndjson";

/// Options of cargo, `pg_dump` and systemd that the documents name.
const OTHERS: [&str; 11] = [
    "path",
    "features",
    "release",
    "target",
    "no-owner",
    "no-privileges",
    "encoding",
    "table",
    "file",
    "exclude-table-data",
    "create",
];

/// Reads the documents whose commands run: the README first, then those of `docs/` by name.
fn documents() -> Vec<(PathBuf, String)> {
    let docs = fs::read_dir(repository("docs")).unwrap();
    let mut paths: Vec<PathBuf> = docs.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.insert(0, repository("README.md"));
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).unwrap();
        (path, text)
    };
    paths.into_iter().map(read).collect()
}

/// Returns all documents as one text.
fn readme() -> String {
    let texts: Vec<String> = documents().into_iter().map(|(_, text)| text).collect();
    texts.join("\n")
}

/// The blocks of one language.
fn blocks<'t>(text: &'t str, language: &str) -> Vec<&'t str> {
    let fence = format!("```{language}\n");
    let after = text.split(&fence).skip(1);
    after
        .map(|block| block.split("```").next().unwrap())
        .collect()
}

/// The lines of the console blocks that were typed at a prompt.
fn commands(text: &str) -> Vec<&str> {
    let lines = blocks(text, "console").into_iter().flat_map(str::lines);
    lines.filter_map(|line| line.strip_prefix("$ ")).collect()
}

/// What a command exits with on the demo, which has something stale and something that is held.
fn status(command: &str) -> i32 {
    let has = |words: &str| format!("{command} ").contains(&format!(" {words} "));
    if has("--exit-zero") || has("--plan") {
        // A plan has only what is to be written, so nothing is left to be held.
        0
    } else if has("scan") || has("fix --dry-run") {
        2
    } else if has("fix --yes") {
        3
    } else if command == "mcp-prune fix" {
        // It asks, and here is no terminal; `cli` gives it one.
        64
    } else {
        0
    }
}

/// The home of somebody who follows the README, with the files that it mentions.
fn home() -> tempfile::TempDir {
    let home = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(home.path().join(name), text).unwrap();
    let demo = fs::read_to_string(repository("fixtures/demo.sql")).unwrap();
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
    fs::create_dir(home.path().join("bin")).unwrap();
    symlink(
        env!("CARGO_BIN_EXE_mcp-prune"),
        home.path().join("bin/mcp-prune"),
    )
    .unwrap();
    home
}

fn demo() -> TestDatabase {
    let database = TestDatabase::empty();
    database.load(&fs::read_to_string(repository("fixtures/demo.sql")).unwrap());
    database
}

/// Runs a command line as a shell does, on a database of its own that is as the README has it by then.
fn follow(home: &Path, command: &str) {
    let database = demo();
    let file = |name: &str| home.join(name).to_str().unwrap().to_owned();
    if command.contains("undo ") {
        let fix = ["fix", "--yes", "--journal", &file(JOURNAL)];
        fs::create_dir_all(home.join(JOURNAL).parent().unwrap()).unwrap();
        let _ = run_on(database.url(), &fix).exits(3);
    }
    if command.contains("--plan ") {
        let plan = ["fix", "--dry-run", "--plan-out", &file("plan.ndjson")];
        let _ = run_on(database.url(), &plan).exits(2);
    }
    let mut line = command.replace(
        "postgresql://readonly@db.internal/litellm?schema=public",
        &format!("{}?schema=public", database.url()),
    );
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
    for file in [JOURNAL, "plan.ndjson"] {
        // There or not, it is made anew for the next command.
        let _ = fs::remove_file(home.join(file));
    }
}

#[test]
fn every_command_of_a_console_block_runs() {
    let readme = readme();
    let home = home();
    let commands = commands(&readme);
    assert!(commands.len() > 20, "{commands:?}");
    for command in commands {
        if let Some(installed) = command.strip_prefix("cargo install --path .") {
            // The build that the tests run is the same; here only the features.
            let features = installed.strip_prefix(" --features ").unwrap_or_default();
            let manifest = fs::read_to_string(repository("Cargo.toml")).unwrap();
            for feature in features.split(',').filter(|feature| !feature.is_empty()) {
                assert!(manifest.contains(&format!("\n{feature} = [")), "{feature}");
            }
            continue;
        }
        if command.starts_with("pg_dump ") {
            // `dumps` loads what it makes.
            continue;
        }
        assert!(command.starts_with("mcp-prune "), "{command}");
        if command.contains("embedded:") && cfg!(not(feature = "embedded")) {
            continue;
        }
        follow(home.path(), command);
    }
}

#[test]
fn the_json_is_as_the_schema_says() {
    let readme = readme();
    for block in blocks(&readme, "json") {
        let document: Value = serde_json::from_str(block).unwrap();
        crate::schemas::Format::Json.check(&document);
    }
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
    let text = fs::read_to_string(repository("fixtures/schema/report.json")).unwrap();
    let mut schema: Value = serde_json::from_str(&text).unwrap();
    // Those of `doctor` say themselves what they are about.
    let checks = schema["$defs"]["doctor"]["properties"].take();
    assert!(!checks.is_null());
    let mut kinds = BTreeSet::new();
    examples(&schema, &mut kinds);
    assert!(kinds.len() > 40, "{kinds:?}");
    let readme = readme();
    kinds.retain(|kind| !readme.contains(&format!("`{kind}`")));
    assert_eq!(kinds, BTreeSet::new());
}

#[test]
fn every_option_that_it_names_is_there() {
    let mut there: BTreeSet<String> = ["help", "version"].map(str::to_owned).into();
    for command in Cli::command().get_subcommands() {
        let options = command.get_arguments().filter_map(clap::Arg::get_long);
        there.extend(options.map(str::to_owned));
    }
    let readme = readme();
    let words = readme.split(|c: char| !(c.is_ascii_lowercase() || c == '-'));
    let mut named: BTreeSet<&str> = words.filter_map(|word| word.strip_prefix("--")).collect();
    // Rules of tables, and options of cargo, of pg_dump and of systemd.
    named.retain(|name| !name.trim_matches('-').is_empty());
    named.retain(|name| !OTHERS.contains(name));
    named.retain(|name| !there.contains(*name));
    assert_eq!(named, BTreeSet::new());
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

#[test]
fn every_option_of_the_program_is_named() {
    let documents = readme();
    let named: BTreeSet<&str> = documents
        .split(|c: char| !(c.is_ascii_lowercase() || c == '-'))
        .collect();
    let mut missing = BTreeSet::new();
    for command in Cli::command().get_subcommands() {
        for option in command.get_arguments().filter_map(clap::Arg::get_long) {
            if !named.contains(format!("--{option}").as_str()) {
                missing.insert(format!("{} --{option}", command.get_name()));
            }
        }
    }
    assert_eq!(missing, BTreeSet::new());
}

#[test]
fn every_metric_of_an_alert_is_explained() {
    let documents = readme();
    let alerts = fs::read_to_string(repository("packaging/alerts.yaml")).unwrap();
    let words = alerts.split(|c: char| !(c.is_ascii_lowercase() || c == '_'));
    let metrics: BTreeSet<&str> = words.filter_map(|w| w.strip_prefix("mcp_prune_")).collect();
    assert!(metrics.len() > 3, "{metrics:?}");
    for metric in metrics {
        assert!(documents.contains(&format!("`{metric}")), "{metric}");
    }
}

#[test]
fn every_link_leads_somewhere() {
    let mut documents = documents();
    for name in ["ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md"] {
        let path = repository(name);
        let text = fs::read_to_string(&path).unwrap();
        documents.push((path, text));
    }
    let mut links = 0;
    for (path, text) in &documents {
        for link in text.split("](").skip(1) {
            let link = link.split(')').next().unwrap();
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = match file {
                "" => path.clone(),
                file => path.parent().unwrap().join(file),
            };
            assert!(target.exists(), "{}: {link}", path.display());
            if !anchor.is_empty() {
                let target = fs::read_to_string(target).unwrap();
                let there = anchors(&target).iter().any(|there| there == anchor);
                assert!(there, "{}: {link}", path.display());
            }
            links += 1;
        }
    }
    assert!(links > 40, "{links}");
}

#[test]
fn the_readme_is_short_and_links_every_document() {
    let documents = documents();
    let (_, readme) = &documents[0];
    assert!(readme.lines().count() <= 200);
    for (path, _) in &documents[1..] {
        let name = path.file_name().unwrap().to_str().unwrap();
        assert!(readme.contains(&format!("(docs/{name}")), "{name}");
    }
}

#[test]
fn lines_are_no_longer_than_an_editor_is_wide() {
    let readme = readme();
    // A row of a table, a command, and the crontab line, cannot be broken.
    let breakable = |line: &&str| {
        !line.starts_with("| ") && !line.starts_with("17 3 ") && !line.starts_with("$ ")
    };
    let longest = readme.lines().filter(breakable);
    let longest = longest.max_by_key(|line| line.chars().count()).unwrap();
    assert!(longest.chars().count() <= 100, "{longest}");
}
