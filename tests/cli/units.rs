//! The units for systemd in the book: what systemd itself says of them.

use std::process::Command;

use crate::common::{exe, root};

#[test]
fn systemd_finds_nothing_wrong_with_the_units_of_the_book() {
    let there = Command::new("systemd-analyze").arg("--version").output().is_ok_and(|version| version.status.success());
    if !there {
        println!("skipped: there is no systemd-analyze");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut units = Vec::new();
    for name in ["vgrid@", "vgrid-restore@"] {
        let text = std::fs::read_to_string(root().join(format!("docs/systemd/{name}.service"))).unwrap();
        assert!(text.contains("ExecStart=/usr/local/bin/vgrid "), "{name}");
        // The program must be there for systemd to be content.
        std::fs::write(folder.path().join(format!("{name}.service")), text.replace("/usr/local/bin/vgrid", exe()))
            .unwrap();
        units.push(folder.path().join(format!("{name}srv-sweeps-qwen.service")));
    }
    let output = Command::new("systemd-analyze").arg("verify").arg("--man=no").args(&units).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    let ours: Vec<&str> = said.lines().filter(|line| line.contains("vgrid")).collect();
    assert!(output.status.success() && ours.is_empty(), "{said}");
}
