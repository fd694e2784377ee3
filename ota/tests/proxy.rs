//! A site whose way to the channel leads through a proxy.
use super::appliance::Appliance;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

#[tokio::test(flavor = "multi_thread")]
async fn the_channel_is_reached_through_the_proxy_and_what_is_on_this_box_without_it() {
    let appliance = Appliance::new().await;
    let proxy = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let line = format!("proxy = \"http://{}\"\n[repository]", proxy.local_addr().expect("an address"));
    let text = std::fs::read_to_string(appliance.configuration()).expect("updater.toml");
    std::fs::write(appliance.configuration(), text.replace("[repository]", &line)).expect("updater.toml");
    assert_eq!(appliance.once().await, Some(0), "the loopback interface is no matter of a proxy");

    let http = format!("http://127.0.0.1:{}", appliance.channel.address.port());
    let key = rcgen::KeyPair::generate().expect("a key");
    let ca = rcgen::CertificateParams::new(Vec::new()).expect("parameters").self_signed(&key).expect("a certificate");
    let (ca_file, token) = (appliance.directory.path().join("ca.pem"), appliance.directory.path().join("token"));
    std::fs::write(&ca_file, ca.pem()).expect("ca.pem");
    std::fs::write(&token, "secret").expect("a token");
    let credentials = format!("ca = \"{}\"\ntoken = \"{}\"\nproxy =", ca_file.display(), token.display());
    let text = std::fs::read_to_string(appliance.configuration()).expect("updater.toml");
    let text = text.replace(&http, "https://channel.north.example").replace("proxy =", &credentials);
    std::fs::write(appliance.configuration(), text).expect("updater.toml");
    let asked = tokio::spawn(async move {
        let (mut stream, _) = proxy.accept().await.expect("it is asked");
        let mut head = [0; 1024];
        let length = stream.read(&mut head).await.expect("a request");
        stream.write_all(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n").await.expect("an answer");
        String::from_utf8_lossy(&head[..length]).into_owned()
    });
    assert_eq!(appliance.once().await, Some(75), "the channel is away");
    let asked = asked.await.expect("a request");
    assert!(asked.starts_with("CONNECT channel.north.example:443 HTTP/1.1\r\n"), "{asked}");
    assert!(!asked.contains("secret"), "the token is for the server alone: {asked}");
}
