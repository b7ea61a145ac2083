//! Files that a configuration names, read whole within a bound.

use std::{
    fs::{self, File},
    io::{self, ErrorKind, Read},
    path::Path,
};

/// The most bytes of a file with one secret.
pub const SECRET: u64 = 64 * 1024;

/// The most bytes of any other file.
pub(crate) const LONGEST: u64 = 16 << 20;

/// The bytes of a regular file of at most `max` bytes. Nothing else is opened: a FIFO would be waited for.
pub(crate) fn read(path: &Path, max: u64) -> io::Result<Vec<u8>> {
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::new(ErrorKind::InvalidInput, "it is not a regular file"));
    }
    let mut bytes = Vec::new();
    // One more than may be there, since the file can grow after its size was asked.
    File::open(path)?.take(max + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > max {
        return Err(io::Error::new(ErrorKind::FileTooLarge, format!("it is longer than {max} bytes")));
    }
    Ok(bytes)
}

/// The same as text.
pub fn read_text(path: &Path, max: u64) -> io::Result<String> {
    String::from_utf8(read(path, max)?).map_err(|_| io::Error::new(ErrorKind::InvalidData, "it is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    fn refused(path: &Path) -> String {
        read_text(path, 4).unwrap_err().to_string()
    }

    #[test]
    fn file_of_at_most_the_bound_is_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        fs::write(&path, "four").unwrap();
        assert_eq!(read_text(&path, 4).unwrap(), "four");
        fs::write(&path, "fives").unwrap();
        assert_eq!(refused(&path), "it is longer than 4 bytes");
    }

    #[test]
    fn file_that_is_not_text_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        fs::write(&path, [0xff]).unwrap();
        assert_eq!(refused(&path), "it is not UTF-8");
    }

    #[test]
    fn fifo_and_directory_are_refused_without_waiting() {
        let directory = tempfile::tempdir().unwrap();
        let fifo = directory.path().join("fifo");
        assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
        for path in [fifo.as_path(), directory.path()] {
            assert_eq!(refused(path), "it is not a regular file");
        }
    }
}
