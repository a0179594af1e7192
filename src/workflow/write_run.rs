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
use crate::error::{ErrorKind, Failure};
use crate::exit_code::Outcome;
use crate::litellm::reference_sites::Choice;
use crate::process::invocation::{Committed, Run};
use crate::process::print::{print, print_end, show_plan};
use crate::process::progress::Progress;
use crate::process::prompt;
use crate::process::signals::{Interrupt, cut_short};
use crate::process::stderr::warn;
use crate::repair::policy::WriteConsent;
use crate::report::render::Render;
use crate::report::{Ending, FollowUp, Report, WrittenJournal};
use crate::workflow::cache_invalidation::{AfterCare, ChangedRows};
use crate::workflow::changeset_file::{ChangesetDraft, ChangesetFile, SealedChangeset};
use crate::workflow::lock_retry::{OnMovedRows, Patience, retried};

/// What a command plans, writes and checks within one transaction.
pub(crate) trait WriteJob {
    /// What the job found and did.
    type Facts: WriteFacts;

    /// What is looked at once more after the transaction.
    type Left;

    /// What its transaction is begun for.
    const PURPOSE: Purpose;

    /// The first stage that the progress line names.
    const STAGE: &'static str;

    /// The verb that its question begins with: "Repair".
    const QUESTION: &'static str;

    /// The noun for what it has done: "the repair".
    const DONE: &'static str;

    /// Returns the sites that it works on.
    fn sites(&self) -> Choice;

    /// Refuses a database that the job is not meant for.
    fn check_database(&self, database: &Database) -> Result<(), Failure>;

    /// Does everything up to the commit: locks, plans, writes and checks.
    async fn prepare<'a>(
        &self,
        open: &mut SchemaTransaction<'_>,
        attempt: Attempt<'a>,
    ) -> Result<Prepared<'a, Self::Facts, Self::Left>, Failure>;

    /// Looks at what is `left` after the transaction, when no row is locked any longer, and adds
    /// it to the facts.
    async fn look_again(
        &self,
        _session: &mut Session,
        _left: Self::Left,
        _facts: &mut Self::Facts,
    ) -> Result<(), Failure> {
        Ok(())
    }

    /// Returns what to suggest after a dry run, which may have saved a `plan`.
    fn after_dry_run(&self, plan: Option<&Path>) -> FollowUp;

    /// Returns what to suggest where rows are no longer as planned or journalled.
    fn after_moved(&self) -> Option<CommandLine> {
        None
    }

    /// Returns the command that puts back the old values in `journal`.
    fn take_back(&self, journal: &Path) -> CommandLine;

    /// Builds the error for rows that are no longer as planned or journalled.
    fn moved(&self, facts: &Self::Facts) -> Failure;

    /// Writes what a dry run keeps besides its report and its plan, before the report is printed.
    fn save_dry_run(&self, _: &Report<Self::Facts>) -> Result<(), Failure> {
        Ok(())
    }

    /// Finishes the job once everything is committed and reported.
    fn succeeded(&self, _: &Self::Facts) {}

    /// Returns the outcome of a job whose rows were as planned or journalled.
    fn outcome(&self, report: &Report<Self::Facts>) -> Outcome;
}

/// What a command that writes found and did within the transaction.
pub(crate) trait WriteFacts: Send + Sync + 'static {
    /// Returns how many rows are written.
    fn rows_written(&self) -> usize;

    /// Refuses to do what is not exactly what the operator was `shown`.
    fn check_as_shown(&self, shown: &Self) -> Result<(), Failure>;
}

/// One run of the transaction, which may be tried again.
pub(crate) struct Attempt<'a> {
    pub(crate) run: &'a Run,
    pub(crate) database: &'a Database,
    pub(crate) patience: &'a mut Patience,
    /// The file of the journal, or of the plan.
    pub(crate) out: Option<&'a mut ChangesetFile>,
    pub(crate) progress: &'a Progress,
    /// Whether every row is kept in memory: what a prompt shows is compared before the commit.
    pub(crate) keeps: bool,
    /// Whether proxies are told which rows were written.
    pub(crate) tells: bool,
}

/// What one run of the transaction planned, wrote and checked.
pub(crate) struct Prepared<'a, F, L> {
    pub(crate) facts: F,
    /// What is looked at once more after the transaction.
    pub(crate) left: L,
    /// The journal, or the plan, with all its rows.
    pub(crate) draft: Option<ChangesetDraft<'a>>,
    /// The rows that proxies are told of.
    pub(crate) written: ChangedRows,
    /// Whether rows are no longer as planned or journalled, so that nothing may be committed.
    pub(crate) is_moved: bool,
}

