//! Time of decoding 36x48x11 int8 logits to a 640x480 class map, per backend, on real and on random logits.
//!
//! `cargo bench --bench decode`. Backends take turns, so that a busy moment of the machine hits all of them; read the
//! minimum. The ratio is that of the minima, scalar over backend. `--mask FILE` writes the map of the real logits.
//! `--json` times the real logits only and ends with a line of JSON for `scripts/bench`.
#![allow(clippy::print_stdout)]

use std::error::Error;
use std::hint::black_box;
use std::time::Instant;

use pixels::frame::Size;
use pixels::segment::{Backend, Decoder, OutputKind, OutputSpec, Region, ScoreType, Summary};

/// Output of a real model for a real frame; see `data/README.md`.
static REAL: &[u8] = include_bytes!("data/walkway_logits_36x48x11.i8");

const ROUNDS: usize = 400;

fn main() -> Result<(), Box<dyn Error>> {
    let kind = OutputKind::Logits { score: ScoreType::Int8, classes: 11, scale: 0.093_909_9, zero_point: -6 };
    let spec = OutputSpec { height: 36, width: 48, kind };
    let size = Size::new(640, 480);
    let mut mask = vec![0; size.pixels()];
    let mut summary = Summary::default();

    let mut arguments = std::env::args().skip_while(|argument| argument != "--mask").skip(1);
    if let Some(path) = arguments.next() {
        Decoder::new(spec, Region::WHOLE, size)?.decode(REAL, &mut mask, &mut summary)?;
        std::fs::write(path, &mask)?;
    }

    println!("{:<8} {:<8} {:>9} {:>11} {:>7}", "logits", "backend", "min [ms]", "median [ms]", "ratio");
    let json = std::env::args().any(|argument| argument == "--json");
    let cases = [("real", REAL.to_vec()), ("random", random(spec.bytes()))];
    for (name, logits) in &cases[..if json { 1 } else { 2 }] {
        let mut decoders: Vec<Decoder> = Backend::available()
            .map(|backend| Decoder::with_backend(spec, Region::WHOLE, size, backend))
            .collect::<Result<_, _>>()?;
        let mut times = vec![Vec::with_capacity(ROUNDS); decoders.len()];
        for _ in 0..ROUNDS {
            for (decoder, times) in decoders.iter_mut().zip(&mut times) {
                let start = Instant::now();
                decoder.decode(black_box(logits), black_box(&mut mask), &mut summary)?;
                times.push(start.elapsed().as_secs_f64() * 1e3);
            }
        }
        for times in &mut times {
            times.sort_by(f64::total_cmp);
        }
        for (decoder, times_of) in decoders.iter().zip(&times) {
            let (least, median, ratio) = (times_of[0], times_of[ROUNDS / 2], times[0][0] / times_of[0]);
            println!("{name:<8} {:<8} {least:>9.3} {median:>11.3} {ratio:>7.1}", decoder.backend().to_string());
        }
        if json {
            // The scalar reference comes first, the backend that runs on this machine last.
            let figure = |times: &Vec<f64>| serde_json::json!({ "median_ms": times[ROUNDS / 2] });
            println!(
                "{}",
                serde_json::json!({ "simd": times.last().map(figure), "scalar": times.first().map(figure) })
            );
        }
    }
    Ok(())
}

/// The worst case: no two neighbouring cells agree.
fn random(bytes: usize) -> Vec<u8> {
    let mut state = 1u64;
    let next = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 56) as u8
    };
    std::iter::repeat_with(next).take(bytes).collect()
}
