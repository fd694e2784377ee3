//! How a box becomes known, and how it stays known.
use crate::fixture::{Channel, Device, PLAIN};
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};
use sund_channel::limits::device::MAX_ATTRIBUTES;
use sund_channel::rollout::filter::Attributes;
use sund_channel::server::control::{Answer, Request};

async fn code(channel: &Channel, name: &str) -> String {
    let attributes = [("site".to_owned(), "odense".to_owned())].into();
    channel.secret(Request::Enrol { name: name.to_owned(), attributes, hours: 1 }).await
}

pub fn request(key: &KeyPair, asks_for: &str) -> String {
    let mut params = CertificateParams::new(vec![asks_for.to_owned()]).unwrap();
    params.distinguished_name.push(rcgen::DnType::CommonName, asks_for);
    params.serialize_request(key).unwrap().pem().unwrap()
}

async fn enrol(channel: &Channel, client: &Client, code: &str, csr: &str) -> (StatusCode, Value) {
    let answer =
        client.post(channel.url("/enrol")).json(&json!({ "code": code, "csr_pem": csr })).send().await.unwrap();
    (answer.status(), answer.json().await.unwrap())
}

fn device(channel: &Channel, name: &str, answer: &Value, key: &KeyPair) -> Device {
    let identity = format!("{}{}", answer["certificate_pem"].as_str().unwrap(), key.serialize_pem());
    Device { name: name.into(), root: channel.root(name), client: channel.client(Some(&identity)), token: None }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_becomes_a_certificate_once_and_the_certificate_its_successor() {
    let channel = Channel::start(PLAIN).await;
    let (code, key, client) = (code(&channel, "odense-1").await, KeyPair::generate().unwrap(), channel.client(None));
    // Whatever name the box asks for, it gets the one that its code is for.
    let (status, answer) = enrol(&channel, &client, &code.to_lowercase(), &request(&key, "vejle-1")).await;
    assert_eq!((status, answer["name"].as_str()), (StatusCode::OK, Some("odense-1")), "{answer}");
    let days = (answer["not_after"].as_i64().unwrap() - sund_channel::database::now()) / 86_400_000;
    assert!((89..=90).contains(&days), "{days}");
    let odense = device(&channel, "odense-1", &answer, &key);
    assert_eq!(odense.get("").await.status(), StatusCode::OK);
    assert_eq!(device(&channel, "vejle-1", &answer, &key).get("").await.status(), StatusCode::UNAUTHORIZED);

    // The answer may have been lost: the same key may ask again. Another one may not.
    assert_eq!(enrol(&channel, &client, &code, &request(&key, "x")).await.0, StatusCode::OK);
    let thief = KeyPair::generate().unwrap();
    let (status, refused) = enrol(&channel, &client, &code, &request(&thief, "x")).await;
    assert_eq!((status, refused["errorCode"].as_str()), (StatusCode::FORBIDDEN, Some("enrol-code")));

    let renew = |client: Client, key: &KeyPair| {
        client.post(channel.url("/enrol/renew")).json(&json!({ "csr_pem": request(key, "vejle-1") })).send()
    };
    assert_eq!(renew(client.clone(), &key).await.unwrap().status(), StatusCode::UNAUTHORIZED);
    // For the key that it has, and for no other.
    assert_eq!(renew(odense.client.clone(), &thief).await.unwrap().status(), StatusCode::FORBIDDEN);
    let renewed: Value = renew(odense.client.clone(), &key).await.unwrap().json().await.unwrap();
    let odense = device(&channel, "odense-1", &renewed, &key);
    assert_eq!(odense.get("").await.status(), StatusCode::OK);

    // A stolen key is worth nothing once the box has enrolled anew: neither the certificate nor its renewal.
    let (stolen, second) = (odense, self::code(&channel, "odense-1").await);
    let fresh = KeyPair::generate().unwrap();
    let (status, answer) = enrol(&channel, &client, &second, &request(&fresh, "x")).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(stolen.get("").await.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(renew(stolen.client.clone(), &key).await.unwrap().status(), StatusCode::UNAUTHORIZED);
    let odense = device(&channel, "odense-1", &answer, &fresh);
    assert_eq!(odense.get("").await.status(), StatusCode::OK);

    // Shut out: on connections that are open too.
    channel.ask(Request::Block { name: "odense-1".into(), blocked: true }).await.unwrap();
    assert_eq!(odense.get("").await.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(renew(odense.client.clone(), &fresh).await.unwrap().status(), StatusCode::UNAUTHORIZED);
    channel.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn three_wrong_codes_lock_the_address_out() {
    let channel = Channel::start(PLAIN).await;
    let (right, key, client) = (code(&channel, "odense-1").await, KeyPair::generate().unwrap(), channel.client(None));
    let csr = request(&key, "odense-1");
    for _ in 0..3 {
        assert_eq!(enrol(&channel, &client, "00000-00000-00000-00000", &csr).await.0, StatusCode::FORBIDDEN);
    }
    let locked =
        client.post(channel.url("/enrol")).json(&json!({ "code": right, "csr_pem": csr })).send().await.unwrap();
    assert_eq!(locked.status(), StatusCode::TOO_MANY_REQUESTS);
    assert!(locked.headers().contains_key("retry-after"));
    channel.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_code_makes_the_older_one_void_and_a_token_stays_out_of_the_database() {
    let channel = Channel::start(PLAIN).await;
    let old = code(&channel, "odense-1").await;
    let new = code(&channel, "odense-1").await;
    let (key, client) = (KeyPair::generate().unwrap(), channel.client(None));
    assert_eq!(enrol(&channel, &client, &old, &request(&key, "x")).await.0, StatusCode::FORBIDDEN);
    assert_eq!(enrol(&channel, &client, &new, &request(&key, "x")).await.0, StatusCode::OK);
    let vejle = channel.device("vejle-1", &[]).await;
    let home = channel.stop().await;
    let database = std::fs::read(home.path().join("channel.db")).unwrap();
    for secret in [new.replace('-', ""), vejle.token.unwrap()] {
        assert!(!database.windows(secret.len()).any(|bytes| bytes == secret.as_bytes()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_theft_a_new_authority_vouches_for_no_box_of_the_old_one_and_a_new_code_brings_it_back() {
    let channel = Channel::start(PLAIN).await;
    let (first, key) = (code(&channel, "odense-1").await, KeyPair::generate().unwrap());
    let (_, answer) = enrol(&channel, &channel.client(None), &first, &request(&key, "x")).await;
    let unused = code(&channel, "vejle-1").await;
    assert_eq!(device(&channel, "odense-1", &answer, &key).get("").await.status(), StatusCode::OK);
    let home = channel.stop().await;
    let stolen = tempfile::tempdir().unwrap();
    std::fs::rename(home.path().join("ca"), stolen.path().join("ca")).unwrap();
    let channel = Channel::start_on(home, PLAIN).await;
    // Neither side takes the other: not the box's certificate, and not the server's by the old authority.
    assert!(device(&channel, "odense-1", &answer, &key).client.get(channel.root("odense-1")).send().await.is_err());
    let behind = crate::fixture::client(stolen.path(), None);
    assert!(behind.get(channel.url("/health")).send().await.is_err());
    // With the new authority and a new code the box is what it was. A code that the thief may have is void by the next one.
    let second = code(&channel, "odense-1").await;
    let (status, answer) = enrol(&channel, &channel.client(None), &second, &request(&key, "x")).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(device(&channel, "odense-1", &answer, &key).get("").await.status(), StatusCode::OK);
    code(&channel, "vejle-1").await;
    let (status, _) = enrol(&channel, &channel.client(None), &unused, &request(&key, "x")).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    channel.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_code_changes_no_attribute_that_it_does_not_name() {
    let channel = Channel::start(PLAIN).await;
    let pairs = |pairs: &[(&str, &str)]| -> Attributes {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    };
    let name = || "odense-1".to_owned();
    let of_box = || async {
        let found = channel.ask(Request::Devices { search: name(), page: 0 }).await.unwrap();
        if let Answer::Devices(boxes, _) = found { boxes[0].attributes.clone() } else { panic!("{found:?}") }
    };
    channel.secret(Request::Token { name: name(), attributes: pairs(&[("site", "odense"), ("ring", "canary")]) }).await;
    channel.secret(Request::Enrol { name: name(), attributes: pairs(&[("site", "aarhus")]), hours: 1 }).await;
    assert_eq!(of_box().await, pairs(&[("ring", "canary"), ("site", "aarhus")]));
    channel.secret(Request::Token { name: name(), attributes: Attributes::new() }).await;
    assert_eq!(of_box().await.len(), 2);
    // Without a code: it stays who it is, and one that is taken back is gone.
    let set = Request::Set { name: name(), attributes: pairs(&[("ring", ""), ("floor", "2")]) };
    let all = pairs(&[("floor", "2"), ("site", "aarhus")]);
    assert_eq!(channel.ask(set).await.unwrap(), Answer::Attributes(all.clone()));
    assert_eq!(of_box().await, all);
    let many: Attributes = (0..=MAX_ATTRIBUTES).map(|n| (n.to_string(), "x".to_owned())).collect();
    let refused = channel.ask(Request::Set { name: name(), attributes: many }).await.unwrap_err();
    assert_eq!((refused.code.as_ref(), of_box().await), ("device-attributes", all));
    // Nobody is made known by it, and a mirror is in no group.
    channel.secret(Request::EnrolMirror { name: "mirror-1".to_owned(), hours: 1 }).await;
    for unknown in ["odense-2", "mirror-1"] {
        let set = Request::Set { name: unknown.to_owned(), attributes: pairs(&[("ring", "canary")]) };
        assert_eq!(channel.ask(set).await.unwrap_err().code, "device-unknown", "{unknown}");
    }
    channel.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_somebody_else_made_opens_nothing() {
    let channel = Channel::start(PLAIN).await;
    channel.device("odense-1", &[]).await;
    // The same names, another key; and a device's certificate that signs another one.
    let mut params = CertificateParams::default();
    params.distinguished_name.push(rcgen::DnType::CommonName, "Sund channel devices");
    params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let forged = Issuer::new(params, KeyPair::generate().unwrap());
    let code = code(&channel, "vejle-1").await;
    let own = KeyPair::generate().unwrap();
    let (_, answer) = enrol(&channel, &channel.client(None), &code, &request(&own, "x")).await;
    let chain = answer["certificate_pem"].as_str().unwrap().to_owned();
    let leaf = Issuer::from_ca_cert_pem(&chain, own).unwrap();
    for (issuer, chain) in [(forged, String::new()), (leaf, chain)] {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(rcgen::DnType::CommonName, "odense-1");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let certificate = params.signed_by(&key, &issuer).unwrap().pem();
        let client = channel.client(Some(&format!("{certificate}{chain}{}", key.serialize_pem())));
        assert!(client.get(channel.root("odense-1")).send().await.is_err(), "the handshake ends there");
    }
    channel.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_servers_own_certificate_is_no_devices() {
    // It comes from the same authority; its use is another one.
    let channel = Channel::start(PLAIN).await;
    let authority = sund_channel::enrol::authority::Authority::open(channel.home.path()).unwrap();
    let (chain, key) = authority.issue_server(&["odense-1".to_owned()], sund_channel::database::now()).unwrap();
    channel.device("odense-1", &[]).await;
    let client = channel.client(Some(&format!("{chain}{key}")));
    assert!(client.get(channel.root("odense-1")).send().await.is_err());
    channel.stop().await;
}
