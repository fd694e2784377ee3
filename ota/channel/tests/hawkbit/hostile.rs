//! A hawkBit that is broken, taken over, or something else altogether.
use std::time::Duration;
use sund_channel::hawkbit::{Login, Management, fleet, status};
use sund_ota::fault::Fault;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// A server that answers each connection with these bytes, `again` and again as long as they are taken.
async fn server(answer: String, again: String) -> Management {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}/", listener.local_addr().expect("an address"));
    tokio::spawn(async move {
        while let Ok((mut connection, _)) = listener.accept().await {
            let (answer, again) = (answer.clone(), again.clone());
            tokio::spawn(async move {
                let mut request = [0; 8192];
                let _ = connection.read(&mut request).await;
                let mut sent = connection.write_all(answer.as_bytes()).await;
                while sent.is_ok() && !again.is_empty() {
                    sent = connection.write_all(again.as_bytes()).await;
                }
            });
        }
    });
    login(&url).expect("a client")
}

fn login(url: &str) -> Result<Management, Fault> {
    patient(url, Duration::from_secs(30))
}

fn patient(url: &str, within: Duration) -> Result<Management, Fault> {
    Management::new(Login { url: url.to_owned(), user: "admin".into(), password: "secret".into(), ca: None, within })
}

fn http(status: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
}

async fn refusal(management: &Management) -> Fault {
    status(management, "north").await.expect_err("refused")
}

#[tokio::test]
async fn endless_data_fills_no_memory() {
    let endless = "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n[".to_owned();
    let fault = refusal(&server(endless, " ".repeat(65536)).await).await;
    assert_eq!(fault.code, "hawkbit-answer");
}

#[tokio::test]
async fn slow_data_holds_nobody_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}/", listener.local_addr().expect("an address"));
    let slow = tokio::spawn(async move {
        let (mut connection, _) = listener.accept().await.expect("a connection");
        // A byte each time, for as long as somebody takes them.
        let mut sent = connection.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n[").await;
        while sent.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
            sent = connection.write_all(b" ").await;
        }
    });
    let fault = refusal(&patient(&url, Duration::from_millis(500)).expect("a client")).await;
    assert_eq!(fault.code, "hawkbit-unreachable");
    slow.await.expect("the connection was given up");
}

#[tokio::test]
async fn a_list_that_never_ends_is_given_up() {
    let page = r#"{"content":[{"controllerId":"box","updateStatus":"unknown"}],"total":100001}"#;
    let fault = fleet(&server(http("200 OK", page), String::new()).await, None).await.expect_err("refused");
    assert_eq!(fault.code, "hawkbit-answer");
}

#[tokio::test]
async fn another_site_behind_the_address_is_told_apart() {
    let fault = refusal(&server(http("200 OK", "<html>Sign in</html>"), String::new()).await).await;
    assert_eq!(fault.code, "hawkbit-answer");
}

#[tokio::test]
async fn a_wrong_password_is_the_configurations_fault() {
    let fault = refusal(&server(http("401 Unauthorized", ""), String::new()).await).await;
    assert_eq!((fault.code.as_ref(), fault.blame), ("hawkbit-login-refused", sund_ota::fault::Blame::Configuration));
}

#[tokio::test]
async fn a_redirect_takes_the_password_nowhere() {
    let elsewhere = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let to = elsewhere.local_addr().expect("an address");
    let answer = format!("HTTP/1.1 302 Found\r\nLocation: http://{to}/\r\nContent-Length: 0\r\n\r\n");
    let fault = refusal(&server(answer, String::new()).await).await;
    assert_eq!(fault.code, "hawkbit-refused");
    let nobody = std::future::poll_fn(|context| std::task::Poll::Ready(elsewhere.poll_accept(context).is_pending()));
    assert!(nobody.await, "somebody came to where the redirect led");
}

#[tokio::test]
async fn a_server_that_is_not_there_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}/", listener.local_addr().expect("an address"));
    drop(listener);
    let fault = refusal(&login(&url).expect("a client")).await;
    assert_eq!(fault.code, "hawkbit-unreachable");
    assert!(fault.reason.contains(&url), "{fault}");
}

#[test]
fn a_password_leaves_the_machine_by_https_alone() {
    let refused = login("http://hawkbit.example/").err().expect("refused");
    assert_eq!(refused.code, "hawkbit-login-invalid");
    assert!(login("https://hawkbit.example/").is_ok());
}
