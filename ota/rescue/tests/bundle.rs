//! What a source can do to a bundle on its way, and what stays of it at the destination.
use crate::authority::{Authority, Wish};
use crate::released::{envelope, key, payload};
use crate::site::{Act, Request, Site, file, head};
use crate::world::World;
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use sund_rescue::fault::Blame;

const DESCRIPTOR: &str = "rescue/rescue.json";
const PATH: &str = "rescue/bundle.raucb";

/// Some hundred kilobytes: several records, and no round number of them.
fn bundle() -> Vec<u8> {
    (0..300_007_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

fn signed(version: u64, bundle: &[u8]) -> Vec<u8> {
    envelope(&payload(version, bundle), &[&key(1), &key(2)])
}

/// A source with a good descriptor, and a bundle served as the test likes.
fn source(authority: &Authority, serve: impl Fn(&Request, &[u8]) -> Vec<Act> + Send + Sync + 'static) -> Site {
    let bundle = bundle();
    let files = vec![(DESCRIPTOR, signed(3, &bundle))];
    Site::new(authority.issue(Wish::server()), move |request| {
        if request.path == format!("/{PATH}") { serve(request, &bundle) } else { file(&files, request) }
    })
}

fn good(authority: &Authority) -> Site {
    source(authority, |request, bundle| file(&[(PATH, bundle.to_vec())], request))
}

fn ok(length: usize) -> Act {
    Act::Send(format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n").into_bytes())
}

#[test]
fn a_bundle_arrives_as_it_was_signed() {
    let authority = Authority::new();
    let site = good(&authority);
    let mut world = World::new(&authority, &[site.address()]);
    assert_eq!(world.rescue().expect("it holds").get().version, 3);
    assert_eq!(world.written(), bundle());
    assert!(world.told.contains(&"offered 3".to_owned()) && world.told.iter().any(|told| told.starts_with("received")));
}

#[test]
fn a_tampered_bundle_leaves_nothing_valid() {
    let authority = Authority::new();
    for at in [0, 5000, 300_006] {
        let site = source(&authority, move |_, bundle| {
            let mut altered = bundle.to_vec();
            altered[at] ^= 1;
            vec![ok(altered.len()), Act::Send(altered)]
        });
        let mut world = World::new(&authority, &[site.address()]);
        assert_eq!(world.refusal(), "bundle-altered", "byte {at}");
    }
}

#[test]
fn a_truncated_bundle_leaves_nothing_valid() {
    let authority = Authority::new();
    let said = source(&authority, |_, bundle| vec![ok(1000), Act::Send(bundle[..1000].to_vec())]);
    assert_eq!(World::new(&authority, &[said.address()]).refusal(), "bundle-altered");
    // It says the whole length and closes in the middle each time.
    let closed = source(&authority, |request, bundle| {
        let from = request.from.unwrap_or(0).min(bundle.len() - 1);
        vec![Act::Send(head(request, bundle.len())), Act::Send(bundle[from..bundle.len() - 1].to_vec())]
    });
    let mut world = World::new(&authority, &[closed.address()]);
    assert_eq!(world.refusal(), "connection-broken");
    assert!(closed.requests().len() <= 4, "a connection that brings nothing is not resumed for ever");
}

#[test]
fn an_endless_bundle_is_not_read_beyond_what_was_signed() {
    let authority = Authority::new();
    let larger = source(&authority, |_, bundle| vec![ok(bundle.len() << 32), Act::Endless]);
    assert_eq!(World::new(&authority, &[larger.address()]).refusal(), "bundle-altered");
    let more = source(&authority, |_, bundle| vec![ok(bundle.len()), Act::Send(bundle.to_vec()), Act::Endless]);
    let mut world = World::new(&authority, &[more.address()]);
    assert!(world.rescue().is_ok(), "what comes after it is not ours");
    assert_eq!(world.written(), bundle());
}

#[test]
fn an_endless_or_oversized_descriptor_is_not_read() {
    let authority = Authority::new();
    let identity = || authority.issue(Wish::server());
    let heads = Site::new(identity(), |_| vec![Act::Send(b"HTTP/1.1 200 OK\r\nX: ".to_vec()), Act::Endless]);
    assert_eq!(World::new(&authority, &[heads.address()]).refusal(), "http-refused");
    let long = Site::new(identity(), |_| vec![ok(16 * 1024 + 1), Act::Endless]);
    assert_eq!(World::new(&authority, &[long.address()]).refusal(), "envelope-invalid");
}

#[test]
fn a_source_that_is_silent_or_drips_is_left() {
    let authority = Authority::new();
    let silent = source(&authority, |_, bundle| vec![ok(bundle.len()), Act::Hold]);
    let drips =
        source(&authority, |_, bundle| vec![ok(bundle.len()), Act::Drip(bundle.to_vec(), Duration::from_millis(50))]);
    for (site, idle) in [(silent, Duration::from_millis(500)), (drips, Duration::from_mins(1))] {
        let mut world = World::new(&authority, &[site.address()]);
        world.config.patience.idle = idle;
        world.config.patience.grace = Duration::from_secs(4);
        world.config.patience.resumes = 0;
        let begin = Instant::now();
        assert_eq!(world.refusal(), "too-slow");
        assert!(begin.elapsed() < Duration::from_secs(30), "{:?}", begin.elapsed());
    }
}

#[test]
fn a_broken_connection_is_resumed_where_it_broke() {
    let authority = Authority::new();
    let site = source(&authority, |request, bundle| {
        let from = request.from.unwrap_or(0);
        let until = (from + 110_000).min(bundle.len());
        vec![Act::Send(head(request, bundle.len())), Act::Send(bundle[from..until].to_vec()), Act::Break]
    });
    let mut world = World::new(&authority, &[site.address()]);
    world.rescue().expect("it holds");
    assert_eq!(world.written(), bundle());
    let froms: Vec<_> = site.requests().iter().skip(1).map(|request| request.from).collect();
    assert_eq!(froms, [None, Some(110_000), Some(220_000)]);
}

#[test]
fn a_source_that_does_not_resume_begins_anew() {
    let authority = Authority::new();
    let asked = AtomicUsize::new(0);
    let site = source(&authority, move |_, bundle| {
        let until = if asked.fetch_add(1, Ordering::Relaxed) == 0 { 100_000 } else { bundle.len() };
        vec![ok(bundle.len()), Act::Send(bundle[..until].to_vec()), Act::Break]
    });
    let mut world = World::new(&authority, &[site.address()]);
    world.rescue().expect("it holds");
    assert_eq!(world.written(), bundle());
}

#[test]
fn a_source_that_resumes_elsewhere_is_refused() {
    let authority = Authority::new();
    let site = source(&authority, |request, bundle| match request.from {
        None => vec![ok(bundle.len()), Act::Send(bundle[..5000].to_vec()), Act::Break],
        Some(from) => {
            let other = Request { from: Some(from - 1), ..request.clone() };
            vec![Act::Send(head(&other, bundle.len())), Act::Send(bundle[from - 1..].to_vec())]
        }
    });
    assert_eq!(World::new(&authority, &[site.address()]).refusal(), "http-refused");
}

#[test]
fn what_one_source_began_no_other_one_completes() {
    let authority = Authority::new();
    let spoils = source(&authority, |_, bundle| vec![ok(bundle.len()), Act::Send(vec![7; 100_000]), Act::Break]);
    let mut world = World::new(&authority, &[spoils.address(), good(&authority).address()]);
    world.config.patience.resumes = 0;
    world.rescue().expect("the second source suffices");
    assert_eq!(world.written(), bundle());
}

#[test]
fn a_source_that_sends_elsewhere_or_has_nothing_is_passed_over() {
    let authority = Authority::new();
    let elsewhere = Site::new(authority.issue(Wish::server()), |_| {
        vec![Act::Send(b"HTTP/1.1 302 Found\r\nLocation: https://other.example/\r\nContent-Length: 0\r\n\r\n".to_vec())]
    });
    let nothing = Site::of_files(authority.issue(Wish::server()), vec![]);
    let sources = [elsewhere.address(), nothing.address(), good(&authority).address()];
    let mut world = World::new(&authority, &sources);
    world.rescue().expect("the third source suffices");
    assert_eq!(world.told[1..4], ["refused not-served", "refused not-served", "offered 3"]);
}

#[test]
fn an_old_bundle_stays_refused_however_well_it_is_signed() {
    let authority = Authority::new();
    let files = vec![(DESCRIPTOR, signed(2, &bundle())), (PATH, bundle())];
    let site = Site::of_files(authority.issue(Wish::server()), files);
    let mut world = World::new(&authority, &[site.address()]);
    let fault = world.rescue().expect_err("it has to be refused");
    assert_eq!((fault.code, fault.blame), ("version-too-old", Blame::Channel));
    assert_eq!(site.requests().len(), 1, "its bundle was asked for");
}

#[test]
fn a_frozen_source_hides_nothing_that_another_one_has() {
    let authority = Authority::new();
    let newer: Vec<u8> = b"a newer bundle".to_vec();
    let files = vec![(DESCRIPTOR, signed(4, &newer)), (PATH, newer.clone())];
    let fresh = Site::of_files(authority.issue(Wish::server()), files);
    let mut world = World::new(&authority, &[good(&authority).address(), fresh.address()]);
    assert_eq!(world.rescue().expect("it holds").get().version, 4);
    assert_eq!(world.written(), newer);
}

/// Nobody has set the clock; the time that one descriptor was signed at tells that another one has expired.
#[test]
fn a_descriptor_expires_by_the_time_that_another_one_was_signed_at() {
    let authority = Authority::new();
    let mut expired = payload(5, &bundle());
    expired["time"] = json!("2026-10-02T00:00:00Z");
    expired["expires"] = json!("2026-10-31T00:00:00Z");
    let descriptor = envelope(&expired, &[&key(1), &key(2)]);
    let frozen = Site::of_files(authority.issue(Wish::server()), vec![(DESCRIPTOR, descriptor), (PATH, bundle())]);
    assert!(
        World::new(&authority, &[frozen.address()]).rescue().is_ok(),
        "alone it counts: nothing says what time it is"
    );
    let mut world = World::new(&authority, &[frozen.address(), good(&authority).address()]);
    assert_eq!(world.rescue().expect("it holds").get().version, 3);
    assert_eq!(world.told[1..4], ["offered 5", "offered 3", "refused descriptor-expired"]);
}

#[test]
fn all_sources_are_asked_again_and_no_more_often_than_said() {
    let authority = Authority::new();
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    let files = vec![(DESCRIPTOR, signed(3, &bundle())), (PATH, bundle())];
    let late = Site::new(authority.issue(Wish::server()), move |request| {
        if counted.fetch_add(1, Ordering::Relaxed) < 2 {
            return vec![Act::Send(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n".to_vec())];
        }
        file(&files, request)
    });
    let mut world = World::new(&authority, &[late.address()]);
    world.config.patience.rounds = 2;
    assert_eq!(world.refusal(), "not-served");
    assert_eq!(asked.load(Ordering::Relaxed), 2);
    world.config.patience.rounds = 3;
    assert!(world.rescue().is_ok());
}

#[test]
fn nobody_at_the_address_is_told_as_that() {
    let authority = Authority::new();
    // Bound and closed again: nobody listens there.
    let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a port").port();
    let mut world = World::new(&authority, &[format!("https://127.0.0.1:{port}/")]);
    let fault = world.rescue().expect_err("nobody is there");
    assert_eq!((fault.code, fault.blame), ("unreachable", Blame::Network));
}

#[test]
fn of_all_failures_the_gravest_is_told() {
    let authority = Authority::new();
    let unsigned = Site::of_files(
        authority.issue(Wish::server()),
        vec![(DESCRIPTOR, envelope(&payload(3, &bundle()), &[&key(1)]))],
    );
    let nothing = Site::of_files(authority.issue(Wish::server()), vec![]);
    let mut world = World::new(&authority, &[unsigned.address(), nothing.address()]);
    assert_eq!(world.refusal(), "too-few-signatures");
}

#[test]
fn a_destination_that_cannot_be_written_ends_it_at_once() {
    let authority = Authority::new();
    let site = good(&authority);
    let mut world = World::new(&authority, &[site.address(), site.address()]);
    world.config.destination = world.path("no/such/directory/bundle");
    let fault = world.rescue().expect_err("there is no such directory");
    assert_eq!((fault.code, fault.blame), ("destination-unwritable", Blame::Box));
    assert_eq!(site.requests().len(), 2, "no bundle was asked for");
}
