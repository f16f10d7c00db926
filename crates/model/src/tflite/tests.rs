//! Models that are there, whole and damaged. `fields` has files that are built field by field.

mod fields;

use std::path::Path;

use proptest::prelude::*;

use super::*;

fn repository(path: &str) -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)).unwrap()
}

fn colours() -> Vec<u8> {
    repository("tests/models/colours/model.tflite")
}

#[test]
fn a_model_reads_as_it_was_built() {
    let bytes = colours();
    let graph = Graph::read(&bytes).unwrap();
    let names: Vec<(&str, i32)> = graph.operators.iter().map(|each| (each.name.as_ref(), each.version)).collect();
    assert_eq!(names, [("AVERAGE_POOL_2D", 2), ("CONV_2D", 3)]);
    assert_eq!(graph.operators[0].options.filter, (8, 8));
    assert_eq!((graph.operators[1].options.dilation, graph.operators[1].options.activation), ((1, 1), "NONE"));
    let input = graph.input_tensors().next().unwrap();
    assert_eq!((input.name.as_ref(), input.to_string().as_str()), ("image", "int8 [1, 64, 96, 3]"));
    assert_eq!(input.quantisation, Some((1.0 / 255.0, -128)));
    let weights = &graph.tensors[graph.operators[1].inputs[1].unwrap()];
    assert_eq!((weights.scales, weights.quantisation, weights.data.unwrap().len()), (8, None, 24));
    assert_eq!((graph.subgraphs, graph.is_compiled()), (1, false));
}

#[test]
fn a_compiled_model_is_told_by_its_operator() {
    let bytes = repository("kit/tests/data/split_concat_edgetpu.tflite");
    let graph = Graph::read(&bytes).unwrap();
    assert!(graph.is_compiled());
    assert_eq!(graph.operators.len(), 1);
    assert!(graph.operators[0].custom.windows(4).any(|four| four == b"DWN1"), "the package is in it");
}

#[test]
fn sizes_and_lists_go_by_the_type() {
    let of = |kind: &'static str, data: &'static [u8]| Tensor {
        name: Cow::Borrowed("t"),
        kind: Cow::Borrowed(kind),
        shape: vec![2, -1, 3],
        is_dynamic: false,
        is_state: false,
        scales: 0,
        quantisation: None,
        data: Some(data),
    };
    let data = &[1, 0, 0, 0, 0xFE, 0xFF, 0xFF, 0xFF, 3, 0, 0, 0, 0, 0, 0, 0, 7];
    assert_eq!(of("int32", data).integers(), [1, -2, 3, 0]);
    assert_eq!(of("int64", &data[8..]).integers(), [3]);
    assert_eq!(of("int8", data).integers(), [0; 0]);
    for (kind, bytes) in
        [("int8", 6), ("bool", 6), ("int16", 12), ("float16", 12), ("int32", 24), ("float32", 24), ("int64", 48)]
    {
        assert_eq!((of(kind, &[]).elements(), of(kind, &[]).size()), (6, bytes), "{kind}");
    }
}

#[test]
fn shipped_models_read() {
    for name in ["street-accurate", "street-bootstrap", "street-fast", "street-nano", "scene-fast"] {
        let bytes = repository(&format!("models/{name}/model.tflite"));
        assert!(vet(&bytes).unwrap().computed > bytes.len() as u64, "{name}");
        let graph = Graph::read(&bytes).unwrap();
        assert!(graph.operators.len() > 20 && graph.input_tensors().count() == 1, "{name}");
    }
}

/// Whatever is wrong with the bytes, reading ends with a graph whose numbers hold, or with an error.
fn is_sound(bytes: &[u8]) -> bool {
    let _ = vet(bytes);
    let Ok(graph) = Graph::read(bytes) else { return false };
    let count = graph.tensors.len();
    for operator in &graph.operators {
        assert!(operator.inputs.iter().flatten().chain(&operator.outputs).all(|&index| index < count));
    }
    for tensor in &graph.tensors {
        let _ = (tensor.size(), tensor.integers(), tensor.to_string());
    }
    true
}

#[test]
fn every_flipped_bit_of_a_small_model_is_survived() {
    let whole = colours();
    assert!(is_sound(&whole));
    let mut flipped = whole.clone();
    let mut refused = 0;
    for bit in 0..whole.len() * 8 {
        flipped[bit / 8] ^= 1 << (bit % 8);
        refused += usize::from(!is_sound(&flipped));
        flipped[bit / 8] ^= 1 << (bit % 8);
    }
    assert!(refused > 1000, "only {refused} of {} were noticed", whole.len() * 8);
}

#[test]
fn a_model_cut_at_any_byte_is_refused_or_whole() {
    let whole = colours();
    assert_eq!((0..whole.len() / 2).filter(|&cut| is_sound(&whole[..cut])).count(), 0);
    for cut in 0..whole.len() {
        is_sound(&whole[..cut]);
    }
}

proptest! {
    #[test]
    fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        is_sound(&bytes);
    }

    #[test]
    fn any_words_written_over_a_model_are_survived(
        words in proptest::collection::vec((any::<prop::sample::Index>(), any::<u32>()), 1..8)
    ) {
        let mut bytes = colours();
        for (place, word) in words {
            let at = place.index(bytes.len() / 4) * 4;
            bytes[at..at + 4].copy_from_slice(&word.to_le_bytes());
        }
        is_sound(&bytes);
    }
}
