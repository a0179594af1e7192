//! Measures what a repair costs others who use the database: the log it writes, and what readers
//! and writers of other rows wait meanwhile.

use std::fmt::Write as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};

use crate::cluster::Cluster;

/// The database that is repaired, anew each time.
const DATABASE: &str = "work";

const READER: &str = r#"
\set n random(1, :rows)
SELECT p.mcp_servers, p.mcp_tool_permissions FROM "LiteLLM_ObjectPermissionTable" AS p
WHERE p.object_permission_id = md5('row ' || :n)::uuid::text;
"#;

/// No row of these numbers is stale.
const WRITER: &str = r#"
\set n 50 + 100 * random(0, :rows / 100 - 1)
UPDATE "LiteLLM_ObjectPermissionTable" SET vector_stores = ARRAY['written']
WHERE object_permission_id = md5('row ' || :n)::uuid::text;
"#;

/// How a repair is carried out, made anew for each run.
pub(crate) struct Repair<'a> {
    pub(crate) name: &'static str,
    pub(crate) command: Box<dyn Fn() -> Command + 'a>,
}

/// Measures each of `repairs` on copies of the database `broken` with so many rows, and returns the
/// results as Markdown.
pub(crate) fn measure(
    cluster: &Cluster,
    rows: u32,
    folder: &Path,
    repairs: &[Repair<'_>],
    pairs: u32,
) -> Result<String> {
    let mut out = String::from(
        "| repair | log for each row, right after a checkpoint | without images of pages | HOT updates \
         | with room in each page |\n|---|---|---|---|---|\n",
    );
    for repair in repairs {
        let after_checkpoint = Written::measure(cluster, repair, "")?;
        let without = "ALTER SYSTEM SET full_page_writes = off; SELECT pg_reload_conf();";
        let bare = Written::measure(cluster, repair, without)?;
        cluster.run("postgres", "ALTER SYSTEM RESET full_page_writes")?;
        cluster.run("postgres", "SELECT pg_reload_conf()")?;
        let room = r#"ALTER TABLE "LiteLLM_ObjectPermissionTable" SET (fillfactor = 80)"#;
        cluster.run("broken", room)?;
        cluster.run("broken", r#"VACUUM FULL "LiteLLM_ObjectPermissionTable""#)?;
        let roomy = Written::measure(cluster, repair, "")?;
        let full = r#"ALTER TABLE "LiteLLM_ObjectPermissionTable" RESET (fillfactor)"#;
        cluster.run("broken", full)?;
        cluster.run("broken", r#"VACUUM FULL "LiteLLM_ObjectPermissionTable""#)?;
        writeln!(
            out,
            "| {} | {:.0} bytes | {:.0} bytes | {} of {} | {} of {} |",
            repair.name,
            after_checkpoint.log / after_checkpoint.rows,
            bare.log / bare.rows,
            after_checkpoint.hot,
            after_checkpoint.rows,
            roomy.hot,
            roomy.rows
        )?;
    }
    out.push_str("\n| 99 of 100 wait at most | alone |");
    for repair in repairs {
        write!(out, " beside {} |", repair.name)?;
    }
    out.push_str("\n|---|---|---|---|\n");
    for (who, script) in [("a reader", READER), ("a writer of other rows", WRITER)] {
        let mut waits = Vec::new();
        let alone = Repair {
            name: "nothing",
            command: Box::new(|| with(Command::new("sleep"), &["3"])),
        };
        for repair in std::iter::once(&alone).chain(repairs) {
            let mut latencies = Vec::new();
            for _ in 0..pairs {
                latencies.extend(beside(cluster, rows, folder, script, repair)?);
            }
            latencies.sort_by(f64::total_cmp);
            let place = latencies.len() * 99 / 100;
            waits.push(*latencies.get(place).context("nobody asked anything")?);
        }
        write!(out, "| {who} | {:.2} ms |", 1e3 * waits[0])?;
        for wait in &waits[1..] {
            write!(
                out,
                " {:.2} ms ({:.1} times) |",
                1e3 * wait,
                wait / waits[0]
            )?;
        }
        out.push('\n');
    }
    Ok(out)
}

/// What one run wrote.
struct Written {
    /// The bytes of the write-ahead log.
    log: f64,
    rows: f64,
    hot: u32,
}

impl Written {
    fn measure(cluster: &Cluster, repair: &Repair<'_>, settings: &str) -> Result<Self> {
        const TABLE: &str = "
            SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables
            WHERE relname = 'LiteLLM_ObjectPermissionTable'";
        for setting in settings.split_terminator(';') {
            cluster.run("postgres", setting)?;
        }
        // It ends with a checkpoint.
        cluster.restore(DATABASE, "broken")?;
        let place = || -> Result<f64> {
            let place = cluster.run(DATABASE, "SELECT pg_current_wal_lsn() - '0/0'")?;
            Ok(place.trim().parse()?)
        };
        let before = place()?;
        run(repair)?;
        let log = place()? - before;
        // The server's counters come a little later.
        let mut counted = (0, 0);
        for _ in 0..50 {
            let told = cluster.run(DATABASE, TABLE)?;
            let (rows, hot) = told.trim().split_once('|').context("no counters")?;
            counted = (rows.parse()?, hot.parse()?);
            if counted.0 > 0 {
                break;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(Self {
            log,
            rows: f64::from(counted.0),
            hot: counted.1,
        })
    }
}

/// Runs a repair to its end.
fn run(repair: &Repair<'_>) -> Result<()> {
    let output = (repair.command)().output()?;
    let told = String::from_utf8_lossy(&output.stderr);
    ensure!(matches!(output.status.code(), Some(0 | 3)), "{told}");
    Ok(())
}

/// Returns the seconds that each transaction of `script` took while a repair ran, 200 a second.
fn beside(
    cluster: &Cluster,
    rows: u32,
    folder: &Path,
    script: &str,
    repair: &Repair<'_>,
) -> Result<Vec<f64>> {
    cluster.restore(DATABASE, "broken")?;
    let file = folder.join("script");
    std::fs::write(&file, script)?;
    let prefix = folder.join("latencies");
    let mut others: Child = cluster
        .pgbench(DATABASE)
        .args(["-n", "-c", "1", "-R", "200", "-T", "60", "-l"])
        .args(["-D", &format!("rows={rows}")])
        .arg(format!("--log-prefix={}", prefix.display()))
        .arg("-f")
        .arg(&file)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("cannot start pgbench")?;
    std::thread::sleep(Duration::from_millis(500));
    let now = || {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map(|time| time.as_secs_f64())
    };
    let begin = now()?;
    let ran = run(repair);
    let end = now()?;
    // It writes its log out as it ends.
    let id = others.id().to_string();
    with(Command::new("kill"), &["-INT", &id]).status()?;
    others.wait()?;
    ran?;
    let log = prefix.with_extension(&id);
    let told = std::fs::read_to_string(&log)?;
    std::fs::remove_file(&log)?;
    let latencies = told.lines().filter_map(|line| {
        // The client, the transaction, its microseconds, the script, and when it ended.
        let fields: Vec<f64> = line.split(' ').filter_map(|f| f.parse().ok()).collect();
        let ended = fields.get(4)? + fields.get(5)? / 1e6;
        (begin..end).contains(&ended).then_some(fields[2] / 1e6)
    });
    Ok(latencies.collect())
}

fn with(mut command: Command, arguments: &[&str]) -> Command {
    command.args(arguments);
    command
}
