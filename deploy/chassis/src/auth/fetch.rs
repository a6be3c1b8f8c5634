//! Reading keys from where they are, within limits.

use std::fs::File;
use std::io::{Error, ErrorKind, Read};
use std::path::Path;

/// Reads a file of at most `largest` bytes.
pub(super) fn read_file(path: &Path, largest: u64) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    // One byte more than is allowed tells a file that is too large.
    File::open(path)?.take(largest.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > largest {
        return Err(Error::new(ErrorKind::FileTooLarge, format!("it has more than {largest} bytes")));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_up_to_a_limit() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "12345678").unwrap();
        assert_eq!(read_file(file.path(), 8).unwrap(), b"12345678");
        assert_eq!(read_file(file.path(), 7).unwrap_err().kind(), ErrorKind::FileTooLarge);
        assert_eq!(read_file(Path::new("/nowhere/key"), 7).unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(read_file(Path::new("/dev/zero"), 7).unwrap_err().kind(), ErrorKind::FileTooLarge);
    }
}
