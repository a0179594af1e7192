//! Values that are put aside until they are needed: as lines of JSON in a [`Spool`], in the order
//! in which they were added, or sorted. Memory does not grow with their number.
//!
//! They are not printed at once: a slow reader must not hold up a transaction, and a transaction
//! that is tried again must not leave anything behind. Only this process reads the lines, so they
//! promise nothing.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::hash::{DefaultHasher, Hasher as _};
use std::io::{self, BufRead, BufReader, Read as _, Take, Write as _};
use std::marker::PhantomData;
use std::vec::Drain;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::report::spool::{Spool, SpoolReader};

/// How many bytes are collected before they are written to the spool, whose file has no buffer.
const BUFFER: usize = 1 << 16;

/// How many values are sorted in memory. More are merged from several sorted runs.
const RUN: usize = 1 << 13;

/// How many bytes of each sorted run are read at a time. Ten million values are 1,200 runs.
const RUN_BUFFER: usize = 1 << 12;

/// Values in the order in which they were added.
#[derive(Debug)]
pub(crate) struct PutAside<T> {
    spool: Spool,
    /// The lines that are not in the spool yet.
    buffer: Vec<u8>,
    /// A digest of all lines.
    digest: DefaultHasher,
    values: PhantomData<fn() -> T>,
}

impl<T> PutAside<T> {
    /// Makes an empty collection.
    #[must_use]
    pub(crate) fn new() -> Self {
        Self {
            spool: Spool::new(),
            buffer: Vec::new(),
            digest: DefaultHasher::new(),
            values: PhantomData,
        }
    }
}

impl<T: Serialize> PutAside<T> {
    /// Adds a value.
    ///
    /// # Errors
    ///
    /// An I/O error if it cannot be put aside.
    pub(crate) fn add(&mut self, value: &T) -> io::Result<()> {
        let begin = self.buffer.len();
        serde_json::to_writer(&mut self.buffer, value)?;
        self.buffer.push(b'\n');
        self.digest
            .write(self.buffer.get(begin..).unwrap_or_default());
        if self.buffer.len() >= BUFFER {
            self.spool.write_all(&self.buffer)?;
            self.buffer.clear();
        }
        Ok(())
    }
}

impl<T: DeserializeOwned> PutAside<T> {
    /// Reads the values back. An item is an I/O error if one cannot be read; the last one is an
    /// error if they are not those that were added, because the disk or somebody changed them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = io::Result<T>> {
        let lines = self.spool.read_from(0).chain(self.buffer.as_slice());
        let mut lines = LineReader::new(BufReader::new(lines));
        let mut digest = Some(DefaultHasher::new());
        std::iter::from_fn(move || {
            if let Some(value) = lines.next() {
                if let Some(digest) = &mut digest {
                    digest.write(&lines.line);
                }
                return Some(value);
            }
            let is_other = digest.take()?.finish() != self.digest.finish();
            is_other.then(|| Err(damaged()))
        })
    }
}

/// Builds the error for values that are not those that were added.
fn damaged() -> io::Error {
    let message = "what is read back is not what was put aside";
    io::Error::new(io::ErrorKind::InvalidData, message)
}

/// Reads values from lines.
struct LineReader<R, T> {
    lines: R,
    line: Vec<u8>,
    values: PhantomData<fn() -> T>,
}

impl<R, T> LineReader<R, T> {
    fn new(lines: R) -> Self {
        Self {
            lines,
            line: Vec::new(),
            values: PhantomData,
        }
    }
}

impl<R: BufRead, T: DeserializeOwned> Iterator for LineReader<R, T> {
    type Item = io::Result<T>;

    fn next(&mut self) -> Option<Self::Item> {
        self.line.clear();
        match self.lines.read_until(b'\n', &mut self.line) {
            Ok(0) => None,
            Ok(_) => Some(serde_json::from_slice(&self.line).map_err(Into::into)),
            Err(error) => Some(Err(error)),
        }
    }
}

