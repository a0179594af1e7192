//! Drives everything that writes: begins, prepares, shows, asks, compares with what was shown,
//! commits, notifies and closes. What `fix` and `undo` do differently is in their [`WriteJob`].

use std::path::Path;
use std::sync::Arc;

use crate::cli::connection::ConnectionArgs;
use crate::cli::output::OutputArgs;
use crate::cli::repair::WriteArgs;
use crate::command_line::CommandLine;
use crate::database::Database;
use crate::db::purpose::Purpose;
use crate::db::session::{SchemaTransaction, Session};
use crate::error::Failure;
use crate::exit_code::Outcome;
use crate::litellm::reference_sites::Choice;
use crate::process::invocation::{Committed, Run};
use crate::process::print::{print, print_end, show_plan};
use crate::process::progress::Progress;
use crate::process::prompt;
use crate::process::signals::Interrupt;
use crate::repair::policy::WriteConsent;
use crate::report::render::Render;
use crate::report::{Ending, FollowUp};
use crate::workflow::cache_invalidation::{AfterCare, ChangedRows};
use crate::workflow::changeset_file::ChangesetFile;
use crate::workflow::lock_retry::{Patience, retried};

/// What a command plans, writes and checks within one transaction.
pub(crate) trait WriteJob {
    /// The report of the job.
    type Report: WriteReport;

    /// The first stage that the progress line names.
    const STAGE: &'static str;

    /// The verb that its question begins with: "Repair".
    const QUESTION: &'static str;

    /// The noun for what it has done: "the repair".
    const DONE: &'static str;

    /// Returns the places that it works on.
    fn places(&self) -> Choice;

    /// Refuses a database that the job is not meant for.
    fn check_database(&self, database: &Database) -> Result<(), Failure>;

    /// Does everything up to the commit: locks, plans, writes and checks.
    async fn prepare(
        &self,
        open: &mut SchemaTransaction<'_>,
        attempt: Attempt<'_>,
    ) -> Result<Prepared<Self::Report>, Failure>;

    /// Returns what to suggest after a dry run, which may have saved a `plan`.
    fn after_dry_run(&self, plan: Option<&Path>) -> FollowUp;

    /// Returns what to suggest where rows are no longer as planned or journalled.
    fn after_moved(&self) -> FollowUp {
        FollowUp::default()
    }

    /// Returns the command that puts back the old values in `journal`.
    fn take_back(&self, journal: &Path) -> CommandLine;

    /// Builds the error for a report whose rows are no longer as planned or journalled.
    fn moved(&self, report: &Self::Report) -> Failure;

    /// Finishes the job once everything is committed and reported.
    fn succeeded(&self, _: &Self::Report) {}

    /// Returns the outcome of a job whose rows were as planned or journalled.
    fn outcome(&self, report: &Self::Report) -> Outcome;
}

/// The report of a command that writes.
pub(crate) trait WriteReport: Render + Send + Sync + 'static {
    /// Returns how it ended.
    fn ending(&self) -> Ending;

    /// Sets how the job ended, and what to suggest next.
    fn end(&mut self, ending: Ending, follow_up: FollowUp);

    /// Sets where the saved plan is.
    fn plan_is_in(&mut self, path: &Path);

    /// Sets where the journal is.
    fn journal_is_in(&mut self, path: &Path);

    /// Returns how many rows are written.
    fn rows_written(&self) -> usize;

    /// Refuses a report that is not exactly what the operator was `shown`.
    fn check_as_shown(&self, shown: &Self) -> Result<(), Failure>;
}

/// One run of the transaction, which may be tried again.
pub(crate) struct Attempt<'a> {
    pub(crate) run: &'a Run,
    pub(crate) database: &'a Database,
    pub(crate) patience: &'a mut Patience,
    /// The journal, or the plan.
    pub(crate) out: Option<&'a mut ChangesetFile>,
    pub(crate) progress: &'a Progress,
    /// Whether the report keeps every row: what a prompt shows is compared before the commit.
    pub(crate) keeps: bool,
    /// Whether proxies are told which rows were written.
    pub(crate) tells: bool,
}

