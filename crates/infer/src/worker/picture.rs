//! The test picture that every worker runs first, and how its answer is compared with the CPU's: a device that answers
//! nonsense is found before its first mask.

use model::InputSpec;
use pixels::segment::{LabelType, OutputKind, OutputSpec, ScoreType};

use crate::Fault;

/// The least correlation of two logit tensors that come from the same network.
const LEAST_CORRELATION: f64 = 0.9;
/// Standard deviation, in steps of the quantisation, below which a tensor has no shape that could correlate.
const FLAT: f64 = 2.0;
/// How far a flat tensor's values may be from each other on average, in steps of the quantisation.
const FLAT_SLACK: f64 = 4.0;
/// The least share of equal labels.
const LEAST_EQUAL: f64 = 0.7;

/// A fixed smooth picture as an input tensor: red grows to the right, green downwards, blue in two bands across.
pub fn test_picture(spec: &InputSpec) -> Vec<u8> {
    let (width, height) = (spec.size.width, spec.size.height);
    // An int8 tensor holds the pixel minus 128.
    let flip = if spec.signed { 0x80 } else { 0 };
    let ramp = |at: usize, length: usize| (at * 255 / length.saturating_sub(1).max(1)).min(255) as u8;
    let mut picture = Vec::with_capacity(spec.bytes());
    for y in 0..height {
        for x in 0..width {
            let diagonal = usize::from(ramp(x, width)) + usize::from(ramp(y, height));
            // Up and down again, twice over the diagonal.
            let blue = (diagonal * 2 % 510).abs_diff(255).min(255) as u8;
            picture.extend([ramp(x, width), ramp(y, height), blue].map(|value| value ^ flip));
        }
    }
    picture
}

/// Holds a worker's answer to the test picture against the CPU's, where there is a CPU model.
///
/// # Errors
/// [`Fault::Nonsense`] when they can't be of the same network.
pub fn check_answer(spec: &OutputSpec, cpu: Option<&[u8]>, theirs: &[u8]) -> Result<(), Fault> {
    cpu.map_or(Ok(()), |cpu| compare(spec, cpu, theirs)).map_err(|text| Fault::Nonsense { text })
}

/// Whether `theirs` can be the answer of the network that answers `cpu`: the same shape of logits (rounding differs between
/// devices), or mostly the same labels.
///
/// # Errors
/// How far apart they are, as a phrase.
fn compare(spec: &OutputSpec, cpu: &[u8], theirs: &[u8]) -> Result<(), String> {
    if cpu.len() != theirs.len() || cpu.len() != spec.bytes() {
        return Err(format!("{} bytes instead of {}", theirs.len(), cpu.len()));
    }
    match spec.kind {
        OutputKind::Logits { score: ScoreType::Int8, .. } => {
            compare_scores(cpu, theirs, |byte| f64::from(byte.cast_signed()))
        }
        OutputKind::Logits { score: ScoreType::Uint8, .. } => compare_scores(cpu, theirs, f64::from),
        OutputKind::Labels { label } => compare_labels(label, cpu, theirs),
    }
}

fn compare_scores(cpu: &[u8], theirs: &[u8], value: impl Fn(u8) -> f64) -> Result<(), String> {
    let count = cpu.len().max(1) as f64;
    let mean = |bytes: &[u8]| bytes.iter().map(|&byte| value(byte)).sum::<f64>() / count;
    let (mean_cpu, mean_theirs) = (mean(cpu), mean(theirs));
    let (mut product, mut square_cpu, mut square_theirs, mut apart) = (0.0, 0.0, 0.0, 0.0);
    for (&cpu, &theirs) in cpu.iter().zip(theirs) {
        let (cpu, theirs) = (value(cpu), value(theirs));
        product += (cpu - mean_cpu) * (theirs - mean_theirs);
        square_cpu += (cpu - mean_cpu).powi(2);
        square_theirs += (theirs - mean_theirs).powi(2);
        apart += (cpu - theirs).abs() / count;
    }
    if (square_cpu / count).sqrt() < FLAT {
        return match apart <= FLAT_SLACK {
            true => Ok(()),
            false => Err(format!("on average {apart:.1} steps of the output's scale away")),
        };
    }
    // One value everywhere correlates with nothing.
    let correlation = product / (square_cpu * square_theirs).sqrt().max(f64::MIN_POSITIVE);
    match correlation >= LEAST_CORRELATION {
        true => Ok(()),
        false => Err(format!("correlation {correlation:.2}, expected at least {LEAST_CORRELATION}")),
    }
}

