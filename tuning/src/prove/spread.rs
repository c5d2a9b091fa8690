//! Samples of arms, their spread, and whether they differ.

use std::fmt;

/// Fewer rounds than this cannot tell a difference from chance.
const ROUNDS_MIN: usize = 3;

/// One arm's samples of one measure.
#[derive(Clone, Debug, PartialEq)]
pub struct Arm {
    /// What was set.
    pub name: &'static str,
    /// One number a round.
    pub samples: Vec<f64>,
}

/// One measure over all arms; the first arm is what the others are compared with.
#[derive(Clone, Debug, PartialEq)]
pub struct Measure {
    /// What was measured, with its unit.
    pub name: &'static str,
    /// The arms.
    pub arms: Vec<Arm>,
}

impl Measure {
    /// Takes one number out of every sample of every arm.
    pub fn of<A, T>(
        name: &'static str,
        arms: &[(&'static str, A)],
        samples: &[Vec<T>],
        number: impl Fn(&T) -> f64,
    ) -> Self {
        let arms = arms.iter().zip(samples);
        let arms =
            arms.map(|((name, _), samples)| Arm { name, samples: samples.iter().map(&number).collect() });
        Self { name, arms: arms.collect() }
    }
}

impl Measure {
    /// The table in Markdown, the verdict in its last column.
    pub fn markdown(&self) -> String {
        let mut text =
            format!("| {} | median | least | most | rounds | |\n|---|---|---|---|---|---|\n", self.name);
        for (index, arm) in self.arms.iter().enumerate() {
            let (least, most) = arm.range();
            let [median, least, most] = [arm.median(), least, most].map(shown);
            let verdict = if index == 0 { String::new() } else { compared(&self.arms[0], arm) };
            let (name, rounds) = (arm.name, arm.samples.len());
            text += &format!("| {name} | {median} | {least} | {most} | {rounds} | {verdict} |\n");
        }
        text
    }
}

impl Arm {
    fn sorted(&self) -> Vec<f64> {
        let mut sorted = self.samples.clone();
        sorted.sort_by(f64::total_cmp);
        sorted
    }

    /// The middle sample.
    pub fn median(&self) -> f64 {
        let sorted = self.sorted();
        let middle = sorted.len() / 2;
        match sorted.len() {
            0 => f64::NAN,
            count if count.is_multiple_of(2) => f64::midpoint(sorted[middle - 1], sorted[middle]),
            _ => sorted[middle],
        }
    }

    /// The least and the greatest sample.
    pub fn range(&self) -> (f64, f64) {
        let sorted = self.sorted();
        (sorted.first().copied().unwrap_or(f64::NAN), sorted.last().copied().unwrap_or(f64::NAN))
    }

    /// Whether every sample of one arm lies beyond every sample of the other. With five rounds each, chance alone does
    /// that once in 126 times.
    pub fn differs_from(&self, other: &Self) -> bool {
        let ((least, most), (other_least, other_most)) = (self.range(), other.range());
        least > other_most || most < other_least
    }
}

impl fmt::Display for Measure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "\n  {:<48} {:>10} {:>10} {:>10}  rounds", self.name, "median", "least", "most")?;
        for arm in &self.arms {
            let (least, most) = arm.range();
            let numbers = [arm.median(), least, most].map(shown);
            let [median, least, most] = &numbers;
            writeln!(out, "  {:<48} {median:>10} {least:>10} {most:>10}  {}", arm.name, arm.samples.len())?;
        }
        let Some((first, rest)) = self.arms.split_first() else { return Ok(()) };
        for arm in rest {
            writeln!(out, "    {}: {}", arm.name, compared(first, arm))?;
        }
        Ok(())
    }
}

fn compared(first: &Arm, arm: &Arm) -> String {
    if first.samples.len().min(arm.samples.len()) < ROUNDS_MIN {
        return format!("too few rounds for a verdict ({ROUNDS_MIN} are the least)");
    }
    if !arm.differs_from(first) {
        return "no difference on this host".to_owned();
    }
    let (base, now) = (first.median(), arm.median());
    // A ratio with a zero in it, or next to one, says less than the two numbers.
    if base.min(now).abs() < base.max(now).abs() / 100.0 {
        return format!("{} instead of {}", shown(now), shown(base));
    }
    format!("{:.2} times `{}`", now / base, first.name)
}

fn shown(number: f64) -> String {
    match number.abs() {
        size if size >= 1_000.0 => crate::setting::demand::grouped(number.round() as u64),
        size if size >= 10.0 => format!("{number:.1}"),
        _ => format!("{number:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::{Arm, Measure};

    fn arm(samples: &[f64]) -> Arm {
        Arm { name: "arm", samples: samples.to_vec() }
    }

    #[test]
    fn arms_that_touch_do_not_differ_and_arms_apart_do() {
        assert!(!arm(&[1.0, 2.0, 3.0]).differs_from(&arm(&[3.0, 4.0, 5.0])));
        assert!(arm(&[1.0, 2.0, 3.0]).differs_from(&arm(&[3.1, 4.0, 5.0])));
    }

    #[test]
    fn the_table_says_when_there_is_no_difference() {
        let measure = Measure { name: "ms", arms: vec![arm(&[1.0, 2.0, 3.0]), arm(&[2.0, 2.0, 2.0])] };
        assert!(measure.to_string().contains("no difference on this host"));
    }

    #[test]
    fn two_rounds_are_too_few_for_a_verdict_and_three_are_not() {
        let two = Measure { name: "ms", arms: vec![arm(&[1.0, 1.0]), arm(&[9.0, 9.0])] };
        assert!(two.to_string().contains("too few rounds"));
        let three = Measure { name: "ms", arms: vec![arm(&[1.0; 3]), arm(&[9.0; 3])] };
        assert!(three.to_string().contains("9.00 times `arm`"));
    }
}
