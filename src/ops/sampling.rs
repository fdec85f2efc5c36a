//! Drawing a class from a row of logits, without sorting it: [`Sampler`] and [`sample_gumbel`].
//!
//! Weights are e^((x_i − max)/T) in f64, on every ISA from the same core, so that the pick does not depend on the CPU.
//!
//! Top-p is from Holtzman et al. (2019, arXiv:1904.09751), min-p from Nguyen et al. (2024, arXiv:2407.01082), Gumbel's rule
//! from Gumbel (1954) and, for sampling, Maddison et al. (2014, arXiv:1411.0030).

use super::argmax_on;
use super::row::{exp_sub_max_on, max_on};
use crate::element::Element;
use crate::error::Error;
use crate::isa::Isa;
use crate::kernel::Place;
use crate::kernel::gather::{Entry, Gather, before, heapify, sift_down};
use crate::kernel::primitives::Pass;

/// Weights that are computed at a time.
const CHUNK: usize = 512;

/// How to draw a class from logits. The filters apply in this order, each to what the one before it has left:
///
/// 1. `temperature`: the logits are divided by it.
/// 2. `min_p`: classes stay whose probability is at least `min_p` times the largest, by a threshold on the logits.
/// 3. `top_k`: the k most probable stay, ties by lowest index.
/// 4. `top_p`: the smallest set of the most probable stays whose probability among what is left is at least `top_p`,
///    ties by lowest index.
///
/// ```
/// use softmax::Sampler;
/// let logits = [0.0_f32, 5.0, 4.0, -3.0];
/// let sampler = Sampler { temperature: 0.8, top_k: 2, ..Sampler::default() };
/// let mut workspace = vec![(0.0, 0); sampler.workspace_len(logits.len())];
/// let mut state = 1_u64;
/// let class = sampler.sample(&logits, &mut workspace, || {
///     // A linear congruential generator stands for a real one.
///     state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
///     state
/// })?;
/// assert!(class == 1 || class == 2);
/// # Ok::<(), softmax::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampler {
    /// T ≥ 0, finite; 0 takes the most probable class (argmax), and the other filters do not matter. Where the host sets its DAZ
    /// flag a subnormal counts as 0.
    pub temperature: f32,
    /// How many of the most probable classes stay; 0 for all.
    pub top_k: usize,
    /// In (0, 1]; 1 for all.
    pub top_p: f32,
    /// In [0, 1]; 0 for all.
    pub min_p: f32,
}

impl Default for Sampler {
    /// Temperature 1, every class.
    fn default() -> Self {
        Self {
            temperature: 1.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
        }
    }
}

impl Sampler {
    /// The entries of workspace that a row of `n` logits needs: 0 without filters, `top_k` if that is given, else `n`.
    ///
    /// ```
    /// use softmax::Sampler;
    /// assert_eq!(Sampler::default().workspace_len(128_256), 0);
    /// assert_eq!(Sampler { top_k: 40, top_p: 0.9, ..Sampler::default() }.workspace_len(128_256), 40);
    /// assert_eq!(Sampler { top_p: 0.9, ..Sampler::default() }.workspace_len(128_256), 128_256);
    /// ```
    pub const fn workspace_len(&self, n: usize) -> usize {
        if self.temperature == 0.0 {
            0
        } else if self.top_k != 0 && self.top_k < n {
            self.top_k
        } else if self.top_p < 1.0 || self.min_p > 0.0 {
            n
        } else {
            0
        }
    }

