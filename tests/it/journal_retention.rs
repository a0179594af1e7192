//! `fix --journal-retention`: which journals it deletes, and that it deletes nothing else.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use sha2::{Digest as _, Sha256};

use crate::program::{Ran, run_on};
use crate::samples::case;
use crate::server::TestDatabase;

/// Makes a database with something to repair, and nothing that is held.
fn repairable() -> TestDatabase {
    case("beside_live")
}

fn fix(database: &TestDatabase, folder: &Path, more: &[&str]) -> Ran {
    let journal = folder.to_str().unwrap();
    let args = ["fix", "--yes", "--no-config-servers", "--journal", journal];
    run_on(database.url(), &[&args[..], more].concat())
}

/// Returns the journal as if it had been written in 2020, with the right sum on each line.
pub(crate) fn aged(journal: &str) -> String {
    const SUM: &str = ",\"sum\":\"";
    let mut before = String::new();
    let mut aged = String::new();
    for line in journal.lines() {
        let (open, _) = line.rsplit_once(SUM).unwrap();
        let open = match open.split_once("\"time\":\"") {
            Some((front, time)) => format!("{front}\"time\":\"2020{}", &time[4..]),
            None => open.to_owned(),
        };
        let digest = Sha256::new()
            .chain_update(&before)
            .chain_update(format!("{open}}}"))
            .finalize();
        let hex = digest[..8].iter().map(|b| format!("{b:02x}"));
        before = hex.collect::<Vec<_>>().concat();
        aged.extend([open.as_str(), SUM, &before, "\"}\n"]);
    }
    aged
}

fn names(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).unwrap();
    entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

#[test]
fn old_committed_journals_of_this_database_are_deleted_and_nothing_else_is() {
    let (database, other) = (repairable(), repairable());
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let elsewhere = tempfile::tempdir().unwrap();
    fix(&database, folder, &[]).exits(0);
    let young = names(folder).pop_first().unwrap();
    let journal = fs::read_to_string(folder.join(&young)).unwrap();
    fix(&other, elsewhere.path(), &[]).exits(0);
    let name = names(elsewhere.path()).pop_first().unwrap();
    let others = fs::read_to_string(elsewhere.path().join(name)).unwrap();

    let old = aged(&journal);
    let put = |name: &str, text: &str| fs::write(folder.join(name), text).unwrap();
    put("fix-20200102T030405Z-00000001.ndjson", &old);
    let damaged = old.replacen("\"rows\"", "\"Rows\"", 1);
    let cut_short = old.lines().next().unwrap();
    // Whole, and without the line that its repair was committed: perhaps it never was.
    let (uncommitted, last) = old.trim_end().rsplit_once('\n').unwrap();
    assert!(last.contains("committed"), "{last}");
    let uncommitted = format!("{uncommitted}\n");
    let staying: [(&str, &str); 7] = [
        // Another database's; one that somebody named; none that is whole; no journal at all.
        ("fix-20200102T030405Z-00000002.ndjson", &aged(&others)),
        ("before-the-migration.ndjson", &old),
        ("fix-20200102T030405Z-00000003.ndjson", &damaged),
        ("fix-20200102T030405Z-00000004.ndjson", cut_short),
        ("fix-20200102T030405Z-00000005.ndjson", "somebody else's\n"),
        ("fix-20200102T030405Z-00000007.ndjson", &uncommitted),
        ("notes.txt", "x"),
    ];
    for (name, text) in staying {
        put(name, text);
    }
    let target = elsewhere.path().join("kept.ndjson");
    fs::write(&target, &old).unwrap();
    let link = "fix-20200102T030405Z-00000006.ndjson";
    std::os::unix::fs::symlink(&target, folder.join(link)).unwrap();
    let before = names(folder);

    // A run that does not get to its end deletes nothing.
    let retention = ["--journal-retention", "30"];
    fix(&database, folder, &["--journal-retention", "0"]).exits(64);
    fix(
        &database,
        folder,
        &[&retention[..], &["--dry-run"]].concat(),
    )
    .exits(64);
    let nowhere = TestDatabase::at("postgresql://u@127.0.0.1:1/none".to_owned());
    fix(&nowhere, folder, &retention).exits(7);
    assert_eq!(names(folder), before);

    // One that finds nothing to repair does, and keeps no journal of its own.
    let ran = fix(&database, folder, &retention).exits(0);
    let ran = ran.prints("nothing that fix may change");
    let ran = ran.says("deleted 1 journal older than 30 days from ");
    let mut left = before;
    left.remove("fix-20200102T030405Z-00000001.ndjson");
    assert_eq!(names(folder), left, "{ran}");
    assert!(left.contains(&young) && target.exists());
    // The next night there is nothing to delete, and nothing to say.
    let ran = fix(&database, folder, &retention).exits(0);
    assert!(!ran.stderr.contains("deleted"), "{ran}");

    // After a repair the journals from before it go, and its own stays.
    put("undo-20200102T030405Z-00000008.ndjson", &old);
    database.execute(
        r#"INSERT INTO "LiteLLM_ObjectPermissionTable" ("object_permission_id", "mcp_servers")
           SELECT 'p-new', ARRAY["server_id", 'f0e1d2c3-b4a5-4687-9788-99aabbccddee']
           FROM "LiteLLM_MCPServerTable" LIMIT 1"#,
    );
    let ran = fix(&database, folder, &retention).exits(0);
    let ran = ran.says("deleted 1 journal older than 30 days from ");
    let after = names(folder);
    let new: Vec<&String> = after.difference(&left).collect();
    assert!(after.is_superset(&left) && new.len() == 1, "{new:?} {ran}");
}
