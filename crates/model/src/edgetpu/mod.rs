//! Says of a model which operators the Edge TPU's compiler maps, and whether its parameters fit on the chip; of a compiled
//! one, what its package says.
//!
//! The rules for one operator are in `rules`; here is the graph: what one unmapped operator takes with it. Both are the
//! training kit's (kit/check_edgetpu.py). `package` reads what a compiled model carries, from the tables in `schema`.

mod package;
mod rules;
mod schema;

use std::collections::BTreeMap;

pub use package::{Executable, ExecutableKind, Package, NEWEST_RUNTIME};
pub use rules::Finding;
use rules::{judge, View};

use super::tflite::{Damage, Graph, EDGETPU_OPERATOR};

/// What is left of the chip's 8 MB for parameters beside the program: published compiler reports cache 5.99 to 6.86 MiB when
/// a model does not fit (github.com/google-coral/edgetpu issues 60, 211, 322).
pub const USABLE_BYTES: u64 = 6_900_000;

/// What is known about a model.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// It is a compiled file.
    pub is_compiled: bool,
    /// Each operator's, in order.
    pub placements: Vec<Placement>,
    /// Weights and biases of the operators on the Edge TPU, each constant once, as the source has them; the compiler's layout
    /// adds some per cent. Of a compiled file its packages say it.
    pub parameter_bytes: u64,
    /// There is one subgraph, without loops and branches.
    pub is_single: bool,
}

/// Where one operator runs, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    /// What speaks against the Edge TPU.
    pub findings: Vec<Finding>,
    /// It runs there.
    pub on_edgetpu: bool,
}

impl Placement {
    /// A rule speaks against it.
    pub fn is_refused(&self) -> bool {
        self.findings.iter().any(|finding| finding.refused)
    }

    /// In a word: `maps`; `unsure`, only the compiler can tell; `refused` by a rule; `split off` by another one that is.
    pub fn status(&self) -> &'static str {
        match (self.on_edgetpu, self.findings.is_empty()) {
            (true, true) => "maps",
            (true, false) => "unsure",
            (false, _) if self.is_refused() => "refused",
            (false, _) => "split off",
        }
    }
}

impl Verdict {
    /// Judges `graph`.
    pub fn new(graph: &Graph<'_>) -> Self {
        let is_compiled = graph.is_compiled();
        let views = || graph.operators.iter().map(|operator| View::new(graph, operator));
        let placements: Vec<Placement> = if is_compiled {
            let place = |view: View<'_, '_>| Placement {
                findings: Vec::new(),
                on_edgetpu: view.operator.name == EDGETPU_OPERATOR,
            };
            views().map(place).collect()
        } else {
            let findings: Vec<Vec<Finding>> = views().map(judge).collect();
            let good: Vec<bool> = findings.iter().map(|found| !found.iter().any(|each| each.refused)).collect();
            let mapped = first_partition(graph, &good);
            let places = findings.into_iter().zip(mapped);
            places.map(|(findings, on_edgetpu)| Placement { findings, on_edgetpu }).collect()
        };
        let mapped = views().zip(&placements).filter(|(_, placement)| placement.on_edgetpu);
        let sizes: BTreeMap<usize, u64> =
            mapped.flat_map(|(view, _)| view.parameters()).map(|(index, tensor)| (index, tensor.size())).collect();
        let parameter_bytes = sizes.into_values().fold(0, u64::saturating_add);
        Self { is_compiled, parameter_bytes, placements, is_single: graph.subgraphs == 1 }
    }

    /// How many operators the CPU runs.
    pub fn left(&self) -> usize {
        self.placements.iter().filter(|placement| !placement.on_edgetpu).count()
    }

    /// Where the graph splits.
    pub fn first_refused(&self) -> Option<usize> {
        self.placements.iter().position(Placement::is_refused)
    }

    /// The parameters fit on the chip, beside the program.
    pub const fn fits(&self) -> bool {
        self.parameter_bytes <= USABLE_BYTES
    }

    /// Everything runs on the Edge TPU.
    pub fn passes(&self) -> bool {
        self.left() == 0 && self.is_single
    }
}

