//! From the tables of a TensorFlow Lite file, which `schema` declares, to plain values. Every index is checked here, so a graph
//! that was read names only tensors that it has.

use std::borrow::Cow;

use super::schema::{self, BuiltinOptions, OperatorCode, NO_OFFSET, UNKNOWN_EXTENT};
use super::{names, Graph, Operator, Options, Tensor, MOST_DIMENSIONS};
use crate::flatbuffer::{Damage, Reader};

/// The main subgraph of the file `bytes`.
pub(super) fn graph(bytes: &[u8]) -> Result<Graph<'_>, Damage> {
    let reader = &Reader::new(bytes);
    let model: schema::Model<'_, '_> = reader.root()?;
    let subgraphs = model.subgraphs()?;
    let main = subgraphs.first().ok_or_else(|| Damage("it has no subgraph".to_owned()))?;
    let buffers = model.buffers()?;
    let tensors: Vec<Tensor<'_>> =
        main.tensors()?.iter().map(|table| tensor(reader, table, &buffers)).collect::<Result<_, _>>()?;
    let codes = model.operator_codes()?;
    let count = tensors.len();
    let operators =
        main.operators()?.iter().map(|table| operator(reader, table, &codes, count)).collect::<Result<_, _>>()?;
    Ok(Graph {
        description: model.description()?,
        operators,
        inputs: main.inputs()?.into_iter().map(|index| existing(index, count)).collect::<Result<_, _>>()?,
        outputs: main.outputs()?.into_iter().map(|index| existing(index, count)).collect::<Result<_, _>>()?,
        subgraphs: subgraphs.len(),
        tensors,
    })
}

fn tensor<'a>(
    reader: &Reader<'a>,
    table: &schema::Tensor<'_, 'a>,
    buffers: &[schema::Buffer<'_, 'a>],
) -> Result<Tensor<'a>, Damage> {
    let shape = table.shape()?;
    if shape.len() > MOST_DIMENSIONS {
        return Err(Damage(format!("a tensor of {} dimensions", shape.len())));
    }
    let (scales, zero_points) = match table.quantization()? {
        Some(table) => (table.scale()?, table.zero_point()?),
        None => Default::default(),
    };
    Ok(Tensor {
        name: table.name()?,
        kind: names::tensor_type(table.type_()?),
        is_dynamic: shape.iter().any(|&extent| extent <= 0) || table.shape_signature()?.contains(&UNKNOWN_EXTENT),
        is_state: table.is_variable()?,
        shape,
        scales: scales.len(),
        quantisation: match (&scales[..], &zero_points[..]) {
            (&[scale], &[zero_point]) => Some((scale, zero_point)),
            _ => None,
        },
        data: buffer_of(reader, table.buffer()?, buffers)?,
    })
}

/// The bytes of the buffer of this number; None where there are none, since the tensor is computed.
pub(super) fn buffer_of<'a>(
    reader: &Reader<'a>,
    number: u32,
    buffers: &[schema::Buffer<'_, 'a>],
) -> Result<Option<&'a [u8]>, Damage> {
    let buffer = usize::try_from(number).ok().and_then(|number| buffers.get(number));
    let buffer = buffer.ok_or_else(|| Damage(format!("buffer {number} of {}", buffers.len())))?;
    let data = match outside(reader, buffer.offset()?, buffer.size()?)? {
        Some(data) => data,
        None => buffer.data()?,
    };
    Ok(Some(data).filter(|data| !data.is_empty()))
}

/// `size` bytes at `offset` of the file; None where the offset is none.
fn outside<'a>(reader: &Reader<'a>, offset: u64, size: u64) -> Result<Option<&'a [u8]>, Damage> {
    (offset > NO_OFFSET).then(|| reader.outside(offset, size)).transpose()
}

