//! `atelier check`: what policy makes of content.

use atelier_client::{
    Client, ClientError,
    proto::gateway::v1::{Action, CheckRequest, Stage, check_request::Content},
};
use serde::Serialize;

use super::{
    CliError,
    args::{CheckArgs, StageArg},
    documents::{Provenance, Scores, Verdict},
    generate::findings,
    input,
    output::Output,
};

#[derive(Serialize)]
struct CheckDocument {
    verdict: Verdict,
    #[serde(flatten)]
    scores: Scores,
    provenance: Option<Provenance>,
}

pub(crate) async fn run(
    connect: impl AsyncFn() -> Result<Client, ClientError>,
    out: &mut Output,
    arguments: CheckArgs,
) -> Result<(), CliError> {
    let CheckArgs { text, image, stage } = arguments;
    let content = match image {
        Some(path) => Content::Image(input::file(&path)?.into()),
        None => Content::Text(input::required_text(&text, "text")?),
    };
    let stage = match stage {
        StageArg::Input => Stage::Input,
        StageArg::Output => Stage::Output,
    };
    let answer = connect().await?.check(CheckRequest { content: Some(content), stage: stage.into() }).await?;
    let verdict = answer.verdict.ok_or(ClientError::Protocol("no verdict in the answer"))?;
    let blocked = verdict.action() == Action::Block;
    let document = CheckDocument {
        verdict: verdict.into(),
        scores: answer.scores.unwrap_or_default().into(),
        provenance: answer.provenance.map(Into::into),
    };
    if out.json {
        out.document(&document)?;
    } else {
        print(out, &document)?;
    }
    out.flush()?;
    if !blocked {
        return Ok(());
    }
    let id = document
        .provenance
        .map_or_else(String::new, |provenance| format!(" (request {})", provenance.request_id));
    Err(CliError::Withheld(format!("policy does not let this pass{id}")))
}

fn print(out: &mut Output, document: &CheckDocument) -> Result<(), CliError> {
    let CheckDocument { verdict, scores, provenance } = document;
    let findings = findings(verdict);
    let separator = if findings.is_empty() { "" } else { ": " };
    out.line(&format!("{}{separator}{findings}", verdict.action))?;
    if verdict.unmeasured {
        out.line("unmeasured: moderation was down, the policy's failure mode decided")?;
    }
    let mut sorted: Vec<_> = scores.scores.iter().collect();
    sorted.sort_by(|(_, a), (_, b)| b.total_cmp(a));
    if !sorted.is_empty() {
        let mut rows = vec![vec!["CATEGORY".to_owned(), "SCORE".to_owned()]];
        rows.extend(
            sorted.into_iter().map(|(category, score)| vec![category.clone(), format!("{score:.3}")]),
        );
        out.line("")?;
        out.table(&rows)?;
    }
    if !verdict.unsupported_categories.is_empty() {
        out.line(&format!("no detector for: {}", verdict.unsupported_categories.join(", ")))?;
    }
    if let Some(provenance) = provenance {
        out.line(&format!("\npolicy {}@{}", provenance.policy, provenance.policy_version))?;
    }
    Ok(())
}