    /// Draws the index of a class from a row of logits (f32 or a half type).
    ///
    /// `rng` is called once (never at temperature 0) and gives 64 random bits, of which the upper 53 count. The same
    /// logits, parameters and random number give the same class, on every ISA (on `Portable` too, unless the number falls
    /// within 2^−50 of a border between two classes).
    ///
    /// # Errors
    /// [`Error::Parameter`] for a parameter outside its range, [`Error::Logit`] for NaN or +∞ among the logits (+∞ is
    /// fine at temperature 0), [`Error::NoChoice`] if there is none above −∞, [`Error::Workspace`] if `workspace` has
    /// fewer entries than [`workspace_len`](Self::workspace_len), [`Error::Parameter`] for 2^32 logits or more. The random
    /// number generator is not called then.
    ///
    /// ```
    /// use softmax::Sampler;
    /// let greedy = Sampler { temperature: 0.0, ..Sampler::default() };
    /// assert_eq!(greedy.sample(&[0.0_f32, 2.0, 1.0], &mut [], || unreachable!())?, 1);
    /// // The lower half of the random numbers takes the first of two equal classes.
    /// assert_eq!(Sampler::default().sample(&[1.0_f32, 1.0], &mut [], || 0)?, 0);
    /// assert_eq!(Sampler::default().sample(&[1.0_f32, 1.0], &mut [], || u64::MAX)?, 1);
    /// # Ok::<(), softmax::Error>(())
    /// ```
    #[inline]
    pub fn sample<T: Element<Compute = f32>>(
        &self,
        logits: &[T],
        workspace: &mut [(f32, u32)],
        rng: impl FnMut() -> u64,
    ) -> Result<usize, Error> {
        Isa::detect().sample(self, logits, workspace, rng)
    }

    #[inline]
    fn check(&self) -> Result<(), Error> {
        check_temperature(self.temperature)?;
        let parameter = |name, value: f32, range| {
            let value = f64::from(value).into();
            Err(Error::Parameter { name, value, range })
        };
        if !(self.top_p > 0.0 && self.top_p <= 1.0) {
            return parameter("top_p", self.top_p, "in (0, 1]");
        }
        if !(self.min_p >= 0.0 && self.min_p <= 1.0) {
            return parameter("min_p", self.min_p, "in [0, 1]");
        }
        Ok(())
    }
}

/// The entries of workspace that a row needs, once the parameters are valid, `n` logits are not too many, and there are
/// that many entries for each of the rows.
#[inline]
pub fn check_call(sampler: &Sampler, rows: usize, n: usize, workspace: usize) -> Result<usize, Error> {
    sampler.check()?;
    if u32::try_from(n).is_err() {
        return Err(Error::Parameter {
            name: "number of logits",
            value: (n as f64).into(),
            range: "below 2^32",
        });
    }
    let per_row = sampler.workspace_len(n);
    let needed = rows.checked_mul(per_row).ok_or(Error::Overflow {
        rows,
        cols: per_row,
        stride: per_row,
    })?;
    if needed > workspace {
        return Err(Error::Workspace { len: workspace, needed });
    }
    Ok(per_row)
}

#[inline]
pub fn check_temperature(temperature: f32) -> Result<(), Error> {
    if (0.0..f32::INFINITY).contains(&temperature) {
        return Ok(());
    }
    Err(Error::Parameter {
        name: "temperature",
        value: f64::from(temperature).into(),
        range: "finite and at least 0",
    })
}

/// A row to draw from: its weights are e^((x − max)/T).
struct Row<'a, T> {
    isa: Isa,
    x: &'a [T],
    max: f64,
    temperature: f64,
}

impl<'a, T: Element<Compute = f32>> Row<'a, T> {
    /// `x`, whose maximum is `max` (`None`: there is a NaN), at a temperature above 0.
    fn new(isa: Isa, x: &'a [T], max: Option<f32>, temperature: f32) -> Result<Self, Error> {
        let max = match max {
            Some(m) if m.is_finite() => f64::from(m),
            Some(m) if m < 0.0 => return Err(Error::NoChoice { len: x.len() }),
            _ => return Err(bad_logit(x)),
        };
        Ok(Self {
            isa,
            x,
            max,
            temperature: f64::from(temperature),
        })
    }

    #[inline]
    fn exponent(&self, x: f32) -> f64 {
        (f64::from(x) - self.max) / self.temperature
    }

    #[inline]
    fn weight(&self, x: f32) -> f64 {
        libm::exp(self.exponent(x))
    }

