//! The PostgreSQL that the tests work on, with a database of its own for each test.
//!
//! The server is the one that `MCP_PRUNE_TEST_DATABASE_URL` names (a superuser on loopback), else a
//! private cluster started from this machine's `postgres` binaries. Without these, or with
//! `MCP_PRUNE_TEST_SERVER=embedded`, it is the one inside the process. It is never that of
//! `DATABASE_URL`, which may be a production database.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, Connection as _, Row as _};
use tokio::runtime::Runtime;

use crate::program::wait_until;
use crate::samples::script;

/// A server that serves several connections at once.
pub(crate) struct Server {
    /// Its address without a database: `postgresql://postgres@127.0.0.1:5433`.
    address: String,
    /// The folder with its certificate authority's `ca.pem`, of a private cluster.
    pub(crate) tls: Option<PathBuf>,
    /// Ends with this process, and the cluster with it.
    watch: Option<Child>,
}

enum Kind {
    Server(Server),
    #[cfg(feature = "embedded")]
    Embedded,
}

/// A database of one test's own.
pub(crate) struct TestDatabase {
    url: String,
    /// The server that stays, from which the database is dropped when the test has passed.
    maintenance: Option<String>,
    #[cfg(feature = "embedded")]
    _embedded: Option<mcp_prune::testing::Embedded>,
}

static KIND: OnceLock<Kind> = OnceLock::new();
static NEXT: AtomicU32 = AtomicU32::new(0);

fn kind() -> &'static Kind {
    KIND.get_or_init(|| {
        let embedded = std::env::var("MCP_PRUNE_TEST_SERVER").is_ok_and(|kind| kind == "embedded");
        if let Ok(address) = std::env::var("MCP_PRUNE_TEST_DATABASE_URL") {
            let address = address.trim_end_matches('/').to_owned();
            return Kind::Server(Server {
                address,
                tls: None,
                watch: None,
            });
        }
        if let Some(binaries) = postgres_binaries().filter(|_| !embedded) {
            return Kind::Server(Server::start(&binaries, None));
        }
        #[cfg(feature = "embedded")]
        return Kind::Embedded;
        #[cfg(not(feature = "embedded"))]
        panic!("no PostgreSQL: install one, or test with --features embedded");
    })
}

/// Returns the server if it serves several connections at once; else skips the test and returns
/// `None`.
#[cfg_attr(
    not(feature = "embedded"),
    expect(
        unused_variables,
        clippy::unnecessary_wraps,
        reason = "an embedded server cannot, and the test is skipped"
    )
)]
pub(crate) fn concurrent_server(test: &str) -> Option<&'static Server> {
    match kind() {
        Kind::Server(server) => Some(server),
        #[cfg(feature = "embedded")]
        Kind::Embedded => {
            skip(test, "needs a server with connections side by side");
            None
        }
    }
}

/// Prints that a test is skipped; fails if `MCP_PRUNE_TEST_NO_SKIP` is set.
pub(crate) fn skip(test: &str, why: &str) {
    assert!(
        std::env::var_os("MCP_PRUNE_TEST_NO_SKIP").is_none(),
        "{test} was skipped: {why}"
    );
    println!("SKIPPED {test}: {why}");
}

/// Starts a server that this test may kill; without one, skips the test and returns `None`.
pub(crate) fn server_to_crash(test: &str) -> Option<Server> {
    concurrent_server(test)?;
    let binaries = postgres_binaries();
    if binaries.is_none() {
        skip(test, "needs PostgreSQL's binaries");
    }
    Some(Server::start(&binaries?, None))
}

fn postgres_binaries() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let mut debian: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .map(|version| version.path().join("bin"))
        .collect();
    debian.sort();
    std::env::split_paths(&path)
        .chain(debian.into_iter().rev())
        .find(|folder| folder.join("initdb").exists() && folder.join("postgres").exists())
}

impl Server {
    /// Starts a private cluster that a shell watches: when this process ends, in whatever way, its
    /// pipe closes, and the shell stops the server by its process id and removes the cluster.
    /// With a primary it is a hot standby of that.
    fn start(binaries: &std::path::Path, primary: Option<&Self>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let watching = crate::program::repository("tests/it/cluster.sh");
        let watching = std::fs::read_to_string(watching).unwrap();
        let root = String::from_utf8(Command::new("id").arg("-u").output().unwrap().stdout);
        // PostgreSQL refuses to run as root.
        let mut command = if root.unwrap().trim() == "0" {
            let mut command = Command::new("runuser");
            command.args(["-u", "postgres", "--", "sh"]);
            command
        } else {
            Command::new("sh")
        };
        let mut watch = command
            .args(["-c", &watching, "cluster"])
            .args([binaries.to_str().unwrap(), &port.to_string()])
            .args(primary.into_iter().flat_map(Self::socket))
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a shell can be started");
        let mut folder = String::new();
        let stdout = watch.stdout.take().unwrap();
        let read = BufReader::new(stdout).read_line(&mut folder).unwrap();
        assert_ne!(read, 0, "no cluster was made; stderr says why");
        let server = Self {
            address: format!("postgresql://postgres@127.0.0.1:{port}"),
            tls: Some(PathBuf::from(folder.trim())),
            watch: Some(watch),
        };
        server.wait_until_ready();
        server
    }

