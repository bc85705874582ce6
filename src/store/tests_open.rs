//! Opening, sharing and surviving: what happens to `runs.db` when the world around it is not as it should be.

use std::process::{Command, Stdio};

use rusqlite::Connection;

use super::models::TelemetrySample;
use super::tests::bench;
use super::*;
use crate::domain::Start;

fn message(result: Result<Store, StoreError>) -> String {
    result.map(|s| s.path.clone()).unwrap_err().to_string()
}

#[test]
fn a_reader_of_a_missing_file_is_told_the_way_out_and_makes_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("runs.db");
    let text = message(Store::open_read_only(&path));
    assert!(text.contains("no database at") && text.contains("vgrid run GRID") && text.contains("--db"), "{text}");
    assert!(!path.exists());
    std::fs::write(&path, "").unwrap();
    assert!(message(Store::open_read_only(&path)).contains("no database at"), "an empty file is none yet");
}

#[test]
fn a_file_of_another_kind_a_foreign_database_and_a_folder_are_refused_untouched() {
    let folder = tempfile::tempdir().unwrap();
    let text_file = folder.path().join("notes.db");
    std::fs::write(&text_file, "these are my notes, not a database, and long enough to have a header".repeat(20))
        .unwrap();
    let before = std::fs::read(&text_file).unwrap();
    for result in [Store::open(&text_file), Store::open_read_only(&text_file)] {
        let text = message(result);
        assert!(text.contains("is not a SQLite database"), "{text}");
    }
    assert_eq!(std::fs::read(&text_file).unwrap(), before);

    let foreign = folder.path().join("other.db");
    Connection::open(&foreign).unwrap().execute_batch("CREATE TABLE photo (id INTEGER)").unwrap();
    let before = std::fs::read(&foreign).unwrap();
    for result in [Store::open(&foreign), Store::open_read_only(&foreign)] {
        let text = message(result);
        assert!(text.contains("not one of vgrid"), "{text}");
    }
    assert_eq!(std::fs::read(&foreign).unwrap(), before);

    assert!(message(Store::open(folder.path())).contains("it is a folder"));
    assert!(message(Store::open(&folder.path().join("no/such/runs.db"))).contains("its folder does not exist"));
}

#[test]
fn a_newer_schema_is_refused_by_writer_and_reader_and_an_older_one_by_the_reader() {
    let b = bench(1);
    b.store.conn.pragma_update(None, "user_version", 999).unwrap();
    for result in [Store::open(&b.path), Store::open_read_only(&b.path)] {
        let text = message(result);
        assert!(text.contains("schema version 999") && text.contains("newer vgrid"), "{text}");
    }
    b.store.conn.pragma_update(None, "user_version", 0).unwrap();
    let text = message(Store::open_read_only(&b.path));
    assert!(text.contains("older schema version 0"), "{text}");
}

#[test]
fn a_damaged_file_is_told_as_damaged() {
    let b = bench(400);
    let path = b.path.clone();
    let store = &b.store;
    store.conn.pragma_update_and_check(None, "wal_checkpoint", "TRUNCATE", |_| Ok(())).unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    // The header and the schema's first page stay; everything behind is noise.
    let behind = bytes.len().min(4096 * 3);
    bytes[behind..].fill(0xA5);
    std::fs::write(&path, bytes).unwrap();
    let text = Store::open_read_only(&path)
        .and_then(|s| s.trials(crate::domain::SweepId(1)).map(|_| ()))
        .unwrap_err()
        .to_string();
    assert!(text.contains("is damaged") && text.contains(".recover"), "{text}");
}

#[test]
fn a_full_disk_is_told_and_what_was_stored_before_is_kept() {
    let mut b = bench(1);
    let (attempt, _) = b.store.begin_attempt(b.run, b.trials[0], Start::FIRST).unwrap();
    let pages: i64 = b.store.conn.pragma_query_value(None, "page_count", |r| r.get(0)).unwrap();
    b.store.conn.pragma_update_and_check(None, "max_page_count", pages + 1, |_| Ok(())).unwrap();
    let samples: Vec<TelemetrySample> = (0..20_000)
        .map(|i| TelemetrySample {
            series: "gpu_memory_used_bytes".into(),
            source: "gpu0".into(),
            offset_ms: f64::from(i),
            tag: None,
            value: 1.0,
        })
        .collect();
    let text = b.store.save_telemetry(attempt, &samples).unwrap_err().to_string();
    assert!(text.contains("the disk that holds") && text.contains("is full"), "{text}");
    assert_eq!(b.store.trials(b.sweep).unwrap()[0].state, TrialState::Running);
    b.store.conn.pragma_update_and_check(None, "max_page_count", 1_000_000, |_| Ok(())).unwrap();
    b.store.save_telemetry(attempt, &samples).unwrap();
}

