//! Measures `mcp-prune` beside what people would use instead: `cargo bench`, or
//! `cargo bench -- --rows 1000000`.
//!
//! Prints a table in Markdown and draws a plot. There are no assertions: a time is a fact about a
//! machine.

mod beside_others;
mod cluster;
mod measure;
mod plot;
mod proxy;

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use clap::{Parser, ValueEnum};

use self::beside_others::Repair;
use self::cluster::{Cluster, Data};
use self::measure::{Runs, Work};
use self::plot::Panel;
use self::proxy::Proxy;

const PROGRAM: &str = env!("CARGO_BIN_EXE_mcp-prune");
const SCRATCH: &str = env!("CARGO_TARGET_TMPDIR");

/// One in a hundred rows has a deleted id in `mcp_servers`, and two in five hundred one in
/// `mcp_tool_permissions`.
const EVERY: u32 = 100;

/// How long a round trip takes on the slow connection.
const FAR_AWAY: Duration = Duration::from_millis(50);

/// The fraction of stale rows that `EVERY` makes.
const STALE: f64 = 0.014;

/// Measures what mcp-prune costs.
#[derive(Debug, Parser)]
struct Options {
    /// Permission rows
    #[arg(long, env = "MCP_PRUNE_BENCH_ROWS", default_value_t = 100_000)]
    rows: u32,
    /// Runs of each process
    #[arg(long, default_value_t = 5)]
    pairs: u32,
    /// Measure only these
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = QUICK)]
    only: Vec<Part>,
    /// Where to draw the plot
    #[arg(long, default_value_os_t = Path::new(SCRATCH).join("throughput.svg"))]
    plot: PathBuf,
    /// What cargo adds
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// The program itself: its start, its size
    Program,
    /// `scan` of a small database from far away
    Trips,
    /// `scan` beside SQL and Python
    Scan,
    /// `scan` of rows that share a few hundred arrays
    Alike,
    /// `fix` beside SQL
    Fix,
    /// What a repair costs others who use the database, beside the same by SQL
    Others,
    /// `access` of everybody beside a dump of the rows
    Access,
    /// How the cost grows
    Plot,
    /// `scan` of ten times the rows
    Tenfold,
    /// The peak of memory in every format, with something stale in every row
    Memory,
    /// `scan` beside SQL, where PostgreSQL has no parallel workers
    Workerless,
    /// `scan` beside SQL, with something stale in every row
    Stale,
    /// `scan` beside SQL, with 20,000 servers
    Servers,
    /// `scan` beside SQL, of a tenth of the rows, each with 8 kB of tool permissions
    Wide,
    /// `scan` beside SQL, of a tenth of the rows, each linked by 50 keys
    Keys,
    /// How the time of `scan` grows: with rows up to ten times as many, with stale rows, with keys
    Growth,
}

/// All but those that need more time and disk.
const QUICK: [Part; 7] = [
    Part::Program,
    Part::Trips,
    Part::Scan,
    Part::Alike,
    Part::Fix,
    Part::Access,
    Part::Plot,
];

fn main() -> Result<()> {
    let options = Options::parse();
    let cluster = Cluster::start()?;
    let mut bench = Bench {
        cluster: &cluster,
        options: &options,
        table: Vec::new(),
        remarks: Vec::new(),
    };
    for part in &options.only {
        progress(&format!("{part:?}"))?;
        match part {
            Part::Program => bench.program()?,
            Part::Trips => bench.trips()?,
            Part::Scan => bench.scan()?,
            Part::Alike => bench.alike()?,
            Part::Fix => bench.fix()?,
            Part::Others => bench.others()?,
            Part::Access => bench.access()?,
            Part::Plot => bench.plot()?,
            Part::Tenfold => bench.tenfold()?,
            Part::Memory => bench.memory()?,
            Part::Workerless => bench.workerless()?,
            Part::Stale => bench.stale()?,
            Part::Servers => bench.servers()?,
            Part::Wide => bench.wide()?,
            Part::Keys => bench.keys()?,
            Part::Growth => bench.growth()?,
        }
    }
    std::io::stdout().write_all(bench.markdown()?.as_bytes())?;
    Ok(())
}

fn progress(doing: &str) -> Result<()> {
    Ok(writeln!(std::io::stderr(), "{doing}")?)
}

