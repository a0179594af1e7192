//! The report for people: what is wrong at a glance, then row by row, then what to do next.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};

use super::advice::{self, Advised};
use super::decisions::Decisions;
use super::grid::{Cell, Grid, Look, Tone};
use super::text::{count, nobody, printable};
use super::{ConfigIds, Ending, Report, Summary, Undone};
use crate::litellm::caches::{ACCESS_GROUPS_FOR, ROWS_FOR};
use crate::litellm::emptied::{Effect, Inherited};
use crate::litellm::finding::{Audit, Finding, Kind};
use crate::litellm::owners::OwnerKind;
use crate::litellm::release::Release;
use crate::litellm::row::Value;
use crate::litellm::sites::{Group, SiteTable};
use crate::notify;
use crate::repair::compare::Conflict;
use crate::repair::plan::{Edit, Held, Reason, RowPlan};
use crate::repair::policy::OnEmpty;

/// Writes `report` for a person to read.
///
/// # Errors
///
/// What `out` says.
pub fn write(report: &Report, look: Look, out: &mut impl Write) -> io::Result<()> {
    if report.ending == Ending::Moved {
        return write_moved("planned", &report.conflicts, look, out)
            .and_then(|()| write_closing(report, look, out));
    }
    let summary = report.summary();
    writeln!(out, "{}", look.heading(&headline(summary)))?;
    if let Some(whose) = whose(report) {
        writeln!(out, "{}", look.prose(&whose))?;
    }
    if let Some(looked_at) = looked_at(report) {
        writeln!(out, "{}", look.prose(&looked_at))?;
    }
    if report.plans().is_empty() {
        return write_closing(report, look, out);
    }
    let stale = report.stale_references();
    if !stale.is_empty() {
        let mut table = Grid::new(["DELETED SERVER", "ROWS"], look);
        table.leave_out(stale.len().saturating_sub(table.room()));
        for (reference, rows) in stale.into_iter().take(table.room()) {
            table.row([printable(reference).into(), rows.to_string().into()]);
        }
        writeln!(out)?;
        table.write(out)?;
    }
    let config_ids = report.config_ids();
    if !config_ids.is_empty() {
        let mut table = Grid::new(["CONFIG SERVER, EDITED OR REMOVED", "ROWS"], look);
        for (reference, rows) in config_ids {
            table.row([printable(reference).into(), rows.to_string().into()]);
        }
        writeln!(out)?;
        table.write(out)?;
    }
    writeln!(out)?;
    findings(report, look).write(out)?;
    if report
        .plans()
        .iter()
        .any(|plan| !plan.audit.if_emptied.is_empty())
    {
        writeln!(out)?;
        prospects(report, look).write(out)?;
    }
    if report.ending != Ending::Scanned && summary.rows_changed > 0 {
        writeln!(out)?;
        changes(report, look).write(out)?;
    }
    write_closing(report, look, out)
}

/// Writes what stood in the way, and nothing else: of the rest nothing was written.
fn write_moved(
    as_what: &str,
    moved: &[Conflict],
    look: Look,
    out: &mut impl Write,
) -> io::Result<()> {
    let columns = count(moved.len(), "column");
    let are = if moved.len() == 1 { "is" } else { "are" };
    let headline = format!("{columns} {are} no longer as {as_what}.");
    writeln!(out, "{}\n", look.heading(&headline))?;
    conflicts(moved, look).write(out)
}

/// Writes what `undo` did, or would do, for a person to read.
///
/// # Errors
///
/// What `out` says.
pub fn write_undone(undone: &Undone, look: Look, out: &mut impl Write) -> io::Result<()> {
    if undone.ending == Ending::Moved {
        return write_moved("the journal has it", &undone.conflicts, look, out)
            .and_then(|()| write_undone_closing(undone, look, out));
    }
    let back = match undone.back {
        0 => String::new(),
        back => format!(", {back} back already"),
    };
    let headline = format!("{} to put back{back}.", count(undone.rows(), "row"));
    writeln!(out, "{}", look.heading(&headline))?;
    if !undone.conflicts.is_empty() {
        writeln!(out, "\nLeft as it is, for it was changed since:\n")?;
        conflicts(&undone.conflicts, look).write(out)?;
    }
    if !undone.changes.is_empty() {
        let mut table = Grid::new(["ROW", "COLUMN", "NOW", "AS BEFORE"], look);
        for change in &undone.changes {
            for column in change.columns() {
                table.row([
                    printable(change.key()).into(),
                    place(change.table(), column.site().name).into(),
                    shown(column.before(), look).into(),
                    shown(column.after(), look).into(),
                ]);
            }
        }
        writeln!(out)?;
        table.write(out)?;
    }
    write_undone_closing(undone, look, out)
}

