//! The instruction sets that the pixel loops are written for, and which of them this CPU has. The loops themselves are in
//! `preprocess` and `segment`.

use std::fmt;

/// An instruction set. All give the same bits; [`Backend::Scalar`] is the specification.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Backend {
    /// Plain loops, any CPU.
    Scalar,
    /// x86_64 with SSSE3, SSE4.1 and POPCNT.
    Sse41,
    /// x86_64 with AVX2, BMI1 and POPCNT.
    Avx2,
    /// aarch64.
    Neon,
}

impl Backend {
    pub(crate) const ALL: [Self; 4] = [Self::Scalar, Self::Sse41, Self::Neon, Self::Avx2];

    /// The fastest that this CPU has.
    pub fn detect() -> Self {
        Self::available().last().unwrap_or(Self::Scalar)
    }

    /// Those that this CPU has, the fastest last.
    pub fn available() -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().filter(|backend| backend.is_available())
    }

    /// Whether this CPU has it.
    pub fn is_available(self) -> bool {
        match self {
            Self::Scalar => true,
            #[cfg(target_arch = "x86_64")]
            Self::Sse41 => {
                is_x86_feature_detected!("ssse3")
                    && is_x86_feature_detected!("sse4.1")
                    && is_x86_feature_detected!("popcnt")
            }
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => {
                is_x86_feature_detected!("avx2")
                    && is_x86_feature_detected!("bmi1")
                    && is_x86_feature_detected!("popcnt")
            }
            #[cfg(target_arch = "aarch64")]
            Self::Neon => std::arch::is_aarch64_feature_detected!("neon"),
            _ => false,
        }
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Scalar => "scalar",
            Self::Sse41 => "SSE4.1",
            Self::Avx2 => "AVX2",
            Self::Neon => "NEON",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fastest_is_one_that_the_cpu_has() {
        assert!(Backend::detect().is_available());
        assert_eq!(Backend::available().next(), Some(Backend::Scalar));
        let foreign = if cfg!(target_arch = "x86_64") { Backend::Neon } else { Backend::Avx2 };
        assert!(!foreign.is_available());
    }
}
