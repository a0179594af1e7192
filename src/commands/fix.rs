//! `fix`: plans, writes and checks every change in one transaction, and then commits or not.

use std::io;
use std::sync::Arc;

use super::aftercare::{AfterCare, Written};
use super::asked::places;
use super::guards::{
    Removed, check_as_shown, check_nothing_left, check_size, refuse_empty_server_table,
};
use super::journal::{ChangesetFile, SavedChangeset};
use super::journal_retention::JournalRetention;
use super::output::{cannot_put_aside, gathering, print};
use super::planned::Planned;
use super::planning::Planner;
use super::progress::Progress;
use super::retry::{Patience, retried};
use super::run::Run;
use super::writing::{carry_out, moved};
use super::{
    Beyond, CHUNK, Interrupt, consent, console, tell_left_out, warn_of_config_servers,
    warn_unknown_owners, warn_unset,
};
use crate::cli::{FixArgs, Format};
use crate::db::schema::{Database, Purpose};
use crate::db::session::{Open, Session};
use crate::db::{detect, holders, read, write};
use crate::exit::Outcome;
use crate::failure::{Failure, Kind};
use crate::litellm::release::Release;
use crate::litellm::server::ServerCatalog;
use crate::litellm::sites::Choice;
use crate::repair::changeset::{self, Change};
use crate::repair::compare::{self, Conflict};
use crate::repair::plan::RowPlan;
use crate::repair::policy::{Policy, WriteConsent};
use crate::report::found::Found;
use crate::report::{Ending, Render as _, Report, ServerCounts, table};

/// What one run of the transaction is to end in.
#[derive(Clone, Copy)]
enum Finish<'a> {
    RollBack,
    Commit {
        consent: &'a WriteConsent,
        /// The plans that the operator has seen; nothing else may then be committed.
        shown: Option<&'a [RowPlan]>,
    },
}

/// What one run of the transaction planned, wrote and checked.
struct Repair {
    found: Found,
    /// The rows written.
    written: Written,
    /// Where a saved plan no longer holds; nothing is committed then.
    conflicts: Vec<Conflict>,
    servers: ServerCounts,
    release: Release,
}

impl Repair {
    fn changes_nothing(&self) -> bool {
        self.found.summary().rows_changed == 0
    }
}

/// Runs `fix`.
///
/// # Errors
///
/// Why nothing was written.
pub async fn run(args: &FixArgs, run: &mut Run) -> Result<Outcome, Failure> {
    let write = &args.repair.write;
    let asks = consent::asks(write, "fix")?;
    let after_care = AfterCare::read(&write.notify)?;
    let saved = match &args.repair.plan {
        None => None,
        Some(path) => {
            let saved = SavedChangeset::open(path)?;
            saved.check_purpose(
                &[changeset::Purpose::Plan],
                "--plan takes what fix --dry-run --plan-out saved; a journal is for undo",
            )?;
            Some(saved)
        }
    };
    let header = saved.as_ref().map(|saved| &saved.contents.header);
    let policy = match header.and_then(|header| Some((header.on_empty?, header.delete_rows))) {
        Some((on_empty, delete_rows)) => Policy {
            delete_rows,
            ..on_empty.into()
        },
        None => args.policy()?,
    };
    // Opened before anything else, so that nothing is changed that could not be taken back.
    let mut out = match (&args.repair.plan_out, write.dry_run) {
        (Some(path), _) => Some(ChangesetFile::plan(path)?),
        (None, true) => None,
        (None, false) => ChangesetFile::journal(&write.journal, "fix", run)?,
    };
    let retention = JournalRetention::read(args.repair.journal_retention, out.as_ref());
    let mut beyond = Beyond::read(&args.servers)?;
    beyond.remaps = match &saved {
        Some(saved) => saved.contents.header.remaps.clone(),
        None => args.repair.remaps()?,
    };
    beyond.read_previous(&args.repair.previous)?;
    beyond.asked = args.places.references();
    let places = match &saved {
        Some(saved) => saved.contents.places(),
        None => places(&args.places.sites, beyond.knows_configs()),
    };
    let mut fix = Fix {
        args,
        policy,
        places,
        saved,
        run,
        beyond,
        after_care,
        retention,
        asks,
        interrupt: Interrupt::listen()?,
    };
    let open = args.connection.open(write.lock_timeout, fix.run);
    let mut session = fix.interrupt.guard(open).await?;

    let Some(consent) = WriteConsent::from_flag(write.yes) else {
        let looked = if asks { &mut None } else { &mut out };
        let repair = fix.repair(&mut session, Finish::RollBack, looked).await?;
        let mut report = report(fix.run, &session, repair, Ending::DryRun);
        if !report.conflicts.is_empty() {
            return fix.moved(report).await;
        }
        if asks {
            return fix.ask(&mut session, report, &mut out).await;
        }
        report.plan = out.as_ref().map(|out| out.path().display().to_string());
        report.next = args.next();
        let summary = report.summary();
        print(&Arc::new(report), &args.output, fix.run, &mut fix.interrupt).await?;
        return Ok(Outcome::Looked {
            found: summary.needs_attention(),
        });
    };
    let finish = Finish::Commit {
        consent: &consent,
        shown: None,
    };
    let repair = fix.repair(&mut session, finish, &mut out).await?;
    let ending = if repair.changes_nothing() {
        Ending::NothingToDo
    } else {
        Ending::Applied
    };
    let mut report = report(fix.run, &session, repair, ending);
    if !report.conflicts.is_empty() {
        return fix.moved(report).await;
    }
    report.journal = sealed_path(out.as_ref());
    let report = Arc::new(report);
    let printed = print(&report, &args.output, fix.run, &mut fix.interrupt).await;
    session.close().await;
    repaired(&report, printed, fix.retention.as_ref())
}

