//! Explains why references are held, whom that harms, and what helps.

use crate::litellm::release::Release;
use crate::repair::empty_lists::SettledByChoice;
use crate::repair::plan::Reason;
use crate::repair::policy::OnEmpty;
use crate::report::Report;
use crate::report::overview::{FirstNames, Overview};
use crate::report::shown_text::{count, printable};
use crate::report::table::layout::first_of_many;

/// Explains why references are held: a paragraph for each explanation, and what helps.
pub(super) fn held(report: &Report, overview: &Overview) -> Vec<String> {
    let paragraphs = overview.explained.iter().map(|holds| {
        let explanation = holds.reason.explanation();
        format!(
            "Held: {} in {}. {explanation}{}{}",
            count(holds.references, "reference"),
            count(holds.rows, "row"),
            because(&holds.because),
            what_helps(holds.reason, report, overview)
        )
    });
    let said = report.facts.said.policy.on_empty;
    // The numbers are of all rows, so a report that a baseline shortens does not tell them.
    let baseline = report.facts.baseline.as_ref();
    let is_whole = baseline.is_none_or(|baseline| baseline.read.is_none());
    let numbers = report.facts.settled;
    let numbers = numbers.filter(|_| is_whole && said != OnEmpty::Clear);
    let settled = numbers.map(|numbers| settled(numbers, said));
    paragraphs
        .chain(settled)
        .chain(refused_edits(report, overview))
        .collect()
}

/// Lists callers who would gain or lose something; empty, or with a space before it.
fn because(because: &FirstNames) -> String {
    const NAMED: usize = 3;
    let named = because.first.iter().take(NAMED);
    let named: Vec<String> = named.map(|because| printable(because)).collect();
    match because.all.saturating_sub(NAMED) {
        _ if named.is_empty() => String::new(),
        0 => format!(" Who: {}.", named.join("; ")),
        more => format!(" Who: {}; and {}.", named.join("; "), count(more, "other")),
    }
}

/// Says how many of the held references each choice would settle that was not `said`.
fn settled(settled: SettledByChoice, said: OnEmpty) -> String {
    let SettledByChoice {
        held,
        deny,
        unchanged,
        clear,
    } = settled;
    let of_unchanged = (unchanged, "--on-empty unchanged");
    let of_deny = (deny, "--on-empty deny");
    let of_clear = (
        clear,
        "--on-empty clear --accept-widening, by which somebody may gain access",
    );
    let choices = match said {
        OnEmpty::Hold | OnEmpty::Clear => vec![of_unchanged, of_deny, of_clear],
        OnEmpty::Deny { .. } => vec![of_unchanged, of_clear],
        OnEmpty::Unchanged => vec![of_deny, of_clear],
    };
    let choices = choices.into_iter();
    let choices: Vec<String> = choices.map(|(n, by)| format!("{n} with {by}")).collect();
    format!(
        "Of {} held in a list that would run empty, fix would settle {}.",
        count(held, "reference"),
        choices.join("; ")
    )
}

/// Returns what the operator can do about what `reason` holds, or whom it harms; empty, or with a
/// space before it. Never proposes an option that was given.
fn what_helps(reason: Reason, report: &Report, overview: &Overview) -> String {
    let on_empty = report.facts.said.policy.on_empty;
    match reason {
        Reason::WouldWiden | Reason::WouldNarrow
            if on_empty
                == OnEmpty::Deny {
                    accept_narrowing: false,
                }
                && overview.held.contains_key(&Reason::WouldNarrow) =>
        {
            " Add --accept-narrowing to write no-mcp-servers where it only takes access away."
                .to_owned()
        }
        Reason::DanglingToolset => locked_out(overview),
        Reason::LastGrant
        | Reason::Marker(_)
        | Reason::WouldWiden
        | Reason::WouldNarrow
        | Reason::FailsOpen
        | Reason::KeptByKey
        | Reason::NeedsId
        | Reason::NeedsDeleteRows
        | Reason::NotRemapped
        | Reason::OauthClient
        | Reason::MaybeEdited
        | Reason::MaybeRenewed
        | Reason::StillServed => String::new(),
    }
}

/// Says how to edit keys that LiteLLM refuses to edit while their last references are held.
///
/// Source: LiteLLM 1.86.7 `management_helpers/object_permission_utils.py`,
/// `validate_key_mcp_servers_against_team`, looks at the servers that a request names, not at those
/// stored. 1.86.7 and 1.87.5 know the marker, and no schema tells them from older ones.
fn refused_edits(report: &Report, overview: &Overview) -> Option<String> {
    let refuses = Release::REFUSES_EDITS..Release::DROPS_ON_EDIT;
    if !refuses.contains(&report.facts.release) {
        return None;
    }
    let rows = overview.stuck;
    (rows > 0).then(|| {
        let whose = if rows == 1 {
            "belongs to a key"
        } else {
            "belong to keys"
        };
        format!(
            "{} {whose}: LiteLLM answers 403 to an edit of such a key that still names a held \
             reference. To edit it, set its MCP servers anew in LiteLLM: to servers that its team \
             has, or, once LiteLLM is upgraded to 1.86.7 or 1.87.5, to no-mcp-servers for none. Or \
             run fix with --on-empty clear --accept-widening, if the key may gain what is shown.",
            count(rows, "row")
        )
    })
}

/// Says to whom toolsets that are gone deny access.
fn locked_out(overview: &Overview) -> String {
    let named = |names: &FirstNames| (names.all > 0).then(|| first_of_many(names));
    let denied = named(&overview.denied);
    let denied = denied.map(|names| {
        format!(" This is an outage: LiteLLM denies every MCP server to all callers of {names}.")
    });
    let keys = named(&overview.granted_nothing)
        .map(|names| format!(" Such a toolset grants nothing to {names}."));
    [denied, keys].into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_other_choice_is_told_even_if_it_settles_nothing() {
        let numbers = SettledByChoice {
            held: 9,
            deny: 2,
            unchanged: 0,
            clear: 9,
        };
        assert_eq!(
            settled(numbers, OnEmpty::Hold),
            "Of 9 references held in a list that would run empty, fix would settle 0 with \
             --on-empty unchanged; 2 with --on-empty deny; 9 with --on-empty clear \
             --accept-widening, by which somebody may gain access."
        );
        let told = settled(numbers, OnEmpty::Unchanged);
        assert!(!told.contains("--on-empty unchanged"), "{told}");
    }
}
