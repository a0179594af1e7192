//! How a run ended, why references are held in it, and what to do next.

use std::collections::BTreeSet;
use std::io::{self, Write};

use crate::litellm::finding::FindingKind;
use crate::litellm::proxy_cache::{ACCESS_GROUPS_FOR, ROWS_FOR};
use crate::redis;
use crate::report::advice::{self, Advised};
use crate::report::compared_access::paragraphs;
use crate::report::overview::Overview;
use crate::report::shown_text::{count, printable};
use crate::report::summary::Summary;
use crate::report::table::held::held;
use crate::report::table::layout::first_of_many;
use crate::report::table::short;
use crate::report::text_table::DisplayOptions;
use crate::report::{Ending, Report};

/// Writes only how it ended and what to do next.
///
/// # Errors
///
/// What `out` says.
pub(crate) fn write_closing(
    report: &Report,
    overview: &Overview,
    look: DisplayOptions,
    out: &mut impl Write,
) -> io::Result<()> {
    let is_moved = matches!(report.ending, Ending::Moved { .. });
    if look.is_summary() && !is_moved {
        return short::write_ending(report, overview, look, out);
    }
    let lines = if is_moved {
        vec!["Nothing was written. Make a new plan.".to_owned()]
    } else {
        advice(report, overview)
    };
    for line in lines {
        writeln!(out, "\n{}", look.prose(&line))?;
    }
    write_commands(&advice::commands(report, overview), look, out)
}

/// Says what follows from what was found and done, what it assumes, and how it ended: a paragraph
/// each.
pub(crate) fn advice(report: &Report, overview: &Overview) -> Vec<String> {
    let summary = report.summary();
    let mut lines = successors(overview);
    if !overview.assumed.is_empty() {
        let assumed: Vec<&str> = overview.assumed.iter().copied().collect();
        let assumed = assumed.join(", and that ");
        lines.push(format!("This assumes that {assumed}."));
    }
    if summary.unverified > 0 && report.facts.servers.config.is_none() {
        lines.push(
            "Unverified references may name servers of a config.yaml, which have no row. Give it \
             with --litellm-config FILE, or --no-config-servers if there is none."
                .to_owned(),
        );
    }
    if overview.is_list_stale {
        let release = report.facts.release;
        let consequence = release.consequence();
        lines.push(format!(
            "The schema is one of LiteLLM {release} or later. {consequence}"
        ));
    }
    lines.extend(held(report, overview));
    if let Some(access) = &report.facts.access {
        lines.extend(paragraphs(access, report.ending.tense()));
    }
    let Some(last) = ending_line(report, summary) else {
        return lines;
    };
    lines.push(last);
    lines.extend(last_step(report));
    lines.extend(united(overview));
    lines
}

/// Says what is left to do in LiteLLM; `None` unless a server is yet to be deleted.
pub(super) fn last_step(report: &Report) -> Option<String> {
    let is_done = matches!(report.ending, Ending::Applied { .. });
    (is_done && !report.facts.deleted.is_empty())
        .then(|| "Now delete the server in LiteLLM, and then run scan.".to_owned())
}

/// Names the owners of rows in which a rename made two lists of tools one.
fn united(overview: &Overview) -> Option<String> {
    let united = &overview.united;
    (united.all > 0).then(|| {
        let named = first_of_many(united);
        format!("Where the new server already had tools, both lists are merged: {named}.")
    })
}