/// Writes only how an undo ended.
///
/// # Errors
///
/// What `out` says.
pub fn write_undone_closing(undone: &Undone, look: Look, out: &mut impl Write) -> io::Result<()> {
    let rows = count(undone.rows(), "row");
    let line = match undone.ending {
        Ending::Applied => {
            let done = format!(
                "Put back {rows}; verified and committed (run {}).",
                undone.run
            );
            // Of whole rows no proxy keeps anything.
            if undone
                .changes
                .iter()
                .all(|change| change.table().each().is_some())
            {
                done
            } else {
                format!("{done} {}", after_care(undone.notified))
            }
        }
        Ending::Proposed => format!("It would put back {rows}."),
        Ending::DryRun if undone.changes.is_empty() => {
            "Nothing was written (dry run): there is nothing to put back.".to_owned()
        }
        Ending::DryRun => format!("Nothing was written (dry run). It would put back {rows}."),
        Ending::Declined => "Declined: nothing was written.".to_owned(),
        Ending::Moved => "Nothing was written.".to_owned(),
        Ending::NothingToDo | Ending::Scanned => "There is nothing to put back.".to_owned(),
    };
    writeln!(out, "\n{}", look.prose(&line))?;
    write_commands(&advice::undone_commands(undone), look, out)
}

/// Writes commands to be pasted: each on one line of its own, however wide the terminal is.
fn write_commands(commands: &[Advised], look: Look, out: &mut impl Write) -> io::Result<()> {
    for Advised { lead, command } in commands {
        writeln!(out, "\n{}\n  {command}", look.prose(lead))?;
        for note in command.notes() {
            writeln!(out, "{}", look.prose(note))?;
        }
    }
    Ok(())
}

/// Writes the ids of config servers for a person to read.
///
/// # Errors
///
/// What `out` says.
pub fn write_ids(ids: &ConfigIds, look: Look, out: &mut impl Write) -> io::Result<()> {
    let mut table = Grid::new(["SERVER", "ID", "FORMER IDS", "NOT SET HERE"], look);
    for server in &ids.servers {
        table.row([
            printable(&server.name).into(),
            list(server.ids_in_order().into_iter(), look).into(),
            list(server.former_ids.iter().map(String::as_str), look).into(),
            list(server.unset.iter().map(String::as_str), look).into(),
        ]);
    }
    table.write(out)?;
    let to_pin = ids.servers.iter().filter(|server| !server.is_pinned);
    let mut lines = to_pin.filter_map(|server| Some((&server.name, server.current.as_ref()?)));
    if let Some(first) = lines.next() {
        writeln!(
            out,
            "\nTo keep an id whatever is edited (LiteLLM 1.101 or later), write its line into the server's \
             entry:"
        )?;
        for (name, id) in std::iter::once(first).chain(lines) {
            writeln!(out, "\n{}:\n    server_id: \"{id}\"", printable(name))?;
        }
    }
    Ok(())
}

/// What is left to do once everything is committed; `notified` where the proxies' Redis was given.
fn after_care(notified: bool) -> String {
    let quicker = if notified {
        "restart those that were not told"
    } else if notify::IS_BUILT_IN {
        "restart them, or say --notify-redis,"
    } else {
        "restart them"
    };
    format!(
        "Running proxies may serve the old rows for {ROWS_FOR} seconds (unified access groups for \
         {ACCESS_GROUPS_FOR}): {quicker} to be quicker."
    )
}

/// What is not as a plan or journal has it.
fn conflicts(conflicts: &[Conflict], look: Look) -> Grid<4> {
    let mut table = Grid::new(["ROW", "COLUMN", "EXPECTED", "FOUND"], look);
    for conflict in conflicts {
        let found = conflict.found.value().map_or_else(
            || format!("({})", printable(&conflict.found.to_string())),
            |value| shown(value, look),
        );
        table.row([
            printable(&conflict.row).into(),
            place(conflict.table, conflict.column).into(),
            shown(&conflict.expected, look).into(),
            found.into(),
        ]);
    }
    table
}

