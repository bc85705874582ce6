//! A sweep under systemd on a machine whose power is cut: what docs/systemd.md promises, set up by its own words.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "helpers of tests: a failure is what they are for"
)]

mod common_docker;

#[path = "systemd/machine.rs"]
mod machine;

use std::time::{Duration, Instant};

use machine::Machine;

/// Configs of a smoke test and a load of a few seconds each.
const GRID: &str = "configs:\n  - { name: c0, flags: { max-num-seqs: 8 } }\n  - { name: c1, flags: { max-num-seqs: 9 } }\n  \
    - { name: c2, flags: { max-num-seqs: 10 } }\n\
    suite:\n  smoke: { long_prompt_tokens: 64, output_tokens: 4 }\n  \
    load: { concurrency: [1], requests_per_user: 12, prompt_tokens: 32, output_tokens: 64 }\n\
    objectives: { speed: maximize load.output_tokens_per_s }\nrepeats: off\nlimits: { startup: 8s, trial: 3m }\n";

/// Every result of every config is stored, once.
fn assert_all_is_measured_once(machine: &Machine) {
    let states = machine.scene.states();
    assert_eq!(states.len(), 3, "{states:?}");
    assert!(states.values().all(|state| state == "measured"), "{states:?}");
    let results = machine.scene.rows("SELECT count(*), count(DISTINCT trial_id || result_key) FROM scenario_result");
    assert_eq!(results, [["6", "6"]], "each scenario is stored once");
    let again = machine.scene.rows(
        "SELECT count(*) FROM attempt a WHERE EXISTS
           (SELECT 1 FROM attempt m WHERE m.trial_id = a.trial_id AND m.outcome = 'measured' AND m.number < a.number)",
    );
    assert_eq!(again, [["0"]], "a measured config was started again");
    assert_eq!(machine.scene.rows("SELECT count(*) FROM attempt WHERE outcome IS NULL"), [["0"]]);
    assert_eq!(machine.scene.rows("SELECT count(*) FROM restoration WHERE state <> 'restored'"), [["0"]]);
}

#[test]
#[ignore = "minutes, on a machine of its own: bash benches/faults.sh systemd"]
fn a_sweep_whose_machine_loses_power_again_and_again_goes_on_after_each_boot_and_ends_with_production_up() {
    let Some(mut machine) = Machine::boot("power", GRID) else { return };
    machine.install();
    machine.enable();
    // Not while a container is being started: after that Docker itself may keep the port, until it is restarted (docs/troubleshooting.md).
    for line in ["c0: load 1/", "c1: serves after", "c2: smoke done", "c2: stopping"] {
        machine.await_line(&[line]);
        machine.cut_power();
        println!("the power was cut after: {line}");
        machine.await_line(&["sweep 1 of", "continues"]);
    }
    assert_eq!(machine.await_end(), ("inactive".to_owned(), "success".to_owned()));
    assert!(machine.said(&["serves again, verified by a real completion"]));
    machine.assert_restored();
    assert_all_is_measured_once(&machine);

    // Once more: the sweep is finished, and production comes up as Docker brings it.
    machine.cut_power();
    machine.await_line(&["nothing is left to measure"]);
    assert_eq!(machine.await_end(), ("inactive".to_owned(), "success".to_owned()));
    assert!(!machine.said(&["taking aside"]) && !machine.said(&["putting back"]), "production was touched");
    machine.assert_restored();
    assert_all_is_measured_once(&machine);
    machine.assert_no_secret_in_the_journal();
}

#[test]
#[ignore = "minutes, on a machine of its own: bash benches/faults.sh systemd"]
fn a_unit_that_is_stopped_killed_or_shut_down_has_production_back_and_goes_on() {
    let Some(mut machine) = Machine::boot("stop", GRID) else { return };
    machine.install();
    machine.enable();
    machine.await_line(&["c0: load 1/"]);
    machine.sh("systemctl stop \"$unit\"");
    assert_eq!(machine.await_end(), ("inactive".to_owned(), "success".to_owned()));
    assert!(machine.said(&["serves again, verified by a real completion"]));
    machine.assert_restored();

    // The kernel's OOM killer, or a person.
    machine.begin_to_listen();
    machine.sh("systemctl start \"$unit\"");
    machine.await_line(&["c0: load 1/"]);
    machine.begin_to_listen();
    machine.sh("systemctl kill --signal=KILL \"$unit\"");
    let killed = Instant::now();
    machine.await_line(&["Scheduled restart job"]);
    let waited = killed.elapsed();
    assert!(waited >= Duration::from_secs(55), "it does not wait for a minute: {waited:?}");
    machine.await_line(&["c1: load 1/"]);

    // A shutdown in good order: production serves again before Docker goes.
    machine.begin_to_listen();
    machine.shut_down();
    machine.start();
    let journal = machine.lines();
    let line = |text: &str| journal.iter().position(|line| line.contains(text)).unwrap_or(usize::MAX);
    assert!(line("serves again, verified by a real completion") < line("continues"), "{}", journal.join("\n"));
    machine.await_line(&["sweep 1 of", "continues"]);
    assert_eq!(machine.await_end(), ("inactive".to_owned(), "success".to_owned()));
    machine.assert_restored();
    assert_all_is_measured_once(&machine);
}

#[test]
#[ignore = "minutes, on a machine of its own: bash benches/faults.sh systemd"]
fn a_unit_that_cannot_go_on_or_is_too_late_puts_production_back() {
    let Some(mut machine) = Machine::boot("wrong", GRID) else { return };
    machine.install();
    machine.enable();
    machine.await_line(&["c0: load 1/"]);
    let compose = std::fs::read_to_string(machine.scene.path("compose.yml")).unwrap();
    machine.scene.write("compose.yml", &compose.replace("    image:", "    imagge:"));
    machine.cut_power();
    assert_eq!(machine.await_end(), ("failed".to_owned(), "exit-code".to_owned()));
    assert!(machine.said(&["imagge"]), "it does not say what is wrong");
    assert!(!machine.said(&["Scheduled restart job"]), "another try does not mend a file");
    machine.await_restore_unit();
    machine.assert_restored();

    // Mended, it goes on, and its deadline passes while the machine is without power.
    machine.scene.write("compose.yml", &compose);
    machine.begin_to_listen();
    machine.sh("vgrid run grid.yaml --limit 0 --for 60s || [ $? = 3 ]");
    let deadline = Instant::now() + Duration::from_secs(60);
    machine.sh("systemctl start \"$unit\"");
    machine.await_line(&["c1: load 1/"]);
    machine.without_power_until(deadline);
    machine.await_line(&["serves again, verified by a real completion"]);
    assert_eq!(machine.await_end(), ("inactive".to_owned(), "success".to_owned()));
    assert!(!machine.said(&[": starting"]), "a trial was started after the deadline");
    machine.assert_restored();

    machine.begin_to_listen();
    machine.sh("vgrid resume --for 10m 2>&1 | systemd-cat --identifier by-hand");
    machine.assert_restored();
    assert_all_is_measured_once(&machine);
}
