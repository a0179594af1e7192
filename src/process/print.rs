//! Writes a report to stdout or a file, in the form that the operator asked for.

use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::sync::Arc;

use crate::cli::output::OutputArgs;
use crate::error::{ErrorKind, Failure};
use crate::process::invocation::Run;
use crate::process::shown_command_line::command_line;
use crate::process::signals::Interrupt;
use crate::process::stderr;
use crate::report::csv::Cells;
use crate::report::render::{Render, RenderOptions, ReportFormat as _};
use crate::report::table::TableFormat;

/// Builds the error for rows that cannot be put aside until they are written or printed, or that do
/// not come back as they were.
pub(crate) fn cannot_put_aside(error: io::Error) -> Failure {
    let folder = std::env::temp_dir();
    let folder = folder.display();
    let (context, hint) = if is_damage(&error) {
        (
            format!("cannot read back the rows that were put aside in {folder}"),
            LOOK_AT_THE_DISK,
        )
    } else {
        (
            format!("cannot put rows aside in {folder}"),
            "make room in this folder, or name another with TMPDIR",
        )
    };
    Failure::caused(ErrorKind::Error, error)
        .context(context)
        .hint(hint)
}

/// Tells whether what was put aside does not come back as it was.
pub(super) fn is_damage(error: &io::Error) -> bool {
    const KINDS: [io::ErrorKind; 2] = [io::ErrorKind::InvalidData, io::ErrorKind::UnexpectedEof];
    KINDS.contains(&error.kind())
}

/// The hint where rows that were put aside are no longer what they were.
pub(crate) const LOOK_AT_THE_DISK: &str = "nothing was committed; check the disk with the folder for temporary files (TMPDIR), and run it \
     again";

impl OutputArgs {
    /// Returns how a report is written that goes to `place`, or to the file of the run.
    fn render_options(&self, run: &Run, place: &(impl AsFd + IsTerminal)) -> RenderOptions {
        RenderOptions {
            look: self.look(run, place),
            cells: if self.csv_raw {
                Cells::Raw
            } else {
                Cells::Guarded
            },
            command: command_line(),
        }
    }
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
    let format = args.format.writer();
    let options = args.render_options(run, &io::stdout());
    let write = move |out: &mut dyn Write| format.write(report.as_any(), &options, out);
    run.report.write(interrupt, write).await
}

/// Shows on the terminal what would be done, before the question.
pub(crate) fn show_plan(report: &impl Render, args: &OutputArgs, run: &Run) -> Result<(), Failure> {
    let options = args.render_options(run, &io::stderr());
    let shown = stderr::show(|out| TableFormat.write(report.as_any(), &options, out));
    shown.map_err(|error| anyhow::Error::from(error).into())
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
        let options = args.render_options(run, &io::stderr());
        stderr::show(|out| TableFormat.write_ending(report.as_any(), &options, out))
            .map_err(anyhow::Error::from)?;
        return print(report, args, run, interrupt).await;
    }
    run.tally = Some(report.tally());
    let report = Arc::clone(report);
    let format = args.format.writer();
    let options = args.render_options(run, &io::stdout());
    let write = move |out: &mut dyn Write| format.write_ending(report.as_any(), &options, out);
    run.report.write(interrupt, write).await
}