/// How one run of the transaction ends.
enum Finish<'a, F> {
    RollBack,
    Commit {
        consent: &'a WriteConsent,
        /// What the operator has seen: nothing else may be committed.
        shown: Option<&'a F>,
    },
}

// By hand, as a derived one would ask for facts that can be copied.
impl<F> Clone for Finish<'_, F> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<F> Copy for Finish<'_, F> {}

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
    ) -> Result<Outcome, Failure>
    where
        Report<J::Facts>: Render,
    {
        let mut write_run = WriteRun {
            options: self,
            run,
            interrupt: Interrupt::listen()?,
            is_cut_short: false,
        };
        let open = connection.open(write_run.options.write.lock_timeout, write_run.run);
        let mut session = write_run.interrupt.guard(open).await?;
        job.check_database(session.database())?;
        // After a failure the connection is only dropped: the server may no longer answer.
        let ended = Box::pin(write_run.drive(job, &mut session, &mut out)).await?;
        if !write_run.is_cut_short {
            session.close().await;
        }
        ended
    }
}

/// A command that writes, once it is connected.
struct WriteRun<'a> {
    options: WriteOptions<'a>,
    run: &'a mut Run,
    interrupt: Interrupt,
    /// Whether a signal came after the commit. The server may still be at work then, so the
    /// connection is only dropped: over TLS, closing it waits for an answer.
    is_cut_short: bool,
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
    ) -> Result<Result<Outcome, Failure>, Failure>
    where
        Report<J::Facts>: Render,
    {
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
        if matches!(report.ending(), Ending::DryRun { .. }) && self.options.asks {
            let facts = report.into_facts();
            if facts.rows_written() > 0 {
                return self.ask(job, session, facts, out).await;
            }
            report = Report::new(facts, Ending::NothingToDo);
        }
        if matches!(report.ending(), Ending::DryRun { .. })
            && let Err(failure) = job.save_dry_run(&report)
        {
            return Ok(Err(failure));
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
        facts: J::Facts,
        out: &mut Option<ChangesetFile>,
    ) -> Result<Result<Outcome, Failure>, Failure>
    where
        Report<J::Facts>: Render,
    {
        let rows = crate::report::count(facts.rows_written(), "row");
        let shown = Report::new(facts, Ending::Proposed);
        show_plan(&shown, self.options.output, self.run)?;
        let question = format!("{} {rows} of {}?", J::QUESTION, session.database());
        let answer = self.interrupt.guard(prompt::ask(&question)).await?;
        let report = if let Some(consent) = answer {
            let finish = Finish::Commit {
                consent: &consent,
                shown: Some(shown.facts()),
            };
            self.transact(job, session, finish, out).await?
        } else {
            Report::new(shown.into_facts(), Ending::Declined)
        };
        let report = Arc::new(report);
        let (output, interrupt) = (self.options.output, &mut self.interrupt);
        // The conflicts were not shown yet.
        let printed = if matches!(report.ending(), Ending::Moved { .. }) {
            print(&report, output, self.run, interrupt).await
        } else {
            print_end(&report, output, self.run, interrupt).await
        };
        Ok(self.outcome(job, &report, printed))
    }

    fn outcome<J: WriteJob>(
        &self,
        job: &J,
        report: &Report<J::Facts>,
        printed: Result<(), Failure>,
    ) -> Result<Outcome, Failure> {
        let stands = self.run.stands(job.outcome(report), printed);
        if matches!(report.ending(), Ending::Moved { .. }) {
            return stands.and_then(|_| Err(job.moved(report.facts())));
        }
        if matches!(stands, Ok(Outcome::Repaired { .. })) {
            job.succeeded(report.facts());
        }
        stands
    }

    /// Runs the transaction, and runs it again where somebody else held a lock.
    async fn transact<J: WriteJob>(
        &mut self,
        job: &J,
        session: &mut Session,
        finish: Finish<'_, J::Facts>,
        out: &mut Option<ChangesetFile>,
    ) -> Result<Report<J::Facts>, Failure> {
        let lock_timeout = self.options.write.lock_timeout;
        let on_moved = match finish {
            Finish::Commit { shown: Some(_), .. } => OnMovedRows::Fail,
            Finish::Commit { shown: None, .. } | Finish::RollBack => OnMovedRows::StartOver,
        };
        let progress = Progress::begin(J::STAGE);
        let attempt = async |patience: &mut Patience| {
            progress.stage(J::STAGE);
            let attempt = self.attempt(job, session, finish, patience, out.as_mut(), &progress);
            attempt.await
        };
        retried(lock_timeout, on_moved, attempt).await
    }

    async fn attempt<J: WriteJob>(
        &mut self,
        job: &J,
        session: &mut Session,
        finish: Finish<'_, J::Facts>,
        patience: &mut Patience,
        out: Option<&mut ChangesetFile>,
        progress: &Progress,
    ) -> Result<Report<J::Facts>, Failure> {
        let database = session.database().clone();
        let sites = job.sites();
        let begin = session.begin(J::PURPOSE, &sites);
        let mut open = self.interrupt.guard(begin).await?;
        let attempt = Attempt {
            run: self.run,
            database: &database,
            patience,
            out,
            progress,
            keeps: self.options.asks,
            tells: self.options.after_care.tells(),
        };
        let work = job.prepare(&mut open, attempt);
        let Prepared {
            mut facts,
            left,
            draft,
            written,
            is_moved,
        } = self.interrupt.guard(work).await?;
        if is_moved {
            self.interrupt.guard(open.rollback()).await?;
            let carry_out = job.after_moved();
            return Ok(Report::new(facts, Ending::Moved { carry_out }));
        }
        let Finish::Commit { consent, shown } = finish else {
            self.interrupt.guard(open.rollback()).await?;
            let plan = draft.map(ChangesetDraft::seal).transpose()?;
            let plan = plan.as_ref().map(SealedChangeset::path);
            let interrupt = &mut self.interrupt;
            look_again(job, session, left, &mut facts, interrupt).await?;
            let ending = Ending::DryRun {
                plan: plan.map(|path| path.display().to_string()),
                follow_up: job.after_dry_run(plan),
            };
            return Ok(Report::new(facts, ending));
        };
        if let Some(shown) = shown {
            facts.check_as_shown(shown)?;
        }
        let writes = facts.rows_written() > 0;
        progress.stage("committing");
        let journal = draft.filter(|_| writes).map(ChangesetDraft::seal);
        let journal = journal.transpose()?;
        let journal = self
            .interrupt
            .commit(open, consent, journal, |path| job.take_back(path))
            .await?;
        if !writes {
            let interrupt = &mut self.interrupt;
            look_again(job, session, left, &mut facts, interrupt).await?;
            return Ok(Report::new(facts, Ending::NothingToDo));
        }
        let journal = journal.map(|path| {
            let take_back = job.take_back(&path);
            (path, take_back)
        });
        self.run.committed = Some(Committed {
            what: J::DONE,
            journal: journal.clone(),
        });
        let interrupt = &mut self.interrupt;
        let told = self.options.after_care.tell(session, &written, interrupt);
        self.is_cut_short =
            !told.await || !look_after_commit(job, session, left, &mut facts, interrupt).await;
        let journal = journal.map(|(path, take_back)| WrittenJournal {
            path: path.display().to_string(),
            take_back,
        });
        let notified = self.options.after_care.tells();
        Ok(Report::new(facts, Ending::Applied { journal, notified }))
    }
}