/// A line of the table: two processes, and the ratio that is wanted.
struct Line {
    work: String,
    against: String,
    ours: Runs,
    theirs: Runs,
    /// At most this; `None` where the ratio is only reported.
    target: Option<f64>,
}

struct Bench<'a> {
    cluster: &'a Cluster,
    options: &'a Options,
    table: Vec<Line>,
    remarks: Vec<String>,
}

impl<'a> Bench<'a> {
    /// Times `ours` beside `theirs` and notes the result.
    fn compare(
        &mut self,
        (work, ours): (&str, &Work<'_>),
        (against, theirs): (&str, &Work<'_>),
        target: Option<f64>,
    ) -> Result<()> {
        progress(&format!("  {work} | {against}"))?;
        let (ours, theirs) = measure::pairs(ours, theirs, self.options.pairs)?;
        self.table.push(Line {
            work: work.to_owned(),
            against: against.to_owned(),
            ours,
            theirs,
            target,
        });
        Ok(())
    }

    fn program(&mut self) -> Result<()> {
        let ours = Work::reading(
            || with_arguments(Command::new(PROGRAM), &["--version"]),
            &[0],
        );
        let theirs = Work::reading(
            || with_arguments(self.cluster.psql("postgres"), &["--version"]),
            &[0],
        );
        // Milliseconds need more runs to mean anything.
        let (ours, theirs) = measure::pairs(&ours, &theirs, 4 * self.options.pairs)?;
        self.table.push(Line {
            work: "`--version`".to_owned(),
            against: "`psql --version`".to_owned(),
            ours,
            theirs,
            target: Some(1.5),
        });
        let bytes = u32::try_from(std::fs::metadata(PROGRAM)?.len())?;
        self.remarks.push(format!(
            "The program takes {:.1} MB on disk{} (at most 12 without `embedded`).",
            f64::from(bytes) / 1e6,
            if cfg!(feature = "embedded") {
                ", with `embedded`"
            } else {
                ""
            }
        ));
        Ok(())
    }

    fn trips(&mut self) -> Result<()> {
        self.cluster.load("small", data(1_000))?;
        let mut trips = 0;
        let mut seconds = Vec::new();
        for round_trip in [Duration::ZERO, FAR_AWAY] {
            let proxy = Proxy::start(self.cluster.port(), round_trip)?;
            let port = proxy.port();
            let url = format!("postgresql://postgres@127.0.0.1:{port}/small?sslmode=disable");
            let start = std::time::Instant::now();
            let status = ours(&["scan", "--format", "json", "--db-url", &url])
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status()?;
            seconds.push(start.elapsed().as_secs_f64());
            ensure!(status.code() == Some(2), "scan through the proxy: {status}");
            trips = proxy.round_trips()?;
        }
        self.remarks.push(format!(
            "`scan` of 1,000 rows waits for the server {trips} times, once of it to connect: {:.3} s \
             on loopback and {:.2} s where a round trip takes {} ms (under 0.5 where nothing is \
             held).",
            seconds[0],
            seconds[1],
            FAR_AWAY.as_millis()
        ));
        Ok(())
    }

    fn scan(&mut self) -> Result<()> {
        let rows = self.options.rows;
        self.cluster.load("various", data(rows))?;
        let what = format!("`scan`, {} rows", thousands(rows));
        let ours = self.reader("various", &["scan", "--format", "json"], &[2]);
        let rivals = [
            ("anti-join", include_str!("sql/anti_join.sql"), Some(0.8)),
            (
                "anti-join, functions in `FROM`",
                include_str!("sql/anti_join_lateral.sql"),
                None,
            ),
            ("fastest SQL", include_str!("sql/fastest.sql"), Some(1.15)),
            (
                "fastest SQL, with owners",
                include_str!("sql/fastest_with_owners.sql"),
                None,
            ),
            (
                "`count` of both columns",
                include_str!("sql/floor.sql"),
                Some(8.0),
            ),
        ];
        for (name, sql, target) in rivals {
            let theirs = self.script("various", name, sql)?;
            self.compare((&what, &ours), (name, &theirs), target)?;
        }
        match python() {
            Ok(python) => {
                let script = Path::new(SCRATCH).join("scan.py");
                std::fs::write(&script, include_str!("scan.py"))?;
                let url = self.cluster.url("various");
                let theirs = Work::reading(
                    || {
                        let mut command = Command::new(&python);
                        command.env_clear().arg(&script).arg(&url);
                        command
                    },
                    &[0],
                );
                self.compare((&what, &ours), ("Python, psycopg 3", &theirs), Some(0.3))?;
            }
            Err(error) => self
                .remarks
                .push(format!("Python was not measured: {error:#}.")),
        }
        Ok(())
    }

    fn alike(&mut self) -> Result<()> {
        let rows = self.options.rows;
        let alike = Data {
            variants: 304,
            ..data(rows)
        };
        self.cluster.load("alike", alike)?;
        let arrays = self.cluster.run(
            "alike",
            r#"SELECT count(DISTINCT mcp_servers) FROM "LiteLLM_ObjectPermissionTable""#,
        )?;
        let what = format!(
            "`scan`, {} rows with {} arrays",
            thousands(rows),
            arrays.trim()
        );
        self.beside_anti_join("alike", &what, 0.5)?;
        self.cluster.drop_database("alike")
    }

    /// Times `scan` of a database beside the anti-join.
    fn beside_anti_join(&mut self, database: &'static str, what: &str, wanted: f64) -> Result<()> {
        let ours = self.reader(database, &["scan", "--format", "json"], &[2]);
        let theirs = self.script(database, "anti-join", include_str!("sql/anti_join.sql"))?;
        self.compare((what, &ours), ("anti-join", &theirs), Some(wanted))
    }

    /// Loads rows, times `scan` of them beside the anti-join, which is to take no less, and drops
    /// them.
    fn case(&mut self, database: &'static str, data: Data, what: &str) -> Result<()> {
        self.cluster.load(database, data)?;
        let what = format!("`scan`, {} rows, {what}", thousands(data.rows));
        self.beside_anti_join(database, &what, 1.0)?;
        self.cluster.drop_database(database)
    }

    fn workerless(&mut self) -> Result<()> {
        let data = data(self.options.rows);
        self.cluster.load("workerless", data)?;
        self.cluster.run(
            "postgres",
            "ALTER DATABASE workerless SET max_parallel_workers_per_gather = 0",
        )?;
        let what = format!("`scan`, {} rows, no workers", thousands(data.rows));
        self.beside_anti_join("workerless", &what, 1.0)?;
        self.cluster.drop_database("workerless")
    }

    fn stale(&mut self) -> Result<()> {
        let stale = Data {
            every: 1,
            ..data(self.options.rows)
        };
        self.case("all_stale", stale, "each stale")
    }

    fn servers(&mut self) -> Result<()> {
        const SERVERS: u32 = 20_000;
        let many = Data {
            servers: SERVERS,
            ..data(self.options.rows)
        };
        let what = format!("{} servers", thousands(SERVERS));
        self.case("many_servers", many, &what)
    }

    fn wide(&mut self) -> Result<()> {
        let wide = Data {
            tools: 90,
            ..data(self.options.rows / 10)
        };
        self.case("wide", wide, "8 kB of tool permissions each")
    }

    fn keys(&mut self) -> Result<()> {
        let linked = Data {
            keys: 50,
            ..data(self.options.rows / 10)
        };
        let what = format!("{} keys", thousands(linked.rows * linked.keys));
        self.case("linked", linked, &what)
    }

    /// Measures `scan` of a tenth of the rows, of all, and of ten times as many, with few, some and
    /// all of them stale; and with one to five keys a row. Draws it beside the other plot.
    fn growth(&mut self) -> Result<()> {
        let rows = self.options.rows;
        let ten = rows.checked_mul(10).context("too many rows")?;
        let mut by_rows = Vec::new();
        // One row in `every` has a stale array, and two in five times `every` have a stale tool.
        for (name, every) in [("1% stale", 140), ("20% stale", 7), ("100% stale", 1)] {
            let sizes = [rows / 10, rows, ten].map(|rows| Data {
                every,
                ..data(rows)
            });
            by_rows.push(self.grown(name, &sizes, |data| f64::from(data.rows) / 1e3)?);
        }
        let keys = [1, 2, 3, 4, 5].map(|keys| Data { keys, ..data(rows) });
        let by_keys = vec![self.grown("1 to 5 keys a row", &keys, |data| {
            f64::from(data.rows) / 1e3 * f64::from(data.keys)
        })?];
        let panels = [
            Panel {
                title: "scan against rows".to_owned(),
                x: "thousand rows",
                lines: by_rows,
            },
            Panel {
                title: format!("scan against keys, of {} rows", thousands(rows)),
                x: "thousand keys",
                lines: by_keys,
            },
        ];
        let file = self.options.plot.with_file_name("growth.svg");
        std::fs::write(&file, plot::svg(&panels))
            .with_context(|| format!("cannot write {}", file.display()))?;
        progress(&format!("  drawn: {}", file.display()))
    }

    /// Times `scan` of each of the databases, the smallest first, and remarks on how much longer
    /// than linear from the first it takes.
    fn grown(
        &mut self,
        name: &'static str,
        databases: &[Data],
        x: impl Fn(&Data) -> f64,
    ) -> Result<plot::Line> {
        const SCAN: &[&str] = &["scan", "--format", "ndjson"];
        let mut points = Vec::new();
        for data in databases {
            progress(&format!("  {data:?}"))?;
            self.cluster.load("grown", *data)?;
            let runs = measure::alone(&self.reader("grown", SCAN, &[2]), self.options.pairs)?;
            points.push((x(data), runs.median()));
            self.cluster.drop_database("grown")?;
        }
        let (first, others) = points.split_first().context("nothing was measured")?;
        let of_linear = |point: &(f64, f64)| point.1 / first.1 / (point.0 / first.0);
        let told: Vec<String> = points
            .iter()
            .map(|(x, seconds)| format!("{x:.0} thousand in {seconds:.2} s"))
            .collect();
        let most = others.iter().map(of_linear).fold(0.0, f64::max);
        self.remarks.push(format!(
            "`scan`, {name}: {}; at most {most:.2} times linear (1.05 wanted).",
            told.join(", ")
        ));
        Ok((name, points))
    }

    fn fix(&mut self) -> Result<()> {
        const UNPROVEN: &[&str] = &["fix", "--yes", "--format", "json", "--compare-at-most", "0"];
        let rows = self.options.rows;
        self.cluster.load("broken", data(rows))?;
        let fix = format!("`fix --yes`, {} rows", thousands(rows));
        let repair = self.writer(&["fix", "--yes", "--format", "json"], &[0, 3]);
        let look = self.writer(&["fix", "--dry-run", "--format", "json"], &[2]);
        let script = self.script("work", "two", include_str!("sql/two_updates.sql"))?;
        let cluster = self.cluster;
        let by_hand = Work {
            prepare: Box::new(|| cluster.restore("work", "broken")),
            ..script
        };
        let mut prints = Vec::new();
        for work in [&repair, &by_hand] {
            measure::alone(work, 0)?;
            prints.push(self.cluster.fingerprint("work")?);
        }
        self.remarks.push(format!(
            "`fix` and the two `UPDATE`s leave {} rows behind.",
            if prints[0] == prints[1] {
                "the same"
            } else {
                "DIFFERENT"
            }
        ));
        let undo = self.undo()?;
        let unproven = self.writer(UNPROVEN, &[0, 3]);
        // One entry a comparison.
        let comparisons: [(&str, &Work<'_>, &str, &Work<'_>, f64); 4] = [
            // The proof may take 30 of 100 parts.
            (&fix, &repair, "the same without the proof", &unproven, 1.43),
            (&fix, &repair, "two `UPDATE`s", &by_hand, 1.3),
            (
                "`fix --dry-run`, the same",
                &look,
                "`fix --yes`",
                &repair,
                1.1,
            ),
            ("`undo --yes` of that", &undo, "`fix --yes`", &repair, 1.2),
        ];
        for (name, ours, against, theirs, target) in comparisons {
            self.compare((name, ours), (against, theirs), Some(target))?;
        }
        self.cluster.drop_database("work")?;
        self.cluster.drop_database("mended")?;
        self.cluster.drop_database("broken")
    }

    /// Measures what a repair writes, and what others wait meanwhile.
    fn others(&mut self) -> Result<()> {
        const FIX: &[&str] = &["fix", "--yes", "--format", "json"];
        let Options { rows, pairs, .. } = *self.options;
        self.cluster.load("broken", data(rows))?;
        let ours = self.reader("work", FIX, &[0, 3]);
        let by_hand = self.script("work", "two", include_str!("sql/two_updates.sql"))?;
        let repairs = [("`fix --yes`", ours), ("two `UPDATE`s", by_hand)];
        let repairs = repairs.map(|(name, work)| Repair {
            name,
            command: work.command,
        });
        let folder = Path::new(SCRATCH);
        let found = beside_others::measure(self.cluster, rows, folder, &repairs, pairs)?;
        self.remarks.push(found);
        self.cluster.drop_database("work")?;
        self.cluster.drop_database("broken")
    }

    /// Measures `access` of every key, and its memory at a quarter of the rows and at all of them.
    fn access(&mut self) -> Result<()> {
        const ACCESS: &[&str] = &["access", "--format", "ndjson"];
        let rows = self.options.rows;
        let mut peaks = Vec::new();
        let mut medians = Vec::new();
        for (name, rows) in [("quarter", rows / 4), ("keys", rows)] {
            self.cluster.load(name, data(rows))?;
            let runs = measure::alone(&self.reader(name, ACCESS, &[0]), 1)?;
            peaks.push(runs.peak());
            medians.push(runs.median());
        }
        self.remarks.push(format!(
            "`access` of {} keys holds {:.0} MiB at most (64 wanted), of a quarter of them {:.0} MiB; \
             it takes {:.2} times as long (4 is linear).",
            thousands(rows),
            peaks[1],
            peaks[0],
            medians[1] / medians[0]
        ));
        let what = format!("`access`, {} keys", thousands(rows));
        let ours = self.reader("keys", ACCESS, &[0]);
        let theirs = self.script("keys", "dump", include_str!("sql/access_rows.sql"))?;
        self.compare((&what, &ours), ("`COPY` of the rows", &theirs), None)?;
        self.cluster.drop_database("quarter")?;
        self.cluster.drop_database("keys")
    }

    /// Measures `undo` of a repair, on a database that is repaired again each time.
    fn undo(&self) -> Result<Work<'a>> {
        let cluster = self.cluster;
        let journal = Path::new(SCRATCH).join(format!("journal-{}", std::process::id()));
        let journal = journal
            .to_str()
            .context("the journal's path is no text")?
            .to_owned();
        cluster.restore("work", "broken")?;
        let url = cluster.url("work");
        let fix = ["fix", "--yes", "--journal", &journal, "--db-url", &url];
        let output = ours(&fix).output()?;
        let told = String::from_utf8_lossy(&output.stderr);
        ensure!(matches!(output.status.code(), Some(0 | 3)), "{told}");
        cluster.restore("mended", "work")?;
        let undo = move || {
            ours(&[
                "undo", &journal, "--yes", "--format", "json", "--db-url", &url,
            ])
        };
        Ok(Work {
            prepare: Box::new(|| cluster.restore("work", "mended")),
            ..Work::reading(undo, &[0])
        })
    }

    fn plot(&self) -> Result<()> {
        let rows = self.options.rows;
        let by_rows = [1, 2, 3, 4].map(|quarters| data(rows / 4 * quarters));
        let by_stale = [0, 200, 100, 50].map(|every| Data {
            every,
            ..data(rows)
        });
        let panels = [
            Panel {
                title: "Cost against rows, 1.4% stale".to_owned(),
                x: "thousand rows",
                lines: self.lines(&by_rows, |data| f64::from(data.rows) / 1e3)?,
            },
            Panel {
                title: format!("Cost against stale rows, of {}", thousands(rows)),
                x: "thousand stale rows",
                lines: self.lines(&by_stale, |data| {
                    let share = match data.every {
                        0 => 0.0,
                        every => STALE * f64::from(EVERY) / f64::from(every),
                    };
                    f64::from(data.rows) / 1e3 * share
                })?,
            },
        ];
        std::fs::write(&self.options.plot, plot::svg(&panels))
            .with_context(|| format!("cannot write {}", self.options.plot.display()))?;
        progress(&format!("  drawn: {}", self.options.plot.display()))
    }

    fn lines(&self, databases: &[Data], x: impl Fn(&Data) -> f64) -> Result<Vec<plot::Line>> {
        let mut lines = vec![("scan", Vec::new()), ("fix --dry-run", Vec::new())];
        for data in databases {
            progress(&format!("  {data:?}"))?;
            self.cluster.load("point", *data)?;
            let scan = self.reader("point", &["scan", "--format", "json"], &[0, 2]);
            let fix = self.reader("point", &["fix", "--dry-run", "--format", "json"], &[0, 2]);
            for ((_, points), work) in lines.iter_mut().zip([scan, fix]) {
                points.push((x(data), measure::alone(&work, self.options.pairs)?.median()));
            }
            self.cluster.drop_database("point")?;
        }
        Ok(lines)
    }

    fn tenfold(&mut self) -> Result<()> {
        let rows = self.options.rows;
        let ten = rows.checked_mul(10).context("too many rows")?;
        for (name, rows) in [("once", rows), ("tenfold", ten)] {
            self.cluster.load(name, data(rows))?;
        }
        let ours = self.reader("tenfold", &["scan", "--format", "json"], &[2]);
        let theirs = self.reader("once", &["scan", "--format", "json"], &[2]);
        let what = format!("`scan`, {} rows", thousands(ten));
        let against = format!("`scan`, {} rows", thousands(rows));
        self.compare((&what, &ours), (&against, &theirs), Some(11.0))?;
        self.cluster.drop_database("once")?;
        self.cluster.drop_database("tenfold")
    }

    /// Measures the peak of resident memory in every format: of a quarter of the rows, and of all
    /// of them. Something is stale in every row, so there are 1.4 times as many findings.
    fn memory(&mut self) -> Result<()> {
        const FORMATS: [&str; 5] = ["ndjson", "json", "csv", "markdown", "table"];
        let rows = self.options.rows;
        let mut works: Vec<(String, f64)> = Vec::new();
        for (work, most) in [
            ("scan", 48.0),
            ("fix --dry-run", 48.0),
            ("access", 64.0),
            ("access --server server_1", 64.0),
        ] {
            works.extend(FORMATS.map(|format| (format!("{work} --format {format}"), most)));
        }
        works.push(("fix --dry-run --format sql".to_owned(), 48.0));
        works.push(("access --save SAVED".to_owned(), 64.0));
        let since = FORMATS.map(|format| (format!("access --since SAVED --format {format}"), 64.0));
        works.extend(since);
        works.push(("fix --yes --journal JOURNAL --format json".to_owned(), 48.0));
        let undo =
            FORMATS.map(|format| (format!("undo JOURNAL --dry-run --format {format}"), 48.0));
        works.extend(undo);
        let mut peaks = vec![Vec::new(); works.len()];
        for rows in [rows / 4, rows] {
            let stale = Data {
                every: 1,
                ..data(rows)
            };
            self.cluster.load("stale", stale)?;
            for (place, (work, _)) in works.iter().enumerate() {
                progress(&format!("  {work}, {rows} rows"))?;
                let file = |name: &str| format!("{SCRATCH}/{name}-{}-{rows}", std::process::id());
                let arguments = work.split(' ').map(|word| match word {
                    "JOURNAL" | "SAVED" => file(word),
                    word => word.to_owned(),
                });
                let arguments: Vec<String> = arguments.collect();
                let url = self.cluster.url("stale");
                let run = || {
                    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
                    with_arguments(ours(&arguments), &["--db-url", &url])
                };
                let runs = measure::once(&Work::reading(run, &[0, 2, 3]))?;
                peaks[place].push(runs.peak());
            }
            self.cluster.drop_database("stale")?;
        }
        let mut table = format!(
            "| work | {} rows | {} rows | wanted |\n|---|---|---|---|",
            thousands(rows / 4),
            thousands(rows)
        );
        for ((work, most), peaks) in works.iter().zip(&peaks) {
            let met = if peaks.iter().all(|peak| peak <= most) {
                "met"
            } else {
                "**missed**"
            };
            let peaks: Vec<String> = peaks.iter().map(|peak| format!("{peak:.0} MiB")).collect();
            write!(
                table,
                "\n| `{work}` | {} | {most}: {met} |",
                peaks.join(" | ")
            )?;
        }
        self.remarks.push(table);
        Ok(())
    }

    /// Returns `mcp-prune` on a database that it leaves as it is.
    fn reader(
        &self,
        database: &str,
        arguments: &'static [&'static str],
        succeeds: &'static [i32],
    ) -> Work<'static> {
        let url = self.cluster.url(database);
        Work::reading(
            move || with_arguments(ours(arguments), &["--db-url", &url]),
            succeeds,
        )
    }

    /// Returns `mcp-prune` on a database that gets its stale references again each time.
    fn writer(&self, arguments: &'static [&'static str], succeeds: &'static [i32]) -> Work<'a> {
        let cluster = self.cluster;
        Work {
            prepare: Box::new(|| cluster.restore("work", "broken")),
            ..self.reader("work", arguments, succeeds)
        }
    }

    /// Returns a script in `psql`.
    fn script(&self, database: &'static str, name: &str, sql: &str) -> Result<Work<'a>> {
        let cluster = self.cluster;
        let name: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
        let path = Path::new(SCRATCH).join(name).with_extension("sql");
        std::fs::write(&path, sql)?;
        Ok(Work::reading(
            move || {
                let mut command = cluster.psql(database);
                command.arg("-f").arg(&path);
                command
            },
            &[0],
        ))
    }

    fn markdown(&self) -> Result<String> {
        let mut out = String::from(
            "| work | against | ours | theirs | ratio | wanted | our memory | theirs |\n\
             |---|---|---|---|---|---|---|---|\n",
        );
        for line in &self.table {
            let ratio = line.ours.median() / line.theirs.median();
            let wanted = match line.target {
                None => "-".to_owned(),
                Some(target) if ratio <= target => format!("{target}: met"),
                Some(target) => format!("{target}: **missed**"),
            };
            writeln!(
                out,
                "| {} | {} | {} | {} | {ratio:.2} | {wanted} | {} | {} |",
                line.work,
                line.against,
                time(&line.ours),
                time(&line.theirs),
                memory(&line.ours),
                memory(&line.theirs)
            )?;
        }
        writeln!(
            out,
            "\nMedians of {} alternating runs of whole processes, in brackets the fastest and the \
             slowest; memory is the most that was resident in the client. PostgreSQL {}, {} \
             processors, no TLS.\n",
            self.options.pairs,
            self.cluster.run("postgres", "SHOW server_version")?.trim(),
            std::thread::available_parallelism()?
        )?;
        for remark in &self.remarks {
            writeln!(out, "{remark}\n")?;
        }
        Ok(out)
    }
}

