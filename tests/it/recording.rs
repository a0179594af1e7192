//! `fixtures/demo.svg`, which the README shows: the output of the commands on `fixtures/demo.sql`,
//! in a terminal's frame.
//!
//! `INSTA_UPDATE=always cargo test recording` draws it again if the output has changed.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use crate::program::repository;
use crate::samples::demo;
use crate::server::skip;
use crate::terminal::{lines_shown, terminal};

/// The width of the terminal, in characters.
const COLUMNS: usize = 100;

/// The size of a character's cell, and of the frame around them all.
const CELL: (f32, f32) = (7.2, 16.0);
const FRAME: (f32, f32) = (16.0, 40.0);

/// What differs from run to run: where the database and the journals are, and the run's name.
const DATABASE: &str =
    r#"database "litellm" at db.internal:5432, schema "public", as user "litellm""#;
const JOURNALS: &str = ".local/state/mcp-prune";
const RUN: &str = "1a2b3c4d";
const JOURNAL: &str = "20260102T030405Z-1a2b3c4d.ndjson";

enum Shown {
    Command(String),
    Output(String),
    /// How many lines are left out because the command before printed them too.
    Again(usize),
}

/// Scans, repairs and undoes on a terminal; `None` if the test is skipped.
fn session() -> Option<Vec<Shown>> {
    let database = demo();
    let home = tempfile::tempdir().unwrap();
    let mut shown = Vec::new();
    let mut before = BTreeSet::new();
    let journals = home.path().join(JOURNALS);
    for (words, status) in [
        ("scan", 2),
        ("fix --dry-run", 2),
        ("fix --yes", 3),
        ("undo --yes JOURNAL", 0),
    ] {
        let shown_journal = format!("~/{JOURNALS}/fix-{JOURNAL}");
        shown.push(Shown::Command(words.replace("JOURNAL", &shown_journal)));
        let journal = fs::read_dir(&journals).ok().and_then(|mut all| all.next());
        let journal = journal.map(|journal| journal.unwrap().path());
        let journal = journal.as_deref().map_or("", |path| path.to_str().unwrap());
        let words = words.replace("JOURNAL", journal);
        let set = format!("-u XDG_STATE_HOME HOME={}", home.path().display());
        let log = home.path().join("typescript");
        let columns = u16::try_from(COLUMNS).unwrap();
        let ran = terminal(&database, columns, &words, &set, &log);
        let Ok(ran) = { ran }.status() else {
            skip("the picture of the demo", "needs `script` of util-linux");
            return None;
        };
        assert_eq!(ran.code(), Some(status), "{words}");
        let told = lines_shown(&fs::read_to_string(&log).unwrap());
        // The first and the last line are of `script`.
        let lines = told[1..told.len() - 2].iter();
        let lines: Vec<String> = lines.map(|line| redacted(line, &journals)).collect();
        shown.extend(folded(&lines, &before));
        shown.push(Shown::Output(String::new()));
        before = lines.into_iter().collect();
    }
    Some(shown)
}

fn redacted(line: &str, journals: &Path) -> String {
    if line.starts_with("database ") {
        return DATABASE.to_owned();
    }
    if let Some((head, rest)) = line.split_once("(run ") {
        let (_, rest) = rest.split_once(')').unwrap();
        return format!("{head}(run {RUN}){rest}");
    }
    let Some((told, name)) = line.split_once(journals.to_str().unwrap()) else {
        return line.to_owned();
    };
    let (command, _) = name.split_once('-').unwrap();
    format!("{told}~/{JOURNALS}{command}-{JOURNAL}")
}

/// Leaves out long runs of lines that were printed `before`.
fn folded(lines: &[String], before: &BTreeSet<String>) -> Vec<Shown> {
    let runs = lines.chunk_by(|one, next| before.contains(one) == before.contains(next));
    let shown = runs.flat_map(|run| {
        if before.contains(&run[0]) && run.len() > 4 {
            let mut lines = vec![Shown::Again(run.len())];
            if run.ends_with(&[String::new()]) {
                lines.push(Shown::Output(String::new()));
            }
            return lines;
        }
        run.iter().cloned().map(Shown::Output).collect()
    });
    shown.collect()
}

#[expect(
    clippy::cast_precision_loss,
    reason = "there are some hundred characters"
)]
fn cells(number: usize, size: f32) -> f32 {
    number as f32 * size
}

fn svg(shown: &[Shown]) -> String {
    let width = cells(COLUMNS, CELL.0) + 2.0 * FRAME.0;
    let height = cells(shown.len(), CELL.1) + FRAME.1 + FRAME.0;
    let mut svg = String::new();
    write!(
        svg,
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0} {height:.0}" width="{width:.0}" height="{height:.0}" role="img">
<title>mcp-prune scan, fix --dry-run, fix --yes and undo on fixtures/demo.sql</title>
<style>
text {{ font: 12px ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", "Liberation Mono", monospace; fill: #e6edf3; white-space: pre }}
.command {{ fill: #7ee787; font-weight: bold }}
.again {{ fill: #8b949e }}
</style>
<rect x="0.5" y="0.5" width="{:.0}" height="{:.0}" rx="8" fill="#0d1117" stroke="#57606a"/>
<circle cx="18" cy="16" r="5" fill="#ff5f57"/><circle cx="36" cy="16" r="5" fill="#febc2e"/><circle cx="54" cy="16" r="5" fill="#28c840"/>
"##,
        width - 1.0,
        height - 1.0,
    )
    .unwrap();
    for (at, shown) in shown.iter().enumerate() {
        let (class, line) = match shown {
            Shown::Command(words) => (r#" class="command""#, format!("$ mcp-prune {words}")),
            Shown::Output(line) => ("", line.clone()),
            Shown::Again(lines) => (r#" class="again""#, format!("⋮ {lines} lines as above")),
        };
        let text = line.trim_start();
        if text.is_empty() {
            continue;
        }
        let length = text.chars().count();
        let x = FRAME.0 + cells(line.chars().count() - length, CELL.0);
        let y = FRAME.1 + cells(at + 1, CELL.1) - 4.0;
        // Each line as wide as its characters ask for, whatever the font.
        let width = cells(length, CELL.0);
        let text = text.replace('&', "&amp;").replace('<', "&lt;");
        writeln!(
            svg,
            r#"<text{class} x="{x:.1}" y="{y:.0}" textLength="{width:.1}" xml:space="preserve">{text}</text>"#
        )
        .unwrap();
    }
    svg + "</svg>\n"
}

#[test]
fn the_picture_shows_what_the_commands_print() {
    // Only a build with Redis advises --notify-redis.
    let session = if cfg!(feature = "redis") {
        session()
    } else {
        None
    };
    let Some(session) = session else { return };
    let svg = svg(&session);
    assert!(svg.len() < 60_000, "{}", svg.len());
    let file = repository("fixtures/demo.svg");
    if std::env::var("INSTA_UPDATE").is_ok_and(|update| update == "always") {
        fs::write(&file, &svg).unwrap();
    }
    let stored = fs::read_to_string(&file).unwrap_or_default();
    let differing = stored
        .lines()
        .zip(svg.lines())
        .find(|(old, new)| old != new);
    assert!(
        stored == svg,
        "fixtures/demo.svg is out of date, at {differing:?}; see the head of this file"
    );
}