/// Where the old values are, if any were.
fn sealed_path(out: Option<&ChangesetFile>) -> Option<String> {
    let sealed = out.filter(|out| out.is_sealed());
    sealed.map(|out| out.path().display().to_string())
}

struct Fix<'a> {
    args: &'a FixArgs,
    policy: Policy,
    places: Choice,
    /// The plan to carry out, with `--plan`.
    saved: Option<SavedChangeset>,
    run: &'a mut Run,
    beyond: Beyond,
    after_care: AfterCare,
    /// What becomes of older journals.
    retention: Option<JournalRetention>,
    asks: bool,
    interrupt: Interrupt,
}

impl Fix<'_> {
    /// Shows the plan, asks, and repairs exactly what was shown.
    async fn ask(
        &mut self,
        session: &mut Session,
        mut report: Report,
        out: &mut Option<ChangesetFile>,
    ) -> Result<Outcome, Failure> {
        if report.summary().rows_changed == 0 {
            report.ending = Ending::NothingToDo;
            let report = Arc::new(report);
            let printed = print(&report, &self.args.output, self.run, &mut self.interrupt).await;
            return repaired(&report, printed, self.retention.as_ref());
        }
        let look = self.args.output.look(self.run, &io::stderr());
        console::show(|out| table::write(&report, look, out)).map_err(anyhow::Error::from)?;
        let rows = report.summary().rows_changed;
        let consent = self.interrupt.guard(consent::ask("Repair", rows)).await?;
        let Some(consent) = consent else {
            report.ending = Ending::Declined;
            self.end(&Arc::new(report)).await?;
            return Ok(Outcome::Looked { found: true });
        };
        let finish = Finish::Commit {
            consent: &consent,
            shown: Some(report.plans()),
        };
        let repair = self.repair(session, finish, out).await?;
        if !repair.conflicts.is_empty() {
            report.conflicts = repair.conflicts;
            return self.moved(report).await;
        }
        report.ending = Ending::Applied;
        report.journal = sealed_path(out.as_ref());
        let report = Arc::new(report);
        let ended = self.end(&report).await;
        repaired(&report, ended, self.retention.as_ref())
    }

    /// Prints how it ended, after the plan was shown: to a person, only what is new.
    async fn end(&mut self, report: &Arc<Report>) -> Result<(), Failure> {
        if self.args.output.format == Format::Table && !self.run.report.is_file() {
            self.run.tally = Some(report.tally());
            table::write_closing(report, &mut io::stdout().lock())
                .map_err(|error| anyhow::Error::from(error).into())
        } else {
            if self.run.report.is_file() {
                console::show(|out| table::write_closing(report, out))
                    .map_err(anyhow::Error::from)?;
            }
            print(report, &self.args.output, self.run, &mut self.interrupt).await
        }
    }

    /// Prints where a saved plan no longer holds.
    async fn moved(&mut self, mut report: Report) -> Result<Outcome, Failure> {
        report.ending = Ending::Moved;
        let report = Arc::new(report);
        print(&report, &self.args.output, self.run, &mut self.interrupt).await?;
        if report
            .conflicts
            .iter()
            .all(|c| c.found == compare::Found::Done)
        {
            let message = "this plan was carried out already; nothing was written";
            return Err(Failure::new(Kind::Moved, message).hint("scan tells what there is now"));
        }
        Err(moved(
            report.conflicts.len(),
            "the report tells which; say --litellm-config, --no-config-servers and --keep as when \
             it was planned, plan anew, or look into who changed them",
        ))
    }

    /// Runs the transaction, again where others were in the way.
    async fn repair(
        &mut self,
        session: &mut Session,
        finish: Finish<'_>,
        out: &mut Option<ChangesetFile>,
    ) -> Result<Repair, Failure> {
        let lock_timeout = self.args.repair.write.lock_timeout;
        let shown = matches!(finish, Finish::Commit { shown: Some(_), .. });
        let progress = Progress::begin("looking for stale references");
        let attempt = async |patience: &mut Patience| {
            let repair = self.attempt(session, finish, patience, out.as_mut(), &progress);
            repair.await
        };
        retried(lock_timeout, shown, attempt).await
    }

    async fn attempt(
        &mut self,
        session: &mut Session,
        finish: Finish<'_>,
        patience: &mut Patience,
        mut out: Option<&mut ChangesetFile>,
        progress: &Progress,
    ) -> Result<Repair, Failure> {
        let database = session.database().clone();
        let begin = session.begin(Purpose::Write, &self.places);
        let mut open = self.interrupt.guard(begin).await?;
        let job = Job {
            args: self.args,
            policy: self.policy,
            saved: self.saved.as_ref(),
            run: self.run,
            beyond: &self.beyond,
            database: &database,
            // What a prompt shows, and is then held to, is needed whole.
            keeps: self.asks,
            tells: self.after_care.tells(),
            progress,
        };
        let work = job.prepare(&mut open, patience, out.as_deref_mut());
        let repair = self.interrupt.guard(work).await?;
        let Finish::Commit { consent, shown } = finish else {
            self.interrupt.guard(open.rollback()).await?;
            if let Some(plan) = out {
                plan.seal()?;
            }
            return Ok(repair);
        };
        if !repair.conflicts.is_empty() {
            self.interrupt.guard(open.rollback()).await?;
            return Ok(repair);
        }
        if let Some(shown) = shown {
            check_as_shown(shown, repair.found.plans())?;
        }
        let journal = out.filter(|_| !repair.changes_nothing());
        progress.stage("committing");
        self.interrupt.commit(open, consent, journal).await?;
        let telling = self
            .after_care
            .tell(session, &repair.written, &mut self.interrupt);
        telling.await;
        Ok(repair)
    }
}