/// The packages of a compiled model's operators; None for an operator that carries none.
///
/// # Errors
/// Where the structure of one is broken.
pub fn packages(graph: &Graph<'_>) -> Result<Vec<Option<Package>>, Damage> {
    let operators = graph.operators.iter().filter(|operator| operator.name == EDGETPU_OPERATOR);
    operators.map(|operator| Package::read(operator.custom)).collect()
}

/// The operators that become the one Edge TPU subgraph, of those that the rules let pass.
///
/// TensorFlow Lite cuts a graph into partitions that alternate between the CPU and a delegate, each as large as its inputs
/// allow (tensorflow/lite/graph_info.cc); the compiler keeps the first delegate's one and leaves the others to the CPU as
/// "More than one subgraph is not supported" (github.com/google-coral/edgetpu/issues/461).
fn first_partition(graph: &Graph<'_>, good: &[bool]) -> Vec<bool> {
    let count = graph.operators.len();
    let outputs =
        graph.operators.iter().enumerate().flat_map(|(index, each)| each.outputs.iter().map(move |&t| (t, index)));
    let made_by: BTreeMap<usize, usize> = outputs.collect();
    let views = graph.operators.iter().map(|operator| View::new(graph, operator));
    let needs: Vec<Vec<usize>> =
        views.map(|view| view.variables().filter_map(|(tensor, _)| made_by.get(&tensor).copied()).collect()).collect();
    let mut done = vec![false; count];
    loop {
        let is_ready = |done: &[bool], index: usize| needs[index].iter().all(|&before| done[before]);
        let Some(first) = (0..count).find(|&index| !done[index] && is_ready(&done, index)) else {
            return vec![false; count];
        };
        let before = done.clone();
        // Execution order is topological, so one pass takes all that can be taken.
        for index in first..count {
            if !done[index] && good[index] == good[first] && is_ready(&done, index) {
                done[index] = true;
            }
        }
        if good[first] {
            return done.iter().zip(before).map(|(&done, before)| done && !before).collect();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::super::tflite::{Operator, Options, Tensor};
    use super::*;

    /// A graph of int8 pictures 8x8x4 that grows by one operator at a time.
    struct Built(Graph<'static>);

    impl Built {
        fn new() -> Self {
            let (tensors, operators) = (Vec::new(), Vec::new());
            let mut graph = Self(Graph {
                description: Cow::Borrowed(""),
                tensors,
                operators,
                inputs: vec![0],
                outputs: Vec::new(),
                subgraphs: 1,
            });
            graph.tensor(None);
            graph
        }

        fn tensor(&mut self, data: Option<&'static [u8]>) -> usize {
            self.0.tensors.push(Tensor {
                name: Cow::Borrowed("t"),
                kind: Cow::Borrowed("int8"),
                shape: vec![1, 8, 8, 4],
                is_dynamic: false,
                is_state: false,
                scales: 1,
                quantisation: Some((0.5, 0)),
                data,
            });
            self.0.tensors.len() - 1
        }

        /// Adds an operator and returns its output.
        fn add(&mut self, name: &'static str, inputs: &[usize]) -> usize {
            let output = self.tensor(None);
            self.0.operators.push(Operator {
                name: Cow::Borrowed(name),
                version: 1,
                inputs: inputs.iter().copied().map(Some).collect(),
                outputs: vec![output],
                options: Options::default(),
                custom: &[],
            });
            output
        }

        fn statuses(&self) -> Vec<&'static str> {
            Verdict::new(&self.0).placements.iter().map(Placement::status).collect()
        }
    }

    #[test]
    fn what_hangs_on_a_refused_operator_is_split_off_and_the_rest_stays() {
        let mut graph = Built::new();
        let early = graph.add("RELU", &[0]);
        let refused = graph.add("HARD_SWISH", &[early]);
        let beside = graph.add("RELU6", &[early]);
        graph.add("ADD", &[refused, beside]);
        assert_eq!(graph.statuses(), ["maps", "refused", "maps", "split off"]);
        let verdict = Verdict::new(&graph.0);
        assert_eq!((verdict.left(), verdict.first_refused(), verdict.passes()), (2, Some(1), false));
    }

    #[test]
    fn a_refused_operator_before_all_others_splits_nothing() {
        let mut graph = Built::new();
        let first = graph.add("CAST", &[0]);
        let second = graph.add("RELU", &[first]);
        graph.add("TILE", &[second]);
        assert_eq!(graph.statuses(), ["refused", "maps", "unsure"]);
    }

    #[test]
    fn operators_that_wait_for_each_other_run_nowhere_and_end_the_search() {
        let mut graph = Built::new();
        let next = graph.0.tensors.len() + 1;
        let first = graph.add("RELU", &[next]);
        graph.add("RELU", &[first]);
        assert_eq!(graph.statuses(), ["split off", "split off"]);
        assert!(!Verdict::new(&graph.0).passes());
    }

    #[test]
    fn parameters_count_once_and_only_where_they_go_to_the_chip() {
        let mut graph = Built::new();
        let weights = graph.tensor(Some(&[1; 256]));
        let first = graph.add("CONV_2D", &[0, weights]);
        let second = graph.add("CONV_2D", &[first, weights]);
        assert_eq!(Verdict::new(&graph.0).parameter_bytes, 256);
        let refused = graph.add("HARD_SWISH", &[second]);
        let others = graph.tensor(Some(&[1; 256]));
        graph.add("CONV_2D", &[refused, others]);
        assert_eq!(Verdict::new(&graph.0).parameter_bytes, 256, "what is split off has its own on the CPU");
        graph.0.tensors[weights].shape = vec![1, 1, 1, 6_900_000];
        assert!(Verdict::new(&graph.0).fits());
        graph.0.tensors[weights].shape = vec![1, 1, 1, 6_900_001];
        assert!(!Verdict::new(&graph.0).fits());
        graph.0.tensors[weights].shape = vec![i32::MAX; 4];
        assert_eq!(Verdict::new(&graph.0).parameter_bytes, u64::MAX, "sizes that no file can have");
    }

    #[test]
    fn several_subgraphs_do_not_pass() {
        let mut graph = Built::new();
        graph.add("RELU", &[0]);
        assert!(Verdict::new(&graph.0).passes());
        graph.0.subgraphs = 2;
        assert!(!Verdict::new(&graph.0).passes());
    }

    #[test]
    fn operators_beside_a_compiled_one_run_on_the_cpu() {
        let mut graph = Built::new();
        let first = graph.add(EDGETPU_OPERATOR, &[0]);
        graph.add("RELU", &[first]);
        let verdict = Verdict::new(&graph.0);
        assert!(verdict.is_compiled);
        assert_eq!((verdict.left(), verdict.passes(), verdict.first_refused()), (1, false, None));
        assert_eq!(packages(&graph.0).unwrap(), [None]);
    }

    #[test]
    fn findings_say_what_and_what_to_do() {
        let mut graph = Built::new();
        graph.add("RELU", &[0]);
        let found = |graph: &Built| -> Vec<String> {
            let findings = &Verdict::new(&graph.0).placements[0].findings;
            assert!(findings.iter().all(|finding| finding.refused && !finding.remedy.is_empty()), "{findings:?}");
            findings.iter().map(|finding| finding.reason.clone()).collect()
        };
        assert!(found(&graph).is_empty());
        graph.0.tensors[0].kind = Cow::Borrowed("int16");
        assert_eq!(found(&graph), ["tensor 't' int16 [1, 8, 8, 4]: only 8-bit tensors map (docs)"]);
        graph.0.tensors[0].kind = Cow::Borrowed("uint8");
        graph.0.tensors[0].scales = 0;
        assert_eq!(found(&graph), ["tensor 't' uint8 [1, 8, 8, 4] has no quantisation parameters (docs)"]);
        graph.0.tensors[0].scales = 1;
        graph.0.tensors[0].is_dynamic = true;
        assert_eq!(found(&graph), ["tensor 't' uint8 [1, 8, 8, 4] has no constant size (docs)"]);
        graph.0.tensors[0].is_dynamic = false;
        graph.0.tensors[0].shape[0] = 2;
        assert!(found(&graph)[0].contains("only the three innermost dimensions"));
        graph.0.tensors[0].shape[0] = 1;
        graph.0.operators[0].version = 3;
        assert_eq!(found(&graph), ["version 3 is newer than the newest that is known to map, 2"]);
    }
}
