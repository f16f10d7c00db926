//! An inspection as text and as JSON. The JSON has what kit/check_edgetpu.py --json prints, under the same names,
//! and more.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use base::failure::{Failure, Kind};
use base::text::Foreign;
use model::edgetpu::{ExecutableKind, Finding, Package, NEWEST_RUNTIME, USABLE_BYTES};
use model::tflite::{Operator, Tensor};
use model::ModelError;
use serde_json::{json, Value};

use super::inspect::Inspection;

pub(super) fn json(inspection: &Inspection<'_>) -> Result<String, Failure> {
    let Inspection { model, graph, verdict, .. } = inspection;
    let operators = graph.operators.iter().zip(&verdict.placements).enumerate();
    let operators: Vec<Value> = operators
        .map(|(index, (operator, placement))| {
            json!({
                "index": index,
                "name": operator.name,
                "version": operator.version,
                "output": first_output(inspection, operator),
                "status": placement.status(),
                "findings": placement.findings,
            })
        })
        .collect();
    let is_source = !verdict.is_compiled;
    let value = json!({
        "file": model.path.display().to_string(),
        "bytes": model.bytes.len(),
        "sha256": model.sha256,
        "description": graph.description,
        "compiled": verdict.is_compiled,
        "usable": inspection.unfit.is_none(),
        "unusable_because": inspection.unfit.as_ref().map(reason),
        "manifest": inspection.pair.and_then(|pair| pair.manifest.as_ref()).map(|manifest| {
            json!({"name": manifest.name, "version": manifest.version})
        }),
        "other_half": inspection.other_half().map(|(path, sha256)| {
            json!({"file": path.display().to_string(), "sha256": sha256})
        }),
        "problems": inspection.problems.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "passes": verdict.passes(),
        "operators_on_edgetpu": verdict.placements.len() - verdict.left(),
        "operators_on_cpu": verdict.left(),
        "first_refused": verdict.first_refused(),
        "subgraphs": graph.subgraphs,
        "parameter_bytes": is_source.then_some(verdict.parameter_bytes),
        "parameter_bytes_usable": USABLE_BYTES,
        "parameters_fit": is_source.then(|| verdict.fits()),
        "inputs": graph.input_tensors().map(tensor).collect::<Vec<_>>(),
        "outputs": graph.output_tensors().map(tensor).collect::<Vec<_>>(),
        "operators": operators,
        "packages": inspection.packages.iter().map(|found| found.as_ref().map(package_json)).collect::<Vec<_>>(),
    });
    serde_json::to_string_pretty(&value).map_err(|error| Failure::new(Kind::Software, error.to_string()))
}

fn package_json(package: &Package) -> Value {
    json!({
        "min_runtime_version": package.min_runtime_version,
        "compiler_version": package.compiler_version,
        "model_identifier": package.model_identifier,
        "parameter_bytes_on_chip": package.on_chip_bytes(),
        "parameter_bytes_streamed": package.streamed_bytes(),
        "executables": package.executables,
    })
}

fn tensor(tensor: &Tensor<'_>) -> Value {
    let (scale, zero_point) = tensor.quantisation.unzip();
    json!({
        "name": tensor.name,
        "type": tensor.kind,
        "shape": tensor.shape,
        "scale": scale,
        "zero_point": zero_point,
    })
}

fn first_output(inspection: &Inspection<'_>, operator: &Operator<'_>) -> String {
    let tensor = operator.outputs.first().and_then(|&index| inspection.graph.tensors.get(index));
    tensor.map(|tensor| tensor.name.clone().into_owned()).unwrap_or_default()
}

/// Why, without the path, which stands above.
fn reason(error: &ModelError) -> String {
    match error {
        ModelError::Unfit { found, expected, .. } => format!("{found}; expected {expected}"),
        other => other.to_string(),
    }
}

pub(super) fn text(inspection: &Inspection<'_>) -> String {
    let mut text = String::new();
    // Writing to a String can't fail.
    let _ = head(inspection, &mut text);
    let _ =
        if inspection.verdict.is_compiled { compiled(inspection, &mut text) } else { source(inspection, &mut text) };
    for problem in &inspection.problems {
        let _ = write!(text, "\n\nproblem: {}", Foreign(problem));
    }
    text
}

