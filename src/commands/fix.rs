//! `fix`: plans, writes and checks every change in one transaction, and then commits or not.

use std::collections::BTreeSet;
use std::io::{self, IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use super::{Beyond, Interrupt, planning, print, warn_unknown_owners, warn_unset};
use crate::cli::{EmptyArgs, FixArgs, Format, OnEmpty};
use crate::db::read;
use crate::db::schema::Purpose;
use crate::db::session::{Open, Session};
use crate::db::write;
use crate::exit::Outcome;
use crate::failure::{Failure, Kind};
use crate::litellm::release::Release;
use crate::litellm::server::{Resolution, ServerCatalog};
use crate::litellm::sites::PERMISSIONS;
use crate::repair::plan::{Edit, RowPlan};
use crate::repair::policy::{self, Policy, WriteConsent};
use crate::report::{Ending, Report, ServerCounts, table};

/// Rows locked, planned and written at a time.
const CHUNK: usize = 2_000;

/// How often the whole transaction is tried where others write the same rows.
const ATTEMPTS: u32 = 3;

/// The first wait before a locked row, or the whole transaction, is tried again.
const SHORTEST_PAUSE: Duration = Duration::from_millis(50);

/// The last one: each is twice the one before.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

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
    plans: Vec<RowPlan>,
    servers: ServerCounts,
    release: Release,
}

/// Runs `fix`.
///
/// # Errors
///
/// Why nothing was written.
pub async fn run(args: &FixArgs) -> Result<Outcome, Failure> {
    let asks = !args.repair.dry_run && !args.repair.yes;
    if asks && !(io::stdin().is_terminal() && io::stderr().is_terminal()) {
        return Err(Failure::new(
            Kind::Usage,
            "fix asks before it writes, and there is no terminal to ask on",
        )
        .hint("say --yes to repair, or --dry-run to look"));
    }
    args.repair.empty.policy()?;
    let mut fix = Fix {
        args,
        beyond: Beyond::read(&args.servers)?,
        interrupt: Interrupt::listen()?,
    };
    let open = args.connection.open(args.repair.lock_timeout);
    let mut session = fix.interrupt.guard(open).await?;

    let Some(consent) = WriteConsent::from_flag(args.repair.yes) else {
        let repair = fix.repair(&mut session, Finish::RollBack).await?;
        let report = report(&session, repair, Ending::DryRun);
        if asks {
            return fix.ask(&mut session, report).await;
        }
        let summary = report.summary();
        print(&report, args.output.format, &mut fix.interrupt).await?;
        return Ok(Outcome::Looked {
            found: summary.stale + summary.unverified > 0,
        });
    };
    let finish = Finish::Commit {
        consent: &consent,
        shown: None,
    };
    let repair = fix.repair(&mut session, finish).await?;
    let ending = if repair.plans.iter().all(|plan| plan.edits.is_empty()) {
        Ending::NothingToDo
    } else {
        Ending::Applied
    };
    let report = report(&session, repair, ending);
    let printed = print(&report, args.output.format, &mut fix.interrupt).await;
    session.close().await;
    repaired(&report, printed)
}

impl EmptyArgs {
    /// What the operator asked for.
    fn policy(&self) -> Result<Policy, Failure> {
        let usage = |message: &str| Err(Failure::new(Kind::Usage, message));
        let accept_narrowing = self.accept_narrowing;
        let on_empty = match self.on_empty {
            OnEmpty::Deny if self.accept_widening => {
                return usage("--accept-widening goes with --on-empty clear");
            }
            OnEmpty::Hold if self.accept_narrowing || self.accept_widening => {
                return usage(
                    "--accept-narrowing goes with --on-empty deny, and --accept-widening with \
                     --on-empty clear",
                );
            }
            OnEmpty::Clear if self.accept_narrowing => {
                return usage("--accept-narrowing goes with --on-empty deny");
            }
            OnEmpty::Clear if !self.accept_widening => {
                return Err(Failure::new(
                    Kind::Usage,
                    "--on-empty clear lets owners inherit servers or lifts their ceilings",
                )
                .hint("scan shows what each would gain; say --accept-widening if that is wanted"));
            }
            OnEmpty::Hold => policy::OnEmpty::Hold,
            OnEmpty::Deny => policy::OnEmpty::Deny { accept_narrowing },
            OnEmpty::Clear => policy::OnEmpty::Clear,
        };
        Ok(Policy { on_empty })
    }
}

struct Fix<'a> {
    args: &'a FixArgs,
    beyond: Beyond,
    interrupt: Interrupt,
}

/// How long rows that somebody else has locked are still asked for again.
struct Patience {
    until: Instant,
    pause: Duration,
}

impl Patience {
    fn new(lock_timeout: Duration) -> Self {
        Self {
            until: Instant::now() + lock_timeout,
            pause: SHORTEST_PAUSE,
        }
    }

