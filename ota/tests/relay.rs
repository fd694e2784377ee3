//! What RAUC streams goes through the updater.
use super::appliance::Appliance;
use super::web::plain_client;
use std::num::NonZeroU64;
use std::time::{Duration, Instant};
use sund_ota::config::Config;
use sund_ota::http::Http;
use sund_ota::rauc::relay::Relay;
use tokio::net::TcpStream;

const PLACE: &str = "targets/os/0.sund.raucb";

/// A store with a bundle, and a relay of it.
async fn relayed(bundle: &[u8], cap: Option<u64>) -> (Appliance, Relay) {
    let appliance = Appliance::new().await;
    appliance.channel.told().files.insert(PLACE.to_owned(), bundle.to_vec());
    let config = Config::read(&appliance.configuration()).expect("a configuration");
    let source = format!("http://{}/repository/{PLACE}", appliance.channel.address).parse().expect("a URL");
    let http = Http::new(&config).expect("credentials");
    let relay = Relay::start(http, source, cap.and_then(NonZeroU64::new)).await.expect("a relay");
    (appliance, relay)
}

#[tokio::test(flavor = "multi_thread")]
async fn who_connects_and_asks_for_nothing_keeps_rauc_from_nothing() {
    let (_appliance, relay) = relayed(b"a bundle", None).await;
    let address = format!("127.0.0.1:{}", relay.url.port().expect("a port"));
    let mut idle = Vec::new();
    for _ in 0..100 {
        idle.push(TcpStream::connect(&address).await.expect("a connection"));
    }
    let begin = Instant::now();
    let answer = plain_client().get(relay.url.clone()).send().await.expect("an answer");
    assert_eq!(answer.bytes().await.expect("a body").as_ref(), b"a bundle");
    assert!(begin.elapsed() < Duration::from_secs(8), "no head was waited for: {:?}", begin.elapsed());
    assert_eq!(relay.trouble(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cap_of_the_line_counts_for_all_that_rauc_streams_together() {
    let (_appliance, relay) = relayed(&vec![7; 60_000], Some(40_000)).await;
    let begin = Instant::now();
    let part = async |range: &str| {
        let request = plain_client().get(relay.url.clone()).header("range", range);
        request.send().await.expect("an answer").bytes().await.expect("a body").len()
    };
    let lengths = tokio::join!(part("bytes=0-29999"), part("bytes=30000-59999"));
    assert_eq!(lengths, (30_000, 30_000));
    assert_eq!(relay.fetched(), 60_000);
    assert!(begin.elapsed() >= Duration::from_millis(1400), "60 KB at 40 KB/s in {:?}", begin.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_goes_wrong_at_the_store_is_known_and_what_rauc_itself_leaves_is_not() {
    let (appliance, relay) = relayed(b"a bundle", None).await;
    let address = format!("127.0.0.1:{}", relay.url.port().expect("a port"));
    drop(TcpStream::connect(&address).await.expect("a connection"));
    assert_eq!(relay.trouble(), None);
    appliance.channel.told().is_away = true;
    assert_eq!(plain_client().get(relay.url.clone()).send().await.expect("an answer").status(), 502);
    assert!(relay.trouble().is_some_and(|why| why.contains("502")));
}