fn operator<'a>(
    reader: &Reader<'a>,
    table: &schema::Operator<'_, 'a>,
    codes: &[OperatorCode<'_, 'a>],
    tensors: usize,
) -> Result<Operator<'a>, Damage> {
    let number = table.opcode_index()?;
    let code = usize::try_from(number).ok().and_then(|number| codes.get(number));
    let code = code.ok_or_else(|| Damage(format!("operator code {number} of {}", codes.len())))?;
    // Files from before the field was widened only have the older one; the newer is then 0.
    let name = names::operator(code.builtin_code()?.max(code.deprecated_builtin_code()?.into()));
    let custom = match outside(reader, table.large_custom_options_offset()?, table.large_custom_options_size()?)? {
        Some(custom) => custom,
        None => table.custom_options()?,
    };
    let input = |index| if index < 0 { Ok(None) } else { existing(index, tensors).map(Some) };
    Ok(Operator {
        name: if name == names::CUSTOM { code.custom_code()? } else { Cow::Borrowed(name) },
        version: code.version()?,
        inputs: table.inputs()?.into_iter().map(input).collect::<Result<_, _>>()?,
        outputs: table.outputs()?.into_iter().map(|index| existing(index, tensors)).collect::<Result<_, _>>()?,
        options: options(table)?,
        custom,
    })
}

fn existing(index: i32, count: usize) -> Result<usize, Damage> {
    let known = usize::try_from(index).ok().filter(|&index| index < count);
    known.ok_or_else(|| Damage(format!("tensor {index} of {count}")))
}

fn options(operator: &schema::Operator<'_, '_>) -> Result<Options, Damage> {
    let plain = Options::default();
    let fused = |activation| Options { activation: names::activation(activation), ..plain };
    let kind = operator.builtin_options_type()?;
    let Some(table) = operator.builtin_options()? else { return Ok(plain) };
    Ok(match BuiltinOptions::new(kind, table) {
        BuiltinOptions::Conv2DOptions(table) => {
            let fused = fused(table.fused_activation_function()?);
            Options { dilation: (table.dilation_h_factor()?, table.dilation_w_factor()?), ..fused }
        }
        BuiltinOptions::DepthwiseConv2DOptions(table) => {
            let fused = fused(table.fused_activation_function()?);
            Options { dilation: (table.dilation_h_factor()?, table.dilation_w_factor()?), ..fused }
        }
        BuiltinOptions::Pool2DOptions(table) => {
            let fused = fused(table.fused_activation_function()?);
            Options { filter: (table.filter_height()?, table.filter_width()?), ..fused }
        }
        BuiltinOptions::FullyConnectedOptions(table) => {
            let fused = fused(table.fused_activation_function()?);
            Options { weights_format: table.weights_format()?, ..fused }
        }
        BuiltinOptions::ConcatenationOptions(table) => {
            let fused = fused(table.fused_activation_function()?);
            Options { axis: table.axis()?, ..fused }
        }
        BuiltinOptions::AddOptions(table) => fused(table.fused_activation_function()?),
        BuiltinOptions::L2NormOptions(table) => fused(table.fused_activation_function()?),
        BuiltinOptions::MulOptions(table) => fused(table.fused_activation_function()?),
        BuiltinOptions::SubOptions(table) => fused(table.fused_activation_function()?),
        BuiltinOptions::DivOptions(table) => fused(table.fused_activation_function()?),
        BuiltinOptions::TransposeConvOptions(table) => fused(table.fused_activation_function()?),
        BuiltinOptions::UnidirectionalSequenceLSTMOptions(table) => fused(table.fused_activation_function()?),
        BuiltinOptions::ResizeBilinearOptions(table) => {
            Options { half_pixel_centers: table.half_pixel_centers()?, ..plain }
        }
        BuiltinOptions::ResizeNearestNeighborOptions(table) => {
            Options { half_pixel_centers: table.half_pixel_centers()?, ..plain }
        }
        BuiltinOptions::StridedSliceOptions(table) => {
            Options { ellipsis_mask: table.ellipsis_mask()?, new_axis_mask: table.new_axis_mask()?, ..plain }
        }
        BuiltinOptions::PackOptions(table) => Options { axis: table.axis()?, ..plain },
        BuiltinOptions::Other => plain,
    })
}
