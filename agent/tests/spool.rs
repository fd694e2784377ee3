//! Durable before success: what was acknowledged survives, what was erased does not.
mod cuts;
mod damage;
mod formats;
mod model;
mod power;
mod turns;

use power::Machine;
use std::time::SystemTime;
use sund_agent::instance::{Arrival, Origin, StoredInstance};
use sund_agent::spool::{Batch, Lack, ReadGrant, Spool, SpoolError, SpoolOptions, Table};

fn options() -> SpoolOptions {
    SpoolOptions {
        segment_bytes: 512 << 10,
        quota_bytes: 64 << 20,
        reserve_bytes: 1 << 20,
        spares: 0,
        ..SpoolOptions::default()
    }
}

fn on_disk(directory: &std::path::Path) -> SpoolOptions {
    SpoolOptions { directory: directory.to_owned(), ..options() }
}

fn arrival(study: &str, instance: &str) -> Arrival {
    Arrival {
        sop_class: "1.2.840.10008.5.1.4.1.1.4".into(),
        sop_instance: instance.into(),
        study: study.into(),
        series: format!("{study}.1"),
        transfer_syntax: "1.2.840.10008.1.2.1".into(),
        at: SystemTime::UNIX_EPOCH,
        origin: Origin::Produced,
    }
}

/// Bytes that no other instance has.
fn bytes_of(seed: usize, length: usize) -> Vec<u8> {
    let mut state = seed as u64 * 0x9E37_79B9 + 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

fn store(spool: &Spool, study: &str, instance: &str, bytes: &[u8]) -> Result<StoredInstance, SpoolError> {
    let mut incoming = spool.begin(study)?;
    incoming.write(bytes)?;
    incoming.commit_blocking(arrival(study, instance), Batch::new())
}

fn put(spool: &Spool, table: Table, key: &str, value: &str, study: Option<&str>) -> Result<(), SpoolError> {
    let mut batch = Batch::new();
    batch.put(table, key, &value, study)?;
    spool.write_blocking(batch)
}

#[test]
fn instances_and_tables_come_back_as_they_were_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let large = bytes_of(1, 9_000_000);
    let ids = {
        let spool = Spool::open(on_disk(directory.path())).unwrap();
        put(&spool, Table::Jobs, "1", "waiting", Some("1.2")).unwrap();
        [store(&spool, "1.2", "1.2.3", b"small").unwrap().id, store(&spool, "1.2", "1.2.4", &large).unwrap().id]
    };
    let spool = Spool::open(on_disk(directory.path())).unwrap();
    let instances = spool.instances_of("1.2");
    assert_eq!(instances.iter().map(|instance| instance.id).collect::<Vec<_>>(), ids);
    assert_eq!(spool.read(&instances[0]).unwrap(), &b"small"[..]);
    assert_eq!(spool.read(&instances[1]).unwrap(), large);
    assert_eq!(spool.get::<String>(Table::Jobs, "1").unwrap().unwrap(), "waiting");
    assert!(store(&spool, "1.2", "1.2.5", b"x").unwrap().id > ids[1], "numbers are never used again");
}

#[test]
fn many_associations_on_one_runtime_share_commits_and_all_are_stored() {
    let directory = tempfile::tempdir().unwrap();
    let options = SpoolOptions { segment_bytes: 4 << 20, spares: 1, ..on_disk(directory.path()) };
    let spool = Spool::open(options.clone()).unwrap();
    for runtime in [
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap(),
        tokio::runtime::Builder::new_current_thread().build().unwrap(),
    ] {
        runtime.block_on(async {
            let tasks: Vec<_> = (0..16)
                .map(|association| {
                    let spool = spool.clone();
                    tokio::spawn(async move {
                        for n in 0..20 {
                            let mut incoming = spool.begin("1.2").unwrap();
                            incoming.write(&bytes_of(association, 40_000)).unwrap();
                            incoming.commit(arrival("1.2", &format!("{association}.{n}"))).await.unwrap();
                        }
                    })
                })
                .collect();
            for task in tasks {
                task.await.unwrap();
            }
        });
    }
    drop(spool);
    let spool = Spool::open(options).unwrap();
    assert_eq!(spool.instances_of("1.2").len(), 2 * 16 * 20);
}