    /// The logit whose weight is `weight`, rounded up.
    fn logit_of(&self, weight: f64) -> f32 {
        let exact = self.max + self.temperature * libm::log(weight);
        let near = exact as f32;
        let above = if f64::from(near) < exact { near.next_up() } else { near };
        above.max(f32::MIN)
    }

    /// The weights of a chunk, and their sum.
    #[inline]
    fn weigh<'w>(&self, x: &[T], weights: &'w mut [f64; CHUNK]) -> (&'w [f64], f64) {
        let weights = &mut weights[..x.len()];
        for i in 0..x.len() {
            weights[i] = self.exponent(x[i].widen());
        }
        let sum = exp_sub_max_on(self.isa, Pass::Write(Place::InPlace(&mut *weights)), 0.0);
        (weights, sum)
    }

    /// The sum of all weights.
    fn mass(&self) -> f64 {
        let mut weights = [0.0; CHUNK];
        let mut mass = 0.0;
        for x in self.x.chunks(CHUNK) {
            mass += self.weigh(x, &mut weights).1;
        }
        mass
    }

    /// The place in the row where the running sum of weights passes `target`.
    fn pick(&self, mut target: f64) -> usize {
        let mut weights = [0.0; CHUNK];
        let mut last = 0;
        for (c, x) in self.x.chunks(CHUNK).enumerate() {
            let (weights, sum) = self.weigh(x, &mut weights);
            let inside = target < sum;
            let mut rest = target;
            for (i, &w) in weights.iter().enumerate() {
                if w > 0.0 {
                    last = c * CHUNK + i;
                    if inside && rest < w {
                        return last;
                    }
                    rest -= w;
                }
            }
            if inside {
                return last;
            }
            target -= sum;
        }
        last
    }

    /// The sum of the weights of entries.
    fn mass_of(&self, entries: &[Entry<f32>]) -> f64 {
        entries.iter().map(|e| self.weight(e.0)).sum()
    }

    /// The entry where the running sum of weights passes `target`.
    fn pick_of(&self, entries: &[Entry<f32>], mut target: f64) -> usize {
        let mut last = 0;
        for &(x, i) in entries {
            let w = self.weight(x);
            if w > 0.0 {
                last = i as usize;
                if target < w {
                    return last;
                }
                target -= w;
            }
        }
        last
    }

    /// The smallest set of the most probable entries whose weight reaches `target`, and its weight: the least probable
    /// is taken away as long as what is left reaches it.
    fn nucleus<'e>(&self, entries: &'e mut [Entry<f32>], target: f64) -> (&'e [Entry<f32>], f64) {
        let (entries, mut mass) = self.narrow(entries, target);
        let mut len = entries.len();
        heapify(entries, before);
        while len > 1 {
            let without = mass - self.weight(entries[0].0);
            if without < target {
                break;
            }
            mass = without;
            len -= 1;
            entries.swap(0, len);
            sift_down(&mut entries[..len], 0, before);
        }
        (&entries[..len], mass)
    }

    /// The more probable of the entries, in buckets by weight, until their sum reaches `target`; and that sum.
    fn narrow<'e>(&self, entries: &'e mut [Entry<f32>], target: f64) -> (&'e mut [Entry<f32>], f64) {
        const BUCKETS: usize = 256;
        const PER_E: f64 = 8.0;
        let bucket = |exponent: f64| ((-exponent * PER_E) as usize).min(BUCKETS - 1);
        let mut masses = [0.0; BUCKETS];
        for e in &*entries {
            let exponent = self.exponent(e.0);
            masses[bucket(exponent)] += libm::exp(exponent);
        }
        let (mut last, mut mass) = (0, masses[0]);
        // A little more than enough, so that the order of the additions does not matter.
        while last < BUCKETS - 1 && mass < target * (1.0 + 1e-9) {
            last += 1;
            mass += masses[last];
        }
        let kept = first_that(
            entries,
            #[inline(always)]
            |x| bucket(self.exponent(x)) <= last,
        );
        (kept, mass)
    }
}

