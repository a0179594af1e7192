//! Text tables for people. Where a table is wider than the terminal, its cells are wrapped: first
//! between words, and a word is broken only if its column would not fit otherwise. A table of ids
//! breaks no word: where they do not fit side by side, each row becomes a block of lines.

use std::fmt::Write as _;
use std::io::{self, Write};

use anstyle::{AnsiColor, Style};
use comfy_table::{ColumnConstraint, ContentArrangement, LineStyle, Table, TableStyle, Width};

use crate::printable::lines;
use crate::prose::wrapped;
use crate::report::cell_text::{fitted, longest_word, width, wrap};

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
    /// How much a report of `scan`, `fix` or `undo` says.
    pub detail: DetailLevel,
    /// Whether it lists each row that names an unverified or an inactive server.
    pub all_references: bool,
}

/// How much a report says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum DetailLevel {
    /// Ten lines at most.
    Summary,
    /// What a decision needs; many lines alike are folded into one.
    #[default]
    Usual,
    /// Rows and columns are named too, and nothing is folded.
    Wide,
}

impl DisplayOptions {
    /// Tells whether a report names rows and columns, and folds nothing.
    pub(crate) fn is_wide(self) -> bool {
        self.detail == DetailLevel::Wide
    }

    /// Tells whether a report is about ten lines.
    pub(crate) fn is_summary(self) -> bool {
        self.detail == DetailLevel::Summary
    }

    /// Wraps sentences to the terminal, and escapes control characters in them.
    pub(crate) fn prose(self, text: &str) -> String {
        wrapped(&lines(text), self.width)
    }