/// What one run of the transaction planned, wrote and checked.
pub(crate) struct Prepared<R> {
    pub(crate) report: R,
    /// The rows that proxies are told of.
    pub(crate) written: ChangedRows,
    /// Whether rows are no longer as planned or journalled, so that nothing may be committed.
    pub(crate) is_moved: bool,
}

/// How one run of the transaction ends.
enum Finish<'a, R> {
    RollBack,
    Commit {
        consent: &'a WriteConsent,
        /// What the operator has seen: nothing else may be committed.
        shown: Option<&'a R>,
    },
}

// By hand, as a derived one would ask for reports that can be copied.
impl<R> Clone for Finish<'_, R> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<R> Copy for Finish<'_, R> {}

/// The options of a command that writes, checked before anything is done.
pub(crate) struct WriteOptions<'a> {
    write: &'a WriteArgs,
    output: &'a OutputArgs,
    asks: bool,
    after_care: AfterCare,
}

impl<'a> WriteOptions<'a> {
    /// Checks the options of `command`.
    pub(crate) fn check(
        command: &str,
        write: &'a WriteArgs,
        output: &'a OutputArgs,
    ) -> Result<Self, Failure> {
        Ok(Self {
            asks: prompt::asks(write, command)?,
            after_care: AfterCare::read(&write.notify)?,
            write,
            output,
        })
    }

    /// Does the job; `out` is the journal, or the plan.
    pub(crate) async fn carry_out<J: WriteJob>(
        self,
        job: &J,
        connection: &ConnectionArgs,
        mut out: Option<ChangesetFile>,
        run: &mut Run,
    ) -> Result<Outcome, Failure> {
        let mut write_run = WriteRun {
            options: self,
            run,
            interrupt: Interrupt::listen()?,
        };
        let open = connection.open(write_run.options.write.lock_timeout, write_run.run);
        let mut session = write_run.interrupt.guard(open).await?;
        job.check_database(session.database())?;
        // After a failure the connection is only dropped: the server may no longer answer.
        let ended = Box::pin(write_run.drive(job, &mut session, &mut out)).await?;
        session.close().await;
        ended
    }
}

/// A command that writes, once it is connected.
struct WriteRun<'a> {
    options: WriteOptions<'a>,
    run: &'a mut Run,
    interrupt: Interrupt,
}

