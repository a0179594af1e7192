//! Reads a psql script, as `pg_dump` writes it, statement by statement.
//!
//! Such a script is written for psql. Not the server but psql ends a statement at the right
//! semicolon, reads the rows of `COPY ... FROM stdin` out of the script, and obeys lines that begin
//! with a backslash.

use std::io::{self, BufRead};

use crate::db::embedded::statement::{changed_client_encoding, is_utf8};
use crate::error::{ErrorKind, Failure};

/// A part of a script, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Piece {
    /// A statement without its semicolon.
    Statement {
        /// Its text, without comments before it.
        sql: String,
        /// The line of the script that it begins on, from 1.
        line: u64,
    },
    /// A `COPY ... FROM stdin`, whose rows follow.
    Copy {
        /// Its text.
        sql: String,
        /// The line of the script that it begins on, from 1.
        line: u64,
    },
    /// One row of a `COPY`, newline included.
    CopyRow(Vec<u8>),
    /// The end of the rows of a `COPY`.
    CopyEnd,
    /// A `\connect`: the rest belongs to another database.
    Connect {
        /// Its line in the script, from 1.
        line: u64,
    },
}

/// What the next byte is part of.
#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    Sql,
    /// A string constant; `true` if backslashes escape.
    Quoted(bool),
    Identifier,
    /// A string constant between `$tag$`; the delimiter has both dollar signs.
    Dollars(Vec<u8>),
    /// A block comment, and how many others it is nested in.
    Comment(u32),
    CopyRows,
}

/// The reader's position in a statement. A semicolon ends no statement within parentheses, as in a
/// rule of several commands, or within the body of an SQL routine.
///
/// Source: PostgreSQL 17, `src/fe_utils/psqlscan.l`, the rules of `"("`, `";"` and `{identifier}`.
#[derive(Debug, Default)]
struct Nesting {
    parentheses: u32,
    /// How many `BEGIN`, and within them `CASE`, have no `END` yet.
    blocks: u32,
    /// The first words of the statement, in lower case.
    words: Vec<String>,
}

impl Nesting {
    fn is_open(&self) -> bool {
        self.parentheses > 0 || self.blocks > 0
    }

    fn take_word(&mut self, word: &[u8]) {
        const DECISIVE: usize = 4;
        let decides = self.words.len() < DECISIVE;
        if !decides && !self.creates_routine() {
            return;
        }
        let word = String::from_utf8_lossy(word).to_ascii_lowercase();
        if self.parentheses == 0 && self.creates_routine() {
            match word.as_str() {
                "begin" => self.blocks += 1,
                "case" if self.blocks > 0 => self.blocks += 1,
                "end" => self.blocks = self.blocks.saturating_sub(1),
                _ => {}
            }
        }
        if decides {
            self.words.push(word);
        }
    }

    fn creates_routine(&self) -> bool {
        let mut words = self.words.iter().map(String::as_str);
        if words.next() != Some("create") {
            return false;
        }
        let mut rest = words.skip_while(|word| matches!(*word, "or" | "replace"));
        matches!(rest.next(), Some("function" | "procedure"))
    }
}

/// A script that is read piece by piece; no more than one statement is in memory at a time.
///
/// Source: PostgreSQL 17 manual, section 4.1, "Lexical Structure", and the reference page of psql.
#[derive(Debug)]
pub(crate) struct Script<R> {
    source: R,
    state: State,
    /// The line being read, from 1.
    line: u64,
    text: Vec<u8>,
    /// The offset in `text` of the next byte.
    at: usize,
    sql: Vec<u8>,
    /// The line on which the statement, or an open quote or comment within it, begins.
    begins: u64,
    opened: u64,
    nesting: Nesting,
    /// Whether backslashes escape in every string: `standard_conforming_strings` is off.
    backslashes: bool,
    /// Whether the script declares that its text has no encoding.
    is_sql_ascii: bool,
}

impl<R: BufRead> Script<R> {
    /// Reads from `source`.
    pub(crate) fn new(source: R) -> Self {
        Self {
            source,
            state: State::Sql,
            line: 0,
            text: Vec::new(),
            at: 0,
            sql: Vec::new(),
            begins: 0,
            opened: 0,
            nesting: Nesting::default(),
            backslashes: false,
            is_sql_ascii: false,
        }
    }

