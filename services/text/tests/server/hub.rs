//! Folders as Hugging Face Optimum and onnxruntime-genai write them, and as our converter makes them of GGUF files, served as they
//! are: `tests/golden/text/hub.py`, `gguf_models.py`.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use atelier_core::ModelId;
use atelier_proto::common::v1::FinishReason;
use atelier_text::config::{ModelConfig, Task};
use futures::future::join_all;
use serde::Deserialize;

use crate::common::{connect, greedy, start, stream_chat_with, text};

/// A model's part of `greedy.json`.
#[derive(Deserialize)]
struct Golden {
    conversation: Conversation,
}

#[derive(Deserialize)]
struct Conversation {
    content: String,
    /// Tokens of the answer, its end token included.
    tokens: u32,
    text: String,
}

pub(crate) fn hub() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/text/hub")
}

pub(crate) fn served(id: &str) -> ModelConfig {
    let mut model = ModelConfig::new(ModelId::new(id).expect("the name is valid"));
    model.path = Some(hub().join(id));
    model.task = Some(Task::TextGeneration);
    model.generation.slots = 3;
    model.generation.context_length = 256;
    // Prompts in several pieces.
    model.generation.engine.prefill_chunk = 10;
    model
}

#[tokio::test]
async fn folders_are_served_as_exporters_leave_them() {
    let golden = fs::read_to_string(hub().join("greedy.json")).expect("it is there");
    let golden: BTreeMap<String, Golden> = serde_json::from_str(&golden).expect("it parses");
    assert_eq!(golden.len(), 17);
    let client = connect(start(golden.keys().map(|id| served(id)).collect())).await;
    // All models, each with more calls than slots.
    let calls = golden.iter().flat_map(|call| [call; 4]).map(|(id, golden)| {
        let mut client = client.clone();
        async move {
            let Conversation { content, tokens, text: expected } = &golden.conversation;
            let (deltas, end) =
                stream_chat_with(&mut client, id, content, greedy(100)).await.expect("it succeeds");
            assert_eq!(&text(&deltas), expected, "{id}");
            // Template and end token are the folder's.
            assert_eq!(end.finish_reason(), FinishReason::Stop, "{id}");
            assert_eq!(end.usage.expect("usage is reported").completion_tokens, *tokens, "{id}");
        }
    });
    join_all(calls).await;
}
