//! The short form of a mount: `source:target:options`, with Windows drives, UNC paths, `~` and relative paths.

use super::service::{BindOptions, Volume, VolumeOptions};

const PROPAGATIONS: [&str; 6] = ["rprivate", "private", "rshared", "shared", "rslave", "slave"];

/// Reads a short mount. The target is not cleaned yet.
pub(super) fn parse(spec: &str) -> Result<Volume, String> {
    let mut volume = Volume::default();
    if spec.is_empty() {
        return Err("a mount cannot be empty".into());
    }
    if spec.len() <= 2 {
        volume.target = spec.to_owned();
        volume.kind = "volume".into();
        return Ok(volume);
    }
    let parts = split(spec);
    let last = parts.len() - 1;
    for (i, part) in parts.iter().enumerate() {
        if part.is_empty() {
            return Err(format!("the mount `{spec}` has an empty part between its colons"));
        }
        match i {
            0 if last == 0 => volume.target.clone_from(part),
            0 => volume.source = Some(part.clone()),
            1 => volume.target.clone_from(part),
            _ if i < last => return Err(format!("the mount `{spec}` has too many colons")),
            _ => options(&mut volume, part),
        }
    }
    set_kind(&mut volume);
    Ok(volume)
}

/// The parts between colons; a colon after a single letter belongs to a Windows drive.
fn split(spec: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    for c in spec.chars() {
        let Some(part) = parts.last_mut() else { break };
        let drive = c == ':' && part.chars().count() == 1 && part.chars().all(char::is_alphabetic);
        if c == ':' && !drive {
            parts.push(String::new());
        } else {
            part.push(c);
        }
    }
    parts
}

fn options(volume: &mut Volume, text: &str) {
    for option in text.split(',') {
        match option {
            "ro" => volume.read_only = true,
            "rw" => volume.read_only = false,
            "nocopy" => volume.volume = Some(VolumeOptions { nocopy: true, ..VolumeOptions::default() }),
            "z" | "Z" => volume.bind.get_or_insert_default().selinux = Some(option.to_owned()),
            _ if PROPAGATIONS.contains(&option) => {
                volume.bind.get_or_insert_default().propagation = Some(option.to_owned());
            }
            // Compose ignores options that it does not know.
            _ => {}
        }
    }
}

fn set_kind(volume: &mut Volume) {
    if volume.source.as_deref().is_some_and(is_path) {
        volume.kind = "bind".into();
        let bind: &mut BindOptions = volume.bind.get_or_insert_default();
        bind.create_host_path = true;
    } else {
        volume.kind = "volume".into();
        volume.volume.get_or_insert_default();
    }
}

/// Whether a source names a path, not a volume.
fn is_path(source: &str) -> bool {
    let mut chars = source.chars();
    source.starts_with(['.', '/', '~'])
        || source.starts_with(r"\\")
        || (chars.next().is_some_and(char::is_alphabetic) && chars.next() == Some(':'))
}

/// Whether a path is absolute on Windows: `c:\x`, `c:/x`, `\\server\share\x`.
pub(super) fn is_windows_absolute(path: &str) -> bool {
    let bytes = path.as_bytes();
    let slash = |i: usize| matches!(bytes.get(i), Some(b'\\' | b'/'));
    let length = windows_volume_length(bytes, slash);
    length > 0 && slash(length)
}

/// Length of `c:` or `\\server\share`; 0 without one.
fn windows_volume_length(bytes: &[u8], slash: impl Fn(usize) -> bool) -> usize {
    if bytes.len() >= 2 && bytes[1] == b':' && bytes[0].is_ascii_alphabetic() {
        return 2;
    }
    if bytes.len() < 5 || !slash(0) || !slash(1) || slash(2) || bytes[2] == b'.' {
        return 0;
    }
    let Some(server_end) = (3..bytes.len() - 1).find(|n| slash(*n)) else { return 0 };
    let share = server_end + 1;
    if slash(share) || bytes.get(share) == Some(&b'.') {
        return 0;
    }
    (share..bytes.len()).find(|n| slash(*n)).unwrap_or(bytes.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(spec: &str) -> (String, Option<String>, String, bool) {
        let v = parse(spec).unwrap_or_else(|e| panic!("{spec}: {e}"));
        (v.kind, v.source, v.target, v.read_only)
    }

    #[test]
    fn every_spelling_of_a_mount_is_read() {
        for (spec, kind, source, target, read_only) in [
            ("./models:/models:ro", "bind", Some("./models"), "/models", true),
            ("~/.cache:/c", "bind", Some("~/.cache"), "/c", false),
            ("d:/vllm/models:/models:ro", "bind", Some("d:/vllm/models"), "/models", true),
            (r"C:\m:D:\n", "bind", Some(r"C:\m"), r"D:\n", false),
            (r"\\wsl.localhost\U\c:/c", "bind", Some(r"\\wsl.localhost\U\c"), "/c", false),
            (r".\examples:/e", "bind", Some(r".\examples"), "/e", false),
            ("cache:/c", "volume", Some("cache"), "/c", false),
            ("/data", "volume", None, "/data", false),
            ("/x", "volume", None, "/x", false),
        ] {
            assert_eq!(
                parts(spec),
                (kind.to_owned(), source.map(str::to_owned), target.to_owned(), read_only),
                "{spec}"
            );
        }
        for spec in ["", "aa::b", ":/x", "aa:/b:cc:d", "/a:/b:ro:z"] {
            assert!(parse(spec).is_err(), "{spec}");
        }
    }

    #[test]
    fn windows_paths_are_known_as_absolute() {
        for path in [r"c:\x", "c:/x", r"\\server\share\x", "//server/share/x"] {
            assert!(is_windows_absolute(path), "{path}");
        }
        for path in ["c:", "c:x", r"\\server\share", r"\x", "x", r".\x"] {
            assert!(!is_windows_absolute(path), "{path}");
        }
    }
}
