//! The node behaves towards other people's software, honest and hostile, as PS3.7 and PS3.8 say.
mod hostile;
pub mod node;
pub mod peers;
pub mod raw;
mod sample;

use dicom_dictionary_std::tags;
use node::{Node, Pki};
use peers::{Server, dcmtk, http, pynetdicom, pynetdicom_ends};
use sample::{BIG_ENDIAN, CT, DEFLATED, EXPLICIT, IMPLICIT, TRANSFER_SYNTAXES, datasets, file, object, sized};
use std::io::Read;
use std::path::PathBuf;
use std::time::Duration;
use sund_agent::association::{Caller, Found, ObjectToSend, Peer, Query, SendError, Sent, WireError, echo, send};

fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

fn in_every_syntax() -> Vec<ObjectToSend> {
    TRANSFER_SYNTAXES.iter().enumerate().map(|(number, syntax)| object(syntax, number)).collect()
}

/// What is stored is what was sent: each instance once, in its transfer syntax, byte for byte.
fn assert_stored(node: &Node, sent: &[ObjectToSend]) {
    let stored = node.stored();
    assert_eq!(stored.len(), sent.len());
    for object in sent {
        let arrival = |stored: &&node::Stored| stored.instance.arrival.sop_instance == object.sop_instance;
        let stored = stored.iter().find(arrival).expect("each instance is stored");
        assert_eq!(stored.instance.arrival.transfer_syntax, object.transfer_syntax);
        assert_eq!(stored.dataset, object.dataset, "{}", object.transfer_syntax);
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap().block_on(future)
}

fn peer(called_ae: &str, port: u16) -> Peer {
    Peer { calling_ae: "SUND".into(), called_ae: called_ae.into(), address: format!("localhost:{port}"), tls: None }
}

/// Sends objects; the answers as far as they came, and how it ended.
fn deliver(peer: &Peer, objects: &[ObjectToSend]) -> (Vec<Sent>, Result<(), SendError>) {
    let mut answers = Vec::new();
    let ended = block_on(send(peer, objects, |_, sent| answers.push(sent)));
    (answers, ended)
}

const STORED: Sent = Sent::Stored { status: 0 };

#[test]
fn dcmtk_echoes_and_is_refused_by_the_right_reason() {
    let callers = vec![Caller { ae_title: "ECHOSCU".into(), address: None, certificate_name: None }];
    let node = Node::start_with(callers, None);
    let echoscu = |arguments: &[&str]| dcmtk("echoscu", [&["-v"], arguments, &["localhost", &node.port()]].concat());
    let (done, text) = echoscu(&["-aec", "SUND"]);
    assert!(done, "{text}");
    let (done, text) = echoscu(&["-aec", "PACS"]);
    assert!(!done && text.contains("Called AE Title Not Recognized"), "{text}");
    let (done, text) = echoscu(&["-aec", "SUND", "-aet", "STRANGER"]);
    assert!(!done && text.contains("Calling AE Title Not Recognized"), "{text}");
    assert_eq!(node.refusals(), ["called-ae-unknown", "caller-unknown"]);
}

#[test]
fn dcmtk_echoes_and_stores_over_tls_and_is_refused_without_a_certificate() {
    let pki = Pki::new();
    let node = Node::start_with(Vec::new(), Some(pki.acceptor()));
    let path = |path: &PathBuf| path.to_string_lossy().into_owned();
    let tls = ["+tls".to_owned(), path(&pki.key), path(&pki.certificate), "+cf".to_owned(), path(&pki.authority)];
    let at = ["-v".to_owned(), "-aec".into(), "SUND".into(), "localhost".into(), node.port()];
    let (done, text) = dcmtk("echoscu", tls.iter().chain(&at));
    assert!(done, "{text}");
    let folder = folder();
    let sent = [object(EXPLICIT, 1)];
    let (done, text) = dcmtk("storescu", tls.iter().chain(&at).chain(&[path(&file(folder.path(), &sent[0]))]));
    assert!(done, "{text}");
    assert_stored(&node, &sent);
    let anonymous = ["+tla".to_owned(), "-ic".into()];
    let (done, text) = dcmtk("echoscu", anonymous.iter().chain(&at));
    assert!(!done, "{text}");
    let (done, text) = dcmtk("echoscu", &at);
    assert!(!done, "plain DICOM on the TLS port: {text}");
    node.expect_refusal("tls-failed");
}

#[test]
fn pynetdicom_stores_and_is_stored_to_over_mutual_tls() {
    let (pki, folder) = (Pki::new(), folder());
    let node = Node::start_over_tls(&pki);
    let sent = [object(EXPLICIT, 1), sized(EXPLICIT, 2, 300)];
    let files = sent.iter().map(|object| file(folder.path(), object).to_string_lossy().into_owned());
    let tls = pki.paths();
    let arguments = [node.port(), "16384".into()].into_iter().chain(files).chain(["--tls".into()]).chain(tls.clone());
    assert_eq!(pynetdicom("scu.py", arguments).lines().collect::<Vec<_>>(), ["0000", "0000"]);
    assert_stored(&node, &sent);

    let received = self::folder();
    let arguments: Vec<&str> = std::iter::once("--tls").chain(tls.iter().map(String::as_str)).collect();
    let server = Server::pynetdicom(received.path(), &arguments);
    let peer = Peer { tls: Some(pki.connector()), ..peer("PEER", server.address.port()) };
    let (answers, ended) = deliver(&peer, &sent);
    ended.unwrap();
    assert_eq!(answers, [STORED, STORED]);
    for (n, object) in sent.iter().enumerate() {
        assert!(std::fs::read(received.path().join((n + 1).to_string())).unwrap() == object.dataset);
    }
    // It shows a certificate of another authority; then we do, and then nobody speaks TLS.
    let stranger = Pki::new();
    for tls in [Some(stranger.connector()), Some(pki.connector_as(&stranger)), None] {
        let (answers, ended) = deliver(&Peer { tls, ..peer.clone() }, &sent);
        assert!(answers.is_empty() && ended.is_err());
    }
    assert_eq!(std::fs::read_dir(received.path()).unwrap().count(), 2);
}

#[test]
fn a_caller_that_cannot_prove_itself_is_refused_and_told_apart() {
    let (pki, stranger) = (Pki::new(), Pki::new());
    let node = Node::start_over_tls(&pki);
    let [authority, ..] = pki.paths();
    let [_, certificate, key] = stranger.paths();
    let of_another = [authority.clone(), certificate, key];
    let callers: [(&[String], &str); 3] = [
        (&[authority], "it showed no certificate"),
        (&of_another, "its certificate is of an authority that is not trusted here"),
        (&[], "it speaks no TLS"),
    ];
    for (tls, reason) in callers {
        let option = (!tls.is_empty()).then(|| "--tls".to_owned());
        let arguments = [node.port(), "16384".into()].into_iter().chain(option).chain(tls.iter().cloned());
        let output = pynetdicom_ends("scu.py", arguments);
        assert!(!output.status.success(), "{reason}");
        node.expect_refusal("tls-failed");
        node.expect_reason(reason);
    }
    assert!(node.stored().is_empty());
}

#[test]
fn a_certificate_of_the_region_does_not_make_a_caller_of_another_name() {
    let pki = Pki::new();
    let caller = |ae_title: &str, name: &'static str| Caller {
        ae_title: ae_title.into(),
        address: None,
        certificate_name: Some(name.try_into().unwrap()),
    };
    let callers = vec![caller("CT1", "localhost"), caller("CT2", "ct2.example.org")];
    let node = Node::start_with(callers, Some(pki.acceptor()));
    let path = |path: &PathBuf| path.to_string_lossy().into_owned();
    let tls = ["+tls".to_owned(), path(&pki.key), path(&pki.certificate), "+cf".to_owned(), path(&pki.authority)];
    let echo = |ae_title: &str| {
        let at = ["-v", "-aet", ae_title, "-aec", "SUND", "localhost", &node.port()].map(str::to_owned);
        dcmtk("echoscu", tls.iter().chain(&at))
    };
    let (done, text) = echo("CT1");
    assert!(done, "{text}");
    let (done, text) = echo("CT2");
    assert!(!done && text.contains("Calling AE Title Not Recognized"), "{text}");
    assert_eq!(node.refusals(), ["caller-unknown"]);
}