#[test]
fn a_disk_without_room_for_the_log_s_index_is_a_full_disk_and_other_failures_of_it_are_not() {
    let told = |code| {
        let error = rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(code), None);
        StoreError::of_sqlite(Path::new("runs.db"), "open the database", error).to_string()
    };
    assert!(told(rusqlite::ffi::SQLITE_IOERR_SHMSIZE).contains("is full (could not open the database)"));
    assert!(told(rusqlite::ffi::SQLITE_IOERR_FSYNC).contains("failed (could not open the database"));
}

#[test]
fn a_reader_cannot_write_and_says_so() {
    let b = bench(1);
    let mut reader = Store::open_read_only(&b.path).unwrap();
    let text = reader.begin_attempt(b.run, b.trials[0], Start::FIRST).unwrap_err().to_string();
    assert!(text.contains("cannot be written") && text.contains("begin an attempt"), "{text}");
}

#[test]
fn a_reader_sees_the_last_commit_while_the_writer_is_in_the_middle_of_a_write() {
    let mut b = bench(2);
    let trial = b.trials[0];
    let writer = b.store.conn.transaction_with_behavior(rusqlite::TransactionBehavior::Exclusive).unwrap();
    writer.execute("UPDATE trial SET name = 'half' WHERE id = ?1", [trial.0]).unwrap();
    let start = std::time::Instant::now();
    let reader = Store::open_read_only(&b.path).unwrap();
    assert_eq!(reader.trial(trial).unwrap().name, "c0");
    // A reader that has begun does not stop the writer.
    let reading = reader.conn.unchecked_transaction().unwrap();
    assert_eq!(reader.sweep(None).unwrap().id, b.sweep);
    writer.commit().unwrap();
    drop(reading);
    assert_eq!(reader.trial(trial).unwrap().name, "half");
    assert!(start.elapsed() < super::open::BUSY_TIMEOUT, "nobody waited for the other");
}

#[test]
fn a_lock_that_another_program_keeps_is_told_with_what_was_tried() {
    let mut b = bench(1);
    let other = Connection::open(&b.path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    b.store.conn.busy_timeout(std::time::Duration::from_millis(20)).unwrap();
    let text = b.store.begin_attempt(b.run, b.trials[0], Start::FIRST).unwrap_err().to_string();
    assert!(text.contains("is locked by another program") && text.contains("begin an attempt"), "{text}");
    other.execute_batch("ROLLBACK").unwrap();
    assert!(b.store.begin_attempt(b.run, b.trials[0], Start::FIRST).is_ok());
}

#[test]
fn a_file_that_cannot_be_locked_for_reading_is_read_as_it_is_when_it_has_no_log() {
    let b = bench(3);
    let (path, sweep) = (b.path.clone(), b.sweep);
    let _folder = b.close();
    assert!(!super::open::has_log(&path), "a closed writer leaves no log");
    let reader = Store::reader(&path, true).unwrap();
    assert_eq!(reader.trials(sweep).unwrap().len(), 3);
}

#[test]
fn the_writer_syncs_every_commit_and_two_processes_that_open_a_new_file_at_once_agree() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("runs.db");
    let stores: Vec<Store> = std::thread::scope(|scope| {
        let handles: Vec<_> = (0..6).map(|_| scope.spawn(|| Store::open(&path).unwrap())).collect();
        handles.into_iter().map(|h| h.join().unwrap()).collect()
    });
    for store in &stores {
        let pragma = |name| store.conn.pragma_query_value(None, name, |r| r.get::<_, i64>(0)).unwrap();
        let version = super::migrate::newest_version();
        assert_eq!((pragma("synchronous"), pragma("foreign_keys"), pragma("user_version")), (2, 1, version));
        let mode: String = store.conn.pragma_query_value(None, "journal_mode", |r| r.get(0)).unwrap();
        assert_eq!(mode, "wal");
    }
}

