//! The power is cut at every operation of a workload with concurrent writers: what was acknowledged is there, what was
//! not is there wholly or not at all, and a second look changes nothing.
use super::power::Machine;
use super::{arrival, bytes_of, options};
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::task::{Context, Poll, Waker};
use sund_agent::instance::StoredInstance;
use sund_agent::spool::{Batch, Spool, SpoolError, Table};

/// One step of a writer. Each writer has studies and keys of its own, so that its steps have one order.
#[derive(Clone, Debug)]
pub enum Step {
    Store {
        study: usize,
        length: usize,
    },
    /// The instance and the value, together.
    StoreWith {
        study: usize,
        length: usize,
        key: usize,
    },
    /// Two values together; with a study they go with it.
    Put {
        key: usize,
        study: Option<usize>,
    },
    Delete {
        key: usize,
    },
    Append,
    Erase {
        study: usize,
    },
}

/// What a writer's part of the spool looks like.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    pub instances: BTreeMap<String, Vec<(String, Vec<u8>)>>,
    pub values: BTreeMap<String, String>,
    pub ledger: BTreeSet<String>,
}

/// The same, as it should be.
#[derive(Clone, Debug, Default)]
pub struct Model {
    pub view: View,
    tags: BTreeMap<String, String>,
}

pub fn study(writer: usize, number: usize) -> String {
    format!("1.{}.{}", writer + 1, number + 1)
}

fn key(writer: usize, number: usize) -> String {
    format!("{writer}/{number}")
}

impl Model {
    /// The effect of step `n`.
    pub fn apply(&mut self, writer: usize, n: usize, step: &Step) {
        match step {
            Step::Store { study: number, length } => self.store(writer, n, *number, *length),
            Step::StoreWith { study: number, length, key: k } => {
                self.store(writer, n, *number, *length);
                self.put(key(writer, *k), format!("{n}"), Some(study(writer, *number)));
            }
            Step::Put { key: k, study: number } => {
                let tag = number.map(|number| study(writer, number));
                self.put(key(writer, *k), format!("{n}"), tag.clone());
                self.put(key(writer, k + 100), format!("{n}"), tag);
            }
            Step::Delete { key: k } => {
                self.view.values.remove(&key(writer, *k));
                self.tags.remove(&key(writer, *k));
            }
            Step::Append => {
                self.view.ledger.insert(format!("{writer}-{n}"));
            }
            Step::Erase { study: number } => {
                let gone = study(writer, *number);
                self.view.instances.remove(&gone);
                let tags = &self.tags;
                self.view.values.retain(|key, _| tags.get(key) != Some(&gone));
                self.tags.retain(|_, tag| *tag != gone);
            }
        }
    }

    fn store(&mut self, writer: usize, n: usize, number: usize, length: usize) {
        let instances = self.view.instances.entry(study(writer, number)).or_default();
        instances.push((format!("{n}"), bytes_of(writer * 1000 + n, length)));
    }

    fn put(&mut self, key: String, value: String, tag: Option<String>) {
        self.view.values.insert(key.clone(), value);
        match tag {
            Some(tag) => self.tags.insert(key, tag),
            None => self.tags.remove(&key),
        };
    }
}

/// Does step `n` on the spool.
pub fn perform(spool: &Spool, writer: usize, n: usize, step: &Step) -> Result<Option<StoredInstance>, SpoolError> {
    let store = |number: usize, length: usize, batch: Batch| {
        let mut incoming = spool.begin(&study(writer, number))?;
        for part in bytes_of(writer * 1000 + n, length).chunks(50_000) {
            incoming.write(part)?;
        }
        incoming.commit_blocking(arrival(&study(writer, number), &format!("{n}")), batch).map(Some)
    };
    let mut batch = Batch::new();
    match step {
        Step::Store { study, length } => return store(*study, *length, batch),
        Step::StoreWith { study: number, length, key: k } => {
            batch.put(Table::Jobs, &key(writer, *k), &format!("{n}"), Some(&study(writer, *number)))?;
            return store(*number, *length, batch);
        }
        Step::Put { key: k, study: number } => {
            let tag = number.map(|number| study(writer, number));
            batch.put(Table::Jobs, &key(writer, *k), &format!("{n}"), tag.as_deref())?;
            batch.put(Table::Jobs, &key(writer, k + 100), &format!("{n}"), tag.as_deref())?;
        }
        Step::Delete { key: k } => batch.delete(Table::Jobs, &key(writer, *k)),
        Step::Append => batch.put(Table::Ledger, &format!("{writer}-{n}"), &format!("{writer}-{n}"), None)?,
        Step::Erase { study: number } => {
            spool.erase_study(&study(writer, *number))?;
            return Ok(None);
        }
    }
    spool.write_blocking(batch).map(|()| None)
}