impl WriteRun<'_> {
    /// Runs the transaction once or twice, and prints the report.
    ///
    /// The outer error is a failure of the transaction, the inner one a failure after it.
    async fn drive<J: WriteJob>(
        &mut self,
        job: &J,
        session: &mut Session,
        out: &mut Option<ChangesetFile>,
    ) -> Result<Result<Outcome, Failure>, Failure> {
        let consent = WriteConsent::from_flag(self.options.write.yes);
        let finish = match &consent {
            None => Finish::RollBack,
            Some(consent) => Finish::Commit {
                consent,
                shown: None,
            },
        };
        // A plan that is only shown for the question is not written to a file.
        let looked = if self.options.asks {
            &mut None
        } else {
            &mut *out
        };
        let mut report = self.transact(job, session, finish, looked).await?;
        if report.ending() == Ending::DryRun && self.options.asks {
            if report.rows_written() > 0 {
                return self.ask(job, session, report, out).await;
            }
            report.end(Ending::NothingToDo, FollowUp::default());
        }
        let report = Arc::new(report);
        let printed = print(&report, self.options.output, self.run, &mut self.interrupt).await;
        Ok(self.outcome(job, &report, printed))
    }

    /// Shows the plan, asks, and then does exactly what was shown.
    async fn ask<J: WriteJob>(
        &mut self,
        job: &J,
        session: &mut Session,
        mut shown: J::Report,
        out: &mut Option<ChangesetFile>,
    ) -> Result<Result<Outcome, Failure>, Failure> {
        shown.end(Ending::Proposed, FollowUp::default());
        show_plan(&shown, self.options.output, self.run)?;
        let rows = crate::report::count(shown.rows_written(), "row");
        let question = format!("{} {rows} of {}?", J::QUESTION, session.database());
        let answer = self.interrupt.guard(prompt::ask(&question)).await?;
        let report = if let Some(consent) = answer {
            let finish = Finish::Commit {
                consent: &consent,
                shown: Some(&shown),
            };
            self.transact(job, session, finish, out).await?
        } else {
            shown.end(Ending::Declined, FollowUp::default());
            shown
        };
        let report = Arc::new(report);
        let (output, interrupt) = (self.options.output, &mut self.interrupt);
        // The conflicts were not shown yet.
        let printed = if report.ending() == Ending::Moved {
            print(&report, output, self.run, interrupt).await
        } else {
            print_end(&report, output, self.run, interrupt).await
        };
        Ok(self.outcome(job, &report, printed))
    }

    fn outcome<J: WriteJob>(
        &self,
        job: &J,
        report: &J::Report,
        printed: Result<(), Failure>,
    ) -> Result<Outcome, Failure> {
        let stands = self.run.stands(job.outcome(report), printed);
        if report.ending() == Ending::Moved {
            return stands.and_then(|_| Err(job.moved(report)));
        }
        if matches!(stands, Ok(Outcome::Repaired { .. })) {
            job.succeeded(report);
        }
        stands
    }

    /// Runs the transaction, and runs it again where somebody else held a lock.
    async fn transact<J: WriteJob>(
        &mut self,
        job: &J,
        session: &mut Session,
        finish: Finish<'_, J::Report>,
        out: &mut Option<ChangesetFile>,
    ) -> Result<J::Report, Failure> {
        let lock_timeout = self.options.write.lock_timeout;
        let was_shown = matches!(finish, Finish::Commit { shown: Some(_), .. });
        let progress = Progress::begin(J::STAGE);
        let attempt = async |patience: &mut Patience| {
            let attempt = self.attempt(job, session, finish, patience, out.as_mut(), &progress);
            attempt.await
        };
        retried(lock_timeout, was_shown, attempt).await
    }

    async fn attempt<J: WriteJob>(
        &mut self,
        job: &J,
        session: &mut Session,
        finish: Finish<'_, J::Report>,
        patience: &mut Patience,
        mut out: Option<&mut ChangesetFile>,
        progress: &Progress,
    ) -> Result<J::Report, Failure> {
        let database = session.database().clone();
        let places = job.places();
        let begin = session.begin(Purpose::Write, &places);
        let mut open = self.interrupt.guard(begin).await?;
        let attempt = Attempt {
            run: self.run,
            database: &database,
            patience,
            out: out.as_deref_mut(),
            progress,
            keeps: self.options.asks,
            tells: self.options.after_care.tells(),
        };
        let work = job.prepare(&mut open, attempt);
        let prepared = self.interrupt.guard(work).await?;
        let mut report = prepared.report;
        if prepared.is_moved {
            self.interrupt.guard(open.rollback()).await?;
            report.end(Ending::Moved, job.after_moved());
            return Ok(report);
        }
        let Finish::Commit { consent, shown } = finish else {
            self.interrupt.guard(open.rollback()).await?;
            if let Some(plan) = out.as_deref_mut() {
                plan.seal()?;
                report.plan_is_in(plan.path());
            }
            let plan = out.as_deref().map(ChangesetFile::path);
            report.end(Ending::DryRun, job.after_dry_run(plan));
            return Ok(report);
        };
        if let Some(shown) = shown {
            report.check_as_shown(shown)?;
        }
        let out = out.filter(|_| report.rows_written() > 0);
        progress.stage("committing");
        let journal = self
            .interrupt
            .commit(open, consent, out, |path| job.take_back(path))
            .await?;
        if report.rows_written() == 0 {
            report.end(Ending::NothingToDo, FollowUp::default());
            return Ok(report);
        }
        let take_back = journal.as_deref().map(|path| job.take_back(path));
        self.run.committed = Some(Committed {
            what: J::DONE,
            journal: journal.clone().zip(take_back.clone()),
        });
        self.options
            .after_care
            .tell(session, &prepared.written, &mut self.interrupt)
            .await;
        if let Some(path) = &journal {
            report.journal_is_in(path);
        }
        let follow_up = FollowUp {
            take_back,
            ..FollowUp::default()
        };
        report.end(Ending::Applied, follow_up);
        Ok(report)
    }
}