#[test]
fn a_waiter_that_gives_up_holds_up_nobody() {
    let directory = tempfile::tempdir().unwrap();
    let spool = Spool::open(on_disk(directory.path())).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    runtime.block_on(async {
        for round in 0..20 {
            let tasks: Vec<_> = (0..12)
                .map(|n| {
                    let spool = spool.clone();
                    tokio::spawn(async move { put_async(&spool, &format!("{round}.{n}")).await })
                })
                .collect();
            tasks.iter().step_by(2).for_each(tokio::task::JoinHandle::abort);
            for task in tasks.into_iter().skip(1).step_by(2) {
                task.await.unwrap().unwrap();
            }
        }
    });
}

async fn put_async(spool: &Spool, key: &str) -> Result<(), SpoolError> {
    let mut batch = Batch::new();
    batch.put(Table::Jobs, key, &"waiting", None)?;
    spool.write(batch).await
}

#[test]
fn a_second_agent_on_the_same_spool_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let first = Spool::open(on_disk(directory.path())).unwrap();
    assert!(matches!(Spool::open(on_disk(directory.path())), Err(SpoolError::Held { .. })));
    first.close();
    Spool::open(on_disk(directory.path())).unwrap();
}

#[test]
fn a_closed_spool_takes_no_more() {
    let machine = Machine::new();
    let spool = Spool::open_with(machine.mount(), options()).unwrap();
    let other = spool.clone();
    spool.close();
    assert_eq!(put(&other, Table::Jobs, "1", "x", None), Err(SpoolError::Stopped));
}

#[test]
fn an_instance_that_is_dropped_before_its_commit_leaves_nothing() {
    let machine = Machine::new();
    let spool = Spool::open_with(machine.mount(), options()).unwrap();
    let mut incoming = spool.begin("1.2").unwrap();
    incoming.write(&vec![7; 2 << 20]).unwrap();
    drop(incoming);
    assert!(spool.studies().is_empty());
    let before = spool.usage().bytes;
    // The next segments push its parts out.
    for n in 0..40 {
        store(&spool, "1.3", &format!("{n}"), &bytes_of(n, 300_000)).unwrap();
        spool.erase_study("1.3").unwrap();
    }
    assert!(spool.usage().bytes <= before, "{} bytes, {before} before", spool.usage().bytes);
}

#[test]
fn a_batch_is_one_step_and_a_bad_change_stops_all_of_it() {
    let machine = Machine::new();
    let spool = Spool::open_with(machine.mount(), options()).unwrap();
    let mut batch = Batch::new();
    batch.put(Table::Ledger, "a", &"first", None).unwrap();
    batch.put(Table::Ledger, "named", &"second", None).unwrap();
    spool.write_blocking(batch).unwrap();
    for change in [
        |batch: &mut Batch| batch.delete(Table::Ledger, "named"),
        |batch: &mut Batch| batch.put(Table::Jobs, &"k".repeat(2000), &"", None).unwrap(),
    ] {
        let mut batch = Batch::new();
        batch.put(Table::Meta, "beside", &1, None).unwrap();
        change(&mut batch);
        spool.write_blocking(batch).unwrap_err();
    }
    assert_eq!(spool.get::<u32>(Table::Meta, "beside").unwrap(), None);
    // A job that is resumed after a crash says again what it has said.
    let mut batch = Batch::new();
    batch.put(Table::Ledger, "named", &"changed", None).unwrap();
    spool.write_blocking(batch).unwrap();
    assert_eq!(spool.scan::<String>(Table::Ledger, "").unwrap(), ["first", "second"]);
}