#[test]
fn dcmtk_stores_every_transfer_syntax_byte_for_byte() {
    let (node, folder) = (Node::start(), folder());
    let (deflated, sent): (Vec<_>, Vec<_>) =
        in_every_syntax().into_iter().partition(|object| object.transfer_syntax == DEFLATED);
    let path = |object: &ObjectToSend| file(folder.path(), object).to_string_lossy().into_owned();
    let store = |program: &str, option: &str, objects: &[&ObjectToSend]| {
        let mut arguments = vec![option.to_owned(), "-v".into(), "-aec".into(), "SUND".into()];
        arguments.extend(["localhost".into(), node.port()]);
        arguments.extend(objects.iter().map(|object| path(object)));
        let (done, text) = dcmtk(program, &arguments);
        assert!(done, "{text}");
    };
    // dcmsend sends encapsulated ones as they are, and all others in explicit VR; storescu in what it is told.
    let is_other = |object: &&ObjectToSend| [IMPLICIT, BIG_ENDIAN].contains(&object.transfer_syntax.as_str());
    let (others, encapsulated): (Vec<_>, Vec<_>) = sent.iter().partition(is_other);
    store("dcmsend", "--decompress-never", &encapsulated);
    for (object, option) in others.into_iter().zip(["-xi", "-xb"]) {
        store("storescu", option, &[object]);
    }
    assert_stored(&node, &sent);
    // DCMTK deflates anew: what comes out of it is the same.
    store("storescu", "-xd", &[&deflated[0]]);
    let stored = node.stored();
    let stored = &stored.last().unwrap().dataset;
    let inflated = |bytes: &[u8]| {
        let mut plain = Vec::new();
        flate2::read::DeflateDecoder::new(bytes).read_to_end(&mut plain).unwrap();
        plain
    };
    assert!(inflated(stored) == inflated(&deflated[0].dataset), "deflated");
}

