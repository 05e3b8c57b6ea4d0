//! A tenant's own rules, and redaction, over the wire; no models.

use std::{net::SocketAddr, sync::mpsc, thread};

use atelier_core::limits::MAX_TEXT_BYTES;
use atelier_moderation::{Config, config::RulesConfig, serve};
use atelier_proto::moderation::v1::{
    ItemScores, ModerateTextRequest, TextItem, moderation_service_client::ModerationServiceClient,
};
use atelier_rpc::Listeners;
use tonic::{Code, Request, Status, transport::Channel};

use crate::harness::{fields, score};

const RULES: &str = "
lists:
  birds: {category: spam, score: 0.9, terms: [bluebird, tit], allow: ['blue tit']}
patterns:
  order: {category: spam, score: 0.7, regex: 'order \\d{4}'}
tenants:
  zoo: {lists: [birds], patterns: [order]}
  quiet: {personal_data: false, secrets: false, profanity: false}
";

/// A server with these rules, which ends with the process.
fn server() -> SocketAddr {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("rules.yaml");
    std::fs::write(&file, RULES).unwrap();
    let (tell, told) = mpsc::sync_channel(1);
    thread::spawn(move || {
        tokio::runtime::Runtime::new().unwrap().block_on(async {
            let rules = RulesConfig { file: Some(file), ..RulesConfig::default() };
            let config = Config { detectors: Vec::new(), rules, ..Config::default() };
            let listeners = Listeners::local().await.unwrap();
            tell.send(listeners.grpc_address().unwrap()).unwrap();
            serve(config, listeners, std::future::pending()).await.unwrap();
            drop(folder);
        });
    });
    told.recv().unwrap()
}

struct Client {
    channel: Channel,
    tenant: &'static str,
}

impl Client {
    async fn of(tenant: &'static str, server: SocketAddr) -> Self {
        let endpoint = Channel::from_shared(format!("http://{server}")).unwrap();
        Self { channel: endpoint.connect().await.unwrap(), tenant }
    }

    async fn moderate(&self, text: &str, redact: bool) -> Result<ItemScores, Status> {
        let items = vec![TextItem { id: String::new(), text: text.to_owned() }];
        let mut request = Request::new(ModerateTextRequest { items, categories: vec![], redact });
        request.metadata_mut().insert("atelier-tenant", self.tenant.parse().unwrap());
        let mut client = ModerationServiceClient::new(self.channel.clone());
        Ok(client.moderate_text(request).await?.into_inner().results.remove(0))
    }

    /// What was found, and why.
    async fn found(&self, text: &str) -> Vec<(String, String)> {
        let scores = self.moderate(text, false).await.unwrap().scores.unwrap();
        let part = |start: u32, end: u32| text[start as usize..end as usize].to_owned();
        let findings = scores.findings.into_iter();
        findings.map(|one| (part(one.start_byte, one.end_byte), one.reason)).collect()
    }

    async fn redacted(&self, text: &str) -> String {
        self.moderate(text, true).await.unwrap().redacted_text.unwrap()
    }
}

fn pairs(found: &[(&str, &str)]) -> Vec<(String, String)> {
    found.iter().map(|(part, reason)| ((*part).to_owned(), (*reason).to_owned())).collect()
}

#[tokio::test]
async fn tenants_have_rules_of_their_own() {
    let server = server();
    let (zoo, quiet) = (Client::of("zoo", server).await, Client::of("quiet", server).await);
    let text = "A blu3b1rd and a blue tit; tit, order 1234. shit";
    let expected = pairs(&[
        ("blu3b1rd", "terms:birds"),
        ("tit", "terms:birds"),
        ("order 1234", "pattern:order"),
        ("shit", "terms:profanity"),
    ]);
    assert_eq!(zoo.found(text).await, expected);
    assert_eq!(zoo.found("b.l.u.e.b.i.r.d").await, pairs(&[("b.l.u.e.b.i.r.d", "terms:birds")]));
    assert_eq!(quiet.found(text).await, []);
    let scores = zoo.moderate(text, false).await.unwrap().scores.unwrap();
    assert_eq!((score(&scores, "spam"), score(&scores, "secrets")), (0.9, 0.0));
    let scores = quiet.moderate(text, false).await.unwrap().scores.unwrap();
    assert!(scores.categories.iter().all(|one| one.score == 0.0));
}

#[tokio::test]
async fn personal_data_is_redacted_however_it_is_written() {
    let zoo = Client::of("zoo", server()).await;
    for (text, redacted) in [
        ("Write to jane.doe@example.org or call +41 44 668 18 00.", "Write to [EMAIL] or call [PHONE]."),
        ("Card ４１１１　１１１１　１１１１　１１１１, thanks", "Card [CARD], thanks"),
        ("jane\u{200b}.doe@exam\u{2060}ple.org", "[EMAIL]"),
        ("the key amFuZS5kb2VA\u{200b}ZXhhbXBsZS5vcmc= is", "the key [EMAIL] is"),
        ("no data, 没有", "no data, 没有"),
    ] {
        assert_eq!(zoo.redacted(text).await, redacted, "{text}");
    }
}

#[tokio::test]
async fn the_most_severe_of_many_findings_are_told() {
    let zoo = Client::of("zoo", server()).await;
    let text = format!("{}bluebird", "order 1234 ".repeat(90));
    let found = zoo.found(&text).await;
    assert_eq!(found.len(), 64);
    assert_eq!(found.last().map(|(_, reason)| reason.as_str()), Some("terms:birds"));
}

#[tokio::test]
async fn texts_made_to_be_hard_get_an_answer_or_an_error() {
    let zoo = Client::of("zoo", server()).await;
    let full = |piece: &str| piece.repeat(MAX_TEXT_BYTES / piece.len());
    for piece in
        ["\u{301}", "a\u{334}\u{301}", "f.", "a", "$1", "\u{202e}a", "%25", "a b1t ", "氵去", "\u{200b}"]
    {
        let scores = zoo.moderate(&full(piece), true).await.map(|answer| answer.scores.unwrap());
        assert!(scores.is_ok_and(|scores| !scores.categories.is_empty()), "{piece}");
    }
    // Each grows beyond any ordinary text: ligatures that are written out, and encodings of much text.
    let nested = full("UmtaNlpYZz0gWm5WamF5QjViM1U9IA== ");
    for text in [full("\u{fdfa}"), nested] {
        let outcome = zoo.moderate(&text, true).await;
        let refused =
            |status: &Status| status.code() == Code::InvalidArgument && fields(status) == ["items[0].text"];
        assert!(outcome.as_ref().map_or_else(refused, |answer| answer.redacted_text.is_some()));
    }
    let ligatures = zoo.moderate(&full("\u{fdfa}"), false).await.unwrap_err();
    assert_eq!(fields(&ligatures), ["items[0].text"]);
}
