//! Keeps bytes until they are needed: a few in memory, more in an unnamed file. Where no file
//! can be made, as in an image without /tmp, they stay in memory up to a bound.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;

/// How many bytes stay in memory before they go to a file.
pub(crate) const IN_MEMORY: usize = 1 << 20;

/// How many bytes stay in memory if no file can be made: about 700,000 findings.
const WITHOUT_A_FILE: usize = 256 << 20;

/// The bytes kept so far.
#[derive(Debug)]
pub(crate) struct Spool {
    place: Place,
    length: u64,
    folder: PathBuf,
    in_memory: usize,
    without_a_file: usize,
}

#[derive(Debug)]
enum Place {
    Memory(Vec<u8>),
    /// No file can be made, for this reason.
    MemoryAlone(Vec<u8>, io::Error),
    File(File),
}

impl Spool {
    /// Makes an empty spool, whose file would be in the folder for temporary files.
    pub(crate) fn new() -> Self {
        Self {
            place: Place::Memory(Vec::new()),
            length: 0,
            folder: std::env::temp_dir(),
            in_memory: IN_MEMORY,
            without_a_file: WITHOUT_A_FILE,
        }
    }

    /// Returns how many bytes it keeps.
    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// Reads the bytes from an offset on. Several readers do not disturb each other.
    pub(crate) fn read_from(&self, at: u64) -> SpoolReader<'_> {
        SpoolReader { spool: self, at }
    }
}

/// Reads what a spool keeps.
#[derive(Debug)]
pub(crate) struct SpoolReader<'a> {
    spool: &'a Spool,
    at: u64,
}

impl Read for SpoolReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = match &self.spool.place {
            Place::File(file) => file.read_at(buffer, self.at)?,
            Place::Memory(kept) | Place::MemoryAlone(kept, _) => {
                let at = usize::try_from(self.at).unwrap_or(usize::MAX);
                kept.get(at..).unwrap_or_default().read(buffer)?
            }
        };
        self.at += read as u64;
        Ok(read)
    }
}

impl Write for Spool {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Place::Memory(kept) = &mut self.place
            && kept.len() + bytes.len() > self.in_memory
        {
            let kept = std::mem::take(kept);
            self.place = match tempfile::tempfile_in(&self.folder) {
                Ok(mut file) => {
                    file.write_all(&kept)?;
                    Place::File(file)
                }
                Err(error) => Place::MemoryAlone(kept, error),
            };
        }
        let written = match &mut self.place {
            Place::File(file) => file.write(bytes)?,
            Place::MemoryAlone(kept, why) if kept.len() + bytes.len() > self.without_a_file => {
                let folder = self.folder.display();
                let (kind, why) = (why.kind(), crate::error::reason(why));
                let message = format!("no file can be made in {folder}: {why}");
                return Err(io::Error::new(kind, message));
            }
            Place::Memory(kept) | Place::MemoryAlone(kept, _) => {
                kept.extend_from_slice(bytes);
                bytes.len()
            }
        };
        self.length += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.place {
            Place::File(file) => file.flush(),
            Place::Memory(_) | Place::MemoryAlone(..) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spool(folder: &str) -> Spool {
        Spool {
            folder: folder.into(),
            in_memory: 10,
            without_a_file: 30,
            ..Spool::new()
        }
    }

    #[test]
    fn few_bytes_stay_in_memory_and_many_go_to_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let mut spool = spool(folder.path().to_str().unwrap());
        spool.write_all(b"0123456789").unwrap();
        assert!(matches!(spool.place, Place::Memory(_)));
        spool.write_all(b"0123456789 and so on and so on").unwrap();
        assert!(matches!(spool.place, Place::File(_)));
        for _ in 0..2 {
            let mut out = Vec::new();
            io::copy(&mut spool.read_from(0), &mut out).unwrap();
            assert_eq!(out, b"01234567890123456789 and so on and so on");
            let mut rest = String::new();
            spool.read_from(30).read_to_string(&mut rest).unwrap();
            assert_eq!(rest, " and so on");
            assert_eq!(spool.length(), 40);
        }
    }

    #[test]
    fn without_a_folder_they_stay_in_memory_up_to_a_bound() {
        let mut spool = spool("/no/such/folder");
        spool.write_all(b"0123456789").unwrap();
        spool.write_all(b"01234567890123456789").unwrap();
        let mut out = Vec::new();
        io::copy(&mut spool.read_from(0), &mut out).unwrap();
        assert_eq!(out.len(), 30);
        let error = spool.write_all(b"x").unwrap_err();
        assert_eq!(
            error.to_string(),
            "no file can be made in /no/such/folder: No such file or directory"
        );
    }
}
