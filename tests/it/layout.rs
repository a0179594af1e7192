//! The table of a large database, as an operator sees it: `fixtures/large.sql`.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::program::{mcp_prune, run, run_on};
use crate::samples::{GONE, script};
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
fn a_summary_leaves_out_nothing_that_decides_on_a_narrow_terminal() {
    let database = large();
    let folder = tempfile::tempdir().unwrap();
    let baseline = folder.path().join("baseline").display().to_string();
    let known = ["scan", "--sites", "toolsets", "--write-baseline", &baseline];
    let _ = run_on(database.url(), &known).exits(0);
    let cases = [
        (
            format!("scan --summary --baseline {baseline}"),
            &[
                " new stale references in ",
                "Not listed, because ",
                " acknowledges it: 6 stale.",
                "Held: ",
                "In the rows listed, a repair would remove ",
                "fix repairs what the baseline acknowledges too.",
                "  mcp-prune fix",
            ][..],
        ),
        (
            "scan --summary --if-deleted server_1".to_owned(),
            &[
                "As if deleted: ",
                " stale references in ",
                "Held: ",
                "By the deletion ",
                " callers compared)",
                "  mcp-prune fix",
            ],
        ),
        (
            "fix --dry-run --summary --on-empty clear --accept-widening".to_owned(),
            &[
                " stale references in ",
                "Access of ",
                " callers compared: 125 would gain servers or tools, ",
                "Nothing was written (dry run). It would remove ",
                "  mcp-prune fix",
            ],
        ),
    ];
    for (args, needed) in cases {
        let Some(told) = on_a_terminal(&database, 60, &args, "") else {
            return;
        };
        let lines = lines_shown(&told);
        let commands = lines.iter().filter(|line| line.starts_with("  mcp-prune "));
        let prose = lines.iter().filter(|line| !line.starts_with(' '));
        let prose = prose.map(String::as_str).collect::<Vec<_>>().join(" ");
        let text = prose + " " + &commands.cloned().collect::<String>();
        for part in needed {
            assert!(
                text.contains(part),
                "{args}: {part} in\n{}",
                lines.join("\n")
            );
        }
        assert!(lines.len() < 30, "{args}\n{}", lines.join("\n"));
    }
}

#[test]
fn a_table_is_ascii_where_the_locale_is() {
    let database = large();
    let folder = tempfile::tempdir().unwrap();
    let journals = folder.path().to_str().unwrap();
    let fix = ["fix", "--yes", "--journal", journals];
    let _ = run_on(database.url(), &fix).exits(3);
    for (args, status) in [
        (&["scan", "--if-deleted", "server_1"][..], 2),
        (&["access"], 0),
        (&["history", "--journal", journals], 0),
    ] {
        let table = |locale: &str| {
            let mut command = mcp_prune(args);
            command.env("DATABASE_URL", database.url());
            run(command.env("LC_ALL", locale)).exits(status)
        };
        let ran = table("C");
        assert!(ran.stdout.is_ascii(), "{ran}");
        let ran = table("C.UTF-8");
        assert!(ran.stdout.contains('─'), "{ran}");
    }
}

#[test]
fn rows_that_cannot_be_read_are_told_to_share_a_line() {
    let database = TestDatabase::with(
        r#"INSERT INTO "LiteLLM_MCPServerTable" ("server_id") VALUES ('live');
           INSERT INTO "LiteLLM_ObjectPermissionTable"
               ("object_permission_id", "mcp_tool_permissions")
           SELECT 'p-' || n, '7' FROM generate_series(1, 150) AS n;"#,
    );
    let _ = run_on(database.url(), &["scan"])
        .exits(0)
        .prints("150 rows without an owner")
        .prints("Rows alike share a line: --wide shows each");
}

#[test]
fn two_servers_of_one_alias_are_two_that_are_left() {
    let database = TestDatabase::with(&format!(
        r#"INSERT INTO "LiteLLM_MCPServerTable" ("server_id", "alias")
               VALUES ('id-1', 'github'), ('id-2', 'github');
           INSERT INTO "LiteLLM_ObjectPermissionTable" ("object_permission_id", "mcp_servers")
               VALUES ('p', ARRAY['id-1', 'github', 'id-2', '{GONE}']);"#
    ));
    let _ = run_on(database.url(), &["scan"])
        .exits(2)
        .prints("left: github, github (id-2)");
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
