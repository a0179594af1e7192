//! Lays out a report: headings, a line for each server, and under it a line for each owner. All
//! lines of a report have the same columns.

use std::io::{self, Write};

use crate::printable::printable;
use crate::report::cell_text::{fitted, longest_word, width, wrap};
use crate::report::overview::FirstNames;
use crate::report::text_table::{DisplayOptions, GridCell, aligned};

/// The cells of a line: what is done, to whom, and where and why.
pub(super) type OwnerLine = [GridCell; 3];

/// The columns beside the cells of an owner line: two before each.
const BESIDE: usize = 3 * 2;

/// One thing that is laid out.
#[derive(Debug)]
enum Item {
    /// What the blocks below have in common; an empty line comes before it.
    Heading(String),
    /// What a block is about.
    Title(String),
    /// A line of a block.
    Owner(OwnerLine),
    /// What is said of lines that are not here.
    Note(String),
}

/// A part of a report that is being laid out.
#[derive(Debug)]
pub(super) struct Layout {
    items: Vec<Item>,
    look: DisplayOptions,
}

impl Layout {
    pub(super) fn new(look: DisplayOptions) -> Self {
        let items = Vec::new();
        Self { items, look }
    }

    pub(super) fn heading(&mut self, text: &str) {
        self.items.push(Item::Heading(text.to_owned()));
    }

    /// Adds what a block is about. The caller has quoted the names in it.
    pub(super) fn title(&mut self, text: String) {
        self.items.push(Item::Title(text));
    }

    pub(super) fn owner(&mut self, line: OwnerLine) {
        self.items.push(Item::Owner(line));
    }

    /// Says that only some of the lines or servers are here, if there are more.
    pub(super) fn left_out(&mut self, shown: usize, all: usize, of_what: &str) {
        if shown < all {
            self.items.push(Item::Note(format!(
                "{shown} of {all} {of_what} are shown: --limit 0 shows all, --format ndjson streams \
                 them."
            )));
        }
    }

    pub(super) fn note(&mut self, text: String) {
        self.items.push(Item::Note(text));
    }

    /// Counts the lines that it takes.
    pub(super) fn height(&self) -> usize {
        let mut counted = Vec::new();
        match self.write(&mut counted) {
            Ok(()) => counted.split(|byte| *byte == b'\n').count(),
            Err(_) => usize::MAX,
        }
    }

    pub(super) fn write(&self, out: &mut impl Write) -> io::Result<()> {
        let widths = self.widths();
        let mut block: Vec<&OwnerLine> = Vec::new();
        for item in &self.items {
            if let Item::Owner(line) = item {
                block.push(line);
                continue;
            }
            self.write_block(&mut block, widths, out)?;
            match item {
                Item::Heading(text) => writeln!(out, "\n{}", self.look.heading(text))?,
                Item::Title(text) => self.write_title(text, out)?,
                Item::Note(text) => writeln!(out, "{}", self.look.prose(text))?,
                Item::Owner(_) => {}
            }
        }
        self.write_block(&mut block, widths, out)
    }

    fn write_block(
        &self,
        block: &mut Vec<&OwnerLine>,
        widths: [usize; 3],
        out: &mut impl Write,
    ) -> io::Result<()> {
        if block.is_empty() {
            return Ok(());
        }
        writeln!(out, "{}", aligned(block, widths, self.look))?;
        block.clear();
        Ok(())
    }

    /// Writes what a block is about. What does not fit goes on below, indented.
    fn write_title(&self, text: &str, out: &mut impl Write) -> io::Result<()> {
        let Some(columns) = self.look.width else {
            return writeln!(out, "{text}");
        };
        let first = wrap(text, columns);
        let Some(head) = first.first() else {
            return Ok(());
        };
        writeln!(out, "{head}")?;
        let rest = first[1..].join(" ");
        if rest.is_empty() {
            return Ok(());
        }
        for line in wrap(&rest, columns.saturating_sub(4)) {
            writeln!(out, "    {line}")?;
        }
        Ok(())
    }

