//! What a decoder's graph says about itself.

use std::ffi::CString;

use super::kv::KvShape;
use crate::{ElementType, Port};

/// Names and sizes read from the graph's inputs and outputs, never from a configuration file beside it.
#[derive(Debug)]
pub(crate) struct Graph {
    /// Past and present of each plane: key and value of layer 0, key and value of layer 1, ...
    pub(crate) planes: Vec<(CString, CString)>,
    pub(crate) heads: usize,
    pub(crate) head_size: usize,
    pub(crate) element_type: ElementType,
    pub(crate) vocabulary_size: usize,
    /// The graph takes `query_seqlens`, so rows may idle in a run.
    pub(crate) idle_rows: bool,
}

impl Graph {
    /// Reads it; the error says what is missing.
    pub(crate) fn read(inputs: &[Port], outputs: &[Port]) -> Result<Self, String> {
        for (name, element_type) in [
            ("input_ids", ElementType::I64),
            ("seqlens_k", ElementType::I32),
            ("total_sequence_length", ElementType::I32),
            ("logits_index", ElementType::I64),
        ] {
            expect(inputs, "input", name, element_type)?;
        }
        let idle_rows = inputs.iter().any(|port| port.name == "query_seqlens");
        if idle_rows {
            expect(inputs, "input", "query_seqlens", ElementType::I32)?;
        }
        let logits = expect(outputs, "output", "logits", ElementType::F32)?;
        let vocabulary_size = match logits.dimensions.as_slice() {
            [_, Some(vocabulary_size)] => *vocabulary_size,
            other => {
                return Err(format!("output \"logits\" has dimensions {other:?} instead of [n, vocabulary]"));
            }
        };
        let first = inputs.iter().find(|port| port.name == "past_key_values.0.key");
        let first = first.ok_or("it has no input \"past_key_values.0.key\"")?;
        let (heads, head_size) = heads(first)?;
        let element_type = first.element_type;
        if !matches!(element_type, ElementType::F32 | ElementType::F16) {
            return Err(format!("its KV cache is of type {element_type}"));
        }
        let mut planes = Vec::new();
        for layer in 0.. {
            let past = format!("past_key_values.{layer}.key");
            if inputs.iter().all(|port| port.name != past) {
                break;
            }
            for kind in ["key", "value"] {
                let (past, present) =
                    (format!("past_key_values.{layer}.{kind}"), format!("present.{layer}.{kind}"));
                let port = expect(inputs, "input", &past, element_type)?;
                expect(outputs, "output", &present, element_type)?;
                if self::heads(port)? != (heads, head_size) {
                    return Err(format!("its layers differ: {:?} in {past:?}", port.dimensions));
                }
                planes.push((c_name(&past)?, c_name(&present)?));
            }
        }
        Ok(Self { planes, heads, head_size, element_type, vocabulary_size, idle_rows })
    }

    /// The cache for so many slots of so many tokens.
    pub(crate) fn kv_shape(&self, slots: usize, context_length: usize) -> KvShape {
        let element_bytes = if self.element_type == ElementType::F16 { 2 } else { 4 };
        KvShape {
            planes: self.planes.len(),
            slots,
            heads: self.heads,
            context_length,
            head_size: self.head_size,
            element_bytes,
        }
    }
}

/// The input or output of this name and type.
pub(super) fn expect<'a>(
    ports: &'a [Port],
    kind: &str,
    name: &str,
    element_type: ElementType,
) -> Result<&'a Port, String> {
    let port = ports.iter().find(|port| port.name == name);
    let port = port.ok_or_else(|| format!("it has no {kind} {name:?}"))?;
    if port.element_type == element_type {
        Ok(port)
    } else {
        Err(format!("{kind} {name:?} is of type {} instead of {element_type}", port.element_type))
    }
}

fn heads(port: &Port) -> Result<(usize, usize), String> {
    match port.dimensions.as_slice() {
        // The cache moves rows in words of 8 bytes; no model has heads that are not a multiple of 4 elements.
        [_, Some(heads), _, Some(size)] if *heads > 0 && *size > 0 && size % 4 == 0 => Ok((*heads, *size)),
        other => {
            Err(format!("input {:?} has dimensions {other:?} instead of [b, heads, n, head size]", port.name))
        }
    }
}

fn c_name(name: &str) -> Result<CString, String> {
    CString::new(name).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(name: &str, element_type: ElementType, dimensions: &[i64]) -> Port {
        let dimensions = dimensions.iter().map(|&d| usize::try_from(d).ok()).collect();
        Port { name: name.to_owned(), element_type, dimensions }
    }

    fn model(layers: usize) -> (Vec<Port>, Vec<Port>) {
        let mut inputs = vec![
            port("input_ids", ElementType::I64, &[-1, -1]),
            port("seqlens_k", ElementType::I32, &[-1]),
            port("total_sequence_length", ElementType::I32, &[]),
            port("logits_index", ElementType::I64, &[-1]),
        ];
        let mut outputs = vec![port("logits", ElementType::F32, &[-1, 100])];
        for layer in 0..layers {
            for kind in ["key", "value"] {
                let dimensions = [-1, 3, -1, 64];
                inputs.push(port(&format!("past_key_values.{layer}.{kind}"), ElementType::F32, &dimensions));
                outputs.push(port(&format!("present.{layer}.{kind}"), ElementType::F32, &dimensions));
            }
        }
        (inputs, outputs)
    }

    #[test]
    fn sizes_come_from_the_graph() {
        let (mut inputs, outputs) = model(2);
        let graph = Graph::read(&inputs, &outputs).unwrap();
        assert_eq!((graph.planes.len(), graph.heads, graph.head_size), (4, 3, 64));
        assert_eq!((graph.vocabulary_size, graph.idle_rows), (100, false));
        inputs.push(port("query_seqlens", ElementType::I32, &[-1]));
        assert!(Graph::read(&inputs, &outputs).unwrap().idle_rows);
    }

    #[test]
    fn what_is_missing_is_named() {
        let (inputs, outputs) = model(2);
        for missing in inputs.iter().chain(&outputs).map(|port| port.name.clone()) {
            // Without the key of its last layer the graph reads as a shorter, whole one.
            if missing == "past_key_values.1.key" {
                continue;
            }
            let without = |ports: &[Port]| -> Vec<Port> {
                ports.iter().filter(|port| port.name != missing).cloned().collect()
            };
            let error = Graph::read(&without(&inputs), &without(&outputs)).unwrap_err();
            assert!(error.contains(&missing), "{missing}: {error}");
        }
    }
}