    /// Returns the next piece, or `None` at the end.
    ///
    /// # Errors
    ///
    /// An error if the source cannot be read or is not a script: if it has text that is not UTF-8,
    /// a quote or a `COPY` without end, or a command that makes psql read another file.
    #[allow(
        clippy::should_implement_trait,
        reason = "an iterator would go on after an error"
    )]
    pub(crate) fn next(&mut self) -> Result<Option<Piece>, Failure> {
        loop {
            if self.at == self.text.len() && !self.read_line()? {
                return self.end();
            }
            if self.state == State::CopyRows {
                self.at = self.text.len();
                let row = std::mem::take(&mut self.text);
                self.at = 0;
                if row.trim_ascii_end() == b"\\." {
                    self.state = State::Sql;
                    return Ok(Some(Piece::CopyEnd));
                }
                return Ok(Some(Piece::CopyRow(row)));
            }
            if self.at == 0 && self.sql.is_empty() && self.text.starts_with(b"\\") {
                let piece = self.obey()?;
                self.at = self.text.len();
                match piece {
                    Some(piece) => return Ok(Some(piece)),
                    None => continue,
                }
            }
            while self.at < self.text.len() {
                if self.step() {
                    return self.statement().map(Some);
                }
            }
        }
    }

    fn read_line(&mut self) -> Result<bool, Failure> {
        self.text.clear();
        self.at = 0;
        let read = self.source.read_until(b'\n', &mut self.text);
        if read.map_err(|error| self.unreadable(&error))? == 0 {
            return Ok(false);
        }
        self.line += 1;
        if self.line == 1 && self.text.starts_with(b"\xef\xbb\xbf") {
            self.text.drain(..3);
        }
        Ok(true)
    }

    /// Obeys one backslash command; most of them mean nothing here.
    fn obey(&self) -> Result<Option<Piece>, Failure> {
        let mut words = self.text[1..]
            .split(u8::is_ascii_whitespace)
            .filter(|word| !word.is_empty());
        match words.next().unwrap_or_default() {
            b"c" | b"connect" => return Ok(Some(Piece::Connect { line: self.line })),
            b"encoding" => {
                let name = words.next().map(String::from_utf8_lossy);
                self.ensure_utf8(&name.unwrap_or("UTF8".into()), self.line)?;
            }
            b"i" | b"ir" | b"include" | b"include_relative" | b"copy" => {
                return Err(self
                    .refuse("another file would have to be read")
                    .hint("put everything into one file"));
            }
            b"if" | b"elif" | b"else" => {
                return Err(self
                    .refuse("psql's conditions are not obeyed here")
                    .hint("leave only the branch that is meant"));
            }
            _ => {}
        }
        Ok(None)
    }

    /// Refuses a script in an encoding other than UTF-8: the embedded server has no conversions,
    /// and the bytes would be other names in UTF-8.
    fn ensure_utf8(&self, encoding: &str, line: u64) -> Result<(), Failure> {
        if is_utf8(encoding) {
            return Ok(());
        }
        Err(Failure::new(
            ErrorKind::Error,
            format!("line {line}: this is in {encoding}, and only UTF8 can be read"),
        )
        .hint(self.recode_hint()))
    }

    /// Returns what to do about a file that is not UTF-8.
    pub(crate) fn recode_hint(&self) -> &'static str {
        if self.is_sql_ascii {
            "the database is SQL_ASCII, so pg_dump cannot convert it: convert the file from the \
             encoding that its clients write, as in: iconv -f LATIN1 -t UTF-8 FILE > FILE.utf8.sql"
        } else {
            "make the dump with --encoding=UTF8"
        }
    }

    /// Takes the next byte, or the next token if one byte does not decide. Tells whether it ended a
    /// statement.
    fn step(&mut self) -> bool {
        let rest = &self.text[self.at..];
        let first = rest[0];
        let mut length = 1;
        let mut is_comment = false;
        let mut next = None;
        match &self.state {
            State::Sql => match first {
                b';' if !self.nesting.is_open() => {
                    self.at += 1;
                    self.nesting = Nesting::default();
                    return !self.sql.is_empty();
                }
                b'(' => self.nesting.parentheses += 1,
                b')' => self.nesting.parentheses = self.nesting.parentheses.saturating_sub(1),
                b'\'' => next = Some(State::Quoted(self.escapes())),
                b'"' => next = Some(State::Identifier),
                b'$' if !self.in_word() => {
                    if let Some(delimiter) = dollar_delimiter(rest) {
                        length = delimiter.len();
                        next = Some(State::Dollars(delimiter.to_vec()));
                    }
                }
                b'-' if rest.starts_with(b"--") => {
                    // The newline stays, because nothing else may separate two words.
                    length = rest.trim_ascii_end().len().max(2);
                    is_comment = true;
                }
                b'/' if rest.starts_with(b"/*") => {
                    length = 2;
                    is_comment = true;
                    next = Some(State::Comment(1));
                }
                first if is_word(first) && !first.is_ascii_digit() && !self.in_word() => {
                    let end = rest.iter().position(|byte| !is_word(*byte));
                    length = end.unwrap_or(rest.len());
                    self.nesting.take_word(&rest[..length]);
                }
                _ => {}
            },
            State::Quoted(true) if first == b'\\' => length = rest.len().min(2),
            State::Quoted(_) if rest.starts_with(b"''") => length = 2,
            State::Quoted(_) if first == b'\'' => next = Some(State::Sql),
            // A doubled quote closes the string and opens it again, which has the same effect.
            State::Identifier if first == b'"' => next = Some(State::Sql),
            State::Dollars(delimiter) if rest.starts_with(delimiter) => {
                length = delimiter.len();
                next = Some(State::Sql);
            }
            State::Comment(depth) => {
                is_comment = true;
                if rest.starts_with(b"/*") {
                    length = 2;
                    next = Some(State::Comment(depth + 1));
                } else if rest.starts_with(b"*/") {
                    length = 2;
                    next = Some(match depth {
                        1 => State::Sql,
                        _ => State::Comment(depth - 1),
                    });
                }
            }
            State::Quoted(_) | State::Identifier | State::Dollars(_) | State::CopyRows => {}
        }
        let token = &self.text[self.at..self.at + length];
        if !is_comment {
            if self.sql.is_empty() && !first.is_ascii_whitespace() {
                self.begins = self.line;
            }
            if !self.sql.is_empty() || !first.is_ascii_whitespace() {
                self.sql.extend_from_slice(token);
            }
        } else if next == Some(State::Sql) && !self.sql.is_empty() {
            self.sql.push(b' ');
        }
        self.at += length;
        if let Some(next) = next {
            if self.state == State::Sql {
                self.opened = self.line;
            }
            self.state = next;
        }
        false
    }

    /// Tells whether the statement so far ends within a word; a dollar sign there belongs to the
    /// word.
    fn in_word(&self) -> bool {
        self.sql.last().is_some_and(|byte| is_word(*byte))
    }

    /// Tells whether a quote here opens a string with backslash escapes: `E'...'`.
    fn escapes(&self) -> bool {
        if self.backslashes {
            return true;
        }
        let [before @ .., b'e' | b'E'] = self.sql.as_slice() else {
            return false;
        };
        !before.last().is_some_and(|byte| is_word(*byte))
    }

    fn statement(&mut self) -> Result<Piece, Failure> {
        let line = self.begins;
        let sql = String::from_utf8(std::mem::take(&mut self.sql)).map_err(|_| {
            let message = format!("line {line}: this is not UTF-8");
            Failure::new(ErrorKind::Error, message).hint(self.recode_hint())
        })?;
        if is_copy_from_stdin(&sql) {
            self.state = State::CopyRows;
            self.opened = line;
            // The rest of the same line is not a row.
            self.at = self.text.len();
            return Ok(Piece::Copy { sql, line });
        }
        if let Some(encoding) = changed_client_encoding(&sql) {
            self.ensure_utf8(&encoding, line)?;
            self.is_sql_ascii = encoding.to_ascii_uppercase().starts_with("SQL");
        }
        let words: Vec<&str> = sql
            .split(|c: char| c.is_ascii_whitespace() || c == '=')
            .filter(|word| !word.is_empty())
            .take(3)
            .collect();
        if let ["SET", "standard_conforming_strings", value] = words.as_slice() {
            self.backslashes = value.trim_matches('\'').eq_ignore_ascii_case("off");
        }
        Ok(Piece::Statement { sql, line })
    }

    fn end(&mut self) -> Result<Option<Piece>, Failure> {
        let open = match self.state {
            State::Sql if self.sql.trim_ascii().is_empty() => return Ok(None),
            State::Sql => return self.statement().map(Some),
            State::Quoted(_) | State::Dollars(_) => "a string",
            State::Identifier => "a quoted identifier",
            State::Comment(_) => "a comment",
            State::CopyRows => "the COPY",
        };
        self.line = self.opened;
        Err(self.refuse(&format!("{open} that begins here never ends")))
    }

    fn refuse(&self, what: &str) -> Failure {
        Failure::new(ErrorKind::Error, format!("line {}: {what}", self.line))
    }

    fn unreadable(&self, error: &io::Error) -> Failure {
        Failure::new(ErrorKind::Error, format!("line {}: {error}", self.line + 1))
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$') || !byte.is_ascii()
}