/// Looks at what is `left` after a transaction that wrote nothing. A failure is only a warning, but
/// a signal ends the run.
async fn look_again<J: WriteJob>(
    job: &J,
    session: &mut Session,
    left: J::Left,
    facts: &mut J::Facts,
    interrupt: &mut Interrupt,
) -> Result<(), Failure> {
    let looking = job.look_again(session, left, facts);
    match interrupt.guard(looking).await {
        Err(failure) if matches!(failure.kind(), ErrorKind::Interrupted(_)) => Err(failure),
        Err(failure) => {
            warn(format_args!(
                "the report is not complete: {}",
                failure.message()
            ));
            Ok(())
        }
        Ok(()) => Ok(()),
    }
}

/// Looks at what is `left` after the commit. A failure is only a warning. Returns `false` if a
/// signal came first.
async fn look_after_commit<J: WriteJob>(
    job: &J,
    session: &mut Session,
    left: J::Left,
    facts: &mut J::Facts,
    interrupt: &mut Interrupt,
) -> bool {
    let looking = job.look_again(session, left, facts);
    let failure = |signal| cut_short(signal, " before the rest of it was read");
    let Err(failure) = interrupt.race(looking, failure).await else {
        return true;
    };
    warn(format_args!(
        "{} was committed, but the report is not complete: {}",
        J::DONE,
        failure.message()
    ));
    !matches!(failure.kind(), ErrorKind::Interrupted(_))
}