/// What a run of the transaction works on.
struct Job<'a> {
    args: &'a FixArgs,
    policy: Policy,
    saved: Option<&'a SavedChangeset>,
    run: &'a Run,
    beyond: &'a Beyond,
    database: &'a Database,
    /// Whether every row is kept, whatever the report needs.
    keeps: bool,
    /// Whether proxies are told which rows were written.
    tells: bool,
    progress: &'a Progress,
}

impl Job<'_> {
    /// Does everything up to the decision: plans, writes, checks, and looks again.
    async fn prepare(
        &self,
        open: &mut Open<'_>,
        patience: &mut Patience,
        mut out: Option<&mut ChangesetFile>,
    ) -> Result<Repair, Failure> {
        let (connection, schema) = open.parts();
        let repair = &self.args.repair;
        warn_unknown_owners(schema);
        tell_left_out(schema);
        write::lock_out_other_runs(connection).await?;
        for table in schema.site_tables() {
            write::enter(connection, schema, table).await?;
        }
        let selection = self.args.places.selection(connection, schema).await?;
        let catalog = self.beyond.catalog(connection, schema).await?;
        warn_unset(&catalog);
        warn_of_config_servers(&catalog);
        if let Some(out) = out.as_deref_mut() {
            out.begin(self.header(&catalog))?;
        }
        self.progress.stage("looking for stale references");
        let mut planned = self.saved.map(Planned::read).transpose()?;
        let found = match &planned {
            Some(planned) => planned.rows(),
            None => detect::detect(connection, schema, &catalog, false).await?,
        };
        if catalog.rows() == 0 && !found.is_empty() && !repair.allow_empty_server_table {
            return Err(refuse_empty_server_table(
                found.iter().map(|(_, keys)| keys.len()).sum(),
            ));
        }
        self.progress.stage("locking rows");
        let mut locked = Vec::new();
        for (table, mut keys) in found {
            keys.retain(|key| selection.takes_key(key));
            if table.may_change() {
                keys = patience.lock(connection, table, &keys).await?;
            }
            self.progress.rows(keys.len());
            locked.push((table, keys));
        }
        let judge = Planner {
            schema,
            catalog: &catalog,
            policy: self.policy,
            notes: false,
        };
        let mut report = self.gathering();
        let mut written = Written::default();
        let mut removed = Removed::default();
        let mut asked = self.args.places.asked();
        let mut conflicts = Vec::new();
        self.progress.stage("writing and verifying rows");
        for (table, keys) in locked {
            // After every lock, so that they are still the owners at the commit.
            let owners = holders::holders(connection, schema, table, &keys).await?;
            for chunk in keys.chunks(CHUNK) {
                let mut rows = read::rows(connection, schema, table, chunk, &owners).await?;
                rows.retain(|row| selection.takes(row));
                let mut now = judge.plan(connection, table, &rows).await?;
                if let Some(planned) = &mut planned {
                    conflicts.extend(planned.hold(table, &rows, &mut now, &catalog));
                }
                let changes: Vec<Change> = now.iter().filter_map(RowPlan::change).collect();
                if self.tells {
                    written.add(&changes);
                }
                let out = out.as_deref_mut();
                let stored = carry_out(connection, schema, table, &rows, changes, out).await?;
                check_nothing_left(&stored, &now, &catalog)?;
                removed.add(&now);
                asked.see(&now);
                report.add(now, false).map_err(cannot_put_aside)?;
                self.progress.rows(chunk.len());
            }
        }
        conflicts.extend(
            planned
                .into_iter()
                .flat_map(|left| left.without_row(&catalog)),
        );
        asked.check(&catalog)?;
        check_size(repair, connection, schema, report.summary()).await?;
        let now = self.beyond.catalog(connection, schema).await?;
        removed.check_still_gone(&now)?;
        Ok(Repair {
            found: report,
            written,
            conflicts,
            servers: (&catalog).into(),
            release: schema.release(),
        })
    }

    fn gathering(&self) -> Found {
        if self.keeps {
            Found::kept()
        } else {
            gathering(&self.args.output)
        }
    }

    fn header(&self, catalog: &ServerCatalog) -> changeset::Header {
        let purpose = if self.args.repair.plan_out.is_some() {
            changeset::Purpose::Plan
        } else {
            changeset::Purpose::Fix
        };
        let mut header = self.run.header(purpose, self.database);
        header.on_empty = Some(self.policy.into());
        header.delete_rows = self.policy.delete_rows;
        header.remaps.clone_from(catalog.remaps());
        header.servers = Some(catalog.digest());
        header
    }
}

fn report(run: &Run, session: &Session, repair: Repair, ending: Ending) -> Report {
    Report {
        run: run.id().to_owned(),
        database: session.database().clone(),
        release: repair.release,
        servers: repair.servers,
        ending,
        found: repair.found,
        conflicts: repair.conflicts,
        next: None,
        journal: None,
        plan: None,
    }
}

/// The outcome of a repair, which stands even if nobody reads the report.
fn repaired(
    report: &Report,
    printed: Result<(), Failure>,
    retention: Option<&JournalRetention>,
) -> Result<Outcome, Failure> {
    match printed {
        Err(failure) if failure.kind() != Kind::BrokenPipe => {
            Err(failure.context(match report.ending {
                Ending::Applied => "the repair was committed, but",
                Ending::Scanned
                | Ending::DryRun
                | Ending::NothingToDo
                | Ending::Declined
                | Ending::Moved => "nothing was written, and",
            }))
        }
        Ok(()) | Err(_) => {
            if let Some(retention) = retention {
                retention.apply(&report.database);
            }
            Ok(Outcome::Repaired {
                held: report.summary().rows_held > 0,
            })
        }
    }
}
