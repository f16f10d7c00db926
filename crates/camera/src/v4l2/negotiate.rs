//! Which of the formats that a camera offers costs us least and still gives the wanted size and frame rate.
//!
//! A pure decision over lists: `node.rs` asks the driver for them and sets what is chosen here.

use pixels::frame::{Layout, Size};
use serde::{Serialize, Serializer};

use crate::FourCc;

/// The size that is asked for where the options name none.
pub(super) const DEFAULT_SIZE: Size = Size::new(640, 480);
/// The frame rate that is asked for where the options name none.
pub(super) const DEFAULT_RATE: f64 = 30.0;
/// A rate counts as reached from this share of it on: 29.97 is as good as 30.
const REACHED: f64 = 0.98;

impl FourCc {
    /// The formats that are taken, the cheapest first: what carries fewer bytes to touch, then what must be decoded.
    pub const TAKEN: [Self; 9] = [
        Self(*b"YUYV"),
        Self(*b"UYVY"),
        Self(*b"NV12"),
        Self(*b"YU12"),
        Self(*b"RGB3"),
        Self(*b"BGR3"),
        Self(*b"GREY"),
        Self(*b"MJPG"),
        Self(*b"JPEG"),
    ];

    /// Whether a picture is in several pieces of memory by the format's definition: the variants with an M of the multi-planar
    /// interface.
    pub(super) fn is_in_pieces(self) -> bool {
        const PIECES: [&[u8; 4]; 12] = [
            b"NM12", b"NM21", b"NM16", b"NM61", b"TM12", b"VM12", b"YM12", b"YM21", b"YM16", b"YM61", b"YM24", b"YM42",
        ];
        PIECES.contains(&&self.0)
    }

    /// Place in [`Self::TAKEN`], or nothing for a format that is not taken.
    pub(super) fn cost(self) -> Option<usize> {
        Self::TAKEN.iter().position(|taken| *taken == self)
    }

    /// How the bytes lie, for the formats that need no decoder.
    pub(crate) fn layout(self) -> Option<Layout> {
        match &self.0 {
            b"YUYV" => Some(Layout::Yuyv),
            b"UYVY" => Some(Layout::Uyvy),
            b"NV12" => Some(Layout::Nv12),
            b"YU12" => Some(Layout::YU12),
            b"RGB3" => Some(Layout::Rgb),
            b"BGR3" => Some(Layout::Bgr),
            b"GREY" => Some(Layout::Grey),
            _ => None,
        }
    }
}

/// Time from one frame to the next, in seconds, as the fraction that the driver uses. Serialises as frames per second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interval {
    /// Above the line.
    pub numerator: u32,
    /// Below the line.
    pub denominator: u32,
}

impl Interval {
    /// The fraction for `rate` frames per second.
    pub(super) fn from_rate(rate: f64) -> Self {
        if rate.fract() == 0.0 {
            return Self { numerator: 1, denominator: rate as u32 };
        }
        Self { numerator: 1000, denominator: (rate * 1000.0).round() as u32 }
    }

    /// Frames per second; 0 for a fraction that makes no sense.
    pub fn rate(self) -> f64 {
        if self.numerator == 0 {
            return 0.0;
        }
        f64::from(self.denominator) / f64::from(self.numerator)
    }
}

impl Serialize for Interval {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64((self.rate() * 1000.0).round() / 1000.0)
    }
}

/// Frame rates at one size.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Rates {
    /// These, and no others. Empty: the driver doesn't say.
    Discrete(Vec<Interval>),
    /// Anything between.
    Range {
        /// The lowest rate.
        slowest: Interval,
        /// The highest rate.
        fastest: Interval,
    },
}