fn head(inspection: &Inspection<'_>, text: &mut String) -> std::fmt::Result {
    let Inspection { model, graph, .. } = inspection;
    write!(text, "{}\n  {} bytes, SHA-256 {}", Foreign(model.path.display()), model.bytes.len(), model.sha256)?;
    let ends = graph.input_tensors().map(|tensor| ("input", tensor));
    for (end, tensor) in ends.chain(graph.output_tensors().map(|tensor| ("output", tensor))) {
        write!(text, "\n  {end:<7} {tensor} '{}', {}", Foreign(&tensor.name), quantisation(tensor))?;
    }
    match &inspection.unfit {
        None if inspection.verdict.is_compiled => text.push_str("\n  pspnetd can use it, on an Edge TPU"),
        None => text.push_str("\n  pspnetd can use it"),
        Some(error) => write!(text, "\n  pspnetd can't use it: {}", Foreign(reason(error)))?,
    }
    if let Some(manifest) = inspection.pair.and_then(|pair| pair.manifest.as_ref()) {
        write!(text, "\n  manifest: {} {}", Foreign(&manifest.name), Foreign(&manifest.version))?;
    }
    match (inspection.other_half(), inspection.pair) {
        (Some((path, _)), _) if inspection.verdict.is_compiled => {
            write!(text, "\n  the half for the CPU: {}, which agrees", Foreign(path.display()))
        }
        (Some((path, _)), _) => {
            write!(text, "\n  the half for the Edge TPU: {}, which agrees", Foreign(path.display()))
        }
        (None, Some(_)) if inspection.verdict.is_compiled => write!(text, "\n  the half for the CPU: none beside it"),
        (None, Some(_)) => write!(text, "\n  the half for the Edge TPU: none beside it"),
        (None, None) => Ok(()),
    }
}

fn quantisation(tensor: &Tensor<'_>) -> String {
    match tensor.quantisation {
        Some((scale, zero_point)) => format!("scale {scale}, zero point {zero_point}"),
        None if tensor.scales > 1 => format!("{} scales", tensor.scales),
        None => "no scale".to_owned(),
    }
}

fn source(inspection: &Inspection<'_>, text: &mut String) -> std::fmt::Result {
    let Inspection { graph, verdict, .. } = inspection;
    let (total, left) = (verdict.placements.len(), verdict.left());
    write!(text, "\n\nOperators, and what the Edge TPU's compiler makes of them by its documented rules:")?;
    let mut counts: BTreeMap<(&str, i32, &str), usize> = BTreeMap::new();
    for (operator, placement) in graph.operators.iter().zip(&verdict.placements) {
        *counts.entry((&operator.name, operator.version, placement.status())).or_default() += 1;
    }
    for ((name, version, status), count) in counts {
        write!(text, "\n  {count:>4}  {:<32} {status}", Foreign(format!("{name} v{version}")))?;
    }
    write!(text, "\n\nEdge TPU: {} of {total} operators, {left} on the CPU", total - left)?;
    if !verdict.is_single {
        write!(text, "\n  {} subgraphs: loops and branches do not map; export without them", graph.subgraphs)?;
    }
    let fit =
        if verdict.fits() { "fit on the chip" } else { "do not fit on the chip: the rest is streamed on every run" };
    write!(
        text,
        "\n  parameters: {} bytes, {fit} (about {:.1} MB are usable)",
        verdict.parameter_bytes,
        USABLE_BYTES as f64 / 1e6
    )?;
    if left > 0 {
        text.push_str("\n\nDoes not map:");
        findings(inspection, text, |finding| finding.refused)?;
        if let Some(first) = verdict.first_refused() {
            let behind = verdict.placements.iter().filter(|placement| placement.status() == "split off").count();
            if behind > 0 {
                let name = Foreign(&graph.operators[first].name);
                write!(
                    text,
                    "\n  {behind} that would map are split off: one subgraph is compiled, and the graph splits at \
                     operator {first}, {name}"
                )?;
            }
        }
    }
    if verdict.placements.iter().any(|placement| placement.status() == "unsure") {
        text.push_str("\n\nMaps as far as is known; only the compiler can tell (kit/compile_edgetpu.sh):");
        findings(inspection, text, |finding| !finding.refused)?;
    }
    let unsure = verdict.placements.iter().filter(|placement| placement.status() == "unsure").count();
    if left > 0 || unsure > 0 {
        text.push_str(
            "\n\nIn brackets, where that is known from. docs: coral.ai/docs/edgetpu/models-intro; issues: \
             github.com/google-coral/edgetpu;\npairs: models that Coral published with their compiled form.",
        );
    }
    match (verdict.passes(), unsure) {
        (false, _) => write!(text, "\n\nNot everything maps."),
        (true, 0) => write!(text, "\n\nEverything maps."),
        (true, _) => {
            write!(text, "\n\nEverything maps as far as is known; of {unsure} only the compiler can tell.")
        }
    }
}

