//! Who calls, for how long, and what goes wrong behind the gateway.

use std::{sync::atomic::Ordering, time::Duration};

use atelier_core::{Fault, Reason, TenantId};
use atelier_gateway::{ApiKey, AuthMode, KeyHash};
use atelier_proto::gateway::v1::{ChatRequest, StreamChatRequest};
use atelier_rpc::fault_of;
use tonic::{Code, Request};

use crate::sandbox::{Sandbox, WINDOW, policy, user};

fn request(headers: &[(&'static str, &'static str)]) -> Request<ChatRequest> {
    let mut request = Request::new(ChatRequest { messages: user("hello"), ..Default::default() });
    for (name, value) in headers {
        request.metadata_mut().insert(*name, value.parse().unwrap());
    }
    request
}

#[tokio::test]
async fn a_key_lets_its_tenant_in() {
    // printf %s sesame | sha256sum
    let hash = "d0c04f4b1951e4aeaaec8223ed2039e542f3aae805a6fa7f6d794e5afff5d272";
    let sandbox = Sandbox::start_with(&policy("fail_closed", "windowed", WINDOW), |config| {
        config.auth.mode = AuthMode::ApiKey;
        let sha256 = KeyHash::try_from(hash.to_owned()).unwrap();
        config.auth.api_keys = vec![ApiKey { sha256, tenant: TenantId::new("acme").unwrap() }];
    })
    .await;
    sandbox.text.write("fine", Duration::ZERO);
    let mut client = sandbox.client.clone();
    let headers = [("authorization", "Bearer sesame"), ("atelier-tenant", "other")];
    let answer = client.chat(request(&headers)).await.unwrap().into_inner();
    assert_eq!(answer.completion.unwrap().provenance.unwrap().tenant, "acme");
    assert_eq!(sandbox.text.0.seen.lock().unwrap().clone().unwrap().0, "acme");
    for headers in [&[][..], &[("authorization", "Bearer simsim")]] {
        let refused = client.chat(request(headers)).await.unwrap_err();
        assert_eq!(refused.code(), Code::Unauthenticated);
    }
}

#[tokio::test]
async fn tenants_that_the_policy_does_not_list_can_be_refused() {
    let policy =
        policy("fail_closed", "windowed", WINDOW) + "unknown_tenants: refuse\ntenants: {acme: {policy: p}}\n";
    let sandbox = Sandbox::start(&policy).await;
    sandbox.text.write("fine", Duration::ZERO);
    let mut client = sandbox.client.clone();
    assert!(client.chat(request(&[("atelier-tenant", "acme")])).await.is_ok());
    let refused = client.chat(request(&[("atelier-tenant", "other")])).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    assert_eq!(fault_of(&refused).reason(), Reason::PermissionDenied);
}

#[tokio::test]
async fn request_id_tenant_and_deadline_travel_on() {
    let sandbox = Sandbox::start(&policy("fail_closed", "windowed", WINDOW)).await;
    sandbox.text.write("fine", Duration::ZERO);
    let headers = [("x-request-id", "r-42"), ("atelier-tenant", "acme")];
    let answer = sandbox.client.clone().chat(request(&headers)).await.unwrap().into_inner();
    let provenance = answer.completion.unwrap().provenance.unwrap();
    assert_eq!((provenance.request_id.as_str(), provenance.tenant.as_str()), ("r-42", "acme"));
    let seen = sandbox.text.0.seen.lock().unwrap().clone().unwrap();
    assert_eq!(seen, ("acme".to_owned(), "r-42".to_owned(), true));
}

#[tokio::test]
async fn a_caller_who_leaves_frees_the_upstream() {
    let sandbox = Sandbox::start(&policy("fail_closed", "windowed", WINDOW)).await;
    sandbox.text.write(&"calm sea ".repeat(100_000), Duration::from_millis(1));
    let mut answer = sandbox.stream("hello").await.unwrap();
    answer.next().await.unwrap();
    assert_eq!(sandbox.text.0.open.load(Ordering::SeqCst), 1);
    drop(answer);
    sandbox.until_slot_is_free().await;
}

