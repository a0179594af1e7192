//! The commands that a report ends with, in every form that a person reads.

use crate::command_line::CommandLine;
use crate::printable::printable;
use crate::report::baseline::renewal;
use crate::report::overview::Overview;
use crate::report::{Ending, Report, UndoReport};

/// A command, and what it is for.
#[derive(Debug)]
pub(crate) struct Advised {
    /// What it is for, with a colon at the end.
    pub(crate) lead: String,
    /// The command, as it is pasted.
    pub(crate) command: CommandLine,
}

impl Advised {
    fn new(lead: impl Into<String>, command: CommandLine) -> Self {
        Self {
            lead: lead.into(),
            command,
        }
    }
}

/// Returns the commands that may follow a scan or a repair.
pub(crate) fn commands(report: &Report, overview: &Overview) -> Vec<Advised> {
    let summary = report.summary();
    let changes = summary.rows_changed > 0;
    let mut commands = Vec::new();
    match &report.ending {
        Ending::Scanned { dry_run } => {
            let next = changes.then(|| dry_run.clone());
            commands.extend(next.map(|mut next| {
                if report.facts.servers.database > 0 {
                    return Advised::new("Next:", next);
                }
                next.flag("--allow-empty-server-table");
                Advised::new("If every server really was deleted, next:", next)
            }));
            commands.extend(keep_grants(overview, dry_run));
            let renewal = renewal(report).cloned();
            let lead = "To acknowledge all that there is now:";
            commands.extend(renewal.map(|command| Advised::new(lead, command)));
        }
        Ending::DryRun { plan, follow_up } => {
            let dry_run = follow_up.dry_run.as_ref();
            commands.extend(dry_run.and_then(|dry_run| keep_grants(overview, dry_run)));
            let lead = match plan {
                Some(plan) => format!("The plan is in {}. To carry it out:", printable(plan)),
                None => "To carry it out:".to_owned(),
            };
            let next = changes.then(|| follow_up.carry_out.clone());
            commands.extend(next.map(|next| Advised::new(lead, next)));
        }
        Ending::Applied { journal, .. } => {
            let undo = journal.as_ref().map(|journal| journal.take_back.clone());
            commands.extend(undo.map(|undo| Advised::new("To take it back:", undo)));
        }
        Ending::Proposed | Ending::NothingToDo | Ending::Declined | Ending::Moved { .. } => {}
    }
    commands
}

/// Returns the dry run that remaps every old id of a config server whose new id is certain: all of
/// them at once, because a repair removes those that it does not remap.
///
/// The options are added to `dry_run`.
fn keep_grants(overview: &Overview, dry_run: &CommandLine) -> Option<Advised> {
    let remaps = &overview.remaps;
    let mut command = dry_run.clone();
    for (old, new) in remaps {
        command.option("--remap", format!("{old}={new}"));
    }
    let lead = "To keep grants that name an old id of a config server, remap them:";
    (!remaps.is_empty()).then(|| Advised::new(lead, command))
}

/// Returns the commands that may follow an undo.
pub(crate) fn undone_commands(undone: &UndoReport) -> Vec<Advised> {
    let (lead, command) = match &undone.ending {
        Ending::DryRun { follow_up, .. } => ("To carry it out:", Some(&follow_up.carry_out)),
        Ending::Moved { carry_out } => (
            "To leave these rows as they are and put back the others:",
            carry_out.as_ref(),
        ),
        Ending::Applied { journal, .. } => (
            "To take that back:",
            journal.as_ref().map(|journal| &journal.take_back),
        ),
        Ending::Scanned { .. } | Ending::Proposed | Ending::NothingToDo | Ending::Declined => {
            return Vec::new();
        }
    };
    let command = command.filter(|_| !undone.facts.changes.is_empty());
    let command = command.map(|command| Advised::new(lead, command.clone()));
    command.into_iter().collect()
}
