//! The search for the best profile: builds, trials, and what they decide.

use crate::candidate::{self, Candidate, Probe};
use crate::knob::{self, KNOBS, Knob, Shape};
use crate::profile::{Profile, Value};
use crate::trial::Trial;
use indicatif::{ProgressBar, ProgressStyle};
use std::path::PathBuf;
use std::{iter, slice};

/// The key that no build is needed for: the probe is told what to run on.
const PREFERENCE: &str = "prefer_avx512";

/// All that can be measured.
pub fn keys() -> impl Iterator<Item = &'static str> {
    iter::once(PREFERENCE).chain(KNOBS.iter().map(|knob| knob.key))
}

/// The search: one key after the other, each from the best profile so far.
pub struct Search {
    root: PathBuf,
    quick: bool,
    base: Profile,
    /// Rounds of a trial, and microseconds of a measurement.
    effort: (u32, u32),
    bar: ProgressBar,
    /// What was measured, in its order.
    pub trials: Vec<Trial>,
    prefers: bool,
    knobs: Vec<&'static Knob>,
    /// What came of it, in one sentence.
    pub gain: String,
}

impl Search {
    /// Of the best values of `keys`, or of all if there are none, from `base` on; `root` is the repository.
    ///
    /// # Errors
    /// None, while the template of the bar is right.
    pub fn new(root: PathBuf, base: Profile, keys: &[String], quick: bool) -> Result<Self, String> {
        let effort = if quick { (20, 300) } else { (60, 500) };
        let is_wanted = |key: &str| keys.is_empty() || keys.iter().any(|wanted| wanted == key);
        let knobs: Vec<&Knob> = KNOBS.iter().filter(|knob| is_wanted(knob.key)).collect();
        let builds: usize = 1 + knobs.iter().map(|knob| knob.values(quick).len()).sum::<usize>();
        // A build counts as much as the rounds of a trial; a second trial of a key adds to them.
        let trials = knobs.len() + 2;
        let bar = ProgressBar::new((builds + trials) as u64 * u64::from(effort.0));
        let style = ProgressStyle::with_template("{elapsed_precise} [{wide_bar}] {percent:>3} % {msg:40}");
        bar.set_style(style.map_err(|error| error.to_string())?);
        bar.enable_steady_tick(std::time::Duration::from_millis(200));
        Ok(Self {
            root,
            quick,
            base,
            effort,
            bar,
            trials: Vec::new(),
            prefers: is_wanted(PREFERENCE),
            knobs,
            gain: String::new(),
        })
    }

    /// The best profile found, or the one to start from.
    ///
    /// # Errors
    /// A build or a probe has failed.
    pub fn run(&mut self) -> Result<Profile, String> {
        let base = self.first()?;
        let mut best = base.clone();
        if self.prefers {
            best = self.prefer(best)?;
        }
        for knob in self.knobs.clone() {
            best = self.turn(knob, best)?;
        }
        let profile = self.compare(base, best)?;
        self.bar.finish_and_clear();
        Ok(profile)
    }

    /// The profile to start from, on the instruction set that it prefers.
    fn first(&mut self) -> Result<Candidate, String> {
        let mut first = Candidate {
            label: "base".into(),
            profile: self.base.clone(),
            program: self.build("base", &self.base)?,
            isa: String::new(),
            variables: Vec::new(),
        };
        let isas = Probe::start(&first)?.isas()?;
        let is_wanted = |isa: &&String| first.profile.flag(PREFERENCE) || *isa != "avx512";
        first.isa = isas
            .iter()
            .find(is_wanted)
            .cloned()
            .ok_or("the probe names no instruction set")?;
        Ok(first)
    }

    /// AVX-512 or AVX2, where the CPU has both: the same build.
    fn prefer(&mut self, best: Candidate) -> Result<Candidate, String> {
        let on = |isa: &str| Candidate {
            label: isa.into(),
            profile: best.profile.with(PREFERENCE, Value::Flag(isa == "avx512")),
            isa: isa.into(),
            ..best.clone()
        };
        let isas = Probe::start(&best)?.isas()?;
        if isas.first().is_none_or(|isa| isa != "avx512") {
            return Ok(best);
        }
        let others = ["avx512", "avx2"].into_iter().filter(|isa| *isa != best.isa).map(on);
        self.decide(PREFERENCE, on(&best.isa), others.collect(), self.shapes())
    }