impl Rates {
    /// The interval that comes nearest to `wanted` frames per second without falling short where that can be, and the
    /// share of `wanted` that it reaches, at most 1. A driver that doesn't list rates is trusted.
    fn pick(&self, wanted: f64) -> (Option<Interval>, f64) {
        let best = match self {
            Self::Discrete(list) => {
                let enough = list.iter().filter(|i| i.rate() >= wanted * REACHED);
                let slowest = enough.min_by(|a, b| a.rate().total_cmp(&b.rate()));
                slowest.or_else(|| list.iter().max_by(|a, b| a.rate().total_cmp(&b.rate()))).copied()
            }
            Self::Range { slowest, fastest } if wanted <= slowest.rate() => Some(*slowest),
            Self::Range { fastest, .. } if wanted >= fastest.rate() => Some(*fastest),
            Self::Range { .. } => Some(Interval::from_rate(wanted)),
        };
        (best, best.map_or(1.0, |interval| (interval.rate() / wanted).min(1.0)))
    }
}

/// One size, or one range of sizes, that a format comes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Extent {
    /// This size.
    Discrete {
        /// Pixels in a row.
        width: usize,
        /// Rows.
        height: usize,
    },
    /// From the smallest to the largest in steps; a step of 1 is a continuous range.
    Stepwise {
        /// Pixels in a row, at least.
        min_width: usize,
        /// Pixels in a row, at most.
        max_width: usize,
        /// Step between widths.
        step_width: usize,
        /// Rows, at least.
        min_height: usize,
        /// Rows, at most.
        max_height: usize,
        /// Step between heights.
        step_height: usize,
    },
}

impl Extent {
    /// The size in this extent that is nearest to `wanted`.
    pub(super) fn nearest(&self, wanted: Size) -> Size {
        match *self {
            Self::Discrete { width, height } => Size::new(width, height),
            Self::Stepwise { min_width, max_width, step_width, min_height, max_height, step_height } => Size::new(
                nearest_step(wanted.width, min_width, max_width, step_width),
                nearest_step(wanted.height, min_height, max_height, step_height),
            ),
        }
    }
}

fn nearest_step(wanted: usize, min: usize, max: usize, step: usize) -> usize {
    let step = step.max(1);
    let steps = (wanted.clamp(min, max.max(min)) - min + step / 2) / step;
    let last = (max.max(min) - min) / step;
    min + steps.min(last) * step
}

/// A size or range of sizes with its frame rates.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SizeInfo {
    /// The size or range.
    #[serde(flatten)]
    pub extent: Extent,
    /// Frame rates there; in a range of sizes, at the size that is nearest to the wanted one.
    pub rates: Rates,
}

/// A pixel format that a device offers.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FormatInfo {
    /// Its four characters.
    pub fourcc: FourCc,
    /// The driver's words for it.
    pub description: String,
    /// True for the formats that pspnetd takes.
    pub taken: bool,
    /// Sizes with frame rates. Empty: the driver doesn't say.
    pub sizes: Vec<SizeInfo>,
}

/// What is asked of a camera.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Request {
    /// This format and no other, or the cheapest.
    pub format: Option<FourCc>,
    /// Pixels.
    pub size: Size,
    /// Frames per second.
    pub rate: f64,
}

/// What to set.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Choice {
    pub fourcc: FourCc,
    pub size: Size,
    /// Nothing where the driver doesn't list rates.
    pub interval: Option<Interval>,
}

/// Picks from `offers`: the size nearest to the wanted one first, then the frame rate, and of what is equal in both the
/// cheapest format. So YUYV wins at 640x480, and MJPEG at 1280x720 on a USB 2 camera, where YUYV reaches only 10 fps.
pub(super) fn choose(offers: &[FormatInfo], request: &Request) -> Option<Choice> {
    let wanted = offers.iter().filter(|offer| request.format.is_none_or(|format| format == offer.fourcc));
    let ranked = wanted.filter_map(|offer| Some((offer, offer.fourcc.cost()?)));
    let candidates = ranked.flat_map(|(offer, cost)| candidates(offer, cost, request));
    candidates.min_by(|(a, _), (b, _)| a.order(b)).map(|(_, choice)| choice)
}

