//! The table of a large database, as an operator sees it: `fixtures/large.sql`.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::program::{mcp_prune, run, run_on};
use crate::samples::script;
use crate::server::TestDatabase;
use crate::terminal::{lines_shown, on_a_terminal};

fn large() -> TestDatabase {
    TestDatabase::with(&script("large"))
}

/// Returns the lines that a terminal shows of a report; `None` if the test is skipped.
fn report(database: &TestDatabase, columns: u16, args: &str) -> Option<Vec<String>> {
    let told = on_a_terminal(database, columns, args, "")?;
    let mut lines = lines_shown(&told);
    let first = lines
        .iter()
        .position(|line| line.contains(" stale references in "));
    // Before the report stands the name of the database. `script` says when it began and ended.
    lines.drain(..first.unwrap());
    lines.retain(|line| !line.starts_with("Script "));
    while lines.last().is_some_and(String::is_empty) {
        lines.pop();
    }
    Some(lines)
}

#[test]
fn no_line_is_wider_than_the_terminal() {
    let database = large();
    for columns in [80, 100, 140, 200] {
        for args in [
            "scan",
            "scan --no-config-servers --wide --limit 0",
            "scan --all-references --color always",
            "scan --summary",
            "fix --dry-run --on-empty clear --accept-widening",
        ] {
            let Some(lines) = report(&database, columns, args) else {
                return;
            };
            for line in lines
                .iter()
                .filter(|line| !line.starts_with("  mcp-prune "))
            {
                assert!(
                    line.chars().count() <= columns.into(),
                    "{columns} {args}: {line}"
                );
            }
        }
    }
}

#[test]
fn many_findings_are_few_lines() {
    let database = large();
    for args in ["scan", "scan --no-config-servers", "fix --dry-run"] {
        let Some(lines) = report(&database, 80, args) else {
            return;
        };
        assert!(
            lines.len() <= 150,
            "{args}: {}\n{}",
            lines.len(),
            lines.join("\n")
        );
        assert!(
            lines[0].contains(" stale references in "),
            "{args}: {lines:?}"
        );
    }
    for args in ["scan --summary", "fix --dry-run --summary"] {
        let lines = report(&database, 80, args).unwrap();
        assert!(lines.len() <= 10, "{args}\n{}", lines.join("\n"));
        assert!(
            lines.iter().any(|line| line.starts_with("  mcp-prune fix")),
            "{lines:?}"
        );
    }
}

#[test]
fn a_table_is_ascii_where_the_locale_is() {
    let database = large();
    for args in [&["scan"][..], &["fix", "--dry-run"], &["scan", "--wide"]] {
        let mut command = mcp_prune(args);
        command
            .env("DATABASE_URL", database.url())
            .env("LC_ALL", "C");
        let ran = run(&mut command).exits(2);
        assert!(ran.stdout.is_ascii(), "{ran}");
    }
}

/// Counts the rows that an owner cell stands for: "key a, key b and 14 more".
fn rows_of(cell: &str) -> usize {
    let (named, more) = cell.split_once(" and ").unwrap_or((cell, "0 more"));
    let (more, rest) = more.split_once(" more").unwrap();
    let parts = named.split(", ").chain(rest.split(", "));
    let counted = parts.filter(|part| !part.is_empty()).map(|part| {
        let number = part.strip_suffix(" without an owner");
        number.map_or(1, |part| part.split(' ').next().unwrap().parse().unwrap())
    });
    more.parse::<usize>().unwrap() + counted.sum::<usize>()
}

/// Counts the rows with something held, by server, as a table shows them.
fn held_in(table: &str) -> BTreeMap<String, usize> {
    let mut held = BTreeMap::new();
    let mut server = "";
    for line in table.lines() {
        if let Some(held_line) = line.strip_prefix("  hold") {
            let cell = held_line.trim_start().split("  ").next().unwrap();
            *held.entry(server.to_owned()).or_default() += rows_of(cell);
        } else if let Some((title, _)) = line.split_once(": ") {
            server = title;
        }
    }
    held
}

