//! Rules that change while calls run.

use std::{fs, time::Duration};

use atelier_proto::gateway::v1::Action;

use crate::sandbox::{Sandbox, WINDOW, policy};

#[tokio::test]
async fn a_call_ends_under_the_rules_it_began_with() {
    let lenient = policy("fail_closed", "windowed", WINDOW).replace("block: 0.9", "block: 1.0");
    let sandbox = Sandbox::start(&lenient).await;
    let story = format!("{}BLOCKME {}", "calm sea ".repeat(40), "more text ".repeat(20));
    sandbox.text.write(&story, Duration::from_millis(5));
    let mut running = sandbox.stream("hello").await.unwrap();
    running.next().await.unwrap();

    fs::write(sandbox.policy_file(), policy("fail_closed", "windowed", WINDOW)).unwrap();
    sandbox.until("new calls are refused", async || sandbox.chat("BLOCKME").await.is_err()).await;

    let (running, end) = running.finish().await;
    end.unwrap();
    assert_eq!(running.text, story);
    let completion = running.completion.unwrap();
    assert_eq!(completion.output_verdict.unwrap().action(), Action::Flag);
    let before = completion.provenance.unwrap().policy_version;

    sandbox.text.write("fine", Duration::ZERO);
    let (_, completion) = sandbox.chat("hello").await.unwrap();
    assert_ne!(completion.provenance.unwrap().policy_version, before);
}

#[tokio::test]
async fn a_wrong_file_keeps_the_rules_and_says_so() {
    let good = policy("fail_closed", "windowed", WINDOW);
    let sandbox = Sandbox::start(&good).await;
    sandbox.text.write("fine", Duration::ZERO);
    let version = async || {
        let (_, completion) = sandbox.chat("hello").await.unwrap();
        completion.provenance.unwrap().policy_version
    };
    let before = version().await;
    fs::write(sandbox.policy_file(), good.replace("hate", "hatred")).unwrap();
    let rejected = |text: &str| {
        let mut lines = text.lines().filter(|line| line.starts_with("atelier_gateway_policy_reloads_total"));
        lines.any(|line| line.contains("rejected"))
    };
    sandbox.until("metrics tell of it", async || rejected(&sandbox.get("/metrics").await)).await;
    assert_eq!(version().await, before);
    assert!(sandbox.chat("BLOCKME").await.is_err());

    fs::remove_file(sandbox.policy_file()).unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(version().await, before, "a missing file changes nothing either");
}

#[cfg(unix)]
#[tokio::test]
async fn a_swapped_symlink_is_seen() {
    use std::os::unix::fs::symlink;
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    for (data, block) in [("one", "block: 0.9"), ("two", "block: 0.95")] {
        fs::create_dir(path(data)).unwrap();
        let text = policy("fail_closed", "windowed", WINDOW).replace("block: 0.9", block);
        fs::write(path(data).join("policy.yaml"), text).unwrap();
    }
    // As a ConfigMap volume: policy.yaml -> ..data/policy.yaml, ..data -> a folder, replaced by a rename.
    symlink(path("one"), path("..data")).unwrap();
    symlink("..data/policy.yaml", path("policy.yaml")).unwrap();
    let file = path("policy.yaml");
    let sandbox = Sandbox::start_with("", |config| config.policy.file = Some(file)).await;
    sandbox.text.write("fine", Duration::ZERO);
    let version = async || {
        let (_, completion) = sandbox.chat("hello").await.unwrap();
        completion.provenance.unwrap().policy_version
    };
    let before = version().await;
    symlink(path("two"), path("..next")).unwrap();
    fs::rename(path("..next"), path("..data")).unwrap();
    sandbox.until("the new rules are in force", async || version().await != before).await;
}
