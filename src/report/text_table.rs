//! A text table for people. It never cuts or wraps a cell, so that ids can be copied. Where it is
//! wider than the terminal, each row is a block of lines instead.

use std::fmt::Write as _;
use std::io::{self, Write};

use anstyle::{AnsiColor, Style};
use comfy_table::{ContentArrangement, LineStyle, Table, TableStyle};

use crate::printable::lines;
use crate::prose::wrapped;

/// How a report for people looks, which depends on where it goes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct DisplayOptions {
    /// Whether it is in colours.
    pub color: bool,
    /// Whether lines may be drawn with more than ASCII.
    pub unicode: bool,
    /// The columns of the terminal; `None` if it goes elsewhere.
    pub width: Option<usize>,
    /// How many rows of a table are shown at most; `None` for all.
    pub limit: Option<usize>,
}

impl DisplayOptions {
    /// Wraps sentences to the terminal, and escapes control characters in them.
    pub(crate) fn prose(self, text: &str) -> String {
        wrapped(&lines(text), self.width)
    }

    /// Makes the heading of a report, bold if it is in colours.
    pub(crate) fn heading(self, text: &str) -> String {
        if self.color {
            let style = Tone::Heading.style();
            format!("{style}{text}{style:#}")
        } else {
            text.to_owned()
        }
    }
}

/// What the colour of a cell says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tone {
    Plain,
    Heading,
    Good,
    Unsure,
    Bad,
}

impl Tone {
    const ALL: [Self; 5] = [
        Self::Plain,
        Self::Heading,
        Self::Good,
        Self::Unsure,
        Self::Bad,
    ];

    fn style(self) -> Style {
        match self {
            Self::Plain => Style::new(),
            Self::Heading => Style::new().bold(),
            Self::Good => AnsiColor::Green.on_default(),
            Self::Unsure => AnsiColor::Yellow.on_default(),
            Self::Bad => AnsiColor::Red.on_default(),
        }
    }

    /// Returns the character that stands for the colour while columns are measured. It has no
    /// width, and is escaped where text of others holds it.
    fn mark(self) -> char {
        match self {
            Self::Plain => '\u{2060}',
            Self::Heading => '\u{2061}',
            Self::Good => '\u{2062}',
            Self::Unsure => '\u{2063}',
            Self::Bad => '\u{2064}',
        }
    }
}

/// One cell, of one line or several.
#[derive(Debug)]
pub(crate) struct GridCell {
    text: String,
    tone: Tone,
    is_ditto: bool,
}

impl GridCell {
    /// Makes a cell in a colour. The caller has quoted the names in its text; control characters
    /// are escaped here.
    pub(crate) fn toned(text: impl Into<String>, tone: Tone) -> Self {
        let text = text.into();
        Self {
            text: lines(&text).into_owned(),
            tone,
            is_ditto: false,
        }
    }

    /// Leaves the cell of a table empty if the cell above says the same.
    pub(crate) fn ditto(self, is_ditto: bool) -> Self {
        Self { is_ditto, ..self }
    }
}

impl<T: Into<String>> From<T> for GridCell {
    fn from(text: T) -> Self {
        Self::toned(text, Tone::Plain)
    }
}

