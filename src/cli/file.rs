//! Files that are whole or not there.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

/// Writes beside the file and renames, so that no half of it ever bears its name.
///
/// # Errors
/// It cannot be made, written or put in its place.
pub(super) fn whole<T, E: From<io::Error>>(file: &Path, write: impl FnOnce(File) -> Result<T, E>) -> Result<T, E> {
    let mut part = file.as_os_str().to_owned();
    part.push(".part");
    let part = PathBuf::from(part);
    let written = File::create(&part)
        .map_err(E::from)
        .and_then(write)
        .and_then(|made| Ok(std::fs::rename(&part, file).map(|()| made)?));
    if written.is_err() {
        // What could not be written whole is of no use; that it is still there is no second error.
        let _ = std::fs::remove_file(&part);
    }
    written
}
