//! Text of reports that people read: names that others chose, numbers with nouns, rows without
//! owners.

use crate::litellm::reference_sites::Group;
pub(crate) use crate::printable::printable;
use crate::report::affected_callers::AffectedCallers;
use crate::report::text_table::DisplayOptions;

/// Returns the text for a row without owners.
pub(crate) fn nobody(group: Group) -> &'static str {
    match group {
        Group::Defaults => "saved settings",
        Group::Credentials => "not shown",
        Group::Permissions | Group::AccessGroups | Group::Toolsets => "no owner",
    }
}

/// Returns a number with its noun: "no rows", "1 row", "2 rows", "2 entries".
pub(crate) fn count(number: usize, noun: &str) -> String {
    match (number, noun.strip_suffix('y')) {
        (0, None) => format!("no {noun}s"),
        (1, _) => format!("1 {noun}"),
        (_, None) => format!("{number} {noun}s"),
        // "key" has a vowel before it.
        (_, Some(stem)) if stem.ends_with(['a', 'e', 'o', 'u']) => {
            count(number, stem).replacen(stem, noun, 1)
        }
        (0, Some(stem)) => format!("no {stem}ies"),
        (_, Some(stem)) => format!("{number} {stem}ies"),
    }
}

/// Returns the number of rows of a database with its noun.
pub(crate) fn rows_in_words(rows: u64) -> String {
    count(usize::try_from(rows).unwrap_or(usize::MAX), "row")
}

/// Lists text that others chose, one a line, and as many as a table may have rows.
pub(crate) fn list<'a>(mut texts: impl Iterator<Item = &'a str>, look: DisplayOptions) -> String {
    let most = look.limit.unwrap_or(usize::MAX);
    let mut lines: Vec<String> = texts.by_ref().take(most).map(printable).collect();
    match texts.count() {
        0 if lines.is_empty() => return "(empty)".to_owned(),
        0 => {}
        more => lines.push(format!("({more} more: --limit 0 shows all)")),
    }
    lines.join("\n")
}

/// Says how many callers lose or gain something by the deletion of servers.
pub(crate) fn affected_in_words(affected: &AffectedCallers) -> String {
    let compared = count(affected.compared(), "caller");
    // Only a gain by the deletion itself is certain: a list that runs empty may be held.
    let gain = if affected.all_gain_by_deletion() {
        "gain"
    } else {
        "may gain"
    };
    let change = match (affected.losing(), affected.gaining()) {
        (0, 0) => format!("Nobody loses or gains access by the deletion ({compared} compared)."),
        (losing, 0) => format!(
            "By the deletion {} access, and nobody gains any ({compared} compared).",
            lose(losing, "lose")
        ),
        (losing, gaining) => format!(
            "By the deletion {} access, and {} access ({compared} compared).",
            lose(losing, "lose"),
            lose(gaining, gain)
        ),
    };
    if affected.are_complete() {
        return change;
    }
    format!(
        "{change} Servers and settings of a config.yaml are not known, and may change this: name \
         it with --litellm-config."
    )
}

/// Says how many callers lose, or gain: "no callers lose", "1 caller loses".
fn lose(number: usize, verb: &str) -> String {
    let s = if number == 1 && !verb.starts_with("may ") {
        "s"
    } else {
        ""
    };
    format!("{} {verb}{s}", count(number, "caller"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_agree_with_nouns() {
        for (number, noun, shown) in [
            (0, "row", "no rows"),
            (1, "row", "1 row"),
            (2, "stale reference", "2 stale references"),
            (0, "entry", "no entries"),
            (1, "entry", "1 entry"),
            (3, "entry", "3 entries"),
            (0, "key", "no keys"),
            (1, "key", "1 key"),
            (2, "key", "2 keys"),
        ] {
            assert_eq!(count(number, noun), shown);
        }
    }
}