/// Returns the `$tag$` with which `text` begins.
fn dollar_delimiter(text: &[u8]) -> Option<&[u8]> {
    let length = text[1..].iter().position(|byte| *byte == b'$')? + 2;
    let tag = &text[1..length - 1];
    let is_tag =
        tag.iter().all(|byte| is_word(*byte)) && !tag.first().is_some_and(u8::is_ascii_digit);
    is_tag.then_some(&text[..length])
}

fn is_copy_from_stdin(sql: &str) -> bool {
    let words: Vec<&str> = sql.split_ascii_whitespace().collect();
    words
        .first()
        .is_some_and(|word| word.eq_ignore_ascii_case("copy"))
        && words.windows(2).any(|pair| {
            pair[0].eq_ignore_ascii_case("from") && pair[1].eq_ignore_ascii_case("stdin")
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(script: &[u8]) -> Result<Vec<Piece>, String> {
        let mut script = Script::new(script);
        let mut pieces = Vec::new();
        while let Some(piece) = script.next().map_err(|failure| failure.to_string())? {
            pieces.push(piece);
        }
        Ok(pieces)
    }

    /// Returns the statements of a script without `COPY`, each with its line.
    fn statements(script: &str) -> Vec<(u64, String)> {
        let pieces = pieces(script.as_bytes()).unwrap();
        let statements = pieces.into_iter().map(|piece| match piece {
            Piece::Statement { sql, line } => (line, sql),
            Piece::Copy { .. } | Piece::CopyRow(_) | Piece::CopyEnd | Piece::Connect { .. } => {
                panic!("{piece:?}")
            }
        });
        statements.collect()
    }

    #[test]
    fn semicolons_end_statements() {
        assert_eq!(
            statements("SELECT 1; SELECT\n 2;\n;;\n\nSELECT 3"),
            [
                (1, "SELECT 1".to_owned()),
                (1, "SELECT\n 2".to_owned()),
                (5, "SELECT 3".to_owned()),
            ]
        );
        for nothing in ["", "\n \n", "-- only\n/* comments */\n"] {
            assert_eq!(statements(nothing), [], "{nothing:?}");
        }
    }

    #[test]
    fn semicolons_in_strings_and_identifiers_end_nothing() {
        for statement in [
            "SELECT 'a;b'",
            "SELECT 'it''s;'",
            r"SELECT E'it\'s;'",
            r"SELECT E'it''s\';'",
            r"SELECT '\', ';'",
            r"SELECT name'\', ';'",
            r#"SELECT "a;b""#,
            r#"SELECT "a"";b""#,
            "SELECT $$a;'b$$",
            "SELECT $tag$a;$$;$tag$",
            "SELECT a$b, ';' , c$b",
            "SELECT 'two\nlines;'",
            "DO $body$ BEGIN PERFORM 1; END; $body$",
        ] {
            let script = format!("{statement};SELECT 1;");
            let found = statements(&script);
            let texts: Vec<&str> = found.iter().map(|(_, sql)| sql.as_str()).collect();
            assert_eq!(texts, [statement, "SELECT 1"], "{statement}");
        }
    }

    #[test]
    fn semicolons_within_a_rule_or_the_body_of_a_routine_end_nothing() {
        for statement in [
            "CREATE RULE r AS ON INSERT TO t DO (DELETE FROM u; NOTIFY ')'; DELETE FROM \"(\";)",
            "CREATE FUNCTION f() RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT 1; SELECT 2; END",
            "create or replace procedure p(a int)\nbegin atomic\n select case when a > 1 then 1\n \
             else case a when 0 then 2 end end;\n insert into t values (1);\nend",
            "CREATE FUNCTION f(a int DEFAULT 1) RETURNS int RETURN a + 1",
            "CREATE FUNCTION f() RETURNS int AS $$BEGIN RETURN 1; END;$$ LANGUAGE plpgsql",
        ] {
            assert_eq!(
                statements(&format!("{statement};SELECT 1;")),
                [(1, statement.to_owned()), {
                    let line = 1 + u64::try_from(statement.matches('\n').count()).unwrap();
                    (line, "SELECT 1".to_owned())
                }],
            );
        }
        // Elsewhere these words mean something else, and an extra parenthesis ends nothing.
        assert_eq!(
            statements("BEGIN;SELECT 1);SELECT begin, 'function';END;CREATE TABLE begin(); (")
                .len(),
            6
        );
    }

    #[test]
    fn backslashes_escape_where_the_script_says_so() {
        let script = "SET standard_conforming_strings = off;SELECT 'it\\';';\
                      SET standard_conforming_strings = on;SELECT 'a\\';";
        let texts: Vec<String> = statements(script).into_iter().map(|(_, sql)| sql).collect();
        assert_eq!(texts[1], r"SELECT 'it\';'");
        assert_eq!(texts[3], r"SELECT 'a\'");
    }

    #[test]
    fn comments_are_no_part_of_a_statement() {
        assert_eq!(
            statements("-- it's;\nSELECT/* a; /* nested; */ ' */1 -- b;\n+ 2;"),
            [(2, "SELECT 1 \n+ 2".to_owned())]
        );
        assert_eq!(
            statements("SELECT '--', '/*';"),
            [(1, "SELECT '--', '/*'".to_owned())]
        );
    }

    #[test]
    fn the_rows_of_a_copy_are_read_out_of_the_script() {
        let script = b"\\restrict token\nCOPY public.t (a) FROM stdin;\nit's;\n\\.x\n\n\\.\n\
                       SELECT 1;\n\\unrestrict token\n";
        assert_eq!(
            pieces(script).unwrap(),
            [
                Piece::Copy {
                    sql: "COPY public.t (a) FROM stdin".to_owned(),
                    line: 2
                },
                Piece::CopyRow(b"it's;\n".to_vec()),
                Piece::CopyRow(b"\\.x\n".to_vec()),
                Piece::CopyRow(b"\n".to_vec()),
                Piece::CopyEnd,
                Piece::Statement {
                    sql: "SELECT 1".to_owned(),
                    line: 7
                },
            ]
        );
    }

    #[test]
    fn another_database_is_told() {
        let script = b"SELECT 1;\n\\connect -reuse-previous=on \"dbname='a b'\"\n\\c x\n";
        let pieces = pieces(script).unwrap();
        assert_eq!(
            pieces[1..],
            [Piece::Connect { line: 2 }, Piece::Connect { line: 3 }]
        );
    }

    #[test]
    fn what_only_looks_like_a_copy_is_none() {
        let script = "INSERT INTO t VALUES ('\nCOPY t FROM stdin;\n');COPY t TO stdout;";
        assert_eq!(statements(script).len(), 2);
    }

    #[test]
    fn other_systems_line_ends_and_marks_are_taken() {
        let script = "\u{feff}\\restrict x\r\nSELECT 1;\r\nCOPY t FROM stdin;\r\n1\r\n\\.\r\n";
        assert_eq!(
            pieces(script.as_bytes()).unwrap(),
            [
                Piece::Statement {
                    sql: "SELECT 1".to_owned(),
                    line: 2
                },
                Piece::Copy {
                    sql: "COPY t FROM stdin".to_owned(),
                    line: 3
                },
                Piece::CopyRow(b"1\r\n".to_vec()),
                Piece::CopyEnd,
            ]
        );
    }

    #[test]
    fn what_is_no_script_is_refused_with_its_line() {
        for (script, told) in [
            (
                &b"SELECT 1;\nSELECT 'a\nb"[..],
                "line 2: a string that begins here",
            ),
            (b"\n$$", "line 2: a string that begins here"),
            (
                b"SELECT \"a",
                "line 1: a quoted identifier that begins here",
            ),
            (b"/* /* */", "line 1: a comment that begins here"),
            (
                b"\nCOPY t FROM stdin;\n1\n",
                "line 2: the COPY that begins here",
            ),
            (b"\\i other.sql\n", "line 1: another file"),
            (b"\\if true\n", "line 1: psql's conditions"),
            (b"\\encoding LATIN1\n", "line 1: this is in LATIN1"),
            (
                b"\nSET client_encoding = 'LATIN1';",
                "line 2: this is in LATIN1, and only UTF8 can be read\n\
                 hint: make the dump with --encoding=UTF8",
            ),
            (
                b"SELECT 1;\nSELECT '\xff';",
                "line 2: this is not UTF-8\nhint: make the dump with --encoding=UTF8",
            ),
            (
                b"SET client_encoding = 'SQL_ASCII';\nSELECT '\xff';",
                "line 2: this is not UTF-8\nhint: the database is SQL_ASCII",
            ),
        ] {
            let refused = pieces(script).unwrap_err();
            assert!(refused.contains(told), "{refused}");
        }
    }
}
