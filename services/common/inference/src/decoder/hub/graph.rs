//! What a graph in the hub's layout says about itself.

use crate::{ElementType, Port, decoder::graph::expect};

/// Names and sizes read from the graph's inputs and outputs, never from a configuration file beside it.
#[derive(Debug)]
pub(super) struct HubGraph {
    /// Key and value of layer 0, key and value of layer 1, ...
    pub(super) planes: Vec<Plane>,
    /// Type of the cache.
    pub(super) element_type: ElementType,
    pub(super) logits_type: ElementType,
    pub(super) takes: Takes,
}

/// Which inputs a graph takes that others do without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Takes {
    pub(super) attention_mask: bool,
    pub(super) position_ids: bool,
    /// A merged decoder: two graphs in one, for the first run of a sequence and for those after it.
    pub(super) use_cache_branch: bool,
    /// The graph can be told how many of the last positions get logits.
    pub(super) num_logits_to_keep: bool,
}

/// Keys or values of one layer.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Plane {
    pub(super) past: String,
    pub(super) present: String,
    pub(super) heads: usize,
    pub(super) head_size: usize,
}

impl Plane {
    /// Elements of one token.
    pub(super) fn row(&self) -> usize {
        self.heads * self.head_size
    }
}

impl HubGraph {
    /// Reads it; the error says what is missing.
    pub(super) fn read(inputs: &[Port], outputs: &[Port]) -> Result<Self, String> {
        let logits_type = logits_type(outputs)?;
        let (planes, element_type) = planes(inputs, outputs)?;
        let takes = Takes::read(inputs, &planes)?;
        Ok(Self { planes, element_type, logits_type, takes })
    }

    /// Reads the graph for the first run of a sequence, where this one is for those after it; the error says what is
    /// missing. It has the outputs of this one, and takes no past.
    pub(super) fn read_first(&self, inputs: &[Port], outputs: &[Port]) -> Result<Takes, String> {
        expect(outputs, "output", "logits", self.logits_type)?;
        for plane in &self.planes {
            expect(outputs, "output", &plane.present, self.element_type)?;
        }
        Takes::read(inputs, &[])
    }
}

impl Takes {
    /// Reads it of a graph that takes the past of these planes, and nothing unknown.
    fn read(inputs: &[Port], planes: &[Plane]) -> Result<Self, String> {
        const SMALL: [&str; 5] =
            ["input_ids", "attention_mask", "position_ids", "use_cache_branch", "num_logits_to_keep"];
        expect(inputs, "input", "input_ids", ElementType::I64)?;
        let takes = |name: &str| inputs.iter().any(|port| port.name == name);
        for name in ["attention_mask", "position_ids", "num_logits_to_keep"] {
            if takes(name) {
                expect(inputs, "input", name, ElementType::I64)?;
            }
        }
        if let Some(port) =
            inputs.iter().find(|port| port.name == "position_ids" && port.dimensions.len() != 2)
        {
            return Err(format!(
                "input \"position_ids\" has dimensions {:?} instead of [b, s]",
                port.dimensions
            ));
        }
        let knows = |input: &str| SMALL.contains(&input) || planes.iter().any(|plane| plane.past == input);
        if let Some(port) = inputs.iter().find(|port| !knows(&port.name)) {
            return Err(format!("it takes {:?}, which is no input of a plain decoder", port.name));
        }
        Ok(Self {
            attention_mask: takes("attention_mask"),
            position_ids: takes("position_ids"),
            use_cache_branch: takes("use_cache_branch"),
            num_logits_to_keep: takes("num_logits_to_keep"),
        })
    }
}

fn logits_type(outputs: &[Port]) -> Result<ElementType, String> {
    let logits = outputs.iter().find(|port| port.name == "logits").ok_or("it has no output \"logits\"")?;
    if !is_float(logits.element_type) {
        return Err(format!("output \"logits\" is of type {}", logits.element_type));
    }
    let [_, _, _] = logits.dimensions.as_slice() else {
        let dimensions = &logits.dimensions;
        return Err(format!("output \"logits\" has dimensions {dimensions:?} instead of [b, s, vocabulary]"));
    };
    Ok(logits.element_type)
}

fn planes(inputs: &[Port], outputs: &[Port]) -> Result<(Vec<Plane>, ElementType), String> {
    let first = inputs.iter().find(|port| port.name == "past_key_values.0.key").ok_or(
        "it has no input \"past_key_values.0.key\": export it with its cache (Optimum: --task text-generation-with-past)",
    )?;
    let element_type = first.element_type;
    if !is_float(element_type) {
        return Err(format!("its KV cache is of type {element_type}"));
    }
    let mut planes = Vec::new();
    for layer in 0.. {
        let name = |kind: &str| format!("past_key_values.{layer}.{kind}");
        if inputs.iter().all(|port| port.name != name("key")) {
            break;
        }
        for kind in ["key", "value"] {
            let past = expect(inputs, "input", &name(kind), element_type)?;
            let present = expect(outputs, "output", &format!("present.{layer}.{kind}"), element_type)?;
            planes.push(Plane {
                heads: size(past, present, 1, "heads")?,
                head_size: size(past, present, 3, "the size of a head")?,
                past: past.name.clone(),
                present: present.name.clone(),
            });
        }
    }
    Ok((planes, element_type))
}