#[test]
fn pynetdicom_stores_every_transfer_syntax_byte_for_byte_with_short_and_unlimited_pdus() {
    for max_pdu in ["4096", "0"] {
        let (node, folder) = (Node::start(), folder());
        let sent = in_every_syntax();
        let files = sent.iter().map(|object| file(folder.path(), object).to_string_lossy().into_owned());
        let answers = pynetdicom("scu.py", [node.port(), max_pdu.into()].into_iter().chain(files));
        assert_eq!(answers.lines().collect::<Vec<_>>(), ["0000"; TRANSFER_SYNTAXES.len()]);
        assert_stored(&node, &sent);
    }
}

#[test]
fn hundreds_of_instances_come_over_one_association_and_over_many() {
    let node = Node::start();
    let sent: Vec<ObjectToSend> = (0..300).map(|number| object(EXPLICIT, number)).collect();
    let (first, rest) = sent.split_at(100);
    let (answers, ended) = deliver(&peer("SUND", node.address.port()), first);
    ended.unwrap();
    assert_eq!(answers, vec![STORED; 100]);
    let threads: Vec<_> = rest
        .chunks(50)
        .map(|part| (part.to_vec(), peer("SUND", node.address.port())))
        .map(|(part, peer)| std::thread::spawn(move || deliver(&peer, &part)))
        .collect();
    for thread in threads {
        let (answers, ended) = thread.join().unwrap();
        ended.unwrap();
        assert_eq!(answers, vec![STORED; 50]);
    }
    assert_stored(&node, &sent);
}

