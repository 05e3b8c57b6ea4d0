"""Writes tools.json: conversations with tools, as transformers renders them by the templates in tools/.

The templates are written for this, in the manner of models that call tools: by tags (Hermes, Qwen), by a bare object
(Llama 3), by a list (Mistral).

Usage: python tools.py, with transformers<5 and jinja2 from PyPI.
"""

import json
from pathlib import Path

from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

FOLDER = Path(__file__).parent
WEATHER = {
    "name": "get_weather",
    "description": "Says how the weather is <now>, \"here\" or elsewhere.",
    "parameters": {
        "type": "object",
        "properties": {
            "place": {"type": "string", "description": "A town, e.g. Zürich"},
            "days": {"type": "integer", "minimum": 1, "default": 1},
            "at": {"type": "array", "items": {"enum": ["noon", "night", None, 1.5, True]}},
        },
        "required": ["place"],
    },
}
NOW = {
    "name": "now",
    "description": "",
    "parameters": {"type": "object", "properties": {}, "additionalProperties": False},
}
USER = {"role": "user", "content": "Is it raining in Zürich?"}
SYSTEM = {"role": "system", "content": "Be brief.\nUse tools."}


def call(id, name, arguments):
    return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}


def result(id, name, content):
    return {"role": "tool", "content": content, "tool_call_id": id, "name": name}


RAIN = call("a1B2c3D4e", "get_weather", {"place": "Zürich \"HB\"", "at": ["noon", {"b": 1, "a": [2.5]}], "days": 2})
CLOCK = call("ZZZZZZZZ9", "now", {})
ONE = [{"role": "assistant", "content": "", "tool_calls": [RAIN]}, result("a1B2c3D4e", "get_weather", '{"rain": true}')]
TWO = [
    {"role": "assistant", "content": "", "tool_calls": [CLOCK, RAIN]},
    result("ZZZZZZZZ9", "now", "12:30"),
    result("a1B2c3D4e", "get_weather", "rain\nand wind"),
]
BACK = [{"role": "assistant", "content": " It rains. "}, {"role": "user", "content": "And when?"}]
TALKS = [
    ([USER], []),
    ([USER], [WEATHER]),
    ([SYSTEM, USER], [WEATHER, NOW]),
    ([USER, *ONE], [WEATHER]),
    ([SYSTEM, USER, *ONE, *BACK], [NOW, WEATHER]),
    ([USER, *ONE, *BACK], []),
    ([USER, *TWO], [WEATHER, NOW]),
]


def tokenizer(template):
    made = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.BPE(vocab={"a": 0}, merges=[])), bos_token="<s>", eos_token="</s>"
    )
    made.chat_template = template
    return made


def render(tokenizer, messages, tools):
    try:
        tools = [{"type": "function", "function": tool} for tool in tools] or None
        return tokenizer.apply_chat_template(messages, tools=tools, tokenize=False, add_generation_prompt=True)
    except Exception:
        # The template refuses it.
        return None


def main():
    golden = {}
    for path in sorted((FOLDER / "tools").glob("*.jinja")):
        made = tokenizer(path.read_text(encoding="utf-8"))
        golden[path.stem] = [
            {"messages": messages, "tools": tools, "prompt": render(made, messages, tools)} for messages, tools in TALKS
        ]
    with open(FOLDER / "tools.json", "w", encoding="utf-8") as file:
        json.dump(golden, file, ensure_ascii=False, indent=1)
        file.write("\n")


if __name__ == "__main__":
    main()
