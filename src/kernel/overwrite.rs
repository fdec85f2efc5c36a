//! The exps of a long row stored over its logits, before it is known whether the guess of the shift holds.
//!
//! The guess is an element of the row, so that the maximum is not below it: no exp is too small, and the sum is not. One
//! can only be too large. A vector in which an exponent does not fit is not stored; the largest of the logits that are
//! left, which is then the maximum of the row, gives another shift N', and the exps already stored are multiplied by
//! 2^(N − N'). That is exact but for those that vanish, whose quotients are 0. So is a row lowered whose sum is too large
//! though no exponent is.
//!
//! Where multiply-add is fused all shifts give the same bits, and so do both forms.

use super::Kernel;
use super::passes::{Sums, V, fold_block, load, max, store};
use super::row::{BLOCK, block, whole};
use super::softmax::{GUESS_BIAS, SumOf, guess_at, largest_looked_at, shift_at};
use crate::arch::memory::as_output;
use crate::element::{Element, Float, Sum};
use crate::lanes::{Lanes, Memory};
use crate::math::exp::{Shift, exp};

/// The shift under which the row `x` may be stored over, if there is one.
#[inline(always)]
pub fn shift<T: Element, L: Lanes<T::Compute>>(_: L, x: &[T]) -> Option<Shift<T::Compute>> {
    let m = largest_looked_at(x);
    let (guess, shift) = guess_at(m, L::FUSED);
    // From 16,384 on the maximum is subtracted: from a guess so far below it, what is stored vanishes beside that.
    let far = T::Compute::core(L::FUSED).offset_from * T::Compute::from_f64(0.5);
    // Of a row of up to 16 no element is looked at.
    (T::IS_COMPUTE && L::FUSED && x.len() > 16 && guess == m && m < far).then_some(shift)
}

/// Stores e of the row `x` over it and returns Σe, or `None` where the row has NaN or +∞.
#[inline(always)]
pub fn sum<T: Element, L: Memory<T> + Memory<T::Compute>>(
    lanes: L,
    x: &mut [T],
    shift: Shift<T::Compute>,
) -> Option<SumOf<T>> {
    let mut found = Found {
        stored: 0,
        sum: SumOf::<T>::ZERO,
    };
    lanes.call(Overwrite {
        x: &mut *x,
        shift,
        found: &mut found,
    });
    let (higher, down) = if found.stored < x.len() {
        let higher = shift_at(max(lanes, &x[found.stored..]), L::FUSED)?;
        let is_far = higher.offset != T::Compute::ZERO;
        (higher, if is_far { i32::MAX } else { higher.n - shift.n })
    } else if found.sum.in_range() {
        return Some(found.sum);
    } else {
        // No exponent is too large, but a sum of some.
        (shift, GUESS_BIAS)
    };
    if down <= 0 {
        // Nothing is too large: a NaN.
        return None;
    }
    let shift = higher;
    lanes.call(Lowered {
        x,
        down,
        shift,
        found: &mut found,
    });
    (!found.sum.is_nan()).then_some(found.sum)
}

/// What became of a row.
struct Found<S> {
    /// Elements, from the first on, that are exps.
    stored: usize,
    sum: S,
}

/// The pass under the guess, until a vector does not fit.
struct Overwrite<'a, T: Element> {
    x: &'a mut [T],
    shift: Shift<T::Compute>,
    found: &'a mut Found<SumOf<T>>,
}

impl<T: Element> Kernel<T> for Overwrite<'_, T> {
    #[inline(always)]
    fn run<L: Memory<T> + Memory<T::Compute>>(self, lanes: L) {
        let Self { x, shift, found } = self;
        let core = T::Compute::core(L::FUSED);
        let splat = shift.splat(lanes);
        // Room above: of the exponents that fit their field, the largest means infinity.
        let room = T::Compute::from_i32(3 * core.steps);
        let mut sums = Sums::new(lanes, 0);
        let (len, n) = (x.len(), T::Compute::LANES);
        let whole = whole::<T>(len);
        if L::WIDE {
            for x in x[..whole].chunks_exact_mut(block::<T>()) {
                let mut v = [lanes.splat(T::Compute::ZERO); BLOCK];
                for (j, v) in v.iter_mut().enumerate() {
                    Memory::<T>::prefetch(lanes, &x[j * n..]);
                    *v = Memory::<T>::load(lanes, &x[j * n..]);
                }
                let (e, t) = exp::<_, L, BLOCK, false>(lanes, core, &splat, v);
                let mut seen = lanes.seen_none();
                for t in t {
                    seen = lanes.seen(seen, lanes.add(t, lanes.splat(room)));
                }
                if !lanes.seen_none_of(seen, core.forbidden) {
                    return;
                }
                let mut halves = [lanes.fold(e[0]); BLOCK];
                for j in 0..BLOCK {
                    Memory::<T>::store(lanes, &mut as_output(x)[j * n..], e[j]);
                    halves[j] = lanes.fold(e[j]);
                }
                sums.add(lanes, fold_block::<T, L, _>(lanes, halves));
                found.stored += block::<T>();
            }
        }
        let stored = &mut found.stored;
        *stored = replace(
            lanes,
            x,
            *stored,
            &mut sums,
            #[inline(always)]
            |_, v| {
                let ([e], [t]) = exp::<_, L, 1, false>(lanes, core, &splat, [v]);
                lanes.has_room(t, room, core.forbidden).then_some(e)
            },
        );
        if found.stored == len {
            found.sum = sums.total(lanes);
        }
    }
}