#[tokio::test]
async fn a_deadline_ends_a_stream() {
    let sandbox = Sandbox::start(&policy("fail_closed", "windowed", WINDOW)).await;
    sandbox.text.write(&"calm sea ".repeat(100_000), Duration::from_millis(1));
    let mut request = Request::new(StreamChatRequest { messages: user("hello"), ..Default::default() });
    request.set_timeout(Duration::from_millis(500));
    let mut stream = sandbox.client.clone().stream_chat(request).await.unwrap().into_inner();
    let status = loop {
        match stream.message().await {
            Ok(message) => assert!(message.is_some(), "the stream ended well"),
            Err(status) => break status,
        }
    };
    assert_eq!(fault_of(&status).reason(), Reason::DeadlineExceeded);
    sandbox.until_slot_is_free().await;
}

#[tokio::test]
async fn an_upstreams_error_arrives_with_its_details() {
    let sandbox = Sandbox::start(&policy("fail_closed", "windowed", WINDOW)).await;
    *sandbox.text.0.fault.lock().unwrap() = Some(|| {
        Fault::invalid("generation.top_p", "must be above 0 and up to 1").with_metadata("model", "writer")
    });
    let fault = fault_of(&sandbox.chat("hello").await.unwrap_err());
    assert_eq!(fault.reason(), Reason::InvalidArgument);
    assert_eq!(fault.violations()[0].field, "generation.top_p");
    assert_eq!(fault.metadata()[0].1, "writer");

    *sandbox.text.0.fault.lock().unwrap() =
        Some(|| Fault::new(Reason::QueueFull, "full").with_retry_after(Duration::from_millis(1500)));
    let fault = fault_of(&sandbox.stream("hello").await.err().unwrap());
    assert_eq!((fault.reason(), fault.retry_after()), (Reason::QueueFull, Some(Duration::from_millis(1500))));
}

#[tokio::test]
async fn an_unknown_model_is_not_found() {
    let sandbox = Sandbox::start(&policy("fail_closed", "windowed", WINDOW)).await;
    let request = ChatRequest { model: "nobody".to_owned(), messages: user("hello"), ..Default::default() };
    let status = sandbox.client.clone().chat(request).await.unwrap_err();
    assert_eq!((status.code(), fault_of(&status).reason()), (Code::NotFound, Reason::ModelNotFound));
}

#[tokio::test]
async fn readiness_follows_the_upstreams() {
    let policy = policy("fail_closed", "windowed", WINDOW);
    let sandbox = Sandbox::start_with(&policy, |config| {
        config.text.refresh_interval = Duration::from_millis(50);
    })
    .await;
    sandbox.moderation.switch_off(true);
    let ready = async || sandbox.get("/readyz").await.starts_with("HTTP/1.1 200");
    sandbox.until("it is no longer ready", async || !ready().await).await;
    assert!(sandbox.get("/livez").await.starts_with("HTTP/1.1 200"), "it lives all the same");
    sandbox.moderation.switch_off(false);
    sandbox.until("it is ready again", ready).await;
}

#[tokio::test]
async fn metrics_tell_of_verdicts_and_windows() {
    let sandbox = Sandbox::start(&policy("fail_closed", "windowed", WINDOW)).await;
    sandbox.text.write(&"calm sea ".repeat(20), Duration::ZERO);
    sandbox.chat("hello").await.unwrap();
    sandbox.chat("BLOCKME").await.unwrap_err();
    let metrics = sandbox.get("/metrics").await;
    let verdicts: Vec<_> =
        metrics.lines().filter(|line| line.starts_with("atelier_gateway_verdicts_total{")).collect();
    for labels in [["stage=\"output\"", "action=\"allow\""], ["action=\"block\"", "category=\"hate\""]] {
        let told = verdicts.iter().any(|line| labels.iter().all(|label| line.contains(label)));
        assert!(told, "{labels:?} in {verdicts:#?}");
    }
    for name in ["windows_total", "held_seconds", "moderation_seconds", "policy_info", "upstream_up"] {
        assert!(metrics.contains(&format!("atelier_gateway_{name}")), "{name}");
    }
}
