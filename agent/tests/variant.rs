//! A system that is not the one for patients says so.
use crate::hospital::Node;
use sund_agent::release::Variant;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_agent_on_a_debug_variant_says_so_in_its_status() {
    let debug = Variant { id: "debug".to_owned(), name: "DEBUG: not for patients".to_owned() };
    let mut node = Node::open(|config| config.variant = Some(debug.clone())).await;
    assert_eq!(node.status().variant, Some(debug));
    node.stop().await;
    node.start(|config| config.variant = None).await;
    let status = serde_json::to_value(node.status()).unwrap();
    assert!(status.get("variant").is_none(), "one for patients says nothing of it: {status}");
}
