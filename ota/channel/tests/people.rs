//! Who may see the fleet page, and who may order what.
use crate::fixture::{Channel, Device, new};
use reqwest::{Client, Response, StatusCode};
use sund_channel::fleet::hash_password;
use sund_channel::rollout::New;
use sund_channel::rollout::orders::Order;
use sund_channel::server::control::{Answer, Request};

pub const PASSWORD: &str = "rødgrød med fløde";

/// `[server]` with a viewer, an operator and an approver, named by their roles.
pub fn settings() -> String {
    let hash = hash_password(PASSWORD).unwrap();
    let user = |role: &str| format!("[[server.users]]\nname = '{role}'\nrole = '{role}'\npassword = '{hash}'\n");
    ["viewer", "operator", "approver"].map(user).concat()
}

async fn login(channel: &Channel, user: &str, password: &str) -> (Client, Response) {
    let client = channel.client(None);
    let form = [("user", user), ("password", password)];
    let form = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
    let answer = client
        .post(channel.url("/login"))
        .header("origin", channel.url(""))
        .header("content-type", "application/x-www-form-urlencoded")
        .body(form)
        .send()
        .await
        .unwrap();
    (client, answer)
}

/// The cookie of a person who has logged in.
pub async fn session(channel: &Channel, user: &str) -> String {
    let (_, answer) = login(channel, user, PASSWORD).await;
    assert_eq!(answer.status(), StatusCode::SEE_OTHER);
    let cookie = answer.headers()["set-cookie"].to_str().unwrap();
    assert!(cookie.starts_with("__Host-") && cookie.contains("HttpOnly; Secure; SameSite=Strict"), "{cookie}");
    cookie.split(';').next().unwrap().to_owned()
}

/// What a person posts after a login.
async fn post(channel: &Channel, user: &str, path: &str, new: Option<&New>) -> Response {
    let cookie = session(channel, user).await;
    let post = channel.client(None).post(channel.url(path)).header("cookie", cookie).header("origin", channel.url(""));
    if let Some(new) = new { post.json(new) } else { post }.send().await.unwrap()
}

async fn order(channel: &Channel, cookie: &str, path: &str, origin: &str) -> StatusCode {
    let post = channel.client(None).post(channel.url(path)).header("cookie", cookie).header("origin", origin);
    post.send().await.unwrap().status()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_role_orders_what_is_its_own_and_two_people_stand_behind_a_rollout() {
    let channel = Channel::start(&settings()).await;
    channel.device("a", &[]).await;
    channel.rollout("r1", "north-1", &["100%"]).await.unwrap();
    let origin = channel.url("");
    let (viewer, operator, approver) =
        (session(&channel, "viewer").await, session(&channel, "operator").await, session(&channel, "approver").await);
    for (cookie, kind, status) in [
        (&viewer, "approve", StatusCode::FORBIDDEN),
        (&viewer, "stop", StatusCode::FORBIDDEN),
        (&operator, "approve", StatusCode::FORBIDDEN),
        (&operator, "start", StatusCode::BAD_REQUEST),
        (&approver, "start", StatusCode::FORBIDDEN),
        (&approver, "approve", StatusCode::OK),
        (&operator, "start", StatusCode::OK),
        (&approver, "resume", StatusCode::FORBIDDEN),
        (&approver, "pause", StatusCode::OK),
        (&operator, "resume", StatusCode::OK),
        (&operator, "explode", StatusCode::BAD_REQUEST),
        (&operator, "stop", StatusCode::OK),
    ] {
        assert_eq!(order(&channel, cookie, &format!("/api/v1/rollouts/r1/{kind}"), &origin).await, status, "{kind}");
    }
    let Answer::Rollouts(rollouts) = channel.ask(Request::Rollouts { name: None }).await.unwrap() else { panic!() };
    assert_eq!(rollouts[0].approved_by.as_deref(), Some("approver"));
    assert_eq!(rollouts[0].reason.as_deref(), Some("Stopped by operator."));
    channel.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_approves_at_the_socket_or_what_they_have_made_themselves() {
    let channel = Channel::start(&settings()).await;
    channel.device("a", &[]).await;
    channel.rollout("r1", "north-1", &["100%"]).await.unwrap();
    assert_eq!(channel.order("r1", Order::Approve).await.unwrap_err().code, "rollout-approval-socket");
    assert_eq!(channel.order("r1", Order::Start).await.unwrap_err().code, "rollout-not-approved");

    // An operator makes one at the page, under the own name, and is an approver from the next start on.
    let made = post(&channel, "operator", "/api/v1/rollouts", Some(&new("r2", "north-1", &["100%"]))).await;
    assert_eq!(made.status(), StatusCode::CREATED);
    assert_eq!(channel.status("r2").await.created_by, "operator");
    let promoted = settings().replace("role = 'operator'", "role = 'approver'");
    let channel = Channel::start_on(channel.stop().await, &promoted).await;
    let own = post(&channel, "operator", "/api/v1/rollouts/r2/approve", None).await;
    assert_eq!(own.status(), StatusCode::BAD_REQUEST);
    assert!(own.text().await.unwrap().contains("rollout-own"));
    assert_eq!(post(&channel, "approver", "/api/v1/rollouts/r2/approve", None).await.status(), StatusCode::OK);
    channel.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_somebody_elses_orders_nothing_and_sees_nothing() {
    let channel = Channel::start(&settings()).await;
    channel.rollout("r1", "north-1", &["100%"]).await.unwrap();
    let approver = session(&channel, "approver").await;
    for origin in ["https://evil.example", "null", "http://localhost"] {
        assert_eq!(
            order(&channel, &approver, "/api/v1/rollouts/r1/approve", origin).await,
            StatusCode::FORBIDDEN,
            "{origin}"
        );
    }
    let client = channel.client(None);
    let rebound =
        client.get(channel.url("/api/v1/overview")).header("cookie", &approver).header("host", "evil.example");
    assert_eq!(rebound.send().await.unwrap().status(), StatusCode::MISDIRECTED_REQUEST);
    for path in
        ["/api/v1/overview", "/api/v1/devices", "/api/v1/rollouts", "/api/v1/events", "/api/v1/session", "/missing"]
    {
        let answer = client.get(channel.url(path)).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::UNAUTHORIZED, "{path}");
        let policy = answer.headers()["content-security-policy"].to_str().unwrap();
        assert!(policy.starts_with("default-src 'self';") && !policy.contains("unsafe"), "{path}: {policy}");
    }
    // A device's token is no person's session.
    let device = channel.device("a", &[]).await;
    let device = Device { root: channel.url("/api/v1/overview"), ..device };
    assert_eq!(device.get("").await.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(order(&channel, &approver, "/logout", &channel.url("")).await, StatusCode::SEE_OTHER);
    assert_eq!(
        order(&channel, &approver, "/api/v1/rollouts/r1/approve", &channel.url("")).await,
        StatusCode::UNAUTHORIZED
    );
    channel.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn guessed_passwords_are_throttled() {
    let channel = Channel::start(&settings()).await;
    for _ in 0..5 {
        assert_eq!(login(&channel, "operator", "guess").await.1.status(), StatusCode::UNAUTHORIZED);
    }
    let (_, answer) = login(&channel, "operator", PASSWORD).await;
    assert_eq!(answer.status(), StatusCode::TOO_MANY_REQUESTS);
    assert!(answer.headers().contains_key("retry-after"));
    channel.stop().await;
}