#[test]
fn nothing_held_is_hidden_by_folding() {
    let database = large();
    let json = run_on(database.url(), &["scan", "--format", "json"])
        .exits(2)
        .json();
    let mut held: BTreeMap<String, usize> = BTreeMap::new();
    let mut seen = std::collections::BTreeSet::new();
    for finding in json["findings"].as_array().unwrap() {
        let text = |field: &str| finding[field].as_str().map(str::to_owned);
        if let (Some(_), Some(reference)) = (text("held"), text("reference"))
            && seen.insert((reference.clone(), text("row"), text("held")))
        {
            *held.entry(reference).or_default() += 1;
        }
    }
    assert!(held.values().sum::<usize>() > 40, "{held:?}");
    let folded = run_on(database.url(), &["scan"]).exits(2);
    assert_eq!(held_in(&folded.stdout), held, "{folded}");
    let _ = folded.prints("may gain access").prints("--wide shows each");
    let wide = run_on(database.url(), &["scan", "--wide", "--limit", "0"]).exits(2);
    assert_eq!(
        wide.stdout.matches("\n  hold ").count(),
        held.values().sum::<usize>()
    );
}

#[test]
fn servers_groups_and_toolsets_are_called_by_their_names() {
    let database = large();
    let table = run_on(database.url(), &["scan"]).exits(2);
    let _ = table
        .prints("access group Group ")
        .prints("(server_26), draft: ");
    let wide = run_on(database.url(), &["scan", "--wide", "--limit", "0"]).exits(2);
    for told in [
        "toolset Toolset 1 (",
        "access group Group 8 (",
        "2 owners have it",
        "left: server_2 (",
    ] {
        assert!(wide.stdout.contains(told), "{told}: {wide}");
    }
    let json = run_on(database.url(), &["scan", "--format", "json"])
        .exits(2)
        .json();
    let findings = json["findings"].as_array().unwrap();
    let named = |row_name: &str| {
        findings
            .iter()
            .any(|finding| finding["row_name"] == row_name)
    };
    assert!(named("Group 1") && named("Toolset 6"));
    let inactive = findings
        .iter()
        .find(|finding| finding["kind"] == "inactive")
        .unwrap();
    assert!(
        inactive["server_name"]
            .as_str()
            .unwrap()
            .starts_with("server_2"),
        "{inactive}"
    );
    assert!(inactive["approval_status"].is_string(), "{inactive}");
    let mut emptied = findings
        .iter()
        .map(|finding| &finding["owners"][0]["if_emptied"]);
    let gained = emptied
        .find(|emptied| emptied["server_names"].is_object())
        .unwrap();
    let id = gained["servers"][0].as_str().unwrap();
    assert!(
        gained["server_names"][id]
            .as_str()
            .unwrap()
            .starts_with("server_"),
        "{gained}"
    );
    let json = run_on(database.url(), &["fix", "--dry-run", "--format", "json"])
        .exits(2)
        .json();
    let changes = json["changes"].as_array().unwrap();
    let is_named = |change: &&Value| change["server_names"].is_object();
    assert!(changes.iter().any(|change| is_named(&change)), "{json}");
}

#[test]
fn a_role_that_may_not_read_names_sees_ids() {
    let Some(_) = crate::server::concurrent_server("a role without names") else {
        return;
    };
    let database = large();
    let role = format!("{}_nameless", database.name());
    database.execute(&format!("CREATE ROLE {role} LOGIN PASSWORD 's3cret'"));
    let grants = run_on(database.url(), &["grants", "--role", &role]).exits(0);
    let needed = grants.stdout.lines();
    let needed = needed.filter(|grant| !grant.contains("_name\")"));
    database.load(&needed.collect::<Vec<_>>().join("\n"));
    let login = format!("{role}:s3cret@");
    let url = database.url().replacen("postgres@", &login, 1);
    let scan = run_on(&url, &["scan"]).exits(2);
    assert!(!scan.stdout.contains("Group 1"), "{scan}");
    let _ = scan.prints("access group ");
    database.execute(&format!("DROP OWNED BY {role}"));
    database.execute(&format!("DROP ROLE {role}"));
}