#[test]
fn a_file_of_the_first_version_is_brought_up_to_date_and_its_attempts_are_first_starts() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("runs.db");
    let old = Connection::open(&path).unwrap();
    old.execute_batch(include_str!("../../migrations/0001_first_night.sql")).unwrap();
    old.execute_batch(
        "INSERT INTO sweep VALUES (1, 'u', 'g', 'g.yaml', 'name: g', 'abc', 'd', NULL, '{}', '{}', '{}', '{}', '0', '0');
         INSERT INTO sweep_run (id, sweep_id, started_at, pid, boot_id, vgrid_version) VALUES (1, 1, '0', 1, 'b', '0');
         INSERT INTO trial VALUES (1, 1, 1, 'c0', 'k', 1, NULL, '{}', '[]', '[]', NULL);
         INSERT INTO attempt (id, trial_id, run_id, number, started_at, phase) VALUES (1, 1, 1, 1, '0', 'serving');
         PRAGMA application_id = 0x76677264; PRAGMA user_version = 1;",
    )
    .unwrap();
    drop(old);
    let store = Store::open(&path).unwrap();
    let history = store.history(crate::domain::SweepId(1)).unwrap();
    assert_eq!(history[0].attempts[0].start, Start::FIRST);
    assert_eq!(store.finalists(crate::domain::SweepId(1)).unwrap(), None);
}

/// Not a test of its own: the victim of the test below, which starts this binary again with the variable set.
#[test]
fn victim_of_the_kill_test() {
    let Some(path) = std::env::var_os("VGRID_TEST_VICTIM_DB") else { return };
    let mut store = Store::open(Path::new(&path)).unwrap();
    let sweep = store.sweep(None).unwrap().id;
    let run = store.start_run(sweep).unwrap();
    let trial = store.trials(sweep).unwrap()[0].trial_id;
    let (attempt, _) = store.begin_attempt(run, trial, Start::FIRST).unwrap();
    store.set_attempt_ready(attempt, 1.0).unwrap();
    println!("stored");
    // Waits to be killed: standard input never ends before that.
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).unwrap();
}

#[test]
fn after_kill_9_everything_that_a_call_had_stored_is_there_for_readers_and_the_next_writer() {
    use std::io::{BufRead, BufReader};
    let b = bench(1);
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["store::tests_open::victim_of_the_kill_test", "--exact", "--nocapture"])
        .env("VGRID_TEST_VICTIM_DB", &b.path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.map_while(Result::ok).any(|line| line.contains("stored")));
    child.kill().unwrap();
    child.wait().unwrap();
    let reader = Store::open_read_only(&b.path).unwrap();
    let row = reader.trial(b.trials[0]).unwrap();
    assert_eq!((row.state, row.ready_s), (TrialState::Running, Some(1.0)));
    let lock = SweepLock::acquire(&b.path, "local/vllm").unwrap();
    let mut writer = Store::open(&b.path).unwrap();
    assert_eq!(writer.close_open_attempts(&lock).unwrap(), 1);
    assert_eq!(reader.trial(b.trials[0]).unwrap().state, TrialState::Interrupted);
}

#[test]
fn in_a_folder_that_cannot_be_written_a_reader_reads_and_a_writer_says_why_it_cannot() {
    use std::os::unix::fs::PermissionsExt;
    let b = bench(3);
    let (path, sweep) = (b.path.clone(), b.sweep);
    let folder = b.close();
    let set = |mode| std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(mode)).unwrap();
    set(0o555);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o444)).unwrap();
    // Root may write everywhere; then there is no such folder to test with.
    let is_protected = std::fs::File::create(folder.path().join("probe")).is_err();
    let read = Store::open_read_only(&path).and_then(|s| s.trials(sweep));
    let write = Store::open(&path).map(|s| s.path);
    let create = Store::open(&folder.path().join("new.db")).map(|s| s.path);
    let lock = SweepLock::acquire(&path, "d").map(|_| ());
    set(0o755);
    if is_protected {
        assert_eq!(read.unwrap().len(), 3);
        let text = write.unwrap_err().to_string();
        assert!(text.contains("cannot be written") && text.contains("permissions"), "{text}");
        let text = create.unwrap_err().to_string();
        assert!(text.contains("cannot open") && text.contains("permissions"), "{text}");
        let text = lock.unwrap_err().to_string();
        assert!(text.contains("cannot lock") && text.contains("must be writable"), "{text}");
    }
}
