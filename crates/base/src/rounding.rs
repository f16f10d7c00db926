//! Numbers as they are printed.

/// `value` to the nearest `1 / steps`.
pub fn rounded(value: f64, steps: f64) -> f64 {
    (value * steps).round() / steps
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_goes_to_the_nearest_step() {
        assert_eq!([rounded(1.2346, 1e3), rounded(-1.2344, 1e3), rounded(2.5, 1.0)], [1.235, -1.234, 3.0]);
    }
}
