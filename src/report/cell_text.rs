//! Measures and wraps the text of cells.

use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr};

/// The narrowest that a column gets if the others need the room.
const NARROWEST: usize = 8;

/// Returns how many columns the longest line takes.
pub(super) fn width(text: &str) -> usize {
    text.lines().map(UnicodeWidthStr::width).max().unwrap_or(0)
}

/// Returns how many columns the longest word takes.
pub(super) fn longest_word(text: &str) -> usize {
    let words = text.split([' ', '\n']);
    words.map(UnicodeWidthStr::width).max().unwrap_or(0)
}

/// Chooses how wide columns are that may take `room` together; `None` gives each what it needs.
///
/// The widest column gives way first. None gets narrower than its longest word, unless all words
/// together do not fit.
pub(super) fn fitted<const N: usize>(
    needed: [usize; N],
    words: [usize; N],
    room: Option<usize>,
) -> [usize; N] {
    let Some(room) = room else { return needed };
    let mut widths = needed;
    for floors in [words, [NARROWEST; N]] {
        while widths.iter().sum::<usize>() > room {
            let columns = widths.iter_mut().zip(floors);
            let may_give = columns.filter(|(width, floor)| **width > *floor);
            let Some((width, _)) = may_give.max_by_key(|(width, _)| **width) else {
                break;
            };
            *width -= 1;
        }
    }
    widths
}

/// Wraps each line of `text` between words into lines of at most so many columns. A word that is
/// longer is broken.
pub(super) fn wrap(text: &str, columns: usize) -> Vec<String> {
    let lines = text.split('\n').flat_map(|line| wrap_line(line, columns));
    lines.collect()
}

fn wrap_line(line: &str, columns: usize) -> Vec<String> {
    let columns = columns.max(1);
    if line.width() <= columns {
        return vec![line.to_owned()];
    }
    let mut lines = Vec::new();
    let (mut current, mut used) = (String::new(), 0);
    for word in line.split(' ') {
        let width = word.width();
        if !current.is_empty() && used + 1 + width <= columns {
            current.push(' ');
            current.push_str(word);
            used += 1 + width;
            continue;
        }
        if !current.is_empty() {
            lines.push(std::mem::take(&mut current));
        }
        used = 0;
        for c in word.chars() {
            let width = c.width().unwrap_or(0);
            if used + width > columns && !current.is_empty() {
                lines.push(std::mem::take(&mut current));
                used = 0;
            }
            current.push(c);
            used += width;
        }
    }
    lines.push(current);
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_break_between_words_and_long_words_where_they_must() {
        let id = "d7c3f1a8-0e6b-4a92-85d4-1b7e3c9f6a04";
        let line = format!("gains 2 servers: {id}, {id}");
        assert_eq!(wrap(&line, 40), ["gains 2 servers:", &format!("{id},"), id]);
        assert_eq!(wrap("abcdef gh", 4), ["abcd", "ef", "gh"]);
        assert_eq!(wrap("ab cd\nef", 5), ["ab cd", "ef"]);
        assert_eq!(wrap("日本語", 4), ["日本", "語"]);
        assert_eq!(wrap("", 10), [""]);
        for columns in 1..60 {
            for line in wrap(&line, columns) {
                assert!(width(&line) <= columns, "{line}");
            }
        }
    }

    #[test]
    fn the_widest_column_gives_way_first() {
        assert_eq!(fitted([6, 20, 60], [6, 10, 9], None), [6, 20, 60]);
        assert_eq!(fitted([6, 20, 60], [6, 10, 9], Some(66)), [6, 20, 40]);
        assert_eq!(fitted([6, 36, 60], [6, 36, 9], Some(66)), [6, 36, 24]);
        assert_eq!(fitted([6, 36, 60], [6, 36, 36], Some(66)), [6, 30, 30]);
    }
}
