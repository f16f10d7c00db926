//! A model's file, which the daemon reads itself before a worker loads it: graph, needs, and what an Edge TPU would run of it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use model::edgetpu::{self, Verdict};
use model::tflite::Graph;

fuzz_target!(|bytes: &[u8]| {
    let _ = model::tflite::vet(bytes);
    let _ = model::is_compiled(bytes);
    if let Ok(graph) = Graph::read(bytes) {
        let _ = edgetpu::packages(&graph);
        let _ = Verdict::new(&graph).passes();
        for tensor in &graph.tensors {
            let _ = (tensor.elements(), tensor.size(), tensor.integers());
        }
    }
});