/// The entries of which `keep` holds, moved to the front.
fn first_that(entries: &mut [Entry<f32>], keep: impl Fn(f32) -> bool) -> &mut [Entry<f32>] {
    let mut len = 0;
    for i in 0..entries.len() {
        if keep(entries[i].0) {
            entries.swap(len, i);
            len += 1;
        }
    }
    &mut entries[..len]
}

/// The entries of `x` from `floor` on, as many as `kept` holds; `None` where there is a NaN.
fn gather<'w, T: Element<Compute = f32>>(
    isa: Isa,
    x: &[T],
    floor: f32,
    kept: &'w mut [Entry<f32>],
) -> Option<&'w mut [Entry<f32>]> {
    let (mut length, mut has_nan) = (0, false);
    let (count, nan) = (&mut length, &mut has_nan);
    let into = &mut *kept;
    T::gather(
        isa,
        Gather {
            x,
            floor,
            kept: into,
            count,
            nan,
        },
    );
    (!has_nan).then(|| &mut kept[..length])
}

/// The error of a row that has NaN or +∞.
#[cold]
fn bad_logit<T: Element<Compute = f32>>(x: &[T]) -> Error {
    let is_bad = |v: f32| v.is_nan() || v == f32::INFINITY;
    let index = x.iter().position(|v| is_bad(v.widen())).unwrap_or(0);
    let value = f64::from(x.get(index).map_or(f32::NAN, |v| v.widen())).into();
    Error::Logit { index, value }
}

/// argmax, where it is a choice.
fn most_probable<T: Element<Compute = f32>>(isa: Isa, x: &[T]) -> Result<usize, Error> {
    match argmax_on(isa, x) {
        Some(i) if x[i].widen() > f32::NEG_INFINITY => Ok(i),
        Some(i) if x[i].widen().is_nan() => Err(bad_logit(x)),
        _ => Err(Error::NoChoice { len: x.len() }),
    }
}

/// Uniform in [0, 1), in steps of 2^−53.
#[inline]
fn uniform(bits: u64) -> f64 {
    (bits >> 11) as f64 * (1.0 / (1_u64 << 53) as f64)
}

/// Draws the index of a class from softmax(x/T) by Gumbel's rule: the largest x_i/T + G_i, where G_i = −ln(−ln u_i).
///
/// `rng` is called once for each logit, in order, and gives 64 random bits, of which the upper 52 count: u_i = (bits +
/// ½)·2^−52. (Never at temperature 0, which is argmax.) The same logits and random numbers give the same class on every
/// ISA.
///
/// # Errors
/// As [`Sampler::sample`].
///
/// ```
/// // The second class is e^20 times as probable.
/// let class = softmax::sample_gumbel(&[0.0_f32, 20.0], 1.0, || 0x8000_0000_0000_0000)?;
/// assert_eq!(class, 1);
/// # Ok::<(), softmax::Error>(())
/// ```
#[inline]
pub fn sample_gumbel<T: Element<Compute = f32>>(
    logits: &[T],
    temperature: f32,
    rng: impl FnMut() -> u64,
) -> Result<usize, Error> {
    Isa::detect().sample_gumbel(logits, temperature, rng)
}