#[test]
fn we_send_to_dcmtk_whatever_length_of_pdu_it_takes() {
    for max_pdu in ["4096", "16384", "131072"] {
        let folder = folder();
        let server = Server::storescp(folder.path(), &["-pdu", max_pdu, "+xa"]);
        let peer = peer("ANY", server.address.port());
        block_on(echo(&peer)).unwrap();
        let sent = [object(EXPLICIT, 1), sized(EXPLICIT, 2, 300)];
        let (answers, ended) = deliver(&peer, &sent);
        ended.unwrap();
        assert_eq!(answers, [STORED, STORED]);
        let mut expected: Vec<_> = sent.iter().map(|o| (o.transfer_syntax.clone(), o.dataset.clone())).collect();
        expected.sort();
        assert_eq!(datasets(folder.path()), expected, "max PDU {max_pdu}");
    }
}

#[test]
fn we_send_over_tls_to_dcmtk() {
    let (pki, folder) = (Pki::new(), folder());
    let path = |path: &PathBuf| path.to_string_lossy().into_owned();
    let tls = ["+tls", &path(&pki.key), &path(&pki.certificate), "+cf", &path(&pki.authority)];
    let server = Server::storescp(folder.path(), &tls);
    let peer = Peer { tls: Some(pki.connector()), ..peer("ANY", server.address.port()) };
    let (answers, ended) = deliver(&peer, &[object(EXPLICIT, 1)]);
    ended.unwrap();
    assert_eq!(answers, [STORED]);
}

#[test]
fn a_peer_that_takes_implicit_vr_alone_gets_it_and_is_given_no_other_encoding() {
    let folder = folder();
    let server = Server::storescp(folder.path(), &["+xi"]);
    let sent = [object(EXPLICIT, 1), object("1.2.840.10008.1.2.4.90", 2)];
    let (answers, ended) = deliver(&peer("ANY", server.address.port()), &sent);
    ended.unwrap();
    assert_eq!(answers[0], STORED);
    assert!(matches!(&answers[1], Sent::Refused(reason) if reason.contains("1.2.840.10008.1.2.4.90")));
    assert_eq!(datasets(folder.path()), [(IMPLICIT.to_owned(), object(IMPLICIT, 1).dataset)]);
}

#[test]
fn what_a_peer_answers_says_whether_we_try_again() {
    for (status, expected) in [("A700", "later"), ("B000", "stored"), ("C000", "refused"), ("0111", "stored")] {
        let folder = folder();
        let server = Server::pynetdicom(folder.path(), &["--status", status, "--max-pdu", "0"]);
        let (answers, ended) = deliver(&peer("PEER", server.address.port()), &[sized(EXPLICIT, 1, 400)]);
        ended.unwrap();
        let [answer] = &answers[..] else { panic!("{answers:?}") };
        let said = match answer {
            Sent::Stored { .. } => "stored",
            Sent::Later(reason) if reason.contains(status) => "later",
            Sent::Refused(reason) if reason.contains(status) => "refused",
            Sent::Later(reason) | Sent::Refused(reason) => reason,
        };
        assert_eq!(said, expected, "{status}");
    }
}

#[test]
fn a_peer_that_aborts_in_the_middle_has_what_it_answered_and_no_more() {
    let folder = folder();
    let server = Server::pynetdicom(folder.path(), &["--abort-after", "2"]);
    let sent: Vec<ObjectToSend> = (0..5).map(|number| object(EXPLICIT, number)).collect();
    let (answers, ended) = deliver(&peer("PEER", server.address.port()), &sent);
    assert_eq!(answers, [STORED, STORED]);
    assert!(ended.unwrap_err().to_string().contains("abort"));
    let (answers, ended) = deliver(&peer("ELSE", server.address.port()), &sent);
    assert!(answers.is_empty() && matches!(ended, Err(SendError::Rejected(_))));
}