/// Values that come back in order, each as often as it was added.
#[derive(Debug)]
pub(crate) struct Sorter<T> {
    /// The values that are in no run yet.
    values: Vec<T>,
    spool: Spool,
    runs: Vec<SpooledRun>,
}

/// A sorted run in a spool.
#[derive(Debug)]
struct SpooledRun {
    begin: u64,
    /// How many bytes long it is.
    length: u64,
    /// A digest of all its lines.
    digest: u64,
}

impl<T: Ord + Serialize + DeserializeOwned> Sorter<T> {
    /// Makes an empty collection.
    #[must_use]
    pub(crate) fn new() -> Self {
        Self {
            values: Vec::new(),
            spool: Spool::new(),
            runs: Vec::new(),
        }
    }

    /// Adds a value.
    ///
    /// # Errors
    ///
    /// An I/O error if the values cannot be put aside.
    pub(crate) fn add(&mut self, value: T) -> io::Result<()> {
        self.values.push(value);
        if self.values.len() < RUN {
            return Ok(());
        }
        self.values.sort_unstable();
        let begin = self.spool.length();
        let mut buffer = Vec::new();
        let mut digest = DefaultHasher::new();
        for value in self.values.drain(..) {
            let line = buffer.len();
            serde_json::to_writer(&mut buffer, &value)?;
            buffer.push(b'\n');
            digest.write(buffer.get(line..).unwrap_or_default());
            if buffer.len() >= BUFFER {
                self.spool.write_all(&buffer)?;
                buffer.clear();
            }
        }
        self.spool.write_all(&buffer)?;
        self.runs.push(SpooledRun {
            begin,
            length: self.spool.length() - begin,
            digest: digest.finish(),
        });
        Ok(())
    }

    /// Reads the values back in order. An item is an I/O error if one cannot be read, or if they
    /// are not those that were added, because the disk or somebody changed them: read to the end,
    /// and use nothing after an error.
    pub(crate) fn sorted(&mut self) -> impl Iterator<Item = io::Result<T>> {
        let Self {
            values,
            spool,
            runs,
        } = self;
        let spool = &*spool;
        values.sort_unstable();
        let runs = runs.iter().map(|run| {
            let lines = spool.read_from(run.begin).take(run.length);
            SortedRun::PutAside {
                lines: LineReader::new(BufReader::with_capacity(RUN_BUFFER, lines)),
                read: DefaultHasher::new(),
                digest: run.digest,
            }
        });
        let mut merge = Merge {
            runs: runs.chain([SortedRun::Kept(values.drain(..))]).collect(),
            firsts: BinaryHeap::new(),
            failed: None,
        };
        for run in 0..merge.runs.len() {
            merge.advance(run);
        }
        merge
    }
}

/// A sorted run that is read back.
enum SortedRun<'a, T> {
    PutAside {
        lines: LineReader<BufReader<Take<SpoolReader<'a>>>, T>,
        /// A digest of the lines that were read.
        read: DefaultHasher,
        /// The digest of the lines that were put aside.
        digest: u64,
    },
    Kept(Drain<'a, T>),
}

impl<T: DeserializeOwned> Iterator for SortedRun<'_, T> {
    type Item = io::Result<T>;

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Self::PutAside {
                lines,
                read,
                digest,
            } => match lines.next() {
                Some(value) => {
                    read.write(&lines.line);
                    Some(value)
                }
                None => (read.finish() != *digest).then(|| Err(damaged())),
            },
            Self::Kept(values) => values.next().map(Ok),
        }
    }
}

/// Merges sorted runs.
struct Merge<'a, T> {
    runs: Vec<SortedRun<'a, T>>,
    /// The first value of each run that is left, with the place of the run.
    firsts: BinaryHeap<Reverse<(T, usize)>>,
    failed: Option<io::Error>,
}

