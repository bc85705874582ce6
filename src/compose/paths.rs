//! Paths as text: cleaned and joined without touching the disk.

use std::path::{Path, PathBuf};

/// The shortest equal spelling of a slash path: no `.`, no `..` that can be taken out, no doubled or trailing slash.
pub(super) fn clean_posix(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => match parts.last() {
                Some(&"..") | None if !rooted => parts.push(".."),
                None => {}
                Some(_) => {
                    parts.pop();
                }
            },
            name => parts.push(name),
        }
    }
    let joined = parts.join("/");
    match (rooted, joined.is_empty()) {
        (true, _) => format!("/{joined}"),
        (false, true) => ".".into(),
        (false, false) => joined,
    }
}

/// `path` from `folder` on, cleaned.
pub(super) fn absolute(path: &Path, folder: &Path) -> PathBuf {
    PathBuf::from(clean_posix(&folder.join(path).to_string_lossy()))
}

/// The way from folder `from` to folder `to`, both absolute and clean.
pub(super) fn relative(to: &Path, from: &Path) -> PathBuf {
    let (mut to_parts, mut from_parts) = (to.components().peekable(), from.components().peekable());
    while to_parts.peek().is_some() && to_parts.peek() == from_parts.peek() {
        to_parts.next();
        from_parts.next();
    }
    let mut path = PathBuf::new();
    from_parts.for_each(|_| path.push(".."));
    to_parts.for_each(|part| path.push(part));
    if path.as_os_str().is_empty() { PathBuf::from(".") } else { path }
}

/// A name made fit for a project: lower case, only letters, digits, `-`, `_`, and none of the two in front.
pub(super) fn project_name(text: &str) -> String {
    let kept: String = text
        .to_lowercase()
        .chars()
        .filter(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_'))
        .collect();
    kept.trim_start_matches(['-', '_']).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_cleaned_as_go_cleans_them() {
        for (path, clean) in [
            ("/a/./b/../c/", "/a/c"),
            ("a//b", "a/b"),
            ("", "."),
            ("../x", "../x"),
            ("../../x/..", "../.."),
            ("/..", "/"),
            ("a/..", "."),
        ] {
            assert_eq!(clean_posix(path), clean, "{path}");
        }
        assert_eq!(absolute(Path::new("../b"), Path::new("/x/a")), PathBuf::from("/x/b"));
        assert_eq!(relative(Path::new("/x/b/c"), Path::new("/x/a")), PathBuf::from("../b/c"));
        assert_eq!(relative(Path::new("/x"), Path::new("/x")), PathBuf::from("."));
    }

    #[test]
    fn project_names_keep_what_docker_allows() {
        assert_eq!(project_name("_My Stack.2"), "mystack2");
        assert_eq!(project_name("ÄÖ"), "");
    }
}
