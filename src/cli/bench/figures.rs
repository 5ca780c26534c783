//! Figures: times of many requests as percentiles, rounds as their median, and what is printed of both.

use std::time::Duration;

use serde_json::{Map, Value, json};

/// How long each of many took.
#[derive(Debug, Default, Clone)]
pub(super) struct Times(Vec<u32>);

impl Times {
    pub(super) fn add(&mut self, time: Duration) {
        self.add_micros(u32::try_from(time.as_micros()).unwrap_or(u32::MAX));
    }

    pub(super) fn add_micros(&mut self, micros: u32) {
        self.0.push(micros);
    }

    pub(super) fn join(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    pub(super) fn count(&self) -> usize {
        self.0.len()
    }

    /// The time that so many percent did not exceed (the nearest rank), in milliseconds; none of none.
    pub(super) fn percentile(&mut self, percent: usize) -> Option<f64> {
        self.0.sort_unstable();
        let rank = (self.0.len() * percent).div_ceil(100);
        Some(f64::from(*self.0.get(rank.checked_sub(1)?)?) / 1_000.0)
    }
}

/// What one scenario found out.
pub(super) struct Section {
    pub(super) name: &'static str,
    figures: Vec<Figure>,
    counts: Vec<(&'static str, u64)>,
    faults: Vec<String>,
}

/// One figure, of every round.
struct Figure {
    name: &'static str,
    unit: &'static str,
    bound: Option<Bound>,
    rounds: Vec<f64>,
}

/// What a figure should not exceed, or not fall below: what is aimed at, and what is asked for at the least.
#[derive(Debug, Clone, Copy)]
pub(super) enum Bound {
    AtMost { floor: f64, aim: f64 },
    AtLeast { floor: f64, aim: f64 },
}

impl Bound {
    /// At most so much, with no second mark.
    pub(super) fn at_most(aim: f64) -> Self {
        Self::AtMost { floor: aim, aim }
    }

    /// Its words, its mark, and whether the aim and the floor are met.
    fn judge(self, value: f64) -> (String, bool, bool) {
        let (sign, floor, aim, aim_met, floor_met) = match self {
            Self::AtMost { floor, aim } => ("≤", floor, aim, value <= aim, value <= floor),
            Self::AtLeast { floor, aim } => ("≥", floor, aim, value >= aim, value >= floor),
        };
        let marks = if floor == aim { number(aim) } else { format!("{} ({})", number(aim), number(floor)) };
        let word = match (aim_met, floor_met) {
            (true, _) => "met",
            (false, true) => "nearly",
            (false, false) => "missed",
        };
        (format!("{sign} {marks}: {word}"), aim_met, floor_met)
    }
}

impl Section {
    pub(super) fn new(name: &'static str) -> Self {
        Self { name, figures: Vec::new(), counts: Vec::new(), faults: Vec::new() }
    }

    /// One round's value of a figure.
    pub(super) fn round(&mut self, name: &'static str, unit: &'static str, value: impl Into<Option<f64>>) {
        let Some(value) = value.into().filter(|value| value.is_finite()) else { return };
        match self.figures.iter_mut().find(|figure| figure.name == name) {
            Some(figure) => figure.rounds.push(value),
            None => self.figures.push(Figure { name, unit, bound: None, rounds: vec![value] }),
        }
    }

    /// What is hoped of a figure's median.
    pub(super) fn aim(&mut self, name: &'static str, bound: Bound) {
        if let Some(figure) = self.figures.iter_mut().find(|figure| figure.name == name) {
            figure.bound = Some(bound);
        }
    }

    /// Adds to a count.
    pub(super) fn count(&mut self, name: &'static str, by: usize) {
        match self.counts.iter_mut().find(|(known, _)| *known == name) {
            Some((_, count)) => *count += by as u64,
            None => self.counts.push((name, by as u64)),
        }
    }

    /// Something is not as it must be: figures of a load that went wrong say nothing.
    pub(super) fn must(&mut self, holds: bool, otherwise: impl FnOnce() -> String) {
        if !holds {
            self.faults.push(otherwise());
        }
    }

    /// The same, of what may have gone wrong.
    pub(super) fn must_not(&mut self, fault: Option<String>) {
        self.faults.extend(fault);
    }

    /// What went wrong.
    pub(super) fn faults(&self) -> impl Iterator<Item = String> {
        self.faults.iter().map(|fault| format!("{}: {fault}", self.name))
    }

