//! A saved plan that somebody has edited, with the right sums: `fix` carries out what it would plan
//! now, or nothing.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::program::{Ran, run_on};
use crate::samples::{LIVE, case};
use crate::server::TestDatabase;

fn company() -> TestDatabase {
    case("beside_live")
}

fn plan(database: &TestDatabase, file: &Path) -> Vec<Value> {
    let file = file.to_str().unwrap();
    let dry = ["fix", "--dry-run", "--plan-out", file];
    let _ = run_on(database.url(), &dry).exits(2);
    let text = fs::read_to_string(file).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
    lines.collect()
}

fn carry_out(database: &TestDatabase, file: &Path) -> Ran {
    let plan = file.to_str().unwrap();
    let fix = ["fix", "--yes", "--no-journal", "--plan", plan];
    run_on(database.url(), &fix)
}

/// Writes the lines with the right sums.
fn write(file: &Path, lines: &[Value]) {
    let mut text = String::new();
    let mut sum = String::new();
    for line in lines {
        let mut line = line.clone();
        let _ = line.as_object_mut().unwrap().remove("sum").unwrap();
        let body = line.to_string();
        let digest = Sha256::new().chain_update(&sum).chain_update(&body);
        let digest = digest.finalize();
        let hex = digest[..8].iter().map(|byte| format!("{byte:02x}"));
        sum = hex.collect::<Vec<_>>().concat();
        text.extend([
            &body[..body.len() - 1],
            ",\"sum\":\"",
            &sum,
            "\"}
",
        ]);
    }
    fs::write(file, text).unwrap();
}

/// An edit of the lines of a plan; the second line is that of a row.
type Edit = fn(&mut Vec<Value>);

#[test]
fn an_edited_plan_is_refused_and_nothing_is_written() {
    let database = company();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("plan");
    let lines = plan(&database, &file);
    assert_eq!(lines[1]["type"], "row", "{lines:?}");
    let before = database.permission_rows();

    let edits: [(&str, Edit); 10] = [
        ("a server more", |lines| {
            let after = &mut lines[1]["columns"]["mcp_servers"]["after"];
            after
                .as_array_mut()
                .unwrap()
                .push(json!("all-proxy-mcpservers"));
        }),
        ("no server left", |lines| {
            lines[1]["columns"]["mcp_servers"]["after"] = json!([]);
        }),
        ("another value before", |lines| {
            lines[1]["columns"]["mcp_servers"]["before"] = json!([LIVE]);
        }),
        ("nothing to do", |lines| {
            let column = &mut lines[1]["columns"]["mcp_servers"];
            column["after"] = column["before"].clone();
        }),
        ("another row", |lines| lines[1]["key"] = json!("p-none")),
        ("another table", |lines| {
            lines[1]["table"] = json!("LiteLLM_VerificationToken");
        }),
        ("another column", |lines| {
            let columns = lines[1]["columns"].as_object_mut().unwrap();
            let column = columns.remove("mcp_servers").unwrap();
            columns.insert("mcp_toolsets".to_owned(), column);
        }),
        ("a column that is none", |lines| {
            let columns = lines[1]["columns"].as_object_mut().unwrap();
            let column = columns.remove("mcp_servers").unwrap();
            columns.insert("mcp_servers\" = '{}', \"x".to_owned(), column);
        }),
        ("a value of another kind", |lines| {
            lines[1]["columns"]["mcp_servers"]["after"] = json!({ LIVE: [] });
        }),
        ("a number of rows that is not there", |lines| {
            let end = lines.last_mut().unwrap();
            end["rows"] = json!(99);
        }),
    ];
    for (what, edit) in edits {
        let mut lines = lines.clone();
        edit(&mut lines);
        write(&file, &lines);
        let ran = carry_out(&database, &file);
        assert!([1, 4, 5, 64].contains(&ran.status), "{what}: {ran}");
        assert_eq!(database.permission_rows(), before, "{what}");
    }

    // Without the sums of their own, edited lines are not even read.
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace("99", "98")).unwrap();
    let _ = carry_out(&database, &file).says("was changed");
    assert_eq!(database.permission_rows(), before);

    // As it was written, it is carried out.
    write(&file, &lines);
    let _ = carry_out(&database, &file).exits(0);
    assert_ne!(database.permission_rows(), before);
}

#[test]
fn a_plan_less_a_row_does_the_rest_alone() {
    let database = company();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("plan");
    let mut lines = plan(&database, &file);
    let left_out = lines.remove(1);
    let end = lines.last_mut().unwrap();
    end["rows"] = json!(end["rows"].as_u64().unwrap() - 1);
    let key = left_out["key"].as_str().unwrap();
    let row = || -> Vec<String> {
        let rows = database.permission_rows().into_iter();
        rows.filter(|row| row.starts_with(&format!("({key},")))
            .collect()
    };
    let before = (row(), database.permission_rows());
    write(&file, &lines);
    let _ = carry_out(&database, &file).exits(0);
    assert_eq!(row(), before.0);
    assert_ne!(database.permission_rows(), before.1);
}
