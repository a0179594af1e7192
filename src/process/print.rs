//! Writes a report to stdout or a file, in the form that the operator asked for.

use std::io::{self, Write};
use std::sync::Arc;

use crate::cli::output::{Format, OutputArgs};
use crate::error::{ErrorKind, Failure};
use crate::process::invocation::Run;
use crate::process::shown_command_line::command_line;
use crate::process::signals::Interrupt;
use crate::process::stderr;
use crate::report::collected_plans::CollectedPlans;
use crate::report::csv::Cells;
use crate::report::render::Render;

/// Chooses whether plans are kept in memory or put aside, by what the form of the report needs.
pub(crate) fn gathering(args: &OutputArgs) -> CollectedPlans {
    match args.format {
        Format::Ndjson => CollectedPlans::put_aside(),
        Format::Table | Format::Json | Format::Csv | Format::Markdown => CollectedPlans::kept(),
    }
}

/// Builds the error for plans that cannot be put aside until they are printed.
pub(crate) fn cannot_put_aside(error: io::Error) -> Failure {
    Failure::caused(ErrorKind::Error, error)
        .context("cannot put the report aside")
        .hint("make room in the folder for temporary files, or name another with TMPDIR")
}

/// Prints a report as the operator asked for it.
pub(crate) async fn print<R: Render + Send + Sync + 'static>(
    report: &Arc<R>,
    args: &OutputArgs,
    run: &mut Run,
    interrupt: &mut Interrupt,
) -> Result<(), Failure> {
    run.tally = Some(report.tally());
    if args.quiet && !report.matters(run.exit_zero) {
        if !run.report.is_file() {
            return Ok(());
        }
    } else {
        stderr::let_out();
    }
    let report = Arc::clone(report);
    let format = args.format;
    let cells = if args.csv_raw {
        Cells::Raw
    } else {
        Cells::Guarded
    };
    let look = args.look(run, &io::stdout());
    let render = move |out: &mut dyn Write| match format {
        Format::Table => report.table(look, out),
        Format::Json => report.json(out),
        Format::Ndjson => report.ndjson(out),
        Format::Csv => report.csv(cells, out),
        Format::Markdown => report.markdown(&command_line(), out),
    };
    run.report.write(interrupt, render).await
}

/// Prints how a run ended that asked first. A person has seen the plan, so a table only says what
/// is new.
pub(crate) async fn print_end<R: Render + Send + Sync + 'static>(
    report: &Arc<R>,
    args: &OutputArgs,
    run: &mut Run,
    interrupt: &mut Interrupt,
) -> Result<(), Failure> {
    if run.report.is_file() {
        let look = args.look(run, &io::stderr());
        stderr::show(|out| report.closing(look, out)).map_err(anyhow::Error::from)?;
    } else if args.format == Format::Table {
        run.tally = Some(report.tally());
        let report = Arc::clone(report);
        let look = args.look(run, &io::stdout());
        let write = move |out: &mut dyn Write| report.closing(look, out);
        return run.report.write(interrupt, write).await;
    }
    print(report, args, run, interrupt).await
}
