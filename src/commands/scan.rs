//! `scan`: reports what is stale; never writes.

use std::sync::Arc;

use super::asked::places;
use super::output::{cannot_put_aside, gathering, print};
use super::planning::Planner;
use super::progress::Progress;
use super::run::Run;
use super::{
    Beyond, CHUNK, Interrupt, tell_left_out, warn, warn_of_config_servers, warn_unknown_owners,
    warn_unset,
};
use crate::cli::{Format, ScanArgs};
use crate::db::detect::Search;
use crate::db::schema::Purpose;
use crate::db::session::Session;
use crate::db::{detect, holders, read};
use crate::exit::Outcome;
use crate::failure::Failure;
use crate::repair::policy::Policy;
use crate::report::{Ending, Report, Said};

/// Runs `scan`.
///
/// # Errors
///
/// Fails where the database cannot be read or the report cannot be written.
pub async fn run(args: &ScanArgs, run: &mut Run) -> Result<Outcome, Failure> {
    let mut beyond = Beyond::read(&args.servers)?;
    beyond.read_previous(&args.previous)?;
    beyond.asked = args.places.references();
    let mut interrupt = Interrupt::listen()?;
    let report = interrupt.guard(Box::pin(scan(args, run, &beyond))).await?;
    let report = Arc::new(report);
    print(&report, &args.output, run, &mut interrupt).await?;
    let summary = report.summary();
    Ok(Outcome::Looked {
        found: summary.needs_attention(),
    })
}

async fn scan(args: &ScanArgs, run: &Run, beyond: &Beyond) -> Result<Report, Failure> {
    let timeout = args.connection.statement_timeout;
    let mut session = args.connection.open(timeout, run).await?;
    let report = look(args, run, &mut session, beyond).await?;
    session.close().await;
    Ok(report)
}

async fn look(
    args: &ScanArgs,
    run: &Run,
    session: &mut Session,
    beyond: &Beyond,
) -> Result<Report, Failure> {
    let database = session.database().clone();
    let places = places(&args.places.sites, beyond.knows_configs());
    let mut open = session.begin(Purpose::Read, &places).await?;
    let (connection, schema) = open.parts();
    warn_unknown_owners(schema);
    tell_left_out(schema);
    let selection = args.places.selection(connection, schema, &database);
    let selection = selection.await?;
    let catalog = beyond.catalog(connection, schema).await?;
    warn_unset(&catalog);
    warn_of_config_servers(&catalog);
    let progress = Progress::begin("looking for stale references");
    let search = if args.notes {
        Search::ReferencesAndNotes
    } else {
        Search::References
    };
    let found = detect::detect(connection, schema, &catalog, search).await?;
    if catalog.rows() == 0 && !found.is_empty() {
        warn("the MCP server table is empty: make sure that this is the right database");
    }
    let planner = Planner {
        schema,
        catalog: &catalog,
        policy: Policy::default(),
        selection: &selection,
        notes: args.notes,
    };
    let mut report = gathering(&args.output);
    let mut asked = args.places.asked(std::iter::empty());
    progress.stage("reading rows");
    for (table, mut keys) in found {
        keys.retain(|key| selection.takes_key(key));
        let owners = holders::holders(connection, schema, table, &keys).await?;
        for chunk in keys.chunks(CHUNK) {
            let mut rows = read::rows(connection, schema, table, chunk, &owners).await?;
            rows.retain(|row| selection.takes(row));
            let plans = planner.plan(connection, table, &rows).await?;
            asked.see(&plans);
            report.add_findings(plans).map_err(cannot_put_aside)?;
            progress.rows(chunk.len());
        }
    }
    asked.check(connection, &planner, &selection).await?;
    // This reads the tables once more, so it is only done for a person who would see nothing else.
    let is_for_people = matches!(args.output.format, Format::Table | Format::Markdown);
    if is_for_people && !args.output.quiet && report.summary().rows == 0 && !args.places.narrows() {
        report.tell_looked_at(detect::looked_at(connection, schema).await?);
    }
    let release = schema.release();
    open.rollback().await?;
    Ok(Report {
        run: run.id().to_owned(),
        database,
        release,
        servers: (&catalog).into(),
        ending: Ending::Scanned,
        found: report,
        conflicts: Vec::new(),
        follow_up: args.follow_up(),
        notified: false,
        said: Said::default(),
        journal: None,
        plan: None,
    })
}