fn headline(summary: Summary) -> String {
    if summary.rows == 0 {
        return "No stale references.".to_owned();
    }
    let stale = match summary.stale {
        0 => "No stale references".to_owned(),
        stale => format!(
            "{} in {}",
            count(stale, "stale reference"),
            count(summary.stale_rows, "row")
        ),
    };
    let mut counts = vec![stale];
    let others = [
        (summary.unverified, "unverified"),
        (summary.inactive, "inactive"),
        (summary.malformed, "malformed"),
        (summary.dangling_toolsets, "to a deleted toolset"),
        (summary.notes, "noted"),
    ];
    counts.extend(
        others
            .iter()
            .filter(|(number, _)| *number > 0)
            .map(|(number, kind)| format!("{number} {kind}")),
    );
    format!("{}.", counts.join(", "))
}

/// Says what was looked at, where nothing was found.
pub(super) fn looked_at(report: &Report) -> Option<String> {
    let tables = report.found.looked_at();
    if tables.is_empty() {
        return None;
    }
    let mut groups: BTreeMap<Group, usize> = BTreeMap::new();
    for (table, rows) in tables {
        *groups.entry(table.group).or_default() += rows;
    }
    let groups = groups.into_iter().map(|(group, rows)| match group {
        Group::Permissions => count(rows, "permission row"),
        Group::AccessGroups => count(rows, "access group"),
        Group::Toolsets => count(rows, "toolset"),
        Group::Defaults => count(rows, "saved setting"),
        Group::Credentials => format!("{} with credentials", count(rows, "server")),
    });
    let groups: Vec<String> = groups.collect();
    let servers = report.servers;
    let config = match servers.config {
        None => String::new(),
        Some(config) => format!(" and {} of config files", count(config, "server")),
    };
    Some(format!(
        "Looked at {} that name servers, and at {} of the database{config}.",
        groups.join(", "),
        count(servers.database, "server"),
    ))
}

/// How many owners of each kind have rows with stale references.
fn whose(report: &Report) -> Option<String> {
    let stale = || report.plans().iter().filter(|plan| plan.audit.is_stale());
    let owners = stale().flat_map(|plan| &plan.audit.owners);
    let owners: BTreeSet<(OwnerKind, &str)> = owners.map(|o| (o.kind, o.id.as_str())).collect();
    let mut kinds: BTreeMap<OwnerKind, usize> = BTreeMap::new();
    for (kind, _) in owners {
        *kinds.entry(kind).or_default() += 1;
    }
    let kinds = kinds.into_iter();
    let mut counts: Vec<String> = kinds
        .map(|(kind, number)| count(number, &kind.name().replace('_', " ")))
        .collect();
    let nobodys = stale()
        .filter(|plan| plan.audit.owners.is_empty())
        .filter(|plan| !matches!(plan.audit.table.group, Group::Defaults | Group::Credentials));
    match nobodys.count() {
        0 => {}
        number => counts.push(format!("{} of nobody", count(number, "row"))),
    }
    (!counts.is_empty()).then(|| format!("Concerned: {}.", counts.join(", ")))
}

fn findings(report: &Report, look: Look) -> Grid<7> {
    let header = [
        "OWNER",
        "COLUMN",
        "REFERENCE",
        "VERDICT",
        "LAST GRANT",
        "FIX",
        "ROW",
    ];
    let mut table = Grid::new(header, look);
    for plan in report.plans() {
        let findings = &plan.audit.findings;
        let shown = table.room().min(findings.len());
        table.leave_out(findings.len() - shown);
        if shown == 0 {
            continue;
        }
        let decisions = Decisions::of(plan);
        let owners = owners(&plan.audit, look);
        for (at, finding) in findings.iter().take(shown).enumerate() {
            let again = at > 0;
            let fix = decisions.disposition(finding);
            let held = fix.starts_with("hold: ");
            table.row([
                Cell::from(owners.as_str()).ditto(again),
                place(plan.audit.table, finding.column).into(),
                subject(finding).into(),
                Cell::toned(finding.kind.name(), tone(finding.kind)),
                if finding.last_grant { "yes" } else { "" }.into(),
                Cell::toned(fix, if held { Tone::Unsure } else { Tone::Plain }),
                Cell::from(printable(&plan.audit.row)).ditto(again),
            ]);
        }
    }
    table
}