/// Sampling on a chosen ISA: [`sample_gumbel`] and [`Sampler::sample`], and [`Error::IsaUnavailable`] where the CPU lacks
/// it.
impl Isa {
    /// [`sample_gumbel`] on this ISA.
    ///
    /// ```
    /// # use softmax::*;
    /// assert_eq!(Isa::Scalar.sample_gumbel(&[f32::NEG_INFINITY, 3.0], 1.0, || 1 << 40)?, 1);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn sample_gumbel<T: Element<Compute = f32>>(
        self,
        logits: &[T],
        temperature: f32,
        mut rng: impl FnMut() -> u64,
    ) -> Result<usize, Error> {
        check_temperature(temperature)?;
        self.require()?;
        if temperature == 0.0 {
            return most_probable(self, logits);
        }
        let row = Row::new(self, logits, max_on(self, logits), temperature)?;
        let (mut best, mut at) = (f64::NEG_INFINITY, 0);
        for (i, &x) in logits.iter().enumerate() {
            let u = ((rng() >> 12) as f64 + 0.5) * (1.0 / (1_u64 << 52) as f64);
            let d = row.exponent(x.widen());
            // It wins iff −ln u < e^−t. Since −ln u ≥ 1 − u and e^t ≥ 1 + t + t²/2 + t³/6, few logarithms are taken.
            let t = best - d;
            if t > 0.0 && (1.0 - u) * (1.0 + t * (1.0 + t * (0.5 + t * (1.0 / 6.0)))) > 1.000_001 {
                continue;
            }
            let key = d - libm::log(-libm::log(u));
            if key > best {
                (best, at) = (key, i);
            }
        }
        Ok(at)
    }

    /// [`Sampler::sample`] on this ISA.
    ///
    /// ```
    /// # use softmax::*;
    /// let (sampler, logits) = (Sampler::default(), [f32::NEG_INFINITY, 3.0]);
    /// assert_eq!(Isa::Scalar.sample(&sampler, &logits, &mut [], || 1 << 40)?, 1);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn sample<T: Element<Compute = f32>>(
        self,
        sampler: &Sampler,
        logits: &[T],
        workspace: &mut [(f32, u32)],
        mut rng: impl FnMut() -> u64,
    ) -> Result<usize, Error> {
        let needed = check_call(sampler, 1, logits.len(), workspace.len())?;
        self.require()?;
        if sampler.temperature == 0.0 {
            return most_probable(self, logits);
        }
        let (row, kept, mass) = self.candidates(sampler, logits, &mut workspace[..needed])?;
        let Some(kept) = kept else {
            return Ok(row.pick(uniform(rng()) * mass));
        };
        let (kept, mass) = if sampler.top_p < 1.0 {
            row.nucleus(kept, f64::from(sampler.top_p) * mass)
        } else {
            (&*kept, mass)
        };
        Ok(row.pick_of(kept, uniform(rng()) * mass))
    }

    /// The entries that `min_p` and `top_k` leave, or enough of them for `top_p` (`None`: the whole row), and the weight
    /// of all that those two leave. The workspace has the length that is needed.
    fn candidates<'x, 'w, T: Element<Compute = f32>>(
        self,
        sampler: &Sampler,
        x: &'x [T],
        workspace: &'w mut [Entry<f32>],
    ) -> Result<Candidates<'x, 'w, T>, Error> {
        let (n, temperature, min_p) = (x.len(), sampler.temperature, f64::from(sampler.min_p));
        if (1..n).contains(&workspace.len()) {
            // The k largest come in one sweep, and the maximum is among them.
            let kept = gather(self, x, f32::MIN, workspace).ok_or_else(|| bad_logit(x))?;
            let max = kept.iter().fold(f32::NEG_INFINITY, |m, e| m.max(e.0));
            let row = Row::new(self, x, Some(max), temperature)?;
            let floor = if min_p > 0.0 { row.logit_of(min_p) } else { f32::MIN };
            let kept = first_that(kept, |x| x >= floor);
            let mass = row.mass_of(kept);
            return Ok((row, Some(kept), mass));
        }
        let row = Row::new(self, x, max_on(self, x), temperature)?;
        if workspace.is_empty() {
            let mass = row.mass();
            return Ok((row, None, mass));
        }
        let (floor, mass) = if min_p > 0.0 {
            (row.logit_of(min_p), None)
        } else {
            // What is lighter than (1 − p)·S/n weighs less than (1 − p)·S altogether: it is in no nucleus.
            let mass = row.mass();
            let least = 0.999 * (1.0 - f64::from(sampler.top_p)) * mass / n as f64;
            (row.logit_of(least), Some(mass))
        };
        let kept = gather(self, x, floor, workspace).ok_or_else(|| bad_logit(x))?;
        let mass = mass.unwrap_or_else(|| row.mass_of(kept));
        Ok((row, Some(kept), mass))
    }
}

/// See [`Isa::candidates`].
type Candidates<'x, 'w, T> = (Row<'x, T>, Option<&'w mut [Entry<f32>]>, f64);
