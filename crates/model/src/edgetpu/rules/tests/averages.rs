//! How many values a pool or a mean may average.

use super::*;

#[test]
fn pools_average_8192_values_and_are_refused_from_32768_on() {
    let large = |one: One| one.options(|options| options.filter = (256, 256));
    assert_eq!(complaining("refused: averages 65536 values: ", large), ["AVERAGE_POOL_2D"]);
    let pool = |filter| One::new("AVERAGE_POOL_2D").options(|options| options.filter = filter);
    for (filter, word) in [
        ((0, 0), "maps"),
        ((64, 128), "maps"),
        ((8192, 1), "maps"),
        ((8193, 1), "unsure"),
        ((1, 8193), "unsure"),
        ((1, 32767), "unsure"),
        ((32767, 1), "unsure"),
        ((256, 128), "refused"),
        ((32768, 1), "refused"),
        ((1, 32768), "refused"),
        ((i32::MAX, i32::MAX), "refused"),
    ] {
        assert_eq!(pool(filter).word(), word, "{filter:?}");
    }
    let expected = "unsure: averages 8193 values: 8192 were mapped, 32768 were not (issue 461)";
    assert_eq!(pool((1, 8193)).said(), [expected]);
    let expected = "refused: averages 32768 values: 32768 were not mapped (issue 461), 65536 aborted (issue 183)";
    assert_eq!(pool((256, 128)).said(), [expected]);
}

#[test]
fn a_mean_counts_the_axes_that_it_reduces() {
    let mean = |shape: &[i32], axes: &[i32]| One::new("MEAN").list(axes).shapes(shape, &[1, 1, 1, 4]);
    for (shape, axes, word) in [
        (&[1, 64, 128, 4][..], &[1, 2][..], "maps"),
        (&[1, 3, 2731, 4], &[1, 2], "unsure"),
        (&[1, 3, 2731, 4], &[2, 1], "unsure"),
        (&[1, 3, 2731, 4], &[-2, -3], "unsure"),
        (&[1, 3, 2731, 4], &[1], "maps"),
        (&[1, 3, 2731, 4], &[2], "maps"),
        (&[1, 7, 4681, 4], &[1, 2], "unsure"),
        (&[1, 256, 128, 4], &[1, 2], "refused"),
        (&[1, 32768, 7, 4], &[1], "refused"),
        (&[1, 32767, 7, 4], &[1], "unsure"),
        // The channels count where they are reduced, and only there.
        (&[1, 64, 128, 4], &[1, 2, 3], "refused"),
        (&[1, 64, 64, 4], &[1, 2, 3], "unsure"),
        (&[1, 64, 32, 4], &[1, 2, 3], "maps"),
        (&[1, i32::MAX, i32::MAX, 4], &[1, 2, 3], "refused"),
        (&[1, 256, 256, 4], &[], "maps"),
    ] {
        assert_eq!(mean(shape, axes).word(), word, "{shape:?} over {axes:?}");
    }
    let expected = "refused: averages 32768 values: 32768 were not mapped (issue 461), 65536 aborted (issue 183)";
    assert_eq!(mean(&[1, 256, 128, 4], &[1, 2]).said(), [expected]);
    // The filter is another operator's, and a mean without its axes reduces nothing.
    let of_pool = mean(&[1, 8, 8, 4], &[1, 2]).options(|options| options.filter = (256, 256));
    assert_eq!(of_pool.word(), "maps");
    assert_eq!(One::new("MEAN").bare().word(), "maps");
}

#[test]
fn a_mean_over_channels_has_a_multiple_of_four() {
    let mean = |channels: i32, axes: &[i32]| One::new("MEAN").list(axes).shapes(&[1, 2, 2, channels], &[1, 2, 2, 1]);
    for (channels, word) in
        [(1, "refused"), (2, "refused"), (3, "refused"), (4, "maps"), (5, "refused"), (6, "refused"), (8, "maps")]
    {
        assert_eq!(mean(channels, &[3]).word(), word, "{channels}");
        assert_eq!(mean(channels, &[1, -1]).word(), word, "{channels}");
        assert_eq!(mean(channels, &[1, 2]).word(), "maps", "{channels}");
    }
    assert_eq!(mean(6, &[3]).said(), ["refused: averages 6 channels: must be a multiple of 4 (docs)"]);
    let odd = |one: One| one.list(&[3]).shapes(&[1, 2, 2, 6], &[1, 2, 2, 1]);
    assert_eq!(complaining("averages 6 channels", odd), ["MEAN"]);
}