    /// Makes the heading of a report: wrapped as a sentence, and bold if it is in colours.
    pub(crate) fn heading(self, text: &str) -> String {
        let text = self.prose(text);
        if self.color {
            let style = Tone::Heading.style();
            format!("{style}{text}{style:#}")
        } else {
            text
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
#[derive(Debug, Clone)]
pub(crate) struct GridCell {
    text: String,
    tone: Tone,
}

impl GridCell {
    /// Makes a cell in a colour. The caller has quoted the names in its text; control characters
    /// are escaped here.
    pub(crate) fn toned(text: impl Into<String>, tone: Tone) -> Self {
        let text = text.into();
        Self {
            text: lines(&text).into_owned(),
            tone,
        }
    }

    /// Returns the text of the cell.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Wraps the text to so many columns, each line in the colour of the cell.
    fn fitted(&self, columns: usize, look: DisplayOptions) -> String {
        let lines = wrap(&self.text, columns);
        let lines = lines.iter().map(|line| marked(line, self.tone, look));
        lines.collect::<Vec<String>>().join("\n")
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
    /// Whether every word stays in one piece, so that an id can be copied.
    keeps_words: bool,
}

/// The columns between two cells of a row: the padding of both, and one.
const GAP: usize = 3;

/// The columns beside the cells of a block: two before each.
const BESIDE: usize = 2 * 2;

impl<const N: usize> Grid<N> {
    pub(crate) fn new(header: [&'static str; N], look: DisplayOptions) -> Self {
        Self {
            header,
            rows: Vec::new(),
            left_out: 0,
            look,
            keeps_words: false,
        }
    }

    /// Makes a table of ids, which are never broken.
    pub(crate) fn of_ids(header: [&'static str; N], look: DisplayOptions) -> Self {
        Self {
            keeps_words: true,
            ..Self::new(header, look)
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

    /// Makes a row and adds it, or only counts it if there are too many.
    pub(crate) fn add(&mut self, cells: impl FnOnce() -> [GridCell; N]) {
        if self.room() == 0 {
            self.left_out += 1;
        } else {
            self.rows.push(cells());
        }
    }

    pub(crate) fn write(&self, out: &mut impl Write) -> io::Result<()> {
        if self.keeps_words && self.breaks_words() {
            self.write_blocks(out)?;
        } else {
            let text = self.table().trim_fmt();
            writeln!(out, "{}", painted(&text, self.look))?;
        }
        if self.left_out > 0 {
            let (shown, all) = (self.rows.len(), self.rows.len() + self.left_out);
            let told = format!(
                "{shown} of {all} rows are shown: --limit 0 shows all, --format ndjson streams them."
            );
            writeln!(out, "\n{}", self.look.prose(&told))?;
        }
        Ok(())
    }

    /// Tells whether the longest words of all columns do not fit side by side.
    fn breaks_words(&self) -> bool {
        let words = self.widest(longest_word).iter().sum::<usize>();
        self.columns().is_some_and(|columns| columns < words)
    }

    /// Writes each row as a block: a line for each cell that is not empty, with the name of its
    /// column before it. A word that is longer than the line is left to the terminal.
    fn write_blocks(&self, out: &mut impl Write) -> io::Result<()> {
        let most = |widths: [usize; N]| widths.into_iter().max().unwrap_or(0);
        let header = most(self.header.map(width));
        let (needed, word) = (most(self.widest(width)), most(self.widest(longest_word)));
        let texts = self.look.width.map_or(needed, |columns| {
            let room = columns.saturating_sub(header + BESIDE);
            needed.min(room.max(word))
        });
        for (at, row) in self.rows.iter().enumerate() {
            if at > 0 {
                writeln!(out)?;
            }
            let cells = self.header.iter().zip(row);
            let cells = cells.filter(|(_, cell)| !cell.text.is_empty());
            let lines: Vec<[GridCell; 2]> = cells
                .map(|(name, cell)| [GridCell::toned(*name, Tone::Heading), cell.clone()])
                .collect();
            let lines: Vec<&[GridCell; 2]> = lines.iter().collect();
            writeln!(out, "{}", aligned(&lines, [header, texts], self.look))?;
        }
        Ok(())
    }

    fn table(&self) -> Table {
        let line = if self.look.unicode { '─' } else { '-' };
        let header = self
            .header
            .map(|name| marked(name, Tone::Heading, self.look));
        let widths = self.widths();
        let mut table = Table::new();
        table
            .load_style(
                TableStyle::new().header_separator(LineStyle::none().fill(line).junction(line)),
            )
            .set_content_arrangement(ContentArrangement::Disabled)
            .set_header(header);
        for row in &self.rows {
            let cells = row.iter().zip(widths);
            table.add_row(cells.map(|(cell, width)| cell.fitted(width, self.look)));
        }
        table
    }

    /// Returns how wide each column is, without its padding.
    fn widths(&self) -> [usize; N] {
        let room = self.columns();
        fitted(self.widest(width), self.widest(longest_word), room)
    }

    /// Measures the widest cell of each column.
    fn widest(&self, measure: fn(&str) -> usize) -> [usize; N] {
        let mut widths = self.header.map(width);
        for row in &self.rows {
            for (widest, cell) in widths.iter_mut().zip(row) {
                *widest = (*widest).max(measure(&cell.text));
            }
        }
        widths
    }

    /// Returns how many columns of the terminal the cells of a row may take.
    fn columns(&self) -> Option<usize> {
        let padding = N * GAP - 1;
        self.look
            .width
            .map(|columns| columns.saturating_sub(padding))
    }
}

/// Makes rows of cells that are as wide as `widths`, two columns apart and indented by two.
pub(crate) fn aligned<const N: usize>(
    rows: &[&[GridCell; N]],
    widths: [usize; N],
    look: DisplayOptions,
) -> String {
    let mut table = Table::new();
    table
        .load_style(TableStyle::new().header_separator(LineStyle::none().junction(' ')))
        .set_content_arrangement(ContentArrangement::Disabled);
    for row in rows {
        let cells = row.iter().zip(widths);
        table.add_row(cells.map(|(cell, width)| cell.fitted(width, look)));
    }
    for (at, (column, width)) in table.column_iter_mut().zip(widths).enumerate() {
        // comfy-table puts one column between two.
        let padding = if at == 0 { 2 } else { 1 };
        column.set_padding((padding, 0));
        let width = width.saturating_add(padding.into());
        let width = u16::try_from(width).unwrap_or(u16::MAX);
        column.set_constraint(ColumnConstraint::Absolute(Width::Fixed(width)));
    }
    painted(&table.trim_fmt(), look)
}

fn marked(text: &str, tone: Tone, look: DisplayOptions) -> String {
    if look.color && tone != Tone::Plain {
        format!("{}{text}{}", tone.mark(), Tone::Plain.mark())
    } else {
        text.to_owned()
    }
}

/// Replaces the marks in the text by their colours.
fn painted(text: &str, look: DisplayOptions) -> String {
    if !look.color {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::printable::printable;

    const HEADER: [&str; 3] = ["OWNER", "REFERENCE", "VERDICT"];

    fn filled(mut grid: Grid<3>) -> Grid<3> {
        let owner = || GridCell::from("key Übung\nteam b");
        let stale = GridCell::toned("stale", Tone::Bad);
        grid.row([owner(), "d7c3f1a8".into(), stale]);
        let held = GridCell::toned("held", Tone::Unsure);
        grid.row(["".into(), "a15e".into(), held]);
        grid
    }

    fn grid(look: DisplayOptions) -> String {
        let mut out = Vec::new();
        filled(Grid::new(HEADER, look)).write(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    const NARROW: &str = concat!(
        "  OWNER      key Übung\n",
        "             team b\n",
        "  REFERENCE  d7c3f1a8\n",
        "  VERDICT    stale\n",
        "\n",
        "  REFERENCE  a15e\n",
        "  VERDICT    held\n",
    );

    #[test]
    fn a_table_of_ids_that_do_not_fit_side_by_side_is_a_block_for_each_row() {
        // Its longest words take 5, 9 and 7 columns, and 8 are between and beside them.
        for (columns, is_table) in [(28, false), (29, true)] {
            let look = DisplayOptions {
                width: Some(columns),
                ..DisplayOptions::default()
            };
            let mut out = Vec::new();
            filled(Grid::of_ids(HEADER, look)).write(&mut out).unwrap();
            let text = String::from_utf8(out).unwrap();
            assert_eq!(text == NARROW, !is_table, "{columns}:\n{text}");
            assert_eq!(text == grid(look), is_table, "{columns}:\n{text}");
        }
    }

    #[test]
    fn an_id_stays_in_one_piece_in_a_table_of_ids() {
        let id = "d7c3f1a8-0e6b-4a92-85d4-1b7e3c9f6a04";
        for columns in [20, 40, 60, 80, 100, 200] {
            let look = DisplayOptions {
                width: Some(columns),
                ..DisplayOptions::default()
            };
            let mut grid = Grid::of_ids(HEADER, look);
            grid.row([id.into(), format!("{id}, {id}").into(), id.into()]);
            let mut out = Vec::new();
            grid.write(&mut out).unwrap();
            let text = String::from_utf8(out).unwrap();
            assert_eq!(text.matches(id).count(), 4, "{columns}:\n{text}");
        }
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
    fn a_terminal_too_narrow_wraps_cells() {
        let look = |width| DisplayOptions {
            width: Some(width),
            ..DisplayOptions::default()
        };
        assert_eq!(grid(look(33)), ASCII);
        assert_eq!(
            grid(look(30)),
            concat!(
                " OWNER    REFERENCE   VERDICT\n",
                "------------------------------\n",
                " key      d7c3f1a8    stale\n",
                " Übung\n",
                " team b\n",
                "          a15e        held\n",
            )
        );
    }

    #[test]
    fn a_wrapped_cell_keeps_its_colour_to_itself() {
        let look = DisplayOptions {
            color: true,
            width: Some(20),
            ..DisplayOptions::default()
        };
        let row = [
            GridCell::toned("hold it", Tone::Unsure),
            GridCell::from("key a"),
        ];
        assert_eq!(
            aligned(&[&row], [4, 5], look),
            "  \x1b[33mhold\x1b[0m  key a\n  \x1b[33mit\x1b[0m"
        );
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
