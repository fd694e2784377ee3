//! Peers that mean harm, or are broken. Each gets a clear refusal and nothing of the node: no memory, no place, no
//! instance; and the next honest association works.
use super::node::{Node, options, stored, until};
use super::raw::{Answer, Raw, associate_rq, p_data, store_rq};
use super::sample::{CT, EXPLICIT, IMPLICIT, object};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use sund_agent::spool::Spool;

const CONTEXTS: [(&str, &str); 2] = [(CT, EXPLICIT), (CT, IMPLICIT)];

/// A C-STORE of a good neighbour.
fn honest(node: SocketAddr, number: usize) {
    let object = object(EXPLICIT, number);
    let (mut raw, _) = Raw::associate(node, &CONTEXTS);
    assert_eq!(raw.store(1, CT, &object.sop_instance, &object.dataset), Answer::Status(0));
    assert_eq!(raw.release(), Answer::Released);
}

/// The front of a data set: what comes next belongs to a study.
fn front() -> Vec<u8> {
    let dataset = object(EXPLICIT, 1).dataset;
    let pixels = dataset.windows(4).position(|tag| tag == [0xe0, 0x7f, 0x10, 0]).unwrap();
    dataset[..pixels].to_vec()
}

#[test]
fn each_attack_is_refused_with_a_code_of_its_own_and_leaves_nothing() {
    let node = Node::start();
    let uid = object(EXPLICIT, 1).sop_instance;
    let store = |dataset: &[u8]| {
        let (mut raw, _) = Raw::associate(node.address, &CONTEXTS);
        (raw.store(1, CT, &uid, dataset), raw)
    };

    let mut raw = Raw::connect(node.address);
    raw.send(&[1, 0, 0xff, 0xff, 0xff, 0xff]);
    assert_eq!(raw.answer(), Answer::Aborted, "an association request of 4 GiB");
    node.expect_refusal("association-not-requested");

    let mut raw = Raw::connect(node.address);
    raw.send(&p_data(1, 3, &store_rq(CT, &uid)));
    assert_eq!(raw.answer(), Answer::Aborted, "P-DATA before the association");

    let (mut raw, _) = Raw::associate(node.address, &CONTEXTS);
    raw.send(&[4, 0, 0xff, 0xff, 0xff, 0xff]);
    assert_eq!(raw.answer(), Answer::Aborted, "a P-DATA of 4 GiB");
    node.expect_refusal("message-too-long");

    let (mut raw, _) = Raw::associate(node.address, &CONTEXTS);
    for _ in 0..100 {
        raw.send(&p_data(1, 1, &[0; 1000]));
    }
    assert_eq!(raw.answer(), Answer::Aborted, "a command set without end");

    let (mut raw, _) = Raw::associate(node.address, &CONTEXTS);
    raw.send(&p_data(1, 3, b"\0\0\0\x01\xff\xff\xff\xff\x30\0"));
    assert_eq!(raw.answer(), Answer::Aborted, "an element of a command set that claims gigabytes");
    node.expect_refusal("message-malformed");

    let (mut raw, _) = Raw::associate(node.address, &CONTEXTS);
    raw.send(&p_data(1, 3, &store_rq(CT, &uid)));
    raw.send(&p_data(1, 0, &front()));
    raw.send(&p_data(3, 0, &front()));
    assert_eq!(raw.answer(), Answer::Aborted, "fragments interleaved across contexts");
    node.expect_refusal("message-out-of-step");

    let level = b"\x08\0\x40\x11SQ\0\0\xff\xff\xff\xff\xfe\xff\0\xe0\xff\xff\xff\xff";
    let (answer, mut raw) = store(&[front(), level.repeat(100_000)].concat());
    assert_eq!(answer, Answer::Status(0xc000), "sequences 100,000 deep");
    node.expect_refusal("dataset-nested-too-deep");
    assert_eq!(raw.release(), Answer::Released, "a refused instance does not end its association");

    let (answer, _) = store(&[front(), b"\xe0\x7f\x10\0OW\0\0\xf0\xff\xff\xff".to_vec(), vec![0; 1000]].concat());
    assert_eq!(answer, Answer::Status(0xc000), "an element that claims gigabytes");
    let whole = object(EXPLICIT, 1).dataset;
    let (answer, _) = store(&whole[..whole.len() - 7]);
    assert_eq!(answer, Answer::Status(0xc000), "a data set that ends within an element");
    node.expect_refusal("dataset-truncated");

    let (mut raw, _) = Raw::associate(node.address, &CONTEXTS);
    raw.send(&p_data(1, 3, &store_rq(CT, &uid)));
    raw.send(&p_data(1, 0, &whole[..whole.len() / 2]));
    drop(raw);
    node.expect_refusal("association-broken-off");

    assert!(node.stored().is_empty(), "nothing of all this is stored");
    honest(node.address, 1);
    assert_eq!(node.stored().len(), 1);
}