/// What is there of a writer.
pub fn view(spool: &Spool, writer: usize) -> View {
    let mut view = View::default();
    for study in spool.studies().into_iter().filter(|study| study.starts_with(&format!("1.{}.", writer + 1))) {
        let instances = spool.instances_of(&study);
        assert!(instances.is_sorted_by_key(|instance| instance.id), "in the order of commits");
        let read = |instance: &StoredInstance| {
            let bytes = spool.read(instance).expect("what is visible can be read");
            assert_eq!(bytes.len() as u64, instance.length);
            (instance.arrival.sop_instance.clone(), bytes.to_vec())
        };
        view.instances.insert(study.clone(), instances.iter().map(read).collect());
    }
    for (key, value) in spool.scan_bytes(Table::Jobs, &format!("{writer}/")) {
        view.values.insert(key, serde_json::from_slice(&value).expect("JSON"));
    }
    let mine = |entry: &String| entry.starts_with(&format!("{writer}-"));
    view.ledger = spool.scan::<String>(Table::Ledger, "").expect("JSON").into_iter().filter(mine).collect();
    view
}

/// Steps of one writer: small and large instances, values that come, change and go, an erasure, the ledger.
fn script(writer: usize) -> Vec<Step> {
    use Step::{Append, Delete, Erase, Put, Store, StoreWith};
    let mut steps = vec![
        Put { key: 1, study: None },
        Store { study: 0, length: 3_000 },
        Put { key: 1, study: Some(0) },
        Append,
        StoreWith { study: 0, length: 70_000 + writer, key: 2 },
        Delete { key: 101 },
        Store { study: 1, length: 300_000 },
        Put { key: 3, study: Some(1) },
        Erase { study: 0 },
        Store { study: 0, length: 0 },
        Append,
    ];
    if writer == 0 {
        // Segments fill, die and are reclaimed, with the tables' survivors carried along.
        for n in 0..6 {
            steps.push(Store { study: 2, length: 180_000 });
            steps.push(Put { key: 4 + n, study: None });
            steps.push(if n % 2 == 1 { Erase { study: 2 } } else { Delete { key: 3 + n } });
        }
        steps.push(Erase { study: 1 });
        steps.push(Append);
    }
    steps
}

struct Run {
    acknowledged: Vec<usize>,
    stored: Vec<StoredInstance>,
}

fn run(spool: &Spool, scripts: &[Vec<Step>]) -> Run {
    let mut run = Run { acknowledged: Vec::new(), stored: Vec::new() };
    std::thread::scope(|scope| {
        let writers: Vec<_> = scripts
            .iter()
            .enumerate()
            .map(|(writer, script)| {
                scope.spawn(move || {
                    let mut stored = Vec::new();
                    for (n, step) in script.iter().enumerate() {
                        match perform(spool, writer, n, step) {
                            Ok(instance) => stored.extend(instance),
                            Err(_) => return (n, stored),
                        }
                    }
                    (script.len(), stored)
                })
            })
            .collect();
        for writer in writers {
            let (count, stored) = writer.join().expect("a writer does not panic");
            run.acknowledged.push(count);
            run.stored.extend(stored);
        }
    });
    run
}

/// Cuts at one operation and looks. False where the workload ended before it.
fn cut_once(operation: u64, seed: u64, scripts: &[Vec<Step>], spares: usize) -> bool {
    let machine = Machine::new();
    machine.cut_at(operation, seed);
    let options = super::SpoolOptions { spares, ..options() };
    let run = match Spool::open_with(machine.mount(), options.clone()) {
        Ok(spool) => run(&spool, scripts),
        Err(_) => Run { acknowledged: vec![0; scripts.len()], stored: Vec::new() },
    };
    let was_cut = !machine.is_on();
    machine.cut();
    // The power may go again while the log is read.
    machine.cut_at(1 + seed % 9, seed);
    drop(Spool::open_with(machine.mount(), options.clone()));
    machine.cut();

    let spool = Spool::open_with(machine.mount(), options.clone()).expect("the spool opens after a cut");
    assert_eq!(spool.usage().damaged, 0);
    let mut views = Vec::new();
    for (writer, script) in scripts.iter().enumerate() {
        let seen = view(&spool, writer);
        let mut model = Model::default();
        let done = run.acknowledged[writer];
        script.iter().take(done).enumerate().for_each(|(n, step)| model.apply(writer, n, step));
        let acknowledged = model.view.clone();
        if let Some(step) = script.get(done) {
            model.apply(writer, done, step);
        }
        assert!(
            seen == acknowledged || seen == model.view,
            "writer {writer}, cut at {operation}, seed {seed}, after {done} of {:?}: values {:?} ledger {:?}, {:?}",
            script.get(done),
            seen.values,
            seen.ledger,
            seen.instances.iter().map(|(study, all)| (study, all.len())).collect::<Vec<_>>(),
        );
        views.push(seen);
    }
    // What can be read is what was acknowledged under that number; what was erased cannot be read by its old handle.
    for stored in &run.stored {
        match spool.instance(stored.id) {
            Some(found) => assert_eq!(&found, stored),
            None => assert_eq!(spool.read(stored), Err(SpoolError::Erased)),
        }
    }
    let newest = run.stored.iter().map(|stored| stored.id).max().unwrap_or(0);

    // A second look, after the cache of the first is gone too, changes nothing.
    machine.cut();
    drop(spool);
    let spool = Spool::open_with(machine.mount(), options.clone()).expect("the spool opens again");
    for (writer, seen) in views.iter().enumerate() {
        assert_eq!(view(&spool, writer), *seen, "cut at {operation}, seed {seed}");
    }
    // The log goes on where it was torn, with a frame as long as the torn one: nothing behind it comes back.
    let writer = seed as usize % scripts.len();
    if let Some(step) = scripts[writer].get(run.acknowledged[writer]) {
        perform(&spool, writer, 500, step).expect("it takes the step again");
    }
    let changed = view(&spool, writer);
    drop(spool);
    machine.cut();
    let spool = Spool::open_with(machine.mount(), options).expect("the spool opens again");
    for (other, seen) in views.iter().enumerate() {
        let expected = if other == writer { &changed } else { seen };
        assert_eq!(view(&spool, other), *expected, "cut at {operation}, seed {seed}");
    }
    let step = Step::Store { study: 8, length: 10 };
    let next = perform(&spool, 0, 999, &step).expect("it takes instances").expect("an instance");
    assert!(next.id > newest, "a number is never used again");
    was_cut
}

