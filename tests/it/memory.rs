//! Memory does not grow with the number of findings, whatever the format, and grows little with the
//! rows that are written. Nothing is timed: the peak of a run is compared with the peak of a run
//! over fewer rows.

use std::process::Stdio;
use std::time::Duration;

use crate::program::{formats, mcp_prune};
use crate::server::{TestDatabase, skip};

/// How many findings there are first, and how many are added.
const FEW: u32 = 20_000;
const MORE: u32 = 40_000;

/// By how much the peak may grow, in KiB. If the rows were kept, it would grow by 50 MiB; until
/// they go to a file, it grows a little.
const GROWTH: u64 = 16 << 10;

/// By how many bytes the peak may grow with each row that is written. The keys of the rows are sent
/// to the server, the proof keeps the old values, and owners are kept of up to 40,000 rows. That is
/// 165 to 200 bytes. When the old values were kept as texts, it grew by 430.
const OF_A_ROW: u64 = 230;

/// Adds rows with a deleted server, each of a key.
fn add_rows(database: &TestDatabase, first: u32, rows: u32) {
    let last = first + rows - 1;
    database.execute(&format!(
        r#"INSERT INTO "LiteLLM_ObjectPermissionTable" ("object_permission_id", "mcp_servers")
        SELECT md5('row ' || n)::uuid::text, ARRAY['id-1', md5('gone ' || n % 7)::uuid::text]
        FROM generate_series({first}, {last}) AS n;
        INSERT INTO "LiteLLM_VerificationToken" ("token", "key_alias", "object_permission_id")
        SELECT md5('a' || n) || md5('b' || n), 'key-' || n, md5('row ' || n)::uuid::text
        FROM generate_series({first}, {last}) AS n;
        ANALYZE;"#
    ));
}

/// Runs the program to its end, and returns the most memory that it had resident, in KiB. The
/// kernel keeps the peak, so what is asked every few milliseconds misses little.
fn peak(database: &TestDatabase, args: &[&str]) -> u64 {
    let mut command = mcp_prune(args);
    let command = command.args(["--db-url", database.url()]);
    let command = command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let file = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    let status = loop {
        let status = std::fs::read_to_string(&file).unwrap_or_default();
        let mut lines = status.lines();
        let resident = lines.find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = |rest: &str| rest.trim().trim_end_matches(" kB").parse::<u64>().ok();
        let resident = resident.and_then(kib);
        peak = resident.unwrap_or_default().max(peak);
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    assert!(matches!(status.code(), Some(0 | 2)), "{args:?}: {status}");
    peak
}

#[test]
fn memory_does_not_grow_with_the_findings_in_any_format() {
    const NAME: &str = "memory_does_not_grow_with_the_findings_in_any_format";
    if !std::path::Path::new("/proc/self/status").exists() {
        return skip(NAME, "needs /proc");
    }
    let database = TestDatabase::with(
        r#"INSERT INTO "LiteLLM_MCPServerTable" ("server_id") VALUES ('id-1');"#,
    );
    add_rows(&database, 1, FEW);
    let scans = formats().map(|format| ["scan", "--format", format]);
    let lists = formats().map(|format| ["access", "--format", format]);
    let runs: Vec<[&str; 3]> = scans.chain(lists).collect();
    let few: Vec<u64> = runs.iter().map(|args| peak(&database, args)).collect();
    add_rows(&database, FEW + 1, MORE);
    for (args, few) in runs.iter().zip(few) {
        let more = peak(&database, args);
        let grown = more.saturating_sub(few);
        assert!(grown < GROWTH, "{args:?}: {few} KiB, and then {more} KiB");
    }
}

#[test]
fn memory_grows_little_with_the_rows_that_are_written() {
    const NAME: &str = "memory_grows_little_with_the_rows_that_are_written";
    if !std::path::Path::new("/proc/self/status").exists() {
        return skip(NAME, "needs /proc");
    }
    let database = TestDatabase::with(
        r#"INSERT INTO "LiteLLM_MCPServerTable" ("server_id") VALUES ('id-1');"#,
    );
    let folder = tempfile::tempdir().unwrap();
    let peaks = |name: &str| {
        let journal = folder.path().join(name);
        let journal = journal.to_str().unwrap();
        let json = ["--format", "json"];
        let runs = [
            [&["fix", "--dry-run"], &json[..]].concat(),
            [&["fix", "--yes", "--journal", journal], &json[..]].concat(),
            [&["undo", journal, "--yes", "--no-journal"], &json[..]].concat(),
        ];
        runs.map(|args| (peak(&database, &args), args.join(" ")))
    };
    add_rows(&database, 1, FEW);
    let few = peaks("few");
    add_rows(&database, FEW + 1, MORE);
    for ((few, _), (more, args)) in few.into_iter().zip(peaks("more")) {
        let of_a_row = more.saturating_sub(few) * 1024 / u64::from(MORE);
        assert!(
            of_a_row < OF_A_ROW,
            "{args}: {few} KiB, and then {more} KiB: {of_a_row} bytes a row"
        );
    }
}