#[test]
fn a_worker_reads_through_descriptors_and_json_alone_even_after_the_study_was_erased() {
    let directory = tempfile::tempdir().unwrap();
    let options = SpoolOptions { spares: 2, ..on_disk(directory.path()) };
    let spool = Spool::open(options).unwrap();
    let bytes = bytes_of(5, 900_000);
    let small = store(&spool, "1.2", "1", b"small").unwrap();
    let large = store(&spool, "1.2", "2", &bytes).unwrap();
    let (kept, files) = spool.grant(&[small.id, large.id]).unwrap();
    let json = serde_json::to_string(&kept).unwrap();
    spool.erase_study("1.2").unwrap();
    for n in 0..20 {
        store(&spool, "1.3", &n.to_string(), &bytes).unwrap();
    }
    let there: ReadGrant = serde_json::from_str(&json).unwrap();
    let descriptors: Vec<_> = files.iter().map(std::os::fd::AsFd::as_fd).collect();
    let [first, second] = there.instances() else { panic!("two instances") };
    assert_eq!((first.sop_instance.as_str(), second.sop_instance.as_str()), ("1", "2"));
    assert_eq!(there.read(first, &descriptors).unwrap(), b"small");
    assert_eq!(there.read(second, &descriptors).unwrap(), bytes);
    let key = json.split('"').find(|text| text.len() == 44).expect("256 bits in Base64");
    assert!(!format!("{there:?} {second:?}").contains(key));
    assert!(there.read(second, &descriptors[..descriptors.len() - 1]).is_err());
    assert!(matches!(spool.grant(&[small.id]), Err(SpoolError::Erased)));
}

#[test]
fn an_erased_study_cannot_be_read_from_the_spool_nor_from_a_copy_of_its_log() {
    let machine = Machine::new();
    let spool = Spool::open_with(machine.mount(), options()).unwrap();
    let erased = store(&spool, "1.2", "1.2.3", b"SECRET PIXELS").unwrap();
    let kept = store(&spool, "9.9", "9.9.1", b"another patient").unwrap();
    put(&spool, Table::Identity, "1.2/1", "Hansen^Inger", Some("1.2")).unwrap();
    put(&spool, Table::Studies, "1.2", "first", None).unwrap();
    put(&spool, Table::Studies, "1.2", "second, sealed", Some("1.2")).unwrap();
    let before = machine.files();
    let mut late = spool.begin("1.2").unwrap();
    late.write(b"on its way").unwrap();

    let record = spool.erase_study("1.2").unwrap();
    assert_eq!((record.instances, record.values, record.bytes), (1, 2, 13));
    assert!(record.key.is_some());
    assert_eq!(late.commit_blocking(arrival("1.2", "1.2.4"), Batch::new()), Err(SpoolError::Erased));

    // The slot of the key holds nothing of what it held: zeroes, on the disk.
    let keys = machine.files()["keys"].clone();
    let slots: Vec<&[u8]> = before["keys"].chunks(512).collect();
    let old = slots.iter().position(|slot| !keys.windows(512).any(|now| now == *slot)).expect("a slot changed");
    assert!(keys[old * 512..(old + 1) * 512].iter().all(|byte| *byte == 0));
    assert!(!slots[old][..64].chunks(16).any(|part| keys.windows(16).any(|now| now == part)));

    // A copy of the log from before, with the keys as they are now, opens; the study is not in it.
    let copy = machine.copy();
    for (name, content) in before.iter().filter(|(name, _)| name.starts_with("segment")) {
        copy.overwrite(name, content);
    }
    drop(spool);
    for machine in [machine, copy] {
        let spool = Spool::open_with(machine.mount(), options()).unwrap();
        assert!(spool.instances_of("1.2").is_empty());
        assert_eq!(spool.read(&erased), Err(SpoolError::Erased));
        assert_eq!(spool.get::<String>(Table::Identity, "1.2/1").unwrap(), None);
        assert_eq!(spool.get::<String>(Table::Studies, "1.2").unwrap(), None, "an older value does not come back");
        assert_eq!(spool.read(&kept).unwrap(), &b"another patient"[..]);
        for (name, content) in machine.files() {
            for secret in [&b"SECRET"[..], b"Hansen", b"1.2.3", b"another patient"] {
                assert!(!content.windows(secret.len()).any(|window| window == secret), "{name}");
            }
        }
    }
}