/// A table being made.
#[derive(Debug)]
pub(crate) struct Grid<const N: usize> {
    header: [&'static str; N],
    rows: Vec<[GridCell; N]>,
    left_out: usize,
    look: DisplayOptions,
}

impl<const N: usize> Grid<N> {
    pub(crate) fn new(header: [&'static str; N], look: DisplayOptions) -> Self {
        Self {
            header,
            rows: Vec::new(),
            left_out: 0,
            look,
        }
    }

    /// Returns how many more rows are shown.
    pub(crate) fn room(&self) -> usize {
        let most = self.look.limit.unwrap_or(usize::MAX);
        most.saturating_sub(self.rows.len())
    }

    /// Adds to the number of rows that are not shown, without making them.
    pub(crate) fn leave_out(&mut self, rows: usize) {
        self.left_out += rows;
    }

    /// Adds a row, or only counts it if there are too many.
    pub(crate) fn row(&mut self, cells: [GridCell; N]) {
        if self.room() == 0 {
            self.left_out += 1;
        } else {
            self.rows.push(cells);
        }
    }

    pub(crate) fn write(&self, out: &mut impl Write) -> io::Result<()> {
        let table = self.table();
        // A space on both sides of each column, and one between two.
        let widths = table.column_max_content_widths();
        let width = widths
            .iter()
            .map(|width| usize::from(*width) + 3)
            .sum::<usize>()
            - 1;
        let text = match self.look.width {
            Some(columns) if columns < width => self.blocks(columns),
            Some(_) | None => table.trim_fmt(),
        };
        writeln!(out, "{}", self.painted(&text))?;
        if self.left_out > 0 {
            let (shown, all) = (self.rows.len(), self.rows.len() + self.left_out);
            writeln!(
                out,
                "\n{shown} of {all} rows are shown: --limit 0 shows all, --format ndjson streams them."
            )?;
        }
        Ok(())
    }

    fn table(&self) -> Table {
        let line = if self.look.unicode { '─' } else { '-' };
        let mut table = Table::new();
        table
            .load_style(
                TableStyle::new().header_separator(LineStyle::none().fill(line).junction(line)),
            )
            .set_content_arrangement(ContentArrangement::Disabled)
            .set_header(self.header.map(|name| self.marked(name, Tone::Heading)));
        for row in &self.rows {
            table.add_row(row.iter().map(|cell| {
                let text = if cell.is_ditto { "" } else { &cell.text };
                self.marked(text, cell.tone)
            }));
        }
        table
    }

    /// Writes a block for each row, with a line for each cell, and an empty line between blocks. A
    /// line that is still too wide breaks between words, so that no id is broken.
    fn blocks(&self, columns: usize) -> String {
        let names = self.header.iter().map(|name| name.len());
        let indent = names.max().unwrap_or_default() + 3;
        let mut text = String::new();
        for row in &self.rows {
            if !text.is_empty() {
                text.push('\n');
            }
            for (name, cell) in self.header.iter().zip(row) {
                let name = self.marked(name, Tone::Heading);
                let lines = cell.text.lines();
                let lines = lines.flat_map(|line| cell_lines(line, columns.saturating_sub(indent)));
                for (at, line) in lines.enumerate() {
                    let name = if at == 0 { name.as_str() } else { "" };
                    let pad = indent - name.chars().filter(char::is_ascii).count();
                    let line = self.marked(&line, cell.tone);
                    // Writing to a string cannot fail.
                    let _ = writeln!(text, "{name}{:pad$}{line}", "");
                }
            }
        }
        text.truncate(text.trim_end().len());
        text
    }

    fn marked(&self, text: &str, tone: Tone) -> String {
        if self.look.color && tone != Tone::Plain {
            format!("{}{text}{}", tone.mark(), Tone::Plain.mark())
        } else {
            text.to_owned()
        }
    }

    /// Replaces the marks in the text by their colours.
    fn painted(&self, text: &str) -> String {
        if !self.look.color {
            return text.to_owned();
        }
        let mut painted = String::with_capacity(text.len());
        let mut tone = Tone::Plain;
        for c in text.chars() {
            match Tone::ALL.into_iter().find(|tone| tone.mark() == c) {
                None => painted.push(c),
                Some(next) => {
                    let (before, after) = (tone.style(), next.style());
                    let _ = write!(painted, "{before:#}{after}");
                    tone = next;
                }
            }
        }
        painted
    }
}

/// Breaks a line between words into lines of at most so many columns; a longer word stays whole.
fn cell_lines(line: &str, columns: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in line.split(' ') {
        match lines.last_mut() {
            Some(last) if last.chars().count() + 1 + word.chars().count() <= columns => {
                last.push(' ');
                last.push_str(word);
            }
            Some(_) | None => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::printable::printable;

    fn grid(look: DisplayOptions) -> String {
        let mut grid = Grid::new(["OWNER", "REFERENCE", "VERDICT"], look);
        let owner = || GridCell::from("key Übung\nteam b");
        let stale = GridCell::toned("stale", Tone::Bad);
        grid.row([owner(), "d7c3f1a8".into(), stale]);
        let held = GridCell::toned("held", Tone::Unsure);
        grid.row([owner().ditto(true), "a15e".into(), held]);
        let mut out = Vec::new();
        grid.write(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    const ASCII: &str = concat!(
        " OWNER       REFERENCE   VERDICT\n",
        "---------------------------------\n",
        " key Übung   d7c3f1a8    stale\n",
        " team b\n",
        "             a15e        held\n",
    );

    #[test]
    fn a_locale_without_unicode_gets_ascii_lines() {
        assert_eq!(grid(DisplayOptions::default()), ASCII);
        let unicode = DisplayOptions {
            unicode: true,
            ..DisplayOptions::default()
        };
        assert_eq!(grid(unicode), ASCII.replace('-', "─"));
    }

    #[test]
    fn colours_take_no_room() {
        let colored = grid(DisplayOptions {
            color: true,
            ..DisplayOptions::default()
        });
        assert!(colored.contains("\x1b[31mstale\x1b[0m"), "{colored:?}");
        assert!(colored.contains("\x1b[33mheld\x1b[0m"), "{colored:?}");
        let mut plain = colored;
        for code in ["\x1b[1m", "\x1b[31m", "\x1b[33m", "\x1b[0m"] {
            plain = plain.replace(code, "");
        }
        assert_eq!(plain, ASCII);
    }

    #[test]
    fn others_cannot_write_a_mark() {
        for tone in Tone::ALL {
            let text = format!("a{}b", tone.mark());
            assert!(!printable(&text).contains(tone.mark()), "{tone:?}");
        }
    }

    #[test]
    fn a_terminal_too_narrow_gets_a_block_a_row() {
        let look = |width| DisplayOptions {
            width: Some(width),
            ..DisplayOptions::default()
        };
        assert_eq!(grid(look(33)), ASCII);
        assert_eq!(
            grid(look(32)),
            "\
OWNER       key Übung
            team b
REFERENCE   d7c3f1a8
VERDICT     stale

OWNER       key Übung
            team b
REFERENCE   a15e
VERDICT     held
"
        );
        let colored = grid(DisplayOptions {
            color: true,
            ..look(32)
        });
        assert!(
            colored.contains("\x1b[1mVERDICT\x1b[0m     \x1b[31mstale\x1b[0m\n"),
            "{colored:?}"
        );
    }

    #[test]
    fn what_is_too_wide_for_a_block_goes_on_at_the_next_word() {
        let id = "d7c3f1a8-0e6b-4a92-85d4-1b7e3c9f6a04";
        let line = format!("gains 2 servers: {id}, {id}");
        assert_eq!(
            cell_lines(&line, 40),
            ["gains 2 servers:", &format!("{id},"), id]
        );
        assert_eq!(cell_lines(&line, 5)[..3], ["gains", "2", "servers:"]);
        assert_eq!(cell_lines(&line, 400), [line]);
        assert_eq!(cell_lines("", 10), [""]);
    }

    #[test]
    fn what_is_left_out_is_said() {
        let limited = grid(DisplayOptions {
            limit: Some(1),
            ..DisplayOptions::default()
        });
        assert!(!limited.contains("held"), "{limited}");
        assert!(limited.ends_with(
            "\n1 of 2 rows are shown: --limit 0 shows all, --format ndjson streams them.\n"
        ));
        for limit in [None, Some(2)] {
            let look = DisplayOptions {
                limit,
                ..DisplayOptions::default()
            };
            assert_eq!(grid(look), ASCII);
        }
    }
}