/// How far a candidate is from the request; smaller is better.
struct Rank {
    distance: f64,
    shortfall: u32,
    cost: usize,
}

impl Rank {
    fn order(&self, other: &Self) -> std::cmp::Ordering {
        let distance = self.distance.total_cmp(&other.distance);
        distance.then(self.shortfall.cmp(&other.shortfall)).then(self.cost.cmp(&other.cost))
    }
}

fn candidates<'a>(
    offer: &'a FormatInfo,
    cost: usize,
    request: &'a Request,
) -> impl Iterator<Item = (Rank, Choice)> + 'a {
    let rank = move |size: Size, rates: &Rates| {
        let (interval, reached) = rates.pick(request.rate);
        // In steps of 2 %, so that a difference nobody sees doesn't outweigh the cost of decoding.
        let shortfall = ((1.0 - reached) / (1.0 - REACHED)) as u32;
        let rank = Rank { distance: distance(size, request.size), shortfall, cost };
        (rank, Choice { fourcc: offer.fourcc, size, interval })
    };
    let silent = offer.sizes.is_empty().then(|| rank(request.size, &Rates::Discrete(Vec::new())));
    let listed = offer.sizes.iter().map(move |info| rank(info.extent.nearest(request.size), &info.rates));
    listed.chain(silent)
}