    /// Starts a hot standby, from a copy of the server while it is stopped. Only for a
    /// [`server_to_crash`].
    pub(crate) fn standby(&mut self) -> Self {
        self.stop();
        let standby = Self::start(&postgres_binaries().unwrap(), Some(self));
        self.restart();
        standby
    }

    /// Returns the folder and the port of the socket of a private cluster.
    pub(crate) fn socket(&self) -> [&str; 2] {
        let (_, port) = self.address.rsplit_once(':').unwrap();
        [self.tls.as_ref().unwrap().to_str().unwrap(), port]
    }

    /// Kills the postmaster and all its processes at once, as a crash of the machine would, and
    /// starts the server again. Only for a [`server_to_crash`].
    pub(crate) fn crash_and_restart(&mut self) {
        let postmaster = &self.postmaster().unwrap();
        let children = Command::new("ps")
            .args(["-o", "pid=", "--ppid", postmaster])
            .output()
            .unwrap();
        let children = String::from_utf8(children.stdout).unwrap();
        // The postmaster first, so that it has no time to end the others in good order. A child
        // that has ended by itself meanwhile is as dead as it should be.
        let _ = Command::new("kill")
            .args(["-s", "KILL", postmaster])
            .args(children.split_whitespace())
            .output()
            .unwrap();
        self.restart();
    }

    /// Returns the process id of the postmaster of a private cluster, while it is up.
    fn postmaster(&self) -> Option<String> {
        let file = self.tls.as_ref().unwrap().join("data/postmaster.pid");
        let lock = std::fs::read_to_string(file).ok()?;
        Some(lock.lines().next()?.trim().to_owned())
    }

    /// Stops the server in good order.
    fn stop(&self) {
        let postmaster = self.postmaster().unwrap();
        let mut kill = Command::new("kill");
        assert!(
            kill.args(["-s", "INT", &postmaster])
                .status()
                .unwrap()
                .success()
        );
        wait_until("the private cluster is down", || {
            self.postmaster().is_none()
        });
    }

    /// Starts the server again, which somebody stopped.
    fn restart(&self) {
        let watch = self.watch.as_ref().unwrap();
        writeln!(watch.stdin.as_ref().unwrap()).unwrap();
        self.wait_until_ready();
    }

    fn wait_until_ready(&self) {
        let url = self.url("postgres");
        wait_until("the private cluster is up", || {
            block_on(PgConnection::connect(&url)).is_ok()
        });
    }

    /// Returns the URL of one of its databases.
    pub(crate) fn url(&self, database: &str) -> String {
        format!("{}/{database}", self.address)
    }

    /// Returns its TCP port.
    pub(crate) fn port(&self) -> u16 {
        let (_, port) = self.address.rsplit_once(':').unwrap();
        port.parse().unwrap()
    }

    /// Makes a database of that encoding with the tables of `fixtures/schema.sql` in it.
    pub(crate) fn create_encoded(&self, encoding: &str) -> TestDatabase {
        // In the words that PostgreSQL 12 knows, too.
        let template = format!("template0 ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C'");
        let database = self.create(Some(&template));
        database.load(&script("schema"));
        database
    }

    /// Makes a database, from the template if one is named.
    pub(crate) fn create(&self, template: Option<&str>) -> TestDatabase {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("mcp_prune_{}_{number}", std::process::id());
        let template = template.unwrap_or("template0");
        let admin = TestDatabase::at(self.url("postgres"));
        admin.execute(&format!("CREATE DATABASE {name} TEMPLATE {template}"));
        let mut database = TestDatabase::at(self.url(&name));
        // A private cluster goes away as a whole.
        database.maintenance = self.watch.is_none().then(|| self.url("postgres"));
        database
    }
}

/// Runs a future to its end.
pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    runtime().block_on(future)
}

/// Returns a runtime to drive a connection with.
pub(crate) fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

/// Drops the database of a test that has passed; that of a failed test stays to be looked at.
impl Drop for TestDatabase {
    fn drop(&mut self) {
        if let Some(url) = self
            .maintenance
            .take()
            .filter(|_| !std::thread::panicking())
        {
            let maintenance = TestDatabase::at(url);
            // WITH (FORCE) came with PostgreSQL 13.
            maintenance.texts(&format!(
                "SELECT pg_terminate_backend(pid)::text FROM pg_stat_activity
                 WHERE datname = '{}'",
                self.name()
            ));
            maintenance.execute(&format!("DROP DATABASE {}", self.name()));
        }
    }
}