fn cut_everywhere(scripts: &[Vec<Step>], seeds: &[u64], spares: usize) {
    let mut operation = 1;
    loop {
        let mut cut = false;
        for seed in seeds {
            cut |= cut_once(operation, seed + operation * 7919, scripts, spares);
        }
        if !cut {
            break;
        }
        operation += 1;
    }
    assert!(operation > 60, "only {operation} operations were cut");
}

#[test]
fn a_cut_at_any_operation_loses_nothing_acknowledged_and_shows_nothing_halved() {
    cut_everywhere(&[script(0), script(1), script(2)], &[1, 2, 3], 0);
}

#[test]
fn a_whole_frame_behind_a_torn_one_of_the_same_write_never_comes_back() {
    let machine = Machine::new();
    let spool = Spool::open_with(machine.mount(), options()).expect("a new spool");
    for study in ["1.1.0", "1.1.1", "1.1.2"] {
        drop(spool.begin(study).expect("its key is made before writes are held up"));
    }
    let begin = |study: &str| {
        let mut incoming = spool.begin(study).expect("room");
        incoming.write(&bytes_of(1, 20_000)).expect("room");
        incoming.commit(arrival(study, "1"))
    };
    let (mut torn, mut behind) = (std::pin::pin!(begin("1.1.1")), std::pin::pin!(begin("1.1.2")));
    let mut now = Context::from_waker(Waker::noop());
    std::thread::scope(|scope| {
        machine.hold_writes();
        let first = begin("1.1.0");
        let first = scope.spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
            runtime.block_on(first).expect("it is stored")
        });
        machine.wait_for_a_held_write();
        // Both are queued behind the write that is held up.
        assert!(torn.as_mut().poll(&mut now).is_pending());
        assert!(behind.as_mut().poll(&mut now).is_pending());
        machine.release_writes();
        first.join().expect("the first writer");
    });
    let before = machine.operations();
    assert!(matches!(torn.as_mut().poll(&mut now), Poll::Ready(Ok(_))));
    assert!(matches!(behind.as_mut().poll(&mut now), Poll::Ready(Ok(_))));
    assert_eq!(machine.operations(), before + 1, "they share one write");
    drop(spool);

    // As if the power had gone in the middle of that write: of the second frame a sector is missing, the third is whole.
    let mut content = machine.files()["segment-000000000001.log"].clone();
    let frame = 4096 + 20_480;
    content[4096 + frame + 4096 + 512..][..512].fill(0);
    machine.overwrite("segment-000000000001.log", &content);
    let spool = Spool::open_with(machine.mount(), options()).expect("it opens");
    assert_eq!(spool.studies(), ["1.1.0"]);
    let mut again = spool.begin("1.1.1").expect("room");
    again.write(&bytes_of(2, 20_000)).expect("room");
    again.commit_blocking(arrival("1.1.1", "1"), Batch::new()).expect("it is stored");
    drop(spool);
    let spool = Spool::open_with(machine.mount(), options()).expect("it opens again");
    assert_eq!(spool.studies(), ["1.1.0", "1.1.1"]);
}

#[test]
fn what_is_shown_after_a_kill_survives_a_power_cut_right_after() {
    for operation in 1.. {
        let machine = Machine::new();
        machine.kill_at(operation);
        if let Ok(spool) = Spool::open_with(machine.mount(), options()) {
            run(&spool, &[script(1)]);
        }
        if machine.is_on() {
            assert!(operation > 20, "only {operation} operations were cut");
            break;
        }
        let spool = Spool::open_with(machine.mount(), options()).expect("the spool opens after a kill");
        let seen = view(&spool, 0);
        machine.cut_at(u64::MAX, operation);
        machine.cut();
        drop(spool);
        let spool = Spool::open_with(machine.mount(), options()).expect("the spool opens after a cut");
        assert_eq!(view(&spool, 0), seen, "killed at {operation}");
    }
}

#[test]
fn a_cut_at_any_operation_while_segments_are_reused_shows_nothing_of_their_earlier_life() {
    cut_everywhere(&[script(0)], &[11, 12, 13, 14], 1);
}