#[test]
fn what_contradicts_itself_is_refused_with_the_status_that_says_why() {
    let node = Node::start();
    let object = object(EXPLICIT, 1);
    let verification = "1.2.840.10008.1.1";
    let (mut raw, _) = Raw::associate(node.address, &[(CT, EXPLICIT), (verification, IMPLICIT)]);
    let uid = &object.sop_instance;
    assert_eq!(raw.store(1, CT, "1.2.3", &object.dataset), Answer::Status(0xa900), "another instance");
    assert_eq!(
        raw.store(1, "1.2.840.10008.5.1.4.1.1.4", uid, &object.dataset),
        Answer::Status(0xa900),
        "another class"
    );
    assert_eq!(raw.store(7, CT, uid, &object.dataset), Answer::Status(0x0122), "a context that was not proposed");
    assert_eq!(raw.store(1, CT, uid, &object.dataset), Answer::Status(0), "and it goes on");
    assert_eq!(raw.release(), Answer::Released);
    assert_eq!(node.stored().len(), 1);
}

/// A change of a good conversation.
#[derive(Clone, Debug)]
enum Change {
    Set(prop::sample::Index, u8),
    Cut(prop::sample::Index),
    Insert(prop::sample::Index, Vec<u8>),
    Repeat(prop::sample::Index, prop::sample::Index),
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    use prop::sample::Index;
    let one = prop_oneof![
        4 => (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Change::Set(at, byte)),
        1 => any::<Index>().prop_map(Change::Cut),
        1 => (any::<Index>(), prop::collection::vec(any::<u8>(), 1..40)).prop_map(|(at, bytes)| Change::Insert(at, bytes)),
        1 => (any::<Index>(), any::<Index>()).prop_map(|(from, to)| Change::Repeat(from, to)),
    ];
    prop::collection::vec(one, 0..6)
}

fn changed(mut bytes: Vec<u8>, changes: &[Change]) -> Vec<u8> {
    for change in changes {
        match change {
            Change::Set(at, byte) => {
                let at = at.index(bytes.len());
                bytes[at] = *byte;
            }
            Change::Cut(at) => bytes.truncate(at.index(bytes.len()).max(1)),
            Change::Insert(at, more) => {
                let at = at.index(bytes.len());
                bytes.splice(at..at, more.iter().copied());
            }
            Change::Repeat(from, to) => {
                let (from, to) = (from.index(bytes.len()), to.index(bytes.len()));
                let part = bytes[from.min(to)..from.max(to)].to_vec();
                bytes.extend_from_slice(&part);
            }
        }
    }
    bytes
}

/// However long they take.
const CASES: u32 = 400;

