//! Who may answer for a source, and who is refused.
use crate::authority::{Authority, Identity, Wish};
use crate::forger::{self, Flight};
use crate::released::{envelope, key, payload};
use crate::site::Site;
use crate::world::World;
use sund_rescue::fault::Fault;
use sund_rescue::moment::Moment;

const BUNDLE: &[u8] = b"a recovery bundle";

fn site(identity: Identity) -> Site {
    let descriptor = envelope(&payload(3, BUNDLE), &[&key(1), &key(2)]);
    Site::of_files(identity, vec![("rescue/rescue.json", descriptor), ("rescue/bundle.raucb", BUNDLE.to_vec())])
}

fn accepted(authority: &Authority, identity: Identity) {
    let mut world = World::new(authority, &[site(identity).address()]);
    let admitted = world.rescue().expect("it holds");
    assert_eq!((admitted.get().version, world.written().as_slice()), (3, BUNDLE));
}

fn refused(authority: &Authority, identity: Identity) -> Fault {
    let site = site(identity);
    let mut world = World::new(authority, &[site.address()]);
    let fault = world.rescue().expect_err("it has to be refused");
    assert!(site.requests().is_empty(), "something was asked of a server that is not the source");
    assert!(!world.config.destination.exists());
    fault
}

fn forged(authority: &Authority, flight: Flight) -> Fault {
    let address = format!("https://localhost:{}/", forger::listen(flight));
    World::new(authority, &[address]).rescue().expect_err("it has to be refused")
}

#[test]
fn a_server_of_the_authority_is_taken_on_each_curve() {
    let authority = Authority::new();
    for algorithm in [&rcgen::PKCS_ECDSA_P256_SHA256, &rcgen::PKCS_ECDSA_P384_SHA384, &rcgen::PKCS_ED25519] {
        accepted(&authority, authority.issue(Wish::server().with_key(algorithm)));
    }
}

#[test]
fn a_server_behind_an_intermediate_ca_is_taken() {
    let authority = Authority::new();
    accepted(&authority, authority.issue_through(Wish::intermediate(), Wish::server()));
}

#[test]
fn a_certificate_that_is_no_ca_issues_none() {
    let authority = Authority::new();
    for between in [Wish::server(), Wish::server().no_ca(), Wish::intermediate().no_ca()] {
        let fault = refused(&authority, authority.issue_through(between, Wish::server()));
        assert_eq!(fault.code, "certificate-refused");
        assert!(fault.reason.contains("no CA"), "{fault}");
    }
}

#[test]
fn a_certificate_for_clients_serves_nobody() {
    let authority = Authority::new();
    let fault = refused(&authority, authority.issue(Wish::server().for_clients()));
    assert_eq!(fault.code, "certificate-refused");
    assert!(fault.reason.contains("not for servers"), "{fault}");
}

#[test]
fn an_authority_for_clients_issues_no_server() {
    let authority = Authority::new();
    let fault = refused(&authority, authority.issue_through(Wish::intermediate().for_clients(), Wish::server()));
    assert!(fault.reason.contains("not for servers"), "{fault}");
}

#[test]
fn a_certificate_for_another_name_is_refused() {
    let authority = Authority::new();
    let fault = refused(&authority, authority.issue(Wish::server().named("other.example")));
    assert!(fault.reason.contains("another name than localhost"), "{fault}");
}

#[test]
fn an_address_is_a_name_only_where_the_certificate_says_so() {
    let authority = Authority::new();
    let by_address = |identity| {
        let site = site(identity);
        World::new(&authority, &[format!("https://127.0.0.1:{}/", site.port())]).rescue()
    };
    assert!(by_address(authority.issue(Wish::server().named("127.0.0.1"))).is_ok());
    assert_eq!(
        by_address(authority.issue(Wish::server())).map_err(|fault| fault.code).err(),
        Some("certificate-refused")
    );
}

#[test]
fn a_self_signed_certificate_is_refused() {
    let fault = refused(&Authority::new(), Wish::server().self_signed());
    assert!(fault.reason.contains("no authority"), "{fault}");
}