    fn is_over(&self) -> bool {
        Instant::now() >= self.until
    }

    /// Waits a little, and a little longer each time, as long as there is patience left.
    async fn wait(&mut self) -> Result<(), Failure> {
        let left = self.until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Failure::new(
                Kind::Busy,
                "somebody else keeps a permission row locked; nothing was written",
            )
            .hint("run it again later, or raise --lock-timeout"));
        }
        tokio::time::sleep(jittered(self.pause).min(left)).await;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        Ok(())
    }
}

impl Fix<'_> {
    /// Shows the plan, asks, and repairs exactly what was shown.
    async fn ask(&mut self, session: &mut Session, mut report: Report) -> Result<Outcome, Failure> {
        let format = self.args.output.format;
        if report.summary().rows_changed == 0 {
            report.ending = Ending::NothingToDo;
            let printed = print(&report, format, &mut self.interrupt).await;
            return repaired(&report, printed);
        }
        table::write(&report, &mut io::stderr().lock()).map_err(anyhow::Error::from)?;
        let rows = report.summary().rows_changed;
        let consent = self.interrupt.guard(answer(rows)).await?;
        let Some(consent) = consent else {
            report.ending = Ending::Declined;
            self.end(&report).await?;
            return Ok(Outcome::Looked { found: true });
        };
        let finish = Finish::Commit {
            consent: &consent,
            shown: Some(&report.plans),
        };
        self.repair(session, finish).await?;
        report.ending = Ending::Applied;
        let ended = self.end(&report).await;
        repaired(&report, ended)
    }

    /// Prints how it ended, after the plan was shown: to a person, only what is new.
    async fn end(&mut self, report: &Report) -> Result<(), Failure> {
        match self.args.output.format {
            Format::Table => table::write_closing(report, &mut io::stdout().lock())
                .map_err(|error| anyhow::Error::from(error).into()),
            Format::Json => print(report, Format::Json, &mut self.interrupt).await,
        }
    }

    /// Runs the transaction, again where others were in the way.
    async fn repair(
        &mut self,
        session: &mut Session,
        finish: Finish<'_>,
    ) -> Result<Repair, Failure> {
        let mut patience = Patience::new(self.args.repair.lock_timeout);
        let mut attempt = 1;
        loop {
            let failure = match self.attempt(session, finish, &mut patience).await {
                Ok(repair) => return Ok(repair),
                Err(failure) => failure,
            };
            let fresh_start_helps = match failure.kind() {
                Kind::Busy => !patience.is_over(),
                Kind::Moved => !matches!(finish, Finish::Commit { shown: Some(_), .. }),
                Kind::Error
                | Kind::Refused
                | Kind::Taken
                | Kind::Access
                | Kind::Usage
                | Kind::BrokenPipe
                | Kind::Interrupted(_) => false,
            };
            if !fresh_start_helps || attempt == ATTEMPTS {
                return Err(failure);
            }
            attempt += 1;
            let pause = async {
                tokio::time::sleep(jittered(SHORTEST_PAUSE)).await;
                Ok(())
            };
            self.interrupt.guard(pause).await?;
        }
    }

    async fn attempt(
        &mut self,
        session: &mut Session,
        finish: Finish<'_>,
        patience: &mut Patience,
    ) -> Result<Repair, Failure> {
        let begin = session.begin(Purpose::Write);
        let mut open = self.interrupt.guard(begin).await?;
        let work = prepare(&mut open, self.args, &self.beyond, patience);
        let repair = self.interrupt.guard(work).await?;
        match finish {
            Finish::RollBack => self.interrupt.guard(open.rollback()).await?,
            Finish::Commit { consent, shown } => {
                if let Some(shown) = shown {
                    check_as_shown(shown, &repair.plans)?;
                }
                self.interrupt.guard_commit(open.commit(consent)).await?;
            }
        }
        Ok(repair)
    }
}

