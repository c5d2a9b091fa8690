//! One line chart as SVG: two axes, their ticks, a line per run.

use std::fmt::Write as _;

const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 330.0;
const LEFT: f64 = 74.0;
const RIGHT: f64 = 28.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 46.0;

/// How values are laid out on an axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// At equal distances, from zero.
    Linear,
    /// By powers of ten.
    Logarithmic,
    /// Percentiles by the powers of ten of their distance to 100: 90, 99, 99.9, …
    Percentile,
}

/// One axis.
#[derive(Clone, Copy, Debug)]
pub struct Axis {
    /// How values are laid out.
    pub scale: Scale,
    /// What they are.
    pub title: &'static str,
}

/// One line.
pub struct Line {
    /// The run it belongs to, which gives it its colour and pattern.
    pub run: usize,
    /// Whether it is the thinner companion of the run's main line.
    pub is_faint: bool,
    /// Its points.
    pub points: Vec<(f64, f64)>,
}

/// An axis fitted to values.
struct Fitted {
    scale: Scale,
    low: f64,
    high: f64,
}

/// Draws the chart; nothing where there are no points.
pub fn draw(x: Axis, y: Axis, lines: &[Line]) -> String {
    let all = || lines.iter().flat_map(|line| line.points.iter().copied());
    if all().next().is_none() {
        return String::new();
    }
    let across = Fitted::new(x.scale, all().map(|point| point.0));
    let up = Fitted::new(y.scale, all().map(|point| point.1));
    let mut svg = format!("<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\">\n");
    let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
    for (value, label) in up.ticks() {
        let at = bottom - up.place(value) * (bottom - TOP);
        svg += &format!("<path class=\"grid\" d=\"M{LEFT} {at:.1}H{right}\"/>");
        svg += &format!(
            "<text class=\"tick\" x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{label}</text>\n",
            LEFT - 8.0,
            at + 4.0
        );
    }
    for (value, label) in across.ticks() {
        let at = LEFT + across.place(value) * (right - LEFT);
        svg += &format!("<path class=\"grid\" d=\"M{at:.1} {TOP}V{bottom}\"/>");
        svg += &format!(
            "<text class=\"tick\" x=\"{at:.1}\" y=\"{}\" text-anchor=\"middle\">{label}</text>\n",
            bottom + 18.0
        );
    }
    svg += &format!("<path class=\"axis\" d=\"M{LEFT} {TOP}V{bottom}H{right}\"/>\n");
    let middle = (LEFT + right) / 2.0;
    svg += &format!(
        "<text class=\"title\" x=\"{middle}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
        HEIGHT - 8.0,
        x.title
    );
    let middle = (TOP + bottom) / 2.0;
    svg += &format!(
        "<text class=\"title\" transform=\"translate(14 {middle}) rotate(-90)\" text-anchor=\"middle\">{}</text>\n",
        y.title
    );
    for line in lines {
        svg += &path(line, &across, &up);
    }
    svg + "</svg>\n"
}

fn path(line: &Line, across: &Fitted, up: &Fitted) -> String {
    let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
    let place = |point: &(f64, f64)| {
        (LEFT + across.place(point.0) * (right - LEFT), bottom - up.place(point.1) * (bottom - TOP))
    };
    let class = format!("line s{}{}", line.run, if line.is_faint { " faint" } else { "" });
    if let [only] = &line.points[..] {
        let (x, y) = place(only);
        return format!("<circle class=\"{class}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\"/>\n");
    }
    let mut d = String::new();
    for (index, point) in line.points.iter().enumerate() {
        let (x, y) = place(point);
        write!(d, "{}{x:.1} {y:.1}", if index == 0 { 'M' } else { 'L' }).expect("a String takes all");
    }
    format!("<path class=\"{class}\" d=\"{d}\"/>\n")
}