#[test]
fn orthanc_takes_what_we_send_and_sends_what_we_take() {
    let (node, folder) = (Node::start(), folder());
    let (server, rest) = Server::orthanc(folder.path(), node.address);
    let sent: Vec<ObjectToSend> =
        [EXPLICIT, IMPLICIT, "1.2.840.10008.1.2.5"].iter().enumerate().map(|(n, syntax)| object(syntax, n)).collect();
    let peer = peer("ORTHANC", server.address.port());
    block_on(echo(&peer)).unwrap();
    let (answers, ended) = deliver(&peer, &sent);
    ended.unwrap();
    assert_eq!(answers, vec![STORED; 3]);
    http(rest, "POST", "/modalities/sund/echo", b"{}");
    let instances = http(rest, "GET", "/instances", b"");
    http(rest, "POST", "/modalities/sund/store", instances.as_bytes());
    let uids = |mut uids: Vec<String>| {
        uids.sort();
        uids
    };
    assert_eq!(
        uids(node.stored().into_iter().map(|stored| stored.instance.arrival.sop_instance).collect()),
        uids(sent.into_iter().map(|object| object.sop_instance).collect()),
    );
    assert!(node.stored().iter().all(|stored| stored.instance.arrival.sop_class == CT));
    let (answers, ended) = deliver(&Peer { called_ae: "PACS".into(), ..peer }, &[object(EXPLICIT, 9)]);
    assert!(answers.is_empty() && matches!(ended, Err(SendError::Rejected(_))), "{ended:?}");
}

/// What a pynetdicom SCP with these options says of a study.
fn asked(options: &[&str]) -> Result<Found, SendError> {
    let folder = folder();
    let server = Server::pynetdicom(folder.path(), options);
    block_on(async {
        let mut query = Query::open(&peer("PEER", server.address.port()), Duration::from_secs(30)).await?;
        let found = query.study("1.2.3", &[tags::PATIENT_ID, tags::PATIENT_NAME]).await?;
        query.close().await;
        Ok(found)
    })
}

#[test]
fn a_query_is_answered_by_matches_or_by_what_the_peer_says_of_it() {
    let is_none = |found: &Result<Found, _>| matches!(found, Ok(Found::Matches(matches)) if matches.is_empty());
    let found = asked(&[
        "--matches",
        r#"[{"PatientID": "1", "SpecificCharacterSet": "ISO_IR 100", "PatientName": "Ærø^Åse"}]"#,
    ]);
    let Ok(Found::Matches(matches)) = found else { panic!("{found:?}") };
    let texts = [tags::PATIENT_ID, tags::PATIENT_NAME].map(|tag| matches[0].text(tag).unwrap());
    assert_eq!((matches.len(), texts), (1, ["1".to_owned(), "Ærø^Åse".to_owned()]));
    let none = asked(&["--matches", "[]"]);
    assert!(is_none(&none), "{none:?}");
    let other = asked(&["--matches", r#"[{"StudyInstanceUID": "1.2.4", "PatientID": "1"}]"#]);
    assert!(is_none(&other), "it is about another study: {other:?}");
    let failed = asked(&["--matches", "[]", "--find-status", "A700", "--comment", "too busy"]);
    assert!(matches!(&failed, Ok(Found::Failed(said)) if said == "status A700H: too busy"), "{failed:?}");
}

#[test]
fn a_peer_that_does_not_find_or_says_too_much_is_told_from_one_that_has_nothing() {
    let no_context = asked(&[]);
    assert!(matches!(&no_context, Err(SendError::Rejected(said)) if said.contains("FIND")), "{no_context:?}");
    let many = format!("[{}]", vec![r#"{"PatientID": "1"}"#; 17].join(","));
    let many = asked(&["--matches", &many]);
    assert!(matches!(&many, Err(SendError::Unexpected(said)) if said.contains("more than 16 matches")), "{many:?}");
    let long = format!(r#"[{{"TextValue": "{}"}}]"#, "x".repeat(70_000));
    let long = asked(&["--matches", &long]);
    assert!(matches!(long, Err(SendError::Wire(WireError::TooLong { .. }))), "{long:?}");
}
