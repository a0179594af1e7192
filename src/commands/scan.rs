//! `scan`: reports what is stale; never writes.

use super::{Beyond, Interrupt, planning, print, warn, warn_unknown_owners, warn_unset};
use crate::cli::ScanArgs;
use crate::db::read;
use crate::db::schema::Purpose;
use crate::db::session::Session;
use crate::exit::Outcome;
use crate::failure::Failure;
use crate::litellm::sites::PERMISSIONS;
use crate::repair::policy::Policy;
use crate::report::{Ending, Report};

/// Rows read at a time.
const CHUNK: usize = 5_000;

/// Runs `scan`.
///
/// # Errors
///
/// Why the database could not be read or the report not be written.
pub async fn run(args: &ScanArgs) -> Result<Outcome, Failure> {
    let beyond = Beyond::read(&args.servers)?;
    let mut interrupt = Interrupt::listen()?;
    let report = interrupt.guard(Box::pin(scan(args, &beyond))).await?;
    print(&report, args.output.format, &mut interrupt).await?;
    let summary = report.summary();
    Ok(Outcome::Looked {
        found: summary.stale + summary.unverified > 0,
    })
}

async fn scan(args: &ScanArgs, beyond: &Beyond) -> Result<Report, Failure> {
    let timeout = args.connection.statement_timeout;
    let mut session = args.connection.open(timeout).await?;
    let report = look(&mut session, beyond).await?;
    session.close().await;
    Ok(report)
}

async fn look(session: &mut Session, beyond: &Beyond) -> Result<Report, Failure> {
    let database = session.database().clone();
    let mut open = session.begin(Purpose::Read).await?;
    let (connection, schema) = open.parts();
    warn_unknown_owners(schema);
    let catalog = beyond.catalog(connection, schema).await?;
    warn_unset(&catalog);
    beyond
        .warn_of_config_servers(connection, schema, &catalog)
        .await?;
    let keys = read::detect(connection, schema, &PERMISSIONS, &catalog.unremarkable()).await?;
    if catalog.rows() == 0 && !keys.is_empty() {
        warn("the MCP server table is empty: make sure that this is the right database");
    }
    let keys: Vec<String> = keys.into_iter().collect();
    let policy = Policy::default();
    let mut owners = read::owners(connection, schema, &keys).await?;
    let mut plans = Vec::new();
    for chunk in keys.chunks(CHUNK) {
        let rows = read::rows(connection, schema, &PERMISSIONS, chunk, &mut owners).await?;
        plans.extend(planning::plan(connection, schema, &rows, &catalog, policy).await?);
    }
    let release = schema.release();
    open.rollback().await?;
    Ok(Report {
        database,
        release,
        servers: (&catalog).into(),
        ending: Ending::Scanned,
        plans,
        conflicts: Vec::new(),
        journal: None,
        plan: None,
    })
}