    pub(super) fn json(&self) -> Value {
        let figures: Map<String, Value> = self.figures.iter().map(|figure| (figure.name.into(), figure.json())).collect();
        let counts: Map<String, Value> = self.counts.iter().map(|(name, count)| ((*name).into(), json!(count))).collect();
        json!({"figures": figures, "counts": counts, "faults": self.faults})
    }

    /// Its rows under [`HEADS`].
    pub(super) fn rows(&self) -> Vec<Vec<String>> {
        let words = |name: &str| name.replace('_', " ");
        let figures = self.figures.iter().map(|figure| {
            let range = if figure.rounds.len() < 2 { String::new() } else { figure.range() };
            let aim = figure.bound.map_or_else(String::new, |bound| bound.judge(figure.median()).0);
            vec![self.name.into(), words(figure.name), number(figure.median()), figure.unit.into(), range, aim]
        });
        let counts = self.counts.iter().map(|(name, count)| vec![self.name.into(), words(name), count.to_string()]);
        figures.chain(counts).collect()
    }
}

impl Figure {
    fn median(&self) -> f64 {
        let mut rounds = self.rounds.clone();
        rounds.sort_by(f64::total_cmp);
        let (lower, upper) = (rounds[(rounds.len() - 1) / 2], rounds[rounds.len() / 2]);
        (lower + upper) / 2.0
    }

    fn range(&self) -> String {
        let least = self.rounds.iter().copied().fold(f64::INFINITY, f64::min);
        let most = self.rounds.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        format!("{} to {}", number(least), number(most))
    }

    fn json(&self) -> Value {
        let mut json = json!({"unit": self.unit, "median": self.median(), "rounds": self.rounds});
        if let Some(bound) = self.bound {
            let (Bound::AtMost { floor, aim } | Bound::AtLeast { floor, aim }) = bound;
            let name = if matches!(bound, Bound::AtMost { .. }) { "at_most" } else { "at_least" };
            let (_, met, floor_met) = bound.judge(self.median());
            json[name] = json!(aim);
            json["met"] = json!(met);
            json["floor"] = json!(floor);
            json["floor_met"] = json!(floor_met);
        }
        json
    }
}

/// Three digits that matter, and no fraction of what is large.
fn number(value: f64) -> String {
    match value.abs() {
        100.0.. => format!("{value:.0}"),
        10.0.. => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// Of the table.
pub(super) const HEADS: [&str; 6] = ["scenario", "figure", "median", "unit", "rounds", "aim"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_times_that_occurred() {
        let mut times = Times::default();
        assert_eq!(times.percentile(50), None);
        (1..=200).rev().for_each(|millis| times.add(Duration::from_millis(millis)));
        assert_eq!(
            (times.percentile(50), times.percentile(99), times.percentile(100)),
            (Some(100.0), Some(198.0), Some(200.0))
        );
        let mut one = Times::default();
        one.add_micros(1_500);
        assert_eq!((one.percentile(1), one.percentile(99)), (Some(1.5), Some(1.5)));
    }

    #[test]
    fn a_figure_is_the_median_of_its_rounds() {
        let mut section = Section::new("send");
        for value in [9.0, 1.0, 2.0] {
            section.round("ratio", "×", value);
        }
        section.round("ratio", "×", None);
        section.round("ratio", "×", f64::NAN);
        section.aim("ratio", Bound::at_most(1.5));
        let figure = &section.json()["figures"]["ratio"];
        assert_eq!((&figure["median"], &figure["met"]), (&json!(2.0), &json!(false)));
        section.round("ratio", "×", 1.0);
        let figure = &section.json()["figures"]["ratio"];
        assert_eq!((&figure["median"], &figure["met"]), (&json!(1.5), &json!(true)));
        assert_eq!(section.rows()[0], ["send", "ratio", "1.50", "×", "1.00 to 9.00", "≤ 1.50: met"]);
    }

    #[test]
    fn an_aim_is_met_nearly_met_or_missed() {
        let least = Bound::AtLeast { floor: 0.25, aim: 0.35 };
        assert_eq!(least.judge(0.35), ("≥ 0.35 (0.25): met".into(), true, true));
        assert_eq!(least.judge(0.25), ("≥ 0.35 (0.25): nearly".into(), false, true));
        assert_eq!(least.judge(0.24), ("≥ 0.35 (0.25): missed".into(), false, false));
        let most = Bound::AtMost { floor: 5.0, aim: 3.0 };
        assert_eq!(
            [3.0, 5.0, 5.1].map(|value| (most.judge(value).1, most.judge(value).2)),
            [(true, true), (false, true), (false, false)]
        );
    }
}