/// The same finding is said once, for all operators that have it.
fn findings(inspection: &Inspection<'_>, text: &mut String, wanted: fn(&Finding) -> bool) -> std::fmt::Result {
    const MOST_NAMED: usize = 8;
    let Inspection { graph, verdict, .. } = inspection;
    let mut told: Vec<(String, &Finding, Vec<usize>)> = Vec::new();
    for (index, (operator, placement)) in graph.operators.iter().zip(&verdict.placements).enumerate() {
        let name = format!("{} v{}", operator.name, operator.version);
        for finding in placement.findings.iter().filter(|finding| wanted(finding)) {
            match told.iter_mut().find(|(known, same, _)| *known == name && *same == finding) {
                Some((_, _, operators)) => operators.push(index),
                None => told.push((name.clone(), finding, vec![index])),
            }
        }
    }
    for (name, finding, operators) in told {
        let mut named: Vec<String> = operators.iter().take(MOST_NAMED).map(ToString::to_string).collect();
        if operators.len() > MOST_NAMED {
            named.push(format!("{} more", operators.len() - MOST_NAMED));
        }
        let plural = if operators.len() > 1 { "s" } else { "" };
        write!(text, "\n  {}, operator{plural} {}", Foreign(name), named.join(", "))?;
        write!(text, "\n    {}\n    to do: {}", Foreign(&finding.reason), Foreign(&finding.remedy))?;
    }
    Ok(())
}

fn compiled(inspection: &Inspection<'_>, text: &mut String) -> std::fmt::Result {
    let Inspection { graph, verdict, .. } = inspection;
    let count = verdict.placements.len() - verdict.left();
    write!(text, "\n\nCompiled for the Edge TPU. Compiled operators: {count}, on the CPU: {}", verdict.left())?;
    for (operator, _) in graph.operators.iter().zip(&verdict.placements).filter(|(_, placement)| !placement.on_edgetpu)
    {
        write!(text, "\n  {} v{} runs on the CPU", Foreign(&operator.name), operator.version)?;
    }
    for found in &inspection.packages {
        match found {
            Some(found) => package(found, text)?,
            None => text.push_str("\n  an operator without a DarwiNN package: Google's compiler did not make it"),
        }
    }
    Ok(())
}

fn package(package: &Package, text: &mut String) -> std::fmt::Result {
    let Package { min_runtime_version, compiler_version, model_identifier, executables } = package;
    let newer = if *min_runtime_version > NEWEST_RUNTIME { ", newer than the newest libedgetpu's" } else { "" };
    let compiler = Foreign(compiler_version);
    write!(text, "\n  needs runtime version {min_runtime_version}{newer}; made by compiler '{compiler}'")?;
    if !model_identifier.is_empty() {
        write!(text, "\n  called '{}'", Foreign(model_identifier))?;
    }
    write!(
        text,
        "\n  parameters: {} bytes stay on the chip, {} are streamed on every run",
        package.on_chip_bytes(),
        package.streamed_bytes()
    )?;
    for executable in executables {
        let kind = match executable.kind {
            ExecutableKind::StandAlone => "does all",
            ExecutableKind::ParameterCaching => "loads parameters",
            ExecutableKind::ExecutionOnly => "runs",
            ExecutableKind::Unknown => "of an unknown kind",
        };
        let instructions: usize = executable.instruction_bytes.iter().sum();
        write!(
            text,
            "\n  program that {kind}: chip '{}', batch {}, {instructions} bytes of instructions, {} of parameters, \
             {} of the host's memory",
            Foreign(&executable.chip),
            executable.batch_size,
            executable.parameter_bytes,
            executable.scratch_bytes
        )?;
    }
    Ok(())
}