fn tone(kind: Kind) -> Tone {
    match kind {
        Kind::Stale => Tone::Bad,
        Kind::Unverified | Kind::Malformed(_) | Kind::DanglingToolset => Tone::Unsure,
        Kind::Inactive | Kind::Note(_) => Tone::Plain,
    }
}

/// What it would make of each owner, were the last grants of its row taken.
fn prospects(report: &Report, look: Look) -> Grid<3> {
    let mut table = Grid::new(["LAST GRANT OF", "IF ITS LIST WERE EMPTY", "ROW"], look);
    for plan in report.plans() {
        let audit = &plan.audit;
        for (owner, if_emptied) in audit.owners.iter().zip(&audit.if_emptied) {
            table.row([
                printable(&owner.to_string()).into(),
                effect(&if_emptied.effect).into(),
                printable(&audit.row).into(),
            ]);
        }
    }
    table
}

/// How many of the servers that an owner would gain are named; JSON has them all.
const GAINED: usize = 5;

fn effect(effect: &Effect) -> String {
    let inherits = |inherited: &Inherited, of: &str| {
        let from = printable(&inherited.from);
        let servers: Vec<String> = inherited.servers.iter().map(|id| printable(id)).collect();
        let more = if inherited.incomplete {
            ", and what a config.yaml names besides"
        } else {
            ""
        };
        match servers.len() {
            0 if inherited.incomplete => {
                format!("gains what {of} {from} names of a config.yaml")
            }
            0 => format!("inherits from {of} {from}, which has no server now"),
            n => {
                let gained = count(n, "server");
                let named = servers[..n.min(GAINED)].join(", ");
                let others = match n.saturating_sub(GAINED) {
                    0 => String::new(),
                    others => format!(" and {others} more"),
                };
                format!("gains {gained} of {of} {from}: {named}{others}{more}")
            }
        }
    };
    match effect {
        Effect::InheritsTeam(inherited) => inherits(inherited, "team"),
        Effect::InheritsOrganization(inherited) => inherits(inherited, "organization"),
        Effect::LiftsCeiling { keys: Some(0) } => {
            "no longer limits who comes without a key (no keys today)".to_owned()
        }
        Effect::LiftsCeiling { keys: Some(keys) } => {
            let keys = count(usize::try_from(*keys).unwrap_or(usize::MAX), "key");
            format!("no longer limits the {keys} under it, nor who comes without one")
        }
        Effect::LiftsCeiling { keys: None } => "no longer limits keys that name it".to_owned(),
        Effect::OpensAll => "reaches every server".to_owned(),
        Effect::Nothing => "gains nothing now".to_owned(),
    }
}

fn changes(report: &Report, look: Look) -> Grid<4> {
    let mut table = Grid::new(["ROW", "COLUMN", "BEFORE", "AFTER"], look);
    for plan in report.plans() {
        for edit in &plan.edits {
            if table.room() == 0 {
                table.leave_out(1);
                continue;
            }
            table.row([
                printable(&plan.audit.row).into(),
                place(plan.audit.table, edit.site().name).into(),
                shown(edit.before(), look).into(),
                shown(&edit.after(), look).into(),
            ]);
        }
    }
    table
}

/// Writes only how it ended and what to do next.
///
/// # Errors
///
/// What `out` says.
pub fn write_closing(report: &Report, look: Look, out: &mut impl Write) -> io::Result<()> {
    let lines = if report.ending == Ending::Moved {
        vec!["Nothing was written. Plan anew.".to_owned()]
    } else {
        advice(report, report.summary())
    };
    for line in lines {
        writeln!(out, "\n{}", look.prose(&line))?;
    }
    write_commands(&advice::commands(report), look, out)
}

