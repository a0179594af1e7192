//! What one text has that another has not: the later steps in the golden files are stored so.
//!
//! ```text
//! ⋮ 12 lines as there
//! -  key free (a1a1a1a1)   mcp_servers   github   stale   remove   p-key-free
//! ⋮ 21 lines as there
//! ✂ 1 line of there
//! + Nothing was written (dry run). It would remove 1 stale reference from 1 row.
//! ```
//!
//! `⋮` counts lines that both texts have. `+` is a line that only this text has. `✂` counts lines
//! that only the other text has. A few rows of a table that only the other text has are spelled
//! out, each after a `-`; sentences are not, so that a change of wording shows once. The other text
//! and these lines give this text again, to the letter: [`diff`] checks that.

/// Tells whether lines of the other text are spelled out where this text lacks them.
fn are_shown(lines: &[(Side, &str)]) -> bool {
    // Rows of tables begin with a space.
    lines.len() <= 3 && lines.iter().all(|(_, line)| line.starts_with(' '))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Both,
    Other,
    This,
}

/// Compares a text with another one, and returns the lines that tell it apart.
pub(crate) fn diff(other: &str, this: &str) -> String {
    let (other, this): (Vec<&str>, Vec<&str>) = (other.lines().collect(), this.lines().collect());
    let mut lines: Vec<String> = Vec::new();
    for run in aligned(&other, &this).chunk_by(|(a, _), (b, _)| a == b) {
        let (side, count) = (run[0].0, run.len());
        let noun = if count == 1 { "line" } else { "lines" };
        let spelled = |sign: char| run.iter().map(move |(_, line)| spelled_out(sign, line));
        match side {
            Side::Both => lines.push(format!("⋮ {count} {noun} as there")),
            Side::Other if are_shown(run) => lines.extend(spelled('-')),
            Side::Other => lines.push(format!("✂ {count} {noun} of there")),
            Side::This => lines.extend(spelled('+')),
        }
    }
    assert_eq!(restored(&other, &lines), this, "the difference tells all");
    lines.join("\n")
}

fn spelled_out(sign: char, line: &str) -> String {
    // No line ends with a space that an editor would take away.
    let space = if line.is_empty() { "" } else { " " };
    format!("{sign}{space}{line}")
}

/// Pairs the lines of two texts, so that as many as possible are common to both.
fn aligned<'t>(other: &[&'t str], this: &[&'t str]) -> Vec<(Side, &'t str)> {
    // An empty line alone is a poor reason to pair what is around it.
    let weight = |line: &str| if line.is_empty() { 1 } else { 3 };
    let mut best = vec![vec![0; this.len() + 1]; other.len() + 1];
    for (i, line) in other.iter().enumerate().rev() {
        for j in (0..this.len()).rev() {
            let paired = if *line == this[j] {
                best[i + 1][j + 1] + weight(line)
            } else {
                0
            };
            best[i][j] = paired.max(best[i + 1][j]).max(best[i][j + 1]);
        }
    }
    let (mut i, mut j) = (0, 0);
    let mut sides = Vec::new();
    while i < other.len() || j < this.len() {
        let both = i < other.len()
            && j < this.len()
            && other[i] == this[j]
            && best[i][j] == best[i + 1][j + 1] + weight(other[i]);
        let side = if both {
            Side::Both
        } else if i < other.len() && best[i][j] == best[i + 1][j] {
            Side::Other
        } else {
            Side::This
        };
        sides.push((
            side,
            if side == Side::This {
                this[j]
            } else {
                other[i]
            },
        ));
        i += usize::from(side != Side::This);
        j += usize::from(side != Side::Other);
    }
    sides
}

/// Makes this text again from the other one and the difference.
fn restored<'t>(other: &[&'t str], difference: &'t [String]) -> Vec<&'t str> {
    let mut rest = other.iter();
    let mut lines = Vec::new();
    for line in difference {
        let (sign, text) = line.split_once(' ').unwrap_or((line, ""));
        let count = || text.split(' ').next().unwrap().parse().unwrap();
        match sign {
            "⋮" => lines.extend(rest.by_ref().take(count())),
            "✂" => rest.by_ref().take(count()).for_each(drop),
            "-" => assert_eq!(rest.next(), Some(&text)),
            "+" => lines.push(text),
            _ => panic!("{line}"),
        }
    }
    assert_eq!(rest.next(), None);
    lines
}

#[test]
fn a_difference_shows_what_is_new_and_counts_what_is_not() {
    let other = "a\n b\n\nc\nd\ne\nf\ng\n last";
    for (this, difference) in [
        (other, "⋮ 9 lines as there"),
        ("", "✂ 9 lines of there"),
        (
            "a\n B\n\nc\n last\nmore",
            "⋮ 1 line as there\n-  b\n+  B\n⋮ 2 lines as there\n✂ 4 lines of there\n\
             ⋮ 1 line as there\n+ more",
        ),
        (
            "new\n\n\n b\n\nc\nd\ne\nf\ng",
            "✂ 1 line of there\n+ new\n+\n+\n⋮ 7 lines as there\n-  last",
        ),
    ] {
        assert_eq!(diff(other, this), difference);
    }
}

#[test]
fn every_difference_gives_the_text_again() {
    let lines = ["", " ", "- a", "+ a", "⋮ 1 line as there", "a"];
    fastrand::seed(3);
    for _ in 0..500 {
        let text = || {
            let count = fastrand::usize(0..8);
            let lines: Vec<&str> = (0..count)
                .map(|_| *fastrand::choice(&lines).unwrap())
                .collect();
            lines.join("\n")
        };
        // This checks by itself that the text comes back.
        let _ = diff(&text(), &text());
    }
}
