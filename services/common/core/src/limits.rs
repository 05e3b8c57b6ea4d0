//! Bounds on what a call may carry; the API documents the same numbers.

/// Longest text in one field, in bytes.
pub const MAX_TEXT_BYTES: usize = 1 << 20;
/// Longest prompt of a picture, in bytes.
pub const MAX_PROMPT_BYTES: usize = 16 << 10;
/// Most texts in one batch.
pub const MAX_BATCH_TEXTS: usize = 1024;
/// Most pictures in one batch.
pub const MAX_BATCH_IMAGES: usize = 64;
/// Largest encoded picture, in bytes.
pub const MAX_IMAGE_BYTES: usize = 16 << 20;
/// Most pixels of a decoded picture.
pub const MAX_IMAGE_PIXELS: u64 = 64_000_000;
/// Most frames of a moving picture.
pub const MAX_FRAMES: u32 = 5_000;
/// Most pixels of all frames of a moving picture together: eight of the largest pictures, or ten seconds of Full HD.
pub const MAX_FRAME_PIXELS: u64 = 8 * MAX_IMAGE_PIXELS;
/// Most tags of a picture that are given.
pub const MAX_TAGS: u32 = 50;
/// Most messages of a conversation.
pub const MAX_MESSAGES: usize = 1024;
/// Most stop sequences.
pub const MAX_STOP_SEQUENCES: usize = 16;
/// Longest stop sequence, in bytes.
pub const MAX_STOP_SEQUENCE_BYTES: usize = 256;
/// Longest grammar of an answer, in bytes.
pub const MAX_GRAMMAR_BYTES: usize = 64 << 10;
/// Most tools that a model may call, and most calls in one message.
pub const MAX_TOOLS: usize = 128;
/// Longest name of a tool and longest id of a call, in bytes.
pub const MAX_TOOL_NAME_BYTES: usize = 64;
/// Longest description of a tool, in bytes.
pub const MAX_TOOL_DESCRIPTION_BYTES: usize = 16 << 10;
/// Longest names, descriptions and schemas of all tools together, in bytes.
pub const MAX_TOOLS_BYTES: usize = 256 << 10;
/// Most stop token ids.
pub const MAX_STOP_TOKENS: usize = 64;
/// Most logit-bias entries.
pub const MAX_LOGIT_BIAS: usize = 1024;
/// Most alternatives that are given beside a token.
pub const MAX_TOP_LOGPROBS: usize = 20;
/// Most beams of a search.
pub const MAX_BEAMS: usize = 16;
/// Most tokens that are guessed ahead.
pub const MAX_LOOKAHEAD_TOKENS: usize = 16;
/// Most answers to one prompt in one call.
pub const MAX_CHOICES: usize = 8;
/// Most texts that one call scores.
pub const MAX_SCORE_ITEMS: usize = 64;
/// Most token ids to detokenize.
pub const MAX_DETOKENIZE_TOKENS: usize = 1 << 20;
/// Longest item id in a batch or stream, in bytes.
pub const MAX_ITEM_ID_BYTES: usize = 256;