/// Replaces every vector of `x` from element `at` (where a block begins) on by what `e` makes of it and its place, and
/// adds that to `sums`, until `e` gives nothing; where that is.
#[inline(always)]
fn replace<T: Element, L: Memory<T>>(
    lanes: L,
    x: &mut [T],
    mut at: usize,
    sums: &mut Sums<T::Compute, L>,
    e: impl Fn(usize, V<T, L>) -> Option<V<T, L>>,
) -> usize {
    let (len, n) = (x.len(), T::Compute::LANES);
    while at < len {
        let mut halves = [lanes.fold(lanes.splat(T::Compute::ZERO)); BLOCK];
        let (end, mut j) = (len.min(at + block::<T>()), 0);
        while at < end {
            let present = n.min(end - at);
            let x = &mut x[at..at + present];
            if present == n {
                Memory::<T>::prefetch(lanes, x);
            }
            let v = load::<T, L>(lanes, x, -T::Compute::INFINITY);
            let Some(e) = e(at, v) else { return at };
            store::<T, L>(lanes, as_output(x), e);
            halves[j % BLOCK] = lanes.fold(if present == n { e } else { lanes.keep_first(e, present) });
            at += present;
            j += 1;
        }
        sums.add(lanes, fold_block::<T, L, _>(lanes, halves));
    }
    at
}

/// The pass under a `shift` that is `down` binades higher than that of the exps already stored.
struct Lowered<'a, T: Element> {
    x: &'a mut [T],
    down: i32,
    shift: Shift<T::Compute>,
    found: &'a mut Found<SumOf<T>>,
}

impl<T: Element> Kernel<T> for Lowered<'_, T> {
    #[inline(always)]
    fn run<L: Memory<T> + Memory<T::Compute>>(self, lanes: L) {
        let Self { x, down, shift, found } = self;
        let core = T::Compute::core(L::FUSED);
        let splat = shift.splat(lanes);
        let lower = Lower::new(lanes, down);
        let mut sums = Sums::new(lanes, 0);
        let stored = found.stored;
        replace(
            lanes,
            x,
            0,
            &mut sums,
            #[inline(always)]
            |at, v| {
                Some(if at < stored {
                    lower.of(lanes, v)
                } else {
                    exp::<_, L, 1, true>(lanes, core, &splat, [v]).0[0]
                })
            },
        );
        found.sum = sums.total(lanes);
    }
}

/// Exps under a shift that is some binades higher; 0 for those that vanish.
struct Lower<W> {
    /// Smaller ones vanish.
    limit: W,
    /// Two powers of two, each a normal number, whose product may be none.
    factors: [W; 2],
}

impl<W: Copy> Lower<W> {
    #[inline(always)]
    fn new<F: Float, L: Lanes<F, V = W>>(lanes: L, down: i32) -> Self {
        // As small as the exp pass makes them.
        let limit = i64::from(down) - i64::from(F::BIAS - 7);
        let limit = if limit > i64::from(F::BIAS) {
            F::INFINITY
        } else {
            power::<F>(limit as i32)
        };
        let first = down.min(F::BIAS - 1);
        let second = (down - first).min(F::BIAS - 1);
        Self {
            limit: lanes.splat(limit),
            factors: [lanes.splat(power::<F>(-first)), lanes.splat(power::<F>(-second))],
        }
    }

    #[inline(always)]
    fn of<F: Float, L: Lanes<F, V = W>>(&self, lanes: L, e: W) -> W {
        let e = lanes.zero_below(e, e, self.limit);
        lanes.mul(lanes.mul(e, self.factors[0]), self.factors[1])
    }
}

/// 2^p, a normal number of both types or of `F`.
#[inline(always)]
fn power<F: Float>(p: i32) -> F {
    F::from_f64(f64::from_bits(((1023 + i64::from(p)) as u64) << 52))
}
