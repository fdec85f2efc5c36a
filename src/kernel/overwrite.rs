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
use super::passes::{Sums, Total, V, fold_block, load, max, store};
use super::row::{BLOCK, Beside, Chunk, Row, block, whole};
use super::softmax::{GUESS_BIAS, SumOf, TotalOf, Undivided, guess_at, largest_looked_at, shift_at};
use crate::arch::memory::{Cells, as_output};
use crate::element::{Element, Float, Sum};
use crate::lanes::{Lanes, Memory};
use crate::math::exp::{Shift, Splat, exp};

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

/// Stores e of the row `x` over it and returns what it is divided by, or `None` where the row has NaN or +∞. The exps `before`
/// are divided [`Beside`] them.
#[inline(always)]
pub fn sum<T: Element, L: Memory<T> + Memory<T::Compute>>(
    lanes: L,
    x: &mut [T],
    shift: Shift<T::Compute>,
    before: Option<Undivided<'_, T>>,
) -> Option<TotalOf<T>> {
    let mut found = Found {
        stored: 0,
        sum: SumOf::<T>::ZERO,
        large: false,
    };
    lanes.call(Overwrite {
        x: &mut *x,
        shift,
        before,
        found: &mut found,
    });
    let (higher, down) = if found.stored < x.len() {
        let higher = shift_at(max(lanes, &x[found.stored..]), L::FUSED)?;
        let is_far = higher.offset != T::Compute::ZERO;
        (higher, if is_far { i32::MAX } else { higher.n - shift.n })
    } else if found.sum.in_range() {
        return Some(Total::new(found.sum, found.large));
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
    (!found.sum.is_nan()).then_some(Total::new(found.sum, false))
}

/// What became of a row.
struct Found<S> {
    /// Elements, from the first on, that are exps.
    stored: usize,
    sum: S,
    /// Whether all are known to be large.
    large: bool,
}

/// The pass under the guess, until a vector does not fit.
struct Overwrite<'a, T: Element> {
    x: &'a mut [T],
    shift: Shift<T::Compute>,
    before: Option<Undivided<'a, T>>,
    found: &'a mut Found<SumOf<T>>,
}

impl<T: Element> Kernel<T> for Overwrite<'_, T> {
    #[inline(always)]
    fn run<L: Memory<T> + Memory<T::Compute>>(self, lanes: L) {
        let Self {
            x,
            shift,
            before,
            found,
        } = self;
        let core = T::Compute::core(L::FUSED);
        let splat = shift.splat(lanes);
        // Room above: of the exponents that fit their field, the largest means infinity.
        let room = T::Compute::from_i32(3 * core.steps);
        let mut sums = Sums::new(lanes, 0);
        let mut seen = lanes.seen_none();
        let whole = whole::<T>(x.len());
        if L::WIDE {
            let under = (&splat, room);
            let row = Cells::in_place(&mut x[..whole]);
            found.stored = match before {
                Some(before) => blocks(lanes, Beside { row, before }, under, &mut sums, &mut seen),
                None => blocks(lanes, row, under, &mut sums, &mut seen),
            };
            if found.stored < whole {
                return;
            }
        }
        let (stored, len) = (found.stored, x.len());
        found.stored = replace(
            lanes,
            x,
            stored,
            shift.near,
            &mut sums,
            #[inline(always)]
            |_, v| {
                let ([e], [t]) = exp::<_, L, 1, false>(lanes, core, &splat, [v]);
                if L::WIDE {
                    seen = lanes.seen(seen, t);
                }
                lanes.has_room(t, room, core.forbidden).then_some(e)
            },
        );
        if found.stored == len {
            found.sum = sums.total(lanes);
            found.large = L::WIDE && lanes.seen_all_with(seen, core.large);
        }
    }
}

/// The whole blocks of a row under a guess, until a vector does not fit: how many elements are stored.
#[inline(always)]
fn blocks<T: Element, L: Memory<T>>(
    lanes: L,
    row: impl Row<T, T>,
    (splat, room): (&Splat<V<T, L>>, T::Compute),
    sums: &mut Sums<T::Compute, L>,
    seen: &mut L::Seen,
) -> usize {
    let (core, n) = (T::Compute::core(L::FUSED), T::Compute::LANES);
    let (mut blocks, _) = row.blocks();
    let mut stored = 0;
    while let Some(mut chunk) = blocks.next() {
        let mut v = [lanes.splat(T::Compute::ZERO); BLOCK];
        for (j, v) in v.iter_mut().enumerate() {
            *v = chunk.load(lanes, j * n);
        }
        for j in 0..BLOCK {
            chunk.beside(lanes, j * n);
        }
        let (e, t) = exp::<_, L, BLOCK, false>(lanes, core, splat, v);
        let mut above = lanes.seen_none();
        for t in t {
            above = lanes.seen(above, lanes.add(t, lanes.splat(room)));
            *seen = lanes.seen(*seen, t);
        }
        if !lanes.seen_none_of(above, core.forbidden) {
            // What waits beside the others is done all the same.
            for mut chunk in blocks {
                for j in 0..BLOCK {
                    chunk.beside(lanes, j * n);
                }
            }
            return stored;
        }
        let mut halves = [lanes.fold(e[0]); BLOCK];
        for j in 0..BLOCK {
            chunk.store(lanes, j * n, e[j]);
            halves[j] = lanes.fold(e[j]);
        }
        sums.add(lanes, fold_block::<T, L, _>(lanes, halves));
        stored += block::<T>();
    }
    stored
}

/// Replaces every vector of `x` from element `at` (where a block begins) on by what `e` makes of it and its place, and
/// adds that to `sums`, until `e` gives nothing; where that is. Absent elements of a vector are `absent`.
#[inline(always)]
fn replace<T: Element, L: Memory<T>>(
    lanes: L,
    x: &mut [T],
    mut at: usize,
    absent: T::Compute,
    sums: &mut Sums<T::Compute, L>,
    mut e: impl FnMut(usize, V<T, L>) -> Option<V<T, L>>,
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
            let v = load::<T, L>(lanes, x, absent);
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
            shift.near,
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