#[test]
fn another_authority_of_the_same_name_is_refused() {
    let stranger = Authority::new();
    let fault = refused(&Authority::new(), stranger.issue(Wish::server()));
    assert_eq!(fault.code, "certificate-refused");
}

#[test]
fn a_certificate_that_had_ended_when_the_initramfs_was_made_is_refused() {
    let authority = Authority::new();
    let fault = refused(&authority, authority.issue(Wish::server().valid(2020, 2025)));
    assert!(fault.reason.contains("expired on 2025-01-01"), "{fault}");
}

#[test]
fn a_certificate_that_began_after_the_initramfs_was_made_is_taken() {
    let authority = Authority::new();
    accepted(&authority, authority.issue(Wish::server().valid(2031, 2032)));
    accepted(
        &authority,
        authority.issue_through(Wish::intermediate().valid(2028, 2035), Wish::server().valid(2030, 2031)),
    );
}

#[test]
fn two_certificates_that_never_held_together_are_refused() {
    let authority = Authority::new();
    let between = Wish::intermediate().valid(2020, 2028);
    let fault = refused(&authority, authority.issue_through(between, Wish::server().valid(2030, 2031)));
    assert!(fault.reason.contains("expired on 2028-01-01"), "{fault}");
}

/// The descriptor says that it is November 2026; the certificate that it came over had ended in January.
#[test]
fn a_certificate_is_judged_again_by_the_time_that_was_signed() {
    let authority = Authority::new();
    let site = site(authority.issue(Wish::server().valid(2020, 2026)));
    let mut world = World::new(&authority, &[site.address()]);
    world.config.built = Moment::parse("2025-06-01T00:00:00Z").expect("a time");
    std::fs::write(&world.config.destination, "what lay there").expect("it is written");
    assert_eq!(world.rescue().map_err(|fault| fault.code).err(), Some("certificate-refused"));
    assert_eq!(world.written(), b"what lay there", "the destination was touched");
    assert_eq!(world.told, ["minimum 3", "offered 3", "refused certificate-refused"]);
    assert_eq!(site.requests().len(), 1, "its bundle was asked for all the same");
}

#[test]
fn who_has_the_certificate_and_not_its_key_is_refused() {
    let authority = Authority::new();
    let thief = Identity { chain: authority.issue(Wish::server()).chain, key: authority.issue(Wish::server()).key };
    let fault = refused(&authority, thief);
    assert_eq!(fault.code, "identity-unproven");
    assert!(fault.reason.contains("does not have the key"), "{fault}");
}

/// The TLS library takes each of these handshakes to its end; "left out" is what only our verifier says, after it.
#[test]
fn a_handshake_without_certificate_or_signature_proves_nothing() {
    let authority = Authority::new();
    let chain = authority.issue(Wish::server()).chain;
    for messages in [vec![], vec![forger::certificate(&chain)]] {
        let fault = forged(&authority, Flight::Messages(messages));
        assert_eq!(fault.code, "identity-unproven");
        assert!(fault.reason.contains("left out"), "{fault}");
    }
}

#[test]
fn certificate_and_signature_come_once_and_in_order() {
    let authority = Authority::new();
    let (shown, signed) = (forger::certificate(&authority.issue(Wish::server()).chain), forger::certificate_verify());
    for (messages, reason) in [
        (vec![signed.clone(), shown.clone()], "signs the handshake at the wrong time"),
        (vec![shown.clone(), shown.clone(), signed.clone()], "shows its certificate at the wrong time"),
        (vec![shown, signed], "does not have the key"),
        (vec![forger::certificate(&[])], "shows no certificate"),
    ] {
        let fault = forged(&authority, Flight::Messages(messages));
        assert!(fault.reason.contains(reason), "{fault}");
    }
}

#[test]
fn a_server_that_makes_tls_panic_costs_one_source() {
    let authority = Authority::new();
    let bad = format!("https://localhost:{}/", forger::listen(Flight::EmptyRecord));
    let mut world = World::new(&authority, &[bad, site(authority.issue(Wish::server())).address()]);
    assert!(world.rescue().is_ok());
    assert_eq!(world.told[1], "refused tls-refused");
}