    /// Returns how wide the columns are, which are the same in every block.
    fn widths(&self) -> [usize; 3] {
        let (mut needed, mut words) = ([0; 3], [0; 3]);
        for item in &self.items {
            let Item::Owner(line) = item else { continue };
            for (at, cell) in line.iter().enumerate() {
                needed[at] = needed[at].max(width(cell.text()));
                words[at] = words[at].max(longest_word(cell.text()));
            }
        }
        let room = self
            .look
            .width
            .map(|columns| columns.saturating_sub(BESIDE));
        if let Some(room) = room {
            // Owners get less than half, so that the reasons beside them stay readable.
            let most = (room - needed[0].min(room)) * 9 / 20;
            let rest = room.saturating_sub(needed[0] + needed[2]);
            needed[1] = needed[1].min(most.max(rest).max(words[1]));
        }
        fitted(needed, words, room)
    }
}

/// Joins the first names, and says how many more there are: "a, b and 3 more".
pub(super) fn first_of<'a>(names: impl IntoIterator<Item = &'a str>, most: usize) -> String {
    let mut names = names.into_iter();
    let first: Vec<String> = names.by_ref().take(most).map(printable).collect();
    match names.count() {
        0 => first.join(", "),
        more => format!("{} and {more} more", first.join(", ")),
    }
}

/// Joins the first names of a list in the same way.
pub(super) fn first_of_many(names: &FirstNames) -> String {
    let first: Vec<String> = names.first.iter().map(|name| printable(name)).collect();
    match names.all - names.first.len() {
        0 => first.join(", "),
        more => format!("{} and {more} more", first.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn laid_out(columns: Option<usize>) -> Vec<String> {
        let look = DisplayOptions {
            width: columns,
            ..DisplayOptions::default()
        };
        let mut layout = Layout::new(look);
        layout.heading("DELETED SERVERS");
        layout.title(format!(
            "{}: 2 rows; tools: {}",
            "d".repeat(36),
            "post ".repeat(9)
        ));
        let line = |owner: &str, detail: &str| -> OwnerLine {
            ["hold".into(), owner.into(), detail.into()]
        };
        layout.owner(line(
            "key release-bot (784395b4), key nightly-build (884395b4)",
            "servers; last grant; if removed, gains 2 servers of team Platform: github, jira",
        ));
        layout.title("e: 1 row".to_owned());
        layout.owner(line("team Übung", "servers; left: github"));
        layout.left_out(2, 3, "lines");
        let mut out = Vec::new();
        layout.write(&mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert_eq!(layout.height(), text.lines().count() + 1);
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn no_line_is_wider_than_the_terminal() {
        for columns in [40, 60, 80, 100, 140, 200] {
            for line in laid_out(Some(columns)) {
                assert!(width(&line) <= columns, "{columns}: {line}");
            }
        }
        assert_eq!(laid_out(Some(200)).len(), 7);
        assert_eq!(laid_out(None).len(), 7);
    }

    #[test]
    fn the_columns_of_all_blocks_are_the_same() {
        for columns in [Some(80), Some(100), None] {
            let lines = laid_out(columns);
            let starts = lines.iter().filter_map(|line| {
                let (before, _) = line.split_once("servers;")?;
                Some(before.chars().count())
            });
            let starts: Vec<usize> = starts.collect();
            assert_eq!(starts.len(), 2, "{lines:?}");
            assert_eq!(starts[0], starts[1], "{lines:?}");
        }
    }

    #[test]
    fn names_that_are_left_out_are_counted() {
        assert_eq!(first_of(["a", "b"], 2), "a, b");
        assert_eq!(first_of(["a", "b", "c", "d"], 2), "a, b and 2 more");
        assert_eq!(first_of([""; 1], 2), "\"\"");
    }
}
