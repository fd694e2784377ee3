//! The server's own certificate: replaced on the disk, or past its time.
use crate::fixture::{Channel, PLAIN, pass};
use crate::region::Region;
use crate::renewal::until;
use reqwest::tls::TlsInfo;
use reqwest::{Certificate, Client};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use std::fs;
use std::path::Path;
use std::time::Duration;
use sund_channel::database::now;
use sund_channel::enrol::authority::Authority;
use sund_channel::repository::Alarm;
use sund_channel::server::control::{Answer, Request};
use tempfile::TempDir;

const DAY: i64 = 24 * 60 * 60 * 1000;

/// The region's own PKI, and the server's certificate by it.
struct Pki {
    authority: Authority,
    _home: TempDir,
}

impl Pki {
    fn new() -> Self {
        let home = TempDir::new().unwrap();
        Self { authority: Authority::open(home.path()).unwrap(), _home: home }
    }

    /// A certificate for a year, issued so many days ago, and its key, PEM.
    fn issue(&self, days_ago: i64) -> (String, String) {
        self.authority.issue_server(&["localhost".to_owned()], now() - days_ago * DAY).unwrap()
    }

    /// A server with a certificate of that age, and the certificate.
    async fn serves(&self, days_ago: i64) -> (Channel, String) {
        let home = Region::new().into_home();
        let (certificate, key) = self.issue(days_ago);
        put(home.path(), &certificate, &key);
        let settings = format!("{PLAIN}\ncertificate = 'server.pem'\nkey = 'server.key'");
        (Channel::start_on(home, &settings).await, certificate)
    }

    /// What a server shows to somebody who connects.
    async fn shown(&self, channel: &Channel) -> CertificateDer<'static> {
        let authority = Certificate::from_pem(self.authority.pem().as_bytes()).unwrap();
        let client = Client::builder().tls_certs_only([authority]).tls_info(true).build().unwrap();
        let answer = client.get(channel.url("/health")).send().await.unwrap();
        let shown = answer.extensions().get::<TlsInfo>().unwrap().peer_certificate().unwrap();
        CertificateDer::from(shown.to_vec())
    }
}

fn put(home: &Path, certificate: &str, key: &str) {
    fs::write(home.join("server.pem"), certificate).unwrap();
    fs::write(home.join("server.key"), key).unwrap();
}

fn der(pem: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()
}

/// Lets minutes pass until it is so; at most two hours.
async fn within_minutes(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    for _ in 0..120 {
        if is_so().await {
            return;
        }
        pass(Duration::from_mins(1)).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("not within two hours: {what}");
}

async fn alarms(channel: &Channel) -> Vec<Alarm> {
    let Answer::Overview(overview) = channel.ask(Request::Overview).await.unwrap() else { panic!() };
    overview.repository.alarms
}

#[tokio::test]
async fn a_servers_certificate_that_was_replaced_is_shown_without_a_restart() {
    let pki = Pki::new();
    let (channel, first) = pki.serves(0).await;
    assert_eq!(pki.shown(&channel).await, der(&first));
    let (second, key) = pki.issue(0);
    put(channel.home.path(), &second, &key);
    within_minutes("the second is shown", async || pki.shown(&channel).await == der(&second)).await;
    assert_eq!(alarms(&channel).await, []);
    channel.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_servers_certificate_past_two_thirds_of_its_life_is_alarming() {
    let (channel, _) = Pki::new().serves(260).await;
    let found = until(&channel, |upkeep| !upkeep.alarms.is_empty()).await;
    let [alarm] = found.alarms.as_slice() else { panic!("{:#?}", found.alarms) };
    assert!(alarm.role == "server" && (104..=105).contains(&alarm.days_left), "{alarm:#?}");
    channel.stop().await;
}

#[tokio::test]
async fn a_replacement_that_cannot_serve_leaves_the_certificate_before_it_and_is_told() {
    let pki = Pki::new();
    let (channel, first) = pki.serves(0).await;
    let ((next, key), (ended, its_key)) = (pki.issue(0), pki.issue(400));
    for (what, certificate, key) in [
        ("the key is not that of the certificate", next.as_str(), its_key.as_str()),
        ("no certificate in its file", "", key.as_str()),
        ("cannot be used", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", key.as_str()),
        ("cannot be used", next.as_str(), ""),
        ("it has ended", ended.as_str(), its_key.as_str()),
    ] {
        put(channel.home.path(), certificate, key);
        let told = async || alarms(&channel).await.iter().any(|it| it.role == "server" && it.advice.contains(what));
        within_minutes(what, told).await;
        assert_eq!(pki.shown(&channel).await, der(&first), "{what}");
    }
    fs::remove_file(channel.home.path().join("server.pem")).unwrap();
    let told = async || alarms(&channel).await.iter().any(|it| it.advice.contains("server.pem is not there"));
    within_minutes("it is gone", told).await;
    put(channel.home.path(), &next, &key);
    within_minutes("the next is shown", async || pki.shown(&channel).await == der(&next)).await;
    within_minutes("all is well", async || alarms(&channel).await.is_empty()).await;
    channel.stop().await;
}