fn data(rows: u32) -> Data {
    Data {
        servers: 500,
        rows,
        keys: 1,
        every: EVERY,
        variants: 0,
        tools: 0,
    }
}

/// Returns `mcp-prune` without this machine's environment, so that it sees no `DATABASE_URL`, and
/// with journals in the bench's own folder.
fn ours(arguments: &[&str]) -> Command {
    let mut command = with_arguments(Command::new(PROGRAM), arguments);
    command.env_clear().env("XDG_STATE_HOME", SCRATCH);
    command
}

fn with_arguments(mut command: Command, arguments: &[&str]) -> Command {
    command.args(arguments);
    command
}

/// Returns a Python with psycopg 3, in an environment of the bench's own.
fn python() -> Result<PathBuf> {
    let folder = Path::new(SCRATCH).join("venv");
    let python = folder.join("bin").join("python");
    let steps = [
        ("python3", vec!["-m", "venv"], Some(&folder)),
        (
            "pip",
            vec!["install", "--quiet", "psycopg[binary]>=3.2,<4"],
            None,
        ),
    ];
    for (program, arguments, last) in steps {
        let mut command = match program {
            "pip" => with_arguments(Command::new(&python), &["-m", "pip"]),
            program => Command::new(program),
        };
        let output = command
            .args(&arguments)
            .args(last)
            .output()
            .with_context(|| format!("cannot start {program}"))?;
        ensure!(output.status.success(), "{program} {}", arguments.join(" "));
    }
    Ok(python)
}

fn time(runs: &Runs) -> String {
    let (fastest, slowest) = runs.spread();
    if slowest < 0.1 {
        let ms = |seconds: f64| format!("{:.1}", 1e3 * seconds);
        format!("{} ms ({}-{})", ms(runs.median()), ms(fastest), ms(slowest))
    } else {
        format!("{:.2} s ({fastest:.2}-{slowest:.2})", runs.median())
    }
}

/// Formats the peak of memory; a process that ends before it can be asked has none.
fn memory(runs: &Runs) -> String {
    match runs.peak() {
        ..1.0 => "-".to_owned(),
        peak => format!("{peak:.0} MiB"),
    }
}

fn thousands(number: u32) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}