fn advice(report: &Report, summary: Summary) -> Vec<String> {
    let mut lines = successors(report);
    let prospects = report
        .plans()
        .iter()
        .flat_map(|plan| &plan.audit.if_emptied);
    let assumed: BTreeSet<&str> = prospects.filter_map(|p| p.assuming).collect();
    if !assumed.is_empty() {
        let assumed: Vec<&str> = assumed.into_iter().collect();
        lines.push(format!("Assuming that {}.", assumed.join(", and that ")));
    }
    if summary.unverified > 0 && report.servers.config.is_none() {
        lines.push(
            "Unverified references may name servers of a config.yaml, which have no row. Give it \
             with --litellm-config FILE, or say --no-config-servers if there is none."
                .to_owned(),
        );
    }
    let is_in_a_list = |plan: &&RowPlan| plan.audit.table.group != Group::Credentials;
    let mut lists = report.plans().iter().filter(is_in_a_list);
    if lists.any(|plan| plan.audit.is_stale()) {
        let release = report.release;
        let consequence = release.consequence();
        lines.push(format!(
            "The schema is one of LiteLLM {release} or later. {consequence}"
        ));
    }
    lines.extend(held(report));
    let repair = repair(summary);
    let last = match report.ending {
        Ending::Scanned if summary.rows_changed > 0 && report.servers.database == 0 => format!(
            "A repair would {repair}, but fix refuses to repair beside an empty server table."
        ),
        Ending::Scanned if summary.rows_changed > 0 => format!("A repair would {repair}."),
        Ending::Scanned if summary.rows == 0 => return lines,
        Ending::Scanned | Ending::NothingToDo => "There is nothing that fix may change.".to_owned(),
        Ending::DryRun if summary.rows_changed == 0 => {
            "Nothing was written (dry run): there is nothing that fix may change.".to_owned()
        }
        Ending::DryRun => format!("Nothing was written (dry run). It would {repair}."),
        Ending::Proposed => format!("It would {repair}."),
        // Nothing else matters then, see `write_closing`.
        Ending::Moved => return Vec::new(),
        Ending::Applied if summary.rows_changed == summary.rows_deleted => {
            format!(
                "Done: {repair}; verified and committed (run {}).",
                report.run
            )
        }
        Ending::Applied => format!(
            "Done: {repair}; verified and committed (run {}). {}",
            report.run,
            after_care(report.notified)
        ),
        Ending::Declined => "Declined: nothing was written.".to_owned(),
    };
    lines.push(last);
    let united = report
        .plans()
        .iter()
        .filter(|plan| plan.edits.iter().any(Edit::unites));
    let united: Vec<String> = united.map(|plan| printable(&plan.audit.row)).collect();
    if !united.is_empty() {
        lines.push(format!(
            "Where the new server had tools of its own, both lists are united: row {}.",
            united.join(", ")
        ));
    }
    lines
}