/// Says how the run ended; `None` if nothing was found, and of a plan that does not hold any more.
pub(super) fn ending_line(report: &Report, summary: Summary) -> Option<String> {
    let repair = repair(summary);
    let baseline = report.facts.baseline.as_ref();
    let read = baseline.and_then(|baseline| baseline.read.as_ref());
    let hides = read.is_some_and(|read| read.of_kind(FindingKind::Stale) > 0);
    Some(match report.ending {
        Ending::Scanned { .. }
            if summary.rows_changed > 0 && report.facts.servers.database == 0 =>
        {
            format!("A repair would {repair}, but fix refuses to while the server table is empty.")
        }
        // fix takes no baseline, so its numbers are higher than those of what is listed.
        Ending::Scanned { .. } if hides && summary.rows_changed > 0 => format!(
            "In the rows listed, a repair would {repair}. fix repairs what the baseline \
             acknowledges too."
        ),
        Ending::Scanned { .. } if hides && summary.rows > 0 => {
            "Of what is listed, there is nothing that fix may change. fix repairs what the \
             baseline acknowledges too."
                .to_owned()
        }
        Ending::Scanned { .. } if summary.rows_changed > 0 => format!("A repair would {repair}."),
        Ending::Scanned { .. } if summary.rows == 0 => return None,
        Ending::Scanned { .. } | Ending::NothingToDo => {
            "There is nothing that fix may change.".to_owned()
        }
        Ending::DryRun { .. } if summary.rows_changed == 0 => {
            "Nothing was written (dry run): there is nothing that fix may change.".to_owned()
        }
        Ending::DryRun { .. } => format!("Nothing was written (dry run). It would {repair}."),
        Ending::Proposed => format!("It would {repair}."),
        // Nothing else matters then, see `write_closing`.
        Ending::Moved { .. } => return None,
        Ending::Applied { .. } if summary.rows_changed == summary.rows_deleted => {
            format!(
                "Done: {repair}; verified and committed (run {}).",
                report.facts.run
            )
        }
        Ending::Applied { notified, .. } => format!(
            "Done: {repair}; verified and committed (run {}). {}",
            report.facts.run,
            after_care(notified)
        ),
        Ending::Declined => "Declined: nothing was written.".to_owned(),
    })
}

/// Says in words what a repair does.
pub(super) fn repair(summary: Summary) -> String {
    let edited = summary.rows_changed - summary.rows_deleted;
    let rows = count(edited, "row");
    let removed = summary.references_removed;
    let remove = format!("remove {} from {rows}", count(removed, "stale reference"));
    let remap = match summary.references_remapped {
        0 => None,
        n if removed == 0 => Some(format!("remap {} in {rows}", count(n, "reference"))),
        n => Some(format!("remap {} and {remove}", count(n, "reference"))),
    };
    let edit = remap.unwrap_or(remove);
    let delete = format!("delete {}", count(summary.rows_deleted, "row"));
    match (edited, summary.rows_deleted) {
        (_, 0) => edit,
        (0, _) => delete,
        (_, _) => format!("{edit}, and {delete}"),
    }
}

/// Lists what stale ids of config servers became, a line each.
fn successors(overview: &Overview) -> Vec<String> {
    let lines = overview.successors.iter().map(|(old, now)| {
        let ids: Vec<String> = now.ids.iter().map(|id| printable(id)).collect();
        let (old, name) = (printable(old), printable(&now.name));
        let ids = ids.join(" or ");
        format!("{old} is an old id of config server {name}, now {ids}.")
    });
    let lines: BTreeSet<String> = lines.collect();
    lines.into_iter().collect()
}

/// Writes commands to be pasted: each on one line of its own, however wide the terminal is.
pub(super) fn write_commands(
    commands: &[Advised],
    look: DisplayOptions,
    out: &mut impl Write,
) -> io::Result<()> {
    for Advised { lead, command } in commands {
        writeln!(out, "\n{}\n  {command}", look.prose(lead))?;
        for note in command.notes() {
            writeln!(out, "{}", look.prose(note))?;
        }
    }
    Ok(())
}

/// Returns what is left to do after the commit; `notified` if the proxies were told by Redis.
pub(super) fn after_care(notified: bool) -> String {
    let quicker = if notified {
        "restart those that were not notified"
    } else if redis::IS_BUILT_IN {
        "restart them, or give --notify-redis"
    } else {
        "restart them"
    };
    format!(
        "Running proxies may serve the old rows for {ROWS_FOR} seconds (unified access groups for \
         {ACCESS_GROUPS_FOR}). To be quicker, {quicker}."
    )
}