/// A dimension that only one of the two may tell.
fn size(past: &Port, present: &Port, axis: usize, what: &str) -> Result<usize, String> {
    for port in [past, present] {
        if port.dimensions.len() != 4 {
            let (name, dimensions) = (&port.name, &port.dimensions);
            return Err(format!(
                "{name:?} has dimensions {dimensions:?} instead of [b, heads, n, head size]"
            ));
        }
    }
    match past.dimensions[axis].or(present.dimensions[axis]) {
        Some(size) if size > 0 => Ok(size),
        _ => Err(format!(
            "neither input {:?} nor output {:?} tells {what} (dimension {axis})",
            past.name, present.name
        )),
    }
}

fn is_float(element_type: ElementType) -> bool {
    matches!(element_type, ElementType::F32 | ElementType::F16)
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
            port("attention_mask", ElementType::I64, &[-1, -1]),
        ];
        let mut outputs = vec![port("logits", ElementType::F16, &[-1, -1, 100])];
        for layer in 0..layers {
            for kind in ["key", "value"] {
                let name = format!("past_key_values.{layer}.{kind}");
                inputs.push(port(&name, ElementType::F32, &[-1, 3, -1, 20]));
                outputs.push(port(&format!("present.{layer}.{kind}"), ElementType::F32, &[-1, -1, -1, -1]));
            }
        }
        (inputs, outputs)
    }

    #[test]
    fn sizes_and_inputs_come_from_the_graph() {
        let (mut inputs, mut outputs) = model(2);
        let graph = HubGraph::read(&inputs, &outputs).unwrap();
        assert_eq!((graph.planes.len(), graph.planes[3].heads, graph.planes[3].head_size), (4, 3, 20));
        assert_eq!((graph.element_type, graph.logits_type), (ElementType::F32, ElementType::F16));
        let takes = graph.takes;
        assert!(takes.attention_mask && !takes.position_ids && !takes.use_cache_branch);

        inputs.push(port("position_ids", ElementType::I64, &[-1, -1]));
        inputs.push(port("use_cache_branch", ElementType::Other, &[1]));
        inputs.push(port("num_logits_to_keep", ElementType::I64, &[]));
        // What the past leaves open, the present may tell.
        inputs[2].dimensions = vec![None; 4];
        outputs[1].dimensions = vec![None, Some(5), None, Some(8)];
        outputs[0].dimensions[2] = None;
        let graph = HubGraph::read(&inputs, &outputs).unwrap();
        let takes = graph.takes;
        assert!(takes.position_ids && takes.use_cache_branch && takes.num_logits_to_keep);
        assert_eq!((graph.planes[0].heads, graph.planes[0].head_size), (5, 8));
    }

    #[test]
    fn what_is_missing_is_named() {
        let (inputs, outputs) = model(2);
        for missing in inputs.iter().chain(&outputs).map(|port| port.name.clone()) {
            let without = |ports: &[Port]| -> Vec<Port> {
                ports.iter().filter(|port| port.name != missing).cloned().collect()
            };
            let read = HubGraph::read(&without(&inputs), &without(&outputs));
            match missing.as_str() {
                "attention_mask" => assert!(read.is_ok(), "{read:?}"),
                // The value stays behind.
                "past_key_values.1.key" => {
                    assert!(read.unwrap_err().contains("past_key_values.1.value"));
                }
                _ => assert!(read.unwrap_err().contains(&missing)),
            }
        }
    }

    #[test]
    fn the_first_graph_of_a_pair_has_the_outputs_of_the_other_and_no_past() {
        let (inputs, outputs) = model(2);
        let graph = HubGraph::read(&inputs, &outputs).unwrap();
        let positions = port("position_ids", ElementType::I64, &[-1, -1]);
        let takes = graph.read_first(&[inputs[0].clone(), positions], &outputs).unwrap();
        assert!(takes.position_ids && !takes.attention_mask);
        for missing in &outputs {
            let others: Vec<Port> = outputs.iter().filter(|port| *port != missing).cloned().collect();
            let error = graph.read_first(&inputs[..2], &others).unwrap_err();
            assert!(error.contains(&missing.name), "{error}");
        }
        let error = graph.read_first(&inputs, &outputs).unwrap_err();
        assert!(error.contains("past_key_values.0.key"), "{error}");
        let error = graph.read_first(&inputs[1..2], &outputs).unwrap_err();
        assert!(error.contains("input_ids"), "{error}");
        let (_, mut outputs) = model(2);
        outputs[0].element_type = ElementType::F32;
        let error = graph.read_first(&inputs[..2], &outputs).unwrap_err();
        assert!(error.contains("logits"), "{error}");
    }

    #[test]
    fn what_is_no_plain_decoder_is_refused() {
        let read = |change: &dyn Fn(&mut Vec<Port>)| {
            let (mut inputs, outputs) = model(1);
            change(&mut inputs);
            HubGraph::read(&inputs, &outputs).unwrap_err()
        };
        let error = read(&|inputs| inputs.push(port("past_conv.0", ElementType::F32, &[-1, 8, 3])));
        assert!(error.contains("past_conv.0"), "{error}");
        let error = read(&|inputs| inputs.push(port("position_ids", ElementType::I64, &[3, -1, -1])));
        assert!(error.contains("position_ids"), "{error}");
        let error = read(&|inputs| inputs[2].dimensions[1] = None);
        assert!(error.contains("past_key_values.0.key") && error.contains("heads"), "{error}");
        let error = read(&|inputs| inputs[3].dimensions = vec![None, Some(8), None]);
        assert!(error.contains("past_key_values.0.value"), "{error}");
        let error = read(&|inputs| inputs[2].element_type = ElementType::U8);
        assert!(error.contains("u8"), "{error}");
    }
}