impl<T: Ord + DeserializeOwned> Merge<'_, T> {
    /// Takes the next value of a run.
    fn advance(&mut self, run: usize) {
        match self.runs.get_mut(run).and_then(Iterator::next) {
            Some(Ok(value)) => self.firsts.push(Reverse((value, run))),
            Some(Err(error)) => self.failed = Some(error),
            None => {}
        }
    }
}

impl<T: Ord + DeserializeOwned> Iterator for Merge<'_, T> {
    type Item = io::Result<T>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(error) = self.failed.take() {
            self.firsts.clear();
            return Some(Err(error));
        }
        let Reverse((value, run)) = self.firsts.pop()?;
        self.advance(run);
        Some(Ok(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::spool::IN_MEMORY;

    /// Makes a text that is as long for every number.
    fn text(number: usize) -> String {
        format!("{number:0100}\n")
    }

    #[test]
    fn values_come_back_in_the_order_in_which_they_were_added() {
        let mut values = PutAside::new();
        for number in 0..50_000 {
            values.add(&text(number)).unwrap();
        }
        let kept = values.spool.length();
        assert!(kept > IN_MEMORY as u64, "it should have gone to a file");
        for _ in 0..2 {
            let mut read = values.iter();
            let mut beside = values.iter();
            for number in 0..50_000 {
                assert_eq!(read.next().unwrap().unwrap(), text(number));
                assert_eq!(beside.next().unwrap().unwrap(), text(number));
            }
            assert!(read.next().is_none());
        }
    }

    #[test]
    fn values_that_were_changed_are_noticed() {
        for less in [0, 1] {
            let mut values = PutAside::new();
            for number in 0..10 {
                values.add(&text(number)).unwrap();
            }
            let last = values.buffer.len() - less * (values.buffer.len() / 10);
            values.buffer.truncate(last);
            if less == 0 {
                values.buffer[1] = b'7';
            }
            let read: Vec<io::Result<String>> = values.iter().collect();
            let (end, before) = read.split_last().unwrap();
            assert_eq!(before.len(), 10 - less);
            assert!(before.iter().all(Result::is_ok));
            let error = end.as_ref().unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        }
    }

    #[test]
    fn sorted_values_that_were_changed_are_noticed() {
        let numbers = || {
            let mut values = Sorter::new();
            for number in 10..=RUN + 10 {
                values.add(number).unwrap();
            }
            values
        };
        assert!(numbers().sorted().all(|value| value.is_ok()));
        let kinds = [io::ErrorKind::InvalidData, io::ErrorKind::UnexpectedEof];
        // Another value, two values exchanged, a value less.
        for (from, to) in [
            ("12\n", "13\n"),
            ("12\n13\n", "13\n12\n"),
            ("12\n", "\n\n\n"),
        ] {
            let mut values = numbers();
            let mut text = String::new();
            let mut spooled = values.spool.read_from(0);
            spooled.read_to_string(&mut text).unwrap();
            values.spool = Spool::new();
            let changed = text.replacen(from, to, 1);
            values.spool.write_all(changed.as_bytes()).unwrap();
            let read: Vec<io::Result<usize>> = values.sorted().collect();
            let errors: Vec<_> = read
                .iter()
                .filter_map(|value| value.as_ref().err())
                .collect();
            let [error] = errors[..] else {
                panic!("{from}: {errors:?}");
            };
            assert!(kinds.contains(&error.kind()), "{from}: {error}");
        }
    }

    #[test]
    fn values_come_back_sorted_however_many_runs_there_are() {
        for most in [0, 1, RUN - 1, RUN, 6 * RUN + 1] {
            let mut values = Sorter::new();
            // Every number twice, in an order that mixes all runs.
            for number in 0..2 * most {
                values.add(text(number * 7_919 % most)).unwrap();
            }
            let sorted = values.sorted().collect::<io::Result<Vec<String>>>();
            let mut expected: Vec<String> = (0..most).chain(0..most).map(text).collect();
            expected.sort_unstable();
            assert!(sorted.unwrap() == expected, "{most}");
        }
    }
}