impl Fitted {
    fn new(scale: Scale, values: impl Iterator<Item = f64>) -> Self {
        let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
        for value in values {
            let value = to_scale(scale, value);
            low = low.min(value);
            high = high.max(value);
        }
        match scale {
            Scale::Linear => Self { scale, low: 0.0, high: if high > 0.0 { high * 1.05 } else { 1.0 } },
            Scale::Logarithmic => {
                let (low, high) = (low.floor(), high.ceil());
                Self { scale, low, high: if high > low { high } else { low + 1.0 } }
            }
            Scale::Percentile => Self { scale, low: 0.0, high: high.ceil().max(2.0) },
        }
    }

    /// Where a value lies, from 0 to 1.
    fn place(&self, value: f64) -> f64 {
        (to_scale(self.scale, value).clamp(self.low, self.high) - self.low) / (self.high - self.low)
    }

    /// Values to mark, and what to write there.
    fn ticks(&self) -> Vec<(f64, String)> {
        match self.scale {
            Scale::Linear => {
                let step = nice_step(self.high / 6.0);
                let count = (self.high / step).floor() as u32;
                (0..=count).map(|tick| f64::from(tick) * step).map(|value| (value, number(value))).collect()
            }
            Scale::Logarithmic => (self.low as i32..=self.high as i32)
                .map(|power| 10f64.powi(power))
                .map(|value| (value, number(value)))
                .collect(),
            Scale::Percentile => (0..=self.high as i32)
                .map(|nines| 100.0 - 100.0 / 10f64.powi(nines))
                .map(|value| {
                    (
                        value,
                        format!(
                            "{:.*}",
                            (to_scale(Scale::Percentile, value).round() as usize).saturating_sub(2),
                            value
                        ),
                    )
                })
                .collect(),
        }
    }
}

/// Percentiles end at 100, which is infinitely far: it is drawn at six nines.
fn to_scale(scale: Scale, value: f64) -> f64 {
    match scale {
        Scale::Linear => value,
        Scale::Logarithmic => value.max(1.0).log10(),
        Scale::Percentile => -((100.0 - value) / 100.0).max(1e-6).log10(),
    }
}

fn nice_step(rough: f64) -> f64 {
    let power = 10f64.powf(rough.log10().floor());
    [1.0, 2.0, 5.0, 10.0]
        .map(|factor| factor * power)
        .into_iter()
        .find(|step| *step >= rough)
        .unwrap_or(rough)
}

/// A number short enough for an axis.
pub fn number(value: f64) -> String {
    match value {
        value if value >= 1e6 => format!("{} M", trim(value / 1e6)),
        value if value >= 1e4 => format!("{} k", trim(value / 1e3)),
        value => trim(value),
    }
}

fn trim(value: f64) -> String {
    let text = if value >= 100.0 { format!("{value:.0}") } else { format!("{value:.2}") };
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_lie_at_equal_distances_for_each_nine() {
        let axis = Fitted::new(Scale::Percentile, [0.0, 99.99].into_iter());
        let places: Vec<f64> =
            [0.0, 90.0, 99.0, 99.9, 99.99].iter().map(|value| axis.place(*value)).collect();
        for (place, expected) in places.iter().zip([0.0, 0.25, 0.5, 0.75, 1.0]) {
            assert!((place - expected).abs() < 1e-6, "{places:?}");
        }
        let labels: Vec<String> = axis.ticks().into_iter().map(|tick| tick.1).collect();
        assert_eq!(labels, ["0", "90", "99", "99.9", "99.99"]);
    }

    #[test]
    fn ticks_are_round_and_few() {
        let labels = |high: f64| {
            Fitted::new(Scale::Linear, [high].into_iter())
                .ticks()
                .into_iter()
                .map(|tick| tick.1)
                .collect::<Vec<_>>()
        };
        assert_eq!(labels(100.0), ["0", "20", "40", "60", "80", "100"]);
        assert_eq!(labels(50_000.0), ["0", "10 k", "20 k", "30 k", "40 k", "50 k"]);
        assert!(labels(0.0).len() > 1);
    }

    #[test]
    fn a_chart_without_points_is_none() {
        let axis = Axis { scale: Scale::Linear, title: "" };
        assert_eq!(draw(axis, axis, &[]), "");
    }
}