#[test]
fn a_full_spool_refuses_instances_takes_tables_and_serves_again_once_there_is_room() {
    let machine = Machine::new();
    let options = SpoolOptions { quota_bytes: 4 << 20, ..options() };
    let spool = Spool::open_with(machine.mount(), options.clone()).unwrap();
    let mut stored = 0;
    let refused = loop {
        match store(&spool, "1.2", &format!("1.2.{stored}"), &bytes_of(stored, 50_000)) {
            Ok(_) => stored += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(refused, SpoolError::Full);
    assert!(stored >= 40, "only {stored}");
    assert_eq!(spool.usage().lack, Some(Lack::Quota));
    for n in 0..200 {
        put(&spool, Table::Jobs, &n.to_string(), "waiting", None).unwrap();
    }
    assert!(spool.usage().bytes <= options.quota_bytes);
    assert!(matches!(spool.begin("1.4"), Err(SpoolError::Full)));
    assert!(spool.erase_study("1.2").unwrap().segments_removed > 0);
    store(&spool, "1.3", "1.3.1", b"there is room again").unwrap();
    assert_eq!(spool.scan::<String>(Table::Jobs, "").unwrap().len(), 200);
}

#[test]
fn a_full_disk_refuses_instances_takes_tables_and_serves_again_once_there_is_room() {
    let machine = Machine::new();
    let spool = Spool::open_with(machine.mount(), options()).unwrap();
    machine.set_capacity(3 << 20);
    let mut stored = 0;
    while store(&spool, "1.2", &stored.to_string(), &bytes_of(stored, 50_000)).is_ok() {
        stored += 1;
    }
    assert!(matches!(spool.begin("1.2"), Err(SpoolError::Full)));
    for n in 0..300 {
        put(&spool, Table::Jobs, &n.to_string(), "waiting", None).unwrap();
    }
    machine.set_capacity(8 << 20);
    store(&spool, "1.2", "again", b"there is room again").unwrap();
    drop(spool);
    let spool = Spool::open_with(machine.mount(), options()).unwrap();
    assert_eq!(spool.instances_of("1.2").len(), stored + 1);
    assert_eq!(spool.scan::<String>(Table::Jobs, "").unwrap().len(), 300);
}

#[test]
fn the_ledger_and_live_values_survive_while_everything_around_them_is_reclaimed() {
    let machine = Machine::new();
    let options = SpoolOptions { quota_bytes: 6 << 20, ..options() };
    let mut spool = Spool::open_with(machine.mount(), options.clone()).unwrap();
    put(&spool, Table::Meta, "kept", "from the beginning", None).unwrap();
    put(&spool, Table::Meta, "gone", "from the beginning", None).unwrap();
    for n in 0..60 {
        let mut batch = Batch::new();
        batch.put(Table::Ledger, &format!("{n:02}"), &n, None).unwrap();
        spool.write_blocking(batch).unwrap();
        store(&spool, "1.2", &n.to_string(), &bytes_of(n, 400_000)).unwrap();
        if n == 3 {
            let mut batch = Batch::new();
            batch.delete(Table::Meta, "gone");
            spool.write_blocking(batch).unwrap();
        }
        spool.erase_study("1.2").unwrap();
        if n % 7 == 0 {
            drop(spool);
            spool = Spool::open_with(machine.mount(), options.clone()).unwrap();
        }
        assert!(spool.usage().bytes < 3 << 20, "disk use is bounded");
    }
    assert_eq!(spool.scan::<usize>(Table::Ledger, "").unwrap(), (0..60).collect::<Vec<_>>());
    assert_eq!(spool.get::<String>(Table::Meta, "kept").unwrap().unwrap(), "from the beginning");
    assert_eq!(spool.get::<String>(Table::Meta, "gone").unwrap(), None);
}

#[test]
fn a_file_of_an_unknown_format_is_refused_and_every_file_left_as_it_is() {
    for (name, at, known) in [("segment-000000000001.log", 8, 2), ("keys", 8, 1), ("master.key", 8, 1), ("keys", 0, 1)]
    {
        let machine = Machine::new();
        drop(Spool::open_with(machine.mount(), options()).unwrap());
        let mut content = machine.files()[name].clone();
        content[at] = 9;
        machine.overwrite(name, &content);
        let before = machine.files();
        let error = Spool::open_with(machine.mount(), options()).unwrap_err();
        let found = if at == 0 { 0 } else { 9 };
        assert_eq!(error, SpoolError::UnknownFormat { file: name.into(), found, known, by: None });
        assert_eq!(machine.files(), before, "{name}");
    }
}

#[test]
fn a_spool_without_its_master_key_or_with_another_is_refused_and_left_as_it_is() {
    let machine = Machine::new();
    drop(Spool::open_with(machine.mount(), options()).unwrap());
    let other = Machine::new();
    drop(Spool::open_with(other.mount(), options()).unwrap());
    machine.overwrite("master.key", &other.files()["master.key"]);
    let before = machine.files();
    assert!(matches!(Spool::open_with(machine.mount(), options()), Err(SpoolError::WrongMasterKey(_))));
    assert_eq!(machine.files(), before);
    sund_agent::spool::SpoolIo::remove(&*machine.mount(), "master.key").unwrap();
    assert!(matches!(Spool::open_with(machine.mount(), options()), Err(SpoolError::NoMasterKey(_))));
}

#[test]
fn an_instance_of_200_mb_passes_through_bounded_memory() {
    // In a process of its own, where nothing else takes memory.
    const ALONE: &str = "SUND_TEST_ALONE";
    if std::env::var_os(ALONE).is_none() {
        let name = "spool::an_instance_of_200_mb_passes_through_bounded_memory";
        let output = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", name])
            .env(ALONE, "1")
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let options = SpoolOptions {
        segment_bytes: 64 << 20,
        quota_bytes: 1 << 30,
        reserve_bytes: 64 << 20,
        ..on_disk(directory.path())
    };
    let spool = Spool::open(options).unwrap();
    let piece = bytes_of(1, 1 << 20);
    let mut incoming = spool.begin("1.2").unwrap();
    incoming.write(&piece).unwrap();
    let before = peak_memory();
    for _ in 1..200 {
        incoming.write(&piece).unwrap();
    }
    let held = peak_memory() - before;
    let stored = incoming.commit_blocking(arrival("1.2", "1"), Batch::new()).unwrap();
    assert_eq!(stored.length, 200 << 20);
    assert!(held < 20 << 10, "{held} KiB");
    let bytes = spool.read(&stored).unwrap();
    assert!(bytes.chunks(1 << 20).all(|part| part == piece));
}

/// Most KiB that were resident at once.
fn peak_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Whoever waits for a start tells one that takes long from one that hangs.
#[test]
fn opening_gets_on_with_each_frame_that_it_reads_and_says_so() {
    const STORED: usize = 60;
    let machine = Machine::new();
    let spool = Spool::open_with(machine.mount(), options()).unwrap();
    for n in 0..STORED {
        store(&spool, "1.2", &format!("1.2.{n}"), &bytes_of(n, 40_000)).unwrap();
    }
    drop(spool);
    let mut told = 0;
    let spool = Spool::open_with_telling(machine.mount(), options(), &mut || told += 1).unwrap();
    assert_eq!(spool.usage().instances, STORED as u64);
    assert!(spool.usage().bytes > 3 * options().segment_bytes, "more than one segment is read");
    assert!(told >= STORED, "{told}");
}