/// Distance between sizes as ratios, so that half and double are equally far.
fn distance(a: Size, b: Size) -> f64 {
    let ratio = |x: usize, y: usize| (x.max(1) as f64 / y.max(1) as f64).ln().abs();
    ratio(a.width, b.width) + ratio(a.height, b.height)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]

    use super::*;

    fn sizes(list: &[(usize, usize, &[u32])]) -> Vec<SizeInfo> {
        let info = |&(width, height, rates): &(usize, usize, &[u32])| SizeInfo {
            extent: Extent::Discrete { width, height },
            rates: Rates::Discrete(rates.iter().map(|rate| Interval { numerator: 1, denominator: *rate }).collect()),
        };
        list.iter().map(info).collect()
    }

    fn offer(name: &[u8; 4], sizes: Vec<SizeInfo>) -> FormatInfo {
        let fourcc = FourCc(*name);
        FormatInfo { fourcc, description: String::new(), taken: fourcc.cost().is_some(), sizes }
    }

    /// The shape of a common USB 2 camera: MJPEG first in its list, YUYV slow where it is large.
    fn webcam() -> Vec<FormatInfo> {
        vec![
            offer(
                b"MJPG",
                sizes(&[(1920, 1080, &[30, 15]), (1280, 720, &[60, 30]), (640, 480, &[30]), (320, 240, &[30])]),
            ),
            offer(
                b"YUYV",
                sizes(&[(640, 480, &[30, 15]), (320, 240, &[30]), (1280, 720, &[10, 5]), (1920, 1080, &[5])]),
            ),
            offer(b"H264", sizes(&[(1920, 1080, &[30])])),
        ]
    }

    /// The Pi's firmware camera driver: every format at every size, rates as a range.
    fn pi_camera() -> Vec<FormatInfo> {
        let any = || {
            let extent = Extent::Stepwise {
                min_width: 32,
                max_width: 2592,
                step_width: 2,
                min_height: 32,
                max_height: 1944,
                step_height: 2,
            };
            let slowest = Interval { numerator: 1, denominator: 1 };
            vec![SizeInfo {
                extent,
                rates: Rates::Range { slowest, fastest: Interval { numerator: 1, denominator: 90 } },
            }]
        };
        [b"YU12", b"YUYV", b"RGB3", b"JPEG", b"H264", b"MJPG", b"YVYU", b"NV12"].map(|name| offer(name, any())).into()
    }

    fn request(width: usize, height: usize, rate: f64) -> Request {
        Request { format: None, size: Size::new(width, height), rate }
    }

    fn chosen(offers: &[FormatInfo], request: &Request) -> (String, Size, Option<f64>) {
        let choice = choose(offers, request).unwrap();
        (choice.fourcc.to_string(), choice.size, choice.interval.map(Interval::rate))
    }

    #[test]
    fn a_webcam_sends_yuyv_where_usb_2_carries_it() {
        let got = chosen(&webcam(), &request(640, 480, 30.0));
        assert_eq!(got, ("YUYV".into(), Size::new(640, 480), Some(30.0)));
    }

    #[test]
    fn a_webcam_sends_mjpeg_where_yuyv_is_too_slow() {
        let got = chosen(&webcam(), &request(1280, 720, 30.0));
        assert_eq!(got, ("MJPG".into(), Size::new(1280, 720), Some(30.0)));
    }

    #[test]
    fn a_slow_request_takes_yuyv_even_at_720p() {
        let got = chosen(&webcam(), &request(1280, 720, 10.0));
        assert_eq!(got, ("YUYV".into(), Size::new(1280, 720), Some(10.0)));
    }

    #[test]
    fn where_no_format_is_fast_enough_the_fastest_wins() {
        let got = chosen(&webcam(), &request(1920, 1080, 60.0));
        assert_eq!(got, ("MJPG".into(), Size::new(1920, 1080), Some(30.0)));
    }

    #[test]
    fn a_forced_format_is_kept_whatever_it_costs() {
        let forced = Request { format: Some(FourCc(*b"YUYV")), ..request(1280, 720, 30.0) };
        assert_eq!(chosen(&webcam(), &forced), ("YUYV".into(), Size::new(1280, 720), Some(10.0)));
        let absent = Request { format: Some(FourCc(*b"NV12")), ..forced };
        assert_eq!(choose(&webcam(), &absent), None);
    }

    #[test]
    fn the_nearest_size_is_taken_by_ratio() {
        let got = chosen(&webcam(), &request(800, 600, 30.0));
        assert_eq!(got, ("YUYV".into(), Size::new(640, 480), Some(30.0)));
        // Ratios 2 and 1.5 are nearer than 1/2 and 1/2.
        let offers = [offer(b"YUYV", sizes(&[(320, 240, &[30]), (1280, 720, &[30])]))];
        assert_eq!(chosen(&offers, &request(640, 480, 30.0)).1, Size::new(1280, 720));
    }

    #[test]
    fn the_pi_camera_sends_yuyv_at_the_exact_size_and_rate() {
        let got = chosen(&pi_camera(), &request(768, 577, 12.5));
        assert_eq!(got, ("YUYV".into(), Size::new(768, 578), Some(12.5)));
        assert_eq!(chosen(&pi_camera(), &request(4000, 4000, 200.0)).1, Size::new(2592, 1944));
        assert_eq!(chosen(&pi_camera(), &request(640, 480, 0.2)).2, Some(1.0));
        assert_eq!(chosen(&pi_camera(), &request(640, 480, 200.0)).2, Some(90.0));
    }

    /// The list of the kernel's test driver (6.1), to which larger pictures are slower.
    fn vivid() -> Vec<FormatInfo> {
        let list: &[(usize, usize, &[u32])] = &[
            (320, 180, &[1, 2, 4, 5, 10, 15, 25, 30, 40, 50, 60]),
            (640, 360, &[1, 2, 4, 5, 10, 15, 25, 30, 40]),
            (640, 480, &[1, 2, 4, 5, 10, 15, 25]),
            (1280, 720, &[1, 2, 4, 5, 10]),
        ];
        [b"YUYV", b"UYVY", b"NV12", b"BGR3"].map(|name| offer(name, sizes(list))).into()
    }

    #[test]
    fn vivid_takes_the_slowest_rate_that_is_enough() {
        assert_eq!(chosen(&vivid(), &request(320, 180, 30.0)), ("YUYV".into(), Size::new(320, 180), Some(30.0)));
        assert_eq!(chosen(&vivid(), &request(320, 180, 29.97)).2, Some(30.0));
        assert_eq!(chosen(&vivid(), &request(320, 180, 26.0)).2, Some(30.0));
        assert_eq!(chosen(&vivid(), &request(320, 180, 90.0)).2, Some(60.0));
        // The size comes first: 640x360 at 30 fps is further off.
        assert_eq!(chosen(&vivid(), &request(640, 480, 30.0)), ("YUYV".into(), Size::new(640, 480), Some(25.0)));
    }

    #[test]
    fn ntsc_rates_count_as_30() {
        let ntsc = Interval { numerator: 1001, denominator: 30000 };
        let extent = Extent::Discrete { width: 640, height: 480 };
        let slow = vec![SizeInfo { extent, rates: Rates::Discrete(vec![ntsc]) }];
        let offers = [offer(b"MJPG", sizes(&[(640, 480, &[30])])), offer(b"UYVY", slow)];
        let choice = choose(&offers, &request(640, 480, 30.0)).unwrap();
        assert_eq!((choice.fourcc, choice.interval), (FourCc(*b"UYVY"), Some(ntsc)));
    }

    /// What is picked of `rates`, in thousandths of frames per second, for `wanted`.
    fn picked(rates: &[u32], wanted: f64) -> Option<u32> {
        let interval = |&rate: &u32| Interval { numerator: 1000, denominator: rate };
        let rates = Rates::Discrete(rates.iter().map(interval).collect());
        rates.pick(wanted).0.map(|interval| interval.denominator)
    }

    #[test]
    fn a_rate_from_98_in_100_on_is_enough_and_less_is_not() {
        assert_eq!(picked(&[60_000, 29_970, 15_000], 30.0), Some(29_970));
        assert_eq!(picked(&[60_000, 98_000], 100.0), Some(98_000));
        assert_eq!(picked(&[98_000, 200_000], 100.0), Some(98_000));
        assert_eq!(picked(&[97_999, 200_000], 100.0), Some(200_000));
        assert_eq!(picked(&[300_000, 200_000, 250_000], 100.0), Some(200_000), "the slowest that is enough");
        assert_eq!(picked(&[50_000, 97_000, 90_000], 100.0), Some(97_000), "the fastest where none is");
        assert_eq!(picked(&[], 100.0), None);
    }

    #[test]
    fn the_share_that_a_rate_reaches_is_at_most_one() {
        let share = |rates: Rates, wanted: f64| rates.pick(wanted).1;
        let one = |rate| Rates::Discrete(vec![Interval { numerator: 1, denominator: rate }]);
        assert_eq!((share(one(15), 30.0), share(one(30), 30.0), share(one(60), 30.0)), (0.5, 1.0, 1.0));
        assert_eq!(share(Rates::Discrete(Vec::new()), 30.0), 1.0);
        let (slowest, fastest) = (Interval::from_rate(2.0), Interval::from_rate(20.0));
        let range = || Rates::Range { slowest, fastest };
        assert_eq!((share(range(), 40.0), share(range(), 1.0), share(range(), 7.0)), (0.5, 1.0, 1.0));
        for (wanted, expected) in [(1.0, slowest), (2.0, slowest), (20.0, fastest), (21.0, fastest)] {
            assert_eq!(range().pick(wanted).0, Some(expected), "{wanted}");
        }
        assert_eq!(range().pick(12.5).0, Some(Interval { numerator: 1000, denominator: 12_500 }));
        assert_eq!(range().pick(7.0).0, Some(Interval { numerator: 1, denominator: 7 }));
    }

    #[test]
    fn a_format_gives_way_to_a_dearer_one_only_for_two_frames_in_a_hundred() {
        // YUYV is cheapest, and has this rate; MJPG reaches another.
        let winner = |yuyv: u32, mjpg: u32| {
            let at = |rate| {
                let extent = Extent::Discrete { width: 640, height: 480 };
                vec![SizeInfo { extent, rates: Rates::Discrete(vec![Interval { numerator: 1000, denominator: rate }]) }]
            };
            let offers = [offer(b"MJPG", at(mjpg)), offer(b"YUYV", at(yuyv))];
            chosen(&offers, &request(640, 480, 100.0)).0
        };
        assert_eq!(winner(98_500, 100_000), "YUYV");
        assert_eq!(winner(97_500, 100_000), "MJPG");
        assert_eq!(winner(96_500, 97_500), "YUYV", "the same step");
        assert_eq!(winner(95_500, 97_500), "MJPG");
        assert_eq!(winner(50_000, 300_000), "MJPG");
    }

    #[test]
    fn of_what_is_equal_the_cheapest_format_is_taken() {
        let names = [b"YUYV", b"UYVY", b"NV12", b"YU12", b"RGB3", b"BGR3", b"GREY", b"MJPG", b"JPEG"];
        let mut offers: Vec<_> = names.iter().rev().map(|name| offer(name, sizes(&[(640, 480, &[30])]))).collect();
        for name in names {
            let choice = choose(&offers, &request(640, 480, 30.0)).unwrap();
            assert_eq!(choice.fourcc, FourCc(*name));
            offers.pop();
        }
        let layouts = names.map(|name| FourCc(*name).layout());
        let plain = [Layout::Yuyv, Layout::Uyvy, Layout::Nv12, Layout::YU12, Layout::Rgb, Layout::Bgr, Layout::Grey];
        assert_eq!(layouts[..7], plain.map(Some));
        assert_eq!(layouts[7..], [None, None]);
        assert_eq!(FourCc(*b"H264").layout(), None);
    }

    #[test]
    fn a_driver_that_lists_no_sizes_is_asked_for_the_wanted_one() {
        let got = chosen(&[offer(b"UYVY", Vec::new())], &request(720, 576, 25.0));
        assert_eq!(got, ("UYVY".into(), Size::new(720, 576), None));
    }

    #[test]
    fn raw_sensors_offer_nothing_that_is_taken() {
        let offers = [offer(b"pBAA", sizes(&[(1640, 1232, &[])])), offer(b"RG10", Vec::new())];
        assert_eq!(choose(&offers, &request(640, 480, 30.0)), None);
    }

    #[test]
    fn steps_stay_inside_their_range() {
        assert_eq!(nearest_step(641, 32, 1000, 16), 640);
        assert_eq!((nearest_step(647, 32, 1000, 16), nearest_step(648, 32, 1000, 16)), (640, 656));
        assert_eq!(nearest_step(5000, 32, 1001, 16), 992);
        assert_eq!(nearest_step(1, 32, 1001, 0), 32);
        // A driver's mistake must not end in an overflow.
        assert_eq!(nearest_step(640, 100, 50, 4), 100);
    }

    #[test]
    fn four_characters_are_read_and_written() {
        assert_eq!("yuyv".parse(), Ok(FourCc(*b"YUYV")));
        assert!("MJPEG".parse::<FourCc>().is_err());
        assert_eq!(FourCc(*b"Y16 ").to_string(), "Y16");
        assert_eq!(FourCc([b'Y', b'1', b'6', b' ' | 0x80]).to_string(), "Y16-BE");
    }

    #[test]
    fn offers_serialise_flat() {
        let json = serde_json::to_value(offer(b"YUYV", sizes(&[(640, 480, &[30])]))).unwrap();
        let size = serde_json::json!({"width": 640, "height": 480, "rates": [30.0]});
        assert_eq!((json["fourcc"].as_str(), &json["sizes"][0]), (Some("YUYV"), &size));
        let ntsc = serde_json::to_value(Interval { numerator: 1001, denominator: 30000 }).unwrap();
        assert_eq!(ntsc, serde_json::json!(29.97));
        assert_eq!(Interval { numerator: 0, denominator: 30 }.rate(), 0.0);
    }
}
