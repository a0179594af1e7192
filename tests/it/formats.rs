//! The formats of a report: each says what the JSON report says.

use std::fs;

use serde_json::{Value, json};

use crate::fixtures::golden_settings;
use crate::pooler::NOTES_WHO_WRITES;
use crate::program::{Ran, mcp_prune, run, run_on};
use crate::samples::{GONE, NOWHERE, demo};
use crate::server::TestDatabase;

fn lines(ran: &Ran) -> Vec<Value> {
    let lines = ran.stdout.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// Returns the entries of one type, without the field `type`.
fn of_type(lines: &[Value], wanted: &str) -> Vec<Value> {
    let mut entries = lines.to_vec();
    entries.retain(|line| line["type"] == wanted);
    for entry in &mut entries {
        entry.as_object_mut().unwrap().shift_remove("type");
    }
    entries
}

fn csv(text: &str) -> (Vec<String>, Vec<Vec<String>>) {
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let words = |record: &csv::StringRecord| record.iter().map(str::to_owned).collect();
    let header = words(reader.headers().unwrap());
    let records = reader.records().map(|record| words(&record.unwrap()));
    (header, records.collect())
}

#[test]
fn ndjson_streams_what_json_holds() {
    let database = demo();
    let whole = run_on(database.url(), &["scan", "--format", "json"])
        .exits(2)
        .json();
    let stream = lines(&run_on(database.url(), &["scan", "--format", "ndjson"]).exits(2));
    assert_eq!(stream[0]["type"], "header");
    assert_eq!(stream[0]["database"], whole["database"]);
    assert_eq!(json!(of_type(&stream, "finding")), whole["findings"]);
    let summary = stream.last().unwrap();
    assert_eq!(summary["type"], "summary");
    assert_eq!(summary["stale"], whole["summary"]["stale"]);

    let dry = ["fix", "--dry-run", "--format"];
    let whole = run_on(database.url(), &[&dry[..], &["json"]].concat())
        .exits(2)
        .json();
    let stream = lines(&run_on(database.url(), &[&dry[..], &["ndjson"]].concat()).exits(2));
    assert_eq!(json!(of_type(&stream, "change")), whole["changes"]);
    assert_eq!(json!(of_type(&stream, "held")), whole["held"]);
    let summary = stream.last().unwrap();
    assert_eq!(summary["outcome"], "dry-run");
    assert_eq!(summary["rows_changed"], whole["summary"]["rows_changed"]);
}

#[test]
fn ndjson_ends_with_the_error() {
    let stream = run_on(NOWHERE, &["scan", "--format", "ndjson"]).exits(7);
    let error = &lines(&stream)[0];
    assert_eq!(error["type"], "error");
    assert_eq!(error["code"], 7);
    let message = error["message"].as_str().unwrap();
    assert!(
        message.starts_with("cannot connect to 127.0.0.1:1"),
        "{message}"
    );
    assert!(error["hint"].is_string(), "{error}");
    assert!(stream.stderr.contains(message), "{stream}");
    // Nothing else promises to be read to its end.
    assert_eq!(
        run_on(NOWHERE, &["scan", "--format", "json"])
            .exits(7)
            .stdout,
        ""
    );
}

#[test]
fn a_run_has_one_name_wherever_it_leaves_a_trace() {
    let database = demo();
    database.load(NOTES_WHO_WRITES);
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().to_str().unwrap();
    let fix = ["fix", "--yes", "--journal", folder, "--format"];
    let fixed = run_on(database.url(), &[&fix[..], &["json"]].concat())
        .exits(3)
        .json();
    let name = fixed["run"].as_str().unwrap();
    assert_eq!(name.len(), 8);
    let journal = fixed["journal"].as_str().unwrap();
    assert!(
        journal.ends_with(&format!("-{name}.ndjson")),
        "{journal} of run {name}"
    );
    let header = fs::read_to_string(journal).unwrap();
    let header: Value = serde_json::from_str(header.lines().next().unwrap()).unwrap();
    assert_eq!(header["run"], name);
    let writers = database.texts("SELECT DISTINCT name FROM writer");
    assert_eq!(writers, [format!("mcp-prune/{name}")]);

    let undo = ["undo", "--yes", "--no-journal", journal];
    let undone = run_on(database.url(), &undo).exits(0);
    let writer = database.texts("SELECT name FROM writer ORDER BY at DESC LIMIT 1");
    let other = writer[0].strip_prefix("mcp-prune/").unwrap();
    assert_ne!(other, name, "another run");
    let _ = undone.prints(&format!("committed (run {other})"));

    let stream = lines(&run_on(NOWHERE, &["scan", "--format", "ndjson"]).exits(7));
    assert_eq!(stream[0]["run"].as_str().unwrap().len(), 8);
    let stream = lines(&run_on(database.url(), &["scan", "--format", "ndjson"]).exits(2));
    assert_eq!(stream[0]["run"].as_str().unwrap().len(), 8);
}

#[test]
fn csv_has_a_line_for_each_finding() {
    let database = demo();
    let whole = run_on(database.url(), &["scan", "--format", "json"])
        .exits(2)
        .json();
    let ran = run_on(database.url(), &["scan", "--format", "csv"]).exits(2);
    assert_eq!(
        ran.stdout.matches("\r\n").count(),
        ran.stdout.matches('\n').count()
    );
    let (header, records) = csv(&ran.stdout);
    assert_eq!(header[..5], ["kind", "table", "row", "column", "reference"]);
    let findings = whole["findings"].as_array().unwrap();
    assert_eq!(records.len(), findings.len());
    for (record, finding) in records.iter().zip(findings) {
        for (name, cell) in header[..5].iter().zip(record) {
            assert_eq!(finding[name].as_str().unwrap_or_default(), cell, "{name}");
        }
    }
    assert_eq!(records[3][5..7], ["true", "key 784395b4 release-bot"]);
}

#[test]
fn csv_has_a_line_for_each_column_written_or_held() {
    let database = demo();
    let whole = run_on(database.url(), &["fix", "--dry-run", "--format", "json"])
        .exits(2)
        .json();
    let (header, records) = csv(
        &run_on(database.url(), &["fix", "--dry-run", "--format", "csv"])
            .exits(2)
            .stdout,
    );
    let mut expected = Vec::new();
    for change in whole["changes"].as_array().unwrap() {
        for (column, before) in change["before"].as_object().unwrap() {
            expected.push([
                "change".to_owned(),
                change["row"].as_str().unwrap().to_owned(),
                column.clone(),
                before.to_string(),
                change["after"][column].to_string(),
            ]);
        }
    }
    let changes: Vec<_> = records
        .iter()
        .filter(|record| record[0] == "change")
        .collect();
    assert_eq!(
        header[..6],
        ["type", "table", "row", "column", "before", "after"]
    );
    assert_eq!(changes.len(), expected.len());
    for (record, expected) in changes.iter().zip(&expected) {
        assert_eq!(record[0], expected[0]);
        assert_eq!(record[2..6], expected[1..]);
    }
    let held: Vec<_> = records
        .iter()
        .filter(|record| record[0] == "held")
        .collect();
    assert_eq!(held.len(), whole["held"].as_array().unwrap().len());
    assert_eq!(held[0][7], "last-grant");
}

#[test]
fn odd_names_survive_csv() {
    let odd = "a,\"b\"\r\n|`c`";
    let database = TestDatabase::with(&format!(
        r#"INSERT INTO "LiteLLM_ObjectPermissionTable" ("object_permission_id", "mcp_servers")
           VALUES ('p', ARRAY['{odd}'])"#
    ));
    let args = ["scan", "--no-config-servers", "--format"];
    let ran = run_on(database.url(), &[&args[..], &["csv", "--csv-raw"]].concat()).exits(2);
    let (_, records) = csv(&ran.stdout);
    assert_eq!(records[0][4], odd);
    // For people and their spreadsheets, what a terminal would obey is escaped.
    let ran = run_on(database.url(), &[&args[..], &["csv"]].concat()).exits(2);
    let (_, records) = csv(&ran.stdout);
    assert_eq!(records[0][4], "a,\"b\"\\r\\n|`c`");
    run_on(database.url(), &[&args[..], &["markdown"]].concat())
        .exits(2)
        .prints(r#"``"a,\"b\"\r\n\|`c`"``"#);
}

#[test]
fn markdown_is_made_for_a_change_ticket() {
    let database = demo();
    let folder = tempfile::tempdir().unwrap();
    let journal = folder.path().join("journal");
    let journal = journal.to_str().unwrap();
    let url = database.url();
    let mut told = String::new();
    for args in [
        &["scan", "--db-url", url, "--format", "markdown"][..],
        &["fix", "--dry-run", "--db-url", url, "--format=markdown"],
        &[
            "fix",
            "--yes",
            "--journal",
            journal,
            "--db-url",
            url,
            "--format",
            "markdown",
        ],
        &[
            "undo",
            "--yes",
            "--no-journal",
            journal,
            "--db-url",
            url,
            "--format=markdown",
        ],
    ] {
        told += &run(&mut mcp_prune(args)).stdout;
        told.push('\n');
    }
    let database = |line: &str| line.starts_with("| Database |");
    let mut shown: Vec<String> = Vec::new();
    for line in told.lines() {
        shown.push(if database(line) {
            "| Database | [...] |".to_owned()
        } else if line.starts_with("| Run |") {
            "| Run | [...] |".to_owned()
        } else {
            let mut words: Vec<&str> = line.split(' ').collect();
            if let Some(at) = words.iter().position(|word| *word == "--db-url") {
                words[at + 1] = "[...]";
            }
            for word in &mut words {
                if word.contains("fix-") && word.contains(".ndjson") {
                    *word = match word.strip_suffix(',') {
                        Some(_) => "fix-RUN.ndjson,",
                        None => "fix-RUN.ndjson",
                    };
                }
            }
            let line = words.join(" ").replace(journal, "JOURNAL");
            let line = match line.split_once("(run ") {
                Some((before, after)) => format!("{before}(run [...]{}", &after[8..]),
                None => line,
            };
            line.replace(folder.path().to_str().unwrap(), "FOLDER")
        });
    }
    golden_settings().bind(|| insta::assert_snapshot!("markdown", shown.join("\n")));
}

/// Returns what Markdown obeys of a line: it is in no code span, and has no backslash before it.
fn without_code(line: &str) -> String {
    let (mut kept, mut rest) = (String::new(), line);
    while let Some(at) = rest.find('`') {
        let (before, code) = rest.split_at(at);
        kept.push_str(before);
        let escapes = before.len() - before.trim_end_matches('\\').len();
        if escapes % 2 == 1 {
            kept.push('`');
            rest = &code[1..];
            continue;
        }
        let fence = code.len() - code.trim_start_matches('`').len();
        let (mark, inside) = code.split_at(fence);
        // The span ends at the next run of just as many.
        let mut at = 0;
        let end = loop {
            let run = inside[at..].find('`').map(|found| at + found).unwrap();
            let length = inside[run..].len() - inside[run..].trim_start_matches('`').len();
            at = run + length;
            if length == mark.len() {
                break at;
            }
        };
        // The bars of a table are found before its code spans.
        let span = &inside[..end];
        assert!(!span.replace("\\|", "").contains('|'), "{line}");
        rest = &inside[end..];
    }
    kept.push_str(rest);
    let mut obeyed = String::new();
    let mut chars = kept.chars();
    while let Some(c) = chars.next() {
        if c == '\\' {
            let _ = chars.next();
        } else {
            obeyed.push(c);
        }
    }
    obeyed
}

#[test]
fn no_name_that_others_chose_breaks_a_ticket() {
    const ODD: &str = "a|b`c``d\\e <img src=x> @ann [l](http://x) *b* &amp; $m$";
    let odd = ODD.replace('\'', "''");
    let database = TestDatabase::with(&format!(
        r#"INSERT INTO "LiteLLM_MCPServerTable" ("server_id", "alias") VALUES ('live', 'gh');
           INSERT INTO "LiteLLM_ObjectPermissionTable" ("object_permission_id", "mcp_servers") VALUES
               ('p' || chr(10) || '# {odd}',
                ARRAY['live', '{GONE}', '# {odd}' || chr(10) || '{odd}']),
               ('q', ARRAY['{GONE}']), ('r', ARRAY['live']);
           INSERT INTO "LiteLLM_VerificationToken"
               ("token", "key_name", "key_alias", "team_id", "object_permission_id") VALUES
               ('dcf1f059cedd01b2d9347bd1010bbabdbc54616cf25e2d6c5d103e63b64f0def', 'sk-...f3Qa',
                '{odd}', 't {odd}', 'p' || chr(10) || '# {odd}'),
               ('784395b41c9c3654c478996abea52435cbaa3e542ff9a2d1515ee59515a393d1', 'sk-...9xLe',
                '- {odd}' || chr(10) || '- x', 't {odd}', 'q');
           INSERT INTO "LiteLLM_TeamTable" ("team_id", "team_alias", "object_permission_id") VALUES
               ('t {odd}', '{odd}', 'r');"#
    ));
    let clear = ["--on-empty=clear", "--accept-widening"];
    for args in [
        &["scan", "--no-config-servers"][..],
        &["scan"],
        &["fix", "--dry-run", "--no-config-servers"],
        &["fix", "--dry-run", clear[0], clear[1]],
        &["fix", "--dry-run", "--on-empty=deny", "--no-config-servers"],
        &["scan", "--if-deleted", "live", "--no-config-servers"],
    ] {
        let ran = run_on(database.url(), &[args, &["--format=markdown"]].concat());
        let ran = ran.exits(2);
        let (mut bars, mut is_fenced) = (None, false);
        for line in ran.stdout.lines() {
            if line.starts_with("```") {
                is_fenced = !is_fenced;
            } else if !is_fenced {
                let shown = without_code(line);
                for odd in ["<img", "@ann", "[l]", " *b*", " &amp;", " $m$"] {
                    assert!(!shown.contains(odd), "{odd} in {line}");
                }
                let found = shown.matches('|').count();
                let fits = bars.is_none_or(|bars| bars == found);
                assert!(fits || line.is_empty(), "{line}");
                bars = (found > 0).then_some(found);
                let heading = line.trim_start_matches('#');
                assert!(!heading.starts_with(" a|b"), "{line}");
            }
        }
        assert!(!is_fenced, "{ran}");
    }
}

#[test]
fn no_form_shows_a_password() {
    let database = demo();
    // Any password does where the server asks for none.
    let url = database.url().replace("postgres@", "postgres:s3cret@");
    assert!(url.contains("s3cret"), "{url}");
    for format in crate::program::formats() {
        let url = format!("--db-url={url}");
        let ran = run(&mut mcp_prune(&["scan", &url, "--format", format])).exits(2);
        assert!(!ran.to_string().contains("s3cret"), "{ran}");
    }
}