/// Does everything up to the decision: plans, writes, checks, and looks again.
async fn prepare(
    open: &mut Open<'_>,
    args: &FixArgs,
    beyond: &Beyond,
    patience: &mut Patience,
) -> Result<Repair, Failure> {
    let (connection, schema) = open.parts();
    warn_unknown_owners(schema);
    write::lock_out_other_runs(connection).await?;
    write::enter(connection, schema, &PERMISSIONS).await?;
    let policy = args.repair.empty.policy()?;
    let catalog = beyond.catalog(connection, schema).await?;
    warn_unset(&catalog);
    beyond
        .warn_of_config_servers(connection, schema, &catalog)
        .await?;
    let keys = read::detect(connection, schema, &PERMISSIONS, &catalog.unremarkable()).await?;
    let keys: Vec<String> = keys.into_iter().collect();
    if catalog.rows() == 0 && !keys.is_empty() && !args.repair.allow_empty_server_table {
        return Err(refuse_empty_server_table(keys.len()));
    }
    let mut locked = Vec::new();
    for chunk in keys.chunks(CHUNK) {
        locked.extend(loop {
            match read::lock(connection, &PERMISSIONS, chunk).await? {
                Some(locked) => break locked,
                None => patience.wait().await?,
            }
        });
    }
    // After every lock, so that they are still the owners at the commit.
    let mut owners = read::owners(connection, schema, &locked).await?;
    let mut plans = Vec::new();
    for chunk in locked.chunks(CHUNK) {
        let rows = read::rows(connection, schema, &PERMISSIONS, chunk, &mut owners).await?;
        let planned = planning::plan(connection, schema, &rows, &catalog, policy).await?;
        write::apply(connection, schema, &PERMISSIONS, &planned).await?;
        write::verify(connection, schema, &PERMISSIONS, &rows, &planned).await?;
        plans.extend(planned);
    }
    let now = beyond.catalog(connection, schema).await?;
    check_still_gone(&plans, &now)?;
    Ok(Repair {
        plans,
        servers: (&catalog).into(),
        release: schema.release(),
    })
}

fn refuse_empty_server_table(rows: usize) -> Failure {
    Failure::new(
        Kind::Refused,
        format!("the MCP server table has 0 rows, yet {rows} permission rows name servers"),
    )
    .hint(
        "make sure that this is the right database; if every server really was deleted, \
         say --allow-empty-server-table",
    )
}

/// A server may have been created since the table was read: its grants must not be lost.
fn check_still_gone(plans: &[RowPlan], now: &ServerCatalog) -> Result<(), Failure> {
    let removed: BTreeSet<&String> = plans
        .iter()
        .flat_map(|plan| plan.edits.iter().flat_map(Edit::removed))
        .collect();
    match removed.iter().find(|r| now.resolve(r) != Resolution::Stale) {
        None => Ok(()),
        Some(reference) => Err(Failure::new(
            Kind::Moved,
            format!("server {reference} came back while its references were being removed"),
        )
        .hint("nothing was written; run it again")),
    }
}

fn check_as_shown(shown: &[RowPlan], planned: &[RowPlan]) -> Result<(), Failure> {
    if shown == planned {
        return Ok(());
    }
    let moved = planned
        .iter()
        .find(|plan| !shown.contains(plan))
        .or_else(|| shown.iter().find(|plan| !planned.contains(plan)));
    let row = moved.map_or("", |plan| plan.audit.row.as_str());
    Err(
        Failure::new(Kind::Moved, format!("row {row} is no longer as shown"))
            .hint("nothing was written; run it again to see the plan as it is now"),
    )
}

async fn answer(rows: usize) -> Result<Option<WriteConsent>, Failure> {
    let asked = write!(io::stderr(), "\nRepair {rows} row(s) now? [y/N] ");
    asked.map_err(anyhow::Error::from)?;
    // On a thread of its own, so that a signal is heard while the operator thinks.
    let line = tokio::task::spawn_blocking(|| {
        let mut line = String::new();
        io::stdin().read_line(&mut line).map(|_| line)
    });
    let line = line
        .await
        .map_err(anyhow::Error::from)?
        .map_err(|error| anyhow::Error::from(error).context("cannot read the answer"))?;
    Ok(WriteConsent::from_answer(&line))
}

fn report(session: &Session, repair: Repair, ending: Ending) -> Report {
    Report {
        database: session.database().clone(),
        servers: repair.servers,
        release: repair.release,
        ending,
        plans: repair.plans,
    }
}

/// The outcome of a repair, which stands even if nobody reads the report.
fn repaired(report: &Report, printed: Result<(), Failure>) -> Result<Outcome, Failure> {
    match printed {
        Err(failure) if failure.kind() != Kind::BrokenPipe => {
            Err(failure.context(match report.ending {
                Ending::Applied => "the repair was committed, but",
                Ending::Scanned | Ending::DryRun | Ending::NothingToDo | Ending::Declined => {
                    "nothing was written, and"
                }
            }))
        }
        Ok(()) | Err(_) => Ok(Outcome::Repaired {
            held: report.summary().rows_held > 0,
        }),
    }
}

/// A random duration from half of `pause` to all of it, so that two writers do not meet again and
/// again.
fn jittered(pause: Duration) -> Duration {
    use std::hash::{BuildHasher as _, RandomState};
    let random = RandomState::new().hash_one(()) % 512;
    pause / 2 + pause * u32::try_from(random).unwrap_or_default() / 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_stays_within_its_bounds() {
        let pause = Duration::from_millis(100);
        for _ in 0..1000 {
            let found = jittered(pause);
            assert!(found >= pause / 2 && found <= pause, "{found:?}");
        }
    }
}
