//! What a type takes as text, for tests of this crate and of others: both ends of a range, and not what is just beyond.

use std::str::FromStr;

/// Every one of `texts` is a `T`.
#[track_caller]
pub fn taken<T: FromStr>(texts: &[&str]) {
    texts.iter().for_each(|text| assert!(text.parse::<T>().is_ok(), "{text} is refused"));
}

/// None of `texts` is.
#[track_caller]
pub fn refused<T: FromStr>(texts: &[&str]) {
    texts.iter().for_each(|text| assert!(text.parse::<T>().is_err(), "{text} is taken"));
}