fn compare_labels(label: LabelType, cpu: &[u8], theirs: &[u8]) -> Result<(), String> {
    let pairs = cpu.chunks_exact(label.bytes()).zip(theirs.chunks_exact(label.bytes()));
    let equal = pairs.filter(|(cpu, theirs)| cpu == theirs).count();
    let share = equal as f64 * label.bytes() as f64 / cpu.len().max(1) as f64;
    match share >= LEAST_EQUAL {
        true => Ok(()),
        false => Err(format!("{:.0} % equal labels, expected at least {:.0} %", share * 100.0, LEAST_EQUAL * 100.0)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pixels::frame::Size;

    fn logits(score: ScoreType) -> OutputSpec {
        let kind = OutputKind::Logits { score, classes: 5, scale: 0.1, zero_point: 0 };
        OutputSpec { height: 8, width: 10, kind }
    }

    /// A wave with a period that divides no dimension.
    fn wave(spec: &OutputSpec, size: f64, shift: f64) -> Vec<u8> {
        (0..spec.bytes()).map(|at| (((at as f64 + shift) / 7.3).sin() * size) as i8 as u8).collect()
    }

    #[test]
    fn the_picture_is_smooth_and_uses_the_whole_range() {
        let size = Size::new(96, 64);
        let unsigned = test_picture(&InputSpec { size, signed: false, scale: 1.0, zero_point: 0 });
        assert_eq!(unsigned.len(), size.pixels() * 3);
        assert_eq!(unsigned[..3], [0, 0, 255]);
        assert_eq!(unsigned[unsigned.len() - 3..][..2], [255, 255]);
        for channel in 0..3 {
            let values: Vec<u8> = unsigned.iter().skip(channel).step_by(3).copied().collect();
            assert!(values.iter().min() < Some(&8) && values.iter().max() > Some(&247), "channel {channel}");
            let rows = values.chunks_exact(size.width);
            assert!(rows.flat_map(|row| row.windows(2)).all(|pair| pair[0].abs_diff(pair[1]) <= 8));
        }
        let signed = test_picture(&InputSpec { size, signed: true, scale: 1.0, zero_point: 0 });
        assert!(unsigned.iter().zip(&signed).all(|(unsigned, signed)| unsigned ^ 0x80 == *signed));
        // The smallest that a model may have.
        assert_eq!(
            test_picture(&InputSpec { size: Size::new(2, 2), signed: false, scale: 1.0, zero_point: 0 }).len(),
            12
        );
    }

    #[test]
    fn rounding_is_no_difference_and_garbage_is() {
        let spec = logits(ScoreType::Int8);
        let cpu = wave(&spec, 60.0, 0.0);
        let rounded: Vec<u8> = cpu.iter().enumerate().map(|(at, byte)| byte.wrapping_add((at % 3) as u8)).collect();
        compare(&spec, &cpu, &cpu).unwrap();
        compare(&spec, &cpu, &rounded).unwrap();
        for theirs in [wave(&spec, 60.0, 12.0), vec![0; spec.bytes()], vec![0x80; spec.bytes()]] {
            assert!(compare(&spec, &cpu, &theirs).unwrap_err().starts_with("correlation "));
        }
        assert!(compare(&spec, &cpu, &cpu[1..]).unwrap_err().contains("399 bytes instead of 400"));
    }

    #[test]
    fn a_flat_answer_must_be_near() {
        let spec = logits(ScoreType::Uint8);
        let cpu = vec![200; spec.bytes()];
        compare(&spec, &cpu, &vec![203; spec.bytes()]).unwrap();
        assert!(compare(&spec, &cpu, &vec![220; spec.bytes()]).unwrap_err().contains("20.0 steps"));
    }

    #[test]
    fn labels_must_mostly_agree() {
        let spec = OutputSpec { height: 10, width: 10, kind: OutputKind::Labels { label: LabelType::Int32 } };
        let cpu = vec![0; spec.bytes()];
        let with = |wrong: usize| (0..spec.bytes()).map(|at| u8::from(at < wrong * 4)).collect::<Vec<_>>();
        compare(&spec, &cpu, &with(30)).unwrap();
        assert_eq!(compare(&spec, &cpu, &with(31)).unwrap_err(), "69 % equal labels, expected at least 70 %");
    }
}
