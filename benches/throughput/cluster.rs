//! The private PostgreSQL that everything is measured on.
//!
//! It is never that of `DATABASE_URL`: a bench must not touch a database that somebody uses.

use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};

const SCHEMA: &str = include_str!("../../fixtures/schema.sql");
const DATA: &str = include_str!("sql/data.sql");

/// What the rows of a database are like.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Data {
    /// How many servers.
    pub(crate) servers: u32,
    /// How many permission rows.
    pub(crate) rows: u32,
    /// How many keys link to each of them.
    pub(crate) keys: u32,
    /// One row in so many has a deleted id in `mcp_servers`; 0 for none.
    pub(crate) every: u32,
    /// How many arrays there are to choose from; 0 for one a row.
    pub(crate) variants: u32,
    /// How many tools of each server the tool permissions of every row name; 0 for two, in one row
    /// of four.
    pub(crate) tools: u32,
}

/// A server on loopback that ends with this process.
pub(crate) struct Cluster {
    port: u16,
    psql: PathBuf,
    /// A shell that stops the server by its process id once its standard input closes.
    watch: Child,
}

impl Cluster {
    /// Starts a server from this machine's binaries.
    pub(crate) fn start() -> Result<Self> {
        let binaries = binaries().context("no PostgreSQL: install one to measure on")?;
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?
            .local_addr()?
            .port();
        let id = Command::new("id").arg("-u").output()?;
        // PostgreSQL refuses to run as root.
        let mut command = if id.stdout.trim_ascii() == b"0" {
            let mut command = Command::new("runuser");
            command.args(["-u", "postgres", "--", "sh"]);
            command
        } else {
            Command::new("sh")
        };
        let mut watch = command
            .args(["-c", include_str!("cluster.sh"), "cluster"])
            .arg(&binaries)
            .arg(port.to_string())
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start a shell")?;
        let stdout = watch.stdout.take().context("the shell has no output")?;
        let mut folder = String::new();
        BufReader::new(stdout).read_line(&mut folder)?;
        let cluster = Self {
            port,
            psql: binaries.join("psql"),
            watch,
        };
        for _ in 0..300 {
            if cluster.run("postgres", "SELECT 1").is_ok() {
                return Ok(cluster);
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        bail!("the private cluster did not come up within 30 seconds")
    }

    /// Returns the TCP port it listens on.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Returns the URL of one of its databases.
    pub(crate) fn url(&self, database: &str) -> String {
        format!("postgresql://postgres@127.0.0.1:{}/{database}", self.port)
    }

    /// Returns a `psql` that reads no start-up file and stops at an error.
    pub(crate) fn psql(&self, database: &str) -> Command {
        let mut command = Command::new(&self.psql);
        command
            .env_clear()
            .args(["-X", "-q", "-At", "-v", "ON_ERROR_STOP=1", "-d"])
            .arg(self.url(database));
        command
    }

    /// Returns a `pgbench`.
    pub(crate) fn pgbench(&self, database: &str) -> Command {
        let mut command = Command::new(self.psql.with_file_name("pgbench"));
        command
            .env_clear()
            .args(["-h", "127.0.0.1", "-U", "postgres", "-p"]);
        command.arg(self.port.to_string()).args(["-d", database]);
        command
    }

    /// Runs SQL and returns what it printed.
    pub(crate) fn run(&self, database: &str, sql: &str) -> Result<String> {
        output(self.psql(database).args(["-c", sql]))
    }

    /// Makes a database with LiteLLM's tables and rows in them.
    pub(crate) fn load(&self, database: &str, data: Data) -> Result<()> {
        self.run("postgres", &format!("CREATE DATABASE {database}"))?;
        self.run(database, SCHEMA)?;
        let script = std::env::temp_dir().join(format!("mcp-prune-{}.sql", std::process::id()));
        std::fs::write(&script, DATA)?;
        // An interval that no row number reaches.
        let every = if data.every == 0 {
            u32::MAX
        } else {
            data.every
        };
        let mut psql = self.psql(database);
        for (variable, value) in [
            ("servers", data.servers),
            ("rows", data.rows),
            ("keys", data.keys),
            ("every", every),
            ("variants", data.variants),
            ("tools", data.tools),
        ] {
            psql.args(["-v", &format!("{variable}={value}")]);
        }
        let loaded = output(psql.arg("-f").arg(&script));
        std::fs::remove_file(&script)?;
        loaded.map(drop)
    }

    /// Makes `database` a copy of `template` once more, read into memory and written to disk.
    pub(crate) fn restore(&self, database: &str, template: &str) -> Result<()> {
        self.drop_database(database)?;
        let version: u32 = self
            .run("postgres", "SHOW server_version_num")?
            .trim()
            .parse()?;
        // Otherwise every page goes through the log, which takes longer than what is measured.
        let strategy = if version >= 150_000 {
            "STRATEGY FILE_COPY"
        } else {
            ""
        };
        self.run(
            "postgres",
            &format!("CREATE DATABASE {database} TEMPLATE {template} {strategy}"),
        )?;
        self.run(
            database,
            r#"SELECT count(p) FROM "LiteLLM_ObjectPermissionTable" AS p;
               SELECT count(o) FROM "LiteLLM_VerificationToken" AS o;
               CHECKPOINT"#,
        )?;
        Ok(())
    }

    /// Drops a database if it exists.
    pub(crate) fn drop_database(&self, database: &str) -> Result<()> {
        self.run("postgres", &format!("DROP DATABASE IF EXISTS {database}"))?;
        Ok(())
    }

    /// Returns a sum over everything that the permission rows hold.
    pub(crate) fn fingerprint(&self, database: &str) -> Result<String> {
        self.run(
            database,
            r#"SELECT sum(hashtextextended(p::text, 0)) FROM "LiteLLM_ObjectPermissionTable" AS p"#,
        )
    }
}

/// Closes the shell's standard input, and waits until it has stopped the server.
impl Drop for Cluster {
    fn drop(&mut self) {
        drop(self.watch.stdin.take());
        // Nothing is left to do for a shell that cannot be waited for.
        let _ = self.watch.wait();
    }
}

fn output(command: &mut Command) -> Result<String> {
    let output = command.output()?;
    ensure!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8(output.stdout)?)
}

fn binaries() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let mut debian: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .map(|version| version.path().join("bin"))
        .collect();
    debian.sort();
    let complete = |folder: &PathBuf| {
        ["initdb", "postgres", "psql"]
            .iter()
            .all(|b| exists(folder, b))
    };
    std::env::split_paths(&path)
        .chain(debian.into_iter().rev())
        .find(complete)
}

fn exists(folder: &Path, binary: &str) -> bool {
    folder.join(binary).exists()
}
