//! The sizes that both resizes map.

use super::*;

/// A resize of pictures of one channel.
fn resize(name: &'static str, from: (i32, i32), to: (i32, i32)) -> One {
    One::new(name).version(2).shapes(&[1, from.0, from.1, 1], &[1, to.0, to.1, 1])
}

const RESIZES: [&str; 2] = ["RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR"];

#[test]
fn a_resize_doubles_up_to_512_kib_and_ends_at_4_mib() {
    for name in RESIZES {
        for (from, to, word) in [
            ((8, 8), (8, 8), "maps"),
            ((8, 8), (16, 16), "maps"),
            ((8, 4), (16, 8), "maps"),
            ((8, 8), (16, 8), "unsure"),
            ((8, 8), (8, 16), "unsure"),
            ((8, 8), (24, 24), "unsure"),
            ((8, 8), (4, 4), "unsure"),
            ((16, 16), (15, 16), "unsure"),
            // 512 KiB, and one row of two more.
            ((256, 512), (512, 1024), "maps"),
            ((1, 131_073), (2, 262_146), "unsure"),
            // 4 MiB, and one byte more.
            ((1024, 1024), (2048, 2048), "unsure"),
            ((5, 5), (5, 838_861), "refused"),
            ((2048, 2049), (2048, 2049), "maps"),
            // All that comes from one pixel.
            ((1, 1), (1, 1), "maps"),
            ((1, 1), (2, 2), "refused"),
            ((1, 1), (33, 33), "refused"),
            ((1, 2), (2, 4), "maps"),
            ((2, 1), (4, 2), "maps"),
        ] {
            assert_eq!(resize(name, from, to).word(), word, "{name}: {from:?} to {to:?}");
        }
        let said = |from, to| resize(name, from, to).said().join("; ");
        assert_eq!(
            said((8, 8), (24, 20)),
            "unsure: 8x8 to 24x20: depends on the sizes, to avoid loss in precision (docs)"
        );
        assert_eq!(said((5, 5), (5, 838_861)), "refused: 5x838861 with 1 channels are too large (pairs, issue 31)");
        assert_eq!(
            said((1, 1), (3, 2)),
            "refused: 1x1 to 3x2: known compiled models leave it to the CPU (pairs: DeepLabv3)"
        );
        // Channels count.
        let deep = |channels| One::new(name).shapes(&[1, 256, 256, channels], &[1, 512, 512, channels]).word();
        assert_eq!((deep(2), deep(3), deep(16), deep(17)), ("maps", "unsure", "unsure", "refused"));
    }
    let words = "is no resize of a picture (docs)";
    assert_eq!(complaining(words, |one| one.shapes(&[8, 8, 4], &[1, 16, 16, 4])), RESIZES);
    assert_eq!(complaining(words, |one| one.shapes(&[1, 8, 8, 4], &[16, 16, 4])), RESIZES);
    let none = One::new(RESIZES[0]).bare().said();
    assert_eq!(none, [format!("refused: None to int8 [1, 8, 8, 4] {words}")]);
}

#[test]
fn half_pixel_centres_map_at_factor_two_of_bilinear_at_most() {
    let words = "half_pixel_centers=True (version 3): compilers up to 15 refuse it (issues 187, 396)";
    let unsure = format!("unsure: {words}, 16 mapped it at this factor, 2 (pairs)");
    let refused = format!("refused: {words}, and 16 is known to map it at factor 2 only (pairs)");
    let said = |name, to| resize(name, (8, 8), to).version(3).options(|it| it.half_pixel_centers = true).said();
    assert_eq!(said(RESIZES[0], (16, 16)), [unsure]);
    assert_eq!(said(RESIZES[0], (24, 24))[0], refused);
    assert_eq!(said(RESIZES[0], (16, 8))[0], refused);
    assert_eq!(said(RESIZES[0], (8, 8)), [refused.as_str()]);
    assert_eq!(said(RESIZES[1], (16, 16)), [refused.as_str()]);
    // Version 3 for another reason.
    for name in RESIZES {
        let of = |version| resize(name, (8, 8), (16, 16)).version(version).said();
        assert!(of(1).is_empty() && of(2).is_empty(), "{name}");
        assert_eq!(of(3), ["unsure: version 3: compilers up to 15 refuse it (issue 396)"]);
    }
}
