//! To whom a process belongs: its name, container and group, out of `/proc`.

/// What `/proc` shows of a process; all absent when it cannot be seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Owner {
    /// Its command's name.
    pub name: Option<String>,
    /// The container's full id, when it runs in one.
    pub container: Option<String>,
    /// Its process group.
    pub group: Option<u32>,
}

impl Owner {
    /// Of the process with this id.
    #[must_use]
    pub fn of(pid: u32) -> Self {
        let read = |file: &str| std::fs::read_to_string(format!("/proc/{pid}/{file}")).ok();
        Self {
            name: read("comm").map(|name| name.trim().to_owned()),
            container: read("cgroup").and_then(|text| container_of(&text)),
            group: read("stat").and_then(|text| group_of(&text)),
        }
    }
}

/// Whose processes are not foreign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trial {
    /// Those of the container with this full id.
    Container(String),
    /// Those of this process group.
    Group(u32),
    /// It is not known which: nobody is called foreign.
    Unknown,
}

impl Trial {
    /// Of a running server's id: a container's, or `pid:<n>`.
    #[must_use]
    pub fn of(id: &str) -> Self {
        match id.strip_prefix("pid:").map(str::parse) {
            Some(Ok(group)) => Self::Group(group),
            Some(Err(_)) => Self::Unknown,
            None => Self::Container(id.to_owned()),
        }
    }

    /// Whether a process certainly is not of the trial. One that `/proc` does not show is not called foreign, and neither are we.
    #[must_use]
    pub fn is_foreign(&self, pid: u32, owner: &Owner) -> bool {
        if pid == std::process::id() || owner.name.is_none() {
            return false;
        }
        match self {
            Self::Container(id) => owner.container.as_ref() != Some(id),
            Self::Group(group) => owner.group.is_some_and(|of| of != *group),
            Self::Unknown => false,
        }
    }
}

/// The container's id in `/proc/<pid>/cgroup`: 64 hexadecimal digits, as Docker, containerd and Podman write it.
fn container_of(text: &str) -> Option<String> {
    text.rsplit(|c: char| !c.is_ascii_hexdigit()).find(|run| run.len() == 64).map(str::to_owned)
}

/// The group in `/proc/<pid>/stat`, proc(5): the third field after the name in parentheses, which may hold anything.
fn group_of(text: &str) -> Option<u32> {
    text.rsplit_once(')')?.1.split_whitespace().nth(2)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ID: &str = "0f1e2d3c4b5a69788796a5b4c3d2e1f00f1e2d3c4b5a69788796a5b4c3d2e1f0";

    #[test]
    fn a_container_is_found_in_the_cgroups_of_docker_containerd_and_podman() {
        for text in [
            format!("0::/system.slice/docker-{ID}.scope\n"),
            format!("12:memory:/docker/{ID}\n11:cpu:/docker/{ID}\n"),
            format!("0::/kubepods.slice/kubepods-pod1234.slice/cri-containerd-{ID}.scope\n"),
            format!("0::/machine.slice/libpod-{ID}.scope/container\n"),
        ] {
            assert_eq!(container_of(&text).as_deref(), Some(ID), "{text}");
        }
        assert_eq!(container_of("0::/user.slice/user-1000.slice/session-2.scope\n"), None);
    }

    #[test]
    fn this_process_is_seen_with_its_name_and_group_and_is_never_foreign() {
        let us = Owner::of(std::process::id());
        assert!(us.name.is_some() && us.group.is_some(), "{us:?}");
        assert!(!Trial::Container(ID.to_owned()).is_foreign(std::process::id(), &us));
        assert_eq!(Owner::of(u32::MAX), Owner::default());
    }

    #[test]
    fn foreign_is_who_certainly_is_not_of_the_trial() {
        let owner = |container: Option<&str>, group| Owner {
            name: Some("python3".to_owned()),
            container: container.map(str::to_owned),
            group: Some(group),
        };
        let container = Trial::of(ID);
        assert!(!container.is_foreign(5, &owner(Some(ID), 5)));
        assert!(container.is_foreign(5, &owner(Some("other"), 5)));
        assert!(container.is_foreign(5, &owner(None, 5)));
        assert!(!container.is_foreign(5, &Owner::default()), "what /proc does not show may be ours");
        let group = Trial::of("pid:40");
        assert!(!group.is_foreign(41, &owner(None, 40)));
        assert!(group.is_foreign(41, &owner(None, 41)));
        assert!(!Trial::of("pid:x").is_foreign(41, &owner(None, 41)));
    }

    proptest! {
        #[test]
        fn no_text_of_proc_makes_it_panic(text in "[0-9a-f:/() é\n-]{0,200}") {
            let _ = (container_of(&text), group_of(&text));
        }
    }
}
