//! Durable before success: what was acknowledged survives, what was erased does not.
use std::time::SystemTime;
use sund_agent::instance::{Arrival, Origin};
use sund_agent::spool::{Batch, Spool, SpoolError, SpoolOptions, Table};

mod power_cut;

fn options(directory: &std::path::Path) -> SpoolOptions {
    SpoolOptions { segment_bytes: 64 * 1024, reserve_bytes: 0, ..SpoolOptions::in_directory(directory) }
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

fn store(spool: &Spool, study: &str, instance: &str, bytes: &[u8]) -> Result<u64, SpoolError> {
    let mut incoming = spool.begin(study)?;
    incoming.write(bytes)?;
    Ok(incoming.commit_blocking(arrival(study, instance), Batch::new())?.id)
}

#[test]
fn instances_and_tables_come_back_as_they_were_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let large: Vec<u8> = (0..9_000_000u32).map(|n| (n % 251) as u8).collect();
    let ids = {
        let spool = Spool::open(options(dir.path())).unwrap();
        let mut batch = Batch::new();
        batch.put(Table::Jobs, "1", &"waiting", Some("1.2")).unwrap();
        spool.write_blocking(batch).unwrap();
        [store(&spool, "1.2", "1.2.3", b"small").unwrap(), store(&spool, "1.2", "1.2.4", &large).unwrap()]
    };
    let spool = Spool::open(options(dir.path())).unwrap();
    let instances = spool.instances_of("1.2");
    assert_eq!(instances.iter().map(|i| i.id).collect::<Vec<_>>(), ids);
    assert_eq!(spool.read(&instances[0]).unwrap(), &b"small"[..]);
    assert_eq!(spool.read(&instances[1]).unwrap(), large);
    assert_eq!(spool.get::<String>(Table::Jobs, "1").unwrap().unwrap(), "waiting");
    assert!(store(&spool, "1.2", "1.2.5", b"x").unwrap() > ids[1], "numbers are never used again");
}

#[test]
fn a_second_agent_on_the_same_spool_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let _first = Spool::open(options(dir.path())).unwrap();
    assert!(matches!(Spool::open(options(dir.path())), Err(SpoolError::Held { .. })));
}

#[test]
fn an_instance_that_is_dropped_before_its_commit_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let spool = Spool::open(options(dir.path())).unwrap();
    let mut incoming = spool.begin("1.2").unwrap();
    incoming.write(&vec![7; 6 << 20]).unwrap();
    drop(incoming);
    assert!(spool.instances_of("1.2").is_empty());
}

#[test]
fn an_erased_study_cannot_be_read_from_the_spool_nor_from_a_copy_of_its_log() {
    let dir = tempfile::tempdir().unwrap();
    let copy = tempfile::tempdir().unwrap();
    {
        let spool = Spool::open(options(dir.path())).unwrap();
        store(&spool, "1.2", "1.2.3", b"SECRET PIXELS").unwrap();
        let kept = store(&spool, "9.9", "9.9.1", b"another patient").unwrap();
        let mut batch = Batch::new();
        batch.put(Table::Identity, "1.2/1", &"Hansen^Inger", Some("1.2")).unwrap();
        spool.write_blocking(batch).unwrap();
        for entry in std::fs::read_dir(dir.path()).unwrap().flatten() {
            if entry.file_name().to_string_lossy().starts_with("segment") {
                std::fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
            }
        }
        let erased = spool.instances_of("1.2").remove(0);
        assert_eq!(spool.erase_study("1.2").unwrap().instances, 1);
        assert_eq!(spool.read(&erased), Err(SpoolError::Erased));
        assert_eq!(spool.get::<String>(Table::Identity, "1.2/1").unwrap(), None);
        assert_eq!(spool.read(&spool.instance(kept).unwrap()).unwrap(), &b"another patient"[..]);
    }
    for name in ["keys", "master.key"] {
        std::fs::copy(dir.path().join(name), copy.path().join(name)).unwrap();
    }
    for place in [dir.path(), copy.path()] {
        let spool = Spool::open(options(place)).unwrap();
        assert!(spool.instances_of("1.2").is_empty());
        assert_eq!(spool.get::<String>(Table::Identity, "1.2/1").unwrap(), None);
        assert_eq!(spool.instances_of("9.9").len(), 1);
    }
    for entry in std::fs::read_dir(copy.path()).unwrap().flatten() {
        let bytes = std::fs::read(entry.path()).unwrap();
        assert!(!bytes.windows(6).any(|w| w == b"SECRET" || w == b"Hansen"), "{:?}", entry.file_name());
    }
}

#[test]
fn a_full_spool_refuses_instances_takes_tables_and_serves_again_once_there_is_room() {
    let dir = tempfile::tempdir().unwrap();
    let full = SpoolOptions { quota_bytes: 600 * 1024, reserve_bytes: 200 * 1024, ..options(dir.path()) };
    let spool = Spool::open(full).unwrap();
    let mut stored = 0;
    let refused = loop {
        match store(&spool, "1.2", &format!("1.2.{stored}"), &[1; 50_000]) {
            Ok(_) => stored += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(refused, SpoolError::Full);
    assert!(stored >= 3);
    let mut batch = Batch::new();
    batch.put(Table::Jobs, "1", &"waiting", None).unwrap();
    spool.write_blocking(batch).unwrap();
    assert!(spool.erase_study("1.2").unwrap().segments_removed > 0);
    store(&spool, "1.3", "1.3.1", b"there is room again").unwrap();
}

#[test]
fn a_log_of_an_unknown_format_is_refused_and_left_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    drop(Spool::open(options(dir.path())).unwrap());
    let path = dir.path().join("segment-00000001");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[..8].copy_from_slice(b"SUNDSEG9");
    std::fs::write(&path, &bytes).unwrap();
    assert!(matches!(Spool::open(options(dir.path())), Err(SpoolError::UnknownFormat { .. })));
    assert_eq!(std::fs::read(&path).unwrap(), bytes);
}
