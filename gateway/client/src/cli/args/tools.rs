//! What the model may call.

use std::fs;

use atelier_client::proto::text::v1::{Tool, ToolChoice, ToolMode, tool_choice::Choice};
use clap::Args;
use serde::Deserialize;
use serde_json::Value;

/// Tools of a chat; ranges are the gateway's to check.
#[derive(Debug, Args)]
#[command(next_help_heading = "Tools")]
pub(crate) struct ToolArgs {
    /// JSON file of the tools that the model may call: a list of {"name", "description", "parameters"}, each alone or as the
    /// "function" of an object; calls are printed as lines of JSON
    #[arg(long, value_name = "FILE", value_parser = tools_in)]
    tools: Option<Offered>,
    /// Whether it calls: auto, none, required, or the name of the tool to call [default: auto]
    #[arg(long, value_name = "CHOICE", requires = "tools")]
    tool_choice: Option<String>,
}

/// Tools of a file.
#[derive(Clone, Debug)]
struct Offered(Vec<Tool>);

impl ToolArgs {
    pub(crate) fn tools(&self) -> Vec<Tool> {
        self.tools.as_ref().map_or_else(Vec::new, |offered| offered.0.clone())
    }

    pub(crate) fn choice(&self) -> Option<ToolChoice> {
        let choice = match self.tool_choice.as_deref()? {
            "auto" => Choice::Mode(ToolMode::Auto.into()),
            "none" => Choice::Mode(ToolMode::None.into()),
            "required" => Choice::Mode(ToolMode::Required.into()),
            name => Choice::Name(name.to_owned()),
        };
        Some(ToolChoice { choice: Some(choice) })
    }
}

/// A tool as files have it.
#[derive(Deserialize)]
#[serde(untagged)]
enum Entry {
    Wrapped { function: Described },
    Plain(Described),
}

#[derive(Deserialize)]
struct Described {
    name: String,
    #[serde(default)]
    description: String,
    parameters: Option<Value>,
}

fn tools_in(path: &str) -> Result<Offered, String> {
    let text = fs::read_to_string(path).map_err(|error| format!("can't read {path}: {error}"))?;
    let entries: Vec<Entry> =
        serde_json::from_str(&text).map_err(|error| format!("{path} is no list of tools: {error}"))?;
    let tool = |entry| {
        let (Entry::Wrapped { function } | Entry::Plain(function)) = entry;
        let parameters_json_schema =
            function.parameters.map_or_else(String::new, |schema| schema.to_string());
        Tool { name: function.name, description: function.description, parameters_json_schema }
    };
    Ok(Offered(entries.into_iter().map(tool).collect()))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        tools: ToolArgs,
    }

    fn try_parse(line: &[&str]) -> Result<ToolArgs, clap::Error> {
        Line::try_parse_from([&["chat"], line].concat()).map(|line| line.tools)
    }

    #[test]
    fn tools_stand_in_a_file_in_either_form() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("tools.json");
        let file = path.to_str().expect("it is UTF-8");
        let listed = r#"[{"type": "function", "function": {"name": "a", "description": "A.", "parameters": {"type": "object", "b": 1, "a": 2}}}, {"name": "now"}]"#;
        fs::write(&path, listed).expect("a file");
        let parsed = try_parse(&["--tools", file]).expect("a good line");
        let tool = |name: &str, description: &str, schema: &str| Tool {
            name: name.into(),
            description: description.into(),
            parameters_json_schema: schema.into(),
        };
        // The order of keys is the file's.
        assert_eq!(
            parsed.tools(),
            [tool("a", "A.", r#"{"type":"object","b":1,"a":2}"#), tool("now", "", "")]
        );
        assert_eq!(parsed.choice(), None);
        let choice = |choice: &str| {
            let parsed = try_parse(&["--tools", file, "--tool-choice", choice]).expect("a good line");
            parsed.choice().and_then(|choice| choice.choice)
        };
        assert_eq!(choice("required"), Some(Choice::Mode(ToolMode::Required.into())));
        assert_eq!(choice("now"), Some(Choice::Name("now".into())));
        assert!(try_parse(&["--tool-choice", "auto"]).is_err());
        fs::write(&path, "{}").expect("a file");
        assert!(try_parse(&["--tools", file]).is_err());
    }
}