    /// Tries the values of one knob.
    fn turn(&mut self, knob: &Knob, mut best: Candidate) -> Result<Candidate, String> {
        best.label = knob.label(&best.profile, &best.profile);
        let mut others = Vec::new();
        for &value in knob.values(self.quick) {
            let profile = match knob.candidate(&best.profile, value) {
                Ok(profile) if profile != best.profile => profile,
                Ok(_) => {
                    self.bar.inc(u64::from(self.effort.0));
                    continue;
                }
                Err(error) => {
                    self.print(&format!("not tried: {} = {value}: {error}", knob.key));
                    self.bar.inc(u64::from(self.effort.0));
                    continue;
                }
            };
            let mut other = Candidate {
                label: knob.label(&best.profile, &profile),
                profile,
                ..best.clone()
            };
            match knob.variable {
                Some(variable) => other.variables.push((variable, value)),
                None => other.program = self.build(&format!("{}-{value}", knob.key), &other.profile)?,
            }
            others.push(other);
        }
        self.decide(knob.key, best, others, knob.shapes())
    }

    /// The best of `others` if it is really better than `current`: among all, and once more beside `current` alone.
    fn decide(
        &mut self,
        key: &str,
        current: Candidate,
        mut others: Vec<Candidate>,
        shapes: Vec<Shape>,
    ) -> Result<Candidate, String> {
        if others.is_empty() {
            return Ok(current);
        }
        let trial = self.trial(key, &current, &others, &shapes)?;
        let Some(best) = trial.best() else {
            self.show(trial, &current.label);
            return Ok(current);
        };
        let best = others.swap_remove(best);
        self.show(trial, &format!("{}, if it is better again", best.label));
        self.bar.inc_length(u64::from(self.effort.0));
        let again = self.trial(&format!("{key} again"), &current, slice::from_ref(&best), &shapes)?;
        let chosen = if again.best().is_some() { best } else { current };
        self.show(again, &chosen.label);
        Ok(chosen)
    }

    /// What was chosen beside what was started from: the better of both.
    fn compare(&mut self, base: Candidate, best: Candidate) -> Result<Profile, String> {
        if best.profile == base.profile {
            self.gain = "No value is better than that of the profile it started from.".into();
            return Ok(base.profile);
        }
        let (base, best) = (labelled(base, "base"), labelled(best, "chosen"));
        let last = self.trial("profile", &base, slice::from_ref(&best), &self.shapes())?;
        let (ratio, noise) = (last.ratio(0), last.noise());
        let is_better = ratio > 1.0 + noise;
        self.gain = format!(
            "Against the profile it started from, over {} shapes: {:+.1} % speed (geometric mean), noise {:.1} %{}.",
            last.shapes.len(),
            100.0 * (ratio - 1.0),
            100.0 * noise,
            if is_better { "" } else { "; no gain, so that it is kept" },
        );
        let chosen = if is_better { best } else { base };
        self.show(last, &chosen.label);
        Ok(chosen.profile)
    }

    /// Every matrix on which something is measured; those of all knobs where none is.
    fn shapes(&self) -> Vec<Shape> {
        match self.knobs.is_empty() {
            true => knob::all_shapes(&KNOBS.iter().collect::<Vec<_>>()),
            false => knob::all_shapes(&self.knobs),
        }
    }

    fn build(&self, name: &str, profile: &Profile) -> Result<PathBuf, String> {
        self.say(&format!("building {name}"));
        let built = candidate::build(&self.root, &self.root.join("target/tune"), name, profile);
        self.bar.inc(u64::from(self.effort.0));
        built
    }

    fn trial(&self, what: &str, current: &Candidate, others: &[Candidate], shapes: &[Shape]) -> Result<Trial, String> {
        self.say(&format!("measuring {what}"));
        Trial::run(what, current, others, shapes.to_vec(), self.effort, || self.bar.inc(1))
    }

    /// Prints a trial and keeps it for the plot.
    fn show(&mut self, trial: Trial, chosen: &str) {
        self.print(&trial.to_table(chosen));
        self.trials.push(trial);
    }

    fn print(&self, text: &str) {
        self.bar.suspend(|| println!("{text}"));
    }

    /// What is going on: beside the bar, or as a line where there is none.
    fn say(&self, what: &str) {
        self.bar.set_message(what.to_owned());
        if self.bar.is_hidden() {
            eprintln!("{what}");
        }
    }
}

fn labelled(candidate: Candidate, label: &str) -> Candidate {
    Candidate {
        label: label.into(),
        ..candidate
    }
}