#[test]
fn whatever_is_sent_what_is_stored_is_what_was_answered_with_success() {
    let mut runner = TestRunner::new(Config { cases: CASES, failure_persistence: None, ..Config::default() });
    let node = Node::start();
    let object = object(EXPLICIT, 1);
    let conversation = [
        p_data(1, 3, &store_rq(CT, &object.sop_instance)),
        p_data(1, 0, &object.dataset[..500]),
        p_data(1, 2, &object.dataset[500..]),
    ]
    .concat();
    let (tried, answered) = (std::cell::Cell::new(0), std::cell::Cell::new(0));
    let held = runner.run(&(any::<bool>(), changes()), |(with_request, changes)| {
        tried.set(tried.get() + 1);
        let mut raw = if with_request {
            let mut raw = Raw::connect(node.address);
            raw.send(&changed([associate_rq(&CONTEXTS), conversation.clone()].concat(), &changes));
            raw
        } else {
            let (mut raw, _) = Raw::associate(node.address, &CONTEXTS);
            raw.send(&changed(conversation.clone(), &changes));
            raw
        };
        raw.end();
        answered.set(answered.get() + raw.successes());
        Ok(())
    });
    held.unwrap();
    assert_eq!(tried.get(), CASES);
    assert!((1..CASES as usize).contains(&answered.get()), "{} were stored: some must be, and not all", answered.get());
    until("each answer is stored, and nothing else", || node.stored().len() == answered.get());
    honest(node.address, 2);
    assert_eq!(node.stored().len(), answered.get() + 1);
}

/// The node alone in a process, for the test below, which starts this binary again; otherwise there is nothing to do.
#[test]
#[expect(clippy::print_stdout, reason = "the port goes to the test that started this process")]
fn a_process_of_its_own() {
    let Some(folder) = std::env::var_os("SUND_TEST_NODE_FOLDER") else { return };
    let node = Node::start_in(folder.as_ref());
    println!("\nnode on {}", node.address);
    // Until the other test ends.
    for _ in std::io::stdin().lines() {}
}

struct OwnProcess(Child);

impl Drop for OwnProcess {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn memory_does_not_grow_with_what_peers_claim_and_a_killed_node_has_all_that_it_answered() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["association::hostile::a_process_of_its_own", "--exact", "--nocapture", "--test-threads=1"]);
    command.env("SUND_TEST_NODE_FOLDER", folder.path()).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut process = OwnProcess(command.spawn().unwrap());
    let mut lines = BufReader::new(process.0.stdout.take().unwrap()).lines().map_while(Result::ok);
    let node: SocketAddr =
        lines.find_map(|line| line.strip_prefix("node on ").and_then(|it| it.parse().ok())).expect("a port");
    let pid = process.0.id();
    let resident = || {
        let pages = std::fs::read_to_string(format!("/proc/{pid}/statm")).unwrap();
        pages.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * rustix::param::page_size()
    };
    honest(node, 1);
    let before = resident();
    let uid = object(EXPLICIT, 2).sop_instance;
    let claims = [front(), b"\xe0\x7f\x10\0OW\0\0\xf0\xff\xff\xff".to_vec()].concat();
    let mut held = Vec::new();
    for _ in 0..20 {
        // Each claims gigabytes and stops there, holding its association.
        let (mut raw, _) = Raw::associate(node, &CONTEXTS);
        raw.send(&p_data(1, 3, &store_rq(CT, &uid)));
        raw.send(&p_data(1, 0, &claims));
        held.push(raw);
    }
    for length in [u32::MAX, 1 << 30] {
        let (mut raw, _) = Raw::associate(node, &CONTEXTS);
        raw.send(&[&[4, 0][..], &length.to_be_bytes()].concat());
        assert_eq!(raw.answer(), Answer::Aborted);
    }
    // 200 MB before a study is named.
    let (mut raw, _) = Raw::associate(node, &CONTEXTS);
    raw.send(&p_data(1, 3, &store_rq(CT, &uid)));
    raw.send(&p_data(1, 0, b"\x08\0\x10\0UT\0\0\xf0\xff\xff\x7f"));
    for _ in 0..2000 {
        raw.send(&p_data(1, 0, &vec![0x20; 100_000]));
    }
    let grown = resident().saturating_sub(before);
    assert!(grown < 48 << 20, "{} MiB more", grown >> 20);
    raw.send(&p_data(1, 2, &[0x20; 2]));
    assert_eq!(raw.answer(), Answer::Status(0xc000));
    drop(held);
    honest(node, 3);
    drop(process);
    let spool = Spool::open(options(folder.path())).unwrap();
    let uids: Vec<String> = stored(&spool).into_iter().map(|stored| stored.instance.arrival.sop_instance).collect();
    assert_eq!(uids, [object(EXPLICIT, 1).sop_instance, object(EXPLICIT, 3).sop_instance]);
}
