//! Wraps sentences to the width of a terminal. They break between words, but never within a
//! command, so that it can be pasted.

/// Breaks the lines of `text` that are longer than `columns`; `None` leaves all as they are. A line
/// that is indented by two spaces holds a command, and stays whole.
pub(crate) fn wrapped(text: &str, columns: Option<usize>) -> String {
    let Some(columns) = columns else {
        return text.to_owned();
    };
    let lines: Vec<String> = text.split('\n').map(|line| broken(line, columns)).collect();
    lines.join("\n")
}

fn broken(line: &str, columns: usize) -> String {
    if line.starts_with("  ") || line.chars().count() <= columns {
        return line.to_owned();
    }
    let (mut text, mut used) = (String::with_capacity(line.len()), 0);
    for word in words(line) {
        let width = word.chars().count();
        if used > 0 && used + 1 + width > columns {
            text.push('\n');
            used = 0;
        } else if used > 0 {
            text.push(' ');
            used += 1;
        }
        text.push_str(word);
        used += width;
    }
    text
}

/// Splits a line into the parts that may not be broken: words, text between backticks, and a
/// command that follows a colon and goes to the end of the line.
fn words(line: &str) -> Vec<&str> {
    let mut words = Vec::new();
    let mut rest = line;
    let mut after_colon = true;
    while !rest.is_empty() {
        let end = rest.find(' ').unwrap_or(rest.len());
        let is_command = after_colon && ["mcp-prune", "GRANT"].contains(&&rest[..end]);
        let opens = rest[..end].matches('`').count() % 2 == 1;
        let end = if is_command {
            rest.len()
        } else if opens {
            let closing = rest[end..].find('`').map(|at| end + at);
            closing.map_or(end, |at| {
                rest[at..].find(' ').map_or(rest.len(), |space| at + space)
            })
        } else {
            end
        };
        words.push(&rest[..end]);
        after_colon = rest[..end].ends_with(':');
        rest = rest.get(end + 1..).unwrap_or_default();
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_break_between_words() {
        let text = "Nothing was written (dry run). It would remove 3 stale references.";
        assert_eq!(
            wrapped(text, Some(30)),
            "Nothing was written (dry run).\nIt would remove 3 stale\nreferences."
        );
        for columns in [None, Some(66), Some(400)] {
            assert_eq!(wrapped(text, columns), text);
        }
        assert_eq!(wrapped("", Some(10)), "");
        assert_eq!(wrapped("a\n\nb c", Some(1)), "a\n\nb\nc");
        assert_eq!(wrapped("ein Übungsplatz", Some(14)), "ein\nÜbungsplatz");
    }

    #[test]
    fn a_command_never_breaks() {
        for (text, shown) in [
            (
                "To carry it out: mcp-prune fix --plan /a/b",
                "To carry it\nout:\nmcp-prune fix --plan /a/b",
            ),
            (
                "hint: have its owner run: GRANT USAGE ON SCHEMA a TO b;",
                "hint: have its\nowner run:\nGRANT USAGE ON SCHEMA a TO b;",
            ),
            (
                "should it fail, `mcp-prune undo a b` takes it back",
                "should it fail,\n`mcp-prune undo a b`\ntakes it back",
            ),
            (
                "do:\n  mcp-prune undo a b c d e f",
                "do:\n  mcp-prune undo a b c d e f",
            ),
            (
                "this mcp-prune does not know it",
                "this mcp-prune\ndoes not know\nit",
            ),
        ] {
            assert_eq!(wrapped(text, Some(15)), shown);
        }
    }
}