/// What a repair does, in words.
fn repair(summary: Summary) -> String {
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

/// Why references are held, a line for each kind of reason.
fn held(report: &Report) -> Vec<String> {
    let mut lines = Vec::new();
    let held = |is_meant: fn(Reason) -> bool| {
        let of_row = |plan: &RowPlan| plan.held.iter().filter(|h| is_meant(h.reason)).count();
        let plans = report
            .plans()
            .iter()
            .map(|plan| (of_row(plan), plan.rows()));
        let plans = plans.filter(|(references, _)| *references > 0);
        let (references, rows) = plans.fold((0, 0), |(r, n), (held, rows)| (r + held, n + rows));
        let held = count(references, "reference");
        (references > 0).then(|| format!("{held} in {}", count(rows, "row")))
    };
    let policy = report.said.policy;
    if let Some(held) = held(|reason| reason == Reason::LastGrant) {
        let mut line = format!(
            "Held: {held}. To LiteLLM an empty list means \"inherit\" or \"no ceiling\", so removing the \
             last entry would widen access; left as it is, it denies as before."
        );
        if policy.on_empty == OnEmpty::Hold {
            line.push_str(
                " --on-empty deny pins permission rows shut where that is proven to change nothing.",
            );
        }
        lines.push(line);
    }
    if let Some(held) = held(|reason| matches!(reason, Reason::Marker(_))) {
        let mut line = format!(
            "Held: {held}. no-mcp-servers in their place may change what somebody reaches, for the \
             reason shown; left as they are, they deny as before."
        );
        let accepts = matches!(
            policy.on_empty,
            OnEmpty::Deny {
                accept_narrowing: true
            }
        );
        let narrows = |h: &Held| matches!(h.reason, Reason::Marker(o) if o.only_narrows());
        if !accepts && report.plans().iter().flat_map(|p| &p.held).any(narrows) {
            line.push_str(" --accept-narrowing writes it where it can only take access away.");
        }
        lines.push(line);
    }
    lines.extend(refused_edits(report));
    if let Some(held) = held(|reason| reason == Reason::KeptByKey) {
        lines.push(format!(
            "Held: {held}. A key of the team keeps the same reference, and this LiteLLM refuses \
             to edit a key that names what its team does not."
        ));
    }
    if let Some(held) = held(|reason| reason == Reason::DanglingToolset) {
        lines.push(format!(
            "Held: {held}. They name toolsets that are gone.{} Edit the rows in LiteLLM; fix leaves them, \
             because taking such an entry away may open what it denies.",
            locked_out(report)
        ));
    }
    if let Some(held) = held(|reason| reason == Reason::NeedsId) {
        lines.push(format!(
            "Held: {held}. Here LiteLLM takes ids alone: remap to the id of the new server."
        ));
    }
    if let Some(held) = held(|reason| reason == Reason::NeedsDeleteRows) {
        lines.push(format!(
            "Held: {held}. They are all that users left with the deleted servers, secrets among it. \
             --delete-rows deletes them; the journal then holds them."
        ));
    }
    if let Some(held) = held(|reason| reason == Reason::NotRemapped) {
        lines.push(format!(
            "Held: {held}. What users keep for a server is not remapped, as they may keep the same for the \
             new one: leave the remap out to delete it."
        ));
    }
    if let Some(held) = held(|reason| reason == Reason::OauthClient) {
        lines.push(format!(
            "Held: {held}. A proxy has registered itself with these servers as an OAuth client. That is \
             only ever reported: make sure that no config.yaml was forgotten."
        ));
    }
    if let Some(held) = held(|reason| reason == Reason::MaybeEdited) {
        lines.push(format!(
            "Held: {held}. What is named looks like the id of a config server that was edited or removed. Give \
             the file from before with --previous-litellm-config, beside that of now with \
             --litellm-config, or say --prune-config-ids to have it taken for stale."
        ));
    }
    if let Some(held) = held(|reason| reason == Reason::MaybeRenewed) {
        lines.push(format!(
            "Held: {held}. They name a config server by an old id, and its id of now cannot be told from \
             the file. Write its transport into the file, or pin its server_id."
        ));
    }
    if let Some(held) = held(|reason| reason == Reason::FailsOpen) {
        lines.push(format!(
            "Held: {held}. In LiteLLM before 1.80 a key and a team whose lists share no entry reach \
             every server, and a stale entry may be all that they share. Upgrade LiteLLM first."
        ));
    }
    lines
}

/// What helps keys that cannot be edited as long as their last references are held.
///
/// Source: LiteLLM 1.86.7 `management_helpers/object_permission_utils.py`,
/// `validate_key_mcp_servers_against_team`, looks at the servers that a request names, not at those
/// stored. 1.86.7 and 1.87.5 know the marker, and no schema tells them from older ones.
fn refused_edits(report: &Report) -> Option<String> {
    let refuses = Release::REFUSES_EDITS..Release::DROPS_ON_EDIT;
    if !refuses.contains(&report.release) {
        return None;
    }
    let is_last = |held: &Held| matches!(held.reason, Reason::LastGrant | Reason::Marker(_));
    let is_stuck = |plan: &&RowPlan| {
        let mut owners = plan.audit.owners.iter();
        plan.audit.table.group == Group::Permissions
            && owners.any(|owner| owner.kind == OwnerKind::Key)
            && plan.held.iter().any(is_last)
    };
    let rows = report.plans().iter().filter(is_stuck).count();
    (rows > 0).then(|| {
        let whose = if rows == 1 { "is a key's" } else { "are keys'" };
        format!(
            "{} {whose}: LiteLLM answers 403 to an edit of such a key that still names what is held. To get \
             it out of that, set its MCP servers anew in LiteLLM: to servers that its team has, or, once \
             LiteLLM is upgraded to 1.86.7 or 1.87.5, to no-mcp-servers for none. Or fix with --on-empty \
             clear --accept-widening, if what the key would then gain, as shown, is wanted.",
            count(rows, "row")
        )
    })
}

/// Says whom toolsets that are gone lock out.
///
/// Source: LiteLLM 1.109.1 `mcp_server/auth/user_api_key_auth_mcp.py`, `UnloadableEntitlementError`: a
/// team, an organization, a user and an agent are denied everything; for a key the toolset is empty.
fn locked_out(report: &Report) -> String {
    let dangles = |plan: &&RowPlan| {
        let mut held = plan.held.iter();
        held.any(|held| held.reason == Reason::DanglingToolset)
    };
    let owners = || {
        let plans = report.plans().iter().filter(dangles);
        plans.flat_map(|plan| &plan.audit.owners)
    };
    let named = |is_meant: fn(OwnerKind) -> bool| {
        let meant = owners().filter(|owner| is_meant(owner.kind));
        let names: BTreeSet<String> = meant.map(ToString::to_string).collect();
        let first: Vec<String> = names.iter().take(GAINED).map(|n| printable(n)).collect();
        let others = match names.len().saturating_sub(GAINED) {
            0 => String::new(),
            others => format!(" and {others} more"),
        };
        (!first.is_empty()).then(|| format!("{}{others}", first.join(", ")))
    };
    let denied = named(|kind| match kind {
        OwnerKind::Team | OwnerKind::Organization | OwnerKind::User | OwnerKind::Agent => true,
        OwnerKind::Key | OwnerKind::EndUser | OwnerKind::Project => false,
    });
    let denied = denied.map(|names| {
        format!(
            " That is an outage: LiteLLM denies every MCP server to whoever comes through {names}."
        )
    });
    let keys = named(|kind| kind == OwnerKind::Key)
        .map(|names| format!(" Nothing is granted by such a toolset to {names}."));
    [denied, keys].into_iter().flatten().collect()
}

/// The reference, or what is wrong with the whole value.
fn subject(finding: &Finding) -> String {
    match (finding.kind, &finding.reference) {
        (Kind::Malformed(malformed), _) => format!("({malformed})"),
        (Kind::Note(note), Some(reference)) => format!("{}\n({note})", printable(reference)),
        (_, Some(reference)) => match finding.rows {
            None => printable(reference),
            Some(rows) => format!("{}\n({})", printable(reference), rows_in_words(rows)),
        },
        (_, None) => String::new(),
    }
}

/// What stale ids of config servers became, a line each.
fn successors(report: &Report) -> Vec<String> {
    let plans = report.plans().iter();
    let findings = plans.flat_map(|plan| &plan.audit.findings);
    let lines: BTreeSet<String> = findings
        .filter_map(|finding| {
            let successor = finding.successor.as_ref()?;
            let ids: Vec<String> = successor.ids.iter().map(|id| printable(id)).collect();
            let old = printable(finding.reference.as_deref()?);
            let name = printable(&successor.name);
            let now = ids.join(" or ");
            Some(format!(
                "{old} is an old id of config server {name}, now {now}."
            ))
        })
        .collect();
    lines.into_iter().collect()
}

/// Lists the owners, one a line.
fn owners(audit: &Audit, look: Look) -> String {
    if audit.owners.is_empty() {
        return nobody(audit.table.group).to_owned();
    }
    let owners: Vec<String> = audit.owners.iter().map(ToString::to_string).collect();
    list(owners.iter().map(String::as_str), look)
}

/// The column of a permission row; elsewhere with the group that it belongs to.
fn place(table: &SiteTable, name: &str) -> String {
    match table.group {
        Group::Permissions => name.to_owned(),
        Group::AccessGroups | Group::Toolsets | Group::Defaults => {
            let name = name.strip_prefix("param_value.").unwrap_or(name);
            format!("{}: {name}", table.group.name())
        }
        Group::Credentials => table.place(),
    }
}

/// A value: one reference a line, or the number of rows.
fn shown(value: &Value, look: Look) -> String {
    value
        .rows()
        .map_or_else(|| list(value.references(), look), rows_in_words)
}

fn rows_in_words(rows: u64) -> String {
    count(usize::try_from(rows).unwrap_or(usize::MAX), "row")
}

/// Lists text that others chose, one a line, and as many as a table may have rows.
fn list<'a>(mut texts: impl Iterator<Item = &'a str>, look: Look) -> String {
    let most = look.limit.unwrap_or(usize::MAX);
    let mut lines: Vec<String> = texts.by_ref().take(most).map(printable).collect();
    match texts.count() {
        0 if lines.is_empty() => return "(empty)".to_owned(),
        0 => {}
        more => lines.push(format!("({more} more: --limit 0 shows all)")),
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_servers_gained_the_first_are_named() {
        let gains = |servers: usize| {
            effect(&Effect::InheritsTeam(Inherited {
                from: "platform".to_owned(),
                servers: (1..=servers).map(|n| format!("{n:02}")).collect(),
                incomplete: false,
            }))
        };
        assert_eq!(
            gains(5),
            "gains 5 servers of team platform: 01, 02, 03, 04, 05"
        );
        assert_eq!(
            gains(30),
            "gains 30 servers of team platform: 01, 02, 03, 04, 05 and 25 more"
        );
    }
}