impl TestDatabase {
    /// Makes an empty database on whichever server there is.
    pub(crate) fn empty() -> Self {
        match kind() {
            Kind::Server(server) => server.create(None),
            #[cfg(feature = "embedded")]
            Kind::Embedded => {
                let server = block_on(mcp_prune::testing::Embedded::start_empty()).unwrap();
                let options = server.connect_options();
                let socket = options.get_socket().unwrap();
                Self {
                    url: format!(
                        "postgresql://{}@{}:{}/{}",
                        options.get_username(),
                        socket.display().to_string().replace('/', "%2F"),
                        options.get_port(),
                        options.get_database().unwrap()
                    ),
                    maintenance: None,
                    _embedded: Some(server),
                }
            }
        }
    }

    /// Makes a database with the tables of `fixtures/schema.sql` and then `rows` in it.
    pub(crate) fn with(rows: &str) -> Self {
        let database = Self::empty();
        database.load(&script("schema"));
        database.load(rows);
        database
    }

    /// Returns the database at `url`, which this does not create.
    pub(crate) fn at(url: String) -> Self {
        Self {
            url,
            maintenance: None,
            #[cfg(feature = "embedded")]
            _embedded: None,
        }
    }

    /// Returns its URL, for the binary.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Returns the name of the database.
    pub(crate) fn name(&self) -> &str {
        self.url.rsplit('/').next().unwrap()
    }

    /// Opens a connection that stays. Fails after a minute: the embedded server serves one
    /// connection at a time, and a run of the program may hold that one.
    pub(crate) async fn connect(&self) -> PgConnection {
        let options: PgConnectOptions = self.url.parse().unwrap();
        let options = options.statement_cache_capacity(0);
        let connecting = PgConnection::connect_with(&options);
        let connected = tokio::time::timeout(Duration::from_mins(1), connecting).await;
        let connected = connected.expect(
            "no connection within a minute: a test that needs two at once begins with \
             concurrent_server",
        );
        connected.unwrap()
    }

    /// Runs a script as Prisma runs a migration: in one go.
    pub(crate) fn load(&self, script: &str) {
        self.execute(script);
    }

    /// Runs one statement.
    pub(crate) fn execute(&self, sql: &str) {
        block_on(async {
            let mut connection = self.connect().await;
            let done = sqlx::raw_sql(AssertSqlSafe(sql.to_owned()))
                .execute(&mut connection)
                .await;
            done.unwrap_or_else(|error| panic!("{error}: {sql}"));
            connection.close().await.unwrap();
        });
    }

    /// Reads a query's first column, which is text; NULL reads as `NULL`.
    pub(crate) fn texts(&self, sql: &str) -> Vec<String> {
        block_on(async {
            let mut connection = self.connect().await;
            let rows = sqlx::query(AssertSqlSafe(sql.to_owned()))
                .fetch_all(&mut connection)
                .await
                .unwrap_or_else(|error| panic!("{error}: {sql}"));
            connection.close().await.unwrap();
            rows.iter()
                .map(|row| row.get::<Option<String>, _>(0).unwrap_or("NULL".to_owned()))
                .collect()
        })
    }

    /// Returns every permission row as text, with every column, ordered by key.
    pub(crate) fn permission_rows(&self) -> Vec<String> {
        self.texts(
            r#"SELECT p::text FROM "LiteLLM_ObjectPermissionTable" AS p
               ORDER BY p."object_permission_id" COLLATE "C""#,
        )
    }

    /// Returns every row of the users' credentials, whole, as text and in order.
    pub(crate) fn credential_rows(&self) -> Vec<String> {
        self.texts(
            r#"SELECT r.row FROM (
                   SELECT 'credential ' || t::text FROM "LiteLLM_MCPUserCredentials" AS t
                   UNION ALL SELECT 'variables ' || t::text FROM "LiteLLM_MCPUserEnvVars" AS t
                   UNION ALL SELECT 'client ' || t::text FROM "LiteLLM_MCPServerOAuthClient" AS t
               ) AS r ("row") ORDER BY r.row COLLATE "C""#,
        )
    }

    /// Returns every row of the other tables that name servers, without its times, as text and in
    /// order. The database must have LiteLLM's newest tables.
    pub(crate) fn other_rows(&self) -> Vec<String> {
        self.texts(
            r#"SELECT r.row FROM (
                   SELECT 'group ' || (to_jsonb(t) - 'updated_at')::text FROM "LiteLLM_AccessGroupTable" AS t
                   UNION ALL SELECT 'toolset ' || (to_jsonb(t) - 'updated_at')::text FROM "LiteLLM_MCPToolsetTable" AS t
                   UNION ALL SELECT 'config ' || to_jsonb(t)::text FROM "LiteLLM_Config" AS t
               ) AS r ("row") ORDER BY r.row COLLATE "C""#,
        )
    }
}
